"""A bundle: one model on disk and in memory. A folder of card.json and weights.safetensors, never pickle."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from xas_live.models.card import Card
from xas_live.models.networks import weight_shapes
from xas_live.models.sections.domain import OXIDE_SEEN
from xas_live.models.sections.latent import DECODER, ENCODER, LATENT
from xas_live.spectrum import Array

CARD, WEIGHTS = "card.json", "weights.safetensors"
HALF = (
    "conv",
    "layer",
    "encoder.",
    "decoder.",
    "oxide.",
    "latent_",
    "metal_factor",
)  # as stored: half precision


class ModelError(ValueError):
    """A model that cannot be had or used, with the reason."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model with its card.

    Attributes
    ----------
    card : what the model is.
    tensors : network weights (`conv*`, `layer*`), input and target scaling, and what stands beside them:
        `theory_energy`, `theory_bulk` (eV, and the bulk's theoretical spectrum), `train_mean`,
        `train_covariance` of network inputs, `calibration_scores`, `calibration_edges` and `scale_floor` (by
        predicted size), `edge_rise_limit` (eV), the `domain_*` tensors, the autoencoder (`encoder.*`,
        `decoder.*`) with the training spectra in its coordinates (`latent_cloud`, `latent_target`), the
        network that sees oxide (`oxide.*`), the training spectra as Gaussians (`metal_*`), `bulk_r1` (Å),
        `partial_widening` (2, energies, targets) for growing sweeps, where the model speaks of them,
        and, of a model that gives CN1, the particle table `particle_cn`, `particle_atoms`.
    sha256 : over card and weights.
    folder : where it was read from, or None.
    """

    card: Card
    tensors: dict[str, torch.Tensor]
    sha256: str
    folder: Path | None = None
    grid: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", self.card.input.points)
        self._check_shapes()

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name

    @property
    def target_names(self) -> list[str]:
        """Names of the targets, in the network's order."""
        return [t.name for t in self.card.targets]

    @property
    def network(self) -> dict[str, torch.Tensor]:
        """The stacked weights alone."""
        return {k: v for k, v in self.tensors.items() if k.startswith(("conv", "layer"))}

    @property
    def stored(self) -> dict[str, torch.Tensor]:
        """The tensors in the precision in which they are kept on disk."""
        return {k: v.half() if k.startswith(HALF) else v for k, v in self.tensors.items()}

    @cached_property
    def theory_sha256(self) -> str:
        """Hash of the theoretical foil: an anchor belongs to it."""
        digest = hashlib.sha256()
        for name in ("theory_energy", "theory_bulk"):
            digest.update(self.array(name).tobytes())
        return digest.hexdigest()

    def array(self, name: str) -> Array:
        """A stored tensor as float64 numpy."""
        return np.asarray(self.tensors[name].double().numpy())

    def _check_shapes(self) -> None:
        card, g, t = self.card, len(self.grid), len(self.card.targets)
        expected: dict[str, tuple[int, ...]] = {
            "input_mean": (g,),
            "input_scale": (g,),
            "target_mean": (t,),
            "target_scale": (t,),
            "train_mean": (g,),
            "train_covariance": (g, g),
            "edge_rise_limit": (1,),
            "bulk_r1": (1,),
        }
        free = (
            "theory_energy", "theory_bulk", "calibration_scores", "calibration_edges", "scale_floor",
            "domain_mean", "domain_components", "domain_variances", "domain_reference",
            "domain_joint", "domain_edges", "latent_cloud", "latent_target",
            "metal_mean", "metal_factor", "metal_rest",
        )  # fmt: skip
        table = ("particle_cn", "particle_atoms") if "CN1" in self.target_names else ()
        missing = [name for name in (*free, *table) if name not in self.tensors]
        if missing:
            raise ModelError(f"model {card.name}: its weights lack {', '.join(missing)}")
        try:
            expected |= weight_shapes(card.network, g, t)
            for prefix, spec, inputs, outputs in (
                ("encoder.", ENCODER, g, LATENT),
                ("decoder.", DECODER, LATENT, g),
                ("oxide.", OXIDE_SEEN, g, 1),
            ):
                shapes = weight_shapes(spec, inputs, outputs)
                expected |= {prefix + name: shape for name, shape in shapes.items()}
        except ValueError as error:
            raise ModelError(f"model {card.name}: {error}") from error
        for name, shape in expected.items():
            if name not in self.tensors:
                raise ModelError(f"model {card.name}: its weights lack {name!r}")
            if tuple(self.tensors[name].shape) != shape:
                found = tuple(self.tensors[name].shape)
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
        ModelError : when the folder is no bundle, its card is not valid, or its weights do not fit the card.
        """
        for name in (CARD, WEIGHTS):
            if not (folder / name).is_file():
                raise ModelError(f"{folder} is no model bundle: {name} is missing")
        card = read_card(folder)
        try:
            stored = load_file(folder / WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{folder / WEIGHTS} cannot be read: {error}") from error
        tensors = {k: v.float() if v.dtype == torch.float16 else v for k, v in stored.items()}
        return cls(card=card, tensors=tensors, sha256=bundle_sha256(folder), folder=folder)


def read_card(folder: Path) -> Card:
    """The card of the bundle in `folder`.

    Raises
    ------
    ModelError : when there is none, or it is not valid.
    """
    try:
        return Card.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise ModelError(f"{folder / CARD} is not a valid card: {error}") from error


def bundle_sha256(folder: Path) -> str:
    """Hash over card and weights of the bundle in `folder`."""
    digest = hashlib.sha256()
    for name in (CARD, WEIGHTS):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
