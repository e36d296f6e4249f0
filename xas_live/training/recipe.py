"""A recipe: all that a bundle is built from, in one TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from xas_live.errors import Refusal
from xas_live.models.card import GridSegment
from xas_live.models.network_spec import NetworkSpec
from xas_live.models.outputs.specs import ClassesSpec, CurveSpec
from xas_live.models.strict import Strict
from xas_live.reduction.target import AnchorNeed, InputKind
from xas_live.toml_places import place_in

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"a range runs from its lower end to its upper, not from {pair[0]:g} to {pair[1]:g}")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]


class TargetSpec(Strict):
    """A quantity that the model shall give, and the unit that the recipe's writer takes it to have."""

    name: str
    unit: str = ""


class ScalarsRequest(Strict):
    """Numbers that the model shall give.

    Attributes
    ----------
    stratify_by : target by whose prediction intervals are calibrated in ranges; None: all together.
    """

    kind: Literal["scalars"] = "scalars"
    name: str = "structure"
    prefix: str = ""
    stratify_by: str | None = None
    targets: Annotated[tuple[TargetSpec, ...], Field(min_length=1)]


OutputRequest = Annotated[ScalarsRequest | ClassesSpec | CurveSpec, Field(discriminator="kind")]


class InputRequest(Strict):
    """What the network shall take of one absorber: see `InputSpec`.

    Attributes
    ----------
    element, edge : of the absorber; None where the spectra state it.
    edge_energy : eV, tabulated.
    """

    element: str | None = None
    edge: str | None = None
    edge_energy: Positive
    kind: InputKind = "flat"
    unit: Annotated[Literal["eV", "1/Å"], Field(validate_default=True)] = "eV"
    grid: Annotated[tuple[GridSegment, ...], Field(min_length=1)]
    windows: tuple[float, float, float, float] = (-150.0, -50.0, 75.0, 600.0)
    k_weight: Annotated[int, Field(ge=0, le=3)] = 0
    anchor: Annotated[AnchorNeed, Field(validate_default=True)] = "required"

    @field_validator("unit")
    @classmethod
    def _of_the_kind(cls, unit: str, info: ValidationInfo) -> str:
        kind = info.data.get("kind")
        if kind is not None and (kind == "chi") != (unit == "1/Å"):
            right = "1/Å" if kind == "chi" else "eV"
            raise ValueError(f"the grid of {kind} is in {right}: set unit = {right!r}")
        return unit

    @field_validator("k_weight")
    @classmethod
    def _weighs_chi(cls, k_weight: int, info: ValidationInfo) -> int:
        if k_weight and info.data.get("kind") in ("flat", "norm"):
            raise ValueError(f"chi is multiplied by k, {info.data['kind']} is not: leave it out")
        return k_weight

    @field_validator("anchor")
    @classmethod
    def _lays_flat_spectra(cls, anchor: AnchorNeed, info: ValidationInfo) -> AnchorNeed:
        if anchor != "none" and info.data.get("kind") in ("norm", "chi"):
            raise ValueError(f"a foil is laid on flat spectra; for {info.data['kind']} set anchor = 'none'")
        return anchor

    @field_validator("grid")
    @classmethod
    def _ascends(cls, grid: tuple[GridSegment, ...]) -> tuple[GridSegment, ...]:
        return _grid_ascends(grid)


class Structures(Strict):
    """Particles: what training mixtures are drawn from.

    Attributes
    ----------
    sites : name of the site library.
    left_out : particles that take no part in training (those of the demo).
    random_sites : share of mixtures that are random averages of 1 to `max_sites` sites.
    max_sites : largest number of sites in such an average.
    particles : share that are whole particles, each site's weight jittered by `weight_jitter` (relative,
        log-normal), mixed with a second particle or the bulk half of the time; the rest is pure bulk.
    reach : half of the mixtures are carried on beyond the known ones, by up to this share of their distance
        from another: spectrum and coordination numbers stay linear in the sites there.
    """

    kind: Literal["mixtures"] = "mixtures"
    sites: str
    left_out: tuple[str, ...] = ()
    random_sites: Annotated[float, Field(ge=0, le=1)] = 0.35
    max_sites: Annotated[int, Field(ge=1)] = 12
    particles: Annotated[float, Field(ge=0, le=1)] = 0.62
    weight_jitter: NonNegative = 0.3
    reach: NonNegative = 0.0

    @field_validator("particles")
    @classmethod
    def _shares(cls, particles: float, info: ValidationInfo) -> float:
        if info.data.get("random_sites", 0.0) + particles > 1:
            raise ValueError("random_sites + particles are over 1")
        return particles


class RadialStructures(Strict):
    """Bulk whose atoms are displaced: what radial distributions are drawn from, each evenly.

    Attributes
    ----------
    spectra : name of the spectra of radially displaced neighbours.
    sigma : Å, scale of the skew-normal distribution of displacements.
    mean : Å, its mean.
    skew : its shape parameter.
    foil_msd : Å^2, mean-squared displacement of the foil's own atoms, at room temperature: the anchor lays
        the foil on theory with a normal distribution of this variance.
    """

    kind: Literal["radial"]
    spectra: str
    sigma: Range
    mean: Range
    skew: Range
    foil_msd: Positive


class LabelledStructures(Strict):
    """Calculated spectra with labels, as they stand in files: whatever a model shall give of them.

    A file has `energy` (e,) eV from the edge, or `k` (e,) 1/Å, and `mu` or `chi` (n, e); `labels/NAME`, (n,)
    for numbers and names of classes and (n, points) for curves, its unit, if any, in the attribute `unit`;
    and, where several spectra are of one structure, `group` (n,) whole numbers. A label that is not known is
    NaN, of classes an empty name: it teaches nothing, and what is mixed with it has none either.

    A group number means the same structure in all files: spectra of one structure at two edges lie in one
    fold. In a file without `group`, every spectrum is a structure of its own.

    Attributes
    ----------
    files : one for each input, in their order; a path that is not absolute starts at the recipe's folder.
    mixed : share of draws that are mixtures of two spectra, whose labels mix with them.
    """

    kind: Literal["labelled"]
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    mixed: Annotated[float, Field(ge=0, le=1)] = 0.0


class Nuisances(Strict):
    """What a measured spectrum differs by from the theory of its structure; standard deviations unless said.

    All but `noise`, `mismatch_length` and `edge_end` are zero unless given.

    Contraction and disorder grow with the share of missing neighbours, u = 1 - CN1/12: the surface contracts
    (Mays et al., Surf. Sci. 12, 134, 1968) and its atoms vibrate more. Both follow the range of coefficients
    below, drawn evenly, plus a part that does not depend on size.

    Attributes
    ----------
    contraction : relative decrease of R1 per u (even range, lower and upper end).
    lattice : relative change of R1 besides (even range, lower and upper end).
    disorder, disorder_spread : excess sigma2 (Å^2) per u (even range from 0), and the even range besides.
    thermal : excess sigma2 (Å^2) of the sample over the foil by their temperatures (even range, its lower end
        of a cold sample).
    adsorbed : share of particles whose surface is covered by one of the adsorbates that were calculated, each
        at an even coverage from 0 to 1. Metals of which none were calculated stay bare.
    adsorbed_atoms : in place of the coverage, so large a share of all atoms (even range from 0) bears
        adsorbates, however much surface there is: ligands change the white line by more or less than those
        that were calculated, and the size of their effect must not be read as the particle's.
    damping : relative error of the foil's damping, by which differences from the bulk are restored; as much
        again grows with k^2.
    resolution : eV, by which foil and sample alike are broader than theory (even range from 0 for a third of
        the spectra; none for the others).
    surface_shift : eV, by which spectra of atoms without neighbours would shift against the bulk's (evenly
        within; of others their share of missing neighbours): each calculation has its own Fermi level.
    shift : eV, between sample and foil (evenly within).
    stretch : relative, of the energy scale of the sample against the foil's.
    gain, slope, curvature : left by normalisation: of the edge step, and of the post-edge by 80 eV.
    broadening : eV, extra Gaussian resolution (even range from 0).
    self_absorption : of fluorescence: x becomes x (1 + a) / (1 + a x), with a even from 0.
    noise : smallest and largest noise of a point in units of the edge step (log-even between).
    i0_noise : relative noise left by i0, alike over 3 eV (even range from 0).
    glitch : largest height, in units of the edge step, of a glitch of one point that no check found; a tenth
        of the spectra have one.
    mismatch, mismatch_per_u : size of the smooth difference that remains between theory and experiment after
        anchoring, in units of the edge step: for the foil itself, and more per u.
    mismatch_length : eV, its correlation length at the edge; it grows as the square root of the energy.
    edge_response, edge_mismatch_per_u, edge_end : up to `edge_end` (eV) the white line of surface atoms
        follows their charge, ligands and adsorbates, which bare particles lack: a share of theory's
        difference from the bulk is taken away there (even range from 0), and the mismatch is larger per u.
    """

    contraction: Range = (0.0, 0.0)
    lattice: Range = (0.0, 0.0)
    disorder: NonNegative = 0.0
    disorder_spread: NonNegative = 0.0
    thermal: Range = (0.0, 0.0)
    adsorbed: Annotated[float, Field(ge=0, le=1)] = 0.0
    adsorbed_atoms: NonNegative = 0.0
    damping: NonNegative = 0.0
    resolution: NonNegative = 0.0
    surface_shift: NonNegative = 0.0
    shift: NonNegative = 0.0
    stretch: NonNegative = 0.0
    gain: NonNegative = 0.0
    slope: NonNegative = 0.0
    curvature: NonNegative = 0.0
    broadening: NonNegative = 0.0
    self_absorption: NonNegative = 0.0
    noise: Annotated[tuple[NonNegative, NonNegative], AfterValidator(_ascending)] = (0.0, 0.0)
    i0_noise: NonNegative = 0.0
    glitch: NonNegative = 0.0
    mismatch: NonNegative = 0.0
    mismatch_per_u: NonNegative = 0.0
    mismatch_length: Positive = 4.0
    edge_response: NonNegative = 0.0
    edge_mismatch_per_u: NonNegative = 0.0
    edge_end: NonNegative = 13.0


class Domain(Strict):
    """What is taken for in domain.

    The white line of surface atoms follows their ligands; so that a network does not build on it, training
    lets it vary widely. Were the domain as wide there, it could not see oxide.

    Attributes
    ----------
    threshold : p-value under which a spectrum is out of domain.
    noise, edge_response, edge_mismatch_per_u, adsorbed_atoms : take the place of those of the nuisances.
        Noise may be wider: predictions from noisy spectra are worse, but they belong.
    oxides : spectra that the metal must be told from, of the package's oxides.h5; without any, the model has
        no network that sees oxide.
    chemistry_edge_response, chemistry_edge_mismatch_per_u : those of the networks that see other phases: what
        theory may get wrong at the edge must not be taken for one.
    steps : of training, of the autoencoder and of the network that sees oxide.
    chemistry_steps : of training, of the networks that see other phases and adsorbates; 0: there are none.
    limit : half width of the interval of `stratify_by` beyond which a prediction is not usable; None: the
        cost of departures is not known, and there is no verdict.
    departures : spectra that are drawn to learn that cost.
    stratify_by : target by whose prediction distances are ranked; None: all together.
    """

    threshold: Annotated[float, Field(gt=0, lt=1)]
    noise: Annotated[tuple[NonNegative, NonNegative], AfterValidator(_ascending)]
    edge_response: NonNegative = 0.0
    edge_mismatch_per_u: NonNegative = 0.0
    adsorbed_atoms: NonNegative = 0.0
    chemistry_edge_response: NonNegative = 0.0
    chemistry_edge_mismatch_per_u: NonNegative = 0.0
    oxides: tuple[str, ...] = ()
    steps: Annotated[int, Field(ge=1)]
    chemistry_steps: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[float, Field(gt=0)] | None = None
    departures: Annotated[int, Field(ge=500)] = 24_000
    stratify_by: str | None = None

    def nuisances(self, training: Nuisances) -> Nuisances:
        """Those of spectra in domain."""
        return training.model_copy(
            update={
                "noise": self.noise,
                "edge_response": self.edge_response,
                "edge_mismatch_per_u": self.edge_mismatch_per_u,
                "adsorbed_atoms": self.adsorbed_atoms,
            }
        )


class Schedule(Strict):
    """How long and how fast to train: Adam with a warm-up and a cosine to zero; `batch` is a member's.

    Attributes
    ----------
    cycles : of warm-up and cosine, into which the steps are parted (Loshchilov, Hutter, ICLR 2017).
    """

    steps: Annotated[int, Field(ge=1)]
    cycles: Annotated[int, Field(ge=1)] = 1
    batch: Annotated[int, Field(ge=1)]
    learning_rate: Positive
    seed: int


def _grid_ascends(grid: tuple[GridSegment, ...]) -> tuple[GridSegment, ...]:
    for before, after in pairwise(grid):
        if after.start < before.stop:
            raise ValueError(
                f"a segment begins at {after.start:g} eV, before the one ahead ends, {before.stop:g}"
            )
    for segment in grid:
        if segment.stop <= segment.start:
            raise ValueError(f"a segment runs upwards, not from {segment.start:g} to {segment.stop:g} eV")
    if points_of(grid) < 2:
        raise ValueError("a grid has at least two points")
    return grid


def points_of(grid: tuple[GridSegment, ...]) -> int:
    """How many points a grid has."""
    return sum(len(np.arange(s.start, s.stop - 1e-9, s.step)) for s in grid)


class Recipe(Strict):
    """A bundle's recipe.

    Attributes
    ----------
    name, version, summary : for the card.
    inputs : what the network takes, one for each absorber.
    outputs : what it gives, in order.
    network : its members are spread over the folds.
    folds : structures are parted in so many folds; each member is trained without one of them.
    domain : what belongs to the training spectra, and what does not; None: the model does not judge it.
    """

    name: str
    version: str
    summary: str
    folds: Annotated[int, Field(ge=2)]
    inputs: Annotated[tuple[InputRequest, ...], Field(min_length=1)]
    outputs: Annotated[tuple[OutputRequest, ...], Field(min_length=1)]
    structures: Annotated[Structures | RadialStructures | LabelledStructures, Field(discriminator="kind")]
    nuisances: Nuisances = Nuisances()
    network: NetworkSpec
    schedule: Schedule
    domain: Domain | None = None

    @property
    def targets(self) -> tuple[TargetSpec, ...]:
        """All numbers that are asked for."""
        scalars = [each for each in self.outputs if isinstance(each, ScalarsRequest)]
        return tuple(target for each in scalars for target in each.targets)

    @property
    def shown_target(self) -> str | None:
        """The number by which training spectra are told apart where one must do; None: there are none."""
        if self.domain is not None and self.domain.stratify_by is not None:
            return self.domain.stratify_by
        return self.targets[0].name if self.targets else None

    @field_validator("network")
    @classmethod
    def _a_member_each(cls, network: NetworkSpec, info: ValidationInfo) -> NetworkSpec:
        folds = info.data.get("folds")
        if folds is not None and network.members < folds:
            raise ValueError(
                f"members = {network.members} are fewer than folds = {folds}: each fold needs one"
            )
        return network


class WrongEntry(Refusal):
    """An entry of a recipe that does not fit what the recipe is to be used with.

    Parameters
    ----------
    where : keys and indices that lead to it, as ("targets", 1, "unit").
    reason : what is wrong with it, and what would be right.
    """

    def __init__(self, where: Sequence[str | int], reason: str) -> None:
        super().__init__(reason)
        self.where = tuple(where)

    @classmethod
    def of(cls, error: ValidationError, where: Sequence[str | int] = ()) -> WrongEntry:
        """Of the first rule that a model of pydantic, made of the entries at `where`, breaks."""
        first = error.errors()[0]
        return cls((*where, *first["loc"]), first["msg"].removeprefix("Value error, "))


class RecipeError(Refusal):
    """A recipe that cannot be used, with the line and the reason."""

    @classmethod
    def at(cls, path: Path, text: str, wrong: Sequence[tuple[Sequence[str | int], str]]) -> RecipeError:
        """Of wrong entries, each with its line."""
        lines = [f"  {place_in(text, where)}{reason}" for where, reason in wrong]
        return cls(f"recipe {path}:\n" + "\n".join(lines))


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises
    ------
    RecipeError : naming the line and the entry that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return Recipe.model_validate(tomllib.loads(text))
    except OSError as error:
        raise RecipeError(f"recipe {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise RecipeError.at(
            path, text, [(e["loc"], e["msg"].removeprefix("Value error, ")) for e in error.errors()]
        ) from error
