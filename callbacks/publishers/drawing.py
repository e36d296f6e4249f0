"""Drawing of the live figure in its window or notebook, also while a plan blocks the main thread."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

import matplotlib as mpl
from matplotlib.backend_bases import Event, FigureCanvasBase, RendererBase
from matplotlib.backends.backend_webagg_core import FigureCanvasWebAggCore
from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

FIGURE_SIZE = (13.5, 8.2)
"""Size of a figure of our own (inches)."""

TIMER_MS = 200
"""Between plans the window's event loop asks this often whether there is something to draw (ms)."""

TURN_S = 0.05
"""While a plan runs, the window has a turn this often (s): it answers the mouse, and draws what is new."""

_SHARE = 0.1  # of the time goes into drawing, where the next limits allow it
_PERIOD_S = (0.2, 0.9)  # shortest and longest from one drawing to the next
_PAUSE_S = 0.1  # shortest from the end of one drawing to the next: a slow figure must not take all the time


class LiveFigure(Figure):
    """A figure that one thread draws at a time.

    The picture on disk is drawn in a thread of its own, and a notebook may answer the browser in another.

    Attributes
    ----------
    lock : held by who draws it or changes it.
    no_window : why matplotlib could not open a window for it; else empty.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.lock = threading.RLock()
        self.no_window = ""
        super().__init__(*args, **kwargs)

    def draw(self, renderer: RendererBase) -> None:
        """Draw it, after whoever draws it now."""
        with self.lock:
            super().draw(renderer)


def new_figure() -> LiveFigure:
    """Return a new figure, in a window or a notebook widget where matplotlib's backend has such."""
    import matplotlib.pyplot as plt

    reason = ""
    try:
        with plt.ioff():  # `Screen.show` shows it: a notebook would show it twice
            figure = cast(LiveFigure, plt.figure(FigureClass=LiveFigure, figsize=FIGURE_SIZE))
        if is_live(figure.canvas):
            if figure.canvas.manager is not None:
                figure.canvas.manager.set_window_title("xas_live")
            return figure
        plt.close(figure)
    except Exception as error:  # noqa: BLE001 each toolkit has errors of its own; the analysis goes on without
        reason = f"{type(error).__name__}: {error}"
    return windowless_figure(reason)


def windowless_figure(reason: str = "") -> LiveFigure:
    """Return a new figure that is drawn into files only; `reason` says why no window could be opened."""
    figure = LiveFigure(figsize=FIGURE_SIZE)
    figure.no_window = reason
    return figure


def lock_of(figure: Figure) -> threading.RLock:
    """Return the lock to hold while a figure is changed; for a user's own figure, one of ours alone."""
    return figure.lock if isinstance(figure, LiveFigure) else threading.RLock()


def is_live(canvas: FigureCanvasBase) -> bool:
    """Whether a canvas is shown in a window or a live notebook widget."""
    framework = canvas.required_interactive_framework
    return framework is not None or isinstance(canvas, FigureCanvasWebAggCore)


def why_no_window(figure: Figure) -> str:
    """Return why a figure is not shown live, and what to do, in words."""
    backend = mpl.get_backend()
    qt = "pip install 'xas-live[qt]' and ipython --matplotlib=qt give a window"
    notebook = "in a notebook, pip install ipympl and %matplotlib widget before attach give a live figure"
    if isinstance(figure, LiveFigure) and figure.no_window:
        return f"matplotlib's backend {backend} opens no window ({figure.no_window}): {qt}; {notebook}"
    if "inline" in backend:
        return f"matplotlib's backend {backend} shows figures only when a cell ends: {notebook}"
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return f"there is no display (DISPLAY is not set): with one, {qt}; {notebook}"
    return f"matplotlib's backend {backend} has no windows: {qt}; {notebook}"


class Screen:
    """Draws a figure in its window or notebook, in the thread that made it and nowhere else.

    Between plans the window's event loop does it; while a plan blocks the thread, `turn` does. What fails is
    told to `failed`, and raises nothing. Closing the window ends the drawing.

    Parameters
    ----------
    figure : with or without a window.
    update : brings the figure up to date; returns False where nothing is new.

    Attributes
    ----------
    live : whether the figure has a window, or a widget in a notebook.
    failed : takes what failed, and the error. Default: the log.
    """

    def __init__(self, figure: Figure, update: Callable[[], bool]) -> None:
        self.live = is_live(figure.canvas)
        self.failed: Callable[[str, BaseException], None] = _log
        self._figure = figure
        self._update = update
        self._thread = threading.get_ident()
        self._open = True
        self._due = 0.0
        figure.canvas.mpl_connect("close_event", self._closed)
        # Backends without an event loop give a timer that never fires.
        self._timer = figure.canvas.new_timer(interval=TIMER_MS)
        self._timer.add_callback(self._draw_if_new)
        self._timer.start()

    def show(self) -> None:
        """Open the window of a figure of our own, and draw it for the first time."""
        if not self.live:
            return
        canvas: Any = self._figure.canvas
        if hasattr(canvas, "syncing_data_url"):
            # Until the browser has answered, which it cannot in a cell that goes on to run a plan, ipympl
            # sends pixels that no browser reads.
            canvas.syncing_data_url = False
        try:
            self._figure.show()
        except Exception as error:  # noqa: BLE001 each toolkit has errors of its own
            self.failed("LiveStructurePlot", error)
        self.turn()

    def turn(self) -> None:
        """Draw what is new, and let the window answer. In other threads than the figure's it does nothing."""
        if not (self.live and self._open) or threading.get_ident() != self._thread:
            return
        self._draw_if_new()
        try:
            self._figure.canvas.flush_events()
        except Exception as error:  # noqa: BLE001 the window has gone without a word
            self._open = False
            self.failed("LiveStructurePlot", error)

    def _draw_if_new(self) -> None:
        start = time.monotonic()
        if not self._open or start < self._due:
            return
        try:
            if not self._update():
                return
            # Not draw_idle: a notebook would ask its browser first, and the answer waits for the plan's end.
            self._figure.canvas.draw()
        except Exception as error:  # noqa: BLE001 an error here would reach Qt's loop, and stop the plan
            self.failed("LiveStructurePlot", error)
        end = time.monotonic()
        shortest, longest = _PERIOD_S
        self._due = max(start + min(max((end - start) / _SHARE, shortest), longest), end + _PAUSE_S)

    def _closed(self, _: Event) -> None:
        self._open = False
        self._timer.stop()


class DuringTask(Protocol):
    """What a RunEngine does in the thread that called it, until the plan has ended: see `bluesky.utils`."""

    def block(self, blocking_event: threading.Event) -> None:
        """Return when the event is set."""


class DrawingTask:
    """A RunEngine's during task that also draws a figure.

    bluesky's own task waits until the plan has ended, or runs Qt's event loop until then. It still does, and
    so does a task of the user's; but each wait for the end of the plan is divided into short ones, and
    between them the figure has its turn.

    Parameters
    ----------
    inner : the task that was there.
    turn : gives the figure its turn; raises nothing.
    """

    def __init__(self, inner: DuringTask, turn: Callable[[], None]) -> None:
        self.inner = inner
        self.turn: Callable[[], None] | None = turn

    def block(self, blocking_event: threading.Event) -> None:
        """See `DuringTask`."""
        turn = self.turn
        waited_for = blocking_event if turn is None else cast(threading.Event, _Waits(blocking_event, turn))
        self.inner.block(waited_for)


class _HasTask(Protocol):
    _during_task: DuringTask


def draw_while_plans_run(engine: object, screen: Screen) -> Callable[[], None]:
    """Give a figure its turns while a RunEngine runs plans; return what ends that.

    An engine without a during task, as a dispatcher of documents, blocks no thread and needs none.
    """
    if not (screen.live and hasattr(engine, "_during_task")):
        return lambda: None
    owner = cast(_HasTask, engine)
    task = DrawingTask(owner._during_task, screen.turn)
    owner._during_task = task

    def end() -> None:
        task.turn = None  # one that was wrapped around it since only goes through it
        outer = owner._during_task
        while isinstance(outer, DrawingTask) and outer.turn is None:
            outer = outer.inner
        owner._during_task = outer

    return end


class _Waits:
    """The event that ends a plan, with turns for the figure in the thread that is blocked."""

    def __init__(self, event: threading.Event, turn: Callable[[], None]) -> None:
        self._event = event
        self._turn = turn
        self._thread = threading.get_ident()

    def wait(self, timeout: float | None = None) -> bool:
        """See `threading.Event`."""
        if threading.get_ident() != self._thread:  # Qt's loop is ended by a thread that waits
            return self._event.wait(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = TURN_S if deadline is None else deadline - time.monotonic()
            if left <= 0.0 or self._event.wait(min(TURN_S, left)):
                break
        return self._event.is_set()

    def is_set(self) -> bool:
        """See `threading.Event`."""
        if not self._event.is_set() and threading.get_ident() == self._thread:
            self._turn()
        return self._event.is_set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)


def _log(where: str, error: BaseException) -> None:
    logger.warning("%s: %s: %s", where, type(error).__name__, error, exc_info=error)
