"""Whether a spectrum lies where the model was trained.

Two distances of the network's input from the training spectra: the Mahalanobis distance within their
leading principal components, and the residual outside them. Each is ranked among the same distances of
calibration spectra, and the smaller conformal p-value, doubled, is the domain's (Bonferroni; Vovk et al.,
"Algorithmic Learning in a Random World", 2005).
"""

from __future__ import annotations

import torch

Tensors = dict[str, torch.Tensor]


def fit_domain(train: torch.Tensor, calibration: torch.Tensor, explained: float = 0.9995) -> Tensors:
    """Principal components of training inputs, and the distances of calibration inputs from them.

    Parameters
    ----------
    train : (n, g) network inputs.
    calibration : (m, g) network inputs that took no part in `train`.
    explained : share of the variance that the components keep.

    Returns
    -------
    Tensors named domain_*, to be stored with the model.
    """
    mean = train.mean(0)
    _, singular, rows = torch.linalg.svd(train - mean, full_matrices=False)
    variance = singular**2 / (len(train) - 1)
    keep = int((variance.cumsum(0) / variance.sum() < explained).sum()) + 1
    tensors: Tensors = {
        "domain_mean": mean,
        "domain_components": rows[:keep].contiguous(),
        "domain_variances": variance[:keep].contiguous(),
    }
    tensors["domain_reference"] = domain_distances(tensors, calibration).sort(dim=0).values
    return tensors


def domain_distances(tensors: Tensors, x: torch.Tensor) -> torch.Tensor:
    """(batch, 2): Mahalanobis distance per component, and root-mean-square residual outside them."""
    centred = x - tensors["domain_mean"]
    scores = centred @ tensors["domain_components"].T
    inside = (scores**2 / tensors["domain_variances"]).mean(1).sqrt()
    residual = (centred - scores @ tensors["domain_components"]).square().mean(1).sqrt()
    return torch.stack([inside, residual], dim=1)


def domain_p_value(tensors: Tensors, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Conformal p-value and score of each input.

    Returns
    -------
    p : (batch,) share of in-domain spectra at least as far out, 1 at most.
    score : (batch,) the larger of both distances in units of their 99 % calibration quantile: 1 is the rim.
    """
    reference = tensors["domain_reference"]
    n = reference.shape[0]
    distances = domain_distances(tensors, x)
    farther = n - torch.searchsorted(reference.T.contiguous(), distances.T.contiguous())
    p = (2.0 * ((farther + 1).to(x.dtype) / (n + 1)).min(0).values).clamp(max=1.0)
    rim = reference[min(int(0.99 * n), n - 1)]
    return p, (distances / rim).max(1).values
