"""Calculated spectra with labels from files, as a `Population`: for models of whatever their labels say."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from xas_live.models.card import Absorber, InputSpec
from xas_live.models.outputs.specs import ClassesSpec, CurveSpec, OutputSpec, ScalarsSpec, Target
from xas_live.spectrum import Array
from xas_live.theory.sites import Indices
from xas_live.training.instrument import Instrument
from xas_live.training.population import Bulk, Tensors, Tested
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
    labels : (n, width), of all outputs side by side.
    group : (n,) number of the structure.
    """

    axis: Array
    spectra: Array
    labels: Array
    group: Indices


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
        self._labels = torch.from_numpy(np.concatenate([file.labels for file in files])).float()
        self.outputs = _output_specs(recipe, self._labels)
        sizes = [len(file.spectra) for file in files]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._sets = [
            _SpectraSet(spec, file, i) for i, (spec, file) in enumerate(zip(self.inputs, files, strict=True))
        ]
        groups = np.concatenate([file.group + 1_000_000 * i for i, file in enumerate(files)])
        group = np.unique(groups, return_inverse=True)[1]
        structures_known = int(group.max()) + 1
        if structures_known < 2 * recipe.folds:
            raise WrongEntry(("folds",), f"{structures_known} structures are too few: each fold needs two")
        order = np.random.default_rng(recipe.schedule.seed).permutation(structures_known)
        self.fold: Indices = (order % recipe.folds)[group]
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
        """Network inputs and labels."""
        w = torch.from_numpy(weights).float()
        of = np.searchsorted(self._starts, np.abs(weights).argmax(1), side="right") - 1
        x = torch.empty(len(w), self._sets[0].points)
        for i, spectra in enumerate(self._sets):
            rows = np.flatnonzero(of == i)
            if len(rows):
                own = w[rows][:, self._starts[i] : self._starts[i + 1]]
                x[rows] = spectra.measure(own, nuisances, rng)
        return x, w @ self._labels

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
    return InputSpec(
        absorber=Absorber(element=request.element, edge=request.edge, energy=request.edge_energy),
        kind=request.kind,
        unit=request.unit,
        grid=request.grid,
        origin="wavenumber of the photoelectron" if request.kind == "chi" else "e0 by larch's rule",
        windows=request.windows,
        k_weight=request.k_weight,
        anchor="none",
    )


def _read(path: Path, index: int, recipe: Recipe) -> _File:
    where = ("structures", "files", index)
    axis_name, spectra_name = _AXES[recipe.inputs[index].kind]
    try:
        with h5py.File(path) as file:
            if missing := [name for name in (axis_name, spectra_name, "labels") if name not in file]:
                raise WrongEntry(where, f"{path.name} lacks {missing[0]}")
            axis = file[axis_name][:].astype(np.float64)
            spectra = file[spectra_name][:].astype(np.float64)
            labels = _labels(file["labels"], recipe, where)
            group = file["group"][:].astype(np.int64) if "group" in file else np.arange(len(spectra))
    except OSError as error:
        raise WrongEntry(where, f"{path} cannot be read as HDF5: {error}") from error
    if spectra.shape != (len(labels), len(axis)) or len(group) != len(labels):
        shapes = f"{spectra_name} {spectra.shape}, {axis_name} {axis.shape}, labels {labels.shape}"
        raise WrongEntry(where, f"{path.name}: {shapes} and group {group.shape} do not match")
    if not np.isfinite(spectra).all() or np.any(np.diff(axis) <= 0):
        raise WrongEntry(where, f"{path.name}: {axis_name} must ascend and {spectra_name} hold numbers only")
    return _File(axis, spectra, labels, group)


def _labels(labels: h5py.Group, recipe: Recipe, where: tuple[str | int, ...]) -> Array:
    """(n, width) of all outputs side by side."""
    columns: list[Array] = []
    for output in recipe.outputs:
        names = [t.name for t in output.targets] if isinstance(output, ScalarsRequest) else [output.name]
        if missing := [name for name in names if name not in labels]:
            raise WrongEntry(where, f"labels/{missing[0]} is missing; there are {', '.join(labels)}")
        for name in names:
            columns.append(_columns(labels[name], output, name, where))
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise WrongEntry(where, f"labels differ in length: {sorted(lengths)}")
    return np.concatenate(columns, axis=1)


def _columns(
    data: h5py.Dataset,
    output: ScalarsRequest | ClassesSpec | CurveSpec,
    name: str,
    where: tuple[str | int, ...],
) -> Array:
    if isinstance(output, ClassesSpec):
        given = [value.decode() if isinstance(value, bytes) else str(value) for value in data[:]]
        if unknown := sorted(set(given) - set(output.classes)):
            known = ", ".join(output.classes)
            raise WrongEntry(where, f"labels/{name} has {', '.join(unknown)}; the classes are {known}")
        return np.array([[float(value == each) for each in output.classes] for value in given])
    values = data[:].astype(np.float64)
    if isinstance(output, CurveSpec):
        if values.shape[1:] != (output.width,):
            raise WrongEntry(
                where, f"labels/{name} has shape {values.shape}; the curve has {output.width} points"
            )
        return values
    return values[:, None]


def _output_specs(recipe: Recipe, labels: torch.Tensor) -> tuple[OutputSpec, ...]:
    specs: list[OutputSpec] = []
    start = 0
    for output in recipe.outputs:
        if not isinstance(output, ScalarsRequest):
            specs.append(output)
            start += output.width
            continue
        targets = []
        for target in output.targets:
            column = labels[:, start][~labels[:, start].isnan()]
            start += 1
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
