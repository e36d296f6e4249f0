"""A flyer for continuous scans: the IOC sweeps the energy, and writes an HDF5 file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import event_model
from ophyd import Component, Device, Kind
from ophyd.device import create_device_from_components
from ophyd.status import Status

from xas_live.devices.pv_signals import PVSignal, PVSignalRO
from xas_live.devices.watched import DeviceError, fail, fail_when_lost, finish

_MARGIN_S = 30.0


class QuickScan(Device):
    """Sweeps of the energy, up and down in turn, each a row of datasets in an HDF5 file.

    Made by `quick_scan_device`. The file is announced by `stream_resource` and `stream_datum` while it is
    written. `xas_live.plans.quick_scan` runs it; any other plan declares its stream, kicks it off, and
    collects while it completes.

    Attributes
    ----------
    start, end : energies between which it sweeps (eV).
    sweep_time : of one sweep (s).
    sweeps, points : number of sweeps, and of points in each.
    file : path of the file, on the machine of the IOC.
    go : 1 begins, 0 ends after the sweep that runs.
    state : "running" while it sweeps, "failed" after a failure.
    written : sweeps that the file holds.
    message : why it has failed.
    """

    start = Component(PVSignal, "start", kind=Kind.config)
    end = Component(PVSignal, "end", kind=Kind.config)
    sweep_time = Component(PVSignal, "sweep_time", kind=Kind.config)
    sweeps = Component(PVSignal, "sweeps", kind=Kind.config)
    points = Component(PVSignal, "points", kind=Kind.config)
    file = Component(PVSignal, "file", string=True, kind=Kind.omitted)
    go = Component(PVSignal, "go", kind=Kind.omitted)
    state = Component(PVSignalRO, "state", string=True, kind=Kind.omitted, auto_monitor=True)
    written = Component(PVSignalRO, "written", kind=Kind.omitted, auto_monitor=True)
    message = Component(PVSignalRO, "message", string=True, kind=Kind.omitted, auto_monitor=True)

    folder = Path("/")
    datasets: Mapping[str, str] = {}

    def __init__(self, prefix: str, *, name: str, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self._bundles: dict[str, Any] = {}
        self._path = self.folder
        self._given = 0
        self._running: Status | None = None

    def kickoff(self) -> Status:
        """Begin; done when the IOC says that it sweeps, failed when it says why not.

        Raises
        ------
        DeviceError : while the sweeps before go on.
        OSError : when the folder of the file is missing and cannot be made.
        """
        if self.state.get() == "running":
            raise DeviceError(
                f"{self.name} sweeps still: wait until {self.state.pvname} is no longer 'running'"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path = self.folder / f"{self.name}_{uuid.uuid4().hex}.h5"
        self._bundles, self._given = {}, 0
        takes = float(self.sweep_time.get()) * float(self.sweeps.get())
        begun, ended = Status(obj=self, timeout=_MARGIN_S), Status(obj=self, timeout=takes + 2 * _MARGIN_S)
        self._running = ended
        what = f"{self.name} sweeps"
        for status in (begun, ended):
            fail_when_lost(status, [self.state], what)
        self.file.put(str(self._path), wait=True, timeout=_MARGIN_S)

        def changed(*, value: Any, **_: Any) -> None:
            if value == "running":
                finish(begun)
            elif value == "failed":
                why = f"{self.name} failed: {self.message.get(use_monitor=False)}"
                fail(begun, why)
                fail(ended, why)
            elif begun.done:
                finish(ended)

        token = self.state.subscribe(changed, run=False)
        ended.add_callback(lambda _: self.state.unsubscribe(token))
        self.go.put(1, wait=False)
        return begun

    def complete(self) -> Status:
        """Wait for the last sweep.

        Raises
        ------
        RuntimeError : before kickoff.
        """
        if self._running is None:
            raise RuntimeError(f"{self.name} is not running: kick it off first")
        return self._running

    def stop(self, *, success: bool = False) -> None:
        """End after the sweep that runs."""
        if self._running is not None and not self._running.done:
            self.go.put(0, wait=False)
        super().stop(success=success)

    def describe_collect(self) -> dict[str, Any]:
        """Return the data keys: one row a sweep."""
        points = int(self.points.get())
        source = f"PV:{self.file.pvname}"
        key = {
            "source": source,
            "dtype": "array",
            "dtype_numpy": "<f8",
            "shape": [points],
            "external": "STREAM:",
        }
        return {name: key | ({"units": "eV"} if name == "energy" else {}) for name in self.datasets}

    @property
    def hints(self) -> dict[str, Any]:
        """All fields."""
        return {"fields": list(self.datasets)}

    def get_index(self) -> int:
        """Return the number of sweeps that the file holds."""
        return int(self.written.get())

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, Any]]:
        """Announce the file, and what it holds since the last call, up to so many sweeps."""
        written = self.get_index() if index is None else index
        if written <= self._given:
            return
        for name, dataset in self.datasets.items():
            if name not in self._bundles:
                self._bundles[name] = event_model.compose_stream_resource(
                    mimetype="application/x-hdf5",
                    uri=f"file://localhost{self._path}",
                    data_key=name,
                    parameters={"dataset": dataset, "chunk_shape": [1, int(self.points.get())], "swmr": True},
                )
                yield "stream_resource", self._bundles[name].stream_resource_doc
            datum = self._bundles[name].compose_stream_datum({"start": self._given, "stop": written})
            yield "stream_datum", datum
        self._given = written


def quick_scan_device(
    name: str, *, prefix: str, folder: Path, datasets: Mapping[str, str], pvs: Mapping[str, str] | None = None
) -> QuickScan:
    """Return a flyer.

    Parameters
    ----------
    name : of the device, and the beginning of its files' names.
    prefix : of all PVs.
    folder : where the IOC writes, as this machine and the IOC's both name it.
    datasets : place in the file by field, as {"energy": "energy", "i0": "i0"}.
    pvs : what stands after the prefix, for those that have another name than in `QuickScan`.
    """
    parts = {
        attribute: Component(part.cls, pvs[attribute], **part.kwargs)
        for attribute, part in QuickScan._sig_attrs.items()
        if pvs and attribute in pvs
    }
    kind = create_device_from_components("QuickScan", base_class=QuickScan, **parts)
    kind.folder, kind.datasets = folder, dict(datasets)
    return kind(prefix, name=name)
