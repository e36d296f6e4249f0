"""What only a series of sweeps can tell: that the spectra drift, or the energy scale does.

Spectra of one sample under one beam are exchangeable: any order is as likely. Those of a slowly failing
beamline are not. Each domain score is ranked among those before it, which gives a p-value even in [0, 1]
while they are exchangeable; a bet against that (the "simple jumper" of Vovk et al., Proc. Machine Learning
Research 152, 191, 2021) multiplies its stake only if they are not. By Ville's inequality a stake of 100 comes
about by chance in at most one of 100 series, however long.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict, deque
from dataclasses import dataclass, field

import numpy as np

from xas_live.prediction import Prediction

ALARM = 100.0  # stake from which a series counts as drifting
JUMP = 0.01  # share of the stake that changes its mind at every sweep
REMEMBERED = 5000  # scores that a series is ranked among
FIRST = 5  # sweeps whose shift is the series' own
SHIFT_LIMIT = 0.3  # eV between the energy scale now and then
MOST_SERIES = 256  # of which the statistics are kept: the ones used last


class ExchangeabilityTest:
    """A conformal test martingale on a stream of numbers.

    Attributes
    ----------
    stake : what a bet of 1 at the start, or at the last alarm, has become.
    """

    def __init__(self) -> None:
        self._sorted: list[float] = []
        self._order: deque[float] = deque()
        self._stakes = np.full(3, 1.0 / 3.0)

    @property
    def stake(self) -> float:
        """See the class."""
        return float(self._stakes.sum())

    def add(self, value: float) -> float:
        """Take the next number; returns the stake. Infinities and NaN are passed over."""
        if not math.isfinite(value):
            return self.stake
        insort(self._sorted, value)
        self._order.append(value)
        if len(self._order) > REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]
        low, high, n = bisect_left(self._sorted, value), bisect_right(self._sorted, value), len(self._sorted)
        p = (n - high + 0.5 * (high - low)) / n
        stakes = (1.0 - JUMP) * self._stakes + JUMP * self._stakes.mean()
        self._stakes = stakes * (1.0 + np.array([-1.0, 0.0, 1.0]) * 2.0 * (p - 0.5))
        return self.stake

    def restart(self) -> None:
        """Bet anew, ranking among what comes from now on."""
        self._sorted.clear()
        self._order.clear()
        self._stakes = np.full(3, 1.0 / 3.0)


@dataclass(frozen=True)
class Drift:
    """What a series tells at one sweep.

    Attributes
    ----------
    stake : of the `ExchangeabilityTest`, at this sweep; after an alarm it starts at 1 again.
    alarm : the stake is over 100: the spectra drift.
    sweeps : number of sweeps in the series so far; refused and partial ones do not enter.
    energy_drift : how far the reference lies from where it lay in the first 5 sweeps (eV); NaN where the
        sweep was not aligned by a reference of its own, and in those 5.
    energy_alarm : that is over 0.3 eV.
    said : lines for the user, mostly none: each alarm is told when it begins.
    """

    stake: float
    alarm: bool = False
    sweeps: int = 0
    energy_drift: float = math.nan
    energy_alarm: bool = False
    said: tuple[str, ...] = ()


@dataclass
class _Series:
    test: ExchangeabilityTest = field(default_factory=ExchangeabilityTest)
    shifts: list[float] = field(default_factory=list)
    sweeps: int = 0
    moved: bool = False


class SeriesMonitor:
    """Watches predictions in the order of their sweeps; each sample of each model is a series of its own.

    It keeps the 256 series that were used last; one that was dropped starts anew.
    """

    def __init__(self) -> None:
        self._series: OrderedDict[tuple[str, str], _Series] = OrderedDict()

    def add(self, prediction: Prediction) -> Drift:
        """Take a prediction; returns how its series stands. A refused or partial one changes nothing."""
        metadata = prediction.provenance.metadata
        sample = str(metadata.get("sample") or metadata.get("sample_name") or "")
        key = (prediction.model_sha256, sample)
        series = self._series.get(key) or _Series()
        if prediction.refused is not None or prediction.partial:
            return Drift(series.test.stake, sweeps=series.sweeps)
        self._keep(key, series)
        series.sweeps += 1
        where = (
            f"{prediction.model}{f', sample {sample}' if sample else ''}, scan {prediction.provenance.scan}"
        )
        said = []
        stake = series.test.add(prediction.domain.score)
        if stake > ALARM:
            said.append(
                f"the spectra drift ({where}): over {series.sweeps} sweeps their distance from the training "
                f"spectra is not by chance alone (stake {stake:.0f}, alarm at {ALARM:.0f}); "
                "is the sample changing, or the beamline?"
            )
            series.test.restart()
        drift = _energy_drift(series, prediction)
        was, series.moved = series.moved, series.moved if math.isnan(drift) else abs(drift) > SHIFT_LIMIT
        if series.moved and not was:
            said.append(
                f"the energy scale drifts ({where}): the reference lies {drift:+.2f} eV from where it lay in "
                f"the first {FIRST} sweeps; sweeps are aligned one by one, but look at the monochromator"
            )
        return Drift(
            stake, stake > ALARM, series.sweeps, drift, series.moved and not math.isnan(drift), tuple(said)
        )

    def _keep(self, key: tuple[str, str], series: _Series) -> None:
        """Make a series the one used last, and drop those used longest ago."""
        self._series[key] = series
        self._series.move_to_end(key)
        while len(self._series) > MOST_SERIES:
            self._series.popitem(last=False)


def _energy_drift(series: _Series, prediction: Prediction) -> float:
    """How far the reference has moved (eV); NaN where it cannot be told."""
    if prediction.alignment.by != "reference" or not math.isfinite(prediction.alignment.shift):
        return math.nan
    if len(series.shifts) < FIRST:
        series.shifts.append(prediction.alignment.shift)
        return math.nan
    return prediction.alignment.shift - float(np.median(series.shifts))
