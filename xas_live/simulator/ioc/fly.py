"""Continuous scans of the simulated beamline: the energy sweeps back and forth, and an HDF5 file grows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from caproto import ChannelType
from caproto.server import PVGroup, pvproperty

from xas_live.simulator.experiment import Experiment
from xas_live.simulator.ioc.motor import Motor
from xas_live.simulator.settings import CHANNELS

_DATASETS = ("energy", *CHANNELS, "temperature")
_UPDATE_S = 0.05
_MOST_POINTS = 100_000


class FlyScan(PVGroup):
    """Sweeps of the energy, up and down in turn, one row of the file each.

    The file is HDF5, open for readers while it is written (SWMR); it is closed when `state` leaves "running".
    Where they cannot begin, `state` is "failed", and `message` says why.

    Parameters
    ----------
    experiment, energy : what is measured, and what moves.
    settle : brings the experiment to the present.
    """

    _running: asyncio.Task[None] | None = None

    async def _go(self, instance: Any, value: int) -> int:
        """Begin or end."""
        if not value:
            self._ending = True
            return 0
        if self._running is not None:
            return 1
        try:
            file = self._new_file()
        except (OSError, ValueError) as error:
            await self._tell("failed", str(error))
            return 0
        self._ending = False
        self._running = asyncio.create_task(self._sweep(file))
        await self.written.write(0)
        await self._tell("running", "")
        return 1

    start = pvproperty(value=0.0, units="eV", precision=3, doc="Energy at which sweeps begin")
    end = pvproperty(value=0.0, units="eV", precision=3, doc="Energy at which they turn")
    sweep_time = pvproperty(value=1.0, units="s", precision=3, doc="Time of one sweep")
    sweeps = pvproperty(value=1, doc="Number of sweeps")
    points = pvproperty(value=1000, doc="Points of a sweep")
    file = pvproperty(value="", dtype=ChannelType.CHAR, max_length=1024, doc="Path of the new file")
    go = pvproperty(value=0, put=_go, doc="1 begins, 0 ends after the sweep that runs")
    state = pvproperty(
        value="idle",
        dtype=ChannelType.ENUM,
        enum_strings=["idle", "running", "failed"],
        read_only=True,
        doc="What it does",
    )
    written = pvproperty(value=0, read_only=True, doc="Sweeps that the file holds")
    message = pvproperty(
        value="", dtype=ChannelType.CHAR, max_length=1024, read_only=True, doc="Why it has failed"
    )

    def __init__(
        self, prefix: str, *, experiment: Experiment, energy: Motor, settle: Callable[[], None], **kwargs: Any
    ) -> None:
        super().__init__(prefix, **kwargs)
        self._experiment, self._energy, self._settle = experiment, energy, settle
        self._ending = False

    def _new_file(self) -> h5py.File:
        """Open the file; raises what is wrong with the settings."""
        low, high = sorted((self.start.value, self.end.value))
        bounds = self._energy.record
        if not bounds.lower_ctrl_limit <= low < high <= bounds.upper_ctrl_limit:
            raise ValueError(
                f"sweeps from {low:g} to {high:g} eV: give two energies within the soft limits, "
                f"{bounds.lower_ctrl_limit:g} to {bounds.upper_ctrl_limit:g} eV"
            )
        sweeps, points, takes = self.sweeps.value, self.points.value, self.sweep_time.value
        if not (takes > 0 and sweeps > 0 and 1 < points <= _MOST_POINTS):
            raise ValueError(
                f"{sweeps} sweeps of {points} points in {takes:g} s: give at least one sweep, 2 to "
                f"{_MOST_POINTS} points, and a positive time"
            )
        if self._energy.moving:
            raise ValueError("the monochromator is moving: wait until it is done")
        path = Path(self.file.value)
        if not path.is_absolute():
            raise ValueError(f"file {str(path)!r}: give an absolute path")
        path.parent.mkdir(parents=True, exist_ok=True)
        file = h5py.File(path, "x", libver="latest")
        for name in _DATASETS:
            file.create_dataset(name, (0, points), maxshape=(None, points), chunks=(1, points), dtype="f8")
        file.swmr_mode = True
        return file

    async def _sweep(self, file: h5py.File) -> None:
        """Sweep until done, told to end, or failed."""
        how, why = "idle", ""
        ends = (self.start.value, self.end.value)
        try:
            for number in range(self.sweeps.value):
                if self._ending:
                    break
                await self._one(file, ends if number % 2 == 0 else ends[::-1])
                await self.written.write(number + 1)
        except Exception as error:  # noqa: BLE001 whatever ends the sweeps is told to the client
            how, why = "failed", f"{type(error).__name__}: {error}"
        finally:
            file.close()
            self._running = None
            await self.go.write(0, verify_value=False)
            await self._energy.show(self._energy.position)
            await self._tell(how, why)

    async def _tell(self, state: str, why: str) -> None:
        """Tell the state and the reason, which comes first: clients look at it when the state changes."""
        await self.message.write(why)
        await self.state.write(state)

    async def _one(self, file: h5py.File, ends: tuple[float, float]) -> None:
        """Measure one sweep, and append it to the file."""
        takes, began = self.sweep_time.value, time.monotonic()
        while (passed := time.monotonic() - began) < takes:
            await self._energy.show(ends[0] + passed / takes * (ends[1] - ends[0]), moving=True)
            await asyncio.sleep(min(_UPDATE_S, takes - passed))
        energy = np.linspace(*ends, self.points.value)
        await self._energy.show(ends[1], moving=True)
        self._settle()
        counts = self._experiment.count(energy, takes / len(energy), downwards=ends[1] < ends[0])
        beside = {"energy": energy, "temperature": self._experiment.furnace.temperature}
        for name in _DATASETS:
            dataset = file[name]
            dataset.resize(len(dataset) + 1, axis=0)
            dataset[-1] = (counts | beside)[name]
            dataset.flush()
