"""The live figure's picture on disk, where there is no window to show it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from xas_live.callbacks.publishers.base import BasePublisher, SweepResult
from xas_live.prediction import Prediction
from xas_live.spectrum import Spectrum

if TYPE_CHECKING:
    from event_model.documents import RunStop

PICTURE_INTERVAL_S = 3.0
"""The picture is written at most this often (s), and at the end of every run."""

_BETWEEN_RUNS_S = 1.0  # runs that end faster than that share a picture
_END_S = 10.0  # how long `close` waits for the last picture


class PictureFile(BasePublisher):
    """Keeps a picture of the live figure in a PNG file, for any viewer or web page.

    A thread of its own draws and writes: neither the plan nor the analysis waits. The file is replaced as a
    whole, so that a viewer never meets half a picture. What fails is told to `failed`; the next picture is
    tried all the same.

    Parameters
    ----------
    path : the file; its folder is made with the first picture.
    png : makes the picture; None when there is nothing to show.
    failed : takes what failed, and the error.
    """

    def __init__(
        self,
        path: Path,
        png: Callable[[], bytes | None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self.path = path
        self._png = png
        self._failed = failed
        self._new = threading.Event()
        self._now = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="xas_live picture", daemon=True)
        self._thread.start()

    def measuring(self, spectrum: Spectrum, preview: Prediction | None = None) -> None:
        """See `Publisher`."""
        self._new.set()

    def predicted(self, result: SweepResult) -> None:
        """See `Publisher`."""
        self._new.set()

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """See `Publisher`."""
        self._new.set()

    def run_stopped(self, stop: RunStop) -> None:
        """Write the picture of the whole run now."""
        self._new.set()
        self._now.set()

    def close(self) -> None:
        """Write the last picture, and end."""
        self._closing.set()
        self._new.set()
        self._now.set()
        self._thread.join(_END_S)

    def _work(self) -> None:
        last = False
        while not last:
            self._new.wait()
            self._new.clear()
            last = self._closing.is_set()
            try:
                self._write()
            except Exception as error:  # noqa: BLE001 a full disk, a figure that cannot be drawn
                self._failed(f"picture {self.path}", error)
            if not last and not self._closing.wait(_BETWEEN_RUNS_S):
                self._now.wait(PICTURE_INTERVAL_S - _BETWEEN_RUNS_S)
                self._now.clear()

    def _write(self) -> None:
        picture = self._png()
        if picture is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        beside.write_bytes(picture)
        beside.replace(self.path)


def picture_path(folder: Path) -> Path:
    """Return the path of a session's picture in a folder: named by the time."""
    return folder / time.strftime("live_%Y-%m-%d_%H%M%S.png")
