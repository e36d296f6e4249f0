"""Departures from the training spectra that a user vouches for, and a spectrum without them.

A sample may depart from every particle in training in a way of its own: its support, its ligands, what the
beamline adds. `xas-live models accept` takes the directions of such departures from spectra of good samples,
how far they reach along each, and in which other respects these spectra depart (members that disagree, a
phase that they resemble). What judges a spectrum then judges it without as much. No more is taken away than
the accepted samples had: any further departure, as of oxide, stays.
"""

from __future__ import annotations

from xas_live.reduction.arrays import Numbers, NumbersByName, library_of


def without_accepted(tensors: NumbersByName, x: Numbers, residual: Numbers) -> Numbers:
    """(batch, g) inputs without the accepted part of their departures.

    Parameters
    ----------
    tensors : `accepted_axes` (k, g) orthonormal; `accepted_low` and `accepted_high` (k,) how far departures
        reach along them, the one at most 0 and the other at least.
    x : (batch, g) network inputs.
    residual : (batch, g) the inputs less the nearest that training knows.
    """
    axes = tensors["accepted_axes"]
    along = library_of(x).clip(residual @ axes.T, tensors["accepted_low"], tensors["accepted_high"])
    return x - along @ axes


def beyond_accepted(tensors: NumbersByName, departed: Numbers) -> Numbers:
    """(batch, d) how far out spectra lie in each respect, beyond what accepted samples do.

    Parameters
    ----------
    tensors : `accepted_left` (d,) how far out these are, without the accepted part of their departures.
    departed : (batch, d) as `models.sections.cost.departures` gives them.
    """
    return library_of(departed).clip(departed - tensors["accepted_left"], 0.0, None)
