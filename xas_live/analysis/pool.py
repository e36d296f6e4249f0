"""AnalyzerPool: the analyzers for whatever comes."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal
from weakref import WeakValueDictionary

import numpy as np
import torch

from xas_live.analysis.analyzer import Analyzer, Batch, pick_device
from xas_live.analysis.config import AnalysisConfig
from xas_live.analysis.history import Earlier
from xas_live.errors import Refusal
from xas_live.models.bundle import Bundle, ModelError
from xas_live.models.registry import available_models, find_model, load_model, load_models
from xas_live.prediction import FAILED, Prediction
from xas_live.reduction.anchor import FoilAnchor
from xas_live.reduction.gate import quality
from xas_live.reduction.reducer import Reducer
from xas_live.reduction.saved_anchors import newest_anchor
from xas_live.reduction.standards import StandardError
from xas_live.spectrum import Spectrum

ANALYZERS_KEPT = 8  # by a pool, of each of its models: each holds its model's tensors and operators

logger = logging.getLogger("xas_live")


class AnalyzerPool:
    """Analyzers for whatever comes: the models by element and edge, the anchor as asked for.

    Parameters
    ----------
    model : name or folder of the model to use, or several of them; None picks the shipped one of each
        spectrum's absorber. Of several, all that are for a spectrum's absorber judge it, and the first of
        them is the primary one.
    anchor : a fitted foil, or one for each absorber; "reference"; None; or "auto": the sweep's own reference
        channel where there is one, else the user's newest saved anchor of the absorber, else none.
    config, device, standards : as for `Analyzer`; standards of another absorber than a spectrum's are not
        used for it, nor by models without phase fractions.

    Attributes
    ----------
    models : the models chosen, in their order; empty where they are picked by absorber.

    Raises
    ------
    ModelError : when a model cannot be had, two bear one name, or several models are none.
    DeviceError : when the machine does not have the device.
    """

    def __init__(
        self,
        model: str | Path | Sequence[str | Path] | None = None,
        anchor: FoilAnchor | Sequence[FoilAnchor] | Literal["reference", "auto"] | None = "auto",
        config: AnalysisConfig | None = None,
        device: str = "auto",
        standards: Mapping[str, Spectrum] | None = None,
    ) -> None:
        self.anchor = anchor
        self.standards = dict(standards or {})
        self.config = config or AnalysisConfig()
        self.device = pick_device(device)
        self.models = tuple(load_models(_names(model)))
        if self.standards and self.models and not any(m.card.sections.phases for m in self.models):
            names = ", ".join(model.name for model in self.models)
            raise StandardError(f"{names} cannot fit shares of other phases: leave the standards out")
        self._kept = ANALYZERS_KEPT * max(1, len(self.models))
        self._analyzers: OrderedDict[tuple[Any, ...], Analyzer] = OrderedDict()
        self._reducers: WeakValueDictionary[tuple[Any, ...], Reducer] = WeakValueDictionary()
        self._told: set[tuple[str, type[Exception]]] = set()
        self._lock = Lock()

    def models_for(self, spectrum: Spectrum) -> list[Bundle]:
        """The models that judge this spectrum, the primary one first.

        Of the models chosen, those for its absorber. Where none does, the first is asked and says
        so; but an absorber that was only guessed does not overrule the choice, and all are asked.

        Raises
        ------
        ModelError : when none is chosen and no shipped one is for its absorber, or it cannot be read.
        """
        element, edge = spectrum.element, spectrum.edge
        if not self.models:
            name = find_model(element, edge)
            if name is None:
                raise ModelError(_no_model(spectrum))
            return [load_model(name)]
        speaking = [bundle for bundle in self.models if bundle.input_for(element, edge) is not None]
        return speaking or list(self.models if spectrum.absorber_guessed else self.models[:1])

    def analyze(self, spectra: Sequence[Spectrum]) -> list[Prediction]:
        """One prediction a spectrum, its primary model's, in order; spectra of one absorber are one batch."""
        return [primary for (primary,) in self._ask(spectra, 1)]

    def analyze_all(self, spectra: Sequence[Spectrum]) -> list[list[Prediction]]:
        """Of each spectrum what all its models say: the primary one's prediction, then the others' in order.

        Each is what a pool with that model alone says. Models of one input, theory and anchor share one
        reduction. A further model that fails is said in the log "xas_live" and refuses the spectra that it
        failed on; only what the primary one raises is raised.
        """
        return self._ask(spectra, None)

    def preview(self, spectrum: Spectrum, earlier: Earlier | None = None) -> Prediction | None:
        """What the primary model can say of a growing sweep: see `Analyzer.preview`."""
        try:
            primary = self.models_for(spectrum)[0]
            return self._analyzer_for(primary, spectrum, newest_anchor).preview(spectrum, earlier)
        except Refusal:
            return None  # the completed sweep will say why

    def _ask(self, spectra: Sequence[Spectrum], most: int | None) -> list[list[Prediction]]:
        """Ask so many models of each spectrum at most, each about all its spectra together."""
        newest = cache(newest_anchor)  # looked for once a batch
        asked: dict[int, tuple[Analyzer, list[tuple[int, int]]]] = {}
        found: dict[tuple[int, int], Prediction] = {}
        counts = []
        for i, spectrum in enumerate(spectra):
            try:
                models = self.models_for(spectrum)[:most]
            except ModelError as error:
                models = []
                found[i, 0] = Prediction.refusal(spectrum, str(error))
            for rank, bundle in enumerate(models):
                try:
                    analyzer = self._analyzer_for(bundle, spectrum, newest)
                except Refusal as error:
                    found[i, rank] = Prediction.refusal(
                        spectrum, str(error), model=bundle.name, model_sha256=bundle.sha256
                    )
                else:
                    asked.setdefault(id(analyzer), (analyzer, []))[1].append((i, rank))
            counts.append(max(1, len(models)))
        batches: dict[tuple[int, ...], Batch] = {}
        for analyzer, places in asked.values():
            members, is_primary = [i for i, _ in places], any(rank == 0 for _, rank in places)
            try:
                key = (*map(id, analyzer.reducers), *members)
                if key not in batches:
                    batches[key] = analyzer.reduce([spectra[i] for i in members])
                said = analyzer.judge(batches[key])
            except Exception:
                if is_primary:
                    raise
                said = [self._alone(analyzer, spectra[i]) for i in members]
            found.update(zip(places, said, strict=True))
        return [[found[i, rank] for rank in range(count)] for i, count in enumerate(counts)]

    def _alone(self, analyzer: Analyzer, spectrum: Spectrum) -> Prediction:
        """Of a further model that failed on a batch, what it says of one spectrum alone, or its refusal."""
        try:
            return analyzer.analyze([spectrum])[0]
        except Exception as error:  # noqa: BLE001 a further model must not cost the primary one's prediction
            reason = f"{FAILED} ({type(error).__name__}: {error})"
            kind = (analyzer.bundle.name, type(error))
            if kind not in self._told:  # once, not at every sweep
                self._told.add(kind)
                logger.warning("%s: %s; the other models go on", analyzer.bundle.name, reason)
            return analyzer.refusal(spectrum, reason)

    def _analyzer_for(
        self, bundle: Bundle, spectrum: Spectrum, newest: Callable[[str, str], FoilAnchor | None]
    ) -> Analyzer:
        anchor, fallback = self._anchors_for(bundle, spectrum, newest)
        key = (bundle.sha256, *(_hashes(each) for each in (anchor, fallback)))
        with self._lock:
            if key not in self._analyzers:
                own = {
                    name: standard
                    for name, standard in self.standards.items()
                    if bundle.card.sections.phases is not None
                    and bundle.input_for(standard.element, standard.edge) is not None
                }
                make = partial(Analyzer, fallback=fallback, standards=own, reducers=self._reducers)
                try:
                    made = make(bundle, anchor, self.config, self.device)
                except RuntimeError as error:  # what torch raises when a device fails
                    if self.device.type == "cpu":
                        raise
                    logger.warning("%s failed (%s): the analysis goes on on the CPU", self.device, error)
                    self.device = torch.device("cpu")
                    made = make(bundle, anchor, self.config, self.device)
                self._analyzers[key] = made
                while len(self._analyzers) > self._kept:
                    self._analyzers.popitem(last=False)
            self._analyzers.move_to_end(key)
            return self._analyzers[key]

    def _anchors_for(
        self, bundle: Bundle, spectrum: Spectrum, newest: Callable[[str, str], FoilAnchor | None]
    ) -> tuple[Sequence[FoilAnchor] | Literal["reference"] | None, Sequence[FoilAnchor]]:
        """The foils that a spectrum's analyzer has, and those it falls back on."""
        if self.anchor == "auto":
            used = [each for each in bundle.inputs if each.anchor != "none"]
            found = [newest(each.element, each.edge) for each in used]
            saved = [foil for foil in found if foil is not None]
            return ("reference", saved) if spectrum.reference is not None else (saved, ())
        if self.anchor == "reference" or self.anchor is None:
            return self.anchor, ()
        given = (self.anchor,) if isinstance(self.anchor, FoilAnchor) else tuple(self.anchor)
        own = [foil for foil in given if bundle.input_for(foil.element, foil.edge) is not None]
        return own or given, ()  # foils of other absorbers alone are refused with the reason


def _names(model: str | Path | Sequence[str | Path] | None) -> Sequence[str | Path]:
    """The names or folders that were given, as several."""
    if model is None:
        return ()
    if isinstance(model, str | Path):
        return (model,)
    if not model:
        raise ModelError("no model is given: name one or several, or leave it out to go by element and edge")
    return model


def _no_model(spectrum: Spectrum) -> str:
    """Why there is no model for a spectrum, and what to do: what is wrong with its data comes first."""
    verdict = quality(spectrum)
    if not verdict.usable:
        return verdict.reason
    shipped = ", ".join(available_models())
    if spectrum.element is not None and spectrum.edge is not None:
        absorber = f"{spectrum.element} {spectrum.edge}"
        if spectrum.absorber_guessed:
            seen = spectrum.provenance.read.get("absorber", f"looks like {absorber}")
            return (
                f"no model for {absorber}, which is a guess: it {seen}. Name element and edge in the "
                f"metadata, or choose a model ({shipped})"
            )
        return f"no model for {absorber}: shipped are {shipped}"
    finite = spectrum.energy[np.isfinite(spectrum.energy)]
    seen = f"energies from {finite.min():.0f} to {finite.max():.0f} eV" if len(finite) else "its energies"
    return (
        f"element and edge are not known: the metadata do not name them, and in {seen} mu does not rise at "
        f"one edge with 50 eV behind it. Name them in the metadata, or choose a model ({shipped})"
    )


def _hashes(anchor: Sequence[FoilAnchor] | str | None) -> tuple[str, ...] | str | None:
    """What tells anchors apart."""
    if anchor is None or isinstance(anchor, str):
        return anchor
    return tuple(foil.sha256 for foil in anchor)
