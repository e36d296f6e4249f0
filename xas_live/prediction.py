"""Prediction: what the models say of one sweep, and how far to believe it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xas_live.spectrum import Array, Provenance, Spectrum


@dataclass(frozen=True)
class Value:
    """One predicted quantity with its interval.

    Attributes
    ----------
    value : the prediction.
    std : standard deviation: the half width of the interval divided by the Gaussian quantile of its level.
    lower, upper : ends of the interval.
    level : nominal coverage of the interval, as 0.9.
    unit : "" for a pure number, else e.g. "Å".
    """

    value: float
    std: float
    lower: float
    upper: float
    level: float = 0.9
    unit: str = ""

    def __str__(self) -> str:
        unit, n = f" {self.unit}" if self.unit else "", self.decimals
        return f"{self.value:.{n}f} [{self.lower:.{n}f}, {self.upper:.{n}f}]{unit}"

    @property
    def decimals(self) -> int:
        """Decimal places worth showing, at least two: the interval's half width with two figures."""
        half = 0.5 * (self.upper - self.lower)
        if not math.isfinite(half) or half <= 0:
            return 2
        return min(max(2, 1 - math.floor(math.log10(half))), 6)


@dataclass(frozen=True)
class Size:
    """Diameter of the particle that the coordination numbers speak of.

    Attributes
    ----------
    diameter_nm, lower, upper : nm; None where the coordination numbers no longer tell sizes apart.
    label : in words, as "1.8 nm" or "bulk-like".
    """

    diameter_nm: float | None
    lower: float | None
    upper: float | None
    label: str


@dataclass(frozen=True, eq=False)
class Reduced:
    """The spectrum as the network saw it.

    Attributes
    ----------
    grid : (g,) eV relative to the model's energy origin.
    flat : (g,) normalised, flattened sample.
    foil : (g,) normalised, flattened foil of the anchor, or None when unanchored.
    network_input : (g,) what went into the network.
    denoised : (g,) the sample as the autoencoder of the training spectra gives it back; for the eye: nothing
        is predicted from it.
    """

    grid: Array
    flat: Array
    foil: Array | None
    network_input: Array
    denoised: Array | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What one model says of one sweep.

    `values` is empty exactly when `refused` gives a reason. `flags` are short words, each explained in
    docs/flags.md. `seconds` are the times the steps took. `configuration` is all else that the prediction
    depends on besides the sweep and the model (anchor, alignment, windows, level): JSON-ready, and the same
    for the same analysis.

    `domain_p` is the share of in-domain spectra that lie at least as far out, `domain_score` how far out this
    one lies (0 as the median, 1 at the rim) and `domain_reason` says in words what is unlike them, when it is
    out. `latent` are its coordinates in the autoencoder of the training spectra, in units of their spread.
    `correlation` is that of the metal's CN1 with its share of the sample, where standards were fitted.
    """

    model: str
    model_sha256: str
    element: str | None = None
    edge: str | None = None
    provenance: Provenance = field(default_factory=Provenance)
    anchored: bool = False
    aligned: str = "none"
    values: Mapping[str, Value] = field(default_factory=dict)
    classes: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Array] = field(default_factory=dict)
    fractions: Mapping[str, Value] = field(default_factory=dict)
    in_domain: bool = False
    domain_p: float = math.nan
    domain_score: float = math.nan
    domain_reason: str = ""
    latent: tuple[float, ...] = ()
    correlation: float = math.nan
    flags: tuple[str, ...] = ()
    refused: str | None = None
    size: Size | None = None
    e0: float = math.nan
    edge_step: float = math.nan
    shift: float = math.nan
    partial: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)
    reduced: Reduced | None = None
    calibrated_on: str = "simulation"
    configuration: Mapping[str, Any] = field(default_factory=dict)

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
            partial=not spectrum.complete,
            refused=reason,
        )

    def __str__(self) -> str:
        """Values with intervals, size, domain and flags in one line; or why it was refused."""
        if self.refused is not None:
            return f"refused, {self.refused}"
        values = ", ".join(f"{name} {value}" for name, value in self.values.items())
        size = f"; {self.size.label}" if self.size else ""
        why = f" ({self.domain_reason})" if self.domain_reason else ""
        domain = "in domain" if self.in_domain else f"OUT OF DOMAIN{why}"
        flags = f"; {', '.join(self.flags)}" if self.flags else ""
        return f"{values}{size}; {domain}{flags}"

    def __repr__(self) -> str:
        where = self.provenance
        absorber = " ".join(filter(None, (self.element, self.edge))) or "unknown absorber"
        return f"<Prediction {self.model} of {absorber}, scan {where.scan}, sweep {where.sweep}: {self}>"

    def to_json(self) -> dict[str, Any]:
        """The replay contract's record, ready for `json.dumps`; NaN becomes None."""
        return {
            "source": self.provenance.source,
            "scan": self.provenance.scan,
            "element": self.element,
            "edge": self.edge,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "anchored": self.anchored,
            "aligned": self.aligned,
            "values": _values(self.values),
            "classes": {k: finite(v) for k, v in self.classes.items()},
            "curves": {k: [finite(x) for x in v] for k, v in self.curves.items()},
            "fractions": _values(self.fractions),
            "in_domain": self.in_domain,
            "domain_p": finite(self.domain_p),
            "domain_score": finite(self.domain_score),
            "domain_reason": self.domain_reason,
            "latent": [finite(x) for x in self.latent],
            "correlation": finite(self.correlation),
            "flags": list(self.flags),
            "refused": self.refused,
            "size": {
                "diameter_nm": finite(self.size.diameter_nm) if self.size else None,
                "lower": finite(self.size.lower) if self.size else None,
                "upper": finite(self.size.upper) if self.size else None,
                "label": self.size.label if self.size else None,
            },
            "e0": finite(self.e0),
            "edge_step": finite(self.edge_step),
            "seconds": {k: finite(v) for k, v in self.seconds.items()},
        }


def finite(x: float | None) -> float | None:
    """The number as JSON can hold it: None for NaN and infinities."""
    return None if x is None or not math.isfinite(x) else float(x)


def _values(values: Mapping[str, Value]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "value": finite(v.value),
            "std": finite(v.std),
            "lower": finite(v.lower),
            "upper": finite(v.upper),
            "level": v.level,
            "unit": v.unit,
        }
        for name, v in values.items()
    }
