"""Bluesky documents to sweeps: which fields are energy and detectors, where a sweep ends, what it is of."""

from xas_live.callbacks.assembly.absorber import absorber_from_energies, absorber_from_metadata, edge_energy
from xas_live.callbacks.assembly.assembler import SpectrumAssembler
from xas_live.callbacks.assembly.channels import ChannelMapping, MappingError, checked_mapping
from xas_live.callbacks.assembly.run import SWEEP_DONE

__all__ = [
    "SWEEP_DONE",
    "ChannelMapping",
    "MappingError",
    "SpectrumAssembler",
    "absorber_from_energies",
    "absorber_from_metadata",
    "checked_mapping",
    "edge_energy",
]
