"""Predictions as PVs: a real IOC, a session and a client of Channel Access, each in a process of its own."""

from __future__ import annotations

import json
import math
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bluesky import RunEngine

import xas_live
from tests.signals.processes import FOLDER, Process, free_port, loopback, start_ioc, until
from xas_live.energy import xanes_grid
from xas_live.prediction import Degree, Outcome, Prediction, Value, Verdict
from xas_live.signals import IocLink
from xas_live.signals.quantities import VERDICTS
from xas_live.signals.wire import LONGEST_LINE, Hello, line_of, socket_path
from xas_live.simulator import SimulatedBeamline, growth, simulated_scan
from xas_live.spectrum import Provenance

NO_ALARM, MINOR, MAJOR, INVALID = range(4)
TIMEOUT, COMM, UDF = 10, 9, 17
PREFIX = "XASTEST:"
WATCHED = ("CN1", "CN1:LOWER", "VERDICT", "VERDICT:REASON", "SWEEPS", "RAW_UID", "STALE_REASON", "SESSION")
ENERGIES = xanes_grid(11919.0)[::2]


@pytest.fixture(scope="module")
def ca() -> dict[str, str]:
    return loopback(free_port())


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture
def ioc(ca: dict[str, str], logs: Path) -> Iterator[Process]:
    process = start_ioc(ca, logs / "ioc.log", "--prefix", PREFIX)
    yield process
    process.end()


@pytest.fixture
def client(ca: dict[str, str], logs: Path, ioc: Process) -> Iterator[Process]:
    process = Process([str(FOLDER / "client.py"), PREFIX], ca, logs / "client.log")
    assert process.ask(watch=WATCHED)
    yield process
    process.kill()


class Analysis:
    """What a link asks of an analysis, with a prediction that a test chooses."""

    def __init__(self) -> None:
        self.reason, self.limit, self.said = "", 60.0, []

    def current(self):
        from xas_live.callbacks.live import Current

        return Current(None, 0.1, self.limit, self.reason)

    def say(self, text):
        self.said.append(text)


class Sweep:
    def __init__(self, primary):
        self.primary = primary


@pytest.fixture
def analysis():
    return Analysis()


@pytest.fixture
def link(analysis):
    made = IocLink(PREFIX)
    made.bind(analysis)
    yield made
    made.close()


def prediction(cn1=8.4, degree=Degree.TRUSTED, refused=None, **rest):
    values = {"CN1": Value(cn1, 0.5, cn1 - 1, cn1 + 1, statistical=0.3, model=0.9)}
    where = Provenance(run_uid="1" * 36, scan_id=7, time=time.time())
    verdict = Verdict(degree, ("weaker fine structure",) if degree is not Degree.TRUSTED else ())
    return Prediction(
        "m", "sha", "Au", "L3", where, Outcome({} if refused else values), verdict, refused=refused, **rest
    )


def last(client, name):
    return client.ask(events=name)[-1]


def state(client, name="CN1"):
    event = last(client, name)
    return event["severity"], event["status"]


def when(client, condition, what):
    return until(condition, what, lambda: [(name, last(client, name)) for name in WATCHED])


@pytest.mark.slow
def test_a_scan_is_seen_by_everybody_and_grows_stale(ioc, client, au_anchor):
    """The whole way: RunEngine, analysis, link, IOC, and a suspender in another process."""
    assert state(client) == (INVALID, COMM)
    assert math.isnan(last(client, "CN1")["value"])
    for name in ("CN1", "VERDICT"):
        heeded, asked = client.ask(put=name)
        assert heeded == "CASeverityException"
        assert "cannot write" in asked
    cn1 = client.ask(properties="CN1")
    assert (cn1["units"], cn1["precision"], cn1["limits"]) == ("", 2, [0.0, 12.0])
    assert not cn1["write_access"]
    assert client.ask(properties="R1")["units"] == "Ang"
    assert "not usable" in client.ask(properties="VERDICT")["choices"]

    beamline, RE = (
        SimulatedBeamline("au_l3", counts=1e8, drift=0.0, seed=1),
        RunEngine({}, context_managers=[]),
    )
    link = IocLink(PREFIX)
    small, large = growth(4, "au_l3")[0], growth(4, "au_l3")[3]
    with xas_live.attach(RE, plot=False, anchor=au_anchor, align="none", publishers=[link]) as xas:
        link.bind(xas)
        when(client, lambda: state(client) == (INVALID, UDF), "a session without a prediction is undefined")
        RE(simulated_scan(beamline, small, energies=ENERGIES))
        assert xas.wait(60)
        said = xas.latest
        assert said.verdict.usable
        value = said.values["CN1"]
        shown = when(
            client,
            lambda: [e for e in client.ask(events="CN1") if e["value"] == value.value],
            "the prediction is shown",
        )
        when(client, lambda: last(client, "SWEEPS")["value"] == 1, "so is all the rest")
        severity = {Degree.TRUSTED: NO_ALARM, Degree.CAUTION: MINOR}[said.verdict.degree]
        assert shown[0]["severity"] == severity
        assert shown[0]["time"] == pytest.approx(said.provenance.time, abs=1e-3)
        assert last(client, "CN1:LOWER")["value"] == value.lower
        assert VERDICTS[last(client, "VERDICT")["value"]] == str(said.verdict.degree)
        assert last(client, "VERDICT:REASON")["text"] == said.verdict.reason
        assert last(client, "RAW_UID")["value"] == said.provenance.run_uid
        assert client.ask(suspend="CN1", floor=value.value + 0.5)
        when(client, lambda: state(client) == (INVALID, TIMEOUT), "it grows stale")
        assert last(client, "CN1")["value"] == value.value
        reason = last(client, "STALE_REASON")
        assert "the limit is" in reason["text"]
        stale = [e for e in client.ask(events="CN1") if (e["severity"], e["status"]) == (INVALID, TIMEOUT)]
        assert reason["arrival"] < stale[0]["arrival"], "the reason is there before the alarm"
        assert not client.ask()["finished"]

        RE(simulated_scan(beamline, large, energies=ENERGIES))
        assert xas.wait(60)
        assert xas.latest.values["CN1"].value > value.value + 0.5
        when(client, lambda: client.ask()["finished"], "the suspended plan goes on")
        assert last(client, "SWEEPS")["value"] == 2
    when(client, lambda: state(client) == (INVALID, COMM), "the session is closed")
    times = [event["time"] for event in client.ask(events="CN1")]
    assert times == sorted(times)


@pytest.mark.slow
def test_a_session_that_is_killed_or_stopped_leaves_invalid_pvs(ioc, client, logs):
    session = Process([str(FOLDER / "session.py"), PREFIX], {}, logs / "session.log")
    assert session.process.stdin is not None
    session.process.stdin.write("2\n")
    session.line_with("scanned True")
    known = when(client, lambda: [e for e in client.ask(events="CN1") if e["severity"] < INVALID], "valid")
    session.process.send_signal(signal.SIGSTOP)
    when(client, lambda: state(client) == (INVALID, TIMEOUT), "its silence is noticed")
    assert "silent" in last(client, "STALE_REASON")["text"]
    session.kill()
    when(client, lambda: state(client) == (INVALID, COMM), "its end is noticed")
    when(client, lambda: last(client, "SESSION")["value"] == 0, "it is told")
    assert last(client, "CN1")["value"] == known[-1]["value"]
    assert ioc.line_with("has gone").endswith("all PVs are INVALID")


def test_alarms_follow_the_verdict(client, link, analysis):
    def shown(said, severity):
        link.predicted(Sweep(said))
        when(client, lambda: last(client, "VERDICT")["severity"] == severity, f"{said} has {severity}")

    shown(prediction(), NO_ALARM)
    shown(prediction(degree=Degree.CAUTION), MINOR)
    shown(prediction(degree=Degree.NOT_USABLE), MAJOR)
    when(client, lambda: math.isnan(last(client, "CN1")["value"]), "no number that must not be used")
    assert state(client)[0] == MAJOR
    shown(prediction(), NO_ALARM)
    shown(prediction(refused="too few points"), MAJOR)
    when(client, lambda: last(client, "VERDICT:REASON")["text"] == "too few points", "the reason is told")
    assert last(client, "SWEEPS")["severity"] == NO_ALARM
    shown(prediction(partial=True), MINOR)
    link.predicted(Sweep(prediction(refused="x" * 600)))
    when(client, lambda: len(last(client, "VERDICT:REASON")["text"]) == 500, "a long reason is cut")
    shown(prediction(degree=None), MINOR)
    analysis.reason = "the analysis has ended by an error: attach again"
    when(client, lambda: state(client) == (INVALID, TIMEOUT), "a dead analysis is noticed")
    when(client, lambda: last(client, "STALE_REASON")["text"] == analysis.reason, "it is told why")


def test_an_ioc_that_is_killed_and_started_again_is_fed_again(ioc, client, link, analysis, ca, logs):
    link.predicted(Sweep(prediction(8.4)))
    when(client, lambda: last(client, "CN1")["value"] == 8.4, "it is fed")
    ioc.kill()
    until(lambda: any("is lost" in text for text in analysis.said), "the session notices")
    until(lambda: not client.ask()["connected"], "the client notices")
    link.predicted(Sweep(prediction(9.1)))
    again = start_ioc(ca, logs / "ioc.log", "--prefix", PREFIX)
    try:
        when(client, lambda: last(client, "CN1")["value"] == 9.1, "the newest prediction is there again")
        assert client.ask()["connected"]
        assert sum("is lost" in text for text in analysis.said) == 1
        assert analysis.said[-1] == f"predictions go to the PVs {PREFIX}" == link.state
    finally:
        again.end()


def test_a_second_session_is_refused_until_the_first_has_gone(ioc, link, analysis):
    until(lambda: link.state.startswith("predictions go"), "the first is taken")
    other, others = IocLink(PREFIX), Analysis()
    other.bind(others)
    try:
        until(lambda: others.said, "the second is told")
        assert "refuses this session" in others.said[0]
        assert "end that session first" in others.said[0]
        link.close()
        until(lambda: other.state.startswith("predictions go"), "the second takes over")
    finally:
        other.close()


def test_the_first_sweep_of_another_session_is_new(client, link, analysis):
    first = prediction(8.4)
    link.predicted(Sweep(first))
    when(client, lambda: state(client)[0] == NO_ALARM, "it is shown")
    link.close()
    when(client, lambda: state(client) == (INVALID, COMM), "it is closed")
    other = IocLink(PREFIX)
    other.bind(analysis)
    when(client, lambda: state(client) == (INVALID, UDF), "another session is there")
    try:
        second = prediction(8.4)
        other.predicted(Sweep(second))
        when(client, lambda: state(client)[0] == NO_ALARM, "the second is shown")
        assert last(client, "CN1")["time"] == pytest.approx(second.provenance.time, abs=1e-3)
    finally:
        other.close()


def test_a_second_ioc_of_a_prefix_is_refused(ioc, ca, logs):
    second = Process(
        ["-c", "from xas_live.cli import app; app()", "ioc", "--prefix", PREFIX], ca, logs / "second.log"
    )
    assert second.process.wait(60) == 2
    second.end()
    assert "another IOC of the prefix" in (logs / "second.log").read_text()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b'{"protocol": 2, "session": "x"}\n', "protocol"),
        (b"no JSON\n", "Invalid JSON"),
        (b"{" * (LONGEST_LINE + 10), "longer"),
        (line_of(Hello(session="x")) + b'{"sweeps": -1}\n', "sweeps"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(ioc, lines, said):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(str(socket_path(PREFIX)))
        connection.sendall(lines)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while more := connection.recv(4096):
            received += more
    reason = json.loads(received.splitlines()[-1])["refused"]
    assert "cannot be read" in reason
    assert said in reason


def test_without_an_ioc_the_user_is_told_once_and_nothing_waits(analysis):
    link = IocLink("NOBODY:")
    link.bind(analysis)
    began = time.process_time()
    for _ in range(3):
        link.predicted(Sweep(prediction()))
        until(lambda: analysis.said, "it is told")
    link.close()
    assert time.process_time() - began < 5
    assert len(analysis.said) == 1
    assert "xas-live ioc --prefix NOBODY:" in analysis.said[0]
