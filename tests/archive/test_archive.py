import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from xas_live.archive import ArchiveError, open_archive
from xas_live.archive.address import Address
from xas_live.archive.state import ServerState


def test_a_second_opener_joins(archive):
    before = ServerState.load(archive.folder)
    with open_archive(archive.folder) as second:
        assert second.uri == archive.uri
        assert second.client.specs[0].name == "CatalogOfBlueskyRuns"
    list(archive.client)
    assert ServerState.load(archive.folder) == before


def test_the_key_is_for_this_user_alone(archive):
    mode = stat.S_IMODE((archive.folder / "server.json").stat().st_mode)
    assert mode == 0o600
    assert archive.api_key not in archive.uri
    assert archive.uri.startswith("http://127.0.0.1:")


def test_a_server_is_also_opened_by_uri(archive, monkeypatch, tmp_path):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path))
    with open_archive(f"{archive.uri}?api_key={archive.api_key}") as by_query:
        assert by_query.uri == archive.uri
        assert list(by_query.client) == list(archive.client)
    monkeypatch.setenv("TILED_API_KEY", archive.api_key)
    with open_archive(archive.uri) as by_variable:
        assert by_variable.derived.specs[0].name == "CatalogOfBlueskyRuns"


def test_what_is_wrong_is_said(archive, monkeypatch, tmp_path):
    monkeypatch.setenv("XAS_LIVE_HOME", str(tmp_path))
    with pytest.raises(ArchiveError, match="does not accept the API key"):
        open_archive(archive.uri, api_key="wrong")
    with pytest.raises(ArchiveError, match="no Tiled server answers"):
        open_archive("http://127.0.0.1:9")
    with pytest.raises(ArchiveError, match="does not read"):
        open_archive(archive.folder, readable_storage=[tmp_path / "detector"])
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveError, match="cannot be used"):
        open_archive(tmp_path / "file")


def test_a_server_that_cannot_start_shows_its_log(tmp_path):
    (tmp_path / "catalog.db").write_text("not a database" * 100)
    with pytest.raises(ArchiveError, match="not a database"):
        open_archive(tmp_path)


def test_many_may_read_at_once_while_a_run_is_written(archive, raw_writer, make_run):
    server = ServerState.load(archive.folder)

    def read(run):
        return run.base["primary"].base["internal"].read(["det"])["det"].tolist()

    uids = []
    for _ in range(4):
        documents = make_run([1.0, 2.0])
        uids.append(documents[0][1]["uid"])
        for name, doc in documents:
            raw_writer(name, doc)
    assert raw_writer.flush(60)
    for name, doc in make_run([3.0] * 50):
        raw_writer(name, doc)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, [archive.client[uid] for uid in uids] * 20)) == [[1.0, 2.0]] * 80
    assert raw_writer.flush(60)
    assert ServerState.load(archive.folder) == server  # it did not die of it


def test_an_address_takes_its_key_from_where_it_is_given(monkeypatch):
    monkeypatch.setenv("TILED_API_KEY", "variable")
    assert Address.of_uri("http://h:1/api/v1?api_key=query", "argument").api_key == "argument"
    assert Address.of_uri("http://h:1/?api_key=query").api_key == "query"
    assert Address.of_uri("http://h:1/").api_key == "variable"
    address = Address.of_uri("http://h:1/")
    assert Address.from_json(address.to_json()) == address
    local = Address(Path("/a/b"), "raw")
    assert Address.from_json(local.to_json()) == local
