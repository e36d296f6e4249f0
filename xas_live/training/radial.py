"""Bulk with displaced neighbours: what a model of the mean-squared displacement is trained on.

The published route: spectra of bulk whose neighbours are all moved along their radius are averaged with the
weights w of a skew-normal distribution of displacements d, and labelled by MSD = sum(w d^2) / sum(w). It
counts from the bulk's distances, so a shift of the mean is in it; the variance about the mean stands beside.
The source does not say whether its "mean" is the distribution's mean or its location: here it is the mean.
The widest distributions are cut off where the displacements end; labels are taken from the weights as cut.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import ndtr

from xas_live.models.card import InputSpec
from xas_live.models.outputs.base import Tensors
from xas_live.models.outputs.specs import OutputSpec
from xas_live.reduction.grid import spline_matrix
from xas_live.spectrum import Array
from xas_live.theory.radial import RadialLibrary
from xas_live.theory.sites import extend_below
from xas_live.training.instrument import Instrument
from xas_live.training.population import Bulk, Tested, anchored_input, check_grid
from xas_live.training.recipe import Nuisances, RadialStructures, Recipe
from xas_live.training.targets import RADIAL_TARGETS, columns, described, scalars_of

TESTED = 800  # fresh draws that judge


def skew_normal(displacement: Array, sigma: Array, mean: Array, skew: Array) -> Array:
    """(n, d) weights that sum to 1, of skew-normal distributions.

    Parameters
    ----------
    displacement : (d,) Å.
    sigma, mean : (n,) Å, scale and mean of the distribution: its location lies
        sigma delta sqrt(2 / pi) below the mean, with delta = skew / sqrt(1 + skew^2)
        (Azzalini, Scand. J. Stat. 12, 171, 1985). So the mean bond length keeps to the range that is asked
        for; were `mean` the location, skew would move it by up to 0.12 Å more.
    skew : (n,) shape parameter.
    """
    delta = skew / np.sqrt(1.0 + skew**2)
    location = mean - sigma * delta * np.sqrt(2.0 / np.pi)
    z = (displacement - location[:, None]) / sigma[:, None]
    weights = np.exp(-0.5 * z**2) * ndtr(skew[:, None] * z)
    return np.asarray(weights / weights.sum(1, keepdims=True))


class Displaced:
    """Displaced bulk, as a `Population`. It has no folds: every draw is new, and members differ by theirs.

    Parameters
    ----------
    recipe : with structures of kind "radial".

    Raises
    ------
    FileNotFoundError : when the spectra are missing.
    WrongEntry : for targets or a grid that do not fit them.
    """

    counted = "radial distributions"
    ranges: tuple[float, ...]
    test_set = "radial distributions that no member was trained on"
    limits: tuple[str, ...] = (
        "Bulk metal whose neighbours move alike along their radius: no missing neighbours, no surface.",
        "MSD and radial_variance are moments of displacements; neither is the sigma2 of an EXAFS path.",
        "The foil's own MSD is taken from the recipe: the prediction is as right as that.",
    )
    references: tuple[str, ...] = (
        "Thaller, thesis on bond strain in Au nanoparticles (averages of radially displaced FEFF spectra)",
        "Azzalini, Scand. J. Stat. 12, 171 (1985)",
    )

    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    bulk: Bulk | None

    def __init__(self, recipe: Recipe) -> None:
        structures = recipe.structures
        assert isinstance(structures, RadialStructures)
        self.structures = structures
        self.library = library = RadialLibrary.load(structures.spectra)
        request = scalars_of(recipe, RADIAL_TARGETS)
        self.inputs = (anchored_input(recipe, library.element, library.edge),)
        grid = self.inputs[0].points
        check_grid(grid, library.energy)
        self._columns = columns(request.targets, RADIAL_TARGETS)
        self.grid = grid
        self._instrument = Instrument(grid)
        mesh = self._instrument.mesh
        energy, mu = extend_below(library.energy, library.mu, mesh[0] - 1.0)
        on_mesh = mu @ spline_matrix(energy, np.minimum(mesh, energy[-1])).T
        self._mu = torch.from_numpy(on_mesh).float()
        foil = skew_normal(library.displacement, *np.array([[structures.foil_msd**0.5], [0.0], [0.0]]))
        self._bulk = (torch.from_numpy(foil).float() @ self._mu)[0]
        self.bulk = Bulk(mesh, self._bulk, library.r1)
        weights = self.draw(None, 20000, np.random.default_rng(recipe.schedule.seed))
        truth = self.labels(weights)
        ranges = {
            name: (float(of.min()), float(of.max())) for name, of in zip(RADIAL_TARGETS, truth.T, strict=True)
        }
        self.outputs = (described(request, RADIAL_TARGETS, ranges),)
        quartiles = np.quantile(truth[:, self._columns[0]], [0.25, 0.5, 0.75])
        self.ranges = (0.0, *(float(f"{q:.1g}") for q in quartiles), 1.0)
        self.about: dict[str, object] = {
            "data": f"FEFF10.0 spectra of bulk {library.element} {library.edge}, neighbours displaced by "
            f"{library.displacement[0]:g} to {library.displacement[-1]:g} Å",
            "data_sha256": library.sha256,
            "left_out_particles": [],
            "folds": "none: members differ by their draws",
        }

    def draw(self, fold: int | None, n: int, rng: np.random.Generator) -> Array:
        """(n, d) weights of the displacements."""
        s = self.structures
        sigma, mean, skew = (rng.uniform(*of, n) for of in (s.sigma, s.mean, s.skew))
        return skew_normal(self.library.displacement, sigma, mean, skew)

    def belonging(self, n: int, rng: np.random.Generator) -> Array:
        """(n, d) weights, as they are drawn for training."""
        return self.draw(None, n, rng)

    def labels(self, weights: Array) -> Array:
        """(n, 2) MSD and variance about the mean, Å^2."""
        d = self.library.displacement
        msd = weights @ d**2
        return np.stack([msd, msd - (weights @ d) ** 2], axis=1)

    def measure(
        self, weights: Array, nuisances: Nuisances, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Network inputs and the truth of the recipe's targets."""
        x = torch.from_numpy(weights).float() @ self._mu
        x = self._instrument.measure(x, torch.zeros(len(x)), self._bulk, nuisances, rng)
        return x, torch.from_numpy(self.labels(weights)[:, self._columns]).float()

    def add_noise(self, x: torch.Tensor, nuisances: Nuisances, rng: np.random.Generator) -> torch.Tensor:
        """See `Population`."""
        return self._instrument.counted(x, nuisances, rng)

    def tested(self, rng: np.random.Generator) -> Tested:
        """Fresh draws, in two halves, so that coverage of one is measured by intervals of the other."""
        weights = self.draw(None, TESTED, rng)
        return Tested(weights, -1 - np.arange(TESTED) % 2, np.ones(TESTED, dtype=bool))

    def tables(self) -> Tensors:
        """None."""
        return {}
