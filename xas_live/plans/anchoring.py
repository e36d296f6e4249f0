"""anchor_scan: a foil is measured and becomes the anchor."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from xas_live.errors import Refusal
from xas_live.plans.waiting import Plan, analysed, begun, ended

if TYPE_CHECKING:
    from xas_live.callbacks.live import LiveAnalysis
    from xas_live.reduction import FoilAnchor


def anchor_scan(
    scan: Callable[[], Plan],
    analysis: LiveAnalysis,
    *,
    vouch: bool = False,
    timeout: float = 120.0,
) -> Generator[Any, Any, FoilAnchor]:
    """Measure a foil, fit it, and save it as the anchor of its absorber.

    It is used from the next sweep on, where `attach` was left to find the anchor and a scan has no reference
    channel. The fit runs in a thread of its own: the RunEngine stays awake.

    Parameters
    ----------
    scan : makes the plan that measures the foil, which ends as one run, as `lambda: bp.list_scan(...)`.
    analysis : attached to the RunEngine that runs this plan.
    vouch : save it although it looks like a particle; the anchor says so.
    timeout : seconds that analysis and fit are waited for after the run.

    Returns
    -------
    The anchor, as the plan's return value: `anchor = yield from anchor_scan(...)`.

    Raises
    ------
    Refusal : when there is no model for the scan, it is no foil (NoFoilError), or cannot be fitted in time.
    OSError : when it cannot be saved.

    Examples
    --------
    >>> RE(anchor_scan(lambda: bp.list_scan([ion_chambers], mono, energies, md=md), xas))
    """
    uid = str((yield from scan()))
    why = yield from analysed(analysis, timeout)
    if why:
        raise Refusal(f"the foil cannot be fitted: {why}")
    fit = begun(lambda: analysis.anchor_from(uid, vouch=vouch))
    if not (yield from ended(fit, timeout)):
        raise Refusal(f"the foil was not fitted within {timeout:g} s: try again by anchor_from({uid[:8]!r})")
    return fit.result()
