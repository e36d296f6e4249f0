"""Plans that repeat a scan until what is predicted is known well enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, stdev
from typing import TYPE_CHECKING, Any, Literal

from scipy.stats import chi2, t

from xas_live.errors import Refusal
from xas_live.plans.usable import usable_values
from xas_live.plans.waiting import Plan, analysed
from xas_live.prediction import Prediction, Value

if TYPE_CHECKING:
    from xas_live.callbacks.live import LiveAnalysis

_TOLD = 8  # degrees of freedom of the noise that repeats tell of themselves: 1 / (2 * 0.25**2)
_SCATTERS = 0.01  # probability below which repeats scatter more than their noise tells


@dataclass(frozen=True)
class Repeated:
    """What repeats of a scan gave together.

    Attributes
    ----------
    target : of the model.
    uids : of the runs, in order.
    used : number of predictions in the mean.
    mean : of the target; NaN where no repeat was usable.
    half_width : of its statistical interval; of the whole one where that was asked for.
    reached : whether it is as narrow as was asked for.
    reason : why the repeats ended, in words.
    """

    target: str
    uids: tuple[str, ...]
    used: int
    mean: float
    half_width: float
    reached: bool
    reason: str


def repeat_until(
    scan: Callable[[], Plan],
    target: str,
    half_width: float,
    max_repeats: int,
    analysis: LiveAnalysis,
    *,
    error: Literal["statistical", "total"] = "statistical",
    timeout: float = 60.0,
) -> Generator[Any, Any, Repeated]:
    """Repeat a scan until the mean of what is predicted is known to a half width.

    The statistical parts of the repeats are averaged, and pooled with the scatter of the repeats: see
    `mean_of`. Only sweeps under the verdicts "trusted" and "caution" count, complete and analysed: of a
    sample that is not usable all repeats are measured.

    Parameters
    ----------
    scan : makes the plan of one repeat, which ends as a run, as `lambda: bp.list_scan(...)`.
    target : as "CN1".
    half_width : asked for, in the target's unit, at the level of the predictions.
    max_repeats : that are measured at most.
    analysis : attached to the RunEngine that runs this plan.
    error : "statistical" is what repeats can narrow; "total" includes the model's part, which they cannot.
    timeout : seconds that a prediction is waited for after its run.

    Returns
    -------
    The result, as the plan's return value: `result = yield from repeat_until(...)`.

    Raises
    ------
    Refusal : at once for settings that make no sense; after the first repeat for a total half width below the
        model's part, and a target that the model does not give.

    Examples
    --------
    >>> RE(repeat_until(lambda: bp.list_scan([ion_chambers], mono, energies, md=md), "CN1", 0.2, 16, xas))
    """
    if not (half_width > 0 and math.isfinite(half_width)):
        raise Refusal(f"half_width={half_width!r}: give a positive number in the unit of {target}")
    if max_repeats < 1:
        raise Refusal(f"max_repeats={max_repeats!r}: at least one repeat is measured")
    if error not in ("statistical", "total"):
        raise Refusal(f"error={error!r}: give 'statistical' or 'total'")
    uids: list[str] = []
    found: list[Value] = []
    result = Repeated(target, (), 0, math.nan, math.inf, reached=False, reason="")
    for _ in range(max_repeats):
        uid = yield from scan()
        uids.append(str(uid))
        result = replace(result, uids=tuple(uids))
        why = yield from analysed(analysis, timeout)
        if why:
            return replace(result, reason=why)
        found += _usable(analysis.predictions, uids[-1], target)
        if found and error == "total" and half_width < (least := min(value.model for value in found)):
            raise Refusal(
                f"the model's part of the error of {target} is {least:.2g}, which no repeat narrows: a total "
                f"half width of {half_width:g} cannot be reached. Ask for the statistical one"
            )
        mean, half = mean_of(found, error)
        result = replace(result, used=len(found), mean=mean, half_width=half, reached=half <= half_width)
        if result.reached:
            return replace(result, reason=f"{target} is known to {half:.2g}")
    words = "no repeat was usable" if not found else f"{target} is known to {result.half_width:.2g} only"
    return replace(result, reason=f"{words} after {max_repeats} repeats")


def _usable(predictions: Sequence[Prediction], uid: str, target: str) -> list[Value]:
    """Return the values of a run that count and whose statistical part is known."""
    of_run = [p for p in predictions if p.provenance.run_uid == uid]
    return [value for value in usable_values(of_run, target) if not math.isnan(value.statistical)]


def mean_of(
    found: Sequence[Value], error: Literal["statistical", "total"] = "statistical"
) -> tuple[float, float]:
    """Return the mean of repeats, and the half width of its statistical interval or of the whole one.

    The noise that the repeats tell of themselves counts as an estimate with 8 degrees of freedom: it is known
    to a quarter, as gradient and noise of each are taken at a noisy spectrum. The scatter of the repeats is
    pooled with it by its own degrees of freedom. Where they scatter more than their noise tells, by a
    chi-square test at 1 %, their scatter alone counts.
    """
    n = len(found)
    if not n:
        return math.nan, math.inf
    mean = sum(value.value for value in found) / n
    half = math.sqrt(sum(value.statistical**2 for value in found)) / n
    if n > 2:
        quantile = NormalDist().inv_cdf(0.5 + found[0].level / 2.0)
        scatter = stdev(value.value for value in found)
        expected = half * math.sqrt(n) / quantile
        # Without noise in the points, any scatter is more than they tell.
        if scatter > 0 and (not expected or chi2.sf((n - 1) * (scatter / expected) ** 2, n - 1) < _SCATTERS):
            half = float(t.ppf(0.5 + found[0].level / 2.0, n - 1)) * scatter / math.sqrt(n)
        else:
            pooled = _TOLD * expected**2 + (n - 1) * scatter**2
            half = quantile * math.sqrt(pooled / (_TOLD + n - 1) / n)
    return mean, half if error == "statistical" else math.hypot(half, max(value.model for value in found))
