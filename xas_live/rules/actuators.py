"""Actuators: what rules and plans may drive, within limits, by small steps, and not faster than a rate."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import Field, FiniteFloat, model_validator

from xas_live.callbacks.live import Current
from xas_live.errors import Refusal
from xas_live.models.strict import Strict
from xas_live.prediction import DecisionOutcome
from xas_live.rules.condition import Positive


class Limits(Strict):
    """Within what an actuator may be driven.

    Attributes
    ----------
    low, high : ends of its range; beyond them nothing is set.
    largest_step : of one move; a longer one is cut.
    rate : per minute. The next step waits until the last one would be over at this rate.
    units : of all these, as "K".
    timeout : seconds that a move is waited for.
    """

    low: FiniteFloat
    high: FiniteFloat
    largest_step: Positive
    rate: Positive
    units: str = ""
    timeout: Positive = 60.0

    @model_validator(mode="after")
    def _ascending(self) -> Limits:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low:g} is not below high = {self.high:g}")
        return self


class ActuatorSettings(Limits):
    """An actuator as a settings file declares it.

    Attributes
    ----------
    device : name of the ophyd device.
    """

    device: Annotated[str, Field(min_length=1)]


class Settable(Protocol):
    """An ophyd positioner or signal."""

    @property
    def name(self) -> str:
        """Of the device."""

    def set(self, value: float, /) -> Any:
        """Begin to move; returns a status."""


@dataclass(frozen=True)
class Permit:
    """What may be done of a move that was asked for.

    Attributes
    ----------
    value : to set; None where nothing is to be set.
    outcome : done, where nothing speaks against it; else held, refused or failed.
    action : in words, with what was cut.
    reason : why not, in words; else "".
    """

    value: float | None
    outcome: DecisionOutcome
    action: str
    reason: str = ""


class Actuator:
    """A device that rules and plans may drive, within its limits.

    A move beyond the limits is refused; one longer than the largest step is cut to that step. The next
    step is held until the last one would be over at the rate. Without a fresh prediction all are held.

    Parameters
    ----------
    device : ophyd positioner (EpicsMotor, PVPositioner, SoftPositioner) or signal.
    limits : within which it is driven.
    name : that rules know it by; default: that of the device.

    Raises
    ------
    Refusal : for a device that cannot be set or read.

    Examples
    --------
    >>> Actuator(furnace, Limits(low=300, high=900, largest_step=20, rate=60, units="K"))
    """

    def __init__(self, device: Settable, limits: Limits, name: str | None = None) -> None:
        if not callable(getattr(device, "set", None)) or _setpoint_of(device) is None:
            raise Refusal(
                f"{device!r} is no actuator: it needs set(), and a setpoint, a position or get(), as ophyd's "
                "positioners and signals have"
            )
        self.device = device
        self.limits = limits
        self.name = name or device.name
        self._lock = threading.Lock()
        self._free_at = -math.inf

    @property
    def setpoint(self) -> float:
        """Where it was last set to, by whomever."""
        read = _setpoint_of(self.device)
        assert read is not None
        value = read() if callable(read) else read
        return math.nan if value is None else float(value)

    def permit(
        self, to: float | None = None, *, by: float | None = None, current: Current, dry_run: bool = False
    ) -> Permit:
        """Return what may be done of a move, and count it as done. For any thread.

        Parameters
        ----------
        to, by : where to, or by how much from the present setpoint: one of them.
        current : what the analysis knows now; where it is not fresh, the move is held.
        dry_run : do not count it as done.
        """
        asked = (
            f"set {self.name} to {self._in_units(to)}"
            if to is not None
            else (f"change {self.name} by {self._in_units(by or 0.0, '+')}")
        )
        if not current.fresh:
            return Permit(None, DecisionOutcome.HELD, asked, current.reason)
        try:
            present = self.setpoint
        except Exception as error:  # noqa: BLE001 whatever a device raises, the plan goes on
            return Permit(
                None, DecisionOutcome.FAILED, asked, f"{self.name} cannot be read ({_words(error)})"
            )
        if not math.isfinite(present):
            return Permit(None, DecisionOutcome.FAILED, asked, f"{self.name} says that it stands nowhere")
        wanted = to if to is not None else present + (by or 0.0)
        with self._lock:
            permit = self._judge(asked, present, wanted)
            if permit.value is not None and not dry_run:
                step = abs(permit.value - present)
                self._free_at = time.monotonic() + 60.0 * step / self.limits.rate
        return permit

    def move(self, value: float) -> None:
        """Set the device to a value that was permitted, and wait for it; not in the RunEngine's thread.

        Raises
        ------
        Exception : whatever the device raises, or its status.
        """
        self.device.set(value).wait(self.limits.timeout)

    def describe(self) -> str:
        """Return in one line within what it may be driven."""
        limits = self.limits
        return (
            f"{self.name}: {limits.low:g} to {self._in_units(limits.high)}, at most "
            f"{self._in_units(limits.largest_step)} a step and {self._in_units(limits.rate)} a minute"
        )

    def _judge(self, asked: str, present: float, wanted: float) -> Permit:
        limits = self.limits
        refused, held = DecisionOutcome.REFUSED, DecisionOutcome.HELD
        band = f"{limits.low:g} to {self._in_units(limits.high)}"
        if not limits.low <= present <= limits.high:
            where = (
                f"{self.name} stands at {self._in_units(present)}, outside of {band}: bring it back by hand"
            )
            return Permit(None, refused, asked, where)
        if not limits.low <= wanted <= limits.high:
            return Permit(None, refused, asked, f"{self._in_units(wanted)} is outside of {band}")
        step = wanted - present
        if abs(step) <= 1e-9 * max(1.0, abs(present)):
            return Permit(None, DecisionOutcome.DONE, asked, "it is set to that already")
        if time.monotonic() < self._free_at:
            rate = f"its last step is not over, at {self._in_units(limits.rate)} a minute"
            return Permit(None, held, asked, rate)
        if abs(step) <= limits.largest_step:
            return Permit(wanted, DecisionOutcome.DONE, f"set {self.name} to {self._in_units(wanted)}")
        value = present + math.copysign(limits.largest_step, step)
        cut = f"asked for {self._in_units(wanted)}; its largest step is {self._in_units(limits.largest_step)}"
        return Permit(value, DecisionOutcome.DONE, f"set {self.name} to {self._in_units(value)} ({cut})")

    def _in_units(self, value: float, sign: str = "") -> str:
        return f"{value:{sign}.6g} {self.limits.units}".rstrip()


def _setpoint_of(device: object) -> Any:
    """What gives where a device was set to: a function, or a number; None where nothing does."""
    for name in ("user_setpoint", "setpoint"):
        setpoint = getattr(device, name, None)
        if setpoint is not None:
            return getattr(setpoint, "get", setpoint)
    if hasattr(device, "position"):
        return lambda: device.position
    return getattr(device, "get", None)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
