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

import torch

from xas_live.models.card import NetworkSpec
from xas_live.models.latent import part
from xas_live.models.networks import network

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
    tensors: Tensors, x: torch.Tensor, given_back: torch.Tensor, disagreement: torch.Tensor
) -> torch.Tensor:
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
    residual = (x - given_back).square().mean(1).sqrt()
    scaled = (x - tensors["input_mean"]) / tensors["input_scale"]
    oxide = network(OXIDE_SEEN, part(tensors, "oxide."), scaled)[0, :, 0]
    return torch.stack([inside, residual, disagreement, oxide], dim=1)


def domain_p_value(
    tensors: Tensors, distances: torch.Tensor, predicted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
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
    bins = torch.bucketize(predicted.contiguous(), tensors["domain_edges"])
    n = tensors["domain_joint"].shape[1]
    p, scores = torch.empty_like(predicted), torch.empty_like(distances)
    for k in bins.unique().tolist():
        rows, reference = bins == k, tensors["domain_reference"][k]
        least = _least_share(reference, distances[rows])
        nearer = torch.searchsorted(tensors["domain_joint"][k], least, right=True)
        p[rows] = (nearer + 1).to(p.dtype) / (n + 1)
        middle, rim = reference[n // 2], reference[min(int(RIM * n), n - 1)]
        scores[rows] = (distances[rows] - middle) / (rim - middle)
    return p, scores


def nearest(tensors: Tensors, x: torch.Tensor, given_back: torch.Tensor) -> torch.Tensor:
    """(batch, g) of each input the nearest that training knows: what the autoencoder gives back, pulled in.

    Within the subspace, spectra beyond the training's spread are drawn back to it.
    """
    inside, scores = _within(tensors, given_back)
    excess = (1.0 - 1.0 / inside.clamp_min(1.0))[:, None]
    return given_back - excess * scores @ tensors["domain_components"]


def _within(tensors: Tensors, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mahalanobis distance a component (batch,), and components (batch, k)."""
    scores = (x - tensors["domain_mean"]) @ tensors["domain_components"].T
    return (scores**2 / tensors["domain_variances"]).mean(1).sqrt(), scores


def _least_share(reference: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """(batch,) of each row of distances, the least weighted share of the reference (n, 4) as far out."""
    n = len(reference)
    below = torch.stack(
        [
            torch.searchsorted(column.contiguous(), of.contiguous())
            for column, of in zip(reference.T, distances.T, strict=True)
        ]
    )
    weights = distances.new_tensor(WEIGHTS)[:, None]
    return ((n - below) / (n * weights)).amin(0)
