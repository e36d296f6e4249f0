"""The card of a model: what it was trained on, what it takes and gives, how good it was measured to be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from xas_live.reduction.normalize import Windows
from xas_live.spectrum import Array


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Absorber(_Strict):
    """An element and edge that the model speaks of; `energy` is the tabulated edge energy (eV)."""

    element: str
    edge: str
    energy: float


class GridSegment(_Strict):
    """Points from `start` to just under `stop`, `step` apart (eV)."""

    start: float
    stop: float
    step: Annotated[float, Field(gt=0)]


class InputSpec(_Strict):
    """What the network takes.

    Attributes
    ----------
    kind : flat or norm of mu(E), or chi(k).
    grid : segments of the energy axis (eV from `origin`), ascending.
    origin : what zero of the grid means.
    windows : normalisation windows, in eV relative to e0 (pre1, pre2, norm1, norm2).
    needs_anchor : whether a measured foil is needed to tie theory to the beamline.
    """

    kind: Literal["flat", "norm", "chi"] = "flat"
    grid: tuple[GridSegment, ...]
    origin: str
    windows: tuple[float, float, float, float]
    needs_anchor: bool = True

    @property
    def points(self) -> Array:
        """(g,) eV, ascending."""
        return np.concatenate([np.arange(s.start, s.stop - 1e-9, s.step) for s in self.grid])

    @property
    def fit_windows(self) -> Windows:
        """The windows, as the reduction takes them."""
        return Windows(*self.windows)


class Target(_Strict):
    """A quantity that the network gives.

    Attributes
    ----------
    minimum, maximum : range of its training labels.
    non_negative : whether it cannot be below zero, so that intervals end there.
    """

    name: str
    unit: str = ""
    minimum: float
    maximum: float
    non_negative: bool = False
    description: str


class NetworkSpec(_Strict):
    """Shape of one ensemble member, and how many there are.

    Attributes
    ----------
    kind : a multilayer perceptron, or a one-dimensional convolutional network.
    kernels, kernel_width : of the convolutional layers, one number of kernels a layer; none for "mlp".
    hidden : sizes of the dense layers before the last.
    activation : after every layer but the last.
    """

    kind: Literal["mlp", "cnn"] = "mlp"
    kernels: tuple[Annotated[int, Field(ge=1)], ...] = ()
    kernel_width: Annotated[int, Field(ge=1)] = 1
    hidden: tuple[int, ...]
    activation: Literal["tanh", "relu"] = "tanh"
    members: Annotated[int, Field(ge=1)]
    source: str = ""

    @model_validator(mode="after")
    def _kernels_fit_the_kind(self) -> NetworkSpec:
        if bool(self.kernels) != (self.kind == "cnn"):
            raise ValueError(f"kernels = {list(self.kernels)} do not fit kind = {self.kind!r}")
        return self


class Accuracy(_Strict):
    """Figures measured on whole particles none of whose site environments the network had seen.

    Attributes
    ----------
    mae, bias : mean absolute and mean error, by target.
    coverage : mean over particles of the share of their simulated measurements inside the interval of
        `level`, by target; floor and quantile of these intervals came from the other folds' particles.
    coverage_by_size : the same for particles of so many neighbours, as "CN1 6.5 to 8 (14 particles)".
    half_width : mean half width of the shipped interval, by target.
    particles, folds : how many there were; `counted` is what one of them is called.
    conditions : the nuisances of the simulated measurement, in words.
    """

    mae: dict[str, float]
    bias: dict[str, float]
    coverage: dict[str, float]
    coverage_by_size: dict[str, dict[str, float]]
    half_width: dict[str, float]
    level: float
    particles: int
    counted: str = "particles"
    folds: int
    conditions: str


class Trust(_Strict):
    """How far the model knows when it is wrong, as benchmarks/trust.py measured it.

    Attributes
    ----------
    coverage : of 90 % intervals, over particles whose environments the predicting members never saw.
    particles : how many there were.
    false_alarms : share of in-domain measurements that are called out of domain.
    oxide_flagged : share of particles flagged when so much of their spectrum is oxide's, as "0.1".
    told_apart : area under the curve by which another metal, another kind of edge and glitches are told.
    half_perturbed_flagged : share flagged at half of +-1 eV, noise 0.03, edge step 3 %, self-absorption 10 %.
    """

    coverage: float
    particles: int
    false_alarms: float
    oxide_flagged: dict[str, float]
    told_apart: dict[str, float]
    half_perturbed_flagged: float


class Card(_Strict):
    """Everything a user, or the software on the user's behalf, must know before trusting the model.

    Raises pydantic's ValidationError, naming the field, when a card does not hold together.
    """

    schema_version: Literal[1] = 1
    name: str
    version: str
    summary: str
    absorbers: Annotated[tuple[Absorber, ...], Field(min_length=1)]
    input: InputSpec
    output: Literal["scalars", "classes", "curve"] = "scalars"
    targets: Annotated[tuple[Target, ...], Field(min_length=1)]
    network: NetworkSpec
    training: dict[str, Any]
    calibration: dict[str, Any]
    domain_threshold: Annotated[float, Field(gt=0, lt=1)]
    accuracy: Accuracy | None = None
    trust: Trust | None = None
    limits: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    licence: str = "BSD-3-Clause"

    @model_validator(mode="after")
    def _holds_together(self) -> Card:
        points = self.input.points
        if len(points) < 2 or np.any(np.diff(points) <= 0):
            raise ValueError("input.grid must ascend over at least two points")
        names = [t.name for t in self.targets]
        if len(set(names)) != len(names):
            raise ValueError(f"targets must have different names, not {names}")
        return self

    @property
    def element(self) -> str:
        """Of the first absorber."""
        return self.absorbers[0].element

    @property
    def edge(self) -> str:
        """Of the first absorber."""
        return self.absorbers[0].edge

    def absorber_of(self, element: str | None, edge: str | None) -> Absorber | None:
        """The model's absorber of this element and edge; where one is None, the first that fits the other."""
        fitting = (a for a in self.absorbers if element in (None, a.element) and edge in (None, a.edge))
        return next(fitting, None)
