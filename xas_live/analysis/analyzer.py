"""Analyzer: spectra in, predictions out. The one way through, live, in replay, from files and in tests."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from xas_live.analysis.config import AnalysisConfig
from xas_live.analysis.history import Earlier
from xas_live.analysis.preview import Preview
from xas_live.analysis.verdict import chemistry_of, verdict_of
from xas_live.errors import Refusal
from xas_live.flags import Flag
from xas_live.models.bundle import Bundle
from xas_live.models.ensemble import Ensemble, Judged
from xas_live.models.outputs import interval
from xas_live.models.outputs.intervals import gaussian_quantile
from xas_live.models.sections.bridge import Bridge
from xas_live.models.sections.change import change_scales
from xas_live.models.sections.domain_reason import domain_reason
from xas_live.models.sections.phases import DEGENERATE, Metals, Mixed, PhaseFractions, phase_fractions
from xas_live.models.sections.preview import partial_values
from xas_live.models.sections.size import ParticleSize
from xas_live.prediction import (
    AnchorUsed,
    Classes,
    Curve,
    DomainVerdict,
    Outcome,
    Prediction,
    Reduced,
    Value,
    Verdict,
)
from xas_live.reduction.anchor import AnchorError, FoilAnchor
from xas_live.reduction.quality import half_rise
from xas_live.reduction.reducer import Reducer
from xas_live.reduction.stages import ReducedSweep, RefusedSweep
from xas_live.reduction.standards import StandardError
from xas_live.reduction.target import InputTarget, listed
from xas_live.spectrum import Array, Spectrum

REDUCTION_VERSION = 5  # raised when the same sweep would be reduced to something else

_NO_BRIDGE = (
    "a stretch of the model's range has no points, and neither a model without statistics of its training "
    "spectra nor a fit of standards can complete it: measure the sweep again"
)

logger = logging.getLogger("xas_live")

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")


class Analyzes(Protocol):
    """Whatever turns spectra into predictions: an `Analyzer`, a pool of them, or a process that has one.

    It may also have `submit`, as an `AnalyzerProcess` does: it is used where it is.
    """

    def analyze(self, spectra: Sequence[Spectrum]) -> list[Prediction]:
        """One prediction a spectrum, in order, of the primary model."""
        ...

    def analyze_all(self, spectra: Sequence[Spectrum]) -> list[list[Prediction]]:
        """Of each spectrum what all models say, the primary model's prediction first."""
        ...

    def preview(self, spectrum: Spectrum, earlier: Earlier | None = None) -> Prediction | None:
        """What the primary model can say of a growing sweep; None as long as nothing can be said."""
        ...

    def models_for(self, spectrum: Spectrum) -> list[Bundle]:
        """The models that judge this spectrum, the primary one first."""
        ...


class Batch(NamedTuple):
    """Spectra that were reduced together, in their order, and the time each took (s)."""

    sweeps: list[ReducedSweep | RefusedSweep]
    seconds: float


class Analyzer:
    """Reduces, infers and judges with one model and its anchors. Safe to share between threads.

    A device that fails is left with a warning in the log "xas_live", and the CPU takes over.

    The prediction of a completed sweep is a pure function of the sweep, the model, the anchor and the
    configuration.

    Parameters
    ----------
    bundle : the model.
    anchor : a fitted foil, or one for each of the model's absorbers; "reference" takes each sweep's own
        reference channel as its foil; None leaves the prediction `unanchored`. A model that needs no anchor
        takes none.
    config : the user's choices.
    device : "auto" (a GPU where torch finds one), or torch's name of a device.
    fallback : with "reference", the foils for sweeps whose reference channel is missing or bad.
    standards : measured spectra of other phases by name, as {"oxide": spectrum}: their fractions are fitted
        jointly with the structure of the metal.
    reducers : those of other analyzers by what they do (`Reducer.sharing_key`). One that does the same is
        shared, else the analyzer's own is put there.

    Attributes
    ----------
    reducers : of each of the model's absorbers, what brings sweeps to the network's input. What one analyzer
        reduces, others with the same reducers can judge.

    Raises
    ------
    StandardError : when a standard cannot be used.
    AnchorError : when an anchor is of another absorber than the model, or does not fit its theory.
    LevelError : when the level is beyond what the model's calibration set allows.
    DeviceError : when the machine lacks the device.
    """

    def __init__(
        self,
        bundle: Bundle,
        anchor: FoilAnchor | Sequence[FoilAnchor] | Literal["reference"] | None = None,
        config: AnalysisConfig | None = None,
        device: str | torch.device = "auto",
        *,
        fallback: FoilAnchor | Sequence[FoilAnchor] | None = None,
        standards: Mapping[str, Spectrum] | None = None,
        reducers: MutableMapping[tuple[Any, ...], Reducer] | None = None,
    ) -> None:
        self.bundle = bundle
        self.config = config or AnalysisConfig()
        self.device = device if isinstance(device, torch.device) else pick_device(device)
        sections = bundle.card.sections
        if standards and sections.phases is None:
            raise StandardError(
                f"the model {bundle.name} does not fit shares of other phases: leave them out"
            )
        self._ensemble = Ensemble(bundle, self.device, self.config.level)
        anchors, fallbacks = _fitted(anchor, bundle), _fitted(fallback, bundle)
        own = [
            Reducer(
                target,
                "reference" if anchor == "reference" else anchors.get(target.absorbers[0]),
                fallbacks.get(target.absorbers[0]),
                self.config.align,
                self.device,
                _of_input(standards or {}, target, bundle),
            )
            for target in bundle.inputs
        ]
        shared = {} if reducers is None else reducers
        self.reducers = tuple(shared.setdefault(reducer.sharing_key, reducer) for reducer in own)
        self._size = None if sections.size is None else _size_of(bundle)
        self._metals = None if sections.phases is None else _metals_of(bundle)
        self._edge_rise_limit = None if sections.edge_rise is None else bundle.array("edge_rise_limit")[0]
        self._quantile = gaussian_quantile(self.config.level)
        self._bridge = _bridge_of(bundle)
        self._change_scales: dict[str, float] = {}
        if sections.change is not None:
            columns = {name: self._ensemble.column(name) for name in bundle.target_names}
            self._change_scales = change_scales(bundle.tensors, columns, self.config.level)
        self._places: dict[tuple[str | None, str | None], int | None] = {}
        self._previews = self._make_previews()

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """All that predictions depend on besides sweep and model, ready for JSON."""
        used = {
            " ".join(r.target.absorbers[0]): (_hash_of(r.anchor), _hash_of(r.fallback)) for r in self.reducers
        }
        [(anchor, fallback), *others] = used.values()
        named: dict[str, Any] = {"anchor": anchor}
        named |= {} if fallback is None else {"fallback_anchor": fallback}
        if others:
            named = {"anchors": {absorber: list(pair) for absorber, pair in used.items()}}
        standards = {s.name: s.sha256 for reducer in self.reducers for s in reducer.standards}
        named |= {"standards": standards} if standards else {}
        return {**named, **self.config.model_dump(), "reduction": REDUCTION_VERSION}

    def models_for(self, spectrum: Spectrum) -> list[Bundle]:
        """Its only model."""
        return [self.bundle]

    def analyze(self, spectra: Sequence[Spectrum]) -> list[Prediction]:
        """Predictions of a batch of spectra, in their order.

        A spectrum that cannot be analysed comes back refused, with the reason; nothing is raised for it.
        """
        return self.judge(self.reduce(spectra))

    def analyze_all(self, spectra: Sequence[Spectrum]) -> list[list[Prediction]]:
        """Of each spectrum the only model's prediction."""
        return [[prediction] for prediction in self.analyze(spectra)]

    def reduce(self, spectra: Sequence[Spectrum]) -> Batch:
        """The spectra as networks take them, or with the reason why they cannot be."""
        start = time.perf_counter()
        sweeps = self._on_a_sound_device(self._reduced, spectra)
        return Batch(sweeps, (time.perf_counter() - start) / max(len(sweeps), 1))

    def judge(self, batch: Batch) -> list[Prediction]:
        """Predictions from spectra that its `reducers` reduced; they are left as they are."""
        return self._on_a_sound_device(self._judged, batch)

    def refusal(self, spectrum: Spectrum, reason: str) -> Prediction:
        """What is said of a spectrum on which the analysis itself failed."""
        return self._refused(RefusedSweep(0, spectrum, reason), {})

    def preview(self, spectrum: Spectrum, earlier: Earlier | None = None) -> Prediction | None:
        """What can be said of a growing sweep, from 30 eV past the edge: wide intervals that narrow.

        Unlike a completed sweep's, it depends on the sweeps before: anchor and energy shift are theirs. Its
        intervals are calibrated by the energy reached, over particles of new environments.

        Parameters
        ----------
        spectrum : the sweep as far as it is measured.
        earlier : what the sweeps before tell, see `RunHistory.before`; None: it is the first.

        Returns
        -------
        None as long as nothing can be said: before the edge is passed, without an anchor, without enough of
        the pre-edge, or where the model has no previews.
        """
        start = time.perf_counter()
        target = self.bundle.input_for(spectrum.element, spectrum.edge)
        preview = None if target is None else self._previews.get(target.absorbers[0])
        found = None if preview is None else preview.find(spectrum, earlier or Earlier())
        if found is None:
            return None
        sweep, judged = found
        took = time.perf_counter() - start
        if not judged.sound()[0]:
            return self._refused(sweep.refused(self._no_number()), {"total": took})
        return self._prediction(sweep, judged, 0, None, {"total": took})

    def _make_previews(self) -> dict[tuple[str, str], Preview]:
        if self.bundle.card.sections.preview is None:
            return {}
        anchored = [r for r in self.reducers if r.theory is not None]
        return {r.target.absorbers[0]: Preview(r, self._ensemble) for r in anchored}

    def _on_a_sound_device(self, step: Callable[[_Given], _Result], given: _Given) -> _Result:
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
        self.device = torch.device("cpu")
        for reducer in self.reducers:
            reducer.device = self.device
        self._ensemble = Ensemble(self.bundle, self.device, self.config.level)
        self._previews = self._make_previews()

    def _reduced(self, spectra: Sequence[Spectrum]) -> list[ReducedSweep | RefusedSweep]:
        done: dict[int, ReducedSweep | RefusedSweep] = {}
        groups: list[list[tuple[int, Spectrum]]] = [[] for _ in self.reducers]
        for i, spectrum in enumerate(spectra):
            admitted, place = self._admitted(spectrum)
            if place is None:
                asked = f"{spectrum.element or ''} {spectrum.edge or ''}".strip()
                takes = listed(self.bundle.absorbers)
                done[i] = RefusedSweep(i, spectrum, f"the sample is {asked}, the model is for {takes}")
            else:
                groups[place].append((i, admitted))
        for reducer, group in zip(self.reducers, groups, strict=True):
            for (i, _), sweep in zip(group, reducer.reduce([s for _, s in group]), strict=True):
                done[i] = sweep
        return [done[i] for i in range(len(spectra))]

    def _admitted(self, spectrum: Spectrum) -> tuple[Spectrum, int | None]:
        """The spectrum, and which of the model's inputs it is of; None where it is of no one.

        A spectrum of unknown absorber is of the input whose edge lies in the scan.
        """
        place = self._place_of(spectrum.element, spectrum.edge)
        if place is None and spectrum.absorber_guessed:  # a guess does not overrule the user's choice
            spectrum, place = replace(spectrum, element=None, edge=None, absorber_guessed=False), 0
        if spectrum.element is None and spectrum.edge is None and len(self.reducers) > 1:
            target = self.bundle.inputs[_scanned(spectrum, self.bundle)]
            spectrum = replace(spectrum, element=target.element, edge=target.edge)
            place = self._place_of(target.element, target.edge)
        return spectrum, place

    def _place_of(self, element: str | None, edge: str | None) -> int | None:
        """Which of the model's inputs is of this absorber, looked up once for each."""
        if (element, edge) not in self._places:
            target = self.bundle.input_for(element, edge)
            self._places[element, edge] = None if target is None else self.bundle.inputs.index(target)
        return self._places[element, edge]

    def _judged(self, batch: Batch) -> list[Prediction]:
        start, sweeps = time.perf_counter(), batch.sweeps
        good = [sweep for sweep in sweeps if isinstance(sweep, ReducedSweep)]
        good, draws = self._bridged(good)
        mixed = {id(sweep): self._mixed(sweep) for sweep in good if sweep.phases is not None}
        judged = self._ensemble_of(good, mixed) if good else None
        judged = judged if judged is None else self._widened(judged, draws)
        judged = judged if judged is None else self._with_noise(judged, good, mixed)
        fractions = {
            id(sweep): self._fractions(sweep, mixed[id(sweep)]) for sweep in good if id(sweep) in mixed
        }
        share = {"reduce": batch.seconds, "infer": (time.perf_counter() - start) / max(len(sweeps), 1)}
        share["total"] = share["reduce"] + share["infer"]
        sound = [] if judged is None else judged.sound()
        rows = iter(range(len(good)))
        predictions = []
        for sweep in sweeps:
            if isinstance(sweep, RefusedSweep):
                predictions.append(self._refused(sweep, share))
                continue
            row = next(rows)
            completed = good[row]
            if completed.plan.unmeasured is not None and row not in draws:
                predictions.append(self._refused(completed.refused(_NO_BRIDGE), share))
                continue
            if judged is None or not sound[row]:
                predictions.append(self._refused(completed.refused(self._no_number()), share))
                continue
            phases = (mixed[id(completed)], fractions[id(completed)]) if id(completed) in mixed else None
            predictions.append(self._prediction(completed, judged, row, phases, share))
        return predictions

    def _bridged(self, sweeps: Sequence[ReducedSweep]) -> tuple[list[ReducedSweep], dict[int, Array]]:
        """The sweeps, holes completed, and by the index of those the (draws, g) inputs that they may have."""
        found, draws = list(sweeps), dict[int, Array]()
        for row, sweep in enumerate(sweeps):
            missing = sweep.plan.unmeasured
            if missing is not None and self._bridge is not None and sweep.phases is None:
                draws[row] = self._bridge.draws(sweep.network_input, missing)
                completed = draws[row].mean(0)
                theory = self._reducer_of(sweep).theory
                normalised = sweep.plan.measured_as(completed, theory)
                found[row] = replace(sweep, network_input=completed, normalised=normalised)
        return found, draws

    def _widened(self, judged: Judged, draws: Mapping[int, Array]) -> Judged:
        """What the networks give, of sweeps with holes with the uncertainty of what completes them."""
        if not draws:
            return judged
        mean, half = judged.mean.copy(), judged.half.copy()
        for row, inputs in draws.items():
            means, spread = partial_values(inputs[None], self._ensemble.means)
            mean[row] = means[0]
            half[row] = np.hypot(half[row], self._quantile * spread[0])
        return judged._replace(mean=mean, half=half)

    def _with_noise(
        self, judged: Judged, sweeps: Sequence[ReducedSweep], mixed: Mapping[int, Mixed]
    ) -> Judged:
        """What the networks give, with what the noise of each sweep does to it; unknown beside standards."""
        gradients = self._ensemble.gradients(np.stack([sweep.network_input for sweep in sweeps]))
        statistical = np.full_like(judged.half, np.nan)
        for row, sweep in enumerate(sweeps):
            found = None
            if id(sweep) not in mixed:
                found = self._reducer_of(sweep).statistical_errors(sweep, gradients[row])
            if found is not None:
                statistical[row] = found
        return judged.with_noise(statistical, self._quantile)

    def _no_number(self) -> str:
        return f"the model {self.bundle.name} gave no number: is its bundle sound?"

    def _ensemble_of(self, sweeps: Sequence[ReducedSweep], mixed: Mapping[int, Mixed]) -> Judged:
        """What the networks give for the sweeps; of those with standards, for the likeliest metal."""
        inputs = np.stack([_metal(sweep, mixed.get(id(sweep))) for sweep in sweeps])
        if all(sweep.plan.theory_error is None for sweep in sweeps):
            return self._ensemble.judge(inputs)
        nothing = np.zeros(inputs.shape[1])
        errors = [sweep.plan.theory_error for sweep in sweeps]
        return self._ensemble.judge(inputs, np.stack([nothing if e is None else e for e in errors]))

    def _mixed(self, sweep: ReducedSweep) -> Mixed:
        """How much of each standard there may be, and the metal that it leaves."""
        assert self._metals is not None
        assert sweep.phases is not None
        return Mixed.fit(sweep.network_input, sweep.phases, self._metals)

    def _fractions(self, sweep: ReducedSweep, mixed: Mixed) -> PhaseFractions:
        """What the network says of every remainder, put together."""
        section = self.bundle.card.sections.phases
        assert section is not None
        names = self.bundle.target_names
        columns = [self._ensemble.column(name) for name in names]
        mean, std = self._ensemble.values(mixed.remainder)
        standards = [s.name for s in self._reducer_of(sweep).standards]
        return phase_fractions(mixed, names, mean[:, columns], std[:, columns], standards, section)

    def _prediction(
        self,
        sweep: ReducedSweep,
        judged: Judged,
        row: int,
        phases: tuple[Mixed, PhaseFractions] | None,
        seconds: Mapping[str, float],
    ) -> Prediction:
        reducer = self._reducer_of(sweep)
        network_input = _metal(sweep, None if phases is None else phases[0])
        flags = list(sweep.flags)
        if self._edge_above_foil(sweep, reducer, network_input, with_phases=phases is not None):
            flags.append(Flag.EDGE_ABOVE_FOIL)
        fractions = None if phases is None else phases[1]
        outcome = self._outcome(judged, row, fractions, flags)
        sections = self.bundle.card.sections
        chemistry = chemistry_of(sections, judged, row, self.config.level, self._quantile)
        outcome = outcome if chemistry is None else replace(outcome, chemistry=chemistry)
        domain = self._domain_of(reducer, judged, row)
        verdict, raised = verdict_of(sections, judged, row, domain, chemistry, flags)
        flags += raised
        if sections.cost is None and domain.inside is False:
            flags.append(Flag.OUT_OF_DOMAIN)
        reduced = _shown(sweep, reducer, judged, row, network_input)
        return self._base(
            sweep, reducer, flags, seconds, outcome=outcome, verdict=verdict, domain=domain, reduced=reduced
        )

    def _edge_above_foil(
        self, sweep: ReducedSweep, reducer: Reducer, network_input: Array, *, with_phases: bool
    ) -> bool:
        if self._edge_rise_limit is None or sweep.plan.foil is None or sweep.alignment.by == "e0":
            return False
        metal = sweep.normalised
        if with_phases:
            metal = sweep.plan.measured_as(network_input, reducer.theory)
        rise: float = half_rise(reducer.target.grid, metal) - sweep.plan.foil_rise
        return rise > self._edge_rise_limit

    def _outcome(
        self, judged: Judged, row: int, fractions: PhaseFractions | None, flags: list[str]
    ) -> Outcome:
        """Values, classes and curves of one sweep; with standards, of the metal in it."""
        mean, half = judged.mean[row], judged.half[row]
        if fractions is not None:
            mean, half = mean.copy(), half.copy()
            for name, (value, std) in fractions.values.items():
                at = self._ensemble.column(name)
                widening = 1.0 if judged.widening is None else float(judged.widening[row, at])
                mean[at], half[at] = value, std * self._quantile * widening
        values: dict[str, Value] = {}
        classes: dict[str, Classes] = {}
        curves: dict[str, Curve] = {}
        for part in self._ensemble.outcome(mean, half):
            values |= part.values
            classes |= part.classes
            curves |= part.curves
            flags += [Flag.BEYOND_TRAINING.of(target) for target in part.beyond]
        shares: dict[str, Value] = {}
        if judged.statistical is not None:
            values = {
                name: self._in_parts(value, judged, row, self._ensemble.column(name))
                for name, value in values.items()
            }
        if fractions is not None:
            values, shares = self._with_fractions(values, fractions, flags)
        size = None if self._size is None else self._size(values)
        correlation = math.nan if fractions is None else fractions.correlation
        return Outcome(values, classes, curves, shares, correlation, size)

    def _in_parts(self, value: Value, judged: Judged, row: int, at: int) -> Value:
        """The value with the two parts of its error."""
        assert judged.statistical is not None
        half, statistical = float(judged.half[row, at]), self._quantile * float(judged.statistical[row, at])
        if math.isnan(statistical):
            return value
        return replace(value, statistical=statistical, model=math.sqrt(max(half**2 - statistical**2, 0.0)))

    def _with_fractions(
        self, values: dict[str, Value], fractions: PhaseFractions, flags: list[str]
    ) -> tuple[dict[str, Value], dict[str, Value]]:
        """Values and fractions of a sample with standards; where degenerate, the sample's own value only."""
        section = self.bundle.card.sections.phases
        of_sample: dict[str, Value] = {}
        if fractions.sample is not None and section is not None and section.sample is not None:
            value, std = fractions.sample
            unit = next(t.unit for t in self.bundle.card.targets if t.name == section.leading)
            of_sample[section.sample] = self._value(value, std, unit=unit)
        if abs(fractions.correlation) > DEGENERATE:
            flags.append(Flag.FRACTIONS_DEGENERATE)
            return of_sample, {}
        shares = {name: self._value(*of, top=1.0) for name, of in fractions.fractions.items()}
        return values | of_sample, shares

    def _value(self, value: float, std: float, *, unit: str = "", top: float = math.inf) -> Value:
        """A quantity that is not below zero, with its interval."""
        half = self._quantile * std
        return interval(value, half, self.config.level, self._quantile, unit=unit, non_negative=True, top=top)

    def _domain_of(self, reducer: Reducer, judged: Judged, row: int) -> DomainVerdict:
        section = self.bundle.card.sections.domain
        latent = tuple(judged.latent[row].tolist())
        if section is None or judged.residual is None:
            return DomainVerdict(latent=latent)
        p, scores = float(judged.p[row]), judged.scores[row]
        inside, reason = p >= section.threshold, ""
        if judged.departed is not None:  # what counts is what it costs
            inside = not judged.departed[row]
        if not inside:
            target, distances = reducer.target, self._ensemble.distances
            reason = domain_reason(
                scores,
                judged.residual[row],
                target.grid,
                reducer.theory,
                distances,
                over_k=target.kind == "chi",
            )
        return DomainVerdict(inside, p, float(scores.max()), reason, latent)

    def _reducer_of(self, sweep: ReducedSweep | RefusedSweep) -> Reducer:
        return self.reducers[self._place_of(sweep.spectrum.element, sweep.spectrum.edge) or 0]

    def _refused(self, sweep: RefusedSweep, seconds: Mapping[str, float]) -> Prediction:
        return self._base(sweep, self._reducer_of(sweep), sweep.flags, seconds, refused=sweep.reason)

    def _base(
        self,
        sweep: ReducedSweep | RefusedSweep,
        reducer: Reducer,
        flags: Sequence[str],
        seconds: Mapping[str, float],
        *,
        refused: str | None = None,
        outcome: Outcome | None = None,
        verdict: Verdict | None = None,
        domain: DomainVerdict | None = None,
        reduced: Reduced | None = None,
    ) -> Prediction:
        spectrum, anchor = sweep.spectrum, None
        if sweep.anchor is not None:
            anchor = AnchorUsed("foil" if reducer.is_lasting(sweep.anchor) else "reference", sweep.anchor)
        return Prediction(
            model=self.bundle.name,
            model_sha256=self.bundle.sha256,
            element=spectrum.element or (None if refused else reducer.target.element),
            edge=spectrum.edge or (None if refused else reducer.target.edge),
            provenance=spectrum.provenance,
            outcome=outcome or Outcome(),
            verdict=verdict or Verdict(),
            domain=domain or DomainVerdict(),
            alignment=sweep.alignment,
            anchor=anchor,
            flags=tuple(dict.fromkeys(str(flag) for flag in flags)),
            refused=refused,
            edge_step=sweep.edge_step,
            partial=not spectrum.complete,
            temperature=spectrum.temperature,
            change_scales=self._change_scales,
            seconds=seconds,
            reduced=reduced,
            calibrated_on=str(self.bundle.card.calibration.get("calibrated_on", "simulation")),
            configuration=self.configuration,
        )


def _shown(sweep: ReducedSweep, reducer: Reducer, judged: Judged, row: int, network_input: Array) -> Reduced:
    """The spectrum as the network saw it."""
    denoised = None
    if judged.reconstruction is not None:
        denoised = sweep.plan.measured_as(judged.reconstruction[row], reducer.theory)
    return Reduced(
        grid=reducer.target.grid,
        flat=sweep.normalised,
        foil=sweep.plan.foil,
        network_input=network_input,
        denoised=denoised,
        kind=reducer.target.kind,
        k_weight=reducer.target.k_weight,
        energy=None if reducer.target.kind == "chi" else sweep.plan.points,
    )


def _metal(sweep: ReducedSweep, mixed: Mixed | None) -> Array:
    """(g,) what the networks judge: the input, or the likeliest metal in it where standards are fitted."""
    return sweep.network_input if mixed is None else mixed.remainder[mixed.best]


def _fitted(
    anchor: FoilAnchor | Sequence[FoilAnchor] | Literal["reference"] | None, bundle: Bundle
) -> dict[tuple[str, str], FoilAnchor]:
    """The foils fitted to the model's theory, by absorber.

    Raises
    ------
    AnchorError : for a foil that is of none of the model's absorbers, or does not fit.
    """
    given = () if anchor is None or isinstance(anchor, str) else anchor
    foils = (given,) if isinstance(given, FoilAnchor) else tuple(given)
    unused = {each.absorbers[0] for each in bundle.inputs if each.anchor == "none"}
    if len(unused) == len(bundle.inputs):
        return {}
    found: dict[tuple[str, str], FoilAnchor] = {}
    for foil in foils:
        absorber = (foil.element, foil.edge)
        if absorber in found:
            raise AnchorError(f"two foils of {foil.element} {foil.edge} are given: give one")
        if absorber in unused:
            continue
        found[absorber] = foil.fitted_to(bundle)
    return found


def _of_input(standards: Mapping[str, Spectrum], target: InputTarget, bundle: Bundle) -> dict[str, Spectrum]:
    """Those of the input's absorber, and those of none of the model's, which the reducer refuses."""
    return {
        name: standard
        for name, standard in standards.items()
        if bundle.input_for(standard.element, standard.edge) in (target, None)
    }


def _scanned(spectrum: Spectrum, bundle: Bundle) -> int:
    """Which of the model's edges the scan goes over: the one with the most of the scan behind it, else 0."""
    finite = spectrum.energy[np.isfinite(spectrum.energy)]
    if not len(finite):
        return 0
    low, high = float(finite.min()), float(finite.max())
    inside = [(each.edge_energy, i) for i, each in enumerate(bundle.inputs) if low < each.edge_energy < high]
    return min(inside)[1] if inside else 0


def _hash_of(anchor: FoilAnchor | str | None) -> str | None:
    return anchor.sha256 if isinstance(anchor, FoilAnchor) else anchor


def _size_of(bundle: Bundle) -> ParticleSize:
    section = bundle.card.sections.size
    assert section is not None
    table, atoms = bundle.array("particle_cn"), bundle.array("particle_atoms")
    return ParticleSize(section, table, atoms, float(bundle.array("bulk_r1")[0]))


def _bridge_of(bundle: Bundle) -> Bridge | None:
    """What completes sweeps with holes; None for a model without the statistics of its training spectra."""
    if not {"train_mean", "train_covariance"} <= set(bundle.tensors) or len(bundle.inputs) > 1:
        return None
    return Bridge(bundle.array("train_mean"), bundle.array("train_covariance"))


def _metals_of(bundle: Bundle) -> Metals:
    return Metals(*(bundle.array(name) for name in ("metal_mean", "metal_factor", "metal_rest")))


class DeviceError(Refusal):
    """A device that this machine does not have."""


def pick_device(device: str) -> torch.device:
    """Return the device of this name.

    Raises
    ------
    DeviceError : when this machine does not have it.
    """
    if device == "auto":
        try:
            return pick_device("cuda" if torch.cuda.is_available() else "cpu")
        except DeviceError as error:
            logger.warning("%s: the analysis runs on the CPU", error)
            return torch.device("cpu")
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"device {device!r} cannot be used here: {reason}; give 'auto' or 'cpu'") from error
