"""Whether a spectrum lies where the model was trained, and in which way it does not.

Up to four distances tell: how far the network's input lies from the training spectra within the subspace
that structure and ordinary nuisances span (Mahalanobis); what the autoencoder cannot reconstruct; how much
the ensemble's members disagree; and how much a small network, trained on spectra with and without some
oxide, takes it for one with. A model without autoencoder or oxide network is judged without them. The first
three are ranked among calibration spectra of like predicted size, the last among all: its odds have the size
in them, and oxide makes particles look small. The smallest share of those that lie farther, ranked once more
among theirs, is one conformal p-value (Vovk et al., "Algorithmic Learning in a Random World", 2005):
in-domain spectra fall below p in a share of p.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from xas_live.models.networks import network
from xas_live.models.sections.specs import OXIDE_NETWORK, Distance
from xas_live.reduction.arrays import Numbers, NumbersByName, library_of

Tensors = dict[str, torch.Tensor]

DISTANCES: tuple[Distance, ...] = ("subspace", "residual", "disagreement", "oxide")
BINS = 6  # of the target that stratifies, in which the ranking is done
EXPLAINED = 0.999  # share of the variance of clean spectra that the subspace keeps
OXIDE_WEIGHT = 3.0  # of its distance's share, the others' are 1: oxide may raise half of the false alarms
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


def fit_reference(
    distances: torch.Tensor, predicted: torch.Tensor | None, names: Sequence[Distance] = DISTANCES
) -> Tensors:
    """What calibration spectra look like, by predicted size.

    Parameters
    ----------
    distances : (n, d) of calibration inputs that took no part in anything else.
    predicted : (n,) the target that stratifies; None: all are ranked together.
    names : of the d distances.

    Returns
    -------
    `domain_reference` (bins, n/bins, d), each distance ascending; `domain_joint` (bins, n/bins), ascending,
    the least share of farther ones that each of them has; `domain_edges` (bins - 1,).
    """
    bins = 1 if predicted is None else BINS
    by = distances.new_zeros(len(distances)) if predicted is None else predicted
    order = by.argsort()
    size = len(order) // bins
    of_bin = [order[i * size : (i + 1) * size] for i in range(bins)]
    reference = torch.stack([distances[rows].sort(dim=0).values for rows in of_bin])
    if "oxide" in names:
        oxide = list(names).index("oxide")
        reference[..., oxide] = distances[:, oxide].sort().values[: size * bins : bins]
    least = [_least_share(r, distances[rows], names) for r, rows in zip(reference, of_bin, strict=True)]
    joint = torch.stack([each.sort().values for each in least])
    edges = torch.stack([by[rows[-1]] for rows in of_bin[:-1]]) if bins > 1 else by.new_empty(0)
    return {"domain_reference": reference, "domain_joint": joint, "domain_edges": edges}


def domain_distances(
    tensors: NumbersByName,
    x: Numbers,
    reconstruction: Numbers | None,
    disagreement: Numbers,
    names: Sequence[Distance] = DISTANCES,
) -> Numbers:
    """(batch, d), in the order of `names`.

    Parameters
    ----------
    x : (batch, g) network inputs.
    reconstruction : (batch, g) their reconstruction by the autoencoder; None without one.
    disagreement : (batch,) members' standard deviation, in units of the outputs' scale, mean over them.
    names : the distances that the model has.

    Returns
    -------
    Mahalanobis distance a component; root mean square of what the autoencoder leaves (edge steps); the
    disagreement; log odds of oxide.
    """
    xp, found = library_of(x), []
    for name in names:
        if name == "subspace":
            found.append(_within(tensors, x)[0])
        elif name == "residual":
            assert reconstruction is not None
            left = x - reconstruction
            found.append(xp.sqrt((left * left).mean(1)))
        elif name == "disagreement":
            found.append(disagreement)
        else:
            scaled = (x - tensors["input_mean"]) / tensors["input_scale"]
            found.append(network(OXIDE_NETWORK, tensors, scaled, "oxide.")[0, :, 0])
    return xp.stack(found, 1)


def domain_p_value(
    tensors: NumbersByName,
    distances: Numbers,
    predicted: Numbers | None,
    names: Sequence[Distance] = DISTANCES,
) -> tuple[Numbers, Numbers]:
    """Conformal p-value of each input, and how far out it lies by each distance.

    Parameters
    ----------
    distances : (batch, d) as `domain_distances` gives them.
    predicted : (batch,) the target that stratifies; None: there is none.
    names : of the distances.

    Returns
    -------
    p : (batch,).
    scores : (batch, d) 0 where a calibration spectrum of this size lies at the median, 1 at the rim (99 %).
    """
    xp = library_of(distances)
    by = xp.zeros_like(distances[:, 0]) if predicted is None else predicted
    bins = xp.searchsorted(tensors["domain_edges"], by)
    n = tensors["domain_joint"].shape[1]
    p, scores = xp.empty_like(by), xp.empty_like(distances)
    for k in xp.unique(bins).tolist():
        rows, reference = bins == k, tensors["domain_reference"][k]
        least = _least_share(reference, distances[rows], names)
        nearer = xp.searchsorted(tensors["domain_joint"][k], least, side="right")
        p[rows] = (nearer + 1.0) / (n + 1)
        middle, rim = reference[n // 2], reference[min(int(RIM * n), n - 1)]
        scores[rows] = (distances[rows] - middle) / (rim - middle)
    return p, scores


def nearest(tensors: NumbersByName, reconstruction: Numbers) -> Numbers:
    """(batch, g) the nearest that training knows to each reconstruction (or input, without an autoencoder).

    Within the subspace, spectra beyond the training's spread are drawn back to it.
    """
    inside, scores = _within(tensors, reconstruction)
    excess = (1.0 - 1.0 / library_of(inside).clip(inside, 1.0, None))[:, None]
    return reconstruction - excess * scores @ tensors["domain_components"]


def _within(tensors: NumbersByName, x: Numbers) -> tuple[Numbers, Numbers]:
    """Mahalanobis distance a component (batch,), and components (batch, k)."""
    scores = (x - tensors["domain_mean"]) @ tensors["domain_components"].T
    spread = (scores * scores / tensors["domain_variances"]).mean(1)
    return library_of(spread).sqrt(spread), scores


def _least_share(reference: Numbers, distances: Numbers, names: Sequence[Distance]) -> Numbers:
    """(batch,) of each row of distances, the least weighted share of the reference (n, d) as far out."""
    xp, n = library_of(distances), len(reference)
    least = xp.full_like(distances[:, 0], xp.inf)
    for k, name in enumerate(names):
        weight = OXIDE_WEIGHT if name == "oxide" else 1.0
        below = xp.searchsorted(_in_row(reference[:, k]), _in_row(distances[:, k]))
        least = xp.minimum(least, (n - below) / (n * weight))
    return least


def _in_row(column: Numbers) -> Numbers:
    """The column as torch wants it for a search: side by side in memory."""
    return column if isinstance(column, np.ndarray) else column.contiguous()
