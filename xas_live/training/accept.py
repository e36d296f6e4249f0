"""A user's own good samples: how they depart from the training spectra is taken as good from then on.

No labels are needed. What their spectra have beyond the nearest that training knows spans a few axes. A model
derived from these judges later spectra without as much of them as the accepted ones had
(`models.sections.accepted`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from xas_live.analysis import AnalysisConfig, Analyzer
from xas_live.analysis.analyzer import Batch
from xas_live.analysis.verdict import NO_METAL
from xas_live.errors import Refusal
from xas_live.flags import Flag
from xas_live.models.bundle import Bundle
from xas_live.models.card import Card
from xas_live.models.ensemble import Ensemble
from xas_live.models.outputs.base import Tensors
from xas_live.models.sections.specs import Acceptance, AcceptedSection
from xas_live.prediction import Prediction
from xas_live.reduction.anchor import FoilAnchor, newest_anchor
from xas_live.reduction.reducer import Reducer
from xas_live.spectrum import Array, Spectrum
from xas_live.training.calibrate import LEVEL

FEWEST_ACCEPTED = 5  # spectra
EXPLAINED = 0.9  # share of the departures' squares that the axes explain
MOST_AXES, MOST_KEPT = 3, 6  # that are learned at a time, and that a model has in all
ROOM = 0.25  # by which the range along an axis is extended, in units of its width
ODD = 0.25  # share of the spectra that may depart in a way of their own
_NAMED = 8  # spectra at most that a message names

Anchors = FoilAnchor | Sequence[FoilAnchor] | Literal["reference", "auto"] | None


class AcceptError(Refusal):
    """Spectra that cannot be accepted as good samples, with the reason."""


@dataclass(frozen=True, eq=False)
class Accepted:
    """A model that has accepted samples, and what it changed.

    Attributes
    ----------
    bundle : the derived model.
    before : what its source says of each spectrum.
    after : what a model says of it that has accepted all the other spectra, but not this one.
    explained : share of the departures' squares that the model's axes explain.
    """

    bundle: Bundle
    before: list[Prediction]
    after: list[Prediction]
    explained: float


def accepted(
    source: Bundle,
    spectra: Sequence[Spectrum],
    name: str,
    anchor: Anchors = "auto",
    config: AnalysisConfig | None = None,
) -> Accepted:
    """A model that takes the departures of good samples as good, not yet stored.

    Each spectrum is judged with what was learned from all the others. One that remains a departure is no
    sample like theirs: it is left out, and where more than a quarter of the spectra remain, nothing is
    learned. A source that has accepted samples keeps them: its axes stay, with the ranges of both.

    Parameters
    ----------
    source : a model that judges spectra.
    spectra : of samples that the user vouches for, at least five, as different as the sample's spectra are.
    name : of the derived model.
    anchor : a fitted foil, or one for each absorber; "reference", "auto" or None, as for `AnalyzerPool`.
    config : the user's choices.

    Raises
    ------
    AcceptError : when the model does not judge, or the spectra cannot be learned from.
    """
    if source.card.sections.cost is None:
        raise AcceptError(
            f"{source.name} does not know what departures from its training cost, so that it can learn none: "
            "choose a model whose card has sections.cost"
        )
    if len(spectra) < FEWEST_ACCEPTED:
        raise AcceptError(
            f"{len(spectra)} spectra are too few: give at least {FEWEST_ACCEPTED}, as different as the "
            "sample's spectra are"
        )
    judge = _Judge(source, anchor, config or AnalysisConfig())
    batch = judge.of(source).reduce(spectra)
    before = judge.of(source).judge(batch)
    names = [_name(prediction, i) for i, prediction in enumerate(before)]
    _check_good(before, names)
    inputs = np.stack([p.reduced.network_input for p in before if p.reduced is not None])
    _check_different(inputs, names)
    if not _departing(before):
        raise AcceptError(
            f"none of the {len(spectra)} spectra departs from what {source.name} was trained on: there is "
            "nothing to learn. Use the model as it is; other reasons of a verdict cannot be accepted"
        )
    departures, earlier = _departures(source, inputs), _Axes.of(source)
    after = []
    for i, sweep in enumerate(batch.sweeps):
        of_others = _Axes.learned(np.delete(departures, i, axis=0), earlier)
        after += judge.with_axes(of_others).judge(Batch([sweep], 0.0))
    odd = _departing(after)
    if len(odd) > ODD * len(spectra):
        with_all = judge.with_axes(_Axes.learned(departures, earlier)).judge(batch)
        raise AcceptError(_contradiction(names, odd, with_all))
    left_out, kept = tuple(names[i] for i in odd), np.delete(departures, odd, axis=0)
    if len(kept) < FEWEST_ACCEPTED:
        raise AcceptError(
            f"{_listed(left_out)} departs in a way of its own, and {len(kept)} other spectra are too few: "
            f"give at least {FEWEST_ACCEPTED} that are alike"
        )
    axes = _Axes.learned(kept, earlier)
    if len(axes.low) > MOST_KEPT:
        raise AcceptError(
            f"{source.name} would accept departures along {len(axes.low)} axes, more than {MOST_KEPT}. "
            "Accept these spectra into the model that it was derived from"
        )
    sample = Acceptance(
        files=dict(map(_file_of, spectra)),
        spectra=len(spectra),
        left_out=left_out,
        anchor=", ".join(sorted({_anchor_of(prediction) for prediction in before})),
        model=source.name,
        sha256=source.sha256,
    )
    known = source.card.sections.accepted
    section = AcceptedSection(axes=len(axes.low), samples=(*(known.samples if known else ()), sample))
    card = _with_section(source, section).model_copy(
        update={"name": name, "limits": _limits(source), "trust": None}  # its figures were the old domain's
    )
    bundle = Bundle(card, {**source.stored, **axes.tensors()}, sha256="")
    return Accepted(bundle, before, after, axes.explained(kept))


def accept_bundle(
    source: Bundle,
    spectra: Sequence[Spectrum],
    folder: Path,
    anchor: Anchors = "auto",
    config: AnalysisConfig | None = None,
    *,
    name: str | None = None,
) -> Accepted:
    """Accept good samples, and write the derived bundle in `folder`; its name is the folder's, or `name`.

    Raises
    ------
    AcceptError : when the model does not judge, the spectra cannot be learned from, or the folder is the
        source's own; nothing is written.
    """
    if source.folder is not None and folder.resolve() == source.folder.resolve():
        raise AcceptError(
            f"{folder} holds {source.name} itself: give the derived model another name or folder"
        )
    found = accepted(source, spectra, name or folder.name, anchor, config)
    return replace(found, bundle=found.bundle.save(folder))


@dataclass(frozen=True, eq=False)
class _Judge:
    """Analyzers of a model and of what is derived from it, which share what reduces.

    Attributes
    ----------
    source, anchor, config : see `accepted`.
    reducers : that are shared.
    """

    source: Bundle
    anchor: Anchors
    config: AnalysisConfig
    reducers: dict[tuple[Any, ...], Reducer] = field(default_factory=dict)

    def of(self, bundle: Bundle) -> Analyzer:
        """The analyzer of a model."""
        anchor, fallback = self.anchor, None
        if anchor == "auto":
            anchored = [each for each in bundle.inputs if each.anchor != "none"]
            newest = [newest_anchor(each.element, each.edge) for each in anchored]
            anchor, fallback = "reference", [foil for foil in newest if foil is not None]
        return Analyzer(bundle, anchor, self.config, "cpu", fallback=fallback, reducers=self.reducers)

    def with_axes(self, axes: _Axes) -> Analyzer:
        """The analyzer of the model with these axes, for a trial."""
        nothing = Acceptance(files={}, spectra=1, anchor="", model="", sha256="")
        section = AcceptedSection(axes=len(axes.low), samples=(nothing,))
        tensors = {**self.source.tensors, **axes.tensors()}
        return self.of(Bundle(_with_section(self.source, section), tensors, sha256=""))


@dataclass(frozen=True, eq=False)
class _Axes:
    """Directions of departures, and how far they reach.

    Attributes
    ----------
    axes : (k, g) orthonormal.
    low, high : (k,) of the coefficients; they hold zero, since what departs less is nearer to training.
    """

    axes: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, bundle: Bundle) -> _Axes:
        """Those that a model has; none of a model that has accepted nothing."""
        if bundle.card.sections.accepted is None:
            return cls(np.zeros((0, len(bundle.grid))), np.zeros(0), np.zeros(0))
        return cls(*(bundle.array(f"accepted_{name}") for name in ("axes", "low", "high")))

    @classmethod
    def learned(cls, departures: Array, earlier: _Axes) -> _Axes:
        """Of departures (n, g): the earlier axes, and so many more that all together explain enough."""
        old = departures @ earlier.axes.T
        rest = departures - old @ earlier.axes
        _, singular, rows = np.linalg.svd(rest, full_matrices=False)
        total = np.sum(departures**2)
        left = np.sum(rest**2) - np.concatenate([[0.0], np.cumsum(singular**2)])
        count = min(int(np.argmax(left <= (1.0 - EXPLAINED) * total)), MOST_AXES)
        new = rows[:count]
        low, high = _reach(np.hstack([old, rest @ new.T]))
        known = len(earlier.low)
        low[:known] = np.minimum(low[:known], earlier.low)
        high[:known] = np.maximum(high[:known], earlier.high)
        return cls(np.vstack([earlier.axes, new]), low, high)

    def explained(self, departures: Array) -> float:
        """Share of the departures' squares that the axes explain."""
        return float(np.sum((departures @ self.axes.T) ** 2) / np.sum(departures**2))

    def tensors(self) -> Tensors:
        """As a bundle holds them."""
        parts = {"axes": self.axes, "low": self.low, "high": self.high}
        return {f"accepted_{name}": torch.from_numpy(part).float() for name, part in parts.items()}


def _reach(along: Array) -> tuple[Array, Array]:
    """Least and largest of coefficients (n, k), with some room, from zero on."""
    low, high = along.min(0), along.max(0)
    room = ROOM * np.where(high > low, high - low, np.abs(high))
    return np.minimum(low - room, 0.0), np.maximum(high + room, 0.0)


def _departures(source: Bundle, inputs: Array) -> Array:
    """(n, g) what inputs have beyond the nearest that training knows, whatever was accepted before."""
    bare = replace(source, card=_with_section(source, None))
    residual = Ensemble(bare, torch.device("cpu"), LEVEL).judge(inputs).residual
    assert residual is not None
    return residual


def _with_section(source: Bundle, section: AcceptedSection | None) -> Card:
    sections = source.card.sections.model_copy(update={"accepted": section})
    return source.card.model_copy(update={"sections": sections})


def _limits(source: Bundle) -> tuple[str, ...]:
    """What the derived card states as its limits."""
    own = "Departures as of the accepted samples are taken as good because a user vouches for them."
    return tuple(dict.fromkeys((*source.card.limits, own)))


def _check_good(predictions: Sequence[Prediction], names: Sequence[str]) -> None:
    """Refuse spectra for which nobody can vouch.

    Raises
    ------
    AcceptError : for one that is refused, without a foil, or most of all no metal of this element.
    """
    for prediction, name in zip(predictions, names, strict=True):
        if prediction.refused is not None:
            raise AcceptError(f"{name} cannot be analysed: {prediction.refused}. Leave it out")
        if Flag.UNANCHORED in prediction.flags:
            raise AcceptError(f"{name} has no foil: give the foil of its beamline as the anchor")
        chemistry = prediction.chemistry
        other = 0.0 if chemistry is None else 1.0 - chemistry.shares["metal"]
        if chemistry is not None and other >= NO_METAL:
            raise AcceptError(
                f"{name} {chemistry.looks}: {other:.0%} of its spectrum is no metal of this element, at most "
                f"{NO_METAL:.0%} may be. Leave it out"
            )


def _departing(predictions: Sequence[Prediction]) -> list[int]:
    """Which of them depart."""
    return [i for i, prediction in enumerate(predictions) if not prediction.domain.inside]


def _contradiction(names: Sequence[str], odd: Sequence[int], with_all: Sequence[Prediction]) -> str:
    """Why spectra cannot be accepted together.

    Parameters
    ----------
    names : of all spectra.
    odd : which of them depart when the others are accepted.
    with_all : what is said of each when all are accepted.
    """
    still = _departing(with_all)
    if 2 * len(still) > len(odd):
        reasons = "; ".join(dict.fromkeys(with_all[i].domain.reason for i in still))
        return (
            f"{_listed([names[i] for i in still])}: {len(still)} of {len(names)} spectra depart though they "
            f"are accepted themselves ({reasons}). Such a departure cannot be learned: look for its cause"
        )
    return (
        f"{_listed([names[i] for i in odd])}: {len(odd)} of {len(names)} spectra depart when the others are "
        "accepted, so that they are no one sample. Accept each sample by itself, or leave out what is unlike"
    )


def _check_different(inputs: Array, names: Sequence[str]) -> None:
    """Refuse spectra that are given twice."""
    first: dict[bytes, int] = {}
    for i, x in enumerate(inputs):
        same = first.setdefault(x.tobytes(), i)
        if same != i:
            raise AcceptError(f"{names[same]} and {names[i]} hold the same spectrum: give each once")


def _name(prediction: Prediction, index: int) -> str:
    """What a message calls a spectrum."""
    where = prediction.provenance
    label = where.scan or f"spectrum {index}"
    return f"{label}, sweep {where.sweep}" if where.sweep else label


def _file_of(spectrum: Spectrum) -> tuple[str, str]:
    """Source and sha256: of its file, or of energies and absorption where it is in none."""
    where = spectrum.provenance
    path = Path(where.source)
    if where.source and path.is_file():
        return where.source, hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256(spectrum.energy.tobytes() + spectrum.mu.tobytes())
    label = " ".join(filter(None, (where.source, where.run_uid, where.scan, str(where.sweep))))
    return label, digest.hexdigest()


def _anchor_of(prediction: Prediction) -> str:
    if prediction.anchor is None or prediction.anchor.kind == "reference":
        return "reference"
    return prediction.anchor.foil.sha256


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
