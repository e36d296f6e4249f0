"""Physical constants that theory, training and simulation share."""

K2_PER_EV = 0.26246843
"""Photoelectron wavenumber squared per energy above the edge: k² = 2 m E / ħ² (Å⁻² per eV)."""
