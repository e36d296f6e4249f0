"""The live figure during real scans, in real windows and a real notebook kernel, each in its own process."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import pytest
from PIL import Image

SESSION = Path(__file__).with_name("window_session.py")
ROOT = Path(__file__).resolve().parents[3]
PAGE = 0.4  # share of a picture that is white where the figure has been drawn

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A screen without a monitor, of this module's own."""
    if shutil.which("Xvfb") is None:
        pytest.skip("no screen: apt-get install xvfb")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1500x1000x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as answer:
            yield f":{answer.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


def run_session(backend: str, picture: Path, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SESSION), backend, str(picture)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(found: dict[str, Any], picture: Path) -> None:
    assert found["errors"] == []
    assert found["sweeps"] == 3
    assert found["task is back"]
    assert quarters(found["drawn"]) >= 3, found["drawn"]
    assert {thread for _, thread in found["drawn"]} == {"MainThread"}
    state, progress = found["paused"]
    assert state == "paused"
    assert 0.2 < progress < 0.9
    assert found["drawn after it"]
    assert white(Image.open(picture)) > PAGE


def quarters(drawn: list[tuple[float, str]]) -> int:
    """In how many quarters of a scan something was drawn."""
    return len({int(4 * progress) for progress, _ in drawn if progress < 1})


def white(picture: Image.Image) -> float:
    return float(np.mean(np.asarray(picture.convert("L")) > 250))


def test_a_tk_window_lives_during_a_scan_and_ctrl_c_pauses(tmp_path: Path, display: str) -> None:
    pytest.importorskip("tkinter", reason="no Tk: apt-get install python3-tk")
    picture = tmp_path / "tk.png"
    check(run_session("tkagg", picture, DISPLAY=display), picture)


def test_a_qt_window_lives_during_a_scan_and_ctrl_c_pauses(tmp_path: Path) -> None:
    pytest.importorskip(
        "PySide6.QtWidgets",
        reason="no Qt: pip install 'xas-live[qt]'; apt-get install libegl1 libxkbcommon0",
        exc_type=ImportError,
    )
    picture = tmp_path / "qt.png"
    check(run_session("qtagg", picture, QT_QPA_PLATFORM="offscreen"), picture)


class Notebook:
    """A real kernel; of what its cells send, the pictures and the text."""

    def __init__(self, folder: Path) -> None:
        from jupyter_client.manager import KernelManager

        self._manager = KernelManager(kernel_name="python3", connection_file=str(folder / "kernel.json"))
        environment = {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder)}
        self._manager.start_kernel(env={**os.environ, **environment})
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=120)

    def run(self, cell: str) -> tuple[list[bytes], str, list[dict[str, Any]]]:
        """Run a cell; return the pictures sent before it was done, the text, and what was displayed."""
        asked = self._client.execute(cell)
        pictures: list[bytes] = []
        text, displayed = "", []
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                message = self._client.get_iopub_msg(timeout=5)
            except Empty:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "comm_msg":
                pictures += [bytes(buffer) for buffer in message["buffers"]]
            if message["parent_header"].get("msg_id") != asked:
                continue
            if kind == "error":
                pytest.fail("\n".join(content["traceback"]))
            elif kind == "stream":
                text += content["text"]
            elif kind in ("display_data", "execute_result"):
                displayed.append(content["data"])
            elif kind == "status" and content["execution_state"] == "idle":
                return pictures, text, displayed
        raise TimeoutError(cell)

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    for package in ("jupyter_client", "ipykernel", "ipympl"):
        pytest.importorskip(package)
    opened = Notebook(tmp_path)
    try:
        yield opened
    finally:
        opened.close()


SETUP = """
from bluesky import RunEngine
import xas_live
from xas_live.simulator import SimulatedBeamline, growth, simulated_scan
RE = RunEngine({})
beamline = SimulatedBeamline("au_l3", seed=1, dwell=0.012)
"""


def test_a_notebook_widget_gets_pictures_while_its_cell_runs_a_scan(notebook: Notebook) -> None:
    notebook.run("%matplotlib widget\n" + SETUP)
    first, _, displayed = notebook.run("xas = xas_live.attach(RE)\nRE(simulated_scan(beamline, None))")
    widgets = [data for data in displayed if "application/vnd.jupyter.widget-view+json" in data]
    assert len(widgets) == 1
    more, text, _ = notebook.run("RE(simulated_scan(beamline, growth(4, 'au_l3')[2])); print(xas.errors)")
    assert "[]" in text
    assert len(first) >= 3
    assert len(more) >= 3
    shown: Image.Image | None = None
    for sent in [*first, *more]:  # the first is whole, the others are what has changed
        picture = Image.open(io.BytesIO(sent)).convert("RGBA")
        shown = picture if shown is None else Image.alpha_composite(shown, picture)
    assert shown is not None
    assert white(shown) > PAGE


def test_an_inline_notebook_is_told_and_shows_the_picture(notebook: Notebook) -> None:
    _, _, told = notebook.run(
        "%matplotlib inline\n" + SETUP + "beamline.dwell = 0.0\nxas = xas_live.attach(RE)"
    )
    words = " ".join(data["text/plain"] for data in told)
    assert "%matplotlib widget" in words
    notebook.run("RE(simulated_scan(beamline, None)); xas.wait()")
    _, _, [shown] = notebook.run("xas")
    assert "data:image/png;base64," in shown["text/html"]
    assert "CN1" in shown["text/html"]
