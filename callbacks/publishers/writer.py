"""PredictionWriter: predictions become ordinary Bluesky runs, linked to the raw run by its uid."""

from __future__ import annotations

import json
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from event_model import ComposeEventPage, ComposeRunBundle, DocumentNames, compose_run, schema_validators

from xas_live import __version__
from xas_live.callbacks.publishers.base import BasePublisher, SweepResult
from xas_live.callbacks.publishers.results import anchor_of
from xas_live.errors import Refusal
from xas_live.prediction import FAILED, Decision, Prediction, Reduced, finite
from xas_live.spectrum import Array, Spectrum

if TYPE_CHECKING:
    from event_model.documents import Document, RunStart, RunStop

    from xas_live.analysis import Drift

SCHEMA = 1
"""Version of the derived runs' layout: part of their uid, raised when streams or columns change meaning."""

DECISIONS = "decisions"
"""Stream of what rules and plans did; `purpose` of a derived run that has nothing else."""

_ENDED = 64  # raw runs whose start is kept for decisions that come later
_NAMESPACE = uuid5(NAMESPACE_URL, "xas_live/derived-run")
_OBJECT = "xas_live"
_PRECISION = 3

COPIED = (
    "sample",
    "sample_name",
    "sample_id",
    "cycle",
    "proposal",
    "proposal_id",
    "data_session",
    "saf_id",
    "group",
    "tiled_access_tags",
)
"""Entries of a raw run's start document that derived runs have too: facilities search and guard by them."""

Emit = Callable[[str, "Document"], None]
ExitStatus = Literal["success", "abort", "fail"]


class NotWrittenError(Refusal):
    """A result that no derived run can hold, with the reason."""


class PredictionWriter(BasePublisher):
    """Composes the derived runs of each raw run and hands them to a writer of runs.

    One derived run holds what one model and configuration say of one absorber in one raw run. Its streams:
    `predictions`, one event a sweep, refused ones with NaN and the reason; `spectra`, the reduced spectrum
    and the network's input on the energy grid. What depends on the sweeps before has streams of its own:
    `drift`, one event a sweep, how the series of its sample stands, over runs (see `analysis.drift.Drift`);
    and where the run has repeats `averages`, the same as the first two of the average over its sweeps so
    far, with their number (`averaged`) and the noise of its points (`noise`, in edge steps). `decisions` has
    what rules and plans did because of its sweeps, one event each; what comes after the end of the run
    has derived runs of its own, whose `purpose` is "decisions".

    Sweeps are gathered until `batch_finished`, and written as one event page a stream: a page costs hardly
    more than an event.

    Its uid follows from raw run, model and configuration (`derived_uid`), so that the same analysis of the
    same run is the same derived run. Several models have one derived run each, open side by side, and so has
    a model that replaces another within a raw run. When a model's configuration changes, its derived run is
    closed and another opened.

    Parameters
    ----------
    write : takes `(name, document)`, as `Archive.derived_writer()` does.
    copied : entries of the raw run's start document that derived runs have too; of them
        `tiled_access_tags` says in Tiled who may read them. Wherever a copied entry has the sample's name, it
        is there as `sample_name`, too. The temperature of the first sweep (K) is always there.
    attempt : given the uid of a raw run, the number of this attempt; default: always 1. For a forced redo:
        `Archive.next_attempt`.
    """

    def __init__(
        self,
        write: Emit,
        attempt: Callable[[str], int] | None = None,
        copied: Sequence[str] = COPIED,
    ) -> None:
        self._write = write
        self._copied = tuple(copied)
        self._attempt = attempt
        self._starts: dict[str, RunStart] = {}
        self._ended: OrderedDict[str, RunStart] = OrderedDict()
        self._open: dict[str, dict[tuple[str | None, ...], _DerivedRun]] = {}
        self._first_attempt: dict[str, int] = {}
        self._opened: Counter[tuple[str, str]] = Counter()

    def run_started(self, start: RunStart) -> None:
        """Remember the raw run."""
        self._starts[str(start["uid"])] = start

    def predicted(self, result: SweepResult) -> None:
        """Take one sweep, each prediction into the derived run of its model; written with those of its batch.

        Raises
        ------
        NotWrittenError : when the spectrum comes from no Bluesky run, to which the result could be linked,
            or a curve is of another length than in the sweeps before. What other models say is written.
        """
        problems = []
        for prediction, drift in zip(result.predictions, result.drift, strict=True):
            try:
                self._add(result.spectrum, prediction, drift)
            except NotWrittenError as problem:
                problems.append(problem)
        if problems:
            raise NotWrittenError("; ".join(dict.fromkeys(map(str, problems))))

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Take an average, into the derived run of its sweeps.

        Raises
        ------
        NotWrittenError : when no derived run of the same analysis is open, as where the analysis of the
            average alone has failed.
        """
        run = self._open.get(_raw_uid(spectrum, prediction), {}).get(_series(prediction))
        if run is None or not run.holds(prediction):
            where = prediction.provenance
            raise NotWrittenError(
                f"the average of {where.averaged} sweeps of scan {where.scan} was not analysed as its sweeps "
                f"were ({prediction}); it was not written"
            )
        run.add_average(spectrum, prediction)

    def decided(self, decision: Decision) -> None:
        """Write a decision: into the first derived run of its raw run, or a run of its own after that."""
        raw_uid = decision.run_uid
        run = next(iter(self._open.get(raw_uid or "", {}).values()), None)
        if run is not None:
            run.decisions.add(decision.time, decision.columns(), {}, dict, tells=True)
            run.flush()
            return
        bundle = compose_run(metadata=self._of_decisions(raw_uid))
        self._write("start", bundle.start_doc)
        decisions = _Stream(self._write, bundle, DECISIONS)
        decisions.add(decision.time, decision.columns(), {}, dict, tells=True)
        decisions.flush()
        self._write("stop", bundle.compose_stop())

    def batch_finished(self) -> None:
        """Write the sweeps and averages of a batch."""
        for runs in self._open.values():
            for run in runs.values():
                run.flush()

    def run_stopped(self, stop: RunStop) -> None:
        """Close the derived runs of a raw run with its exit status."""
        raw_uid = str(stop["run_start"])
        status = stop.get("exit_status", "fail")
        self._finish(raw_uid, status, str(stop.get("reason", "")), stop.get("time"))

    def close(self) -> None:
        """Close the derived runs whose raw run has not ended."""
        for raw_uid in list(self._open):
            self._finish(raw_uid, "abort", "the analysis ended before its raw run")

    def _add(self, spectrum: Spectrum, prediction: Prediction, drift: Drift) -> None:
        raw_uid = _raw_uid(spectrum, prediction)
        runs, series = self._open.setdefault(raw_uid, {}), _series(prediction)
        run = runs.get(series)
        if run is not None and not run.holds(prediction):
            run.stop("success", "the configuration of the model changed")
            del runs[series]
            run = None
        if run is None:
            run = runs[series] = self._begin(raw_uid, spectrum, prediction)
        run.add(spectrum, prediction, drift)

    def _begin(self, raw_uid: str, spectrum: Spectrum, prediction: Prediction) -> _DerivedRun:
        identity = _identity(prediction)
        if raw_uid not in self._first_attempt:
            self._first_attempt[raw_uid] = self._attempt(raw_uid) if self._attempt else 1
        attempt = self._first_attempt[raw_uid] + self._opened[raw_uid, identity]
        self._opened[raw_uid, identity] += 1
        raw_start = self._starts.get(raw_uid)
        given: Mapping[str, object] = spectrum.provenance.metadata if raw_start is None else raw_start
        metadata: dict[str, object] = {
            "raw_uid": raw_uid,
            "attempt": attempt,
            "model": prediction.model,
            "model_sha256": prediction.model_sha256,
            "configuration": dict(prediction.configuration),
            "calibrated_on": prediction.calibrated_on,
            "schema_version": SCHEMA,
            "software": {"xas_live": __version__},
            "analysed_at": time.time(),
            "hints": {"dimensions": [[["sweep"], "predictions"]]},
            "read": {key: value for key, value in prediction.provenance.read.items() if key != "left_out"},
        }
        began, scan_id = _time(spectrum), spectrum.provenance.scan_id
        if raw_start is not None:
            began, scan_id = raw_start.get("time", began), raw_start.get("scan_id", scan_id)
        copied = _valid({key: given[key] for key in self._copied if key in given})
        metadata = copied | metadata
        optional = {
            "scan_id": scan_id,
            "element": prediction.element,
            "edge": prediction.edge,
            "sample_name": _sample_name(copied),
            "temperature": spectrum.temperature,
        }
        metadata |= {key: value for key, value in optional.items() if value is not None}
        bundle = compose_run(
            uid=derived_uid(raw_uid, prediction, attempt),
            time=float(began),
            metadata=metadata,
        )
        return _DerivedRun(self._write, bundle, identity)

    def _of_decisions(self, raw_uid: str | None) -> dict[str, object]:
        """Return the metadata of a run of decisions alone: guarded and found as its raw run is."""
        start = self._starts.get(raw_uid or "") or self._ended.get(raw_uid or "")
        given: Mapping[str, object] = start or {}
        copied = _valid({key: given[key] for key in (*self._copied, "scan_id") if key in given})
        told = {
            "purpose": DECISIONS,
            "schema_version": SCHEMA,
            "software": {"xas_live": __version__},
            "hints": {"dimensions": [[["time"], DECISIONS]]},
        }
        optional = {"raw_uid": raw_uid, "sample_name": _sample_name(copied)}
        return copied | told | {key: value for key, value in optional.items() if value is not None}

    def _finish(self, raw_uid: str, status: ExitStatus, reason: str, when: float | None = None) -> None:
        for run in self._open.pop(raw_uid, {}).values():
            run.stop(status, reason, when)
        start = self._starts.pop(raw_uid, None)
        if start is not None:
            self._ended[raw_uid] = start
            if len(self._ended) > _ENDED:
                self._ended.popitem(last=False)
        self._first_attempt.pop(raw_uid, None)
        for key in [key for key in self._opened if key[0] == raw_uid]:
            del self._opened[key]


def derived_uid(raw_uid: str, prediction: Prediction, attempt: int = 1) -> str:
    """Uid of the derived run that a prediction belongs to.

    A UUIDv5 of the raw run, the model and its hash, the absorber, the configuration, the version of the
    layout, and the attempt.
    """
    return str(uuid5(_NAMESPACE, f"{raw_uid}\n{_identity(prediction)}\n{attempt}"))


def _valid(entries: dict[str, object]) -> dict[str, object]:
    """Return entries of a start document; of one that event-model does not allow, its text.

    A RunEngine takes them as they are, and a result must not be lost by a strange one.
    """
    schema = schema_validators[DocumentNames.start]
    for error in schema.iter_errors({"uid": "", "time": 0.0, **entries}):
        key = str(error.absolute_path[0])
        entries[key] = str(entries[key])
    return entries


def _sample_name(start: Mapping[str, object]) -> str | None:
    """Return the sample's name, wherever a start document has it: one key is enough to search for it."""
    sample = start.get("sample")
    within = sample.get("name") if isinstance(sample, Mapping) else sample
    name = start.get("sample_name") or within
    return str(name) if isinstance(name, str | int) else None


def _raw_uid(spectrum: Spectrum, prediction: Prediction) -> str:
    raw_uid = prediction.provenance.run_uid or spectrum.provenance.run_uid
    if raw_uid is None:
        raise NotWrittenError(
            f"the spectrum {spectrum.provenance.scan!r} has no run uid in its provenance: its prediction "
            "cannot be linked to a raw run, and was not written"
        )
    return raw_uid


def _series(prediction: Prediction) -> tuple[str | None, ...]:
    """Return which of a raw run's derived runs it belongs to: one absorber's by one model.

    Sweeps on which the analysis failed have one of their own: that of the others is shorter for them, and a
    replay that predicts them all takes its place.
    """
    return prediction.element, prediction.edge, prediction.model_sha256, FAILED if prediction.failed else ""


def _identity(prediction: Prediction) -> str:
    parts = {
        "model": prediction.model,
        "model_sha256": prediction.model_sha256,
        "element": prediction.element,
        "edge": prediction.edge,
        "configuration": dict(prediction.configuration),
        "schema": SCHEMA,
    }
    if prediction.failed:
        parts["failed"] = True
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))


class _DerivedRun:
    """One derived run while it is written.

    Parameters
    ----------
    write : takes its documents.
    bundle : composes them.
    identity : of the analysis, as `_identity` tells it.
    """

    def __init__(self, write: Emit, bundle: ComposeRunBundle, identity: str) -> None:
        self._identity = identity
        self._configuration: Mapping[str, object] | None = None
        self._write = write
        self._bundle = bundle
        write("start", bundle.start_doc)
        self._predictions = _Stream(write, bundle, "predictions", overflow="other_values")
        self._spectra = _Stream(write, bundle, "spectra")
        self._drift = _Stream(write, bundle, "drift")
        self._averages = _Stream(write, bundle, "averages", overflow="other_values")
        self.decisions = _Stream(write, bundle, DECISIONS)
        self._model = (bundle.start_doc["model"], bundle.start_doc["model_sha256"])

    def holds(self, prediction: Prediction) -> bool:
        """Whether a prediction of the same absorber is of the same analysis."""
        # The sweeps of a batch share one configuration: its text, which takes longer, is made once for them.
        same = prediction.configuration is self._configuration
        if same and self._model == (prediction.model, prediction.model_sha256):
            return True
        if _identity(prediction) != self._identity:
            return False
        self._configuration = prediction.configuration
        return True

    def add(self, spectrum: Spectrum, prediction: Prediction, drift: Drift) -> None:
        when, sweep = _time(spectrum), {"sweep": int(prediction.provenance.sweep)}
        units = partial(_units, prediction)
        quantities, curves = prediction.outcome.columns(), _curves(prediction)
        facts = _facts(spectrum, prediction)
        self._predictions.add(when, facts, dict(quantities), units, tells=_tells(prediction))
        self._spectra.add(when, sweep, curves, units, tells=bool(curves))
        self._drift.add(when, sweep, _standing(drift), units, tells=True)

    def add_average(self, spectrum: Spectrum, prediction: Prediction) -> None:
        facts = _facts(spectrum, prediction) | {
            "averaged": int(prediction.provenance.averaged),
            "noise": _number(_noise(spectrum, prediction)),
        }
        tells = _tells(prediction)
        both = {**prediction.outcome.columns(), **(_curves(prediction) if tells else {})}
        self._averages.add(_time(spectrum), facts, both, partial(_units, prediction), tells=tells)

    def flush(self) -> None:
        """Write the sweeps told so far, one page a stream; averages after their sweeps."""
        for stream in (self._predictions, self._spectra, self._drift, self._averages, self.decisions):
            stream.flush()

    def stop(self, status: ExitStatus, reason: str = "", when: float | None = None) -> None:
        self._predictions.finish()
        self._averages.finish()
        self.flush()
        self._write(
            "stop", self._bundle.compose_stop(exit_status=status, reason=reason, time=when or time.time())
        )


Cell = float | int | bool | str | Array
"""A number, a truth, a text, or an array of numbers."""

Values = dict[str, Cell]
Row = Mapping[str, Cell]
"""Values of one event by column."""

Units = Callable[[], Mapping[str, str]]
"""Gives the units of the columns that have one."""


class _Stream:
    """One stream, whose columns are the same for all events and yet not known before the first good sweep.

    A refused sweep does not tell which quantities the model predicts, nor does one of which it only says what
    it is besides metal. The events of such sweeps therefore wait for the first that does, or for the end of
    the run. The others are gathered, and written as one page at `flush`.
    """

    def __init__(self, write: Emit, bundle: ComposeRunBundle, name: str, overflow: str | None = None) -> None:
        self._write = write
        self._bundle = bundle
        self._name = name
        self._overflow = overflow
        self._waiting: list[tuple[float, Row, Values]] = []
        self._gathered: list[tuple[float, Values]] = []
        self._names: list[str] = []
        self._missing: Values = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._compose: ComposeEventPage | None = None

    def add(self, when: float, facts: Row, quantities: Values, units: Units, *, tells: bool) -> None:
        """Take an event: facts that every sweep has, quantities, and whether these are all there may be."""
        if self._compose is None:
            if not tells:
                self._waiting.append((when, facts, quantities))
                return
            self._begin(when, facts, quantities, units())
        self._gather(when, facts, quantities)

    def finish(self) -> None:
        """Let the events go that wait."""
        if self._waiting:
            when, facts, _ = self._waiting[0]
            every = {name: value for *_, quantities in self._waiting for name, value in quantities.items()}
            self._begin(when, facts, every, _UNITS)

    def flush(self) -> None:
        """Write the events gathered."""
        rows, self._gathered = self._gathered, []
        if not rows or self._compose is None:
            return
        times = [when for when, _ in rows]
        nothing = self._missing
        data = {
            name: _column([row[name] if name in row else nothing[name] for _, row in rows])
            for name in self._names
        }
        stamps = dict.fromkeys(data, np.array(times))
        # Its columns are those of the descriptor; the check of a page would look at every value anew.
        self._write("event_page", self._compose(data=data, timestamps=stamps, time=times, validate=False))

    def _begin(self, when: float, facts: Row, quantities: Values, units: Mapping[str, str]) -> None:
        self._missing = {name: _nothing(value) for name, value in quantities.items()}
        self._shapes = {name: _shape(value) for name, value in quantities.items() if _shape(value)}
        values = {**facts, **quantities}
        if self._overflow is not None:
            values[self._overflow] = ""
        self._names = list(values)
        times = [when, *(time for time, *_ in self._waiting)]
        descriptor = self._bundle.compose_descriptor(
            name=self._name,
            data_keys={name: _data_key(value, units.get(name, "")) for name, value in values.items()},
            object_keys={_OBJECT: list(values)},
            configuration={_OBJECT: {"data": {}, "timestamps": {}, "data_keys": {}}},
            hints={_OBJECT: {"fields": _worth_showing(quantities)}},
            # Not after its events: readers sort documents by time.
            time=min(times),
        )
        self._write("descriptor", descriptor.descriptor_doc)
        self._compose = descriptor.compose_event_page
        waiting, self._waiting = self._waiting, []
        for earlier, its_facts, its_quantities in waiting:
            self._gather(earlier, its_facts, its_quantities)

    def _gather(self, when: float, facts: Row, quantities: Values) -> None:
        for name, shape in self._shapes.items():
            if name in quantities and _shape(quantities[name]) != shape:
                raise NotWrittenError(
                    f"{name} has {list(_shape(quantities[name]))} points and {list(shape)} in earlier sweeps "
                    "of the run, though model and configuration are the same; it was not written"
                )
        values = {**facts, **quantities}
        if self._overflow is not None:
            late = quantities.keys() - self._missing.keys()
            others = {
                k: v if isinstance(v, str) else finite(v)
                for k, v in quantities.items()
                if k in late and not isinstance(v, np.ndarray)
            }
            values[self._overflow] = json.dumps(others) if others else ""
        self._gathered.append((when, values))


def _column(values: list[Cell]) -> list[Cell] | Array:
    """Values of one column for a page: texts as a list, all else as an array (rows, ...)."""
    return values if isinstance(values[0], str) else np.array(values)


def _shape(value: Cell) -> tuple[int, ...]:
    return value.shape if isinstance(value, np.ndarray) else ()


def _nothing(value: Cell) -> Cell:
    """What stands for a missing value: NaN, in its shape; of texts the empty one."""
    if isinstance(value, str):
        return ""
    return np.full(value.shape, math.nan) if isinstance(value, np.ndarray) else math.nan


def _data_key(value: Cell, unit: str) -> dict[str, object]:
    """The data key that declares a value."""
    key: dict[str, object] = {"source": _OBJECT, "shape": list(_shape(value)), **_DTYPES[type(value)]}
    return key | ({"units": unit} if unit else {})


_DTYPES: dict[type, dict[str, object]] = {
    str: {"dtype": "string"},
    bool: {"dtype": "boolean", "dtype_numpy": "|b1"},
    int: {"dtype": "integer", "dtype_numpy": "<i8"},
    float: {"dtype": "number", "dtype_numpy": "<f8", "precision": _PRECISION},
    np.ndarray: {"dtype": "array", "dtype_numpy": "<f8"},
}

_UNITS = {
    "temperature": "K",
    "e0": "eV",
    "shift": "eV",
    "diameter": "nm",
    "diameter_lower": "nm",
    "diameter_upper": "nm",
    "analysis_seconds": "s",
    "energy_drift": "eV",
    "energy": "eV",
}


def _units(prediction: Prediction) -> Mapping[str, str]:
    """Units of all columns that have one."""
    units, reduced = _UNITS | prediction.outcome.units(), prediction.reduced
    if reduced is None:
        return units
    return units | {_axis(reduced): reduced.x_unit} | ({reduced.kind: reduced.unit} if reduced.unit else {})


def _axis(reduced: Reduced) -> str:
    """Name of the column of its grid."""
    return "k" if reduced.kind == "chi" else "energy"


def _worth_showing(quantities: Values) -> list[str]:
    numbers = [k for k, value in quantities.items() if not isinstance(value, str) and not _shape(value)]
    return [k for k in numbers if not k.endswith(("_lower", "_upper", "_std"))]


def _facts(spectrum: Spectrum, prediction: Prediction) -> Values:
    size = prediction.size
    return {
        "sweep": int(prediction.provenance.sweep),
        "scan": prediction.provenance.scan,
        "left_out": "; ".join(_texts(prediction.provenance.read.get("left_out"))),
        "raw_stream": prediction.provenance.stream,
        "refused": prediction.refused or "",
        "flags": ",".join(prediction.flags),
        **prediction.verdict.columns(),
        "in_domain": bool(prediction.in_domain),
        "domain_judged": bool(prediction.domain_judged),
        "domain_p": _number(prediction.domain.p),
        "domain_score": _number(prediction.domain.score),
        "domain_reason": prediction.domain.reason,
        "anchored": bool(prediction.anchored),
        "anchor": anchor_of(prediction),
        "temperature": _number(spectrum.temperature),
        "aligned": prediction.aligned,
        "partial": bool(prediction.partial),
        "e0": _number(prediction.e0),
        "edge_step": _number(prediction.edge_step),
        "shift": _number(prediction.shift),
        "diameter": _number(size.diameter_nm if size else None),
        "diameter_lower": _number(size.lower if size else None),
        "diameter_upper": _number(size.upper if size else None),
        "size": size.label if size else "",
        "analysis_seconds": float(prediction.seconds.get("total", 0.0)),
    }


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list | tuple) else []


def _noise(spectrum: Spectrum, prediction: Prediction) -> float | None:
    """Standard error of a point of an average, root mean square over its points, in edge steps."""
    if spectrum.mu_error is None or not prediction.edge_step > 0:
        return None
    return float(np.sqrt(np.mean(spectrum.mu_error**2))) / prediction.edge_step


def _standing(drift: Drift) -> Values:
    return {
        "stake": _number(drift.stake),
        "alarm": bool(drift.alarm),
        "sweeps": int(drift.sweeps),
        "energy_drift": _number(drift.energy_drift),
        "energy_alarm": bool(drift.energy_alarm),
    }


def _tells(prediction: Prediction) -> bool:
    """Whether it has all that the model gives, and with it the columns."""
    return bool(prediction.outcome.results or prediction.outcome.fractions)


def _curves(prediction: Prediction) -> Values:
    """The reduced spectrum, the network's input, and arrays of the outcome."""
    reduced, curves = prediction.reduced, prediction.outcome.arrays()
    if reduced is not None:
        shown = {_axis(reduced): reduced.grid, reduced.kind: reduced.flat}
        if reduced.kind == "flat":  # only on flat spectra foils are laid
            foil = reduced.foil
            shown["foil"] = np.full_like(reduced.flat, math.nan) if foil is None else foil
        shown["network_input"] = reduced.network_input
        if reduced.denoised is not None:
            shown["denoised"] = reduced.denoised
        if prediction.domain.latent:
            shown["latent"] = np.array(prediction.domain.latent)
        curves = shown | curves
    return {name: np.asarray(curve, dtype=np.float64) for name, curve in curves.items()}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _time(spectrum: Spectrum) -> float:
    known = spectrum.provenance.time
    return time.time() if known is None else float(known)
