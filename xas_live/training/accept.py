"""A user's own good samples: how they depart from the training spectra is taken as good from then on.

No labels are needed. What their spectra have beyond the nearest that training knows spans a few axes. A
model derived from these judges later spectra without as much of it as the accepted ones had
(`models.sections.accepted`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xas_live.analysis import AnalysisConfig, Analyzer
from xas_live.analysis.analyzer import Batch
from xas_live.analysis.verdict import NO_METAL
from xas_live.errors import Refusal
from xas_live.flags import Flag
from xas_live.models.bundle import Bundle
from xas_live.models.sections.specs import Acceptance
from xas_live.prediction import Prediction
from xas_live.reduction.anchor import FoilAnchor
from xas_live.reduction.reducer import Reducer
from xas_live.reduction.saved_anchors import newest_anchor
from xas_live.spectrum import Array, Spectrum
from xas_live.training.departures import Departures, residual_of, with_section

FEWEST_ACCEPTED = 5  # spectra
MOST_KEPT = 6  # axes that a model has in all
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
    if all(prediction.domain.inside for prediction in before):
        raise AcceptError(
            f"none of the {len(spectra)} spectra departs from what {source.name} was trained on: there is "
            "nothing to learn. Use the model as it is; other reasons of a verdict cannot be accepted"
        )
    residual = residual_of(source, inputs)
    after = []
    for i, sweep in enumerate(batch.sweeps):
        others = np.arange(len(inputs)) != i
        learned = Departures.learned(source, inputs[others], residual[others])
        after += judge.of(learned.tried(source)).judge(Batch([sweep], 0.0))
    good = np.array([_is_good(prediction) for prediction in after])
    left_out = tuple(names[i] for i in np.flatnonzero(~good))
    if len(left_out) > ODD * len(spectra):
        with_all = Departures.learned(source, inputs, residual).tried(source)
        raise AcceptError(_contradiction(names, left_out, judge.of(with_all).judge(batch)))
    if np.sum(good) < FEWEST_ACCEPTED:
        raise AcceptError(
            f"{_listed(left_out)} departs in a way of its own, and {np.sum(good)} other spectra are too few: "
            f"give at least {FEWEST_ACCEPTED} that are alike"
        )
    learned = Departures.learned(source, inputs[good], residual[good])
    if len(learned.low) > MOST_KEPT:
        raise AcceptError(
            f"{source.name} would accept departures along {len(learned.low)} axes, more than {MOST_KEPT}. "
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
    bundle = with_section(source, learned.section(source, sample), learned.tensors())
    card = bundle.card.model_copy(
        update={"name": name, "limits": _limits(source), "trust": None}  # its figures were the old domain's
    )
    return Accepted(Bundle(card, bundle.stored, sha256=""), before, after, learned.explained(residual[good]))


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


def _limits(source: Bundle) -> tuple[str, ...]:
    """What the derived card states as its limits."""
    own = "Departures as of the accepted samples are taken as good because a user vouches for them."
    return tuple(dict.fromkeys((*source.card.limits, own)))


def _check_good(predictions: Sequence[Prediction], names: Sequence[str]) -> None:
    """Refuse spectra for which nobody can vouch.

    Raises
    ------
    AcceptError : for one that is refused, has a hole or no foil, or is most of all no metal of this element.
    """
    for prediction, name in zip(predictions, names, strict=True):
        if prediction.refused is not None:
            raise AcceptError(f"{name} cannot be analysed: {prediction.refused}. Leave it out")
        if Flag.UNANCHORED in prediction.flags:
            raise AcceptError(f"{name} has no foil: give the foil of its beamline as the anchor")
        if Flag.HOLE in prediction.flags:
            raise AcceptError(f"{name} has a stretch without points, of which nothing is known. Leave it out")
        chemistry = prediction.chemistry
        other = 0.0 if chemistry is None else 1.0 - chemistry.shares["metal"]
        if chemistry is not None and other >= NO_METAL:
            raise AcceptError(
                f"{name} {chemistry.looks}: {other:.0%} of its spectrum is no metal of this element, at most "
                f"{NO_METAL:.0%} may be. Leave it out"
            )


def _is_good(prediction: Prediction) -> bool:
    """Whether a spectrum is usable and no departure."""
    return prediction.domain.inside is True and prediction.verdict.usable


def _contradiction(names: Sequence[str], odd: Sequence[str], with_all: Sequence[Prediction]) -> str:
    """Why spectra cannot be accepted together.

    Parameters
    ----------
    names : of all spectra.
    odd : of those that depart when the others are accepted.
    with_all : what is said of each when all are accepted.
    """
    still = [(name, p) for name, p in zip(names, with_all, strict=True) if not _is_good(p)]
    if 2 * len(still) > len(odd):
        named, (first, judged) = _listed([name for name, _ in still]), still[0]
        return (
            f"{named}: {len(still)} of {len(names)} spectra depart though they are accepted themselves "
            f"({first}: {judged.verdict.reason}). Such a departure cannot be learned: look for its cause"
        )
    return (
        f"{_listed(odd)}: {len(odd)} of {len(names)} spectra depart when the others are accepted, so that "
        "they are no one sample. Accept each sample by itself, or leave out what is unlike"
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
