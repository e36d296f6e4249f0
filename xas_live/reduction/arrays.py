"""One arithmetic for numpy arrays and torch tensors.

On the CPU numpy's products of one row or two with many matrices take a third of torch's time; on a GPU, and
where gradients are wanted, torch is what there is. What is written with these names runs on both.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch

Numbers: TypeAlias = Any
"""A numpy array or a torch tensor."""

NumbersByName: TypeAlias = Mapping[str, Numbers]


def library_of(x: Numbers) -> ModuleType:
    """numpy or torch: whose functions take this array."""
    return np if isinstance(x, np.ndarray) else torch


def standard_deviation(x: Numbers) -> Numbers:
    """Over the first axis, as the root of the mean square."""
    off = x - x.mean(0)
    return library_of(x).sqrt((off * off).mean(0))
