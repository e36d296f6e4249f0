"""SpectrumAssembler: Bluesky documents in, spectra out."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from xas_live.callbacks.assembly.channels import ChannelMapping
from xas_live.callbacks.assembly.messages import Messages
from xas_live.callbacks.assembly.run import AssemblySettings, RunAssembler
from xas_live.callbacks.assembly.sweeps import TOLERANCE_EV
from xas_live.spectrum import Spectrum

if TYPE_CHECKING:
    from event_model.documents import EventDescriptor, RunStart

MOST_RUNS = 1000
"""So many runs may be open at a time; a run whose stop never comes would be kept for ever."""

MOST_ORPHANS = 2000
"""Documents kept whose descriptor has not come."""

TELL_ORPHANS = 50
"""Documents without their descriptor, from which the user is told."""

logger = logging.getLogger("xas_live")


class SpectrumAssembler:
    """Puts the points of runs together to sweeps of the energy axis.

    Call it with documents of any number of runs, interleaved or not; it returns the spectra that each
    document completes. A sweep ends where the energy turns or jumps back, or with the run. Sweeps measured
    downwards are returned ascending. Values missing or not filled are NaN. Documents are routed to one
    `RunAssembler` a run. Of runs that do not end, the 1000 that got documents last are kept.

    Energy and channels are read from one stream that has both; where none has, from several, joined by time.
    Values may come with events, stand in files announced by stream_resource and stream_datum, or by the
    older resource and datum.

    Parameters
    ----------
    mapping : which fields to use; what it leaves out is guessed, see `ChannelMapping`.
    source : written to the provenance of the spectra.
    tolerance : how far the energy may run back without turning (eV).
    whole_runs : every run is one sweep, whatever its energies do, its points in the order measured (turned
        round where the scan ran downwards): the quality checks then name energies out of order.
    say : takes lines for the user, each once: the mapping guessed, and why a run gives no spectra. Default:
        the log "xas_live".

    Attributes
    ----------
    fragments : pieces too short to be a sweep (under 5 points, or no way made) that were kept out of the runs
        that have ended.

    Examples
    --------
    >>> assembler = SpectrumAssembler()
    >>> spectra = [s for name, doc in documents for s in assembler(name, doc)]
    """

    def __init__(
        self,
        mapping: ChannelMapping | None = None,
        *,
        source: str = "live",
        tolerance: float = TOLERANCE_EV,
        whole_runs: bool = False,
        say: Callable[[str], None] = logger.info,
    ) -> None:
        self.fragments = 0
        self._settings = AssemblySettings(mapping, source, tolerance, whole_runs)
        self._messages = Messages(say)
        self._runs: OrderedDict[str, RunAssembler] = OrderedDict()  # by uid, the one used last at the end
        self._parts: dict[str, RunAssembler] = {}  # by uid of the descriptor or older resource
        self._latest: RunAssembler | None = None  # the one that got the last point
        self._orphans: OrderedDict[str, list[tuple[str, Mapping[str, object]]]] = OrderedDict()
        self._ended: OrderedDict[str, str] = OrderedDict()  # labels of runs that have ended, by descriptor

    @property
    def mapping(self) -> ChannelMapping | None:
        """Which fields to use. Set it for the runs that begin from then on."""
        return self._settings.mapping

    @mapping.setter
    def mapping(self, mapping: ChannelMapping | None) -> None:
        self._settings = replace(self._settings, mapping=mapping)

    @property
    def growing(self) -> Spectrum | None:
        """The sweep that got the last point, as far as it is measured; None between sweeps."""
        return None if self._latest is None else self._latest.growing

    def fields_read(self, descriptor: str) -> frozenset[str] | None:
        """Return the fields of a stream that are read, by its descriptor; None where that is not known."""
        run = self._parts.get(descriptor)
        return None if run is None else run.fields_read(descriptor)

    def __call__(self, name: str, doc: Mapping[str, object]) -> list[Spectrum]:
        """Take one document and return the spectra that it completes, in the order measured.

        Raises
        ------
        FieldError : when the channels of an event do not have one length. Other points are not affected.
        """
        if name == "start":
            self._start(cast("RunStart", doc))
            return []
        run = self._run_of(name, doc)
        if run is None:
            self._keep_orphan(name, doc)
            return []
        spectra = self._take(run, name, doc)
        if name in ("descriptor", "resource"):
            for early in self._orphans.pop(str(doc["uid"]), []):
                spectra += self._take(run, *early)
        return spectra

    def finish(self) -> list[Spectrum]:
        """End the runs whose stop document has not come; return what is left of them as incomplete sweeps."""
        spectra: list[Spectrum] = []
        for run in list(self._runs.values()):
            spectra += run.end_without_stop()
            self._forget(run)
        return spectra

    def _take(self, run: RunAssembler, name: str, doc: Mapping[str, object]) -> list[Spectrum]:
        """Return the spectra that a document of a known run completes."""
        before = run.points
        try:
            return run(name, doc)
        finally:
            if run.points != before:
                self._latest = run
            if name == "stop":
                self._forget(run)

    def _keep_orphan(self, name: str, doc: Mapping[str, object]) -> None:
        """Keep a document that came before the descriptor or resource that it belongs to."""
        key = str(doc.get("resource" if name in ("datum", "datum_page") else "descriptor", ""))
        if key in self._ended:
            label = self._ended[key]
            self._messages.tell_once(
                f"Run {label}: documents came after its stop document, and are left out.",
                subject=f"after stop {label}",
            )
        elif key:
            kept = self._orphans.setdefault(key, [])
            kept.append((name, doc))
            if len(kept) == TELL_ORPHANS:
                self._messages.tell(
                    f"{len(kept)} documents came whose descriptor has not: was the run under way before? "
                    "They wait for it."
                )
            while sum(map(len, self._orphans.values())) > MOST_ORPHANS:
                self._orphans.popitem(last=False)

    def _start(self, doc: RunStart) -> None:
        if (late := self._runs.get(str(doc["uid"]))) is not None:
            late.start_late(doc)
            return
        run = RunAssembler(doc, self._settings, self._messages)
        self._runs[run.uid] = run
        self._runs.move_to_end(run.uid)
        if len(self._runs) > MOST_RUNS:
            self._forget(next(iter(self._runs.values())))
            self._messages.tell_once(
                f"More than {MOST_RUNS} runs have begun and not ended: whenever another begins, the one that "
                "got a document longest ago is given up.",
                subject="runs given up",
            )

    def _run_of(self, name: str, doc: Mapping[str, object]) -> RunAssembler | None:
        """Return the run that a document belongs to; None where that is not known, or over."""
        run: RunAssembler | None = None
        match name:
            case "event" | "event_page" | "stream_datum":
                run = self._parts.get(str(doc["descriptor"]))
            case "datum" | "datum_page":
                run = self._parts.get(str(doc["resource"]))
            case "descriptor" | "resource" | "stream_resource" | "stop":
                run = self._runs.get(str(doc.get("run_start", "")))
                if run is None and name == "resource" and "run_start" not in doc:  # valid by event-model
                    run = next(reversed(self._runs.values()), None)
                if run is None and name == "descriptor":
                    run = self._without_start(cast("EventDescriptor", doc))
                if run is not None and name in ("descriptor", "resource"):
                    self._parts[str(doc["uid"])] = run
        if run is not None:
            self._runs.move_to_end(run.uid)
        return run

    def _without_start(self, doc: EventDescriptor) -> RunAssembler:
        """Return the run of a descriptor whose start document has not come."""
        start: RunStart = {"uid": str(doc["run_start"]), "time": float(doc.get("time", 0.0))}
        run = RunAssembler(start, self._settings, self._messages, started=False)
        self._runs[run.uid] = run
        self._messages.tell(
            f"Run {run.label}: its start document has not come. What it says of the sample is not known, and "
            "its sweeps are incomplete."
        )
        return run

    def _forget(self, run: RunAssembler) -> None:
        """Drop a run that has ended, or is given up."""
        self._ended |= {uid: run.label for uid, other in self._parts.items() if other is run}
        while len(self._ended) > MOST_RUNS:
            self._ended.popitem(last=False)
        self.fragments += run.fragments
        del self._runs[run.uid]
        self._parts = {uid: other for uid, other in self._parts.items() if other.uid != run.uid}
        if self._latest is run:
            self._latest = None
