"""Predictions as signals of the session, for plans and suspenders, and as PVs of an IOC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xas_live.lazy import lazily

if TYPE_CHECKING:
    from xas_live.signals.device import PredictionSignals
    from xas_live.signals.link import IocLink
    from xas_live.signals.quantities import DEFAULT_TARGETS, Target

__all__ = ["DEFAULT_TARGETS", "IocLink", "PredictionSignals", "Target"]

__getattr__ = lazily(
    __name__,
    {
        "device": ("PredictionSignals",),
        "link": ("IocLink",),
        "quantities": ("DEFAULT_TARGETS", "Target"),
    },
)
