"""What the networks of one model give for a batch of their inputs: outputs with uncertainty, and domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from xas_live.models.bundle import Bundle
from xas_live.models.networks import mean_gradients, network
from xas_live.models.outputs import Estimate, OutcomePart, Scalars, columns_of
from xas_live.models.outputs.intervals import gaussian_quantile
from xas_live.models.sections.accepted import beyond_accepted, without_accepted
from xas_live.models.sections.chemistry import ChemistryEstimate, estimate
from xas_live.models.sections.cost import departures, shapes_of, widening
from xas_live.models.sections.domain import domain_distances, domain_p_value, nearest
from xas_live.models.sections.latent import reconstruct
from xas_live.reduction.arrays import Numbers, library_of, standard_deviation
from xas_live.spectrum import Array

LEAST_MODEL_PART = 0.5  # of a calibrated half width that noise alone never explains
MISMATCH_STEP = 0.25  # of the foil's theory error, by which its effect on predictions is measured


class Judged(NamedTuple):
    """Of a batch, one row a spectrum, in float64.

    Attributes
    ----------
    mean, half : (batch, width) of all outputs side by side, see `Estimate`.
    p : (batch,) of belonging to the domain; NaN where the model does not judge it.
    scores : (batch, distances) how far out by each distance.
    latent : (batch, 8) coordinates in the autoencoder; (batch, 0) without one.
    residual : (batch, g) the input less the nearest that training knows; None without a domain.
    reconstruction : (batch, g) the input as the autoencoder gives it; None without one.
    chemistry : other phases and adsorbates; None for a model without.
    widening : (batch, width) by which departures from the training spectra have widened `half`.
    departed : (batch,) whether a spectrum departs from them; None for a model that does not know the cost.
    statistical : (batch, width) standard deviations by the noise of each sweep, NaN where it is not known;
        None before they are added.
    """

    mean: Array
    half: Array
    p: Array
    scores: Array
    latent: Array
    residual: Array | None
    reconstruction: Array | None
    chemistry: ChemistryEstimate | None = None
    widening: Array | None = None
    departed: NDArray[np.bool_] | None = None
    statistical: Array | None = None

    def with_noise(self, statistical: Array, quantile: float) -> Judged:
        """Return it with the statistical error, and intervals that are wide enough for it.

        The calibrated intervals hold for noise as in training, so that as a rule they stay. The rest of
        their square is the model's part, but for at least half of their width.

        Parameters
        ----------
        statistical : (batch, width) standard deviations, NaN where they are not known.
        quantile : half width of the intervals in standard deviations.
        """
        noise = np.nan_to_num(quantile * statistical)
        least = LEAST_MODEL_PART * self.half
        half = np.where(np.hypot(least, noise) > self.half, np.hypot(least, noise), self.half)
        return self._replace(half=half, statistical=statistical)

    def sound(self) -> list[bool]:
        """Whether the networks gave numbers, for each spectrum."""
        good = np.all(np.isfinite(self.mean) & np.isfinite(self.half), axis=1)
        if self.residual is not None:
            good &= np.isfinite(self.p)
        found: list[bool] = good.tolist()
        return found

    def of(self, rows: NDArray[np.int64]) -> Judged:
        """Some of the batch."""
        found: dict[str, Any] = self._asdict()
        kept = {name: part[rows] for name, part in found.items() if isinstance(part, np.ndarray)}
        seen = self.chemistry
        return self._replace(
            **kept, chemistry=None if seen is None else ChemistryEstimate(*(part[rows] for part in seen))
        )


class Ensemble:
    """A bundle's networks on one device: numpy's arithmetic on the CPU, torch's elsewhere.

    Parameters
    ----------
    bundle : the model.
    device : where its tensors lie.
    level : nominal coverage of the intervals.

    Attributes
    ----------
    distances : by which the domain is judged, in the order of `Judged.scores`.

    Raises
    ------
    LevelError : when the level is beyond what the model's calibration set allows.
    """

    def __init__(self, bundle: Bundle, device: torch.device, level: float) -> None:
        self.bundle = bundle
        self.device = device
        self.level = level
        for kind in bundle.kinds:
            kind.check_level(bundle.tensors, level)
        self._tensors = {name: self._here(tensor) for name, tensor in bundle.tensors.items()}
        self._network = {name: self._here(tensor) for name, tensor in bundle.network.items()}
        self._quantile = gaussian_quantile(level)
        self.distances = bundle.card.sections.distances
        self._columns = columns_of(bundle.kinds)
        sections = bundle.card.sections
        self._missing_from = None if sections.theory is None else sections.theory.missing_from
        self._full = 1.0 if sections.theory is None else sections.theory.full
        self._domain_strata = None if sections.domain is None else sections.domain.stratify_by
        self._cost, self._grid = sections.cost, bundle.grid
        self._shapes: list[Numbers] = []
        if sections.cost is not None:
            theory = bundle.inputs[0].theory
            assert theory is not None
            shapes = shapes_of(bundle.grid, theory.on(bundle.grid)).values()
            self._shapes = [self._here(torch.from_numpy(shape).float()) for shape in shapes]
        self._domain, self._latent = sections.domain is not None, sections.latent is not None
        self._accepted = sections.accepted is not None
        self._place = {
            name: (o, c)
            for o, kind in enumerate(bundle.kinds)
            if isinstance(kind, Scalars)
            for c, name in enumerate(kind.columns)
        }

    def judge(self, inputs: Numbers, theory_error: Numbers | None = None) -> Judged:
        """Outputs with uncertainty, and domain, of network inputs.

        Of a model with accepted samples the domain, the residual, the chemistry and the widening are of the
        inputs without the accepted departures; means and intervals before widening are of the inputs as they
        are.

        Parameters
        ----------
        inputs : (batch, g) in edge steps; an array, or a tensor on the device.
        theory_error : (batch, g) what theory gets wrong for the foils of these spectra, of unknown share and
            sign where neighbours are missing; None where there is no foil.
        """
        t, x = self._tensors, self._taken(inputs)
        xp = library_of(x)
        with torch.inference_mode():
            latent, reconstruction = reconstruct(t, x) if self._latent else (x[:, :0], None)
            parts = [x] if theory_error is None else [x, x + MISMATCH_STEP * self._taken(theory_error)]
            rest, rebuilt = x, reconstruction  # what is judged, and its reconstruction
            if self._accepted:
                rest = without_accepted(t, x, self._residual(x, reconstruction))
                rebuilt = reconstruct(t, rest)[1] if self._latent else None
                parts.append(rest)
            # In one pass: reading the weights takes as long as another spectrum does.
            passed = self._decoded(x if len(parts) == 1 else xp.concatenate(parts))
            decoded, *others = [
                [out[:, i * len(x) : (i + 1) * len(x)] for out in passed] for i in range(len(parts))
            ]
            estimates = self._estimates(decoded)
            of_rest = self._estimates(others.pop()) if self._accepted else estimates
            if others:
                # For the bulk it cancels; it returns with the share of missing neighbours.
                factor = self._quantile * self._missing(estimates)
                estimates = [
                    kind.widened(estimate, xp.abs((after - before).mean(0)) / MISMATCH_STEP, factor)
                    for kind, estimate, before, after in zip(
                        self.bundle.kinds, estimates, decoded, others[0], strict=True
                    )
                ]
            mean, half = (_side_by_side([getattr(e, part) for e in estimates]) for part in ("mean", "half"))
            p, scores, residual = xp.full_like(x[:, 0], xp.nan), x[:, :0], None
            seen, widened, departed = None, None, None
            if self._domain:
                disagreement = _side_by_side([e.disagreement for e in of_rest]).mean(1)
                far = domain_distances(t, rest, rebuilt, disagreement, self.distances)
                p, scores = domain_p_value(t, far, self._stratum(of_rest), self.distances)
                residual = self._residual(rest, rebuilt)
                seen = self._chemistry(rest, of_rest)
                if self._cost is not None:
                    far = departures(self._grid, self._shapes, scores, residual, seen)
                    far = beyond_accepted(t, far) if self._accepted else far
                    widened, departed = widening(self._cost, t, far)
                    half = half * widened
        return Judged(
            _float64(mean),
            _float64(half),
            _float64(p),
            _float64(scores),
            _float64(latent),
            None if residual is None else _float64(residual),
            None if reconstruction is None else _float64(reconstruction),
            None if seen is None else ChemistryEstimate(*(_float64(part) for part in seen)),
            None if widened is None else _float64(widened),
            None if departed is None else _float64(departed) > 0,
        )

    def means(self, inputs: Numbers) -> Array:
        """(batch, width) means of all outputs alone."""
        with torch.inference_mode():
            decoded = self._decoded(self._taken(inputs))
            return _float64(_side_by_side([out.mean(0) for out in decoded]))

    def gradients(self, inputs: Numbers) -> Array:
        """(batch, width, g) how the mean outputs change with the inputs; NaN of classes and curves."""
        t, x = self._tensors, self._taken(inputs)
        scaled = (x - t["input_mean"]) / t["input_scale"]
        raw = _float64(mean_gradients(self.bundle.card.network, self._network, scaled))
        raw /= _float64(t["input_scale"])
        for kind, columns in zip(self.bundle.kinds, self._columns, strict=True):
            if isinstance(kind, Scalars):
                raw[:, columns] *= self.bundle.array(f"{kind.spec.prefix}target_scale")[:, None]
            else:
                raw[:, columns] = np.nan
        return raw

    def values(self, inputs: Numbers) -> tuple[Array, Array]:
        """Means and standard deviations, each (batch, width), without domain."""
        with torch.inference_mode():
            estimates = self._estimates(self._decoded(self._taken(inputs)))
        mean, half = (_side_by_side([getattr(e, part) for e in estimates]) for part in ("mean", "half"))
        return _float64(mean), _float64(half) / self._quantile

    def outcome(self, mean: Array, half: Array) -> list[OutcomePart]:
        """Return what each output gives for one sweep, of one row (width,) of means and half widths."""
        return [
            kind.result(mean[columns], half[columns], self.level, self._quantile)
            for kind, columns in zip(self.bundle.kinds, self._columns, strict=True)
        ]

    def column(self, name: str) -> int:
        """Where a target stands among the columns of all outputs."""
        output, column = self._place[name]
        return self._columns[output].start + column

    def _decoded(self, x: Numbers) -> list[Numbers]:
        """Of each output (members, batch, width), in its units."""
        t = self._tensors
        raw = network(self.bundle.card.network, self._network, (x - t["input_mean"]) / t["input_scale"])
        if len(self._columns) == 1:
            return [self.bundle.kinds[0].decoded(t, raw)]
        return [
            kind.decoded(t, raw[..., columns])
            for kind, columns in zip(self.bundle.kinds, self._columns, strict=True)
        ]

    def _estimates(self, decoded: Sequence[Numbers]) -> list[Estimate]:
        found = []
        for kind, out in zip(self.bundle.kinds, decoded, strict=True):
            stratum = None
            if kind.strata is not None:
                output, column = self._place[kind.strata]
                stratum = decoded[output][:, :, column].mean(0)
            mean, spread = out.mean(0), standard_deviation(out)
            found.append(kind.estimate(self._tensors, mean, spread, stratum, self.level))
        return found

    def _residual(self, x: Numbers, reconstruction: Numbers | None) -> Numbers:
        """(batch, g) the inputs less the nearest that training knows."""
        return x - nearest(self._tensors, x if reconstruction is None else reconstruction)

    def _stratum(self, estimates: Sequence[Estimate]) -> Numbers | None:
        """(batch,) prediction by which the domain's distances are ranked."""
        if self._domain_strata is None:
            return None
        output, column = self._place[self._domain_strata]
        return estimates[output].mean[:, column]

    def _chemistry(self, x: Numbers, estimates: Sequence[Estimate]) -> ChemistryEstimate | None:
        """What else than bare metal the inputs show."""
        section = self.bundle.card.sections.chemistry
        if section is None:
            return None
        output, column = self._place[section.stratify_by]
        return estimate(section, self._tensors, x, estimates[output].mean[:, column], self.level)

    def _missing(self, estimates: Sequence[Estimate]) -> Numbers:
        """(batch, 1) share of missing neighbours; zero for models that do not give it."""
        if self._missing_from is None:
            return 0.0 * estimates[0].mean[:, :1]
        output, column = self._place[self._missing_from]
        mean = estimates[output].mean[:, column : column + 1]
        return library_of(mean).clip(1.0 - mean / self._full, 0.0, 1.0)

    def _here(self, tensor: torch.Tensor) -> Numbers:
        return tensor.numpy() if self.device.type == "cpu" else tensor.to(self.device)

    def _taken(self, inputs: Numbers) -> Numbers:
        """The inputs in float32, where the tensors are."""
        if self.device.type == "cpu":
            return np.asarray(inputs, dtype=np.float32)
        given = torch.from_numpy(inputs) if isinstance(inputs, np.ndarray) else inputs
        return given.to(self.device, torch.float32)


def joined(parts: Sequence[Judged]) -> Judged:
    """Return several batches, judged by one ensemble, as one."""

    def together(name: str) -> Any:
        each = [getattr(part, name) for part in parts]
        return None if each[0] is None else np.concatenate(each)

    seen = [part.chemistry for part in parts if part.chemistry is not None]
    chemistry = ChemistryEstimate(*map(np.concatenate, zip(*seen, strict=True))) if seen else None
    return Judged(**{name: together(name) for name in Judged._fields if name != "chemistry"})._replace(
        chemistry=chemistry
    )


def _side_by_side(parts: Sequence[Numbers]) -> Numbers:
    return parts[0] if len(parts) == 1 else library_of(parts[0]).concatenate(list(parts), 1)


def _float64(values: Numbers) -> Array:
    array = values if isinstance(values, np.ndarray) else values.cpu().numpy()
    return array.astype(np.float64)
