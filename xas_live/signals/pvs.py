"""The PVs of predictions: read-only channels with units, limits and alarms."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

from caproto import (
    AccessRights,
    ChannelChar,
    ChannelData,
    ChannelDouble,
    ChannelEnum,
    ChannelInteger,
    ChannelString,
)

from xas_live.signals.alarms import MAJOR, NO_ALARM, NO_SESSION, SILENT, UNDEFINED, Alarm, invalid, of_sweep
from xas_live.signals.quantities import NO_YES, VERDICTS, Kind, Quantity, Target, quantities
from xas_live.signals.snapshot import LONGEST_TEXT, Snapshot

UNITS = {"Å": "Ang", "Å²": "Ang^2"}
"""Units as PVs have them: at most 7 ASCII characters."""

SESSION = "SESSION"
_REASON = "STALE_REASON"
_CONNECTED = ("gone", "connected")
_NO_SESSION = "no session feeds the IOC"


class _ReadOnly:
    """Refuses every put; `PV.VAL` is the same as `PV`."""

    def check_access(self, hostname: str, username: str) -> AccessRights:
        return AccessRights.READ

    def get_field(self, field: str) -> _ReadOnly:
        if field != "VAL":
            raise KeyError(field)
        return self


class _Double(_ReadOnly, ChannelDouble):
    pass


class _Integer(_ReadOnly, ChannelInteger):
    pass


class _Enum(_ReadOnly, ChannelEnum):
    pass


class _String(_ReadOnly, ChannelString):
    pass


class _Text(_ReadOnly, ChannelChar):
    pass


class PredictionPVs:
    """The channels of a prefix, and what they show.

    Parameters
    ----------
    prefix : of all names.
    targets : of the model.

    Attributes
    ----------
    channels : by full name, for a caproto server.
    """

    def __init__(self, prefix: str, targets: Iterable[Target]) -> None:
        self._quantities = {quantity.pv: quantity for quantity in quantities(targets)}
        self._channels = {pv: _channel(quantity) for pv, quantity in self._quantities.items()}
        self._channels[SESSION] = _Enum(value="gone", enum_strings=_CONNECTED)
        self.channels: dict[str, ChannelData] = {f"{prefix}{pv}": of for pv, of in self._channels.items()}
        self._snapshot = Snapshot()
        self._written: dict[str, tuple[Any, ...]] = {}

    async def show(self, snapshot: Snapshot) -> None:
        """Show what the session says."""
        self._snapshot = snapshot
        await self._write(snapshot, invalid(snapshot), "connected")

    async def no_session(self) -> None:
        """Show that no session feeds the IOC."""
        stale = self._snapshot.model_copy(update={"stale_reason": _NO_SESSION})
        await self._write(stale, NO_SESSION, "gone")

    async def silent(self, seconds: float) -> None:
        """Show that the session has said nothing for some time."""
        words = f"the session has been silent for {seconds:.0f} s"
        await self._write(self._snapshot.model_copy(update={"stale_reason": words}), SILENT, "connected")

    async def _write(self, snapshot: Snapshot, all_invalid: Alarm | None, session: str) -> None:
        """Write what has changed; numbers and verdict of every sweep, changed or not.

        Numbers come first, and ACTIONABLE after them: it never stands beside numbers of the sweep before.
        Why all is invalid comes before all: who sees an alarm can read its reason.
        """
        columns, verdict = snapshot.columns(), of_sweep(snapshot)
        first = [] if all_invalid is None else [_REASON]
        for pv in dict.fromkeys([*first, *self._quantities]):
            quantity = self._quantities[pv]
            value = columns.get(quantity.name, quantity.empty)
            of_value = verdict if quantity.judged else NO_ALARM
            if _is_nan(value) and of_value != MAJOR:
                of_value = UNDEFINED
            sweep = (snapshot.sweeps, snapshot.time) if quantity.judged else None
            limits = {}
            if pv == "AGE" and math.isfinite(snapshot.limit):
                limits = {"upper_alarm_limit": snapshot.limit}
            await self._put(pv, _shown(quantity, value), all_invalid or of_value, sweep, **limits)
        await self._put(SESSION, session, all_invalid or NO_ALARM, None)

    async def _put(
        self, pv: str, value: Any, alarm: Alarm, sweep: tuple[int, float | None] | None, **limits: float
    ) -> None:
        """Write one channel, if anything is new.

        The time is that of the sweep's last point, when the sweep is new, and else now. It never goes back:
        archivers drop what does.
        """
        before = self._written.get(pv)
        text = repr(value)  # NaN is equal to itself
        if before == (text, alarm, sweep, limits):
            return
        self._written[pv] = (text, alarm, sweep, limits)
        channel, now = self._channels[pv], time.time()
        taken = sweep[1] if sweep is not None and (before is None or before[2] != sweep) else None
        when = taken if taken is not None and taken > channel.timestamp else now
        severity, status = alarm
        await channel.write(
            value,
            verify_value=False,
            update_fields=False,
            severity=severity,
            status=status,
            timestamp=when,
            **limits,
        )


def pv_table(targets: Iterable[Target]) -> list[tuple[str, str, str, str]]:
    """Return name behind the prefix, kind, unit and meaning of all PVs."""
    rows = [(q.pv, q.kind.value, UNITS.get(q.unit, q.unit), q.description) for q in quantities(targets)]
    return [*rows, (SESSION, Kind.CHOICE.value, "", "whether a session feeds the IOC: gone or connected")]


def _channel(quantity: Quantity) -> ChannelData:
    """Return the channel of a quantity, empty."""
    shown = _shown(quantity, quantity.empty)
    if quantity.kind is Kind.NUMBER:
        limits = {} if math.isnan(quantity.high) else {
            "lower_disp_limit": quantity.low, "upper_disp_limit": quantity.high
        }  # fmt: skip
        unset = dict.fromkeys(
            ("lower_alarm_limit", "lower_warning_limit", "upper_warning_limit", "upper_alarm_limit"), math.nan
        )
        unit = UNITS.get(quantity.unit, quantity.unit)
        return _Double(value=shown, units=unit, precision=quantity.precision, **limits, **unset)
    if quantity.kind is Kind.COUNT:
        return _Integer(value=shown)
    if quantity.kind is Kind.YES_NO:
        return _Enum(value=shown, enum_strings=NO_YES)
    if quantity.kind is Kind.CHOICE:
        return _Enum(value=shown, enum_strings=VERDICTS)
    if quantity.kind is Kind.NAME:
        return _String(value=shown)
    return _Text(value=shown, max_length=4 * LONGEST_TEXT, string_encoding="utf-8")


def _shown(quantity: Quantity, value: Any) -> Any:
    """Return a value as its channel holds it."""
    if quantity.kind is Kind.YES_NO:
        return NO_YES[int(value)]
    if quantity.kind is Kind.CHOICE:
        return value or VERDICTS[0]
    if quantity.kind is Kind.NAME:
        return value.encode("ascii", "replace").decode()
    return value


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
