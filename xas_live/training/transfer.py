"""Transfer learning: a model goes on learning from a user's labelled spectra, its lower layers frozen.

As Lin et al. ("Machine-Learning Assisted Structure Determination of Metallic Nanoparticles: A Benchmark")
tuned their networks on part of the target spectra. Spectra and targets that are averages over the sites stay
true in mixtures, so the labelled spectra are mixed with one another as they are learned.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from xas_live.analysis import Analyzer
from xas_live.errors import Refusal
from xas_live.models.bundle import Bundle
from xas_live.models.card import Accuracy, Card
from xas_live.models.network_spec import NetworkSpec
from xas_live.models.networks import Weights, network
from xas_live.models.outputs import Scalars
from xas_live.models.outputs.intervals import LevelError, conformal_rank, fit_intervals, half_width
from xas_live.models.sections.domain import domain_distances
from xas_live.models.sections.latent import reconstruct
from xas_live.reduction.anchor import AnchorError, FoilAnchor
from xas_live.spectrum import Array, Spectrum
from xas_live.theory.sites import Indices
from xas_live.training.calibrate import LEVEL, column_of
from xas_live.training.recipe import Schedule
from xas_live.training.train import Progress, Scaling, fit

SCHEDULE = Schedule(steps=400, batch=64, learning_rate=3e-4, seed=20261124)
FROZEN = 2  # lower layers, as in the literature
MIXED = 3  # at most so many labelled spectra in one mixture
NOISE, GAIN = 0.002, 0.003  # drawn anew on every mixture, in units of the edge step
FEWEST_SPECTRA, FEWEST_GROUPS, MOST_FOLDS = 8, 2, 5
RIM = 0.9  # quantile of the labelled spectra's distances that the domain is widened to hold


class LabelledError(Refusal):
    """Labelled spectra that cannot be learned from, with the reason."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Spectra of known structure.

    Attributes
    ----------
    x : (n, g) network inputs, float32.
    y : (n, targets) float32; NaN where a label is not known.
    group : (n,) spectra of one particle share a number.
    about : for the card: file, its sha256, how many spectra and groups.
    """

    x: torch.Tensor
    y: torch.Tensor
    group: Indices
    about: dict[str, object]


def read_labelled(path: Path, bundle: Bundle) -> Labelled:
    """Read labelled spectra from HDF5.

    Measured ones: `energy` (e,) eV and `mu` (n, e), with the same beamline's foil in `foil/energy` and
    `foil/mu`; they are reduced as every sweep is. Or network inputs: `input` (n, g) on the model's grid.
    Beside them `targets/NAME` (n,) for every target of the model, NaN where a label is not known, with its
    unit in the attribute `unit` where it has one; and, where several spectra are of one particle, `group`
    (n,) integers.

    Raises
    ------
    LabelledError : saying what is missing or wrong.
    """
    try:
        with h5py.File(path) as file:
            y = _targets(file, bundle)
            x = _inputs(file, bundle)
            group = file["group"][:] if "group" in file else np.arange(len(x))
    except OSError as error:
        raise LabelledError(f"{path} cannot be read as HDF5: {error}") from error
    if not len(x) == len(y) == len(group):
        raise LabelledError(f"{len(x)} spectra, {len(y)} labels and {len(group)} group numbers do not match")
    group = np.unique(group, return_inverse=True)[1].astype(np.int64)
    groups = int(group.max()) + 1 if len(group) else 0
    if len(x) < FEWEST_SPECTRA or groups < FEWEST_GROUPS:
        raise LabelledError(
            f"{len(x)} labelled spectra of {groups} particles are too few: at least {FEWEST_SPECTRA} spectra "
            f"of {FEWEST_GROUPS} particles are needed"
        )
    about = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "spectra": len(x),
        "groups": groups,
    }
    return Labelled(torch.from_numpy(x).float(), torch.from_numpy(y).float(), group, about)


def _targets(file: h5py.File, bundle: Bundle) -> Array:
    labels = file.get("targets", {})
    missing = [name for name in bundle.target_names if name not in labels]
    if missing:
        raise LabelledError(
            f"targets/{missing[0]} is missing: {bundle.name} gives {', '.join(bundle.target_names)}; "
            "write NaN where a label is not known"
        )
    columns = []
    for target in bundle.card.targets:
        data = labels[target.name]
        unit = str(data.attrs.get("unit", target.unit))
        if unit != target.unit:
            raise LabelledError(
                f"targets/{target.name} has the unit {unit!r}; the model's is {target.unit!r}"
            )
        values = data[:].astype(np.float64)
        room = target.maximum - target.minimum
        bad = np.flatnonzero((values < target.minimum - room) | (values > target.maximum + room))
        if len(bad):
            raise LabelledError(
                f"targets/{target.name}[{bad[0]}] = {values[bad[0]]:g} is far from the model's range of "
                f"{target.minimum:g} to {target.maximum:g} {target.unit}".rstrip()
            )
        if not np.isfinite(values).any():
            raise LabelledError(f"targets/{target.name} holds no number")
        columns.append(values)
    if len({len(values) for values in columns}) > 1:
        raise LabelledError(f"targets differ in length: {[len(values) for values in columns]}")
    return np.stack(columns, axis=1)


def _inputs(file: h5py.File, bundle: Bundle) -> Array:
    if "input" in file:
        x = file["input"][:].astype(np.float64)
        if x.ndim != 2 or x.shape[1] != len(bundle.grid):
            raise LabelledError(f"input has shape {x.shape}; the model's grid has {len(bundle.grid)} points")
        if not np.isfinite(x).all():
            raise LabelledError(f"input[{np.flatnonzero(~np.isfinite(x).all(1))[0]}] holds NaN or infinity")
        return x
    missing = [name for name in ("energy", "mu", "foil/energy", "foil/mu") if name not in file]
    if missing:
        raise LabelledError(
            f"{missing[0]} is missing: give energy, mu, foil/energy and foil/mu as measured, or input on the "
            "model's grid"
        )
    element, edge = bundle.absorbers[0]
    energy = file["energy"][:].astype(np.float64)

    def spectrum(energy: Array, mu: Array) -> Spectrum:
        return Spectrum(energy=energy, mu=mu, element=element, edge=edge)

    try:
        foil = spectrum(file["foil/energy"][:].astype(np.float64), file["foil/mu"][:].astype(np.float64))
        anchor = FoilAnchor.fit(foil, bundle)
    except AnchorError as error:
        raise LabelledError(f"foil: {error}") from error
    mu = np.atleast_2d(file["mu"][:].astype(np.float64))
    if mu.shape[1] != len(energy):
        raise LabelledError(f"mu has shape {mu.shape}, energy has {len(energy)} points")
    predictions = Analyzer(bundle, anchor, device="cpu").analyze([spectrum(energy, row) for row in mu])
    for i, p in enumerate(predictions):
        if p.reduced is None:
            raise LabelledError(f"mu[{i}] cannot be used: {p.refused}")
    return np.stack([p.reduced.network_input for p in predictions if p.reduced is not None])


def fine_tune(
    spec: NetworkSpec,
    weights: Weights,
    scaling: Scaling,
    x: torch.Tensor,
    y: torch.Tensor,
    known: list[Indices],
    frozen: int = FROZEN,
    schedule: Schedule = SCHEDULE,
    progress: Progress = lambda step, steps, loss: None,
) -> Weights:
    """Weights after learning from labelled spectra.

    Parameters
    ----------
    spec, weights, scaling : the network as it was trained, all members.
    x, y : (n, g) inputs and (n, targets) labels, NaN where not known.
    known : of each member, the rows that it may learn from.
    frozen : so many of the lower layers stay as they are.

    Raises
    ------
    LabelledError : when that leaves nothing to train.
    """
    layers = [f"conv{i}." for i in range(len(spec.kernels))]
    layers += [f"layer{i}." for i in range(len(spec.hidden) + 1)]
    if not 0 <= frozen < len(layers):
        raise LabelledError(f"{frozen} frozen layers of {len(layers)}: freeze 0 to {len(layers) - 1}")
    kept = tuple(layers[:frozen])
    still = {k: v for k, v in weights.items() if k.startswith(kept)}
    moving = {k: v.clone() for k, v in weights.items() if not k.startswith(kept)}
    rng = np.random.default_rng(schedule.seed)

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        picks = np.stack([rng.choice(rows, (n, MIXED)) for rows in known])
        share = rng.exponential(size=picks.shape) * (np.arange(MIXED) < rng.integers(1, MIXED + 1, (n, 1)))
        w = torch.from_numpy(share / share.sum(-1, keepdims=True)).float()[..., None]
        mixed = (w * x[picks]).sum(2)
        gain = 1.0 + GAIN * torch.from_numpy(rng.standard_normal((*mixed.shape[:2], 1), dtype=np.float32))
        noise = NOISE * torch.from_numpy(rng.standard_normal(mixed.shape, dtype=np.float32))
        return mixed * gain + noise, (w * y[picks]).sum(2)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        return network(spec, still | moving, scaling.inputs(inputs))

    fit(moving, forward, draw, scaling, schedule, progress)
    return still | moving


def tuned(
    bundle: Bundle,
    labelled: Labelled,
    name: str,
    frozen: int = FROZEN,
    schedule: Schedule = SCHEDULE,
    progress: Progress = lambda step, steps, loss: None,
) -> Bundle:
    """A bundle that went on learning from labelled spectra, not yet stored.

    Each member is trained without one fold of the particles; what its fold's spectra are predicted as gives
    the card's accuracy, and the intervals where there are particles enough for them (9 for 90 %). With fewer,
    the source's intervals stay, widened to the errors found. The domain is widened to hold the labelled
    spectra.

    Raises
    ------
    LabelledError : when freezing leaves nothing to train.
    """
    card, t = bundle.card, bundle.tensors
    if len(bundle.kinds) != 1 or not isinstance(bundle.kinds[0], Scalars):
        raise LabelledError(f"{bundle.name} gives more than numbers: models of numbers alone are tuned")
    scaling = Scaling.of_bundle(bundle)
    groups = int(labelled.group.max()) + 1
    folds = min(groups, MOST_FOLDS, card.network.members)
    fold = np.random.default_rng(schedule.seed).permutation(groups)[labelled.group] % folds
    member_fold = np.arange(card.network.members) % folds
    known = [np.flatnonzero(fold != k) for k in member_fold]
    weights = fine_tune(
        card.network, bundle.network, scaling, labelled.x, labelled.y, known, frozen, schedule, progress
    )
    weights = {k: v.half().float() for k, v in weights.items()}  # as stored
    with torch.inference_mode():
        out = scaling.outputs(network(card.network, weights, scaling.inputs(labelled.x)))
    seen = torch.from_numpy(member_fold[:, None] != fold)[..., None]
    mean = out.masked_fill(seen, 0.0).sum(0) / (~seen).sum(0)
    spread = out.std(0, correction=0)
    error = mean - labelled.y
    first = torch.from_numpy(np.unique(labelled.group, return_index=True)[1])
    intervals = _intervals(bundle, error[first], spread[first], mean[first])
    half = half_width({**t, **intervals}, spread, mean[:, _stratum(bundle)], LEVEL)
    tensors = {
        **{k: v for k, v in bundle.stored.items() if k != "partial_widening"},  # the old network's
        **{k: v.half() for k, v in weights.items()},
        **intervals,
        **_widened_domain(bundle, labelled.x, scaling.disagreement(spread)),
    }
    return Bundle(
        card=_card(
            bundle, labelled, name, frozen, schedule, error, half, "calibration_scores" in intervals, folds
        ),
        tensors=tensors,
        sha256="",
    )


def _stratum(bundle: Bundle) -> int:
    """Column by whose prediction intervals are calibrated; the first where they are not parted."""
    [kind] = bundle.kinds
    return 0 if kind.strata is None else column_of(bundle.kinds, kind.strata)


def _widened_domain(bundle: Bundle, x: torch.Tensor, disagreement: torch.Tensor) -> dict[str, torch.Tensor]:
    """The domain's reference, moved out as far as the labelled spectra lie; nothing without a domain."""
    if bundle.card.sections.domain is None:
        return {}
    t, names = bundle.tensors, bundle.card.sections.distances
    reconstruction = None if bundle.card.sections.latent is None else reconstruct(t, x)[1]
    distances = domain_distances(t, x, reconstruction, disagreement, names)
    reference = t["domain_reference"]
    rim = torch.quantile(reference.flatten(0, 1), RIM, dim=0)
    wider = (torch.quantile(distances, RIM, dim=0) - rim).clamp_min(0.0)
    return {"domain_reference": reference + wider}


def _intervals(
    bundle: Bundle, error: torch.Tensor, spread: torch.Tensor, mean: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Interval tensors that replace the source's; one row a particle."""
    complete = torch.isfinite(error).all(1)
    try:
        conformal_rank(int(complete.sum()), LEVEL)
    except LevelError:
        found = 1.4826 * error.abs().nanmedian(0).values
        return {"scale_floor": torch.fmax(bundle.tensors["scale_floor"], found)}
    return fit_intervals(error[complete], spread[complete], mean[complete, _stratum(bundle)], bins=1)


def _card(
    bundle: Bundle,
    labelled: Labelled,
    name: str,
    frozen: int,
    schedule: Schedule,
    error: torch.Tensor,
    half: torch.Tensor,
    own_intervals: bool,
    folds: int,
) -> Card:
    card = bundle.card
    names = bundle.target_names

    def by_name(values: torch.Tensor) -> dict[str, float]:
        return dict(zip(names, [float(f"{v:.3g}") for v in values.tolist()], strict=True))

    known = torch.isfinite(error)
    hit = ((error.abs() <= half) & known).sum(0) / known.sum(0)
    calibration = {
        "method": "split conformal, normalised by ensemble spread",
        "set": "labelled spectra, each predicted by the members that never saw its particle",
        "particles": labelled.about["groups"],
        "calibrated_on": "labelled spectra",
    }
    kept = "intervals are the source's, widened to the errors found: too few particles for others"
    return card.model_copy(
        update={
            "name": name,
            "sections": card.sections.model_copy(update={"preview": None}),  # it was the old network's
            "summary": f"{card.summary}, tuned on {labelled.about['spectra']} labelled spectra",
            "training": {
                **card.training,
                "from": {"name": bundle.name, "sha256": bundle.sha256},
                "labelled": labelled.about,
                "frozen_layers": frozen,
                "tuning_schedule": schedule.model_dump(),
            },
            "calibration": calibration if own_intervals else {**card.calibration, "tuned": kept},
            "accuracy": Accuracy(
                mae=by_name(error.abs().nanmean(0)),
                bias=by_name(error.nanmean(0)),
                coverage=by_name(hit),
                coverage_by_size={},
                half_width=by_name(half.mean(0)),
                level=LEVEL,
                particles=int(labelled.group.max()) + 1,
                folds=folds,
                conditions="the labelled spectra as they are, each predicted by members that never saw its "
                "particle; the interval's own scores are among them",
            ),
            "limits": (
                *card.limits,
                "Tuned on labelled spectra: it is as right as their labels, and for particles like theirs.",
            ),
        }
    )


def tune_bundle(
    source: Bundle,
    path: Path,
    folder: Path,
    frozen: int = FROZEN,
    progress: Progress = lambda step, steps, loss: None,
) -> Bundle:
    """Read labelled spectra, tune, and write the bundle in `folder`, named after it.

    Raises
    ------
    LabelledError : when the spectra cannot be learned from, or freezing leaves nothing to train.
    """
    bundle = tuned(source, read_labelled(path, source), folder.name, frozen, progress=progress)
    return bundle.save(folder)
