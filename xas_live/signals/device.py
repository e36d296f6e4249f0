"""PredictionSignals: the newest prediction as an ophyd device that plans and suspenders read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ophyd import Component, Device, Kind, Signal, SignalRO

from xas_live.callbacks.publishers import BasePublisher, SweepResult
from xas_live.errors import Refusal
from xas_live.signals.heartbeat import Heartbeat
from xas_live.signals.quantities import DEFAULT_TARGETS, Quantity, Target, chosen_targets, quantities
from xas_live.signals.quantities import Kind as Holds
from xas_live.signals.snapshot import Snapshot

if TYPE_CHECKING:
    from event_model.documents import DataKey

    from xas_live.callbacks.live import LiveAnalysis

LOOK_S = 0.5
"""How often the age is looked at (s)."""

_CHANGE_WITH_AGE = ("age", "fresh", "stale_reason", "actionable")
_DTYPES = {Holds.NUMBER: "number", Holds.COUNT: "integer", Holds.YES_NO: "integer"}


class PublishedSignal(SignalRO):
    """A signal that only its device sets.

    Parameters
    ----------
    quantity : what it holds.
    **rest : as for `ophyd.Signal`.
    """

    def __init__(self, *, quantity: Quantity, **rest: Any) -> None:
        super().__init__(value=quantity.empty, **rest)
        self.quantity = quantity

    @property
    def source_name(self) -> str:
        """As data keys name it: fields with this source are never taken for detector channels."""
        return f"xas_live:{self.quantity.pv}"

    def describe(self) -> dict[str, DataKey]:
        """Return its data key, with unit and precision."""
        quantity = self.quantity
        key: dict[str, Any] = {
            "source": self.source_name,
            "dtype": _DTYPES.get(quantity.kind, "string"),
            "shape": [],
        }
        if quantity.kind is Holds.NUMBER:
            key |= {"units": quantity.unit, "precision": quantity.precision}
        return {self.name: key}  # type: ignore[dict-item]

    def show(self, value: float | int | str, timestamp: float) -> None:
        """Set it; for its device."""
        Signal.put(self, value, timestamp=timestamp, force=True)


class PredictionSignals(BasePublisher, Device):
    """The newest prediction of the primary model, as read-only signals.

    It is a publisher: `attach` makes one, `xas.signals`; one for other targets is given to `attach(RE,
    publishers=[...])`. Numbers are NaN and texts empty before the first sweep, and the numbers of a sweep
    that was refused or is not usable are NaN. A stale prediction keeps its numbers: look at `fresh` or
    `actionable` beside them. Of sweeps analysed in one batch each is shown, one after the other.

    All signals of a sweep are read together: a reading never mixes two sweeps. Their timestamp is the time of
    the sweep's last point.

    Parameters
    ----------
    targets : names of the targets, or a `Target` each, as the models give them.
    name : what the names of all fields begin with.
    **rest : as for `ophyd.Device`.

    Attributes
    ----------
    cn1, cn1_lower, cn1_upper, cn1_statistical, cn1_model, ... : for each target the value, the ends of its
        interval, and the half widths of the two parts of its error. The first target is hinted.
    non_metal, non_metal_lower, non_metal_upper, verdict, verdict_reason, flags, absorber, scan, raw_uid,
    sweeps, lag, age, fresh, stale_reason, actionable : see `quantities`.

    Raises
    ------
    Refusal : for targets that cannot be used.

    Examples
    --------
    >>> strain = PredictionSignals(["R1"], name="strain")
    >>> xas = xas_live.attach(RE, publishers=[strain])
    >>> RE(bp.count([xas.signals, strain]))
    """

    targets: tuple[Target, ...] = ()
    quantities: Mapping[str, Quantity] = {}

    def __new__(cls, targets: Iterable[str | Target] = DEFAULT_TARGETS, **rest: Any) -> PredictionSignals:
        """Make a device whose components are those of the targets."""
        return super().__new__(_with_components(cls, chosen_targets(targets)))

    def __init__(
        self, targets: Iterable[str | Target] = DEFAULT_TARGETS, *, name: str = "xas", **rest: Any
    ) -> None:
        super().__init__(name=name, **rest)
        self._told: set[str] = set()
        self._lock = threading.RLock()
        self._analysis: LiveAnalysis | None = None
        self._heartbeat: Heartbeat | None = None
        self._shown = Snapshot()
        self._show(self._shown, self.quantities)

    def bind(self, analysis: LiveAnalysis) -> None:
        """Watch how old the newest prediction of an analysis is, until `close`.

        Parameters
        ----------
        analysis : the one that this is a publisher of.
        """
        self._analysis = analysis
        if self._heartbeat is None:
            self._heartbeat = Heartbeat(self._look, LOOK_S, f"{self.name} signals")

    def predicted(self, result: SweepResult) -> None:
        """Show the primary model's prediction."""
        with self._lock:
            snapshot = self._aged(Snapshot.of(result.primary, self._shown.sweeps + 1))
            self._show(snapshot.model_copy(update={"lag": snapshot.age}), self.quantities)
        unknown = snapshot.values.keys() - {target.name for target in self.targets} - self._told
        if unknown and self._analysis is not None:
            self._told |= unknown
            self._analysis.say(
                f"the model predicts {', '.join(sorted(unknown))}, for which {self.name} has no signals: "
                "name them by PredictionSignals(targets=[...])"
            )

    def close(self) -> None:
        """Show that nothing follows."""
        if self._heartbeat is not None:
            self._heartbeat.end(1.0)
            self._heartbeat = None
        self._look()

    def read(self) -> dict[str, Any]:
        """Return the reading of all signals: of one sweep, with its age now."""
        with self._lock:
            self._look()
            return super().read()

    def _look(self) -> None:
        """Show how old the newest prediction is by now."""
        with self._lock:
            self._show(self._aged(self._shown), _CHANGE_WITH_AGE)

    def _aged(self, snapshot: Snapshot) -> Snapshot:
        return snapshot if self._analysis is None else snapshot.at(self._analysis.current())

    def _show(self, snapshot: Snapshot, names: Iterable[str]) -> None:
        """Set the signals of these names."""
        self._shown = snapshot
        columns, now = snapshot.columns(), time.time()
        for name in names:
            quantity = self.quantities[name]
            when = now if name in _CHANGE_WITH_AGE else snapshot.time or now
            getattr(self, name).show(columns.get(name, quantity.empty), when)


def _with_components(cls: type[PredictionSignals], targets: tuple[Target, ...]) -> type[PredictionSignals]:
    """Return a class of devices with a signal for each quantity."""
    published = {quantity.name: quantity for quantity in quantities(targets)}
    if taken := sorted(published.keys() & set(dir(PredictionSignals))):
        raise Refusal(f"targets: a device cannot have a signal {taken[0]!r}: give the target another name")
    leading = targets[0].name.lower()
    components = {
        name: Component(
            PublishedSignal,
            quantity=quantity,
            kind=Kind.hinted if name == leading else Kind.normal,
            doc=quantity.description,
        )
        for name, quantity in published.items()
    }
    own = {"targets": targets, "quantities": published, "__module__": cls.__module__}
    return type(cls.__name__, (cls,), {**components, **own})
