"""What is asked of a RunEngine from another thread, so that it can never be left stuck."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import TimeoutError as NotInTime

from bluesky import RunEngine

from xas_live.errors import Refusal

ANSWER_S = 10.0
"""So long the RunEngine's loop is waited for (s): it answers at once, unless something holds it up."""

_LOOK_S = 0.05


class NotRunningError(Refusal):
    """The plan that was to be acted on is paused, or has ended."""


class PlanControl:
    """Pauses, stops and suspends the plan of a RunEngine, from any thread but the RunEngine's own.

    What depends on the state of the RunEngine is looked up and asked for within its event loop, where the
    state cannot change in between.

    Parameters
    ----------
    RE : the RunEngine.
    """

    def __init__(self, RE: RunEngine) -> None:
        self._engine = RE

    def check_running(self, run_uid: str | None) -> None:
        """Refuse, unless the plan that made a run is running.

        Raises
        ------
        NotRunningError : when it is paused or ending, or has ended.
        """
        if self._engine.state != "running":
            raise NotRunningError(f"no plan runs (the RunEngine is {self._engine.state})")
        if run_uid not in self._engine._run_start_uids:
            raise NotRunningError("the plan that made this run has ended")

    def pause(self, run_uid: str | None) -> None:
        """Pause the plan that made a run at its next checkpoint, as one Ctrl-C does.

        Raises
        ------
        NotRunningError : see `check_running`.
        Refusal : when it cannot be resumed after a pause.
        """

        async def pause() -> None:
            self.check_running(run_uid)
            self._check_resumable("paused")
            await self._engine._request_pause_coro(True)

        self._in_loop(pause, "pause")

    def stop(self, run_uid: str | None) -> None:
        """Stop the plan that made a run, as `RE.stop()` does: it cleans up, and its runs end as "success".

        Raises
        ------
        NotRunningError : see `check_running`. A paused plan is for whoever paused it.
        """

        async def stop() -> None:
            self.check_running(run_uid)
            # RE.stop() itself looks at the state in this thread, and would carry a plan on here, in the wrong
            # thread, that was paused in the meantime.
            await self._engine._stop_coro()

        self._in_loop(stop, "stop")

    def suspend(self, run_uid: str | None, seconds: float, why: str) -> Suspension:
        """Suspend the plan that made a run for some time.

        Devices stop, and the plan goes on from its last checkpoint.

        Parameters
        ----------
        seconds : after which it goes on, at the latest.
        why : shown by the RunEngine, and kept among the interruptions of the run.

        Raises
        ------
        NotRunningError : see `check_running`.
        Refusal : when it cannot be resumed.
        """
        suspension = Suspension(seconds)

        async def suspend() -> None:
            self.check_running(run_uid)
            self._check_resumable("suspended")
            self._engine.request_suspend(suspension.over, justification=why)

        self._in_loop(suspend, "suspend")
        return suspension

    def _check_resumable(self, how: str) -> None:
        if not self._engine.resumable:
            raise Refusal(
                f"the plan cannot be {how} here, only ended: it has cleared its checkpoint, as fly scans do"
            )

    def _in_loop(self, ask: Callable[[], Awaitable[None]], what: str) -> None:
        """Run a coroutine in the RunEngine's loop, and wait for it; not for ever, as its own methods do."""
        future = asyncio.run_coroutine_threadsafe(_coroutine(ask), self._engine.loop)
        try:
            future.result(ANSWER_S)
        except NotInTime as error:
            future.cancel()
            raise TimeoutError(
                f"the RunEngine has not answered for {ANSWER_S:g} s to {what}: a device or a callback holds "
                "it up"
            ) from error


class Suspension:
    """A plan that is suspended, until the time is over or it is released. For any thread.

    Attributes
    ----------
    why : it ended, in words; "" while it lasts.
    """

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._seconds = seconds
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.why = ""

    def release(self, why: str) -> None:
        """Let the plan go on."""
        with self._lock:
            if not self._ended.is_set():
                self.why = why
                self._ended.set()

    def wait(self) -> str:
        """Wait until it has ended; return why."""
        self._ended.wait(max(0.0, self._until - time.monotonic()))
        self.release(f"the {self._seconds:g} s are over")
        return self.why

    async def over(self) -> None:
        """What the RunEngine waits for; cancelled where the plan is interrupted."""
        try:
            while not self._ended.is_set() and time.monotonic() < self._until:
                await asyncio.sleep(_LOOK_S)
        except asyncio.CancelledError:
            self.release("the plan was interrupted")
            raise
        self.release(f"the {self._seconds:g} s are over")


async def _coroutine(ask: Callable[[], Awaitable[None]]) -> None:
    await ask()
