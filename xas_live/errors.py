"""The base of every error that xas_live raises on purpose."""

from __future__ import annotations


class XasLiveError(Exception):
    """Something that xas_live cannot do, with the reason in words that say what to do next."""


class Refusal(XasLiveError, ValueError):
    """An input that cannot be used: a sweep, a foil, a standard, a model, a file, a setting.

    A plain ValueError, from numpy or torch say, is no refusal: it is a defect, and is reported as one.
    """
