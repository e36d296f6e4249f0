"""What a model may carry beside its networks: domain, phases, preview, size, latent coordinates."""

from xas_live.models.sections.size import bulk_numbers, fcc_diameter
from xas_live.models.sections.specs import Sections

__all__ = ["Sections", "bulk_numbers", "fcc_diameter"]
