"""A user's catalog of raw runs is the same before and after derived runs are written; where these go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bluesky import RunEngine
from databroker import Broker
from tiled.client import from_uri
from tiled.queries import Eq
from typer.testing import CliRunner

import xas_live
from xas_live.archive import Archive, ArchiveError, open_archive
from xas_live.archive.derived import access_tags, find_or_make
from xas_live.archive.sink import RunSink
from xas_live.cli import app
from xas_live.simulator import SimulatedBeamline, growth, simulated_scan


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TILED_API_KEY", "facility")


@pytest.fixture
def user_catalog(facility: Any, make_run: Callable[..., Any], request: pytest.FixtureRequest) -> str:
    """A catalog `/open/NAME/raw` with two runs of a user, another one for each test."""
    name = request.node.name.split("[")[0]
    place = from_uri(facility.many)["open"].create_container(name)
    catalog = place.create_container("raw", specs=["CatalogOfBlueskyRuns"])
    for scan_id in (1, 2):
        _write(catalog, make_run([1.0, 2.0], metadata={"scan_id": scan_id, "sample_name": "foil"}))
    return str(catalog.uri)


def _write(catalog: Any, documents: Any) -> None:
    sink = RunSink(catalog)
    for name, doc in documents:
        sink(name, dict(doc))


def _seen(catalog: Any) -> dict[str, Any]:
    """What people do with a catalog of runs, and what they get."""
    broker, old = Broker(catalog), catalog.v1
    return {
        "last": catalog[-1].start["uid"],
        "all": [run.start["uid"] for run in catalog.values()],
        "keys": list(catalog),
        "length": len(catalog),
        "by scan id": catalog[1].start["uid"],
        "search": [run.start["uid"] for run in catalog.search(Eq("sample_name", "foil")).values()],
        "text": repr(catalog),
        "broker": broker[-1].start["uid"],
        "broker's headers": [header.start["uid"] for header in broker()],
        "v1": old[-1].start["uid"],
        "v2": catalog.v2[-1].metadata["start"]["uid"],
    }


def test_a_catalog_is_the_same_before_and_after(user_catalog: str, make_run: Callable[..., Any]) -> None:
    before = _seen(from_uri(user_catalog))
    derived_run = make_run([6.0], metadata={"raw_uid": before["last"], "sample_name": "foil"})
    with open_archive(user_catalog) as archive:
        assert _seen(from_uri(user_catalog)) == before
        writer = archive.derived_writer()
        for name, doc in derived_run:
            writer(name, doc)
        assert writer.flush(60)
        assert _seen(from_uri(user_catalog)) == _seen(archive.client) == before
        assert archive.next_attempt(before["last"]) == 2
    assert _seen(from_uri(user_catalog)) == before
    # by its documented name, with plain Tiled and databroker
    derived = from_uri(user_catalog.removesuffix("raw") + "xas_live")
    assert derived[-1].start["raw_uid"] == Broker(derived)[-1].start["raw_uid"] == before["last"]


@pytest.mark.slow
def test_a_catalog_is_the_same_after_attach_replay_and_close(user_catalog: str) -> None:
    before = _seen(from_uri(user_catalog))
    RE, beamline = RunEngine({}), SimulatedBeamline("au_l3", seed=1)
    with xas_live.attach(RE, archive=user_catalog, plot=False) as xas:
        RE(simulated_scan(beamline, growth(2, "au_l3")[0]))
        assert xas.wait(60)
        assert list(xas.status().writers) == ["derived"]
        assert _seen(from_uri(user_catalog)) == before
    arguments = ["replay", "--from", user_catalog, "2", "--archive", user_catalog]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 3, done.output  # a run without spectra
    assert _seen(from_uri(user_catalog)) == before
    (row,) = xas_live.predictions(user_catalog).to_dict("records")
    assert (row["element"], row["refused"]) == ("Au", "")


def test_the_archive_of_a_folder_has_two_catalogs(archive: Archive, make_run: Callable[..., Any]) -> None:
    raw, derived = archive.raw_writer(), archive.derived_writer()
    for writer, scan_id in ((raw, 1), (derived, 1)):
        for name, doc in make_run([1.0], metadata={"scan_id": scan_id, "sample_name": "foil"}):
            writer(name, doc)
        assert writer.flush(60)
    _seen(archive.client)
    _seen(archive.derived)
    assert "xas_live" not in list(archive.client)
    server = from_uri(archive.uri.removesuffix("/raw"), api_key=archive.api_key)
    assert list(server) == ["raw", "xas_live"]
    assert archive.derived.uri == f"{server.uri.rstrip('/')}/xas_live"
    # the address of the server itself means its raw runs, and their neighbour
    with open_archive(f"{server.uri}?api_key={archive.api_key}") as by_uri:
        assert by_uri.uri == archive.uri
        assert by_uri.derived.uri == archive.derived.uri


def test_a_folder_of_an_earlier_version_opens_with_its_derived_runs(
    tmp_path: Path, facility: Any, make_run: Callable[..., Any]
) -> None:
    folder = tmp_path / "archive"
    before = _first_layout(folder, make_run)
    with open_archive(folder) as archive:
        assert list(archive.client) == before["raw"]
        assert archive.client[-1].start["uid"] == before["raw"][-1]
        assert list(archive.derived) == before["derived"]
        assert archive.derived[-1]["primary"].read()["det"].values.tolist() == [6.0]
        writer = archive.derived_writer()
        for name, doc in make_run([7.0, 8.0], uid=before["derived"][0]):  # it replaces the shorter one
            writer(name, doc)
        assert writer.flush(60)
        assert list(archive.derived) == before["derived"]
        assert archive.derived[-1]["primary"].read()["det"].values.tolist() == [7.0, 8.0]


def _first_layout(folder: Path, make_run: Callable[..., Any]) -> dict[str, list[str]]:
    """Make an archive as the first version did: the derived runs in a container among the raw ones."""
    from tiled.catalog import from_uri as catalog_from_uri
    from tiled.client import Context, from_context
    from tiled.server.app import build_app
    from tiled.structures.core import Spec

    (folder / "data").mkdir(parents=True)
    tree = catalog_from_uri(
        f"sqlite:///{folder / 'catalog.db'}",
        init_if_not_exists=True,
        specs=[{"name": "CatalogOfBlueskyRuns", "version": "3.0"}],
        writable_storage=[folder / "data", f"duckdb:///{folder / 'storage.duckdb'}"],
    )
    with Context.from_app(build_app(tree)) as context:
        root = from_context(context)
        inner = root.create_container("xas_live", specs=[Spec("CatalogOfBlueskyRuns", "3.0")])
        for catalog, rows in ((root, [1.0]), (root, [2.0]), (inner, [6.0])):
            _write(catalog, make_run(rows))
        return {"raw": [key for key in root if key != "xas_live"], "derived": list(inner)}


def test_derived_runs_go_where_the_user_says(facility: Any, tmp_path: Path) -> None:
    raw = f"{facility.many}/api/v1/metadata/chx/raw"
    for given in (f"{facility.many}/ui/browse/chx/sandbox", f"{facility.many}/api/v1/metadata/open/new"):
        with open_archive(raw, derived=given) as archive:
            assert archive.derived_writer().status().folder.is_relative_to(tmp_path / "home")
            assert archive.derived.uri.split("/metadata/")[1] == "/".join(given.split("/")[-2:])
    with open_archive(raw, derived=tmp_path / "mine") as archive:
        assert archive.derived_writer().status().folder.is_relative_to(tmp_path / "mine")
        assert archive.derived.uri.startswith("http://127.0.0.1:")
        assert not list(archive.derived)


def test_a_catalog_by_another_name_has_a_neighbour_of_its_own(facility: Any) -> None:
    from_uri(facility.many)["open"].create_container("smi", specs=["CatalogOfBlueskyRuns"])
    with open_archive(f"{facility.many}/ui/browse/open/smi") as archive:
        assert archive.derived.uri.endswith("/open/smi_xas_live")


def test_without_a_place_for_derived_runs_it_is_said_what_to_give(facility: Any, tmp_path: Path) -> None:
    with (
        open_archive(f"{facility.many}/api/v1/metadata/chx") as archive,  # means /chx/raw
        pytest.raises(ArchiveError, match=r"chx answers 500 .*it holds raw, sandbox.*derived=FOLDER"),
    ):
        archive.derived_writer()
    with open_archive(facility.root) as archive:
        with pytest.raises(ArchiveError, match=r"root of its server.*derived=FOLDER"):
            archive.derived_writer()
        assert list(archive.client) == []
    from_uri(facility.root).create_container("xas_live", specs=["CatalogOfBlueskyRuns"])
    with open_archive(facility.root) as archive, pytest.raises(ArchiveError, match="earlier version") as told:
        _ = archive.derived
    inside = str(told.value).split("derived='")[1].split("'")[0]
    with open_archive(facility.root, derived=inside) as archive:
        assert archive.derived.uri == inside
    with pytest.raises(ArchiveError, match="is the catalog of the raw runs"):
        open_archive(facility.root, derived=facility.root)


def test_reading_makes_no_catalog(facility: Any, user_catalog: str) -> None:
    with open_archive(user_catalog):
        pass
    assert list(from_uri(user_catalog.removesuffix("/raw"))) == ["raw"]


def test_a_new_catalog_has_the_access_tags_of_the_raw_runs_or_those_given() -> None:
    """With stand-ins of a server: one with an access policy needs accounts."""
    asked: list[Any] = []

    class Address:
        """Of a catalog that is there once it was asked for."""

        def current(self) -> tuple[str, None]:
            return "http://h/api/v1/metadata/a/xas_live", None

        def find(self) -> Any:
            return None if len(asked) < wanted else _node(None)

    class Parent(Address):
        def find(self) -> Any:
            http = SimpleNamespace(post=lambda link, json: asked.append((link, json.get("access_tags"))))
            node = _node(None)
            node.context, node.item["links"] = SimpleNamespace(http_client=http), {"self": "link"}
            return node

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xas_live.archive.derived.replace", lambda address, **changes: Parent())
        for tags, given in ((["chx"], None), (["chx"], ["mine"]), (None, None), ([], None)):
            wanted = len(asked) + 1
            find_or_make(Address(), _node(tags), given)  # type: ignore[arg-type]
    assert asked == [("link", tags) for tags in (["chx"], ["mine"], None, None)]
    assert access_tags(_node(["chx"])) == ["chx"]


def _node(tags: list[str] | None) -> Any:
    return SimpleNamespace(
        structure_family="container", specs=(), item={"attributes": {"access_tags": tags}, "links": {}}
    )


NO_CATALOG = SimpleNamespace(include_data_sources=lambda: None)


def test_runs_without_access_tags_get_those_given(make_run: Callable[..., Any]) -> None:
    """What TiledWriter is handed: it takes the tags from the start document."""
    for own, expected in (({}, ["mine"]), ({"tiled_access_tags": ["theirs"]}, ["theirs"])):
        sink, started = RunSink(NO_CATALOG, access_tags=["mine"]), []
        sink._write = lambda name, doc, into=started: into.append(doc)  # type: ignore[assignment]
        (_, start), *_ = make_run([1.0], metadata=own)
        sink("start", start)
        assert started[0]["tiled_access_tags"] == expected
