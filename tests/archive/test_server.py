"""The embedded server: it dies, hangs, outlives sessions, and others try to take its place."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import httpx
import numpy as np
import pytest
import zarr
from bluesky import RunEngine
from bluesky.plans import scan
from ophyd.sim import det, motor

from xas_live.archive import ArchiveError, embedded, open_archive
from xas_live.archive.state import ServerState
from xas_live.archive.unix_socket import SocketTransport


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """An archive of this module's own, whose server may be killed; its path is longer than a socket's."""
    folder = tmp_path_factory.mktemp("served") / ("deep" * 30)
    with open_archive(folder) as archive:
        yield archive


@pytest.fixture
def kill(until, process_exists):
    """Kill the server of an archive, and return what it had written down."""

    def kill(archive):
        state = ServerState.load(archive.folder)
        os.kill(state.pid, signal.SIGKILL)
        until(lambda: not process_exists(state.pid))
        return state

    return kill


def test_a_server_that_dies_in_a_plan_is_back_before_its_end(served, kill):
    writer = served.raw_writer()
    killed = []

    def kill_at_times(name, doc):
        if name == "event" and doc["seq_num"] in (5, 15):
            assert writer.flush(120)
            killed.append(kill(served))

    RE = RunEngine({})
    RE.subscribe(writer)
    RE.subscribe(kill_at_times)
    (uid,) = RE(scan([det], motor, 0, 1, 20))
    assert writer.flush(120)
    assert writer.close()
    run = served.client[uid]
    assert list(run["primary"].read()["motor"]) == pytest.approx(np.linspace(0, 1, 20))
    assert run.metadata["stop"]["exit_status"] == "success"
    servers = [*killed, ServerState.load(served.folder)]
    assert all(a.api_key != b.api_key and a.pid != b.pid for a, b in pairwise(servers))
    assert len({server.uri for server in servers}) == 1


def occupy(port):
    """Listen on a port of the loopback; None while another does."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return None


def test_the_key_is_given_to_nobody_who_takes_the_port(served, kill, make_run, until):
    writer = served.raw_writer()
    before = kill(served)
    received = []
    listening = []
    until(lambda: listening.append(occupy(before.port)) or listening[-1])
    with listening[-1] as squatter:

        def answer():
            while True:
                try:
                    connection, _ = squatter.accept()
                except OSError:
                    return
                with connection:
                    received.append(connection.recv(65536))
                    connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        documents = make_run([1.0, 2.0])
        for name, doc in documents:
            writer(name, doc)
        uid = documents[0][1]["uid"]
        until(lambda: uid in list(served.client), 90)
        assert writer.flush(120)
        squatter.shutdown(socket.SHUT_RDWR)
    after = ServerState.load(served.folder)
    assert not any(before.api_key.encode() in each or after.api_key.encode() in each for each in received)
    assert after.port != before.port
    assert served.uri == f"{after.uri}/metadata/raw"
    wrong = httpx.get(f"{after.uri}/metadata/", headers={"Authorization": f"Apikey {before.api_key}"})
    assert wrong.status_code == httpx.codes.UNAUTHORIZED
    assert before.api_key not in repr(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a socket to another user")
def test_a_socket_of_another_user_gets_no_key(tmp_path):
    ServerState("http://127.0.0.1:1/api/v1", "secret", 1).save(tmp_path)
    received = []
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "server.sock"))
        other.listen()
        os.chown(tmp_path / "server.sock", 65534, 65534)
        with (
            httpx.Client(transport=SocketTransport(tmp_path)) as client,
            pytest.raises(httpx.ConnectError, match="belongs to another user"),
        ):
            received.append(client.get("http://127.0.0.1:1/"))
    assert not received


def test_a_server_that_hangs_is_waited_for(served):
    before = ServerState.load(served.folder)
    os.kill(before.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        try:
            second, third = (pool.submit(open_archive, served.folder) for _ in range(2))
            with pytest.raises(TimeoutError):
                second.result(1.5)
        finally:
            os.kill(before.pid, signal.SIGCONT)
        for opened in (second.result(120), third.result(120)):
            opened.close()
    assert ServerState.load(served.folder) == before
    list(served.client)


def test_one_that_hangs_for_good_is_named(served, monkeypatch):
    monkeypatch.setattr(embedded, "_START_SECONDS", 0.5)
    monkeypatch.setattr(embedded, "_PROBE_SECONDS", 0.2)
    pid = ServerState.load(served.folder).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ArchiveError, match=f"does not answer.*process {pid} on {socket.gethostname()}"):
            open_archive(served.folder)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_forked_child_closes_nothing_of_its_parent(served):
    child = os.fork()
    if child == 0:
        served.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert embedded._has_users(served.folder)
    list(served.client)


def test_files_that_a_server_left_without_a_node_are_no_obstacle(served, make_run):
    """A server that is killed between the two leaves an array on disk that no run has."""
    documents = make_run([[1.0] * 20, [2.0] * 20], dtype="array", shape=(20,))
    uid = documents[0][1]["uid"]
    zarr.create_array(served.folder / "data" / uid / "primary" / "det", shape=(7, 3), dtype="int8")
    writer = served.raw_writer()
    for name, doc in documents:
        writer(name, doc)
    assert writer.flush(120)
    assert served.client[uid]["primary"].read()["det"].values.tolist() == [[1.0] * 20, [2.0] * 20]


OPEN = "import sys; from xas_live.archive import open_archive; open_archive(sys.argv[1]); print(1); input()"


def test_a_server_outlives_the_session_that_started_it_while_another_uses_it(
    crashed, until, process_exists, make_run
):
    """It ends with the last one, and the next opening delivers what a session that crashed left."""
    folder, left = crashed
    until(lambda: not embedded._server_lives(folder))
    assert ServerState.load(folder) is None
    command = [sys.executable, "-uc", OPEN, str(folder)]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout.readline() == b"1\n"
    server = ServerState.load(folder)
    with open_archive(folder) as second:
        first.kill()
        first.wait()
        until(lambda: left in second.client, 90)
        assert ServerState.load(folder) == server
    assert not process_exists(server.pid)
    with pytest.raises(ArchiveError, match="nobody has the archive"):
        embedded.ensure_server(folder)


KILLED = """
import os, signal, sys
from pathlib import Path
from xas_live.archive import databases
databases.stamp_head = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
databases.make_databases(Path(sys.argv[1]))
"""


def test_a_first_opening_that_is_killed_leaves_a_folder_that_opens(tmp_path, until):
    folder = tmp_path / "archive"
    with ThreadPoolExecutor(1) as pool:
        before = len(embedded._started)
        opening = pool.submit(open_archive, folder)
        until(lambda: len(embedded._started) > before, 90)
        os.kill(embedded._started[-1].pid, signal.SIGKILL)
        with pytest.raises(ArchiveError, match="does not start"):
            opening.result(120)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(folder.glob("making-*/catalog.db"))
    assert not (folder / "catalog.db").exists()
    with open_archive(folder) as archive:
        assert list(archive.client) == list(archive.derived) == []
    assert not list(folder.glob("making-*"))
    shutil.rmtree(folder)
