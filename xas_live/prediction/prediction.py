"""Prediction: what the models say of one sweep, and how far to believe it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from xas_live.host.text import printable
from xas_live.prediction.chemistry import Chemistry
from xas_live.prediction.outcome import Outcome
from xas_live.prediction.results import Classes, Curve, Json, OutputResult, Size, Value, finite
from xas_live.prediction.verdict import Degree, DomainVerdict, Verdict
from xas_live.spectrum import Array, Provenance, Spectrum


@dataclass(frozen=True, eq=False)
class Reduced:
    """The spectrum as the network saw it.

    Attributes
    ----------
    grid : (g,) eV relative to the model's energy origin; 1/Å for chi.
    flat : (g,) normalised sample: flattened, or as `kind` says; of chi it is k^`k_weight` chi(k).
    foil : (g,) normalised, flattened foil of the anchor, or None when unanchored.
    network_input : (g,) what went into the network.
    denoised : (g,) the sample as the autoencoder of the training spectra gives it back; for the eye: nothing
        is predicted from it.
    kind : flat or norm of mu(E), or chi(k).
    k_weight : power of k that chi is multiplied by.
    energy : (g,) measured energies (eV) that the grid was read at; None for chi.
    """

    grid: Array
    flat: Array
    foil: Array | None
    network_input: Array
    denoised: Array | None = None
    kind: Literal["flat", "norm", "chi"] = "flat"
    k_weight: int = 0
    energy: Array | None = None

    @property
    def x_unit(self) -> str:
        """Of the grid."""
        return "1/Å" if self.kind == "chi" else "eV"

    @property
    def unit(self) -> str:
        """Of `flat`: edge steps are pure numbers, k^n chi is in 1/Å^n."""
        power = self.k_weight if self.kind == "chi" else 0
        return ("", "1/Å", "1/Å²", "1/Å³")[power]


@dataclass(frozen=True)
class Alignment:
    """How a sweep's energies lie on its foil's.

    Attributes
    ----------
    by : "reference", "e0", "none", "earlier sweeps", or the shift that was given, as "-0.5 eV".
    e0 : of the sweep (eV), by larch's rule.
    shift : by which it lies above the foil (eV).
    """

    by: str = "none"
    e0: float = math.nan
    shift: float = 0.0


class Foil(Protocol):
    """A fitted foil as a prediction names it; see `reduction.FoilAnchor`."""

    @property
    def source(self) -> str:
        """Where it comes from."""
        ...

    @property
    def sha256(self) -> str:
        """Over everything that predictions depend on."""
        ...


@dataclass(frozen=True, eq=False)
class AnchorUsed:
    """The foil that tied theory to the beamline.

    Attributes
    ----------
    kind : the sweep's own reference channel, or a foil measured apart.
    foil : as it was fitted.
    """

    kind: Literal["reference", "foil"]
    foil: Foil

    def __str__(self) -> str:
        """As tables name it: "reference", or "foil 1a2b3c4d"."""
        return "reference" if self.kind == "reference" else f"foil {self.foil.sha256[:8]}"


FAILED = "the analysis failed"
"""How the reason of a refusal begins that says nothing of the sweep: analysed again, it may be predicted."""


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What one model says of one sweep.

    `outcome` is empty when `refused` gives a reason, and where standards cannot be told apart from the metal
    and the model names no value of the whole sample. `flags` are names of `flags.Flag`. `seconds` are
    the times the steps took. `configuration` is all else that the prediction depends on besides the sweep and
    the model (anchors, standards, alignment, level, version of the reduction): JSON-ready, and the same for
    the same analysis.

    Attributes
    ----------
    outcome : values, classes, curves, fractions, size and chemistry.
    verdict : how far to believe it; of a refused prediction "not usable", for the reason of the refusal.
    domain : whether the sweep belongs to what the model knows, which the verdict rests on.
    alignment : how its energies lie on the foil's.
    anchor : the foil used; None where there was none.
    edge_step : in units of mu.
    partial : the sweep is not whole: still running, or aborted.
    temperature : of the sample (K), or None.
    change_scales : by target, the half width that the model's part of a change has per unit of latent
        distance, see `change`; empty for models that do not tell it.
    reduced : the spectrum as the network saw it.
    calibrated_on : what the intervals rest on.
    """

    model: str
    model_sha256: str
    element: str | None = None
    edge: str | None = None
    provenance: Provenance = field(default_factory=Provenance)
    outcome: Outcome = field(default_factory=Outcome)
    verdict: Verdict = field(default_factory=Verdict)
    domain: DomainVerdict = field(default_factory=DomainVerdict)
    alignment: Alignment = field(default_factory=Alignment)
    anchor: AnchorUsed | None = None
    flags: tuple[str, ...] = ()
    refused: str | None = None
    edge_step: float = math.nan
    partial: bool = False
    temperature: float | None = None
    change_scales: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    reduced: Reduced | None = None
    calibrated_on: str = "simulation"
    configuration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.refused is not None:
            object.__setattr__(self, "verdict", Verdict(Degree.NOT_USABLE, (self.refused,)))

    @classmethod
    def refusal(
        cls, spectrum: Spectrum, reason: str, *, model: str = "", model_sha256: str = ""
    ) -> Prediction:
        """What is said of a spectrum that could not be analysed at all."""
        return cls(
            model=model,
            model_sha256=model_sha256,
            element=spectrum.element,
            edge=spectrum.edge,
            provenance=spectrum.provenance,
            alignment=Alignment(shift=math.nan),
            partial=not spectrum.complete,
            refused=reason,
        )

    @property
    def failed(self) -> bool:
        """Whether it is refused because the analysis itself failed."""
        return self.refused is not None and self.refused.startswith(FAILED)

    @property
    def values(self) -> Mapping[str, Value]:
        """Of the outcome: numbers with intervals, by target."""
        return self.outcome.values

    @property
    def classes(self) -> Mapping[str, Classes]:
        """Of the outcome, by output."""
        return self.outcome.classes

    @property
    def curves(self) -> Mapping[str, Curve]:
        """Of the outcome, by output."""
        return self.outcome.curves

    @property
    def fractions(self) -> Mapping[str, Value]:
        """Of the outcome: shares of the metal and of each standard."""
        return self.outcome.fractions

    @property
    def size(self) -> Size | None:
        """Of the outcome."""
        return self.outcome.size

    @property
    def chemistry(self) -> Chemistry | None:
        """Of the outcome."""
        return self.outcome.chemistry

    @property
    def because(self) -> str:
        """Reasons of the verdict and, unless one says it, what the spectrum looks like, joined by "; "."""
        looks, reason = "" if self.chemistry is None else self.chemistry.looks, self.verdict.reason
        return "; ".join(filter(None, (reason, "" if looks in reason else looks)))

    @property
    def why(self) -> str:
        """The same, and how much wider the interval is."""
        return "; ".join(filter(None, (self.because, self.verdict.wider)))

    @property
    def in_domain(self) -> bool:
        """Whether nothing speaks against its belonging to what the model knows; False when refused."""
        return self.refused is None and self.domain.inside is not False

    @property
    def domain_judged(self) -> bool:
        """Whether the model has judged that: where it has not, `in_domain` says no more than that."""
        return self.domain.inside is not None

    @property
    def anchored(self) -> bool:
        """Whether a foil tied theory to the beamline."""
        return self.anchor is not None

    @property
    def e0(self) -> float:
        """Of the alignment (eV)."""
        return self.alignment.e0

    @property
    def shift(self) -> float:
        """Of the alignment (eV)."""
        return self.alignment.shift

    @property
    def aligned(self) -> str:
        """How its energies lie on the foil's: see `Alignment.by`."""
        return self.alignment.by

    def __str__(self) -> str:
        """Results, size, verdict and flags in one line; or why it was refused."""
        if self.refused is not None:
            return printable(f"refused, {self.refused}")
        results = ", ".join(f"{name} {result}" for name, result in self.outcome.results.items())
        size = f"; {self.size.label}" if self.size else ""
        looks = self.because.removeprefix(self.verdict.reason).removeprefix("; ")
        beside = "".join(f"; {each}" for each in (looks, ", ".join(self.flags)) if each)
        return f"{results}{size}; {self.verdict}{beside}"

    def __repr__(self) -> str:
        where = self.provenance
        absorber = " ".join(filter(None, (self.element, self.edge))) or "unknown absorber"
        scan = printable(where.scan)
        return f"<Prediction {self.model} of {absorber}, scan {scan}, sweep {where.sweep}: {self}>"

    def to_json(self) -> dict[str, Any]:
        """The replay contract's record, ready for `json.dumps`; NaN becomes None."""
        outcome = self.outcome
        return {
            "source": self.provenance.source,
            "scan": self.provenance.scan,
            "read": dict(self.provenance.read),
            "element": self.element,
            "edge": self.edge,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "anchored": self.anchored,
            "aligned": self.aligned,
            "values": _json(outcome.values),
            "classes": _json(outcome.classes),
            "curves": _json(outcome.curves),
            "fractions": _json(outcome.fractions),
            **self.verdict.to_json(),
            "chemistry": None if outcome.chemistry is None else outcome.chemistry.to_json(),
            "in_domain": self.in_domain,
            "domain_judged": self.domain_judged,
            "domain_p": finite(self.domain.p),
            "domain_score": finite(self.domain.score),
            "domain_reason": self.domain.reason,
            "latent": [finite(x) for x in self.domain.latent],
            "correlation": finite(outcome.correlation),
            "flags": list(self.flags),
            "refused": self.refused,
            "size": _NO_SIZE if outcome.size is None else outcome.size.to_json(),
            "e0": finite(self.e0),
            "edge_step": finite(self.edge_step),
            "seconds": {k: finite(v) for k, v in self.seconds.items()},
        }


_NO_SIZE: dict[str, Json] = dict.fromkeys(("diameter_nm", "lower", "upper", "label"))


def _json(results: Mapping[str, OutputResult]) -> dict[str, Json]:
    return {name: result.to_json() for name, result in results.items()}
