"""How much of a sample is metal, and how much is each measured standard: fitted jointly with the structure.

An anchored spectrum is x = (1 - W) m + sum of w_k s_k, with W the sum of the w_k, s_k the standards, and m a
metal of the training spectra, which are taken as a mixture of known Gaussians. On a mesh of
non-negative w that leaves the likelihood of x in closed form; every w also gives a metallic remainder,
and the network its coordination numbers. What is told of w, of the metal and of the whole sample are moments
over the mesh, so that where they cannot be told apart the intervals and the correlation say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from xas_live.errors import Refusal
from xas_live.models.sections.specs import PhasesSection
from xas_live.spectrum import Array

MOST = 0.9  # of a sample that may be no metal
STEPS = {1: 61, 2: 25, 3: 13}  # of the mesh along each fraction
STANDARD_ERROR = 0.01  # edge steps: a bulk standard is not quite the phase in a particle
NOISE = 0.0005  # edge steps, besides what the training covariance holds
TEMPER = 20.0  # points of one spectrum do not err as independently as Gaussians do; by simulation
DEGENERATE = 0.9  # correlation beyond which only the sample's own numbers are given


@dataclass(frozen=True, eq=False)
class Metals:
    """Training spectra of the metal, as an even mixture of K Gaussians.

    Attributes
    ----------
    mean : (K, g).
    factor : (K, g, r) eigenvectors of each covariance, as long as the standard deviation along them.
    rest : (K,) variance along all others.
    """

    mean: Array
    factor: Array
    rest: Array

    def log_likelihood(self, x: Array, standards: Array, fractions: Array) -> Array:
        """(n,) of an input x (g,), for each row of fractions (n, k) of standards (k, g); up to a constant."""
        metal = 1.0 - fractions.sum(1, keepdims=True)
        error = NOISE**2 + (STANDARD_ERROR * fractions).sum(1, keepdims=True) ** 2
        found = []
        for mean, factor, rest in zip(self.mean, self.factor, self.rest, strict=True):
            spread = np.sqrt((factor**2).sum(0))
            off = x - metal * mean - fractions @ standards
            along = off @ (factor / spread)
            total = metal**2 * spread**2 + error
            others = (off**2).sum(1) - (along**2).sum(1)
            left, many = (metal**2 * rest + error)[:, 0], len(x) - len(spread)
            found.append((along**2 / total + np.log(total)).sum(1) + others / left + many * np.log(left))
        return np.asarray(np.logaddexp.reduce(-0.5 / TEMPER * np.stack(found), axis=0))


@dataclass(frozen=True, eq=False)
class Mixed:
    """How a network input may part into the metal and the standards.

    Attributes
    ----------
    fractions : (n, k) mesh of the standards' shares.
    weight : (n,) its probability, summing to 1.
    remainder : (n, g) the metallic network input that each leaves.
    """

    fractions: Array
    weight: Array
    remainder: Array

    @classmethod
    def fit(cls, x: Array, standards: Array, metals: Metals) -> Mixed:
        """Of a network input x (g,) and standards (k, g), k from 1 to 3.

        Raises
        ------
        Refusal : for more standards than can be told apart.
        """
        if len(standards) not in STEPS:
            raise Refusal(f"fractions of {len(standards)} standards cannot be told apart: give 1 to 3")
        mesh = mesh_of(len(standards))
        likelihood = metals.log_likelihood(x, standards, mesh)
        weight = np.exp(likelihood - likelihood.max())
        rest = 1.0 - mesh.sum(1, keepdims=True)
        return cls(mesh, weight / weight.sum(), (x - mesh @ standards) / rest)

    @property
    def best(self) -> int:
        """Row of the mesh that is likeliest."""
        return int(self.weight.argmax())

    def moments(self, value: Array, std: Array | float = 0.0) -> tuple[float, float]:
        """Mean and standard deviation of a quantity that is (n,) along the mesh, uncertain by std there."""
        mean = float(self.weight @ value)
        return mean, float(np.sqrt(self.weight @ ((value - mean) ** 2 + np.square(std))))

    def correlation(self, value: Array, std: Array) -> float:
        """Of a quantity (n,), uncertain by std (n,), with the metal's share."""
        metal = 1.0 - self.fractions.sum(1)
        (mean, spread), (share, share_spread) = self.moments(value, std), self.moments(metal)
        if spread == 0 or share_spread == 0:
            return 0.0
        return float(self.weight @ ((value - mean) * (metal - share)) / (spread * share_spread))


def mesh_of(standards: int) -> Array:
    """(n, k) shares of k standards, even from 0, that leave some metal."""
    axis = np.linspace(0.0, MOST, STEPS[standards])
    mesh = np.array(list(product(axis, repeat=standards)))
    return np.asarray(mesh[mesh.sum(1) <= MOST + 1e-9])


@dataclass(frozen=True)
class PhaseFractions:
    """What a sample of several phases is; every quantity as mean and standard deviation.

    Attributes
    ----------
    values : of the metal, by target.
    sample : the leading target times the metal's share, as an EXAFS metal-metal path reports it; None where
        the card does not name it.
    fractions : shares of the metal and of each standard.
    correlation : of the metal's leading target with its share.
    """

    values: dict[str, tuple[float, float]]
    sample: tuple[float, float] | None
    fractions: dict[str, tuple[float, float]]
    correlation: float


def phase_fractions(
    mixed: Mixed, targets: list[str], mean: Array, std: Array, standards: list[str], section: PhasesSection
) -> PhaseFractions:
    """Put together what the network says of every remainder.

    Parameters
    ----------
    mixed : mesh and its probabilities.
    targets : names; mean, std : (n, targets) of the remainders.
    standards : names, in the order of the mesh's columns.
    section : of the card.
    """
    metal = 1.0 - mixed.fractions.sum(1)
    at = targets.index(section.leading)
    leading, doubt = mean[:, at], std[:, at]
    return PhaseFractions(
        values={name: mixed.moments(m, s) for name, m, s in zip(targets, mean.T, std.T, strict=True)},
        sample=None if section.sample is None else mixed.moments(metal * leading, metal * doubt),
        fractions={
            "metal": mixed.moments(metal),
            **{name: mixed.moments(w) for name, w in zip(standards, mixed.fractions.T, strict=True)},
        },
        correlation=mixed.correlation(leading, doubt),
    )
