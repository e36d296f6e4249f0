"""What a live analysis or a replay tells its publishers: a protocol, and a class that does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xas_live.prediction import Decision, Prediction
from xas_live.spectrum import Spectrum

if TYPE_CHECKING:  # analysis brings torch, which a publisher's own tests can do without
    from event_model.documents import RunStart, RunStop

    from xas_live.analysis import Drift
    from xas_live.callbacks.live import LiveAnalysis
    from xas_live.models import Bundle


@dataclass(frozen=True, eq=False)
class SweepResult:
    """One completed sweep and what all models say of it.

    Attributes
    ----------
    spectrum : the sweep.
    predictions : one a model, the primary model's first; each names its model.
    drift : of each prediction, how the series of the sample stands by that model.
    """

    spectrum: Spectrum
    predictions: tuple[Prediction, ...]
    drift: tuple[Drift, ...]

    @property
    def primary(self) -> Prediction:
        """The primary model's prediction."""
        return self.predictions[0]


class Publisher(Protocol):
    """Something that shows, stores or acts on predictions.

    In a live analysis every method is called from its worker thread, in the order of the documents; in a
    replay from the thread that replays, in the same order. What a method raises is counted and shown, and
    stops neither the plan nor the other publishers.
    """

    def bind(self, analysis: LiveAnalysis) -> None:
        """Take the live analysis that will call this publisher, before all else. A replay has none."""

    def run_started(self, start: RunStart) -> None:
        """Take the raw start document of a run."""

    def models_used(self, models: Sequence[Bundle]) -> None:
        """Take models that no result has come from so far, before their first result. Each comes once."""

    def measuring(self, spectrum: Spectrum, preview: Prediction | None) -> None:
        """Take a growing, incomplete sweep, at most five a second, and its preview by the primary model.

        The preview is None until the edge is well passed; never act on it as on a prediction. A replay has
        no growing sweeps.
        """

    def predicted(self, result: SweepResult) -> None:
        """Take a completed sweep and what all models say of it."""

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Take the average of the run's sweeps so far, and what the primary model says of it.

        It comes after the newest sweep in it, from the second on; of sweeps that waited, only the last gives
        one. `prediction.provenance.averaged` says of how many sweeps, `spectrum.mu_error` how noisy it is.
        """

    def decided(self, decision: Decision) -> None:
        """Take what a rule or a plan did because of a prediction, or why it did nothing.

        A rule's comes after the sweep that it rests on; a plan's at any time, also between runs. A replay has
        none.
        """

    def batch_finished(self) -> None:
        """Take note that all sweeps analysed together have been published, with their averages.

        A single live sweep is a batch too: this comes right after it. A publisher that does many sweeps
        cheaper than each alone gathers them until here. A batch may end within a run, or hold several.
        """

    def run_stopped(self, stop: RunStop) -> None:
        """Take the raw stop document of a run, after all its predictions."""

    def close(self) -> None:
        """End: nothing is published after this."""


class BasePublisher:
    """A publisher that does nothing: override what you need."""

    def bind(self, analysis: LiveAnalysis) -> None:  # noqa: D102
        pass

    def run_started(self, start: RunStart) -> None:  # noqa: D102
        pass

    def models_used(self, models: Sequence[Bundle]) -> None:  # noqa: D102
        pass

    def measuring(self, spectrum: Spectrum, preview: Prediction | None) -> None:  # noqa: D102
        pass

    def predicted(self, result: SweepResult) -> None:  # noqa: D102
        pass

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:  # noqa: D102
        pass

    def decided(self, decision: Decision) -> None:  # noqa: D102
        pass

    def batch_finished(self) -> None:  # noqa: D102
        pass

    def run_stopped(self, stop: RunStop) -> None:  # noqa: D102
        pass

    def close(self) -> None:  # noqa: D102
        pass


def lacks_methods(publisher: object) -> list[str]:
    """Return the names of a publisher's methods that an object does not have."""
    methods = [name for name in vars(BasePublisher) if not name.startswith("_")]
    return [name for name in methods if not callable(getattr(publisher, name, None))]
