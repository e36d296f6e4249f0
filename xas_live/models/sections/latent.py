"""The autoencoder of training spectra: where a spectrum lies among them, and what they would make of it.

Its encoder is that of the literature on XANES of particles (dense layers of 128, 64 and 32; Routh et al.,
J. Phys. Chem. Lett. 12, 2086, 2021). Latent coordinates are turned to their principal axes, with the spread
of the training spectra as unit, so that the first two draw the map. It was trained to give back spectra
without their noise: the reconstruction is a denoised spectrum, and what it leaves is what no training
spectrum has.
"""

from __future__ import annotations

from xas_live.models.networks import network
from xas_live.models.sections.specs import DECODER, ENCODER
from xas_live.reduction.arrays import Numbers, NumbersByName


def encode(tensors: NumbersByName, x: Numbers) -> Numbers:
    """Latent coordinates (batch, 8) of network inputs (batch, g)."""
    scaled = (x - tensors["input_mean"]) / tensors["input_scale"]
    return network(ENCODER, tensors, scaled, "encoder.")[0]


def decode(tensors: NumbersByName, latent: Numbers) -> Numbers:
    """Network inputs (batch, g) that latent coordinates (batch, 8) stand for."""
    out = network(DECODER, tensors, latent, "decoder.")[0]
    return out * tensors["input_scale"] + tensors["input_mean"]


def reconstruct(tensors: NumbersByName, x: Numbers) -> tuple[Numbers, Numbers]:
    """Latent coordinates (batch, 8) of network inputs (batch, g), and their reconstruction (batch, g)."""
    latent = encode(tensors, x)
    return latent, decode(tensors, latent)
