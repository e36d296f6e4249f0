"""Calculated spectra with labels from files, as a `Population`: for models of whatever their labels say."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from xas_live.models.card import InputSpec
from xas_live.models.outputs import columns_of, kinds_of
from xas_live.models.outputs.base import Tensors
from xas_live.models.outputs.intervals import BINS
from xas_live.models.outputs.specs import OutputSpec, ScalarsSpec, Target
from xas_live.spectrum import Array
from xas_live.theory.sites import Indices
from xas_live.training import labels
from xas_live.training.calibrate import FEWEST, LEVEL
from xas_live.training.instrument import Instrument
from xas_live.training.population import Bulk, Tested, input_spec
from xas_live.training.recipe import (
    InputRequest,
    LabelledStructures,
    Nuisances,
    Recipe,
    ScalarsRequest,
    WrongEntry,
)

_AXES = {"flat": ("energy", "mu"), "norm": ("energy", "mu"), "chi": ("k", "chi")}


@dataclass(frozen=True, eq=False)
class _File:
    """One absorber's spectra.

    Attributes
    ----------
    axis, spectra : (e,) and (n, e).
    labels : (n, width), of all outputs side by side; NaN where not known.
    group : (n,) number of the structure, the same in all files; None: every spectrum is a structure.
    """

    axis: Array
    spectra: Array
    labels: Array
    group: Indices | None


class LabelledSpectra:
    """Spectra of known labels; a fold is a part of their structures. See `LabelledStructures`.

    Parameters
    ----------
    recipe : with structures of kind "labelled".
    folder : of the recipe, from which its files are found.

    Raises
    ------
    WrongEntry : for files that cannot be read or do not fit the recipe.
    """

    counted = "structures"
    ranges: tuple[float, ...] = ()
    test_set = "structures of one fold, predicted by the members that were trained without it"
    limits: tuple[str, ...] = ("It knows structures like those of its labelled spectra, and no others.",)
    references: tuple[str, ...] = ()
    bulk: Bulk | None = None

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        structures = recipe.structures
        assert isinstance(structures, LabelledStructures)
        if len(structures.files) != len(recipe.inputs):
            count = f"{len(structures.files)} files for {len(recipe.inputs)} inputs"
            raise WrongEntry(
                ("structures", "files"), f"{count}: give one file for each input, in their order"
            )
        self.structures = structures
        self.inputs = tuple(_input_spec(i, request) for i, request in enumerate(recipe.inputs))
        paths = [folder / name for name in structures.files]
        files = [_read(path, i, recipe) for i, path in enumerate(paths)]
        known = torch.from_numpy(np.concatenate([file.labels for file in files])).float()
        self._unknown = known.isnan()
        self._labels = torch.where(self._unknown, 0.0, known)
        self.outputs = _output_specs(recipe, known)
        sizes = [len(file.spectra) for file in files]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._sets = [
            _SpectraSet(spec, file, i) for i, (spec, file) in enumerate(zip(self.inputs, files, strict=True))
        ]
        group = _structures(files)
        structures_known = int(group.max()) + 1
        if structures_known < 2 * recipe.folds:
            raise WrongEntry(("folds",), f"{structures_known} structures are too few: each fold needs two")
        order = np.random.default_rng(recipe.schedule.seed).permutation(structures_known)
        self.fold: Indices = (order % recipe.folds)[group]
        self._check_labels()
        digest = hashlib.sha256()
        for path in paths:
            digest.update(path.read_bytes())
        self.about: dict[str, object] = {
            "data": f"labelled spectra: {', '.join(Path(name).name for name in structures.files)}",
            "data_sha256": digest.hexdigest(),
            "spectra": int(self._starts[-1]),
            "left_out_particles": [],
            "folds": f"{recipe.folds} of structures; each member was trained without one of them",
        }

    def draw(self, fold: int | None, n: int, rng: np.random.Generator) -> Array:
        """(n, spectra) weights of single spectra, and of mixtures of two of one absorber."""
        rows = np.flatnonzero(self.fold != fold) if fold is not None else np.arange(len(self.fold))
        first = rng.choice(rows, n)
        weights = np.zeros((n, len(self.fold)))
        share = np.where(rng.random(n) < self.structures.mixed, rng.random(n), 0.0)
        second = np.array([self._partner(k, rows, rng) for k in first]) if share.any() else first
        np.add.at(weights, (np.arange(n), first), 1.0 - share)
        np.add.at(weights, (np.arange(n), second), share)
        return weights

    def belonging(self, n: int, rng: np.random.Generator) -> Array:
        """(n, spectra) weights, as they are drawn for training."""
        return self.draw(None, n, rng)

    def measure(
        self, weights: Array, nuisances: Nuisances, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Network inputs and labels; a label is NaN where one that is mixed in it is not known."""
        w = torch.from_numpy(weights).float()
        of = np.searchsorted(self._starts, np.abs(weights).argmax(1), side="right") - 1
        x = torch.empty(len(w), self._sets[0].points)
        for i, spectra in enumerate(self._sets):
            rows = np.flatnonzero(of == i)
            if len(rows):
                own = w[rows][:, self._starts[i] : self._starts[i + 1]]
                x[rows] = spectra.measure(own, nuisances, rng)
        y = w @ self._labels
        if self._unknown.any():
            y[(w != 0).float() @ self._unknown.float() > 0] = torch.nan
        return x, y

    def add_noise(self, x: torch.Tensor, nuisances: Nuisances, rng: np.random.Generator) -> torch.Tensor:
        """See `Population`."""
        return self._sets[0].add_noise(x, nuisances, rng)

    def tested(self, rng: np.random.Generator) -> Tested:
        """Every spectrum, with the fold that was trained without it."""
        n = len(self.fold)
        return Tested(np.eye(n), self.fold, np.ones(n, dtype=bool))

    def tables(self) -> Tensors:
        """None."""
        return {}

    def _check_labels(self) -> None:
        """Refuse labels of which too few are known to train each member, and to calibrate its intervals."""
        kinds = kinds_of(self.outputs)
        for kind, columns in zip(kinds, columns_of(kinds), strict=True):
            known = (~self._unknown[:, columns].any(1)).numpy()
            least = FEWEST * (1 if kind.strata is None else BINS)
            for k in np.unique(self.fold):
                if (count := int(known[self.fold != k].sum())) < least:
                    raise WrongEntry(
                        ("structures", "files"),
                        f"outside fold {k}, {count} spectra have all labels of the output {kind.name!r}: "
                        f"{least} are needed for its intervals of {100 * LEVEL:g} %; targets that are seldom "
                        "known together can be outputs of their own",
                    )

    def _partner(self, k: int, rows: Indices, rng: np.random.Generator) -> int:
        """Another spectrum of the same absorber, of those allowed."""
        i = int(np.searchsorted(self._starts, k, side="right")) - 1
        inside = rows[(rows >= self._starts[i]) & (rows < self._starts[i + 1])]
        return int(rng.choice(inside))


class _SpectraSet:
    """One absorber's spectra, as a beamline would see them."""

    def __init__(self, spec: InputSpec, file: _File, index: int) -> None:
        grid, self.points = spec.points, len(spec.points)
        self._instrument = None if spec.kind == "chi" else Instrument(grid)
        mesh = grid if self._instrument is None else self._instrument.mesh
        low, high = float(file.axis[0]), float(file.axis[-1])
        if mesh[0] < low or mesh[-1] > high:
            raise WrongEntry(
                ("inputs", index, "grid"),
                f"with its margins it runs from {mesh[0]:g} to {mesh[-1]:g} {spec.unit}; the spectra reach "
                f"from {low:g} to {high:g}",
            )
        values = np.stack([np.interp(mesh, file.axis, row) for row in file.spectra])
        if spec.k_weight:
            values *= mesh**spec.k_weight
        self._values = torch.from_numpy(values).float()
        self._mean = self._values.mean(0)

    def measure(self, w: torch.Tensor, nuisances: Nuisances, rng: np.random.Generator) -> torch.Tensor:
        """Network inputs (n, g) of weights (n, spectra); of chi, gain and noise are the only nuisances."""
        x = w @ self._values
        if self._instrument is not None:
            return self._instrument.measure(x, torch.zeros(len(x)), self._mean, nuisances, rng)
        gain = 1.0 + nuisances.gain * torch.from_numpy(rng.standard_normal((len(x), 1), dtype=np.float32))
        return self.add_noise(gain * x, nuisances, rng)

    def add_noise(self, x: torch.Tensor, nuisances: Nuisances, rng: np.random.Generator) -> torch.Tensor:
        """Network inputs with the noise of counting."""
        if self._instrument is not None:
            return self._instrument.counted(x, nuisances, rng)
        low, high = (max(end, 1e-9) for end in nuisances.noise)
        size = torch.from_numpy(np.exp(rng.uniform(np.log(low), np.log(high), (len(x), 1)))).float()
        return x + size * torch.from_numpy(rng.standard_normal(tuple(x.shape), dtype=np.float32))


def _input_spec(index: int, request: InputRequest) -> InputSpec:
    if request.element is None or request.edge is None:
        raise WrongEntry(("inputs", index), "name element and edge: labelled spectra do not state them")
    if request.anchor != "none":
        raise WrongEntry(("inputs", index, "anchor"), "labelled spectra have no foil: set anchor = 'none'")
    origin = "wavenumber of the photoelectron" if request.kind == "chi" else "e0 by larch's rule"
    return input_spec(index, request, request.element, request.edge, origin)


def _read(path: Path, index: int, recipe: Recipe) -> _File:
    where = ("structures", "files", index)
    axis_name, spectra_name = _AXES[recipe.inputs[index].kind]
    try:
        with h5py.File(path) as file:
            axis = labels.numbers(file, axis_name, 1)
            spectra = labels.numbers(file, spectra_name, 2)
            known = labels.labels(file, "labels", recipe.outputs, recipe.name)
            group = labels.groups(file)
    except OSError as error:
        raise WrongEntry(where, f"{path} cannot be read as HDF5: {error}") from error
    except labels.LabelsError as error:
        raise WrongEntry(where, f"{path.name}: {error}") from error
    if spectra.shape != (len(known), len(axis)) or (group is not None and len(group) != len(known)):
        shapes = f"{spectra_name} {spectra.shape}, {axis_name} {axis.shape}, labels {known.shape}"
        of_groups = "" if group is None else f" and group {group.shape}"
        raise WrongEntry(where, f"{path.name}: {shapes}{of_groups} do not match")
    if not len(spectra):
        raise WrongEntry(where, f"{path.name} holds no spectrum")
    good = len(axis) > 1 and np.isfinite(axis).all() and np.all(np.diff(axis) > 0)
    if not good or not np.isfinite(spectra).all():
        raise WrongEntry(where, f"{path.name}: {axis_name} must ascend and {spectra_name} hold numbers only")
    return _File(axis, spectra, known, group)


def _structures(files: list[_File]) -> Indices:
    """(spectra of all files,) number of the structure; those of files without groups are their own."""
    given = [file.group for file in files if file.group is not None]
    free = max((int(group.max()) + 1 for group in given if len(group)), default=0)
    found = []
    for file in files:
        if file.group is not None:
            found.append(file.group)
        else:
            found.append(np.arange(free, free + len(file.spectra)))
            free += len(file.spectra)
    return np.unique(np.concatenate(found), return_inverse=True)[1]


def _output_specs(recipe: Recipe, known: torch.Tensor) -> tuple[OutputSpec, ...]:
    specs: list[OutputSpec] = []
    start = 0
    for output in recipe.outputs:
        if not isinstance(output, ScalarsRequest):
            specs.append(output)
            start += output.width
            continue
        targets = []
        for target in output.targets:
            column = known[:, start][~known[:, start].isnan()]
            start += 1
            if not len(column):
                raise WrongEntry(("structures", "files"), f"labels/{target.name} holds no number")
            targets.append(
                Target(
                    name=target.name,
                    unit=target.unit,
                    minimum=float(f"{float(column.min()):.4g}"),
                    maximum=float(f"{float(column.max()):.4g}"),
                    non_negative=bool((column >= 0).all()),
                    description=f"labels/{target.name} of the training spectra",
                )
            )
        specs.append(
            ScalarsSpec(
                name=output.name, prefix=output.prefix, stratify_by=output.stratify_by, targets=tuple(targets)
            )
        )
    return tuple(specs)
