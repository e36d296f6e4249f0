"""A file's columns as an ordinary Bluesky run, so that files and live scans go the same way."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import event_model
import event_model.documents
import numpy as np
from event_model.documents import DataKey

from xas_live.sources.scan import Scan

Document = tuple[str, event_model.documents.Document]
"""Name and document."""

PLAN_NAME = "file"
"""What the start document of a file's run says in place of a plan's name."""

_NAMESPACE = uuid.UUID("6f3e0f0e-52f2-5e0b-9c3e-0c1f6b1d7a55")
_UNITS = {"energy": "eV"}


def documents(scan: Scan) -> Iterator[Document]:
    """Give one run of one scan: start, descriptor, one event page, stop; all valid by event-model's schemas.

    The run's uid follows from the label and the numbers, so the same spectrum is the same run however often
    and from wherever it is read. Times are the file's modification time.
    """
    run = event_model.compose_run(uid=run_uid(scan), time=scan.time, metadata=_metadata(scan))
    yield "start", run.start_doc
    names = list(scan.channels)
    stream = run.compose_descriptor(
        name="primary",
        data_keys={name: _data_key(name, scan.source) for name in names},
        object_keys={"file": names},
        configuration={"file": {"data": {}, "timestamps": {}, "data_keys": {}}},
        hints={"file": {"fields": [name for name in names if name != "energy"]}},
        time=scan.time,
    )
    yield "descriptor", stream.descriptor_doc
    points = len(scan.channels["energy"])
    times = [scan.time] * points
    yield (
        "event_page",
        stream.compose_event_page(
            data={name: column.tolist() for name, column in scan.channels.items()},
            timestamps=dict.fromkeys(names, times),
            seq_num=list(range(1, points + 1)),
            time=times,
            validate=False,  # the schema check of a page takes 50 us a point; the tests do it
        ),
    )
    yield "stop", run.compose_stop(time=scan.time)


def run_uid(scan: Scan) -> str:
    """Return the uid of the run that holds a scan: the same for the same label and numbers."""
    digest = hashlib.sha256(f"{scan.scan}\n{scan.mode}\n{scan.element}\n{scan.edge}".encode())
    for name, column in sorted(scan.channels.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(column, dtype="<f8").tobytes())
    return str(uuid.uuid5(_NAMESPACE, digest.hexdigest()))


def _metadata(scan: Scan) -> dict[str, object]:
    known = {
        "element": scan.element,
        "edge": scan.edge,
        "temperature": scan.temperature,
        "beamline_id": scan.beamline,
        **scan.notes,
    }
    return {
        "plan_name": PLAN_NAME,
        "scan_id": 1,
        "source": scan.source,
        "scan": scan.scan,
        "sample_name": Path(scan.scan).stem if scan.scan == Path(scan.source).name else scan.scan,
        "mode": scan.mode,
        "read": dict(scan.read),
        "num_points": len(scan.channels["energy"]),
        "hints": {"dimensions": [[["energy"], "primary"]]},
        **{key: value for key, value in known.items() if value is not None},
    }


def _data_key(name: str, source: str) -> DataKey:
    key: DataKey = {
        "source": f"file:{source}#{name}",
        "dtype": "number",
        "dtype_numpy": "<f8",
        "shape": [],
    }
    if name in _UNITS:
        key["units"] = _UNITS[name]
    return key
