"""Labels and spectra as they stand in HDF5 files: of recipes, of tuning and of calibration alike."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np

from xas_live.errors import Refusal
from xas_live.models.outputs.specs import ClassesSpec, OutputSpec, ScalarsSpec
from xas_live.spectrum import Array
from xas_live.theory.sites import Indices
from xas_live.training.recipe import ScalarsRequest

UNKNOWN = ""  # class of a spectrum whose class is not known


class LabelsError(Refusal):
    """Datasets that do not hold what a model needs, with the name and the reason."""


def numbers(file: h5py.Group, name: str, *dimensions: int) -> Array:
    """A dataset of numbers, as float64.

    Parameters
    ----------
    dimensions : how many it may have.

    Raises
    ------
    LabelsError : when it is missing, holds no numbers, or has other dimensions.
    """
    data = file.get(name)
    place = f"{file.name.strip('/')}/{name}".strip("/")
    if not isinstance(data, h5py.Dataset):
        raise LabelsError(f"{place} is missing")
    if data.dtype.kind not in "iuf":
        raise LabelsError(f"{place} holds {data.dtype}, not numbers")
    if data.ndim not in dimensions:
        wanted = " or ".join(map(str, dimensions))
        raise LabelsError(f"{place} has shape {data.shape}: it must have {wanted} dimensions")
    return np.asarray(data[()], dtype=np.float64)


def words(data: h5py.Dataset | str | bytes) -> list[str]:
    """Words of a dataset or an attribute; a single one is a list of one."""
    values = np.atleast_1d(data[()] if isinstance(data, h5py.Dataset) else np.array(data, dtype=object))
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]


def groups(file: h5py.Group) -> Indices | None:
    """(n,) numbers of structures, in the dataset `group`; None where there is none.

    Raises
    ------
    LabelsError : when they are no whole numbers.
    """
    if "group" not in file:
        return None
    values = numbers(file, "group", 1)
    if not np.array_equal(values, np.round(values)):
        raise LabelsError("group must hold whole numbers")
    return values.astype(np.int64)


def labels(file: h5py.File, within: str, outputs: Sequence[ScalarsRequest | OutputSpec], model: str) -> Array:
    """(n, width) labels of all outputs side by side, as they train and judge: NaN where not known.

    Parameters
    ----------
    within : name of the group that has a dataset for every target, every output of classes and every curve.
    model : its name, for messages.

    Raises
    ------
    LabelsError : for labels that are missing, or do not fit the outputs.
    """
    asked = [name for output in outputs for name in label_names(output)]
    found: list[Array] = []
    for output in outputs:
        for name in label_names(output):
            if not isinstance(file.get(f"{within}/{name}"), h5py.Dataset):
                gives = f"{model} gives {', '.join(asked)}; write NaN where a label is not known"
                raise LabelsError(f"{within}/{name} is missing: {gives}")
        found += _columns(file[within], output)
    if len({len(column) for column in found}) > 1:
        raise LabelsError(f"labels differ in length: {[len(column) for column in found]}")
    return np.concatenate(found, axis=1)


def label_names(output: ScalarsRequest | OutputSpec) -> tuple[str, ...]:
    """Names under which an output's labels stand."""
    if isinstance(output, (ScalarsRequest, ScalarsSpec)):
        return tuple(target.name for target in output.targets)
    return (output.name,)


def _columns(file: h5py.Group, output: ScalarsRequest | OutputSpec) -> list[Array]:
    if isinstance(output, ClassesSpec):
        return [_shares(file, output)]
    if isinstance(output, (ScalarsRequest, ScalarsSpec)):
        return [_values(file, target.name, target.unit, 1)[:, None] for target in output.targets]
    curves = _values(file, output.name, output.unit, 2)
    if curves.shape[1] != output.width:
        place = f"{file.name.strip('/')}/{output.name}"
        raise LabelsError(f"{place} has shape {curves.shape}; the curve has {output.width} points")
    return [curves]


def _values(file: h5py.Group, name: str, unit: str, dimensions: int) -> Array:
    values, place = numbers(file, name, dimensions), f"{file.name.strip('/')}/{name}"
    stated = words(file[name].attrs.get("unit", unit))[0]
    if stated != unit:
        raise LabelsError(f"{place} has the unit {stated!r}; the model's is {unit!r}")
    if np.isinf(values).any():
        raise LabelsError(f"{place} holds infinity")
    return values


def _shares(file: h5py.Group, output: ClassesSpec) -> Array:
    """(n, classes) 1 for the class that is named; NaN where none is."""
    given, place = words(file[output.name]), f"{file.name.strip('/')}/{output.name}"
    if unknown := sorted(set(given) - {*output.classes, UNKNOWN}):
        known = ", ".join(output.classes)
        raise LabelsError(f"{place} has {', '.join(unknown)}; the classes are {known}")
    names = np.array(given, dtype=str)[:, None]
    return np.where(names == UNKNOWN, np.nan, (names == np.array(output.classes)).astype(np.float64))
