"""FoilAnchor: what ties theory to this beamline, by its own foil.

FEFF is a few per cent off in energy scale and shape. The anchor finds the shift, stretch and gain that lay
the beamline's foil on the bulk's theoretical spectrum. A sample then enters the network as

    theory_bulk(x) + gain(x) [flat_sample(E(x)) - flat_foil(E(x))],    E(x) = e0 + shift + stretch x,

with sample and foil normalised over identical windows: what theory gets wrong for the foil cancels. Where
the model knows the bulk's background without fine structure, the gain restores what disorder and losses have
taken from the foil's fine structure (see `damping`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from xas_live.errors import Refusal
from xas_live.host.folders import user_folder
from xas_live.host.text import printable
from xas_live.reduction.damping import LEAST_REACH, Damping
from xas_live.reduction.holes import refuse_holes
from xas_live.reduction.normalize import NormalizationOperator, Windows, flat_once
from xas_live.reduction.quality import check, check_range, check_step, locate_edge, point_noise
from xas_live.reduction.rebin import edge_grid
from xas_live.reduction.target import BulkTheory, InputTarget, TakesSweeps, listed
from xas_live.spectrum import Array, Provenance, Spectrum

SHIFT_RANGE = (-12.0, 12.0)  # eV
STRETCH_RANGE = (0.90, 1.10)
GAIN_RANGE = (0.7, 1.3)
_HASH = re.compile(r"-([0-9a-f]{12})$")
MIN_CORRELATION = 0.80  # of foil and theory above the edge
MAX_RESIDUAL = 0.08  # root mean square, in edge steps
STRENGTH_AT = 40.0  # eV past the origin, where the strength of the fine structure is told
WEAKEST_FOIL = 0.58  # of theory: foils are above it, small particles below (docs/explanations/foils.md)


class AnchorError(Refusal):
    """A foil that cannot anchor the model, or an anchor that cannot be read, with the reason."""


@dataclass(frozen=True, eq=False, repr=False)
class FoilAnchor:
    """A foil laid on the theory of its bulk.

    Attributes
    ----------
    element, edge : of the foil.
    energy, mu : (n,) the foil as measured, eV and any scale.
    e0 : its edge energy by larch's rule, eV.
    shift, stretch, gain : E(x) = e0 + shift + stretch x (eV); theory = gain x flat.
    residual : root mean square of theory - gain x flat over the grid, in edge steps.
    correlation : Pearson's, above the edge.
    noise : of a point of the foil, in edge steps.
    theory : hash of the theory that it was fitted to.
    temperature : of the foil (K), or None.
    source : where the foil comes from.
    time : Unix time at which it was measured (s), or None.
    weights : (n,) number of measured points behind each, of a dense sweep that was rebinned; else None.
    strength : of its fine structure at 40 eV, in units of theory's; None where the model cannot tell it.
    sample, beamline : as its scan names them; "" where it does not.
    model : that it was fitted for.
    vouched : the user says that it is bulk metal, though it looks like a particle.
    """

    element: str
    edge: str
    energy: Array
    mu: Array
    e0: float
    shift: float
    stretch: float
    gain: float
    residual: float
    correlation: float
    noise: float
    theory: str
    temperature: float | None = None
    source: str = ""
    time: float | None = None
    weights: Array | None = None
    strength: float | None = None
    sample: str = ""
    beamline: str = ""
    model: str = ""
    vouched: bool = False

    @classmethod
    def fit(cls, foil: Spectrum, model: TakesSweeps, *, weights: Array | None = None) -> FoilAnchor:
        """Find shift, stretch and gain: globally on a mesh within bounds, then refined.

        Parameters
        ----------
        foil : a spectrum of the bulk metal, at least from 20 eV before to 95 eV past the edge; a dense
            sweep is rebinned, as the sample's are.
        model : whose theory is anchored: a bundle, or its input for one absorber.
        weights : (n,) number of points behind each, of a foil that is rebinned already.

        Raises
        ------
        AnchorError : with the reason, when the foil is unusable, of another element, does not look like the
            theory, or a parameter ends at its bound.
        """
        target = model.input_for(foil.element, foil.edge)
        if target is None:
            raise AnchorError(
                f"a {foil.element} {foil.edge} foil cannot anchor {model.name}, a model of "
                f"{listed(model.absorbers)}"
            )
        if target.theory is None:
            raise AnchorError(f"{model.name} is not anchored: it has no theory to lay a foil on")
        x, aim = target.grid, target.theory.on(target.grid)
        try:
            grid = edge_grid(target.edge_energy)
            good = check(foil, grid)
            if weights is not None:
                good = replace(good, axis=grid.axis_of(good.energy), weights=weights)
            e0 = locate_edge(good.axis, good.mu, target.edge_energy)
            check_range(good.energy, e0, e0 + x)
            refuse_holes(good.energy, e0, e0 + x)
            windows = common_windows(target.windows, [good.energy], e0)
            operator = NormalizationOperator(good.energy, e0, windows)
            flats, steps = operator.flat(good.mu[None], _row(good.weights))
            flat, step = flats[0], float(steps[0])
            noise = point_noise(good.mu[good.axis.judged])
            check_step(step, noise)
        except Refusal as error:
            raise AnchorError(f"the foil is not usable: {error}") from error
        shift, stretch, gain = _fit_warp(good.energy - e0, flat, x, aim)
        _refuse_bounds(shift, stretch, gain, float(good.energy[-1] - e0), float(x[-1]))

        fitted = gain * np.interp(shift + stretch * x, good.energy - e0, flat)
        residual = float(np.sqrt(np.mean((fitted - aim) ** 2)))
        above = x > 0
        correlation = float(np.corrcoef(fitted[above], aim[above])[0, 1])
        if correlation < MIN_CORRELATION or residual > MAX_RESIDUAL:
            raise AnchorError(
                f"the foil does not look like {target.element} metal: correlation with theory "
                f"{correlation:.2f} (at least {MIN_CORRELATION}), residual {residual:.3f} (at most "
                f"{MAX_RESIDUAL}); is it the right foil, unoxidised and not too thick?"
            )
        return cls(
            element=target.element,
            edge=target.edge,
            energy=good.energy,
            mu=good.mu,
            e0=e0,
            shift=shift,
            stretch=stretch,
            gain=gain,
            residual=residual,
            correlation=correlation,
            noise=noise / step,
            theory=target.theory.sha256,
            temperature=foil.temperature,
            source=foil.provenance.source or foil.provenance.scan,
            time=foil.provenance.time,
            weights=good.weights,
            strength=_strength(x, aim, target.theory, fitted),
            sample=foil.provenance.sample,
            beamline=foil.provenance.beamline,
            model=target.model,
        )

    @property
    def is_weak(self) -> bool:
        """Whether its fine structure is weaker than that of any foil: it may be no bulk metal."""
        return self.strength is not None and self.strength < WEAKEST_FOIL and not self.vouched

    def __repr__(self) -> str:
        named = ", ".join(filter(None, (self.sample, self.beamline)))
        fit = f"shift {self.shift:+.2f} eV, residual {self.residual:.4f} edge steps"
        of = f" ({named})" if named else ""
        text = f"<FoilAnchor {self.element} {self.edge} of {self.source}{of}: {fit}, {self.sha256[:8]}>"
        return printable(text)

    def energies(self, grid: Array, shift: float = 0.0) -> Array:
        """Measured energies (eV) of the model's grid, for a scan that lies `shift` eV above the foil."""
        return self.e0 + shift + self.shift + self.stretch * grid

    def fitted_to(self, model: TakesSweeps) -> FoilAnchor:
        """This anchor, fitted anew from its own foil where it was fitted to another model's theory.

        Raises
        ------
        AnchorError : when the foil is of another absorber, or does not fit the theory.
        """
        target = model.input_for(self.element, self.edge)
        if target is not None and target.theory is not None and self.theory == target.theory.sha256:
            return self if self.strength is not None else replace(self, strength=self._told_by(target))
        foil = Spectrum(
            energy=self.energy,
            mu=self.mu,
            element=self.element,
            edge=self.edge,
            temperature=self.temperature,
            provenance=Provenance(source=self.source, time=self.time),
        )
        fitted = FoilAnchor.fit(foil, model, weights=self.weights)
        return replace(fitted, sample=self.sample, beamline=self.beamline, vouched=self.vouched)

    def _told_by(self, target: InputTarget) -> float | None:
        """Strength of the fine structure, of an anchor saved before that was kept."""
        assert target.theory is not None
        x, energy = target.grid, self.energy
        windows = common_windows(target.windows, [energy], self.e0)
        points = self.energies(x)
        flat = flat_once(energy, self.mu[None], self.e0, windows, points, _row(self.weights))[0][0]
        return _strength(x, target.theory.on(x), target.theory, self.gain * flat)

    def on_grid(self, grid: Array, theory: BulkTheory, windows: Windows) -> LaidFoil:
        """The foil at the energies of the grid, normalised over `windows`, and what lays it on theory.

        The gain belongs to the windows: in shorter ones the same foil normalises a little differently.

        Parameters
        ----------
        grid : (g,) the model's, eV.
        """
        points, weights, aim = self.energies(grid), _row(self.weights), theory.on(grid)
        flat = flat_once(self.energy, self.mu[None], self.e0, windows, points, weights)[0][0]
        gain = float(flat @ aim / (flat @ flat))
        background = theory.background_on(grid)
        if background is None:
            return LaidFoil(flat, np.full(len(grid), gain), gain * flat - aim, Damping())
        damping = Damping.fit(grid, aim, background, gain * flat)
        restoring = damping.restoring(grid)
        expected = background + (aim - background) / restoring
        return LaidFoil(flat, gain * restoring, restoring * (gain * flat - expected), damping)

    def norm_on_grid(self, grid: Array, windows: Windows) -> Array:
        """(g,) the foil at the energies of the grid, normalised over `windows` but not flattened."""
        operator = NormalizationOperator(self.energy, self.e0, windows, self.energies(grid))
        return np.asarray(operator(self.mu[None], _row(self.weights)).norm[0])

    @cached_property
    def sha256(self) -> str:
        """Hash over everything that predictions depend on."""
        names = ("element", "edge", "e0", "shift", "stretch", "temperature", "theory")
        digest = hashlib.sha256()
        digest.update(json.dumps({name: getattr(self, name) for name in names}, sort_keys=True).encode())
        digest.update(self.energy.tobytes())
        digest.update(self.mu.tobytes())
        digest.update(b"" if self.weights is None else self.weights.tobytes())
        return digest.hexdigest()

    def save(self, folder: Path | None = None) -> Path:
        """Write anchor.json and foil.safetensors; whoever reads meanwhile finds the old one or the new one.

        Parameters
        ----------
        folder : default a new folder among the user's anchors, where `saved_anchors` finds it.

        Returns
        -------
        The folder.

        Raises
        ------
        OSError : when it cannot be written.
        """
        if folder is None:
            folder = user_folder("anchors") / f"{self.element}-{self.edge}-{self.sha256[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        numbers = _AnchorFile(**{name: getattr(self, name) for name in _AnchorFile.numbers()})
        kept = {"energy": self.energy, "mu": self.mu}
        kept |= {} if self.weights is None else {"weights": self.weights}
        numbers.sha256 = numbers.checksum(kept)
        arrays = folder / "foil.safetensors.new"
        save_file(kept, arrays)
        arrays.replace(folder / "foil.safetensors")
        # Written last: its time is the anchor's age, and without it the folder is no anchor yet.
        text = folder / "anchor.json.new"
        text.write_text(numbers.model_dump_json(indent=2) + "\n", encoding="utf-8")
        text.replace(folder / "anchor.json")
        return folder

    @classmethod
    def load(cls, folder: Path) -> FoilAnchor:
        """Read an anchor that `save` wrote.

        Raises
        ------
        AnchorError : when the folder holds none, or another version's, or it is not what was saved: every
            number in it enters the predictions.
        """
        try:
            for path in (folder / "anchor.json", folder / "foil.safetensors"):
                if not path.is_file():
                    raise FileNotFoundError(f"there is no file {path.name}")
            text = (folder / "anchor.json").read_text(encoding="utf-8")
            arrays = load_file(folder / "foil.safetensors")
            numbers = _AnchorFile.model_validate_json(text)
            arrays = {name: arrays[name] for name in ("energy", "mu", *arrays.keys() & {"weights"})}
            _check_arrays(arrays)
            anchor = cls(**{name: getattr(numbers, name) for name in _AnchorFile.numbers()}, **arrays)
        except (OSError, ValueError, SafetensorError, KeyError, TypeError) as error:
            raise AnchorError(f"no anchor can be read from {folder}: {error}") from error
        named = _HASH.search(folder.name)
        if numbers.sha256 is not None:
            sound = numbers.sha256 == numbers.checksum(arrays)
        else:  # saved before version 3: its own hash is in the name that `save` gives
            sound = named is None or anchor.sha256.startswith(named[1])
        if not sound:
            raise AnchorError(
                f"the anchor in {folder} is not what was saved (its hash differs): it is damaged or was "
                "edited; fit the foil again"
            )
        return anchor


class LaidFoil(NamedTuple):
    """A foil on a model's grid.

    Attributes
    ----------
    flat : (g,) normalised.
    gain : (g,) by which differences from it are multiplied.
    theory_error : (g,) what theory gets wrong for it besides its damping, in edge steps.
    damping : of its fine structure.
    """

    flat: Array
    gain: Array
    theory_error: Array
    damping: Damping


class _AnchorFile(BaseModel):
    """What stands in anchor.json."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    version: Literal[1, 2, 3] = 3
    element: str
    edge: str
    e0: float
    shift: float
    stretch: float
    gain: float
    residual: float
    correlation: float
    noise: float
    theory: str
    temperature: float | None
    source: str
    time: float | None = None
    strength: float | None = None  # from version 2 on, as all below
    sample: str = ""
    beamline: str = ""
    model: str = ""
    vouched: bool = False
    sha256: str | None = None  # from version 3 on: see `checksum`

    @classmethod
    def numbers(cls) -> list[str]:
        """Names of the entries that an anchor has too."""
        return [name for name in cls.model_fields if name not in ("version", "sha256")]

    def checksum(self, arrays: Mapping[str, Array]) -> str:
        """Return the hash over all that is saved of an anchor."""
        numbers = self.model_dump(include=set(self.numbers()))
        digest = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode())
        for name in sorted(arrays):
            digest.update(f"{name} ".encode() + arrays[name].tobytes())
        return digest.hexdigest()


def _check_arrays(arrays: Mapping[str, Array]) -> None:
    """Raise ValueError where arrays of a file are no foil's."""
    energy = arrays["energy"]
    for name, array in arrays.items():
        if array.dtype != np.float64 or array.ndim != 1 or len(array) != len(energy) or len(array) < 5:
            raise ValueError(f"{name!r} is an array of {array.dtype}, {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name!r} holds what is no number")
    if not (np.diff(energy) > 0).all():
        raise ValueError("its energies do not ascend")


def _row(weights: Array | None) -> Array | None:
    """Weights of a batch of one."""
    return None if weights is None else weights[None]


def common_windows(wanted: Windows, axes: list[Array], e0: float) -> Windows:
    """Normalisation windows that all the axes cover, so that sample and foil are treated alike.

    The wanted windows, cut to 5 eV where a scan is shorter; a cut window keeps its proportions. The degrees
    of both fits are settled here too, by larch's rules and the axis with the fewest points.

    Parameters
    ----------
    wanted : eV relative to e0, all four given.
    axes : energy axes (eV) on which the windows must lie, each from before to past e0.
    e0 : eV, in the axes' energy.

    Raises
    ------
    ValueError : when `wanted` leaves one of the four open.
    """
    if wanted.pre1 is None or wanted.pre2 is None or wanted.norm1 is None or wanted.norm2 is None:
        raise ValueError("a model's windows must be given in full")
    start = max(float(axis[0]) for axis in axes) - e0
    end = min(float(axis[-1]) for axis in axes) - e0
    pre1 = max(wanted.pre1, min(5.0 * np.ceil(start / 5.0), -5.0))
    pre2 = wanted.pre2 * pre1 / wanted.pre1
    norm2 = min(wanted.norm2, 5.0 * np.floor(end / 5.0))
    norm1 = min(wanted.norm1, norm2 / 2.0)
    in_pre, in_post = (
        min(int(np.sum((axis >= e0 + low) & (axis <= e0 + high))) for axis in axes)
        for low, high in ((pre1, pre2), (norm1, norm2))
    )
    nnorm = 0 if in_post < 3 or norm2 - norm1 < 30 else 1 if in_post < 6 or norm2 - norm1 < 300 else 2
    return Windows(
        float(pre1), float(pre2), float(norm1), float(norm2), nnorm=nnorm, npre=1 if in_pre >= 4 else 0
    )


def _fit_warp(energy: Array, flat: Array, x: Array, target: Array) -> tuple[float, float, float]:
    """Shift, stretch, gain of least squares: a mesh over the bounds, refined four times around its best."""
    shifts, stretches = np.linspace(*SHIFT_RANGE, 49), np.linspace(*STRETCH_RANGE, 21)
    best = (0.0, 1.0, 1.0)
    for _ in range(6):
        s, a = np.meshgrid(shifts, stretches, indexing="ij")
        y = np.interp(s[..., None] + a[..., None] * x, energy, flat)
        gain = (y @ target) / (y**2).sum(axis=-1)
        cost = ((gain[..., None] * y - target) ** 2).sum(axis=-1)
        i, j = np.unravel_index(int(cost.argmin()), cost.shape)
        best = (float(shifts[i]), float(stretches[j]), float(gain[i, j]))
        ds, da = shifts[1] - shifts[0], stretches[1] - stretches[0]
        shifts = np.clip(best[0] + np.linspace(-1.5, 1.5, 9) * ds, *SHIFT_RANGE)
        stretches = np.clip(best[1] + np.linspace(-1.5, 1.5, 9) * da, *STRETCH_RANGE)
    return best


def _strength(x: Array, aim: Array, theory: BulkTheory, fitted: Array) -> float | None:
    """Strength of the fine structure of a foil laid on theory, (g,); None where the model cannot tell it."""
    background = theory.background_on(x)
    if background is None or x[-1] < LEAST_REACH:
        return None
    return float(Damping.fit(x, aim, background, fitted).at(np.array([STRENGTH_AT]))[0])


def _refuse_bounds(shift: float, stretch: float, gain: float, end: float, grid_end: float) -> None:
    found = (("shift", shift, SHIFT_RANGE), ("stretch", stretch, STRETCH_RANGE), ("gain", gain, GAIN_RANGE))
    for name, value, (low, high) in found:
        margin = 0.01 * (high - low)
        if not low + margin < value < high - margin:
            raise AnchorError(
                f"the foil does not fit: its {name} of {value:.3f} lies at the bound of {low} to {high}; is "
                "the energy calibrated, and is it a foil of the right element, not a particle?"
            )
    if shift + stretch * grid_end > end:
        raise AnchorError(
            f"the foil ends {end:.0f} eV past its edge; the model needs {shift + stretch * grid_end:.0f} eV"
        )
