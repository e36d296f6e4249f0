"""AnalyzerProcess: the analysis in a process of its own, so that the session keeps its interpreter."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Literal, NamedTuple

from xas_live.analysis.config import AnalysisConfig
from xas_live.analysis.history import Earlier
from xas_live.analysis.messages import answer, pieces
from xas_live.analysis.pool import AnalyzerPool
from xas_live.errors import XasLiveError
from xas_live.host.process import end_process, start_module, tail
from xas_live.models.bundle import Bundle
from xas_live.models.registry import available_models
from xas_live.modes import ENTRY_POINTS, is_in_every_process
from xas_live.prediction import Prediction
from xas_live.reduction.anchor import FoilAnchor
from xas_live.spectrum import Spectrum

PAUSES_S = (0.0, 0.0, 1.0, 2.0, 4.0, 8.0)
"""Before each try at the same sweep (s); as many ends of the process in a row are borne."""

TRIES_OF_MANY = 2
"""At several sweeps, or a preview: after that they are tried one by one, and a preview is left out."""

REST_S = 30.0
"""For so long none is started where none could be kept running (s)."""

_ON_CPU_FROM = 3  # the try from which on the other process leaves a GPU alone
_PATIENCE_S = 5.0  # with a process that should end, or answer before it is ended
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

logger = logging.getLogger("xas_live")


class AnalysisProcessError(XasLiveError, RuntimeError):
    """The analysis process met an error, or cannot be kept running."""


class AnalyzerProcess:
    """An `AnalyzerPool` in another process: heavy analysis takes no time from this one's threads.

    The other process computes with one thread; nothing is set in this one. When it ends, another is started
    and tries the same sweep again, up to six times, from the fourth on without a GPU. A sweep over which each
    of them ends is given up; where that is not the sweep's doing, for not all have got as far, the analysis
    goes on in this process, on the CPU. What the other logs appears in this process's log "xas_live". Safe to
    share between threads; requests are answered in turn.

    Parameters
    ----------
    model, anchor, config, device, standards : as for `AnalyzerPool`. With "auto", a GPU is looked for, and
        used, in the other process only.

    Raises
    ------
    ModelError, DeviceError : as `AnalyzerPool`.
    OSError : when no process can be started.

    Examples
    --------
    >>> with AnalyzerProcess("pt-l3") as analyzer:
    ...     predictions = analyzer.analyze(spectra)
    """

    def __init__(
        self,
        model: str | Path | Sequence[str | Path] | None = None,
        anchor: FoilAnchor | Sequence[FoilAnchor] | Literal["reference", "auto"] | None = "auto",
        config: AnalysisConfig | None = None,
        device: str = "auto",
        standards: Mapping[str, Spectrum] | None = None,
    ) -> None:
        # Refuses wrong settings now, and knows the models that are used.
        self._checked = AnalyzerPool(model, anchor, config, "cpu" if device == "auto" else device, standards)
        self._settings: dict[str, Any] = {
            "model": _settled(model),
            "anchor": anchor,
            "config": config,
            "device": device,
            "standards": None if standards is None else dict(standards),
        }
        self._here: AnalyzerPool | None = None  # analyses in this process where no other can be kept running
        self._log = tempfile.NamedTemporaryFile(prefix="xas_live-analysis-", suffix=".log")  # noqa: SIM115
        self._warned: set[str] = set()
        self._rests_until = 0.0
        self._out_of_order = False  # the user was told that no process can be kept running
        self._owner = os.getpid()
        self._lock, self._closing = Lock(), Event()
        self._child: _Child | None = _Child(self._settings, Path(self._log.name))

    @property
    def models(self) -> tuple[Bundle, ...]:
        """The models chosen, in their order; empty where they are picked by absorber."""
        return self._checked.models

    def models_for(self, spectrum: Spectrum) -> list[Bundle]:
        """The models that judge this spectrum: see `AnalyzerPool.models_for`."""
        return self._checked.models_for(spectrum)

    @property
    def pid(self) -> int | None:
        """Process id of the other process; None while there is none."""
        child = self._child
        return None if child is None else child.process.pid

    def analyze(self, spectra: Sequence[Spectrum]) -> list[Prediction]:
        """One prediction a spectrum, its primary model's, in order.

        Raises
        ------
        AnalysisProcessError : when the analysis raised, or the process ended over these spectra each time.
        """
        found: list[Prediction] = self._ask("analyze", spectra)
        return [replace(p, provenance=s.provenance) for p, s in zip(found, spectra, strict=True)]

    def analyze_all(self, spectra: Sequence[Spectrum]) -> list[list[Prediction]]:
        """What all models say: see `AnalyzerPool.analyze_all`. Raises as `analyze` does."""
        found: list[list[Prediction]] = self._ask("analyze_all", spectra)
        return [
            [replace(prediction, provenance=spectrum.provenance) for prediction in said]
            for said, spectrum in zip(found, spectra, strict=True)
        ]

    def submit(self, spectra: Sequence[Spectrum]) -> Future[list[list[Prediction]]]:
        """`analyze_all`, while the caller does something else."""
        found: Future[list[list[Prediction]]] = Future()

        def work() -> None:
            try:
                found.set_result(self.analyze_all(spectra))
            except BaseException as error:  # noqa: BLE001 raised where the result is taken
                found.set_exception(error)

        Thread(target=work, name="xas_live process", daemon=True).start()
        return found

    def preview(self, spectrum: Spectrum, earlier: Earlier | None = None) -> Prediction | None:
        """What can be said of a growing sweep: see `Analyzer.preview`. Raises as `analyze` does."""
        found: Prediction | None = self._ask("preview", [spectrum], earlier)[0]
        return None if found is None else replace(found, provenance=spectrum.provenance)

    def close(self) -> None:
        """End the other process, after what it is at. A later request starts another."""
        if self._owner != os.getpid():  # a forked process: it is the parent's
            return
        self._closing.set()
        if not self._lock.acquire(timeout=_PATIENCE_S):
            child = self._child
            if child is not None:  # stuck: whoever waits for its answer sees it end
                child.process.kill()
            return
        try:
            self._end_child()
        finally:
            self._lock.release()

    def __enter__(self) -> AnalyzerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<AnalyzerProcess {'not running' if self.pid is None else f'process {self.pid}'}>"

    def _ask(self, what: str, spectra: Sequence[Spectrum], earlier: Earlier | None = None) -> list[Any]:
        self._warn_of_modes(spectra)
        self._begin_after_fork()
        request = _Request(what, [_fields(spectrum) for spectrum in spectra], earlier)
        single = len(spectra) == 1 and what != "preview"
        with self._lock:
            self._closing.clear()
            if time.monotonic() >= self._rests_until:
                found = self._try(request, PAUSES_S if single else PAUSES_S[:TRIES_OF_MANY])
                if found is not None:
                    return found
            return self._ask_here(what, spectra, earlier)

    def _try(self, request: _Request, pauses: Sequence[float]) -> list[Any] | None:
        """The answer of a process, after as many ends as there are pauses before; None if none keeps running.

        Raises
        ------
        AnalysisProcessError : when each ended after it had loaded its models, or the analysis raised.
        """
        begun, how = 0, ""
        for tried, pause in enumerate(pauses):
            if self._closing.wait(pause):
                raise AnalysisProcessError("the analysis process is closed")
            try:
                found = self._answer(request, on_cpu=tried >= _ON_CPU_FROM)
            except (EOFError, OSError):
                begun += self._child is not None and self._child.begun
                how = self._let_go()
                if not tried and not self._out_of_order:
                    logger.warning("the analysis process %s: another is started, and tries again", how)
            else:
                if self._out_of_order:
                    logger.warning("the analysis process is running again")
                self._out_of_order = False
                return found
        if begun == len(pauses):
            raise AnalysisProcessError(f"the analysis process {how}, and so did others over the same spectra")
        self._rests_until = time.monotonic() + REST_S
        if not self._out_of_order:
            logger.warning(
                "the analysis process %s, and others could not be kept running: the analysis goes on in this "
                "process, on the CPU; another is tried in %.0f s",
                how,
                REST_S,
            )
        self._out_of_order = True
        return None

    def _ask_here(self, what: str, spectra: Sequence[Spectrum], earlier: Earlier | None) -> list[Any]:
        """The answer of this process, where no other can be kept running."""
        if self._here is None:
            self._here = AnalyzerPool(**(self._settings | {"device": "cpu"}))
        return answer(self._here, what, spectra, earlier)

    def _begin_after_fork(self) -> None:
        """Begin anew in a forked process: the analysis process is the parent's."""
        if self._owner != os.getpid():
            self._owner = os.getpid()
            self._lock, self._closing, self._child = Lock(), Event(), None

    def _warn_of_modes(self, spectra: Sequence[Spectrum]) -> None:
        """Say once of each detector mode that the other process does not know it."""
        for mode in {spectrum.mode for spectrum in spectra} - self._warned:
            self._warned.add(mode)
            if not is_in_every_process(mode):
                logger.warning(
                    "the detector mode %s is registered in this session only: the analysis process checks "
                    "its counts like any others and cannot flag self-absorption; an entry point in the "
                    "group %s makes it known to every process",
                    mode,
                    ENTRY_POINTS,
                )

    def _answer(self, request: _Request, *, on_cpu: bool) -> list[Any]:
        """The answer of the running process. Raises EOFError, OSError when it ends."""
        if self._child is None:
            if on_cpu:
                self._settings["device"] = "cpu"  # from now on: it may be the GPU that ends it
            self._child = _Child(self._settings, Path(self._log.name))
        try:
            found, failed = self._child.ask(request)
        except (EOFError, OSError):
            raise
        except BaseException:  # interrupted: the answer would be taken for the next request's
            self._end_child()
            raise
        if failed is not None:
            message, trace = failed
            error = AnalysisProcessError(message)
            error.add_note(f"In the analysis process:\n{trace}")
            raise error
        return found

    def _let_go(self) -> str:
        """Let go of the process that ended; how it did, in words."""
        child = self._child
        if child is None:
            return "could not be started"
        try:
            child.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._end_child()
            return "no longer answered"
        self._end_child()
        code = child.process.returncode
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        last = tail(Path(self._log.name), 1)
        return f"ended with code {code}{f' ({last})' if code and last else ''}"

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.connection.close()
            end_process(child.process, _PATIENCE_S)


class _Request(NamedTuple):
    """What is asked for, the fields of each spectrum, and what earlier sweeps tell, for a preview."""

    what: str
    spectra: list[dict[str, Any]]
    earlier: Earlier | None


class _Child:
    """One analysis process. It sees the socket close when this object, or the whole session, is gone."""

    def __init__(self, settings: Mapping[str, Any], log: Path) -> None:
        self.connection, theirs = Pipe()
        with theirs:
            self.process = start_module(
                "xas_live.analysis.child",
                [str(theirs.fileno()), str(os.getpid())],
                log,
                environment=_ONE_THREAD | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                keep_open=[theirs.fileno()],
            )
        self._settings: Mapping[str, Any] | None = settings
        self.begun = False  # it has loaded its models: what ends it now are the spectra, or somebody

    def ask(self, request: _Request) -> tuple[list[Any], tuple[str, str] | None]:
        """The answer; and if that failed, why, in words and as a traceback.

        Raises EOFError, OSError when the process ends.
        """
        if self._settings is not None:
            self.connection.send(self._settings)
            self._settings = None
        self.connection.send((request.what, len(request.spectra), request.earlier))
        for piece in pieces(request.spectra):
            self.connection.send(piece)
        found: list[Any] = []
        while True:
            kind, said = self.connection.recv()
            if kind == "begun":
                self.begun = True
            elif kind == "log":
                name, level, message = said
                logging.getLogger(name).log(level, "%s", message)
            elif kind == "piece":
                found += said
            else:
                return found, said if kind == "failed" else None


def _settled(model: Any) -> Any:
    """The models, folders in full: the session may go elsewhere before another process is started."""
    if model is None or str(model) in available_models():
        return model
    if isinstance(model, str | Path):
        return Path(model).expanduser().absolute()
    return [_settled(one) for one in model]


def _fields(spectrum: Spectrum) -> dict[str, Any]:
    """What the analysis looks at. The metadata may hold anything, and stay: predictions get them back."""
    return vars(spectrum) | {"provenance": replace(spectrum.provenance, metadata={})}
