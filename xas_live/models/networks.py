"""Networks, many members at once: every layer is one batched product, or one grouped convolution."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch

from xas_live.errors import Refusal
from xas_live.models.network_spec import NetworkSpec
from xas_live.reduction.arrays import Numbers, NumbersByName
from xas_live.spectrum import Array

Weights = dict[str, torch.Tensor]


def weight_shapes(spec: NetworkSpec, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of all members.

    `conv{i}.weight` (members, kernels, channels, width) and `conv{i}.bias` (members, kernels), then
    `layer{i}.weight` (members, in, out) and `layer{i}.bias` (members, 1, out).

    Raises
    ------
    Refusal : when the kernels leave nothing of the input.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    members, length, channels = spec.members, inputs, 1
    for i, kernels in enumerate(spec.kernels):
        shapes[f"conv{i}.weight"] = (members, kernels, channels, spec.kernel_width)
        shapes[f"conv{i}.bias"] = (members, kernels)
        length, channels = length - spec.kernel_width + 1, kernels
    if length < 1:
        raise Refusal(
            f"{len(spec.kernels)} layers of kernels of width {spec.kernel_width} leave nothing of {inputs} "
            "points: take narrower ones, or fewer layers"
        )
    for i, (n_in, n_out) in enumerate(pairwise([length * channels, *spec.hidden, outputs])):
        shapes[f"layer{i}.weight"] = (members, n_in, n_out)
        shapes[f"layer{i}.bias"] = (members, 1, n_out)
    return shapes


def init_network(spec: NetworkSpec, inputs: int, outputs: int, generator: torch.Generator) -> Weights:
    """Glorot-uniform weights and zero biases, float32, of the shapes of `weight_shapes`."""
    weights: Weights = {}
    for name, shape in weight_shapes(spec, inputs, outputs).items():
        if name.endswith("bias"):
            weights[name] = torch.zeros(shape)
            continue
        fans = shape[1] + shape[2] if len(shape) == 3 else (shape[1] + shape[2]) * shape[3]
        uniform = torch.rand(shape, generator=generator)
        weights[name] = (2.0 * uniform - 1.0) * math.sqrt(6.0 / fans)
    return weights


def network(spec: NetworkSpec, weights: NumbersByName, x: Numbers, prefix: str = "") -> Numbers:
    """Outputs of all members: convolutions without padding or pooling, if any, then dense layers.

    Weights and inputs are torch tensors, or all of them numpy arrays.

    Parameters
    ----------
    spec : which network; the number of members is that of the weights.
    weights : as `init_network` gives them, of some or all members.
    x : (batch, inputs), seen by every member, or (members, batch, inputs), each its own.
    prefix : of the weights' names, among those of other networks.

    Returns
    -------
    (members, batch, outputs).
    """
    if isinstance(x, np.ndarray):
        return _network_of_arrays(spec, weights, x, prefix)
    act = torch.tanh if spec.activation == "tanh" else torch.relu
    members = weights[f"{prefix}layer0.weight"].shape[0]
    h = x.expand(members, *x.shape) if x.ndim == 2 else x
    if spec.kernels:
        h = h.transpose(0, 1)  # (batch, members x channels, points): members are the groups
        for i in range(len(spec.kernels)):
            kernel, bias = weights[f"{prefix}conv{i}.weight"], weights[f"{prefix}conv{i}.bias"]
            h = act(torch.conv1d(h, kernel.flatten(0, 1), bias.flatten(), groups=members))
        h = h.unflatten(1, (members, -1)).flatten(2).transpose(0, 1)
    for i in range(len(spec.hidden) + 1):
        h = torch.baddbmm(weights[f"{prefix}layer{i}.bias"], h, weights[f"{prefix}layer{i}.weight"])
        if i < len(spec.hidden):
            h = act(h)
    return h


def _network_of_arrays(spec: NetworkSpec, weights: NumbersByName, x: Array, prefix: str) -> Array:
    if spec.kernels:  # numpy has no convolutions of many channels
        tensors = {name: torch.from_numpy(weight) for name, weight in weights.items()}
        return np.asarray(network(spec, tensors, torch.from_numpy(x), prefix).numpy())
    h = x
    for i in range(len(spec.hidden) + 1):
        h = np.matmul(h, weights[f"{prefix}layer{i}.weight"])
        h += weights[f"{prefix}layer{i}.bias"]
        if i < len(spec.hidden):
            h = np.tanh(h, out=h) if spec.activation == "tanh" else np.maximum(h, 0.0, out=h)
    return h


def mean_gradients(spec: NetworkSpec, weights: NumbersByName, x: Numbers) -> Numbers:
    """How the members' mean outputs change with the inputs, (batch, outputs, inputs).

    Parameters
    ----------
    spec, weights : as for `network`, of all members.
    x : (batch, inputs).
    """
    if isinstance(x, np.ndarray) and not spec.kernels:
        return _gradients_of_arrays(spec, weights, x)
    if isinstance(x, np.ndarray):
        weights = {name: torch.from_numpy(weight) for name, weight in weights.items()}
        return mean_gradients(spec, weights, torch.from_numpy(x)).numpy()
    with torch.inference_mode(mode=False), torch.enable_grad():
        inputs = x.clone().requires_grad_()
        out = network(spec, weights, inputs).mean(0).sum(0)
        each = [torch.autograd.grad(one, inputs, retain_graph=True)[0] for one in out]
    return torch.stack(each, 1)


def _gradients_of_arrays(spec: NetworkSpec, weights: NumbersByName, x: Array) -> Array:
    """The chain rule, output by output, from the last layer back."""
    layers = [weights[f"layer{i}.weight"] for i in range(len(spec.hidden) + 1)]
    slopes, h = [], x
    for i, layer in enumerate(layers[:-1]):
        h = np.matmul(h, layer)
        h += weights[f"layer{i}.bias"]
        h = np.tanh(h, out=h) if spec.activation == "tanh" else np.maximum(h, 0.0, out=h)
        slopes.append(1.0 - h * h if spec.activation == "tanh" else (h > 0).astype(h.dtype))
    found = np.empty((len(x), layers[-1].shape[2], x.shape[1]), dtype=x.dtype)
    for output in range(found.shape[1]):
        back = layers[-1][:, None, :, output]
        for layer, slope in zip(layers[-2::-1], slopes[::-1], strict=True):
            back = np.matmul(back * slope, np.swapaxes(layer, 1, 2))
        found[:, output] = back.mean(0)
    return found
