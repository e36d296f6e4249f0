"""Analyzer: spectra in, predictions out. The one way through, live, in replay, from files and in tests."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from xas_live.analysis.config import AnalysisConfig
from xas_live.analysis.preview import Preview
from xas_live.models.bundle import Bundle, ModelError
from xas_live.models.ensemble import Ensemble, Found
from xas_live.models.outputs.intervals import gaussian_quantile
from xas_live.models.sections.domain_reason import domain_reason
from xas_live.models.sections.phases import DEGENERATE, Makeup, makeup
from xas_live.models.sections.size import ParticleSize
from xas_live.prediction import Prediction, Reduced, Value
from xas_live.reduction.anchor import FoilAnchor
from xas_live.reduction.quality import half_rise
from xas_live.reduction.reducer import Job, Reducer
from xas_live.spectrum import Array, Spectrum

REDUCTION_VERSION = 4  # raised when the same sweep would be reduced to something else

logger = logging.getLogger("xas_live")

_Given = TypeVar("_Given")
_Found = TypeVar("_Found")


class Analyzes(Protocol):
    """Whatever turns spectra into predictions: an `Analyzer`, or a pool of them.

    It may also have `preview`, as both do, `analyze_all`, as the pool does, and `submit`, as an
    `AnalyzerProcess` does: they are used where they are.
    """

    def analyze(self, spectra: Sequence[Spectrum]) -> list[Prediction]:
        """One prediction a spectrum, in order."""
        ...


class Batch(NamedTuple):
    """Spectra that were reduced together: a job each, in their order, and the time each took (s)."""

    jobs: list[Job]
    seconds: float


class Analyzer:
    """Reduces, infers and judges with one model and one anchor. Safe to share between threads.

    A device that fails is left with a warning in the log "xas_live", and the CPU takes over.

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
    reducers : those of other analyzers by their recipe. One that does the same is shared, else the analyzer's
        own is put there.

    Attributes
    ----------
    reducer : brings sweeps to the network's input. What one analyzer reduces, others with the same reducer
        can judge.

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
        reducers: MutableMapping[tuple[Any, ...], Reducer] | None = None,
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
        self.device = device if isinstance(device, torch.device) else pick_device(device)
        self._ensemble = Ensemble(bundle, self.device, self.config.level)
        own = Reducer(bundle, self.anchor, self.fallback, self.config.align, self.device, standards or {})
        self.reducer = own if reducers is None else reducers.setdefault(own.recipe, own)
        self._size = ParticleSize(bundle) if "CN1" in bundle.target_names else None
        self._edge_rise_limit = float(bundle.array("edge_rise_limit")[0])
        self._quantile = gaussian_quantile(self.config.level)
        speaks = "partial_widening" in bundle.tensors
        self._preview = Preview(self.reducer, self._ensemble) if speaks else None

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """All that predictions depend on besides sweep and model, ready for JSON."""
        anchor = self.anchor.sha256 if isinstance(self.anchor, FoilAnchor) else self.anchor
        fallback: dict[str, Any] = {} if self.fallback is None else {"fallback_anchor": self.fallback.sha256}
        standards = {s.name: s.sha256 for s in self.reducer.standards}
        fallback |= {"standards": standards} if standards else {}
        return {"anchor": anchor, **fallback, **self.config.model_dump(), "reduction": REDUCTION_VERSION}

    def analyze(self, spectra: Sequence[Spectrum]) -> list[Prediction]:
        """Predictions of a batch of spectra, in their order.

        A spectrum that cannot be analysed comes back refused, with the reason; nothing is raised for it.
        """
        return self.judge(self.reduce(spectra))

    def reduce(self, spectra: Sequence[Spectrum]) -> Batch:
        """The spectra as networks take them, or with the reason why they cannot be."""
        start = time.perf_counter()
        jobs = self._on_a_sound_device(self.reducer.reduce, spectra)
        return Batch(jobs, (time.perf_counter() - start) / max(len(jobs), 1))

    def judge(self, batch: Batch) -> list[Prediction]:
        """What the model makes of spectra that this `reducer` reduced; they are left as they are."""
        return self._on_a_sound_device(self._judged, batch)

    def refusal(self, spectrum: Spectrum, reason: str) -> Prediction:
        """What is said of a spectrum on which the analysis itself failed."""
        return self._refused(Job(0, spectrum), {}, reason)

    def _on_a_sound_device(self, step: Callable[[_Given], _Found], given: _Given) -> _Found:
        try:
            return step(given)
        except RuntimeError as error:  # what torch raises when a device fails
            if self.device.type == "cpu":
                raise
            self._fall_back(error)
            return step(given)

    def _fall_back(self, error: RuntimeError) -> None:
        """Go on on the CPU: a scan must not wait for a device that failed."""
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        logger.warning("%s failed (%s): %s goes on on the CPU", self.device, reason, self.bundle.name)
        self.device = self.reducer.device = torch.device("cpu")
        self._ensemble = Ensemble(self.bundle, self.device, self.config.level)
        if self._preview is not None:
            self._preview = Preview(self.reducer, self._ensemble)

    def _judged(self, batch: Batch) -> list[Prediction]:
        start, jobs = time.perf_counter(), batch.jobs
        good = [job for job in jobs if job.refused is None]
        found, made_up = (self._find(good), self._makeups(good)) if good else (None, {})
        share = {"reduce": batch.seconds, "infer": (time.perf_counter() - start) / max(len(jobs), 1)}
        share["total"] = share["reduce"] + share["infer"]
        rows = {job.index: row for row, job in enumerate(good)}
        return [
            self._refused(job, share, job.refused or "no reason known")
            if found is None or job.index not in rows
            else self._prediction(job, found, rows[job.index], made_up.get(job.index), share)
            for job in jobs
        ]

    def preview(self, spectrum: Spectrum, step: tuple[float, float] | None = None) -> Prediction | None:
        """What can be said of a growing sweep, from 30 eV past the edge: wide intervals that narrow.

        Unlike a completed sweep's, it depends on the sweeps before: anchor and energy shift are theirs. Its
        intervals are calibrated by the energy reached, over particles of new environments.

        Parameters
        ----------
        spectrum : the sweep as far as it is measured.
        step : edge step of earlier sweeps of the sample (units of mu), and its relative standard deviation.

        Returns
        -------
        None as long as nothing can be said: before the edge is passed, without an anchor, without enough of
        the pre-edge, or where the model does not speak of growing sweeps.
        """
        start = time.perf_counter()
        found = None if self._preview is None else self._preview.find(spectrum, step)
        if found is None:
            return None
        took = time.perf_counter() - start
        return self._prediction(found[0], found[1], 0, None, {"total": took})

    def _find(self, jobs: list[Job]) -> Found:
        inputs = np.stack([_input_of(job) for job in jobs])
        if all(job.plan is None or job.plan.theory_error is None for job in jobs):
            return self._ensemble.judge(inputs)
        nothing = np.zeros_like(self.bundle.grid)
        errors = [None if job.plan is None else job.plan.theory_error for job in jobs]
        return self._ensemble.judge(inputs, np.stack([nothing if e is None else e for e in errors]))

    def _makeups(self, jobs: list[Job]) -> dict[int, Makeup]:
        """Of samples with standards, what the network says of every remainder, put together."""
        names, standards = self.bundle.target_names, [s.name for s in self.reducer.standards]
        return {
            job.index: makeup(job.mixed, names, *self._ensemble.values(job.mixed.remainder), standards)
            for job in jobs
            if job.mixed is not None
        }

    def _prediction(
        self, job: Job, found: Found, row: int, made_up: Makeup | None, seconds: Mapping[str, float]
    ) -> Prediction:
        card, grid = self.bundle.card, self.bundle.grid
        mean, half, p = found.mean[row].tolist(), found.half[row].tolist(), float(found.p[row])
        if not all(map(math.isfinite, (*mean, *half, p))):
            reason = f"the model {self.bundle.name} gave no number: is its bundle sound?"
            return self._refused(job, seconds, reason)
        assert job.plan is not None
        assert job.flat is not None
        network_input = _input_of(job)
        flags = list(job.flags)
        if job.plan.foil is not None and job.aligned != "e0":
            metal = job.flat if job.mixed is None else self.reducer.measured_as(job, network_input)
            if half_rise(grid, metal) - job.plan.foil_rise > self._edge_rise_limit:
                flags.append("edge_above_foil")
        values = {}
        for target, value, width in zip(card.targets, mean, half, strict=True):
            if made_up is not None:
                value, std = made_up.values[target.name]
                width = std * self._quantile
            if value - width > target.maximum or value + width < target.minimum:
                flags.append(f"{target.name}_beyond_training")
            values[target.name] = self._value(value, width, target.unit, non_negative=target.non_negative)
        fractions: dict[str, Value] = {}
        if made_up is not None:
            values, fractions = self._with_fractions(values, made_up, flags)
        in_domain, reason = p >= card.domain_threshold, ""
        if not in_domain:
            flags.append("out_of_domain")
            reason = domain_reason(found.scores[row], found.off[row], grid, self.reducer.theory)
        return self._base(
            job,
            flags,
            seconds,
            values=values,
            in_domain=in_domain,
            domain_p=p,
            domain_score=float(found.scores[row].max()),
            domain_reason=reason,
            latent=tuple(found.latent[row].tolist()),
            fractions=fractions,
            correlation=math.nan if made_up is None else made_up.correlation,
            size=self._size(values) if self._size is not None and "CN1" in values else None,
            reduced=Reduced(
                grid=grid,
                flat=job.flat,
                foil=job.plan.foil,
                network_input=network_input,
                denoised=self.reducer.measured_as(job, found.given_back[row]),
            ),
        )

    def _with_fractions(
        self, values: dict[str, Value], made_up: Makeup, flags: list[str]
    ) -> tuple[dict[str, Value], dict[str, Value]]:
        """Values and fractions of a sample with standards; where degenerate, the sample's CN1 only."""
        whole = {} if made_up.sample is None else {"CN1_sample": made_up.sample}
        of_sample = {
            name: self._value(value, self._quantile * std, "", non_negative=True)
            for name, (value, std) in whole.items()
        }
        if abs(made_up.correlation) > DEGENERATE:
            flags.append("fractions_degenerate")
            return of_sample, {}
        fractions = {
            name: self._value(value, self._quantile * std, "", non_negative=True, top=1.0)
            for name, (value, std) in made_up.fractions.items()
        }
        return values | of_sample, fractions

    def _value(
        self, value: float, half: float, unit: str, *, non_negative: bool, top: float = math.inf
    ) -> Value:
        """A value with its interval, cut where the quantity ends."""
        low = 0.0 if non_negative else -math.inf
        return Value(
            value=min(max(value, low), top),
            std=half / self._quantile,
            lower=min(max(value - half, low), top),
            upper=max(min(value + half, top), low),
            level=self.config.level,
            unit=unit,
        )

    def _refused(self, job: Job, seconds: Mapping[str, float], reason: str) -> Prediction:
        return self._base(job, job.flags, seconds, refused=reason)

    def _base(
        self,
        job: Job,
        flags: list[str],
        seconds: Mapping[str, float],
        refused: str | None = None,
        **rest: Any,
    ) -> Prediction:
        spectrum, card = job.spectrum, self.bundle.card
        return Prediction(
            model=self.bundle.name,
            model_sha256=self.bundle.sha256,
            element=spectrum.element or (None if refused else card.element),
            edge=spectrum.edge or (None if refused else card.edge),
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
            seconds=seconds,
            refused=refused,
            **rest,
        )


def _input_of(job: Job) -> Array:
    """What the network is asked about: the spectrum, or the metal that the standards leave of it."""
    assert job.network_input is not None
    return job.network_input if job.mixed is None else job.mixed.remainder[job.mixed.best]


def pick_device(device: str) -> torch.device:
    """The device of this name. Raises ValueError when this machine does not have it."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used here: {reason}; give 'auto' or 'cpu'") from error
