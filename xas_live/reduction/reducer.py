"""Reducer: measured sweeps of one absorber in, network inputs out.

Checks, anchor, energy shift, normalisation, grid: each step gives a frozen stage (stages.py). Nothing here
depends on the sweeps before: what is kept are plans and operators, which only save time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch

from xas_live.errors import Refusal
from xas_live.flags import Flag
from xas_live.modes import is_self_absorbed
from xas_live.prediction import Alignment
from xas_live.reduction.align import AlignmentError, reference_shift
from xas_live.reduction.anchor import AnchorError, FoilAnchor, LaidFoil, common_windows
from xas_live.reduction.axis import Axis, AxisCache
from xas_live.reduction.chi import ChiOperator
from xas_live.reduction.gate import gate, i0_nonlinear
from xas_live.reduction.holes import HoleError, unmeasured
from xas_live.reduction.noise import statistical_errors
from xas_live.reduction.normalize import NormalizationOperator, OperatorCache, Windows, flat_once
from xas_live.reduction.quality import (
    Checked,
    Unusable,
    check_all,
    check_range,
    check_step,
    expected_edge,
    glitches,
    half_rise,
    point_noises,
)
from xas_live.reduction.rebin import edge_grid
from xas_live.reduction.stages import (
    AlignedSweep,
    CheckedSweep,
    NormalisedSweep,
    Plan,
    PlanKey,
    ReducedSweep,
    RefusedSweep,
    mu_of,
)
from xas_live.reduction.standards import standards_of
from xas_live.reduction.target import InputTarget
from xas_live.spectrum import Array, Spectrum

SHIFT_STEP = 0.005  # eV; shifts are rounded to it, so that sweeps of one series share operators
E0_TOLERANCE = 1.0  # eV between sample's and foil's e0, beyond which an unaligned scale is flagged
BROADENING_TOLERANCE = 0.8  # eV between the foil's resolution then and now; training knows 0.4
ANCHOR_AGE = 7 * 86400.0  # s between foil and sample
TEMPERATURE_TOLERANCE = 100.0  # K between sample and foil
LONG_PRE_EDGE = 40.0  # eV of pre-edge by which its line is well known
LONG_RANGE = 150.0  # eV past the edge that a scan must reach for windows beyond the strongest fine structure
NOISY_FOIL = 0.005  # noise of a point of the foil, in edge steps, from which it moves predictions noticeably
PLANS_KEPT = 256
ROOM_TEMPERATURE = 295.0  # K: where a reference foil stands, behind the sample's environment


class Reducer:
    """Brings sweeps of one absorber onto a model's grid, as its network expects them.

    Safe to share between threads.

    Parameters
    ----------
    target : what sweeps are reduced to.
    anchor : a foil fitted to its theory; "reference" takes each sweep's own reference channel as its foil;
        None: unanchored.
    fallback : with "reference", the foil for sweeps whose reference channel is missing or bad.
    align : see `AnalysisConfig`.
    device : where batches are normalised.
    standards : measured spectra of other phases by name.

    Raises
    ------
    StandardError : when a standard cannot be used.
    """

    def __init__(
        self,
        target: InputTarget,
        anchor: FoilAnchor | Literal["reference"] | None,
        fallback: FoilAnchor | None,
        align: str | float,
        device: torch.device,
        standards: Mapping[str, Spectrum],
    ) -> None:
        self.target = target
        self.anchor = None if target.anchor == "none" else anchor
        self.fallback = None if target.anchor == "none" else fallback
        self.device = device
        self.standards = standards_of(standards, target)
        self._align_by = align
        self.theory = None if target.theory is None else target.theory.on(target.grid)
        self._axes = AxisCache()
        self._operators: OperatorCache[NormalizationOperator] = OperatorCache()
        self._backgrounds: OperatorCache[ChiOperator] = OperatorCache()
        self._plans: OrderedDict[PlanKey, Plan] = OrderedDict()
        self._foils: dict[tuple[str, Windows], LaidFoil] = {}
        self._lock = Lock()

    @property
    def sharing_key(self) -> tuple[Any, ...]:
        """Equal for reducers that do the same to every sweep, whatever their models predict."""
        t = self.target
        anchors = (a.sha256 if isinstance(a, FoilAnchor) else a for a in (self.anchor, self.fallback))
        theory = None if t.theory is None else t.theory.sha256
        absorber = (t.element, t.edge, t.edge_energy, t.anchor)
        inputs = (t.kind, t.grid.tobytes(), t.windows, t.k_weight)
        standards = tuple(s.sha256 for s in self.standards)
        return (theory, absorber, inputs, *anchors, self._align_by, standards)

    def first_alignment(self) -> tuple[FoilAnchor | None, float]:
        """Anchor and energy shift (eV) that a first sweep is expected to have."""
        anchor = self.anchor if isinstance(self.anchor, FoilAnchor) else self.fallback
        return anchor, float(self._align_by) if not isinstance(self._align_by, str) else 0.0

    def reduce(self, spectra: Sequence[Spectrum]) -> list[ReducedSweep | RefusedSweep]:
        """Every spectrum with its network input, or with the reason why it has none."""
        done: dict[int, ReducedSweep | RefusedSweep] = {}
        grid = edge_grid(self.target.edge_energy)
        found = check_all(spectra, self._axes, [grid] * len(spectra))
        by_axis: dict[int, tuple[Axis, list[tuple[int, Spectrum, Checked]]]] = {}
        for index, (spectrum, checked) in enumerate(zip(spectra, found, strict=True)):
            if isinstance(checked, Unusable):
                done[index] = RefusedSweep(index, spectrum, str(checked), spectrum.flags)
            else:
                axis = checked.axis
                by_axis.setdefault(id(axis), (axis, []))[1].append((index, spectrum, checked))
        for axis, group in by_axis.values():
            by_key: dict[PlanKey, list[AlignedSweep]] = {}
            for sweep in self._align_all(axis, self._check_all(axis, group, done), done):
                by_key.setdefault(sweep.key, []).append(sweep)
            for sweeps in by_key.values():
                for sweep_on_grid in self._normalize(axis, sweeps):
                    done[sweep_on_grid.index] = sweep_on_grid
        return [done[index] for index in range(len(spectra))]

    def _check_all(
        self,
        axis: Axis,
        group: Sequence[tuple[int, Spectrum, Checked]],
        done: dict[int, ReducedSweep | RefusedSweep],
    ) -> list[CheckedSweep]:
        """Edge and noise of the sweeps of one axis; those without an edge are refused."""
        mu = np.stack([data.mu for _, _, data in group])
        edges = axis.edge_finder.find(axis.coarser(mu)).tolist()
        noises = point_noises(mu[:, axis.judged]).tolist()
        nonlinear = _following_i0(group)
        checked = []
        for (index, spectrum, data), noise, edge in zip(group, noises, edges, strict=True):
            flags = [*spectrum.flags, *data.flags]
            flags += [] if spectrum.complete else [Flag.INCOMPLETE]
            flags += [Flag.SELF_ABSORPTION_UNCORRECTED] if is_self_absorbed(spectrum.mode) else []
            flags += [Flag.I0_NONLINEAR] if index in nonlinear else []
            try:
                e0 = expected_edge(axis, data.mu, edge, self.target.edge_energy)
            except Refusal as error:
                done[index] = RefusedSweep(index, spectrum, str(error), tuple(flags))
            else:
                checked.append(CheckedSweep(index, spectrum, tuple(flags), data, noise, e0))
        return checked

    def _align_all(
        self,
        axis: Axis,
        checked: Sequence[CheckedSweep],
        done: dict[int, ReducedSweep | RefusedSweep],
    ) -> list[AlignedSweep]:
        """Foil, energy shift and plan of each sweep; the quality gate."""
        aligned = []
        for sweep in checked:
            settled = self._settle(axis, sweep)
            if isinstance(settled, RefusedSweep):
                done[settled.index] = settled
            else:
                aligned.append(settled)
        if not aligned:
            return []
        before = [sweep.checked for sweep in aligned]
        e0, noise = np.array([sweep.e0 for sweep in before]), np.array([sweep.noise for sweep in before])
        good = []
        for sweep_aligned, problem in zip(aligned, gate(axis, mu_of(before), e0, noise), strict=True):
            if problem is not None:
                done[sweep_aligned.index] = sweep_aligned.refused(problem)
            else:
                good.append(sweep_aligned.flagged(_short_windows(sweep_aligned.plan.windows)))
        return good

    def _settle(self, axis: Axis, sweep: CheckedSweep) -> AlignedSweep | RefusedSweep:
        """The sweep with its foil, shift and plan."""
        anchor, flags = self._anchor_of(sweep)
        if anchor is None:
            alignment = Alignment("e0", sweep.e0)
            flags += [Flag.UNANCHORED] if self.target.anchor == "required" else []
            flags += [Flag.STANDARDS_NEED_AN_ANCHOR] if self.standards else []
        else:
            alignment, raised = self._align(sweep, anchor)
            flags += [*raised, *_compared(sweep, anchor)]
        where = round(sweep.e0, 3) if anchor is None else alignment.shift
        key = (axis.key, None if anchor is None else anchor.sha256, where)
        try:
            plan = self._plan(axis, key, anchor, alignment)
        except Refusal as error:
            flags += [Flag.HOLE] if isinstance(error, HoleError) else []
            all_flags = (*sweep.flags, *flags)
            return RefusedSweep(sweep.index, sweep.spectrum, str(error), all_flags, alignment, anchor)
        return AlignedSweep(
            sweep.index, sweep.spectrum, (*sweep.flags, *flags), sweep, anchor, alignment, plan, key
        )

    def _anchor_of(self, sweep: CheckedSweep) -> tuple[FoilAnchor | None, list[str]]:
        """The sweep's foil, and what is to be said of its reference channel."""
        if self.anchor != "reference":
            return self.anchor, []
        good = sweep.data
        if good.reference is None:
            return self.fallback, [_lacking_reference(sweep.spectrum)]
        foil = Spectrum(
            energy=good.energy,
            mu=good.reference,
            element=sweep.spectrum.element,
            edge=sweep.spectrum.edge,
            temperature=ROOM_TEMPERATURE,
            provenance=sweep.spectrum.provenance,
        )
        try:
            return FoilAnchor.fit(foil, self.target, weights=good.weights), []
        except AnchorError:
            return self.fallback, [Flag.BAD_REFERENCE]

    def _align(self, sweep: CheckedSweep, anchor: FoilAnchor) -> tuple[Alignment, list[str]]:
        """Shift of the scan against the foil, by the way that the configuration asks for."""
        align, good = self._align_by, sweep.data
        if not self.is_lasting(anchor) and align in ("auto", "reference"):
            return Alignment("reference", sweep.e0), []  # foil and sample share one energy axis
        shift, by = 0.0, "none"
        flags: list[str] = []
        if align == "reference" or (align == "auto" and good.reference is not None):
            try:
                if good.reference is None:
                    raise AlignmentError("the sweep has no reference channel")
                found = reference_shift(good.energy, good.reference, anchor.energy, anchor.mu, anchor.e0)
                shift, by = found.energy, "reference"
                if abs(found.broadening) > BROADENING_TOLERANCE:
                    flags.append(Flag.RESOLUTION_DIFFERS)
            except AlignmentError:
                flags.append(_lacking_reference(sweep.spectrum))
        elif align == "e0":
            shift, by = sweep.e0 - anchor.e0, "e0"
            flags.append(Flag.ALIGNED_BY_E0)
        elif not isinstance(align, str):
            shift, by = float(align), f"{float(align):g} eV"
        shift = SHIFT_STEP * round(shift / SHIFT_STEP)
        if by != "reference" and abs(sweep.e0 - shift - anchor.e0) > E0_TOLERANCE:
            flags.append(Flag.E0_DIFFERS_FROM_FOIL)
        return Alignment(by, sweep.e0, shift), flags

    def statistical_errors(self, sweep: ReducedSweep, gradients: Array) -> Array | None:
        """Return the standard deviations, (outputs,), by the noise of the sweep's points.

        None where it is not known: of growing sweeps, and of chi(k).

        Parameters
        ----------
        sweep : that this reducer has reduced.
        gradients : (outputs, g) of what is predicted by the network's input.
        """
        kind = self.target.kind
        if sweep.checked is None or kind == "chi":
            return None
        return statistical_errors(
            sweep,
            sweep.checked,
            gradients,
            own_foil=not self.is_lasting(sweep.anchor),
            flat=kind == "flat",
        )

    def is_lasting(self, anchor: FoilAnchor | None) -> bool:
        """Whether other sweeps have this anchor, too: a sweep's own reference is seen once."""
        return anchor is self.anchor or anchor is self.fallback

    def _plan(self, axis: Axis, key: PlanKey, anchor: FoilAnchor | None, alignment: Alignment) -> Plan:
        with self._lock:
            if key in self._plans:
                self._plans.move_to_end(key)
                return self._plans[key]
        plan = self._new_plan(axis, anchor, alignment)
        if self.is_lasting(anchor):
            with self._lock:
                self._plans[key] = plan
                while len(self._plans) > PLANS_KEPT:
                    self._plans.popitem(last=False)
        return plan

    def _new_plan(self, axis: Axis, anchor: FoilAnchor | None, alignment: Alignment) -> Plan:
        grid, axes = self.target.grid, [axis.energy]
        if anchor is None:
            center, points = alignment.e0, self.target.energies(alignment.e0)
        else:
            center, points = anchor.e0 + alignment.shift, anchor.energies(grid, alignment.shift)
            axes += [anchor.energy + alignment.shift, *(standard.energy for standard in self.standards)]
        check_range(axis.energy, center, points)
        missing = unmeasured(axis.energy, center, points)
        windows = common_windows(self.target.windows, axes, center)
        if anchor is None or self.theory is None:
            return Plan(center, windows, points, unmeasured=missing)
        foil = self._foil(anchor, windows)
        rise = half_rise(grid, foil.flat)
        return Plan(center, windows, points, foil.flat, foil.gain, foil.theory_error, rise, missing)

    def _foil(self, anchor: FoilAnchor, windows: Windows) -> LaidFoil:
        """The foil on the grid."""
        assert self.target.theory is not None
        if not self.is_lasting(anchor):
            return anchor.on_grid(self.target.grid, self.target.theory, windows)
        key = (anchor.sha256, windows)
        with self._lock:
            if key not in self._foils:
                self._foils[key] = anchor.on_grid(self.target.grid, self.target.theory, windows)
            return self._foils[key]

    def _normalize(self, axis: Axis, sweeps: Sequence[AlignedSweep]) -> list[ReducedSweep | RefusedSweep]:
        """Network inputs of sweeps that share axis, anchor, shift and windows."""
        checked = [sweep.checked for sweep in sweeps]
        mu = mu_of(checked)
        behind = [sweep.data.weights for sweep in checked]  # all sweeps of a standard axis were rebinned
        weights = np.stack([each for each in behind if each is not None]) if behind[0] is not None else None
        try:
            values, steps = self._normalised(axis, sweeps[0], mu, weights)
        except Refusal as error:
            return [sweep.refused(error) for sweep in sweeps]
        spikes = glitches(axis, mu, steps)
        return [
            self._on_grid(
                NormalisedSweep(sweep.index, sweep.spectrum, sweep.flags, sweep, row, step), spikes[i]
            )
            for i, (sweep, row, step) in enumerate(zip(sweeps, values, steps.tolist(), strict=True))
        ]

    def _on_grid(self, sweep: NormalisedSweep, spikes: Array) -> ReducedSweep | RefusedSweep:
        """What the network takes of a normalised sweep.

        Parameters
        ----------
        spikes : energies of points that stand out, NaN for the others.
        """
        aligned = sweep.aligned
        plan, values = aligned.plan, sweep.normalised
        network_input = values
        if plan.foil is not None and self.theory is not None:
            network_input = plan.anchored(values, self.theory)
        phases = None
        try:
            if self.standards and aligned.anchor is not None:
                phases = self._phases(aligned, aligned.anchor)
            flags = check_step(sweep.edge_step, aligned.checked.noise)
        except Refusal as error:
            return sweep.refused(error)
        if np.any((spikes >= plan.points[0]) & (spikes <= plan.points[-1])):
            flags = [*flags, Flag.GLITCH]
        if plan.unmeasured is not None:
            flags = [*flags, Flag.HOLE]
        return ReducedSweep(
            index=sweep.index,
            spectrum=sweep.spectrum,
            flags=(*sweep.flags, *flags),
            normalised=values,
            edge_step=sweep.edge_step,
            plan=plan,
            anchor=aligned.anchor,
            alignment=aligned.alignment,
            network_input=network_input,
            phases=phases,
            checked=aligned.checked,
        )

    def _normalised(
        self, axis: Axis, sweep: AlignedSweep, mu: Array, weights: Array | None
    ) -> tuple[Array, Array]:
        """Matrices for an axis that comes again, and on other devices; else the same without them."""
        if self.target.kind == "chi":
            return self._chi(axis, sweep, mu, weights)
        plan, on_cpu = sweep.plan, self.device.type == "cpu"
        flat = self.target.kind == "flat"
        several = self.is_lasting(sweep.anchor) and len(mu) > 1
        if flat and on_cpu and not self._operators.expected(sweep.key, several):
            return flat_once(axis.energy, mu, plan.center, plan.windows, plan.points, weights)

        def build() -> NormalizationOperator:
            return NormalizationOperator(axis.energy, plan.center, plan.windows, plan.points)

        operator = self._operators.get(sweep.key, build) if self.is_lasting(sweep.anchor) else build()
        if not on_cpu:
            there = None if weights is None else torch.from_numpy(weights).to(self.device)
            values, steps = self._by(operator, torch.from_numpy(mu).to(self.device), there)
            return values.cpu().numpy(), steps.cpu().numpy()
        return self._by(operator, mu, weights)

    def _chi(self, axis: Axis, sweep: AlignedSweep, mu: Array, weights: Array | None) -> tuple[Array, Array]:
        """chi(k) on the grid, on the CPU whatever the device: a product far smaller than the network's."""
        target, plan = self.target, sweep.plan

        def build() -> ChiOperator:
            return ChiOperator(axis.energy, plan.center, plan.windows, target.grid, k_weight=target.k_weight)

        return self._backgrounds.get(sweep.key, build)(mu, weights)

    def _by(self, operator: NormalizationOperator, mu: Any, weights: Any) -> tuple[Any, Any]:
        """Spectra as the model takes them, and their edge steps."""
        if self.target.kind == "flat":
            return operator.flat(mu, weights)
        step = operator.edge_step(mu, weights)  # signed: a falling edge is refused
        return operator(mu, weights).norm, step

    def _phases(self, sweep: AlignedSweep, anchor: FoilAnchor) -> Array:
        """(k, g) network inputs of the standards, at the sweep's windows and shift."""
        plan, shift = sweep.plan, sweep.alignment.shift
        assert self.theory is not None
        flats = [s.flat(anchor, self.target.grid, plan.windows, shift) for s in self.standards]
        return plan.anchored(np.stack(flats), self.theory)


def _following_i0(group: Sequence[tuple[int, Spectrum, Checked]]) -> set[int]:
    """Indices of the sweeps whose mu follows the jumps of i0."""
    by_length: dict[int, list[tuple[int, Array, Array]]] = {}
    for index, spectrum, data in group:
        if "i0" in spectrum.counts:
            mu, i0 = spectrum.mu, spectrum.counts["i0"]
            if data.i0 is not None:
                mu, i0 = data.mu, data.i0
            by_length.setdefault(len(mu), []).append((index, mu, i0))
    found: set[int] = set()
    for alike in by_length.values():
        indices, mus, i0s = zip(*alike, strict=True)
        follows = i0_nonlinear(np.stack(mus), np.stack(i0s)).tolist()
        found |= {index for index, bad in zip(indices, follows, strict=True) if bad}
    return found


def _compared(sweep: CheckedSweep, anchor: FoilAnchor) -> list[str]:
    """Flags of what differs between the sample and its foil."""
    flags: list[str] = []
    sample, foil = sweep.spectrum.temperature, anchor.temperature
    if sample is None or foil is None or not np.isfinite(sample):
        flags.append(Flag.TEMPERATURE_UNKNOWN)
    elif abs(sample - foil) > TEMPERATURE_TOLERANCE:
        flags.append(Flag.TEMPERATURE_DIFFERS)
    now, then = sweep.spectrum.provenance.time, anchor.time
    if now is not None and then is not None and abs(now - then) > ANCHOR_AGE:
        flags.append(Flag.ANCHOR_OLD)
    if anchor.noise > NOISY_FOIL:
        flags.append(Flag.NOISY_FOIL)
    if anchor.is_weak:
        flags.append(Flag.WEAK_FOIL)
    here = sweep.spectrum.provenance.beamline
    if here and anchor.beamline and here.casefold() != anchor.beamline.casefold():
        flags.append(Flag.OTHER_BEAMLINE)
    return flags


def _lacking_reference(spectrum: Spectrum) -> Flag:
    return Flag.NO_REFERENCE if spectrum.reference is None else Flag.BAD_REFERENCE


def _short_windows(windows: Windows) -> list[str]:
    flags: list[str] = []
    flags += [Flag.SHORT_PRE_EDGE] if (windows.pre1 or -LONG_PRE_EDGE) > -LONG_PRE_EDGE else []
    flags += [Flag.SHORT_RANGE] if (windows.norm2 or LONG_RANGE) < LONG_RANGE else []
    return flags
