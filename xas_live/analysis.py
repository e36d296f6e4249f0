"""Analyzer: spectra in, predictions out. The one way through, live, in replay, from files and in tests."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal, Protocol, get_args

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from xas_live.anchor import AnchorError, FoilAnchor, common_windows, newest_anchor
from xas_live.models.bundle import Bundle, ModelError
from xas_live.models.domain import domain_distances, domain_p_value, nearest
from xas_live.models.fractions import DEGENERATE, Makeup, Metals, Mixed, makeup
from xas_live.models.latent import give_back
from xas_live.models.networks import network
from xas_live.models.registry import available_models, find_model, load_model
from xas_live.models.uncertainty import conformal_rank, gaussian_quantile, half_width
from xas_live.models.verdict import domain_reason
from xas_live.prediction import Prediction, Reduced, Value
from xas_live.reduction.align import AlignmentError, reference_shift
from xas_live.reduction.gate import gate, i0_nonlinear
from xas_live.reduction.normalize import NormalizationOperator, OperatorCache, Windows
from xas_live.reduction.quality import (
    Checked,
    Unusable,
    check,
    check_range,
    check_step,
    glitches,
    half_rise,
    locate_edge,
    point_noise,
)
from xas_live.spectrum import Array, Spectrum
from xas_live.standards import standards_of
from xas_live.structure import particle_size

SHIFT_STEP = 0.005  # eV; shifts are rounded to it, so that sweeps of one series share operators
E0_TOLERANCE = 1.0  # eV between sample's and foil's e0, beyond which an unaligned scale is flagged
MISMATCH_STEP = 0.25  # of the foil's theory error, by which its effect on predictions is measured
BROADENING_TOLERANCE = 0.8  # eV between the foil's resolution then and now; training knows 0.4
ANCHOR_AGE = 7 * 86400.0  # s between foil and sample
TEMPERATURE_TOLERANCE = 100.0  # K between sample and foil
LONG_RANGE = 150.0  # eV past the edge that a scan must reach for windows beyond the strongest fine structure
NOISY_FOIL = 0.005  # noise of a point of the foil, in edge steps, from which it moves predictions noticeably
ANALYZERS_KEPT = 8  # by a pool: each holds its model's tensors and operators
REDUCTION_VERSION = 2  # raised when the same sweep would be reduced to something else
ROOM_TEMPERATURE = 295.0  # K: where a reference foil stands, behind the sample's environment
MAX_SHIFT = 50.0  # eV between sample and foil that can be asked for

Alignment = Literal["auto", "reference", "none", "e0"]


class AnalysisConfig(BaseModel):
    """What the user may choose about the analysis.

    Attributes
    ----------
    align : how the sample's energy scale is laid on the foil's. "reference": by the sweep's own reference
        channel; "none": both were calibrated alike; "e0": by the sample's edge, which hides its own shift
        (flagged); a number: the sample lies so many eV above the foil, -50 to 50. "auto" takes the reference
        channel where there is one, else "none".
    level : nominal coverage of the intervals, 0.5 to 0.99.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    align: Alignment | Annotated[float, Field(ge=-MAX_SHIFT, le=MAX_SHIFT, allow_inf_nan=False)] = "auto"
    level: float = Field(default=0.9, ge=0.5, le=0.99)


def checked_alignment(align: str | float) -> Alignment | float:
    """The alignment that a word, a number or the text of a number asks for.

    Raises
    ------
    ValueError : for anything else, and for a shift over 50 eV.
    """
    if align in get_args(Alignment):
        return align  # type: ignore[return-value]
    try:
        shift = float(align)
    except (TypeError, ValueError):
        shift = math.nan
    if not abs(shift) <= MAX_SHIFT:
        raise ValueError(
            f"{align!r} is no alignment: use {', '.join(get_args(Alignment))}, or a number of eV, "
            f"{-MAX_SHIFT:g} to {MAX_SHIFT:g}"
        )
    return shift


class Analyzes(Protocol):
    """Whatever turns spectra into predictions: an `Analyzer`, or a pool of them."""

    def analyze(self, spectra: Sequence[Spectrum]) -> list[Prediction]:
        """One prediction a spectrum, in order."""
        ...


@dataclass(eq=False)
class _Job:
    """One spectrum on its way: what each step found, for the next."""

    index: int
    spectrum: Spectrum
    flags: list[str] = field(default_factory=list)
    checked: Checked | None = None
    anchor: FoilAnchor | None = None
    aligned: str = "none"
    shift: float = 0.0
    e0: float = float("nan")
    edge_step: float = float("nan")
    windows: Windows = field(default_factory=Windows)
    foil: Array | None = None
    gain: float = 1.0
    flat: Array | None = None
    mixed: Mixed | None = None
    refused: str | None = None


@dataclass(frozen=True, eq=False)
class _Found:
    """What the networks say of a batch, one row a spectrum."""

    mean: Array
    half: Array
    p: Array
    scores: Array
    latent: Array
    off: Array
    given_back: Array


class Analyzer:
    """Reduces, infers and judges with one model and one anchor. Safe to share between threads.

    The prediction of a completed sweep is a pure function of the sweep, the model, the anchor and the
    configuration.

    Parameters
    ----------
    bundle : the model.
    anchor : a fitted foil; "reference" takes each sweep's own reference channel as its foil; None leaves the
        prediction `unanchored`.
    config : the user's choices.
    device : "auto" (a GPU where torch finds one), or torch's name of a device.
    fallback : with "reference", the foil for sweeps whose reference channel is missing or bad.
    standards : measured spectra of other phases by name, as {"oxide": spectrum}: their fractions are fitted
        jointly with the structure of the metal.

    Raises
    ------
    StandardError : when a standard cannot be used.
    AnchorError : when an anchor is of another absorber than the model, or does not fit its theory.
    ModelError : when the model takes or gives what this Analyzer does not know.
    ValueError : when the level is beyond what the model's calibration set allows, or the machine lacks the
        device.
    """

    def __init__(
        self,
        bundle: Bundle,
        anchor: FoilAnchor | Literal["reference"] | None = None,
        config: AnalysisConfig | None = None,
        device: str | torch.device = "auto",
        *,
        fallback: FoilAnchor | None = None,
        standards: Mapping[str, Spectrum] | None = None,
    ) -> None:
        card = bundle.card
        if card.input.kind != "flat" or card.output != "scalars":
            raise ModelError(
                f"model {bundle.name} takes {card.input.kind} and gives {card.output}: xas_live analyses "
                "flat spectra to scalars"
            )
        self.bundle = bundle
        self.anchor = anchor.for_bundle(bundle) if isinstance(anchor, FoilAnchor) else anchor
        self.fallback = None if fallback is None else fallback.for_bundle(bundle)
        self.config = config or AnalysisConfig()
        self.device = device if isinstance(device, torch.device) else _pick_device(device)
        self._tensors = {k: v.to(self.device) for k, v in bundle.tensors.items()}
        self._network = {k: v.to(self.device) for k, v in bundle.network.items()}
        conformal_rank(bundle.tensors["calibration_scores"].shape[1], self.config.level)
        self._theory = np.interp(bundle.grid, bundle.array("theory_energy"), bundle.array("theory_bulk"))
        self._theory_edge = _steepest_rise(bundle.array("theory_energy"), bundle.array("theory_bulk"))
        self._edge_rise_limit = float(bundle.array("edge_rise_limit")[0])
        self.standards = standards_of(standards or {}, bundle)
        self._metals = Metals(*(bundle.array(name) for name in ("metal_mean", "metal_factor", "metal_rest")))
        self._operators = OperatorCache()
        self._foils: dict[tuple[str, Windows], tuple[Array, float]] = {}
        self._lock = Lock()

    @property
    def configuration(self) -> dict[str, Any]:
        """All that predictions depend on besides sweep and model, ready for JSON."""
        anchor = self.anchor.sha256 if isinstance(self.anchor, FoilAnchor) else self.anchor
        fallback: dict[str, Any] = {} if self.fallback is None else {"fallback_anchor": self.fallback.sha256}
        standards = {s.name: s.sha256 for s in self.standards}
        fallback |= {"standards": standards} if standards else {}
        return {"anchor": anchor, **fallback, **self.config.model_dump(), "reduction": REDUCTION_VERSION}

    def analyze(self, spectra: Sequence[Spectrum]) -> list[Prediction]:
        """Predictions of a batch of spectra, in their order.

        A spectrum that cannot be analysed comes back refused, with the reason; nothing is raised for it.
        """
        seconds: dict[str, float] = {}
        jobs = [_Job(i, s) for i, s in enumerate(spectra)]
        with _timed(seconds, "prepare"):
            for job in jobs:
                with _refusing(job):
                    self._prepare(job)
        with _timed(seconds, "reduce"):
            groups: dict[Any, list[_Job]] = {}
            for job in jobs:
                if job.refused is None:
                    assert job.checked is not None
                    groups.setdefault(self._operator_key(job), []).append(job)
            for key, group in groups.items():
                self._reduce(key, group)
        good = [job for job in jobs if job.refused is None]
        predictions: dict[int, Prediction] = {}
        with _timed(seconds, "infer"):
            predictions = self._infer(good) if good else {}
        share = {name: took / max(len(jobs), 1) for name, took in seconds.items()}
        share["total"] = sum(share.values())
        return [
            replace(predictions.get(job.index) or self._refused(job), seconds=dict(share)) for job in jobs
        ]

    def _prepare(self, job: _Job) -> None:
        """Check the sweep; settle its anchor, energy shift and windows."""
        spectrum, card = job.spectrum, self.bundle.card
        absorber = card.absorber_of(spectrum.element, spectrum.edge)
        if absorber is None and spectrum.absorber_guessed:  # a guess does not overrule the user's choice
            job.spectrum = spectrum = replace(spectrum, element=None, edge=None, absorber_guessed=False)
            absorber = card.absorbers[0]
        if absorber is None:
            known = ", ".join(f"{a.element} {a.edge}" for a in card.absorbers)
            asked = f"{spectrum.element or ''} {spectrum.edge or ''}".strip()
            raise Unusable(f"the sample is {asked}, the model {self.bundle.name} of {known}")
        job.checked = good = check(spectrum)
        job.flags += good.flags
        if not spectrum.complete:
            job.flags.append("incomplete")
        if spectrum.mode == "fluorescence":
            job.flags.append("self_absorption_uncorrected")
        job.e0 = locate_edge(good.energy, good.mu, absorber.energy)
        if (i0 := spectrum.counts.get("i0")) is not None and i0_nonlinear(spectrum.mu, i0):
            job.flags.append("i0_nonlinear")
        job.anchor = self._anchor_of(job, good)
        if job.anchor is None:
            job.flags.append("unanchored")
            job.aligned = "e0"
        else:
            self._align(job, good, job.anchor)
            self._compare_temperature(job, job.anchor)
            now, then = spectrum.provenance.time, job.anchor.time
            if now is not None and then is not None and abs(now - then) > ANCHOR_AGE:
                job.flags.append("anchor_old")
            if job.anchor.noise > NOISY_FOIL:
                job.flags.append("noisy_foil")

        center = job.e0 if job.anchor is None else job.anchor.e0 + job.shift
        axes = [good.energy]
        if job.anchor is not None:
            axes.append(job.anchor.energy + job.shift)
            axes += [s.energy for s in self.standards]
        elif self.standards:
            job.flags.append("standards_need_an_anchor")
        check_range(good.energy, center, self._points(job))
        gate(good.energy, good.mu, job.e0)
        job.windows = common_windows(card.input.fit_windows, axes, center)
        if job.windows.norm2 is not None and job.windows.norm2 < LONG_RANGE:
            job.flags.append("short_range")

    def _anchor_of(self, job: _Job, good: Checked) -> FoilAnchor | None:
        if self.anchor != "reference":
            return self.anchor
        if good.reference is None:
            job.flags.append("no_reference" if job.spectrum.reference is None else "bad_reference")
            return self.fallback
        foil = Spectrum(
            energy=good.energy,
            mu=good.reference,
            element=job.spectrum.element,
            edge=job.spectrum.edge,
            temperature=ROOM_TEMPERATURE,
            provenance=job.spectrum.provenance,
        )
        try:
            return FoilAnchor.fit(foil, self.bundle)
        except AnchorError:
            job.flags.append("bad_reference")
            return self.fallback

    def _align(self, job: _Job, good: Checked, anchor: FoilAnchor) -> None:
        """Shift of the scan against the foil, by the way that the configuration asks for."""
        align = self.config.align
        if anchor not in (self.anchor, self.fallback) and align in ("auto", "reference"):
            job.aligned = "reference"  # foil and sample share one energy axis
            return
        if align == "reference" or (align == "auto" and good.reference is not None):
            try:
                if good.reference is None:
                    raise AlignmentError("the sweep has no reference channel")
                found = reference_shift(good.energy, good.reference, anchor.energy, anchor.mu, anchor.e0)
                job.shift, job.aligned = found.energy, "reference"
                if abs(found.broadening) > BROADENING_TOLERANCE:
                    job.flags.append("resolution_differs")
            except AlignmentError:
                job.flags.append("no_reference" if job.spectrum.reference is None else "bad_reference")
                job.aligned = "none"
        elif align == "e0":
            job.shift, job.aligned = job.e0 - anchor.e0, "e0"
            job.flags.append("aligned_by_e0")
        elif not isinstance(align, str):
            job.shift, job.aligned = float(align), f"{float(align):g} eV"
        job.shift = SHIFT_STEP * round(job.shift / SHIFT_STEP)
        if job.aligned != "reference" and abs(job.e0 - job.shift - anchor.e0) > E0_TOLERANCE:
            job.flags.append("e0_differs_from_foil")

    def _compare_temperature(self, job: _Job, anchor: FoilAnchor) -> None:
        sample, foil = job.spectrum.temperature, anchor.temperature
        if sample is None or foil is None or not np.isfinite(sample):
            job.flags.append("temperature_unknown")
        elif abs(sample - foil) > TEMPERATURE_TOLERANCE:
            job.flags.append("temperature_differs")

    def _points(self, job: _Job) -> Array:
        """(g,) measured energies of the grid, eV."""
        if job.anchor is None:
            return job.e0 + self.bundle.grid - self._theory_edge
        return job.anchor.energies(self.bundle.grid, job.shift)

    def _operator_key(self, job: _Job) -> Any:
        assert job.checked is not None
        anchor = None if job.anchor is None else job.anchor.sha256
        center = round(job.e0, 3) if job.anchor is None else job.shift
        return job.checked.energy.tobytes(), anchor, center, job.windows

    def _reduce(self, key: Any, group: list[_Job]) -> None:
        """Normalised spectra on the grid, for sweeps that share axis, anchor, shift and windows."""
        first = group[0]
        assert first.checked is not None
        energy, points = first.checked.energy, self._points(first)
        center = first.e0 if first.anchor is None else first.anchor.e0 + first.shift

        def build() -> NormalizationOperator:
            return NormalizationOperator(energy, center, first.windows, points)

        try:
            # An own reference's warp never comes again: it would only push the others out of the cache.
            lasting = first.anchor in (self.anchor, self.fallback)
            operator = self._operators.get(key, build) if lasting else build()
            foil, gain = (None, 1.0) if first.anchor is None else self._foil(first.anchor, first.windows)
        except ValueError as error:
            for job in group:
                job.refused = str(error)
            return
        mu = torch.from_numpy(np.stack([job.checked.mu for job in group if job.checked is not None]))
        flat, steps = operator.flat(mu.to(self.device))
        for job, row, step in zip(group, flat.cpu().numpy(), steps.tolist(), strict=True):
            assert job.checked is not None
            job.edge_step, job.flat, job.foil, job.gain = step, row, foil, gain
            with _refusing(job):
                if self.standards and job.anchor is not None:
                    job.mixed = self._mixed(job)
                job.flags += check_step(step, point_noise(job.checked.mu))
                spikes = glitches(energy, job.checked.mu, step)
                if np.any((spikes >= points[0]) & (spikes <= points[-1])):
                    job.flags.append("glitch")

    def _foil(self, anchor: FoilAnchor, windows: Windows) -> tuple[Array, float]:
        """The normalised foil on the grid, and its gain."""
        if anchor not in (self.anchor, self.fallback):  # a sweep's own reference: seen once
            return anchor.on_grid(self.bundle.grid, self._theory, windows)
        key = (anchor.sha256, windows)
        with self._lock:
            if key not in self._foils:
                self._foils[key] = anchor.on_grid(self.bundle.grid, self._theory, windows)
            return self._foils[key]

    def _network_input(self, job: _Job) -> Array:
        assert job.flat is not None
        if job.foil is None:
            return job.flat
        return self._theory + job.gain * (job.flat - job.foil)

    def _measured_as(self, job: _Job, network_input: Array) -> Array:
        """The normalised sample that would give this network input."""
        if job.foil is None:
            return network_input
        return job.foil + (network_input - self._theory) / job.gain

    def _mixed(self, job: _Job) -> Mixed:
        """How much of each standard there may be, and the metal that it leaves."""
        assert job.anchor is not None
        assert job.foil is not None
        phases = [
            self._theory
            + job.gain * (s.flat(job.anchor, self.bundle.grid, job.windows, job.shift) - job.foil)
            for s in self.standards
        ]
        return Mixed.fit(self._network_input(job), np.stack(phases), self._metals)

    def _infer(self, jobs: list[_Job]) -> dict[int, Prediction]:
        """Ensemble mean with conformal intervals, domain, size."""
        t = self._tensors
        inputs = np.stack(
            [
                self._network_input(job) if job.mixed is None else job.mixed.remainder[job.mixed.best]
                for job in jobs
            ]
        )
        x = torch.from_numpy(inputs).float().to(self.device)
        with torch.inference_mode():
            # In one pass: reading the weights takes longer than three spectra do.
            wrong = MISMATCH_STEP * self._theory_error(jobs)
            out, up, down = self._network_of(torch.cat([x, x + wrong, x - wrong])).chunk(3, dim=1)
            mean, spread = out.mean(0), out.std(0, correction=0)
            half = half_width(t, spread, mean[:, 0], self.config.level)
            # For the bulk it cancels; it returns with the share of missing neighbours, of unknown sign.
            per_u = 0.5 * (up - down).mean(0).abs() / MISMATCH_STEP
            missing = self._missing(mean)
            half = torch.hypot(half, gaussian_quantile(self.config.level) * missing * per_u)
            latent, given_back = give_back(t, x)
            disagreement = (spread / t["target_scale"]).mean(1)
            distances = domain_distances(t, x, given_back, disagreement)
            p_value, scores = domain_p_value(t, distances, mean[:, 0])
            off = x - nearest(t, x, given_back)
            makeup = {job.index: self._makeup(job.mixed) for job in jobs if job.mixed is not None}
        found = _Found(
            *(v.double().cpu().numpy() for v in (mean, half, p_value, scores, latent, off, given_back))
        )
        return {
            job.index: self._prediction(job, inputs[i], found, i, makeup.get(job.index))
            for i, job in enumerate(jobs)
        }

    def _makeup(self, mixed: Mixed) -> Makeup:
        """Of a sample with standards, what the network says of every remainder, put together."""
        names = self.bundle.target_names
        x = torch.from_numpy(mixed.remainder).float().to(self.device)
        out = self._network_of(x)
        mean = out.mean(0)
        half = half_width(self._tensors, out.std(0, correction=0), mean[:, 0], self.config.level)
        std = half.double().cpu().numpy() / gaussian_quantile(self.config.level)
        return makeup(mixed, names, mean.double().cpu().numpy(), std, [s.name for s in self.standards])

    def _network_of(self, x: torch.Tensor) -> torch.Tensor:
        """(members, batch, targets) of network inputs (batch, g)."""
        t = self._tensors
        out = network(self.bundle.card.network, self._network, (x - t["input_mean"]) / t["input_scale"])
        return out * t["target_scale"] + t["target_mean"]

    def _theory_error(self, jobs: list[_Job]) -> torch.Tensor:
        """(batch, g) what theory gets wrong for the foils, in edge steps; zero without a foil."""
        wrong = np.zeros((len(jobs), len(self._theory)))
        for row, job in zip(wrong, jobs, strict=True):
            if job.foil is not None:
                row[:] = job.gain * job.foil - self._theory
        return torch.from_numpy(wrong).float().to(self.device)

    def _missing(self, mean: torch.Tensor) -> torch.Tensor:
        """(batch, 1) share of missing neighbours; zero for models that do not give it."""
        if self.bundle.target_names[0] != "CN1":
            return torch.zeros_like(mean[:, :1])
        return (1.0 - mean[:, :1] / 12.0).clamp(0.0, 1.0)

    def _prediction(
        self, job: _Job, network_input: Array, found: _Found, row: int, made_up: Makeup | None
    ) -> Prediction:
        card, level = self.bundle.card, self.config.level
        mean, half, p, scores = found.mean[row], found.half[row], float(found.p[row]), found.scores[row]
        if not np.isfinite([*mean, *half, p]).all():
            job.refused = f"the model {self.bundle.name} gave no number: is its bundle sound?"
            return self._refused(job)
        values = {}
        flags = list(job.flags)
        if job.foil is not None and job.flat is not None and job.aligned != "e0":
            grid = self.bundle.grid
            metal = job.flat if job.mixed is None else self._measured_as(job, network_input)
            if half_rise(grid, metal) - half_rise(grid, job.foil) > self._edge_rise_limit:
                flags.append("edge_above_foil")
        for target, value, width in zip(card.targets, mean, half, strict=True):
            if made_up is not None:
                value, std = made_up.values[target.name]
                width = std * gaussian_quantile(level)
            if value - width > target.maximum or value + width < target.minimum:
                flags.append(f"{target.name}_beyond_training")
            values[target.name] = _value(
                float(value), float(width), level, target.unit, non_negative=target.non_negative
            )
        fractions: dict[str, Value] = {}
        if made_up is not None:
            q = gaussian_quantile(level)
            whole = {} if made_up.sample is None else {"CN1_sample": made_up.sample}
            of_sample = {
                name: _value(value, q * std, level, "", non_negative=True)
                for name, (value, std) in whole.items()
            }
            fractions = {
                name: _value(value, q * std, level, "", non_negative=True, top=1.0)
                for name, (value, std) in made_up.fractions.items()
            }
            if abs(made_up.correlation) > DEGENERATE:
                flags.append("fractions_degenerate")
                values, fractions = {}, {}
            values |= of_sample
        in_domain = p >= card.domain_threshold
        if not in_domain:
            flags.append("out_of_domain")
        return self._base(
            job,
            flags,
            values=values,
            in_domain=in_domain,
            domain_p=p,
            domain_score=float(scores.max()),
            domain_reason=""
            if in_domain
            else domain_reason(scores, found.off[row], self.bundle.grid, self._theory),
            latent=tuple(found.latent[row].tolist()),
            fractions=fractions,
            correlation=math.nan if made_up is None else made_up.correlation,
            size=particle_size(values, self.bundle),
            reduced=Reduced(
                grid=self.bundle.grid,
                flat=job.flat if job.flat is not None else network_input,
                foil=job.foil,
                network_input=network_input,
                denoised=self._measured_as(job, found.given_back[row]),
            ),
        )

    def _refused(self, job: _Job) -> Prediction:
        return self._base(job, job.flags, refused=job.refused or "no reason known")

    def _base(self, job: _Job, flags: list[str], **rest: Any) -> Prediction:
        spectrum, card = job.spectrum, self.bundle.card
        return Prediction(
            model=self.bundle.name,
            model_sha256=self.bundle.sha256,
            element=spectrum.element or (None if job.refused else card.element),
            edge=spectrum.edge or (None if job.refused else card.edge),
            provenance=spectrum.provenance,
            anchored=job.anchor is not None,
            aligned=job.aligned,
            flags=tuple(dict.fromkeys(flags)),
            e0=job.e0,
            edge_step=job.edge_step,
            shift=job.shift,
            partial=not spectrum.complete,
            configuration=self.configuration,
            calibrated_on=str(card.calibration.get("calibrated_on", "simulation")),
            **rest,
        )


class AnalyzerPool:
    """Analyzers for whatever comes: the model by element and edge, the anchor as asked for.

    Parameters
    ----------
    model : name or folder of the one model to use; None picks the shipped one of each spectrum's absorber.
    anchor : a fitted foil; "reference"; None; or "auto": the sweep's own reference channel where there is
        one, else the user's newest saved anchor of the absorber, else none.
    config, device, standards : as for `Analyzer`; standards of another absorber than a spectrum's are not
        used for it.

    Raises
    ------
    ModelError : when the model cannot be had.
    ValueError : when the machine does not have the device.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        anchor: FoilAnchor | Literal["reference", "auto"] | None = "auto",
        config: AnalysisConfig | None = None,
        device: str = "auto",
        standards: Mapping[str, Spectrum] | None = None,
    ) -> None:
        self.anchor = anchor
        self.standards = dict(standards or {})
        self.config = config or AnalysisConfig()
        self.device = _pick_device(device)
        self._fixed = None if model is None else load_model(model)
        self._analyzers: OrderedDict[tuple[str | None, ...], Analyzer] = OrderedDict()
        self._lock = Lock()

    def bundle_for(self, spectrum: Spectrum) -> Bundle | None:
        """The model for this spectrum, or None when no model speaks of its absorber."""
        if self._fixed is not None:
            return self._fixed
        name = find_model(spectrum.element, spectrum.edge)
        return None if name is None else load_model(name)

    def analyze(self, spectra: Sequence[Spectrum]) -> list[Prediction]:
        """One prediction a spectrum, in order; spectra of one absorber are analysed as one batch."""
        groups: dict[int, tuple[Analyzer, list[int]]] = {}
        results: dict[int, Prediction] = {}
        for i, spectrum in enumerate(spectra):
            try:
                analyzer = self._analyzer_for(spectrum)
            except (ModelError, AnchorError, ValueError) as error:
                results[i] = Prediction.refusal(spectrum, str(error))
                continue
            groups.setdefault(id(analyzer), (analyzer, []))[1].append(i)
        for analyzer, members in groups.values():
            found = analyzer.analyze([spectra[i] for i in members])
            results.update(zip(members, found, strict=True))
        return [results[i] for i in range(len(spectra))]

    def _analyzer_for(self, spectrum: Spectrum) -> Analyzer:
        bundle = self.bundle_for(spectrum)
        if bundle is None:
            raise ModelError(_no_model(spectrum))
        anchor, fallback = self.anchor, None
        if anchor == "auto":
            anchor = saved = newest_anchor(bundle.card.element, bundle.card.edge)
            if spectrum.reference is not None:
                anchor, fallback = "reference", saved
        key = (bundle.sha256, *(a.sha256 if isinstance(a, FoilAnchor) else a for a in (anchor, fallback)))
        with self._lock:
            if key not in self._analyzers:
                own = {
                    name: standard
                    for name, standard in self.standards.items()
                    if bundle.card.absorber_of(standard.element, standard.edge) is not None
                }
                self._analyzers[key] = Analyzer(
                    bundle, anchor, self.config, self.device, fallback=fallback, standards=own
                )
                while len(self._analyzers) > ANALYZERS_KEPT:
                    self._analyzers.popitem(last=False)
            self._analyzers.move_to_end(key)
            return self._analyzers[key]


def _value(
    value: float, half: float, level: float, unit: str, *, non_negative: bool, top: float = math.inf
) -> Value:
    """A value with its interval, cut where the quantity ends."""
    low = 0.0 if non_negative else -math.inf
    return Value(
        value=min(max(value, low), top),
        std=half / gaussian_quantile(level),
        lower=min(max(value - half, low), top),
        upper=max(min(value + half, top), low),
        level=level,
        unit=unit,
    )


def _no_model(spectrum: Spectrum) -> str:
    """Why there is no model for a spectrum, and what to do."""
    shipped = ", ".join(available_models())
    if spectrum.element is not None and spectrum.edge is not None:
        return f"no model for {spectrum.element} {spectrum.edge}: shipped are {shipped}"
    finite = spectrum.energy[np.isfinite(spectrum.energy)]
    seen = f"energies from {finite.min():.0f} to {finite.max():.0f} eV" if len(finite) else "its energies"
    return (
        f"element and edge are not known: the metadata do not name them, and in {seen} mu does not rise at "
        f"one edge with 50 eV behind it. Name them in the metadata, or choose a model ({shipped})"
    )


def _pick_device(device: str) -> torch.device:
    """The device of this name. Raises ValueError when this machine does not have it."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used here: {reason}; give 'auto' or 'cpu'") from error


def _steepest_rise(energy: Array, mu: Array) -> float:
    """Energy of the theory's edge: its steepest point within 15 eV of zero."""
    near = np.abs(energy) < 15.0
    return float(energy[near][np.gradient(mu[near], energy[near]).argmax()])


@contextmanager
def _refusing(job: _Job) -> Iterator[None]:
    """Turn what cannot be analysed into the job's refusal."""
    try:
        yield
    except (Unusable, AnchorError, ValueError) as error:
        job.refused = str(error)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
