"""A bundle: one model on disk and in memory. A folder of card.json and weights.safetensors, never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from xas_live.errors import Refusal
from xas_live.models.card import Card, InputSpec
from xas_live.models.networks import weight_shapes
from xas_live.models.outputs import OutputKind, kinds_of
from xas_live.models.schema1 import upgraded
from xas_live.models.sections.specs import theory_suffix
from xas_live.reduction.target import BulkTheory, InputTarget
from xas_live.spectrum import Array

CARD, WEIGHTS = "card.json", "weights.safetensors"
LARGEST = 1e6
"""Largest number among the tensors of a bundle; those of the shipped ones stay under 3000."""

HALF = (
    "conv",
    "layer",
    "encoder.",
    "decoder.",
    "oxide.",
    "chemistry.",
    "latent_",
    "metal_factor",
)  # as stored: half precision


class ModelError(Refusal):
    """A model that cannot be had or used, with the reason."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model with its card.

    Attributes
    ----------
    card : what the model is.
    tensors : network weights (`conv*`, `layer*`), `input_mean` and `input_scale`, those of the outputs
        (`OutputKind.tensors`) and those of the card's sections (models/sections/specs.py).
    sha256 : over card and weights.
    folder : where it was read from, or None.
    """

    card: Card
    tensors: dict[str, torch.Tensor]
    sha256: str
    folder: Path | None = None

    def __post_init__(self) -> None:
        self._check_shapes()

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name

    @cached_property
    def kinds(self) -> tuple[OutputKind, ...]:
        """Its outputs, in the order of the network's columns."""
        return kinds_of(self.card.outputs)

    @property
    def target_names(self) -> list[str]:
        """Names of the numbers that it gives, in the network's order."""
        return [t.name for t in self.card.targets]

    @cached_property
    def grid(self) -> Array:
        """(g,) of the first input, in its unit."""
        return self.card.inputs[0].points

    @cached_property
    def inputs(self) -> tuple[InputTarget, ...]:
        """What sweeps of each absorber are reduced to."""
        return tuple(self._input(i, spec) for i, spec in enumerate(self.card.inputs))

    @property
    def absorbers(self) -> tuple[tuple[str, str], ...]:
        """Elements and edges of which it takes sweeps."""
        return tuple((a.element, a.edge) for a in self.card.absorbers)

    def input_for(self, element: str | None, edge: str | None) -> InputTarget | None:
        """What sweeps of this absorber are reduced to; where one is None, the first that fits; else None."""
        found = (each for each in self.inputs if each.input_for(element, edge) is not None)
        return next(found, None)

    @property
    def network(self) -> dict[str, torch.Tensor]:
        """The stacked weights alone."""
        return {k: v for k, v in self.tensors.items() if k.startswith(("conv", "layer"))}

    @property
    def stored(self) -> dict[str, torch.Tensor]:
        """The tensors in the precision in which they are kept on disk."""
        return {k: v.half() if k.startswith(HALF) else v for k, v in self.tensors.items()}

    def array(self, name: str) -> Array:
        """A stored tensor as float64 numpy."""
        return np.asarray(self.tensors[name].double().numpy())

    def _input(self, index: int, spec: InputSpec) -> InputTarget:
        theory = None
        if self.card.sections.theory is not None and spec.anchor != "none":
            suffix = theory_suffix(index)
            background = None
            if self.card.sections.theory.background:
                background = self.array(f"theory_background{suffix}")
            theory = BulkTheory(
                self.array(f"theory_energy{suffix}"), self.array(f"theory_bulk{suffix}"), background
            )
        a = spec.absorber
        return InputTarget(
            self.name, a.element, a.edge, a.energy, spec.kind, spec.points, spec.fit_windows, spec.anchor,
            theory, spec.k_weight,
        )  # fmt: skip

    def _check_shapes(self) -> None:
        card, g = self.card, self.card.points
        expected: dict[str, tuple[int, ...] | None] = {"input_mean": (g,), "input_scale": (g,)}
        for kind in self.kinds:
            expected |= kind.tensors()
        expected |= card.sections.tensors(g, len(card.inputs), card.width)
        try:
            expected |= weight_shapes(card.network, g, card.width)
        except Refusal as error:
            raise ModelError(f"model {card.name}: {error}") from error
        if missing := [name for name in expected if name not in self.tensors]:
            raise ModelError(f"model {card.name}: its weights lack {', '.join(missing)}")
        distances = card.sections.distances
        if card.sections.domain is not None and self.tensors["domain_reference"].shape[-1] != len(distances):
            raise ModelError(
                f"model {card.name}: 'domain_reference' has {self.tensors['domain_reference'].shape[-1]} "
                f"distances, its card asks for {len(distances)}: {', '.join(distances)}"
            )
        for name, shape in expected.items():
            found = tuple(self.tensors[name].shape)
            if shape is not None and found != shape:
                raise ModelError(f"model {card.name}: {name!r} has shape {found}, its card asks for {shape}")

    def save(self, folder: Path) -> Bundle:
        """Write the bundle and read it back, so that what is returned is what is stored."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CARD).write_text(self.card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        save_file({k: v.contiguous() for k, v in sorted(self.tensors.items())}, folder / WEIGHTS)
        return Bundle.load(folder)

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read a bundle; half-precision weights are widened to float32.

        Raises
        ------
        ModelError : when the folder is no bundle, its card is not valid, its weights do not fit the card, or
            are no numbers that weights can be.
        """
        for name in (CARD, WEIGHTS):
            if not (folder / name).is_file():
                raise ModelError(f"{folder} is no model bundle: {name} is missing")
        card = read_card(folder)
        try:
            stored = load_file(folder / WEIGHTS)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise ModelError(f"{folder / WEIGHTS} cannot be read: {error}") from error
        _check_values(stored, folder / WEIGHTS)
        tensors = {k: v.float() if v.dtype == torch.float16 else v for k, v in stored.items()}
        return cls(card=card, tensors=tensors, sha256=bundle_sha256(folder), folder=folder)


def _check_values(stored: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise ModelError where a tensor is of another kind than weights are, or out of their range."""
    for name, tensor in stored.items():
        if not tensor.is_floating_point():
            raise ModelError(
                f"{path}: {name!r} is of type {tensor.dtype}, weights are floating-point numbers"
            )
        largest = float(tensor.abs().max()) if tensor.numel() else 0.0
        if not largest <= LARGEST:  # nor where it is NaN
            raise ModelError(f"{path}: {name!r} holds {largest:g}, weights are numbers up to {LARGEST:g}")
    if "input_scale" in stored and not bool((stored["input_scale"] > 0).all()):
        raise ModelError(f"{path}: 'input_scale' holds {float(stored['input_scale'].min()):g}, not over 0")
    for name, energy in stored.items():
        if name.startswith("theory_energy") and not bool((energy.diff() > 0).all()):
            raise ModelError(f"{path}: {name!r} does not ascend")


def read_card(folder: Path) -> Card:
    """The card of the bundle in `folder`; one of schema 1 is upgraded.

    Raises
    ------
    ModelError : when there is none, or it is not valid.
    """
    try:
        entries = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if isinstance(entries, dict) and entries.get("schema_version") == 1:
            entries = upgraded(entries, with_previews="partial_widening" in _stored_names(folder))
        return Card.model_validate_json(json.dumps(entries))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder / CARD} is not a valid card: {error}") from error


def _stored_names(folder: Path) -> set[str]:
    try:
        with safe_open(folder / WEIGHTS, "pt") as stored:
            return set(stored.keys())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{folder / WEIGHTS} cannot be read: {error}") from error


def bundle_sha256(folder: Path) -> str:
    """Hash over card and weights of the bundle in `folder`."""
    digest = hashlib.sha256()
    for name in (CARD, WEIGHTS):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
