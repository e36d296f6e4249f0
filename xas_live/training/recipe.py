"""A recipe: all that a bundle is built from, in one TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xas_live.models.card import GridSegment, NetworkSpec

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Structures(_Strict):
    """What training mixtures are drawn from.

    Attributes
    ----------
    sites : name of the site library.
    left_out : particles that take no part in training (those of the demo).
    random_sites : share of mixtures that are random averages of 1 to `max_sites` sites.
    max_sites : largest number of sites in such an average.
    particles : share that are whole particles, each site's weight jittered by `weight_jitter` (relative,
        log-normal), mixed with a second particle or the bulk half of the time; the rest is pure bulk.
    """

    sites: str
    left_out: tuple[str, ...] = ()
    random_sites: Annotated[float, Field(ge=0, le=1)] = 0.35
    max_sites: Annotated[int, Field(ge=1)] = 12
    particles: Annotated[float, Field(ge=0, le=1)] = 0.62
    weight_jitter: NonNegative = 0.3


class Nuisances(_Strict):
    """What a measured spectrum differs by from the theory of its structure; standard deviations unless said.

    Contraction and disorder grow with the share of missing neighbours, u = 1 - CN1/12: the surface contracts
    (Mays et al., Surf. Sci. 12, 134, 1968) and its atoms vibrate more. Both follow the range of coefficients
    below, drawn evenly, plus a spread that does not depend on size.

    Attributes
    ----------
    contraction, contraction_spread : relative change of R1 per u (even range from 0), and its own spread.
    disorder, disorder_spread : excess sigma2 (Å^2) per u (even range from 0), and the even range besides.
    shift : eV, between sample and foil.
    stretch : relative, of the energy scale of the sample against the foil's.
    gain, slope, curvature : left by normalisation: of the edge step, and of the post-edge by 80 eV.
    broadening : eV, extra Gaussian resolution (even range from 0).
    noise : largest noise of a point in units of the edge step (log-even from a tenth of it).
    mismatch, mismatch_per_u : size of the smooth difference that remains between theory and experiment after
        anchoring, in units of the edge step: for the foil itself, and more per u.
    mismatch_length : eV, its correlation length at the edge; it grows as the square root of the energy.
    edge_response, edge_mismatch_per_u, edge_end : up to `edge_end` (eV) the white line of surface atoms
        follows their charge, ligands and adsorbates, which bare particles lack: a share of theory's
        difference from the bulk is taken away there (even range from 0), and the mismatch is larger per u.
    """

    contraction: NonNegative
    contraction_spread: NonNegative
    disorder: NonNegative
    disorder_spread: NonNegative
    shift: NonNegative
    stretch: NonNegative
    gain: NonNegative
    slope: NonNegative
    curvature: NonNegative
    broadening: NonNegative
    noise: NonNegative
    mismatch: NonNegative
    mismatch_per_u: NonNegative
    mismatch_length: Positive
    edge_response: NonNegative
    edge_mismatch_per_u: NonNegative
    edge_end: NonNegative


class Schedule(_Strict):
    """How long and how fast to train: Adam with a warm-up and a cosine to zero; `batch` is a member's."""

    steps: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    learning_rate: Positive
    seed: int


class Recipe(_Strict):
    """A bundle's recipe.

    Attributes
    ----------
    name, version, summary, edge_energy : for the card (edge_energy in eV, tabulated).
    grid, windows : the network's input, see `InputSpec`.
    network : its members are spread over the folds.
    folds : site environments are parted in so many folds; each member is trained without one of them.
    domain_threshold : p-value under which a spectrum is out of domain.
    """

    name: str
    version: str
    summary: str
    edge_energy: Positive
    grid: tuple[GridSegment, ...]
    windows: tuple[float, float, float, float]
    structures: Structures
    nuisances: Nuisances
    network: NetworkSpec
    schedule: Schedule
    folds: Annotated[int, Field(ge=2)]
    domain_threshold: Annotated[float, Field(gt=0, lt=1)]

    @model_validator(mode="after")
    def _can_work(self) -> Recipe:
        if self.network.members < self.folds:
            raise ValueError(
                f"network.members = {self.network.members} are fewer than folds = {self.folds}: "
                "each fold needs one"
            )
        if self.structures.random_sites + self.structures.particles > 1:
            raise ValueError("structures.random_sites + structures.particles are over 1")
        return self


class RecipeError(ValueError):
    """A recipe that cannot be used, with the reason."""


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises
    ------
    RecipeError : naming the entry that is wrong.
    """
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RecipeError(f"recipe {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(x) for x in e['loc'])} = {e['input']!r}: {e['msg']}"
            if e["loc"]
            else f"  {e['msg']}"
            for e in error.errors()
        ]
        raise RecipeError(f"recipe {path}:\n" + "\n".join(lines)) from error
