"""A motor record that moves in time, within soft limits, with a velocity and backlash."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from caproto.server import PVGroup, pvproperty

_UPDATE_S = 0.05  # between two readbacks of a long move


class Motor(PVGroup):
    """One motor record. A put of .VAL completes when the motion has ended, also by .STOP.

    A value beyond .HLM or .LLM is refused. With a backlash distance (.BDST) the last part of every move goes
    upwards. All positions are user coordinates: dial and user ones are the same.

    Parameters
    ----------
    position : at the start.
    limits : lower and upper.
    velocity : units a second.
    unit : of positions.

    Attributes
    ----------
    position : where it is.
    downwards : whether the last motion went down.
    """

    _motion: asyncio.Task[None] | None = None

    async def _fill(self, instance: Any, async_lib: Any) -> None:
        """Fill the fields, and take over those that a client may write."""
        fields = instance.field_inst
        for each in (instance, fields.user_readback_value, fields.dial_readback_value):
            await each.write_metadata(units=self._unit, precision=3)
        await fields.engineering_units.write(self._unit)
        await fields.velocity.write(self._velocity)
        await fields.seconds_to_velocity.write(0.0)
        await self._set_limits(*self._limits)
        await self.show(self.position)
        await instance.write(self.position, verify_value=False)
        fields.user_low_limit.putter = self._set_low
        fields.user_high_limit.putter = self._set_high
        fields.stop.putter = self._stop

    async def _go(self, instance: Any, value: float) -> float:
        """Move, and return where the motion ended."""
        self._target = float(value)
        if self._motion is None:
            self._motion = asyncio.create_task(self._move())
        await asyncio.shield(self._motion)
        return self.position

    record = pvproperty(value=0.0, name="", record="motor", startup=_fill, put=_go, doc="Motor record")

    def __init__(
        self,
        prefix: str,
        *,
        position: float,
        limits: tuple[float, float],
        velocity: float,
        unit: str = "eV",
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, **kwargs)
        self.position, self.downwards = position, False
        self._limits, self._velocity, self._unit = limits, velocity, unit
        self._target = position
        self._stopped = False

    @property
    def moving(self) -> bool:
        """Whether it moves now."""
        return self._motion is not None

    async def show(self, position: float, *, moving: bool = False) -> None:
        """Be at a position, and tell clients what has changed."""
        fields = self.record.field_inst
        if position != self.position:
            self.downwards = position < self.position
        self.position = position
        readings: list[tuple[Any, float]] = [
            (fields.direction_of_travel, int(not self.downwards)),
            (fields.user_readback_value, position),
            (fields.dial_readback_value, position),
        ]
        states: list[tuple[Any, float]] = [
            (fields.motor_is_moving, int(moving)),
            (fields.done_moving_to_value, int(not moving)),
        ]
        for field, value in states + readings if moving else readings + states:
            if field.value != value:
                await field.write(value)

    async def _move(self) -> None:
        """Go to the target, which may change on the way, until it is reached or the motor is stopped."""
        self._stopped = False
        await self.show(self.position, moving=True)
        reached = None
        while reached != self._target and not self._stopped:
            reached = self._target
            backlash = self.record.field_inst.bl_distance.value
            if backlash and reached < self.position:
                await self._travel(reached - abs(backlash), reached)
            await self._travel(reached, reached)
        self._motion = None
        await self.show(self.position)

    async def _travel(self, to: float, target: float) -> None:
        """Move steadily, until there, or stopped, or sent to another target."""
        began, start = time.monotonic(), self.position
        takes = abs(to - start) / max(self.record.field_inst.velocity.value, 1e-9)
        takes += self.record.field_inst.seconds_to_velocity.value if to != start else 0.0
        while (left := began + takes - time.monotonic()) > 0:
            await asyncio.sleep(min(left, _UPDATE_S))
            if self._stopped or self._target != target:
                return
            share = min(1.0, (time.monotonic() - began) / takes)
            await self.show(start + share * (to - start), moving=True)
        await self.show(to, moving=True)

    async def _stop(self, _: Any, value: int) -> int:
        """Stop where it is."""
        self._stopped = bool(value) and self.moving
        return 0

    async def _set_low(self, _: Any, value: float) -> None:
        await self._set_limits(float(value), self._limits[1])

    async def _set_high(self, _: Any, value: float) -> None:
        await self._set_limits(self._limits[0], float(value))

    async def _set_limits(self, low: float, high: float) -> None:
        """Take soft limits: beyond them values are refused."""
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"soft limits {low:g} and {high:g}: the lower one lies below the upper one")
        self._limits = (low, high)
        await self.record.write_metadata(lower_ctrl_limit=low, upper_ctrl_limit=high)
        fields = self.record.field_inst
        for field, value in (
            (fields.user_low_limit, low),
            (fields.dial_low_limit, low),
            (fields.user_high_limit, high),
            (fields.dial_high_limit, high),
        ):
            await field.write(value, verify_value=False)
