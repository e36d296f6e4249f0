"""Reducer: measured sweeps in, network inputs out. Checks, anchor, energy shift, normalisation, grid."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch

from xas_live.anchor import AnchorError, FoilAnchor, common_windows
from xas_live.models.bundle import Bundle
from xas_live.models.fractions import Metals, Mixed
from xas_live.reduction.align import AlignmentError, reference_shift
from xas_live.reduction.axis import Axis, AxisCache
from xas_live.reduction.gate import gate, i0_nonlinear
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
from xas_live.spectrum import Array, Spectrum
from xas_live.standards import standards_of

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


@dataclass(frozen=True, eq=False)
class Plan:
    """How the sweeps of one axis, anchor and shift are reduced.

    Attributes
    ----------
    center : e0 of the normalisation, eV.
    windows : its fit ranges.
    points : (g,) measured energies of the grid, eV.
    foil : (g,) the normalised foil there, or None; `gain` lays it on theory.
    theory_error : (g,) what theory gets wrong for the foil, in edge steps, or None.
    foil_rise : eV on the grid at which the foil passes one half.
    """

    center: float
    windows: Windows
    points: Array
    foil: Array | None = None
    gain: float = 1.0
    theory_error: Array | None = None
    foil_rise: float = float("nan")


@dataclass(eq=False)
class Job:
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
    noise: float = float("nan")
    plan: Plan | None = None
    plan_key: Any = None
    flat: Array | None = None
    network_input: Array | None = None
    mixed: Mixed | None = None
    refused: str | None = None

    def refuse(self, reason: BaseException | str) -> None:
        """Give up, with the reason in words."""
        self.refused = str(reason)


class Reducer:
    """Brings sweeps onto a model's grid, as the network expects them. Safe to share between threads.

    Parameters
    ----------
    bundle : the model.
    anchor : a foil fitted to it; "reference" takes each sweep's own reference channel; None: unanchored.
    fallback : with "reference", the foil for sweeps whose reference channel is missing or bad.
    align : see `AnalysisConfig`.
    device : where batches are normalised.
    standards : measured spectra of other phases by name.

    Attributes
    ----------
    latest_alignment : anchor and shift (eV) of the sweep reduced last, for what comes before the next is
        complete; no prediction of a completed sweep depends on it.

    Raises
    ------
    StandardError : when a standard cannot be used.
    """

    def __init__(
        self,
        bundle: Bundle,
        anchor: FoilAnchor | Literal["reference"] | None,
        fallback: FoilAnchor | None,
        align: str | float,
        device: torch.device,
        standards: Mapping[str, Spectrum],
    ) -> None:
        self.bundle = bundle
        self.anchor = anchor
        self.fallback = fallback
        self.device = device
        self.standards = standards_of(standards, bundle)
        self._align_by = align
        energy, bulk = bundle.array("theory_energy"), bundle.array("theory_bulk")
        self.theory = np.interp(bundle.grid, energy, bulk)
        self._theory_edge = _steepest_rise(energy, bulk)
        self._metals = Metals(*(bundle.array(name) for name in ("metal_mean", "metal_factor", "metal_rest")))
        self._axes = AxisCache()
        self._operators = OperatorCache()
        self._plans: OrderedDict[Any, Plan] = OrderedDict()
        self._foils: dict[tuple[str, Windows], tuple[Array, float]] = {}
        self.latest_alignment: tuple[FoilAnchor | None, float] = (
            anchor if isinstance(anchor, FoilAnchor) else fallback,
            float(align) if not isinstance(align, str) else 0.0,
        )
        self._lock = Lock()

    @property
    def recipe(self) -> tuple[Any, ...]:
        """Equal for reducers that do the same to every sweep, whatever their models predict."""
        card = self.bundle.card
        anchors = (a.sha256 if isinstance(a, FoilAnchor) else a for a in (self.anchor, self.fallback))
        # Standards are weighed against the spectra that the model was trained on.
        standards = (self.bundle.sha256, *(s.sha256 for s in self.standards)) if self.standards else ()
        return (
            self.bundle.theory_sha256, card.input, card.absorbers, *anchors, self._align_by, standards
        )  # fmt: skip

    def reduce(self, spectra: Sequence[Spectrum]) -> list[Job]:
        """Every spectrum with its network input, or with the reason why it has none."""
        jobs = [Job(i, spectrum) for i, spectrum in enumerate(spectra)]
        admitted = [job for job in jobs if self._admit(job)]
        grids = [edge_grid(self._absorber_energy(job)) for job in admitted]
        for job, checked in zip(
            admitted, check_all([job.spectrum for job in admitted], self._axes, grids), strict=True
        ):
            if isinstance(checked, Unusable):
                job.refuse(checked)
            else:
                job.checked = checked
                job.flags += checked.flags
        by_axis: dict[int, tuple[Axis, list[Job]]] = {}
        for job in admitted:
            if job.checked is not None:
                by_axis.setdefault(id(job.checked.axis), (job.checked.axis, []))[1].append(job)
        for axis, group in by_axis.values():
            self._examine(axis, group)
            by_plan: dict[Any, list[Job]] = {}
            for job in group:
                if job.refused is None:
                    by_plan.setdefault(job.plan_key, []).append(job)
            for members in by_plan.values():
                self._normalize(axis, members)
        good = next((job for job in reversed(jobs) if job.refused is None and job.anchor is not None), None)
        if good is not None:
            self.latest_alignment = (good.anchor, good.shift)
        return jobs

    def measured_as(self, job: Job, network_input: Array) -> Array:
        """The normalised sample that would give this network input."""
        if job.plan is None or job.plan.foil is None:
            return network_input
        return job.plan.foil + (network_input - self.theory) / job.plan.gain

    def _admit(self, job: Job) -> bool:
        """Whether the model speaks of the spectrum's absorber."""
        spectrum, card = job.spectrum, self.bundle.card
        known = card.absorber_of(spectrum.element, spectrum.edge) is not None
        if not known and spectrum.absorber_guessed:  # a guess does not overrule the user's choice
            job.spectrum = spectrum = replace(spectrum, element=None, edge=None, absorber_guessed=False)
            known = True
        if not known:
            speaks_of = ", ".join(f"{a.element} {a.edge}" for a in card.absorbers)
            asked = f"{spectrum.element or ''} {spectrum.edge or ''}".strip()
            job.refuse(f"the sample is {asked}, the model speaks of {speaks_of}")
        return known

    def _examine(self, axis: Axis, jobs: list[Job]) -> None:
        """Edge, anchor, energy shift and quality of the sweeps of one axis; settle how each is reduced."""
        mu = _mu_of(jobs)
        edges = axis.edge_finder.find(axis.coarser(mu)).tolist()
        for job, noise, edge in zip(jobs, point_noises(mu[:, axis.judged]).tolist(), edges, strict=True):
            job.noise = noise
            if not job.spectrum.complete:
                job.flags.append("incomplete")
            if job.spectrum.mode == "fluorescence":
                job.flags.append("self_absorption_uncorrected")
            with refusing(job):
                job.e0 = expected_edge(axis, _checked(job).mu, edge, self._absorber_energy(job))
        self._compare_i0(jobs)
        for job in jobs:
            if job.refused is None:
                with refusing(job):
                    self._settle(axis, job)
        rows = [i for i, job in enumerate(jobs) if job.refused is None]
        if not rows:
            return
        of = [jobs[i] for i in rows]
        e0, noise = np.array([job.e0 for job in of]), np.array([job.noise for job in of])
        for job, problem in zip(of, gate(axis, mu[rows], e0, noise), strict=True):
            if problem is not None:
                job.refuse(problem)
            elif job.plan is not None:
                job.flags += _short_windows(job.plan.windows)

    def _absorber_energy(self, job: Job) -> float:
        absorber = self.bundle.card.absorber_of(job.spectrum.element, job.spectrum.edge)
        assert absorber is not None
        return absorber.energy

    def _compare_i0(self, jobs: list[Job]) -> None:
        by_length: dict[int, list[tuple[Job, Array, Array]]] = {}
        for job in jobs:
            if "i0" in job.spectrum.counts:
                mu, i0 = job.spectrum.mu, job.spectrum.counts["i0"]
                if (binned := _checked(job)).i0 is not None:
                    mu, i0 = binned.mu, binned.i0
                by_length.setdefault(len(mu), []).append((job, mu, i0))
        for group in by_length.values():
            of, mus, i0s = zip(*group, strict=True)
            for job, follows in zip(of, i0_nonlinear(np.stack(mus), np.stack(i0s)).tolist(), strict=True):
                if follows:
                    job.flags.append("i0_nonlinear")

    def _settle(self, axis: Axis, job: Job) -> None:
        """The sweep's anchor, shift and plan."""
        job.anchor = self._anchor_of(job)
        if job.anchor is None:
            job.flags.append("unanchored")
            job.aligned = "e0"
            if self.standards:
                job.flags.append("standards_need_an_anchor")
        else:
            self._align(job, job.anchor)
            self._compare_temperature(job, job.anchor)
            now, then = job.spectrum.provenance.time, job.anchor.time
            if now is not None and then is not None and abs(now - then) > ANCHOR_AGE:
                job.flags.append("anchor_old")
            if job.anchor.noise > NOISY_FOIL:
                job.flags.append("noisy_foil")
        where = round(job.e0, 3) if job.anchor is None else job.shift
        job.plan_key = (axis.key, None if job.anchor is None else job.anchor.sha256, where)
        job.plan = self._plan(axis, job)

    def _anchor_of(self, job: Job) -> FoilAnchor | None:
        if self.anchor != "reference":
            return self.anchor
        good = _checked(job)
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
            return FoilAnchor.fit(foil, self.bundle, weights=good.weights)
        except AnchorError:
            job.flags.append("bad_reference")
            return self.fallback

    def _align(self, job: Job, anchor: FoilAnchor) -> None:
        """Shift of the scan against the foil, by the way that the configuration asks for."""
        align, good = self._align_by, _checked(job)
        if not self._lasting(anchor) and align in ("auto", "reference"):
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

    def _lasting(self, anchor: FoilAnchor | None) -> bool:
        """Whether other sweeps have this anchor, too: a sweep's own reference is seen once."""
        return anchor is self.anchor or anchor is self.fallback

    def _compare_temperature(self, job: Job, anchor: FoilAnchor) -> None:
        sample, foil = job.spectrum.temperature, anchor.temperature
        if sample is None or foil is None or not np.isfinite(sample):
            job.flags.append("temperature_unknown")
        elif abs(sample - foil) > TEMPERATURE_TOLERANCE:
            job.flags.append("temperature_differs")

    def _plan(self, axis: Axis, job: Job) -> Plan:
        with self._lock:
            if job.plan_key in self._plans:
                self._plans.move_to_end(job.plan_key)
                return self._plans[job.plan_key]
        plan = self._new_plan(axis, job)
        if self._lasting(job.anchor):
            with self._lock:
                self._plans[job.plan_key] = plan
                while len(self._plans) > PLANS_KEPT:
                    self._plans.popitem(last=False)
        return plan

    def _new_plan(self, axis: Axis, job: Job) -> Plan:
        anchor, grid = job.anchor, self.bundle.grid
        axes = [axis.energy]
        if anchor is None:
            center, points = job.e0, job.e0 + grid - self._theory_edge
        else:
            center, points = anchor.e0 + job.shift, anchor.energies(grid, job.shift)
            axes += [anchor.energy + job.shift, *(standard.energy for standard in self.standards)]
        check_range(axis.energy, center, points)
        windows = common_windows(self.bundle.card.input.fit_windows, axes, center)
        if anchor is None:
            return Plan(center, windows, points)
        foil, gain = self._foil(anchor, windows)
        return Plan(center, windows, points, foil, gain, gain * foil - self.theory, half_rise(grid, foil))

    def _foil(self, anchor: FoilAnchor, windows: Windows) -> tuple[Array, float]:
        """The normalised foil on the grid, and its gain."""
        if not self._lasting(anchor):
            return anchor.on_grid(self.bundle.grid, self.theory, windows)
        key = (anchor.sha256, windows)
        with self._lock:
            if key not in self._foils:
                self._foils[key] = anchor.on_grid(self.bundle.grid, self.theory, windows)
            return self._foils[key]

    def _normalize(self, axis: Axis, jobs: list[Job]) -> None:
        """Normalised spectra on the grid, for sweeps that share axis, anchor, shift and windows."""
        plan, mu = jobs[0].plan, _mu_of(jobs)
        assert plan is not None
        behind = [_checked(job).weights for job in jobs]  # all sweeps of a standard axis were rebinned
        weights = np.stack([each for each in behind if each is not None]) if behind[0] is not None else None
        try:
            flat, steps = self._flat(axis, plan, jobs[0], mu, weights)
        except ValueError as error:
            for job in jobs:
                job.refuse(error)
            return
        inputs = flat if plan.foil is None else self.theory + plan.gain * (flat - plan.foil)
        spikes = glitches(axis, mu, steps)
        for i, (job, step) in enumerate(zip(jobs, steps.tolist(), strict=True)):
            job.edge_step, job.flat, job.network_input = step, flat[i], inputs[i]
            with refusing(job):
                if self.standards and job.anchor is not None:
                    job.mixed = self._mixed(job, plan)
                job.flags += check_step(step, job.noise)
                if np.any((spikes[i] >= plan.points[0]) & (spikes[i] <= plan.points[-1])):
                    job.flags.append("glitch")

    def _flat(
        self, axis: Axis, plan: Plan, job: Job, mu: Array, weights: Array | None
    ) -> tuple[Array, Array]:
        """Matrices for an axis that comes again, and on other devices; else the same without them."""
        key, on_cpu = job.plan_key, self.device.type == "cpu"
        if on_cpu and not self._operators.expected(key, self._lasting(job.anchor) and len(mu) > 1):
            return flat_once(axis.energy, mu, plan.center, plan.windows, plan.points, weights)

        def build() -> NormalizationOperator:
            return NormalizationOperator(axis.energy, plan.center, plan.windows, plan.points)

        operator = self._operators.get(key, build) if self._lasting(job.anchor) else build()
        if on_cpu:
            return operator.flat(mu, weights)
        there = None if weights is None else torch.from_numpy(weights).to(self.device)
        flat, steps = operator.flat(torch.from_numpy(mu).to(self.device), there)
        return flat.cpu().numpy(), steps.cpu().numpy()

    def _mixed(self, job: Job, plan: Plan) -> Mixed:
        """How much of each standard there may be, and the metal that it leaves."""
        assert job.anchor is not None
        assert job.network_input is not None
        assert plan.foil is not None
        phases = [
            self.theory
            + plan.gain * (s.flat(job.anchor, self.bundle.grid, plan.windows, job.shift) - plan.foil)
            for s in self.standards
        ]
        return Mixed.fit(job.network_input, np.stack(phases), self._metals)


@contextmanager
def refusing(job: Job) -> Iterator[None]:
    """Turn what cannot be analysed into the job's refusal."""
    try:
        yield
    except (Unusable, AnchorError, ValueError) as error:
        job.refuse(error)


def _short_windows(windows: Windows) -> list[str]:
    flags = ["short_pre_edge"] if (windows.pre1 or -LONG_PRE_EDGE) > -LONG_PRE_EDGE else []
    return flags + (["short_range"] if (windows.norm2 or LONG_RANGE) < LONG_RANGE else [])


def _checked(job: Job) -> Checked:
    assert job.checked is not None
    return job.checked


def _mu_of(jobs: Sequence[Job]) -> Array:
    return np.stack([_checked(job).mu for job in jobs])


def _steepest_rise(energy: Array, mu: Array) -> float:
    """Energy of the theory's edge: its steepest point within 15 eV of zero."""
    near = np.abs(energy) < 15.0
    return float(energy[near][np.gradient(mu[near], energy[near]).argmax()])
