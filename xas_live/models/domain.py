"""Whether a spectrum lies where the model was trained.

Three distances tell: how far the network's input lies from the training spectra within the subspace that
structure and ordinary nuisances span (Mahalanobis), how much of it lies outside that subspace (noise and
mismatch of theory and experiment, for a spectrum that belongs), and how much the ensemble's members
disagree. Each is ranked among calibration spectra of like predicted size, and the smallest conformal p-value,
times three, is the domain's (Bonferroni; Vovk et al., "Algorithmic Learning in a Random World", 2005).
"""

from __future__ import annotations

import torch

Tensors = dict[str, torch.Tensor]

DISTANCES = 3
BINS = 6  # of the predicted first target, in which the ranking is done
EXPLAINED = 0.999  # share of the variance of clean spectra that the subspace keeps


def fit_domain(
    clean: torch.Tensor,
    train: torch.Tensor,
    calibration: torch.Tensor,
    predicted: torch.Tensor,
    disagreement: torch.Tensor,
) -> Tensors:
    """The subspace of training spectra, and the distances of calibration spectra from it.

    Parameters
    ----------
    clean : (n, g) network inputs without noise and mismatch: they span the subspace.
    train : (n, g) inputs with all nuisances: they set its mean and variances.
    calibration : (m, g) inputs that took no part in either.
    predicted, disagreement : (m,) of the calibration inputs: the ensemble's first target, and its
        members' standard deviation, in units of the targets' scale, averaged over targets.

    Returns
    -------
    Tensors named domain_*, to be stored with the model.
    """
    mean = train.mean(0)
    _, singular, rows = torch.linalg.svd(clean - clean.mean(0), full_matrices=False)
    share = (singular**2).cumsum(0) / (singular**2).sum()
    keep = int((share < EXPLAINED).sum()) + 1
    components = rows[:keep].contiguous()
    variances = ((train - mean) @ components.T).var(0)
    tensors: Tensors = {
        "domain_mean": mean,
        "domain_components": components,
        "domain_variances": variances,
    }
    distances = domain_distances(tensors, calibration, disagreement)
    order = predicted.argsort()
    size = len(order) // BINS
    of_bin = [order[i * size : (i + 1) * size] for i in range(BINS)]
    tensors["domain_reference"] = torch.stack([distances[rows].sort(dim=0).values for rows in of_bin])
    tensors["domain_edges"] = torch.stack([predicted[rows[-1]] for rows in of_bin[:-1]])
    return tensors


def domain_distances(tensors: Tensors, x: torch.Tensor, disagreement: torch.Tensor) -> torch.Tensor:
    """(batch, 3): Mahalanobis distance a component, root-mean-square residual, members' disagreement."""
    centred = x - tensors["domain_mean"]
    scores = centred @ tensors["domain_components"].T
    inside = (scores**2 / tensors["domain_variances"]).mean(1).sqrt()
    residual = (centred - scores @ tensors["domain_components"]).square().mean(1).sqrt()
    return torch.stack([inside, residual, disagreement], dim=1)


def domain_p_value(
    tensors: Tensors, x: torch.Tensor, predicted: torch.Tensor, disagreement: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Conformal p-value and score of each input.

    Parameters
    ----------
    x : (batch, g) network inputs.
    predicted, disagreement : (batch,) as for `fit_domain`.

    Returns
    -------
    p : (batch,) at most 1: in-domain spectra fall below p in a share of at most p.
    score : (batch,) the largest of the distances in units of their 99 % calibration quantile: 1 is the rim.
    """
    bins = torch.bucketize(predicted.contiguous(), tensors["domain_edges"])
    reference = tensors["domain_reference"][bins]  # (batch, n, 3)
    n = reference.shape[1]
    distances = domain_distances(tensors, x, disagreement)
    farther = (reference >= distances[:, None]).sum(1)
    p = (DISTANCES * ((farther + 1).to(x.dtype) / (n + 1)).amin(1)).clamp(max=1.0)
    score = (distances / reference[:, min(int(0.99 * n), n - 1)]).amax(1)
    return p, score
