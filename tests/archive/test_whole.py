"""Runs that have ended are stored by one request to the embedded server, as TiledWriter lays them out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from event_model import compose_run, pack_event_page

from xas_live.archive import Archive
from xas_live.archive.delivery import Delivery
from xas_live.archive.documents import encode
from xas_live.archive.messages import ROUTE, Order
from xas_live.archive.sink import RunSink

Documents = list[tuple[str, dict[str, Any]]]


def _lines(documents: Documents) -> bytes:
    return b"".join(encode(name, doc, lambda kind: None) for name, doc in documents)


def _post(archive: Archive, lines: bytes, catalog: str = "raw", key: str | None = None) -> httpx.Response:
    server = archive.uri.partition("/metadata/")[0]
    headers = {"Authorization": f"Apikey {key or archive.api_key}"}
    return httpx.post(f"{server}/{ROUTE}/{catalog}", content=lines, headers=headers, timeout=60)


def _deliver(archive: Archive, documents: Documents, folder: Path) -> list[str]:
    """Deliver a run file as the delivery process does; returns the requests that it took."""
    path = folder / "000001-run.jsonl"
    path.write_bytes(_lines(documents))
    order = Order(str(folder), "", archive.address.to_json(), None, replace_shorter=False, parent=0)
    asked: list[str] = []
    send = httpx.Client.send

    def counted(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        asked.append(request.url.path)
        return send(self, request, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.Client, "send", counted)
        assert Delivery(path, order, adopted=False).step(archive.client)
    assert not path.exists()
    return asked


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([1.0, 2.5, float("nan")], {}),
        ([1, 2, 3], {"dtype": "integer"}),
        (["a", "b"], {"dtype": "string"}),
        (np.arange(60.0).reshape(3, 20).tolist(), {"dtype": "array", "shape": (20,)}),
        (np.arange(6.0).reshape(2, 3).tolist(), {"dtype": "array", "shape": (3,)}),
        ([], {}),
    ],
)
def test_one_request_stores_what_tiledwriter_stores(
    archive: Archive, make_run: Callable[..., Documents], tmp_path: Path, rows: Any, options: Any
) -> None:
    here, there = make_run(rows, **options), make_run(rows, **options)
    assert [path.rpartition("/")[0].endswith(ROUTE) for path in _deliver(archive, here, tmp_path)] == [True]
    sink = RunSink(archive.client)
    for name, doc in there:
        sink(name, dict(doc))
    one, other = (archive.client[documents[0][1]["uid"]] for documents in (here, there))
    assert one.metadata["start"] == here[0][1]
    assert one.metadata["stop"]["num_events"] == other.metadata["stop"]["num_events"]
    assert [spec.name for spec in one.specs] == [spec.name for spec in other.specs]
    mine, theirs = one["primary"], other["primary"]
    assert set(mine.base) == set(theirs.base)
    assert mine.metadata.keys() == theirs.metadata.keys()
    for part in mine.base:
        assert mine.base[part].structure() == theirs.base[part].structure()
    if rows:
        np.testing.assert_array_equal(mine["det"].read(), theirs["det"].read())
    assert [name for name, _ in one.documents()] == [name for name, _ in other.documents()]


def test_access_tags_of_a_facility_are_no_obstacle(
    archive: Archive, make_run: Callable[..., Documents]
) -> None:
    assert _post(archive, _lines(make_run([1.0], metadata={"tiled_access_tags": ["chx"]}))).status_code == 201


def test_a_run_that_is_there_is_known(
    archive: Archive, make_run: Callable[..., Documents], tmp_path: Path
) -> None:
    documents = make_run([1.0])
    assert _post(archive, _lines(documents)).status_code == 201
    assert _post(archive, _lines(documents)).status_code == 409
    _deliver(archive, documents, tmp_path)
    assert archive.client[documents[0][1]["uid"]]["primary"]["det"].read().tolist() == [1.0]


def test_what_cannot_be_stored_at_once_goes_the_other_way(
    archive: Archive, make_run: Callable[..., Documents], tmp_path: Path
) -> None:
    documents = make_run([1, 2.5], dtype="integer")  # no column of integers
    uid = documents[0][1]["uid"]
    assert _post(archive, _lines(documents)).status_code == 500  # a part of it is there now
    path = tmp_path / "000002-run.jsonl"
    path.write_bytes(_lines(documents))
    order = Order(str(tmp_path), "", archive.address.to_json(), None, replace_shorter=False, parent=0)
    delivery = Delivery(path, order, adopted=False)
    while not delivery.step(archive.client):
        pass
    assert archive.client[uid]["primary"]["det"].read().tolist() == [1.0, 2.5]


def test_the_route_asks_for_the_key_and_a_catalog(
    archive: Archive, make_run: Callable[..., Documents]
) -> None:
    lines = _lines(make_run([1.0]))
    assert _post(archive, lines, key="wrong").status_code == 401
    assert _post(archive, lines, catalog="no-such").status_code == 404


@pytest.mark.parametrize("paged", [False, True])
def test_rows_of_a_stream_before_and_after_another_is_declared(archive: Archive, paged: bool) -> None:
    run = compose_run()
    keys: Any = {"value": {"source": "test", "dtype": "number", "shape": []}}
    documents: Documents = [("start", {**run.start_doc})]

    def declare(stream: str) -> Any:
        made = run.compose_descriptor(name=stream, data_keys=keys, object_keys={}, configuration={})
        documents.append(("descriptor", {**made.descriptor_doc}))
        return made

    def add(declared: Any, value: float) -> None:
        event = declared.compose_event(data={"value": value}, timestamps={"value": 0.0})
        documents.append(("event_page", pack_event_page(event)) if paged else ("event", event))

    one = declare("one")
    add(one, 1.0)
    add(declare("other"), 10.0)
    add(one, 2.0)
    documents.append(("stop", {**run.compose_stop()}))
    assert _post(archive, _lines(documents)).status_code == 201
    stored = archive.client[run.start_doc["uid"]]
    assert stored["one"].read()["value"].values.tolist() == [1.0, 2.0]
    assert stored["other"].read()["value"].values.tolist() == [10.0]
