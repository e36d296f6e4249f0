"""Whether a spectrum lies where the model was trained, and in which way it does not.

Four distances tell: how far the network's input lies from the training spectra within the subspace that
structure and ordinary nuisances span (Mahalanobis); what the autoencoder cannot give back; how much the
ensemble's members disagree; and how much a small network, trained on spectra with and without some oxide,
takes it for one with. The first three are ranked among calibration spectra of like predicted size, the last
among all: its odds have the size in them, and oxide makes particles look small. The smallest share of those
that lie farther, ranked once more among theirs, is one conformal p-value (Vovk et al., "Algorithmic Learning
in a Random World", 2005): in-domain spectra fall below p in a share of p.
"""

from __future__ import annotations

import numpy as np
import torch

from xas_live.models.card import NetworkSpec
from xas_live.models.networks import network
from xas_live.reduction.arrays import Numbers, NumbersByName, library_of

Tensors = dict[str, torch.Tensor]

DISTANCES = ("subspace", "residual", "disagreement", "oxide")
OXIDE = DISTANCES.index("oxide")
OXIDE_SEEN = NetworkSpec(hidden=(256, 128), members=1)
BINS = 6  # of the predicted first target, in which the ranking is done
EXPLAINED = 0.999  # share of the variance of clean spectra that the subspace keeps
WEIGHTS = (1.0, 1.0, 1.0, 3.0)  # of the distances' shares: oxide may raise half of the false alarms
RIM = 0.99  # quantile of a distance that counts as the rim of the domain


def fit_subspace(clean: torch.Tensor, train: torch.Tensor) -> Tensors:
    """What spans the training spectra.

    Parameters
    ----------
    clean : (n, g) network inputs without noise and mismatch: they span the subspace.
    train : (n, g) inputs with all nuisances: they set its mean and variances.
    """
    mean = train.mean(0)
    _, singular, rows = torch.linalg.svd(clean - clean.mean(0), full_matrices=False)
    share = (singular**2).cumsum(0) / (singular**2).sum()
    keep = int((share < EXPLAINED).sum()) + 1
    components = rows[:keep].contiguous()
    return {
        "domain_mean": mean,
        "domain_components": components,
        "domain_variances": ((train - mean) @ components.T).var(0),
    }


def fit_reference(distances: torch.Tensor, predicted: torch.Tensor) -> Tensors:
    """What calibration spectra look like, by predicted size.

    Parameters
    ----------
    distances : (n, 4) of calibration inputs that took no part in anything else.
    predicted : (n,) the ensemble's first target.

    Returns
    -------
    `domain_reference` (bins, n/bins, 4), each distance ascending; `domain_joint` (bins, n/bins), ascending,
    the least share of farther ones that each of them has; `domain_edges` (bins - 1,).
    """
    order = predicted.argsort()
    size = len(order) // BINS
    of_bin = [order[i * size : (i + 1) * size] for i in range(BINS)]
    reference = torch.stack([distances[rows].sort(dim=0).values for rows in of_bin])
    reference[..., OXIDE] = distances[:, OXIDE].sort().values[: size * BINS : BINS]
    joint = torch.stack(
        [_least_share(r, distances[rows]).sort().values for r, rows in zip(reference, of_bin, strict=True)]
    )
    edges = torch.stack([predicted[rows[-1]] for rows in of_bin[:-1]])
    return {"domain_reference": reference, "domain_joint": joint, "domain_edges": edges}


def domain_distances(
    tensors: NumbersByName, x: Numbers, given_back: Numbers, disagreement: Numbers
) -> Numbers:
    """(batch, 4), in the order of `DISTANCES`.

    Parameters
    ----------
    x : (batch, g) network inputs.
    given_back : (batch, g) what the autoencoder makes of them.
    disagreement : (batch,) members' standard deviation, in units of the targets' scale, mean over targets.

    Returns
    -------
    Mahalanobis distance a component; root mean square of what the autoencoder leaves (edge steps); the
    disagreement; log odds of oxide.
    """
    inside, _ = _within(tensors, x)
    xp = library_of(x)
    left = x - given_back
    residual = xp.sqrt((left * left).mean(1))
    scaled = (x - tensors["input_mean"]) / tensors["input_scale"]
    oxide = network(OXIDE_SEEN, tensors, scaled, "oxide.")[0, :, 0]
    return xp.stack([inside, residual, disagreement, oxide], 1)


def domain_p_value(tensors: NumbersByName, distances: Numbers, predicted: Numbers) -> tuple[Numbers, Numbers]:
    """Conformal p-value of each input, and how far out it lies by each distance.

    Parameters
    ----------
    distances : (batch, 4) as `domain_distances` gives them.
    predicted : (batch,) the ensemble's first target.

    Returns
    -------
    p : (batch,).
    scores : (batch, 4) 0 where a calibration spectrum of this size lies at the median, 1 at the rim (99 %).
    """
    xp = library_of(predicted)
    bins = xp.searchsorted(tensors["domain_edges"], predicted)
    n = tensors["domain_joint"].shape[1]
    p, scores = xp.empty_like(predicted), xp.empty_like(distances)
    for k in xp.unique(bins).tolist():
        rows, reference = bins == k, tensors["domain_reference"][k]
        least = _least_share(reference, distances[rows])
        nearer = xp.searchsorted(tensors["domain_joint"][k], least, side="right")
        p[rows] = (nearer + 1.0) / (n + 1)
        middle, rim = reference[n // 2], reference[min(int(RIM * n), n - 1)]
        scores[rows] = (distances[rows] - middle) / (rim - middle)
    return p, scores


def nearest(tensors: NumbersByName, x: Numbers, given_back: Numbers) -> Numbers:
    """(batch, g) of each input the nearest that training knows: what the autoencoder gives back, pulled in.

    Within the subspace, spectra beyond the training's spread are drawn back to it.
    """
    inside, scores = _within(tensors, given_back)
    excess = (1.0 - 1.0 / library_of(inside).clip(inside, 1.0, None))[:, None]
    return given_back - excess * scores @ tensors["domain_components"]


def _within(tensors: NumbersByName, x: Numbers) -> tuple[Numbers, Numbers]:
    """Mahalanobis distance a component (batch,), and components (batch, k)."""
    scores = (x - tensors["domain_mean"]) @ tensors["domain_components"].T
    spread = (scores * scores / tensors["domain_variances"]).mean(1)
    return library_of(spread).sqrt(spread), scores


def _least_share(reference: Numbers, distances: Numbers) -> Numbers:
    """(batch,) of each row of distances, the least weighted share of the reference (n, 4) as far out."""
    xp, n = library_of(distances), len(reference)
    least = xp.full_like(distances[:, 0], xp.inf)
    for k, weight in enumerate(WEIGHTS):
        below = xp.searchsorted(_in_row(reference[:, k]), _in_row(distances[:, k]))
        least = xp.minimum(least, (n - below) / (n * weight))
    return least


def _in_row(column: Numbers) -> Numbers:
    """The column as torch wants it for a search: side by side in memory."""
    return column if isinstance(column, np.ndarray) else column.contiguous()
