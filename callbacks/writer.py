"""PredictionWriter: predictions become ordinary Bluesky runs, linked to the raw run by its uid."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from event_model import ComposeRunBundle, compose_run

from xas_live import __version__
from xas_live.callbacks.publisher import BasePublisher
from xas_live.prediction import Prediction, Reduced, Value, finite
from xas_live.series import Drift, SeriesMonitor
from xas_live.spectrum import Array, Spectrum

SCHEMA = 1
"""Version of the derived runs' layout: part of their uid, raised when streams or columns change meaning."""

_NAMESPACE = uuid5(NAMESPACE_URL, "xas_live/derived-run")
_OBJECT = "xas_live"
_PRECISION = 3

Emit = Callable[[str, Mapping[str, Any]], None]
ExitStatus = Literal["success", "abort", "fail"]


class PredictionWriter(BasePublisher):
    """Composes the derived runs of each raw run and hands them to a writer of runs.

    One derived run holds what one model and configuration say of one absorber in one raw run. Its streams:
    `predictions`, one event a sweep, refused ones with NaN and the reason; `spectra`, the reduced spectrum
    and the network's input on the energy grid. What depends on the sweeps before has streams of its own:
    `drift`, one event a sweep, how the series of its sample stands, over runs (see `xas_live.series.Drift`);
    and where the run has repeats `averages`, the same as the first two of the average over its sweeps so
    far, with their number (`averaged`) and the noise of its points (`noise`, in edge steps).

    Its uid follows from raw run, model and configuration (`derived_uid`), so that the same analysis of the
    same run is the same derived run. Several models have one derived run each, open side by side, and so has
    a model that replaces another within a raw run. When a model's configuration changes, its derived run is
    closed and another opened.

    Parameters
    ----------
    write : takes `(name, document)`, as `Archive.derived_writer()` does.
    attempt : given the uid of a raw run, the number of this attempt; default: always 1. For a forced redo:
        `Archive.next_attempt`.
    """

    def __init__(self, write: Emit, attempt: Callable[[str], int] | None = None) -> None:
        self._write = write
        self._attempt = attempt
        self._starts: dict[str, Mapping[str, Any]] = {}
        self._open: dict[str, dict[tuple[str | None, ...], _DerivedRun]] = {}
        self._first_attempt: dict[str, int] = {}
        self._opened: Counter[tuple[str, str]] = Counter()
        self._monitor = SeriesMonitor()

    def run_started(self, start: Mapping[str, Any]) -> None:
        """Remember the raw run."""
        self._starts[str(start["uid"])] = start

    def predicted(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Write one sweep.

        Raises
        ------
        ValueError : when the spectrum comes from no Bluesky run, to which the result could be linked.
        """
        raw_uid = _raw_uid(spectrum, prediction)
        runs = self._open.setdefault(raw_uid, {})
        voice = _voice(prediction)
        identity = _identity(prediction)
        run = runs.get(voice)
        if run is not None and run.identity != identity:
            run.stop("success", "the configuration of the model changed")
            del runs[voice]
            run = None
        if run is None:
            run = runs[voice] = self._begin(raw_uid, identity, spectrum, prediction)
        run.add(spectrum, prediction, self._monitor.add(prediction))

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Write an average, into the derived run of its sweeps.

        Raises
        ------
        ValueError : when no derived run of the same analysis is open, as where the analysis of the average
            alone has failed.
        """
        run = self._open.get(_raw_uid(spectrum, prediction), {}).get(_voice(prediction))
        if run is None or run.identity != _identity(prediction):
            where = prediction.provenance
            raise ValueError(
                f"the average of {where.averaged} sweeps of scan {where.scan} was not analysed as its sweeps "
                f"were ({prediction}); it was not written"
            )
        run.add_average(spectrum, prediction)

    def run_stopped(self, stop: Mapping[str, Any]) -> None:
        """Close the derived runs of a raw run with its exit status."""
        raw_uid = str(stop["run_start"])
        status = stop.get("exit_status", "fail")
        self._finish(raw_uid, status, str(stop.get("reason", "")), stop.get("time"))

    def close(self) -> None:
        """Close the derived runs whose raw run has not ended."""
        for raw_uid in list(self._open):
            self._finish(raw_uid, "abort", "the analysis ended before its raw run")

    def _begin(self, raw_uid: str, identity: str, spectrum: Spectrum, prediction: Prediction) -> _DerivedRun:
        if raw_uid not in self._first_attempt:
            self._first_attempt[raw_uid] = self._attempt(raw_uid) if self._attempt else 1
        attempt = self._first_attempt[raw_uid] + self._opened[raw_uid, identity]
        self._opened[raw_uid, identity] += 1
        raw_start = self._starts.get(raw_uid, {})
        metadata: dict[str, Any] = {
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
        }
        scan_id = raw_start.get("scan_id", spectrum.provenance.scan_id)
        optional = {"scan_id": scan_id, "element": prediction.element, "edge": prediction.edge}
        metadata |= {key: value for key, value in optional.items() if value is not None}
        bundle = compose_run(
            uid=derived_uid(raw_uid, prediction, attempt),
            time=float(raw_start.get("time", _time(spectrum))),
            metadata=metadata,
        )
        return _DerivedRun(self._write, bundle, identity)

    def _finish(self, raw_uid: str, status: ExitStatus, reason: str, when: float | None = None) -> None:
        for run in self._open.pop(raw_uid, {}).values():
            run.stop(status, reason, when)
        self._starts.pop(raw_uid, None)
        self._first_attempt.pop(raw_uid, None)
        for key in [key for key in self._opened if key[0] == raw_uid]:
            del self._opened[key]


def derived_uid(raw_uid: str, prediction: Prediction, attempt: int = 1) -> str:
    """Uid of the derived run that a prediction belongs to.

    A UUIDv5 of the raw run, the model and its hash, the absorber, the configuration, the version of the
    layout, and the attempt.
    """
    return str(uuid5(_NAMESPACE, f"{raw_uid}\n{_identity(prediction)}\n{attempt}"))


def _raw_uid(spectrum: Spectrum, prediction: Prediction) -> str:
    raw_uid = prediction.provenance.run_uid or spectrum.provenance.run_uid
    if raw_uid is None:
        raise ValueError(
            f"the spectrum {spectrum.provenance.scan!r} has no run uid in its provenance: its prediction "
            "cannot be linked to a raw run, and was not written"
        )
    return raw_uid


def _voice(prediction: Prediction) -> tuple[str | None, ...]:
    """Whose derived run it is in a raw run: one absorber's by one model."""
    return prediction.element, prediction.edge, prediction.model_sha256


def _identity(prediction: Prediction) -> str:
    parts = {
        "model": prediction.model,
        "model_sha256": prediction.model_sha256,
        "element": prediction.element,
        "edge": prediction.edge,
        "configuration": dict(prediction.configuration),
        "schema": SCHEMA,
    }
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))


class _DerivedRun:
    """One derived run while it is written."""

    def __init__(self, write: Emit, bundle: ComposeRunBundle, identity: str) -> None:
        self.identity = identity
        self._write = write
        self._bundle = bundle
        write("start", bundle.start_doc)
        self._predictions = _Stream(write, bundle, "predictions", overflow="other_values")
        self._spectra = _Stream(write, bundle, "spectra")
        self._drift = _Stream(write, bundle, "drift")
        self._averages = _Stream(write, bundle, "averages", overflow="other_values")

    def add(self, spectrum: Spectrum, prediction: Prediction, drift: Drift) -> None:
        when, sweep = _time(spectrum), {"sweep": _integer(prediction.provenance.sweep)}
        self._predictions.add(when, _facts(prediction), _quantities(prediction))
        self._spectra.add(when, sweep, _curves(prediction))
        self._drift.add(when, sweep, _standing(drift))

    def add_average(self, spectrum: Spectrum, prediction: Prediction) -> None:
        facts = _facts(prediction) | {
            "averaged": _integer(prediction.provenance.averaged),
            "noise": _number(_noise(spectrum, prediction)),
        }
        self._averages.add(_time(spectrum), facts, _quantities(prediction) | _curves(prediction))

    def stop(self, status: ExitStatus, reason: str = "", when: float | None = None) -> None:
        self._predictions.finish()
        self._averages.finish()
        self._write(
            "stop", self._bundle.compose_stop(exit_status=status, reason=reason, time=when or time.time())
        )


@dataclass(frozen=True)
class _Cell:
    """A value with the data key that declares it."""

    value: Any
    key: Mapping[str, Any]

    @property
    def nothing(self) -> Any:
        """What stands for a missing value: NaN, in the shape of the data key."""
        return np.full(self.key["shape"], math.nan) if self.key["shape"] else math.nan


class _Stream:
    """One stream, whose columns are the same for all events and yet not known before the first good sweep.

    A refused sweep does not tell which quantities the model predicts. The events of refused sweeps therefore
    wait for the first that does, or for the end of the run.
    """

    def __init__(self, write: Emit, bundle: ComposeRunBundle, name: str, overflow: str | None = None) -> None:
        self._write = write
        self._bundle = bundle
        self._name = name
        self._overflow = overflow
        self._waiting: list[tuple[float, dict[str, _Cell]]] = []
        self._columns: dict[str, _Cell] = {}
        self._compose: Any = None

    def add(self, when: float, facts: dict[str, _Cell], quantities: dict[str, _Cell]) -> None:
        """Write an event: facts that every sweep has, and quantities that a good one has."""
        if self._compose is not None:
            self._event(when, facts, quantities)
        elif quantities:
            self._begin(when, facts, quantities)
            self._event(when, facts, quantities)
        else:
            self._waiting.append((when, facts))

    def finish(self) -> None:
        """Write the events that wait."""
        if self._waiting:
            self._begin(self._waiting[0][0], self._waiting[0][1], {})

    def _begin(self, when: float, facts: dict[str, _Cell], quantities: dict[str, _Cell]) -> None:
        self._columns = quantities
        cells = facts | quantities
        if self._overflow is not None:
            cells[self._overflow] = _text("")
        times = [when, *(time for time, _ in self._waiting)]
        descriptor = self._bundle.compose_descriptor(
            name=self._name,
            data_keys={name: dict(cell.key) for name, cell in cells.items()},
            object_keys={_OBJECT: list(cells)},
            configuration={_OBJECT: {"data": {}, "timestamps": {}, "data_keys": {}}},
            hints={_OBJECT: {"fields": _worth_showing(quantities)}},
            # Not after its events: readers sort documents by time.
            time=min(times),
        )
        self._write("descriptor", descriptor.descriptor_doc)
        self._compose = descriptor.compose_event
        waiting, self._waiting = self._waiting, []
        for earlier, its_facts in waiting:
            self._event(earlier, its_facts, {})

    def _event(self, when: float, facts: dict[str, _Cell], quantities: dict[str, _Cell]) -> None:
        data = {name: cell.value for name, cell in facts.items()}
        for name, column in self._columns.items():
            cell = quantities.get(name)
            if cell is not None and cell.key["shape"] != column.key["shape"]:
                raise ValueError(
                    f"{name} has {cell.key['shape']} points and {column.key['shape']} in earlier sweeps "
                    "of the run, though model and configuration are the same; it was not written"
                )
            data[name] = column.nothing if cell is None else cell.value
        if self._overflow is not None:
            late = {name: cell for name, cell in quantities.items() if name not in self._columns}
            others = {name: finite(cell.value) for name, cell in late.items() if not cell.key["shape"]}
            data[self._overflow] = json.dumps(others) if others else ""
        # Its columns are those of the descriptor; checking each event anew takes longer than the analysis.
        event = self._compose(data=data, timestamps=dict.fromkeys(data, when), time=when, validate=False)
        self._write("event", event)


def _worth_showing(quantities: Mapping[str, _Cell]) -> list[str]:
    scalars = [name for name, cell in quantities.items() if not cell.key["shape"]]
    return [name for name in scalars if not name.endswith(("_lower", "_upper", "_std"))]


def _facts(prediction: Prediction) -> dict[str, _Cell]:
    size = prediction.size
    return {
        "sweep": _integer(prediction.provenance.sweep),
        "scan": _text(prediction.provenance.scan),
        "raw_stream": _text(prediction.provenance.stream),
        "refused": _text(prediction.refused or ""),
        "flags": _text(",".join(prediction.flags)),
        "in_domain": _truth(prediction.in_domain),
        "domain_p": _number(prediction.domain_p),
        "domain_score": _number(prediction.domain_score),
        "domain_reason": _text(prediction.domain_reason),
        "anchored": _truth(prediction.anchored),
        "aligned": _text(prediction.aligned),
        "partial": _truth(prediction.partial),
        "e0": _number(prediction.e0, "eV"),
        "edge_step": _number(prediction.edge_step),
        "shift": _number(prediction.shift, "eV"),
        "diameter": _number(size.diameter_nm if size else None, "nm"),
        "diameter_lower": _number(size.lower if size else None, "nm"),
        "diameter_upper": _number(size.upper if size else None, "nm"),
        "size": _text(size.label if size else ""),
        "analysis_seconds": _number(sum(prediction.seconds.values()), "s"),
    }


def _noise(spectrum: Spectrum, prediction: Prediction) -> float | None:
    """Standard error of a point of an average, root mean square over its points, in edge steps."""
    if spectrum.mu_error is None or not prediction.edge_step > 0:
        return None
    return float(np.sqrt(np.mean(spectrum.mu_error**2))) / prediction.edge_step


def _standing(drift: Drift) -> dict[str, _Cell]:
    return {
        "stake": _number(drift.stake),
        "alarm": _truth(drift.alarm),
        "sweeps": _integer(drift.sweeps),
        "energy_drift": _number(drift.energy_drift, "eV"),
        "energy_alarm": _truth(drift.energy_alarm),
    }


def _quantities(prediction: Prediction) -> dict[str, _Cell]:
    cells: dict[str, _Cell] = {}
    for name, value in prediction.values.items():
        cells |= _interval(name, value)
    for name, value in prediction.fractions.items():
        cells |= _interval(f"fraction_{name}", value)
    for name, probability in prediction.classes.items():
        cells[f"class_{name}"] = _number(probability)
    return cells


def _interval(name: str, value: Value) -> dict[str, _Cell]:
    return {
        name: _number(value.value, value.unit),
        f"{name}_lower": _number(value.lower, value.unit),
        f"{name}_upper": _number(value.upper, value.unit),
        f"{name}_std": _number(value.std, value.unit),
    }


def _curves(prediction: Prediction) -> dict[str, _Cell]:
    reduced: Reduced | None = prediction.reduced
    if reduced is None:
        return {}
    foil = np.full_like(reduced.flat, math.nan) if reduced.foil is None else reduced.foil
    return {
        "energy": _array(reduced.grid, "eV"),
        "flat": _array(reduced.flat),
        "foil": _array(foil),
        "network_input": _array(reduced.network_input),
        **({} if reduced.denoised is None else {"denoised": _array(reduced.denoised)}),
        **({"latent": _array(np.array(prediction.latent))} if prediction.latent else {}),
        **{f"curve_{name}": _array(curve) for name, curve in prediction.curves.items()},
    }


def _number(value: float | None, unit: str = "") -> _Cell:
    key = {"source": _OBJECT, "dtype": "number", "dtype_numpy": "<f8", "shape": [], "precision": _PRECISION}
    return _Cell(math.nan if value is None else float(value), key | ({"units": unit} if unit else {}))


def _integer(value: int) -> _Cell:
    return _Cell(int(value), {"source": _OBJECT, "dtype": "integer", "dtype_numpy": "<i8", "shape": []})


def _truth(value: bool) -> _Cell:
    return _Cell(bool(value), {"source": _OBJECT, "dtype": "boolean", "dtype_numpy": "|b1", "shape": []})


def _text(value: str) -> _Cell:
    return _Cell(value, {"source": _OBJECT, "dtype": "string", "shape": []})


def _array(value: Array, unit: str = "") -> _Cell:
    column = np.asarray(value, dtype=np.float64)
    key = {"source": _OBJECT, "dtype": "array", "dtype_numpy": "<f8", "shape": list(column.shape)}
    return _Cell(column, key | ({"units": unit} if unit else {}))


def _time(spectrum: Spectrum) -> float:
    known = spectrum.provenance.time
    return time.time() if known is None else float(known)
