"""What LiveAnalysis tells the rest of the world: one protocol, and a base class that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from xas_live.prediction import Prediction
from xas_live.spectrum import Spectrum


class Publisher(Protocol):
    """Something that shows, stores or acts on predictions.

    Every method is called from LiveAnalysis's worker thread, in the order of the documents. What it raises is
    counted and shown, and neither stops the plan nor the other publishers.
    """

    def run_started(self, start: Mapping[str, Any]) -> None:
        """Take the raw start document of a run."""

    def measuring(self, spectrum: Spectrum, preview: Prediction | None) -> None:
        """Take a growing, incomplete sweep, coalesced to at most five a second, and what is foreseen of it.

        The preview is None until the edge is well passed; never act on it as on a prediction.
        """

    def predicted(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Take a completed sweep and what the model says of it.

        With several models it is called once for each, with the same `spectrum`, the lead's first; each
        prediction names its model.
        """

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:
        """Take the average of the run's sweeps so far, and what the model says of it; of several, the lead.

        It comes after the newest sweep in it, from the second on; of sweeps that waited, only the last gives
        one. `prediction.provenance.averaged` says of how many sweeps, `spectrum.mu_error` how noisy it is.
        """

    def published(self) -> None:
        """Know that all sweeps analysed together have been told, with their averages.

        A single live sweep is a batch too: this comes right after it. A publisher that does many sweeps
        cheaper than each alone gathers them until here. A batch may end within a run, or hold several.
        """

    def run_stopped(self, stop: Mapping[str, Any]) -> None:
        """Take the raw stop document of a run, after all its predictions."""

    def close(self) -> None:
        """End: nothing is published after this."""


class BasePublisher:
    """A publisher that does nothing: override what you need."""

    def run_started(self, start: Mapping[str, Any]) -> None:  # noqa: D102
        pass

    def measuring(self, spectrum: Spectrum, preview: Prediction | None) -> None:  # noqa: D102
        pass

    def predicted(self, spectrum: Spectrum, prediction: Prediction) -> None:  # noqa: D102
        pass

    def averaged(self, spectrum: Spectrum, prediction: Prediction) -> None:  # noqa: D102
        pass

    def published(self) -> None:  # noqa: D102
        pass

    def run_stopped(self, stop: Mapping[str, Any]) -> None:  # noqa: D102
        pass

    def close(self) -> None:  # noqa: D102
        pass
