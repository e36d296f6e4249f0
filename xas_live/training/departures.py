"""What spectra of good samples depart in: axes of their residuals, and other respects."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from xas_live.analysis.verdict import OTHER_PHASE
from xas_live.models.bundle import Bundle
from xas_live.models.ensemble import Ensemble, Judged
from xas_live.models.outputs.base import Tensors
from xas_live.models.sections.cost import acceptable, departures, shapes_of
from xas_live.models.sections.specs import Acceptance, AcceptedSection
from xas_live.spectrum import Array
from xas_live.training.calibrate import LEVEL

EXPLAINED = 0.9  # share of the squares of the residuals that the axes explain
MOST_AXES = 3  # that are learned at a time
ROOM = 0.25  # by which ranges are extended, in units of their width

_TRIAL = Acceptance(files={}, spectra=1, anchor="", model="", sha256="")


@dataclass(frozen=True, eq=False)
class Departures:
    """What is accepted, as `models.sections.accepted` takes it.

    Attributes
    ----------
    axes : (k, g) orthonormal.
    low, high : (k,) reach of the residuals along them; they hold zero: what departs less is nearer to
        training.
    left : (d,) how far out the accepted spectra lie besides, in each respect.
    """

    axes: Array
    low: Array
    high: Array
    left: Array

    @classmethod
    def of(cls, bundle: Bundle) -> Departures:
        """What a model has accepted; nothing to begin with."""
        if bundle.card.sections.accepted is None:
            nothing = np.zeros(len(bundle.tensors["cost_rim"]))
            return cls(np.zeros((0, len(bundle.grid))), np.zeros(0), np.zeros(0), nothing)
        return cls(*(bundle.array(f"accepted_{name}") for name in ("axes", "low", "high", "left")))

    @classmethod
    def learned(cls, source: Bundle, inputs: Array, residual: Array) -> Departures:
        """Return what the source has accepted and what these spectra depart in, together.

        Parameters
        ----------
        inputs : (n, g) of the network.
        residual : (n, g) as `residual_of` gives it.
        """
        earlier = cls.of(source)
        old = residual @ earlier.axes.T
        rest = residual - old @ earlier.axes
        _, singular, rows = np.linalg.svd(rest, full_matrices=False)
        unexplained = np.sum(rest**2) - np.concatenate([[0.0], np.cumsum(singular**2)])
        enough = unexplained <= (1.0 - EXPLAINED) * np.sum(residual**2)
        new = rows[: min(int(np.argmax(enough)), MOST_AXES)]
        low, high = _reach(np.hstack([old, rest @ new.T]))
        known = len(earlier.low)
        low[:known] = np.minimum(low[:known], earlier.low)
        high[:known] = np.maximum(high[:known], earlier.high)
        found = cls(np.vstack([earlier.axes, new]), low, high, np.zeros_like(earlier.left))
        left = np.minimum(_reach(found._left_of(source, inputs))[1], _acceptable(source))
        return replace(found, left=np.maximum(left, earlier.left))

    def explained(self, residual: Array) -> float:
        """Share of the squares of residuals that the axes explain."""
        return float(np.sum((residual @ self.axes.T) ** 2) / np.sum(residual**2))

    def tensors(self) -> Tensors:
        """As a bundle holds them."""
        parts = {"axes": self.axes, "low": self.low, "high": self.high, "left": self.left}
        return {f"accepted_{name}": torch.from_numpy(part).float() for name, part in parts.items()}

    def section(self, source: Bundle, sample: Acceptance = _TRIAL) -> AcceptedSection:
        """As the card states it: a sample is added to those of the source."""
        known = source.card.sections.accepted
        return AcceptedSection(axes=len(self.low), samples=(*(known.samples if known else ()), sample))

    def tried(self, source: Bundle) -> Bundle:
        """The source with them, in memory."""
        return with_section(source, self.section(source), self.tensors())

    def _left_of(self, source: Bundle, inputs: Array) -> Array:
        """(n, d) how far out spectra lie without what the axes take away."""
        judged = _judged(self.tried(source), inputs)
        theory = source.inputs[0].theory
        assert theory is not None
        assert judged.residual is not None
        shapes = list(shapes_of(source.grid, theory.on(source.grid)).values())
        far = departures(source.grid, shapes, judged.scores, judged.residual, judged.chemistry)
        return np.asarray(far)


def residual_of(source: Bundle, inputs: Array) -> Array:
    """(n, g) inputs less the nearest that training knows, whatever was accepted before."""
    residual = _judged(with_section(source, None), inputs).residual
    assert residual is not None
    return residual


def with_section(source: Bundle, section: AcceptedSection | None, tensors: Tensors | None = None) -> Bundle:
    """The source with this section and its tensors, in memory."""
    sections = source.card.sections.model_copy(update={"accepted": section})
    card = source.card.model_copy(update={"sections": sections})
    return Bundle(card, {**source.tensors, **(tensors or {})}, sha256="")


def _judged(bundle: Bundle, inputs: Array) -> Judged:
    return Ensemble(bundle, torch.device("cpu"), LEVEL).judge(inputs)


def _acceptable(source: Bundle) -> Array:
    """(d,) how far out anything may be accepted: of a phase, no more than goes without a word."""
    sections = source.card.sections
    kinds = () if sections.chemistry is None else sections.chemistry.kinds
    return acceptable(sections.distances, kinds, OTHER_PHASE)


def _reach(values: Array) -> tuple[Array, Array]:
    """Least and largest (k,) of values (n, k), with some room, from zero on."""
    low, high = values.min(0), values.max(0)
    room = ROOM * np.where(high > low, high - low, np.abs(high))
    return np.minimum(low - room, 0.0), np.maximum(high + room, 0.0)
