"""Signals of EPICS whose failures name their process variable."""

from __future__ import annotations

from typing import Any

from epics.ca import ChannelAccessGetFailure
from ophyd import EpicsSignal, EpicsSignalRO
from ophyd.signal import EpicsSignalBase

from xas_live.devices.watched import DeviceError


class _Named(EpicsSignalBase):
    def get(self, **kwargs: Any) -> Any:
        """Return the value, as `ophyd.EpicsSignalBase.get` does.

        Raises
        ------
        DeviceError : when the connection is lost during the request: pyepics tells a status code alone.
        """
        try:
            return super().get(**kwargs)
        except ChannelAccessGetFailure as error:
            raise DeviceError(
                f"{self.name}: {self.pvname} was not read, its IOC is gone or refuses it ({error})"
            ) from error


class PVSignal(_Named, EpicsSignal):
    """`ophyd.EpicsSignal` whose failed requests name it and its process variable."""


class PVSignalRO(_Named, EpicsSignalRO):
    """`ophyd.EpicsSignalRO` whose failed requests name it and its process variable."""
