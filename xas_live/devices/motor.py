"""A motor whose motion fails, rather than never ends, when its IOC is gone."""

from __future__ import annotations

from typing import Any

from ophyd import EpicsMotor

from xas_live.devices.watched import fail_when_lost


class Motor(EpicsMotor):
    """`ophyd.EpicsMotor`, as for the energy of a monochromator. Limits and unit are those of the record."""

    def move(self, position: float, wait: bool = True, **kwargs: Any) -> Any:
        """Move; the status fails when the connection is lost meanwhile.

        Raises
        ------
        LimitError : beyond the soft limits.
        """
        status = super().move(position, wait=False, **kwargs)
        fail_when_lost(status, [self.motor_done_move], f"{self.name} moves to {position:g} {self.egu}")
        if wait:
            try:
                status.wait()
            except KeyboardInterrupt:
                self.stop()
                raise
        return status
