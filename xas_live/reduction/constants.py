"""Physical constants that reduction, theory and training share."""

K2_PER_EV = 0.26246843
"""Photoelectron wavenumber squared per energy above the edge: k² = 2 m E / ħ² (Å⁻² per eV).

CODATA 2022 gives 0.262468424, as larch has it. The shipped models were trained with this rounding, which
moves k by 1e-8 of itself.
"""
