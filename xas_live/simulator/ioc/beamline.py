"""The process variables of the simulated beamline, and what keeps them up to date."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from caproto import ChannelData, ChannelType
from caproto.asyncio.server import Context
from caproto.server import PVGroup, common, pvproperty
from caproto.sync import repeater

from xas_live.simulator.experiment import Experiment
from xas_live.simulator.ioc.fly import FlyScan
from xas_live.simulator.ioc.motor import Motor
from xas_live.simulator.reaction import GASES
from xas_live.simulator.settings import CHANNELS

_UPDATE_S = 0.1
_BATCH_S = 0.001  # that caproto waits for more to send: its own 10 ms would slow down every point of a scan
_VELOCITY = 5000.0  # eV/s
_BELOW, _ABOVE = 1000.0, 2000.0  # eV from the edge to the soft limits
_SHUTTER = ["closed", "open"]

Putter = Callable[["_Group", Any, Any], Awaitable[None]]


class _Group(PVGroup):
    """Process variables of the experiment."""

    def __init__(self, prefix: str, experiment: Experiment) -> None:
        super().__init__(prefix)
        self.experiment = experiment


def _sets(part: str, attribute: str) -> Putter:
    """Return a putter that sets an attribute of a part of the experiment; of the whole where it is ""."""

    async def put(group: _Group, _: Any, value: Any) -> None:
        setattr(getattr(group.experiment, part) if part else group.experiment, attribute, value)

    return put


class Truth(_Group):
    """What is known of the sample."""

    CN1 = pvproperty(
        value=0.0, precision=3, read_only=True, doc="Coordination number of the metal, 1st shell"
    )
    CN2 = pvproperty(value=0.0, precision=3, read_only=True, doc="2nd shell")
    CN3 = pvproperty(value=0.0, precision=3, read_only=True, doc="3rd shell")
    CN4 = pvproperty(value=0.0, precision=3, read_only=True, doc="4th shell")
    R1 = pvproperty(value=0.0, units="Å", precision=4, read_only=True, doc="Nearest-neighbour distance")
    n_atoms = pvproperty(value=0.0, precision=0, read_only=True, doc="Atoms in a particle")
    diameter_nm = pvproperty(value=0.0, units="nm", precision=2, read_only=True, doc="Of a particle")
    oxide = pvproperty(value=0.0, precision=3, read_only=True, doc="Fraction of the atoms that are oxide")

    async def update(self) -> None:
        """Publish what has changed."""
        truth = {"oxide": 0.0} | self.experiment.now.truth()
        for name in ("CN1", "CN2", "CN3", "CN4", "R1", "n_atoms", "diameter_nm", "oxide"):
            await _publish(getattr(self, name), truth[name])


class FurnacePVs(_Group):
    """A furnace around the sample."""

    setpoint = pvproperty(
        value=295.0, units="K", precision=1, lower_ctrl_limit=77.0, upper_ctrl_limit=1200.0,
        put=_sets("furnace", "setpoint"), doc="Where it goes",
    )  # fmt: skip
    temperature = pvproperty(value=295.0, units="K", precision=2, read_only=True, doc="Of the sample")
    ramp = pvproperty(
        value=1.0, units="K/s", precision=3, lower_ctrl_limit=1e-3, upper_ctrl_limit=1e3,
        put=_sets("furnace", "ramp"), doc="How fast",
    )  # fmt: skip


class Shutter(_Group):
    """The photon shutter."""

    async def _command(self, instance: Any, value: str) -> None:
        """Open or close."""
        self.experiment.shutter_open = value == "open"
        await self.state.write(value)

    command = pvproperty(
        put=_command, value="open", dtype=ChannelType.ENUM, enum_strings=_SHUTTER, doc="Opens or closes it"
    )
    state = pvproperty(
        value="open", dtype=ChannelType.ENUM, enum_strings=_SHUTTER, read_only=True, doc="What it is"
    )


class FaultPVs(_Group):
    """What disturbs the measurement, on demand."""

    drift = pvproperty(
        value=0.0, units="eV/h", precision=3, put=_sets("faults", "drift"), doc="Of the true energy"
    )
    backlash = pvproperty(
        value=0.0, units="eV", precision=3, put=_sets("faults", "backlash"), doc="Of it, on the way down"
    )
    glitches = pvproperty(
        value=0.0, precision=4, lower_ctrl_limit=0.0, upper_ctrl_limit=1.0,
        put=_sets("faults", "glitches"), doc="Probability that a point has one",
    )  # fmt: skip
    dead_time = pvproperty(
        value=0.0, units="s", precision=9, lower_ctrl_limit=0.0, upper_ctrl_limit=1.0,
        put=_sets("faults", "dead_time"), doc="Of the fluorescence detector, a photon",
    )  # fmt: skip
    beam_dump = pvproperty(value=0, put=_sets("faults", "beam_dumped"), doc="1 empties the ring, 0 fills it")


class Beamline(_Group):
    """Detectors, ring, gas and sample.

    Parameters
    ----------
    dwell : of a count at first (s).
    energy : the monochromator.
    settle : brings the experiment to the present.
    """

    async def _count(self, instance: Any, value: int) -> int:
        """Count for the dwell time, at the energy of the moment."""
        if value:
            dwell = self.dwell.value
            await asyncio.sleep(dwell)
            self._settle()
            energy = np.array([self._energy.position])
            counts = self.experiment.count(energy, dwell, downwards=self._energy.downwards)
            for name in CHANNELS:
                await getattr(self, name).write(float(counts[name][0]))
        return 0

    async def _sample(self, instance: Any, value: str) -> None:
        """Put the particles or a foil into the beam."""
        self.experiment.foil_in = value == "foil"

    async def _renew(self, instance: Any, value: int) -> int:
        """Put new particles in."""
        if value:
            self.experiment.renew()
        return 0

    async def _speed(self, instance: Any, value: float) -> None:
        """Let time pass at the old speed until now."""
        self._settle()

    count = pvproperty(value=0, put=_count, doc="1 counts; the put completes when the counts are there")
    dwell = pvproperty(
        value=0.1, units="s", precision=4, lower_ctrl_limit=1e-6, upper_ctrl_limit=1e4, doc="Time of a count"
    )
    i0 = pvproperty(value=0.0, units="counts", read_only=True, doc="Before the sample")
    it = pvproperty(value=0.0, units="counts", read_only=True, doc="Behind the sample")
    ir = pvproperty(value=0.0, units="counts", read_only=True, doc="Behind the reference foil")
    iff = pvproperty(value=0.0, units="counts", read_only=True, doc="Fluorescence")
    flux = pvproperty(
        value=1e9, units="1/s", lower_ctrl_limit=1.0, upper_ctrl_limit=1e15,
        put=_sets("", "flux"), doc="Photons in i0 at full current",
    )  # fmt: skip
    current = pvproperty(name="ring:current", value=0.0, units="mA", precision=2, read_only=True, doc="Ring")
    gas = pvproperty(
        value="He",
        dtype=ChannelType.ENUM,
        enum_strings=list(GASES),
        put=_sets("", "gas"),
        doc="At the sample",
    )
    sample = pvproperty(
        put=_sample,
        value="particles",
        dtype=ChannelType.ENUM,
        enum_strings=["particles", "foil"],
        doc="What is in the beam",
    )
    renew = pvproperty(value=0, put=_renew, doc="1 puts new particles in, the smallest")
    speed = pvproperty(
        put=_speed,
        value=1.0,
        lower_ctrl_limit=0.0,
        upper_ctrl_limit=1e4,
        doc="Seconds that pass at the sample in a second",
    )

    def __init__(
        self, prefix: str, experiment: Experiment, *, energy: Motor, settle: Callable[[], None]
    ) -> None:
        super().__init__(prefix, experiment)
        self._energy, self._settle = energy, settle


class BeamlineIOC:
    """The simulated beamline with all its process variables.

    Parameters
    ----------
    prefix : of all names, as "SIM:".
    experiment : what is simulated.
    dwell : of a count at first (s).
    speed : s that pass at the sample in a second, at first.

    Attributes
    ----------
    pvdb : the process variables by name.
    """

    def __init__(
        self, prefix: str, experiment: Experiment, *, dwell: float = 0.1, speed: float = 1.0
    ) -> None:
        edge = experiment.library.edge_energy
        self._experiment, self._dwell, self._speed = experiment, dwell, speed
        self._energy = Motor(
            f"{prefix}energy",
            position=edge - 200.0,
            limits=(edge - _BELOW, edge + _ABOVE),
            velocity=_VELOCITY,
        )
        self._beamline = Beamline(prefix, experiment, energy=self._energy, settle=self.settle)
        self._furnace = FurnacePVs(f"{prefix}furnace:", experiment)
        self._truth = Truth(f"{prefix}truth:", experiment)
        fly = FlyScan(f"{prefix}fly:", experiment=experiment, energy=self._energy, settle=self.settle)
        others = [Shutter(f"{prefix}shutter:", experiment), FaultPVs(f"{prefix}faults:", experiment)]
        groups: list[PVGroup] = [self._beamline, self._energy, self._furnace, self._truth, fly, *others]
        self.pvdb: dict[str, ChannelData] = {name: pv for group in groups for name, pv in group.pvdb.items()}
        self._settled = time.monotonic()

    def settle(self) -> None:
        """Let the time pass at the sample that has passed since the last call."""
        now = time.monotonic()
        self._experiment.advance((now - self._settled) * self._beamline.speed.value)
        self._settled = now

    async def keep_up(self) -> None:
        """Publish what changes by itself, as long as the IOC runs."""
        await self._beamline.dwell.write(self._dwell)
        await self._beamline.flux.write(self._experiment.flux)
        await self._beamline.speed.write(self._speed)
        while True:
            self.settle()
            await _publish(self._beamline.current, self._experiment.current)
            await _publish(self._furnace.temperature, self._experiment.furnace.temperature)
            await self._truth.update()
            await asyncio.sleep(_UPDATE_S)


def serve(ioc: BeamlineIOC, interface: str = "127.0.0.1") -> None:
    """Serve an IOC until the process is interrupted or terminated, with a repeater where there is none.

    Clients without EPICS base, as pyepics, start no repeater of their own, and complain of having none.

    Parameters
    ----------
    interface : address to listen at. The ports are those of the environment of EPICS.
    """
    threading.Thread(target=repeater.run, args=(interface,), name="CA repeater", daemon=True).start()
    common.HIGH_LOAD_TIMEOUT = _BATCH_S
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(ioc, interface))


async def _serve(ioc: BeamlineIOC, interface: str) -> None:
    context = Context(ioc.pvdb, [interface])

    async def started(_: Any) -> None:
        for listener in context.tcp_sockets.values():  # what is accepted by it inherits this
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await ioc.keep_up()

    await context.run(startup_hook=started)


async def _publish(pv: ChannelData, value: float) -> None:
    """Write a value that differs from the last one in the digits that are shown."""
    if round(value, pv.precision) != round(pv.value, pv.precision):
        await pv.write(value)
