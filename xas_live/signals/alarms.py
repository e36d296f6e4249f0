"""The EPICS alarm of what is published."""

from __future__ import annotations

from caproto import AlarmSeverity, AlarmStatus

from xas_live.prediction import Degree
from xas_live.signals.snapshot import Snapshot

Alarm = tuple[AlarmSeverity, AlarmStatus]

NO_SESSION: Alarm = (AlarmSeverity.INVALID_ALARM, AlarmStatus.COMM)
"""No session feeds the IOC."""

SILENT: Alarm = (AlarmSeverity.INVALID_ALARM, AlarmStatus.TIMEOUT)
"""The prediction is too old, or the session is silent."""

UNDEFINED: Alarm = (AlarmSeverity.INVALID_ALARM, AlarmStatus.UDF)
"""There is no value."""

NO_ALARM: Alarm = (AlarmSeverity.NO_ALARM, AlarmStatus.NO_ALARM)
MINOR: Alarm = (AlarmSeverity.MINOR_ALARM, AlarmStatus.STATE)
MAJOR: Alarm = (AlarmSeverity.MAJOR_ALARM, AlarmStatus.STATE)


def invalid(snapshot: Snapshot) -> Alarm | None:
    """Return the alarm of everything, where nothing of a snapshot may be used; else None."""
    if not snapshot.sweeps:
        return UNDEFINED
    return None if snapshot.fresh else SILENT


def of_sweep(snapshot: Snapshot) -> Alarm:
    """Return the alarm of what is predicted of a sweep: by its verdict.

    Where the model does not judge by degrees, by its domain: outside it is MAJOR, inside it MINOR.
    """
    if snapshot.verdict == Degree.TRUSTED and snapshot.whole:
        return NO_ALARM
    if snapshot.verdict in (Degree.TRUSTED, Degree.CAUTION):
        return MINOR
    if snapshot.verdict == Degree.NOT_USABLE or not snapshot.in_domain:
        return MAJOR
    return MINOR
