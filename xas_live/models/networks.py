"""Networks, many members at once: every layer is one batched product over the ensemble."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

Weights = dict[str, torch.Tensor]


def layer_sizes(inputs: int, hidden: tuple[int, ...], outputs: int) -> list[tuple[int, int]]:
    """(in, out) of each dense layer."""
    sizes = [inputs, *hidden, outputs]
    return list(pairwise(sizes))


def init_mlp(
    members: int, inputs: int, hidden: tuple[int, ...], outputs: int, generator: torch.Generator
) -> Weights:
    """Glorot-uniform weights of `members` multilayer perceptrons.

    Returns
    -------
    `layer{i}.weight` of shape (members, in, out) and `layer{i}.bias` of shape (members, 1, out), float32.
    """
    weights: Weights = {}
    for i, (n_in, n_out) in enumerate(layer_sizes(inputs, hidden, outputs)):
        bound = math.sqrt(6.0 / (n_in + n_out))
        uniform = torch.rand((members, n_in, n_out), generator=generator)
        weights[f"layer{i}.weight"] = (2.0 * uniform - 1.0) * bound
        weights[f"layer{i}.bias"] = torch.zeros((members, 1, n_out))
    return weights


def mlp(weights: Weights, x: torch.Tensor, activation: str = "tanh") -> torch.Tensor:
    """Outputs of all members.

    Parameters
    ----------
    weights : as `init_mlp` gives them.
    x : (batch, inputs), seen by every member, or (members, batch, inputs), each its own.
    activation : "tanh" or "relu", between layers.

    Returns
    -------
    (members, batch, outputs).
    """
    act = torch.tanh if activation == "tanh" else torch.relu
    depth = len(weights) // 2
    members = weights["layer0.weight"].shape[0]
    h = x.expand(members, *x.shape) if x.ndim == 2 else x
    for i in range(depth):
        h = torch.baddbmm(weights[f"layer{i}.bias"], h, weights[f"layer{i}.weight"])
        if i < depth - 1:
            h = act(h)
    return h
