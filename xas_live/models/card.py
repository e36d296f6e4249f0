"""The card of a model: what it takes and gives, what it was trained on, how good it was measured to be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from xas_live.models.network_spec import NetworkSpec
from xas_live.models.outputs.specs import ClassesSpec, CurveSpec, OutputSpec, ScalarsSpec, Target
from xas_live.models.sections.specs import Sections
from xas_live.models.strict import Strict
from xas_live.prediction import INTERVAL_COLUMNS, KINDS
from xas_live.reduction.normalize import Windows
from xas_live.reduction.target import AnchorNeed, InputKind
from xas_live.spectrum import Array

RESERVED = frozenset(
    (
        "scan", "sweep", "sweeps", "time", "model", "size", "diameter", "diameter_lower", "diameter_upper",
        "in_domain", "domain_judged", "domain_p", "domain_score", "domain_reason", "anchor", "anchored",
        "aligned", "flags", "refused", "lag", "e0", "edge_step", "shift", "partial", "energy", "k", "flat",
        "norm", "chi", "foil", "network_input", "denoised", "latent", "averaged", "noise", "other_values",
        "raw_stream", "analysis_seconds", "verdict", "verdict_reason", "widening", "chemistry", "looks",
        "left_out", "sample", "temperature", "uid", "derived_uid",
        *(f"{name}{end}" for name in ("non_metal", "adsorbates") for end in ("", "_lower", "_upper", "_std")),
        *(f"share_{kind}" for kind in KINDS),
    )
)  # fmt: skip
"""Names that columns of tables and derived runs have already."""


class Absorber(Strict):
    """An element and edge that the model takes; `energy` is the tabulated edge energy (eV)."""

    element: str
    edge: str
    energy: float


class GridSegment(Strict):
    """Points from `start` to just under `stop`, `step` apart."""

    start: float
    stop: float
    step: Annotated[float, Field(gt=0)]


class InputSpec(Strict):
    """What the network takes of one absorber. All inputs of a model have equally many points.

    Attributes
    ----------
    absorber : whose sweeps are taken.
    kind : flat or norm of mu(E), or chi(k).
    grid : segments of the axis, ascending, in `unit`: eV from `origin`, or 1/Å.
    origin : what zero of the grid means.
    windows : normalisation windows, in eV relative to e0 (pre1, pre2, norm1, norm2).
    k_weight : chi is multiplied by k to this power.
    anchor : whether a measured foil, which ties theory to the beamline, is required, used where there is one
        ("optional"), or not used ("none").
    """

    absorber: Absorber
    kind: InputKind = "flat"
    unit: Literal["eV", "1/Å"] = "eV"
    grid: Annotated[tuple[GridSegment, ...], Field(min_length=1)]
    origin: str
    windows: tuple[float, float, float, float]
    k_weight: Annotated[int, Field(ge=0, le=3)] = 0
    anchor: AnchorNeed = "required"

    @model_validator(mode="after")
    def _holds_together(self) -> InputSpec:
        points = self.points
        if len(points) < 2 or np.any(np.diff(points) <= 0):
            raise ValueError("grid must ascend over at least two points")
        if (self.kind == "chi") != (self.unit == "1/Å"):
            raise ValueError(f"the grid of {self.kind} is not in {self.unit}")
        if self.kind != "flat" and self.anchor != "none":
            raise ValueError(f"a foil is laid on flat spectra; for {self.kind} set anchor = 'none'")
        return self

    @property
    def points(self) -> Array:
        """(g,) the grid, ascending."""
        return np.concatenate([np.arange(s.start, s.stop - 1e-9, s.step) for s in self.grid])

    @property
    def fit_windows(self) -> Windows:
        """The windows, as the reduction takes them."""
        return Windows(*self.windows)


class Accuracy(Strict):
    """Figures measured on whole particles none of whose site environments the network had seen.

    Attributes
    ----------
    mae, bias : mean absolute and mean error, by target; of classes `mae` is the share told wrong.
    coverage : mean over particles of the share of their simulated measurements inside the interval (set,
        band) of `level`, by target; floor and quantile of these intervals came from the other folds'
        particles.
    coverage_by_size : the same for particles of so many neighbours, as "CN1 6.5 to 8 (14 particles)".
    half_width : mean half width of the shipped interval, by target; of classes the mean size of the set.
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


class Trust(Strict):
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


class Card(Strict):
    """Everything a user, or the software on the user's behalf, must know before trusting the model.

    Raises pydantic's ValidationError, naming the field, when a card does not hold together.

    Attributes
    ----------
    inputs : one for each absorber that the model takes; a sweep is of one of them.
    outputs : what the network gives, in the order of its columns.
    sections : what the model carries besides: theory of the foil, domain, phases, preview, size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    schema_version: Literal[2] = 2
    name: str
    version: str
    summary: str
    inputs: Annotated[tuple[InputSpec, ...], Field(min_length=1)]
    outputs: Annotated[tuple[OutputSpec, ...], Field(min_length=1)]
    sections: Sections = Field(default_factory=Sections)
    network: NetworkSpec
    training: dict[str, Any]
    calibration: dict[str, Any]
    accuracy: Accuracy | None = None
    trust: Trust | None = None
    limits: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    licence: str = "BSD-3-Clause"

    @model_validator(mode="after")
    def _holds_together(self) -> Card:
        lengths = {len(each.points) for each in self.inputs}
        if len(lengths) > 1:
            raise ValueError(f"inputs must have equally many points, not {sorted(lengths)}")
        absorbers = [(each.absorber.element, each.absorber.edge) for each in self.inputs]
        for what, names in (("inputs", absorbers), ("outputs", [each.name for each in self.outputs])):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} must differ, not {names}")
        prefixes = [each.prefix for each in self.outputs]
        if len(set(prefixes)) != len(prefixes):
            raise ValueError(f"outputs must have different prefixes, not {prefixes}")
        self._check_columns()
        names = [target.name for target in self.targets]
        for where, name in self._named_targets():
            if name not in names:
                raise ValueError(f"{where} = {name!r}, but the targets are {', '.join(names) or 'none'}")
        if self.sections.preview is not None and [each.kind for each in self.outputs] != ["scalars"]:
            raise ValueError("sections.preview is for models of numbers alone")
        if any(each.anchor != "none" for each in self.inputs) and self.sections.theory is None:
            raise ValueError("a foil is laid on theory: add sections.theory, or set anchor = 'none'")
        return self

    def _check_columns(self) -> None:
        """Refuse names that would share a column in tables and derived runs."""
        named = [target.name for target in self.targets]
        named += [o.name for o in self.outputs if not isinstance(o, ScalarsSpec)]
        if len(set(named)) != len(named):
            raise ValueError(f"targets, classes and curves must have different names, not {named}")
        columns = [f"{target.name}{end}" for target in self.targets for end in INTERVAL_COLUMNS]
        if self.sections.phases is not None and self.sections.phases.sample is not None:
            columns += [f"{self.sections.phases.sample}{end}" for end in INTERVAL_COLUMNS]
        for output in self.outputs:
            if isinstance(output, ClassesSpec):
                columns += [output.name, *(f"{output.name}_{end}" for end in ("p", "set", *output.classes))]
            elif isinstance(output, CurveSpec):
                columns += [f"curve_{output.name}{end}" for end in ("", "_lower", "_upper", "_x")]
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            raise ValueError(f"two outputs would have the column {', '.join(twice)}: rename one")
        taken = {column for column in columns if column in RESERVED or column.startswith("fraction_")}
        taken |= {name for name in named if name in RESERVED}
        if taken:
            raise ValueError(
                f"{', '.join(sorted(taken))}: the name has another meaning in tables and archives"
            )

    def _named_targets(self) -> list[tuple[str, str]]:
        """Targets that outputs and sections refer to, with the place where they do."""
        scalars = [each for each in self.outputs if isinstance(each, ScalarsSpec)]
        found = [(f"outputs.{each.name}.stratify_by", each.stratify_by) for each in scalars]
        found += [(f"sections.{where}", name) for where, name in self.sections.named_targets()]
        return [(where, name) for where, name in found if name is not None]

    @property
    def targets(self) -> tuple[Target, ...]:
        """All numbers that the model gives, in the network's order."""
        scalars = [each for each in self.outputs if isinstance(each, ScalarsSpec)]
        return tuple(target for each in scalars for target in each.targets)

    @property
    def points(self) -> int:
        """Of the network's input."""
        return len(self.inputs[0].points)

    @property
    def width(self) -> int:
        """Columns of the network's output."""
        return sum(each.width for each in self.outputs)

    @property
    def absorbers(self) -> tuple[Absorber, ...]:
        """Of all inputs."""
        return tuple(each.absorber for each in self.inputs)
