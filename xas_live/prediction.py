"""Prediction: what the models say of one sweep, and how far to believe it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from xas_live.spectrum import Array, Provenance, Spectrum

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""What `json.dumps` takes."""

Columns: TypeAlias = dict[str, float | str]
"""Numbers and texts by the names of their columns."""

_INTERVAL = ("", "_lower", "_upper", "_std")
_BAND = ("", "_lower", "_upper", "_x")


class OutputResult(Protocol):
    """What a model gives for one output: the columns it has in tables and archives, and its JSON.

    `name` is that of the target or output; the names of all columns begin with it, or hold it.
    """

    @property
    def level(self) -> float:
        """Nominal coverage of the interval, set or band."""
        ...

    def row(self, name: str) -> Columns:
        """Columns of a table of results."""
        ...

    def columns(self, name: str) -> Columns:
        """Columns of an archive, but for arrays."""
        ...

    def arrays(self, name: str) -> dict[str, Array]:
        """Columns of an archive that are arrays."""
        ...

    def units(self, name: str) -> dict[str, str]:
        """Units of those columns of an archive that have one."""
        ...

    def to_json(self) -> dict[str, Json]:
        """The result as JSON can hold it; NaN becomes None."""
        ...


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

    def row(self, name: str) -> Columns:
        """Value and interval: `CN1`, `CN1_lower`, `CN1_upper`."""
        return {name: self.value, f"{name}_lower": self.lower, f"{name}_upper": self.upper}

    def columns(self, name: str) -> Columns:
        """As in a table, and the standard deviation: `CN1_std`."""
        numbers = (self.value, self.lower, self.upper, self.std)
        return {f"{name}{end}": float(x) for end, x in zip(_INTERVAL, numbers, strict=True)}

    def arrays(self, name: str) -> dict[str, Array]:
        """None."""
        return {}

    def units(self, name: str) -> dict[str, str]:
        """The value's unit, for all its columns."""
        return {f"{name}{end}": self.unit for end in _INTERVAL} if self.unit else {}

    def to_json(self) -> dict[str, Json]:
        """See `OutputResult`."""
        return {
            "value": finite(self.value),
            "std": finite(self.std),
            "lower": finite(self.lower),
            "upper": finite(self.upper),
            "level": self.level,
            "unit": self.unit,
        }


@dataclass(frozen=True)
class Size:
    """Diameter of the particle, from its coordination numbers.

    Attributes
    ----------
    diameter_nm, lower, upper : nm; None where the coordination numbers no longer tell sizes apart.
    label : in words, as "1.8 nm" or "bulk-like".
    """

    diameter_nm: float | None
    lower: float | None
    upper: float | None
    label: str

    def to_json(self) -> dict[str, Json]:
        """See `OutputResult`."""
        return {
            "diameter_nm": finite(self.diameter_nm),
            "lower": finite(self.lower),
            "upper": finite(self.upper),
            "label": self.label,
        }


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
    """

    grid: Array
    flat: Array
    foil: Array | None
    network_input: Array
    denoised: Array | None = None
    kind: Literal["flat", "norm", "chi"] = "flat"
    k_weight: int = 0

    @property
    def x_unit(self) -> str:
        """Of the grid."""
        return "1/Å" if self.kind == "chi" else "eV"

    @property
    def unit(self) -> str:
        """Of `flat`: edge steps are pure numbers, k^n chi is in 1/Å^n."""
        power = self.k_weight if self.kind == "chi" else 0
        return ("", "1/Å", "1/Å²", "1/Å³")[power]


@dataclass(frozen=True, eq=False)
class Classes:
    """Which of several classes a sweep belongs to.

    Attributes
    ----------
    probabilities : by class, calibrated; they sum to 1.
    members : the classes that cannot be excluded at `level`, the likeliest first (a conformal set); empty
        where the sweep is like none of them.
    level : nominal share of sweeps whose true class is among `members`.
    """

    probabilities: Mapping[str, float]
    members: tuple[str, ...]
    level: float = 0.9

    @property
    def likeliest(self) -> str:
        """The class of the largest probability."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    def __str__(self) -> str:
        best = self.likeliest
        others = [name for name in self.members if name != best]
        also = f"; or {', '.join(others)}" if others else ""
        return f"{best} ({self.probabilities[best]:.0%}{also})"

    def row(self, name: str) -> Columns:
        """The likeliest class, its probability, and the set: `site`, `site_p`, `site_set`."""
        best = self.likeliest
        return {name: best, f"{name}_p": self.probabilities[best], f"{name}_set": ", ".join(self.members)}

    def columns(self, name: str) -> Columns:
        """The likeliest class, the set, and all probabilities: `site`, `site_set`, `site_T4`, `site_O6`."""
        each = {f"{name}_{one}": float(p) for one, p in self.probabilities.items()}
        return {name: self.likeliest, f"{name}_set": ", ".join(self.members), **each}

    def arrays(self, name: str) -> dict[str, Array]:
        """None."""
        return {}

    def units(self, name: str) -> dict[str, str]:
        """None: probabilities are pure numbers."""
        return {}

    def to_json(self) -> dict[str, Json]:
        """See `OutputResult`."""
        return {
            "likeliest": self.likeliest,
            "probabilities": {name: finite(p) for name, p in self.probabilities.items()},
            "members": list(self.members),
            "level": self.level,
        }


@dataclass(frozen=True, eq=False)
class Curve:
    """A predicted curve with its band.

    Attributes
    ----------
    x : (n,) the axis, in `x_unit`; `x_name` names it.
    y, lower, upper : (n,) the curve and the ends of its band, in `unit`.
    level : nominal share of curves that lie in the band as a whole.
    """

    x: Array
    y: Array
    lower: Array
    upper: Array
    x_name: str = "x"
    x_unit: str = ""
    unit: str = ""
    level: float = 0.9

    def __str__(self) -> str:
        unit = f" {self.x_unit}" if self.x_unit else ""
        return f"of {len(self.x)} points, {self.x_name} = {self.x[0]:g} to {self.x[-1]:g}{unit}"

    def row(self, name: str) -> Columns:
        """None: a curve has no place in a row."""
        return {}

    def columns(self, name: str) -> Columns:
        """None: see `arrays`."""
        return {}

    def arrays(self, name: str) -> dict[str, Array]:
        """The curve, the ends of its band, and its axis: `curve_g`, `curve_g_lower`, `curve_g_x`."""
        parts = (self.y, self.lower, self.upper, self.x)
        return {f"curve_{name}{end}": part for end, part in zip(_BAND, parts, strict=True)}

    def units(self, name: str) -> dict[str, str]:
        """Those of the curve and of its axis."""
        units = (self.unit, self.unit, self.unit, self.x_unit)
        return {f"curve_{name}{end}": unit for end, unit in zip(_BAND, units, strict=True) if unit}

    def to_json(self) -> dict[str, Json]:
        """See `OutputResult`."""
        parts = {"x": self.x, "y": self.y, "lower": self.lower, "upper": self.upper}
        points: dict[str, Json] = {
            name: [finite(value) for value in part.tolist()] for name, part in parts.items()
        }
        about: dict[str, Json] = {
            "x_name": self.x_name,
            "x_unit": self.x_unit,
            "unit": self.unit,
            "level": self.level,
        }
        return points | about


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the networks say of a sweep.

    Attributes
    ----------
    values : numbers with intervals, by target.
    classes, curves : by output.
    fractions : shares of the metal and of each standard, where standards were fitted.
    correlation : of the leading target with the metal's share; NaN without standards.
    size : of the particle; None where the model gives none.
    """

    values: Mapping[str, Value] = field(default_factory=dict)
    classes: Mapping[str, Classes] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    fractions: Mapping[str, Value] = field(default_factory=dict)
    correlation: float = math.nan
    size: Size | None = None

    @property
    def results(self) -> dict[str, OutputResult]:
        """Numbers, classes and curves together, by target or output."""
        return {**self.values, **self.classes, **self.curves}

    def row(self) -> Columns:
        """Columns of a table of results."""
        return {
            column: cell for name, each in self.results.items() for column, cell in each.row(name).items()
        }

    def columns(self) -> Columns:
        """Columns of an archive, but for arrays."""
        return {k: v for name, each in self._stored.items() for k, v in each.columns(name).items()}

    def arrays(self) -> dict[str, Array]:
        """Columns of an archive that are arrays."""
        return {k: v for name, each in self._stored.items() for k, v in each.arrays(name).items()}

    def units(self) -> dict[str, str]:
        """Units of those columns of an archive that have one."""
        return {k: v for name, each in self._stored.items() for k, v in each.units(name).items()}

    @property
    def _stored(self) -> dict[str, OutputResult]:
        """All that an archive keeps, by name."""
        shares = {f"fraction_{name}": share for name, share in self.fractions.items()}
        return {**self.values, **shares, **self.classes, **self.curves}


@dataclass(frozen=True)
class DomainVerdict:
    """Whether a sweep belongs to what the model was trained on.

    Attributes
    ----------
    inside : whether it does; None where the model does not judge it.
    p : share of in-domain spectra that lie at least as far out.
    score : how far out it lies: 0 as the median, 1 at the rim.
    reason : in words what is unlike them, when it is out.
    latent : coordinates in the autoencoder of the training spectra, in units of their spread.
    """

    inside: bool | None = None
    p: float = math.nan
    score: float = math.nan
    reason: str = ""
    latent: tuple[float, ...] = ()

    def __str__(self) -> str:
        if self.inside is None:
            return "domain not judged"
        why = f" ({self.reason})" if self.reason else ""
        return "in domain" if self.inside else f"OUT OF DOMAIN{why}"


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
    outcome : values, classes, curves, fractions and size.
    domain : whether the sweep belongs to what the model knows.
    alignment : how its energies lie on the foil's.
    anchor : the foil used; None where there was none.
    edge_step : in units of mu.
    partial : the sweep is not whole: still running, or aborted.
    reduced : the spectrum as the network saw it.
    calibrated_on : what the intervals rest on.
    """

    model: str
    model_sha256: str
    element: str | None = None
    edge: str | None = None
    provenance: Provenance = field(default_factory=Provenance)
    outcome: Outcome = field(default_factory=Outcome)
    domain: DomainVerdict = field(default_factory=DomainVerdict)
    alignment: Alignment = field(default_factory=Alignment)
    anchor: AnchorUsed | None = None
    flags: tuple[str, ...] = ()
    refused: str | None = None
    edge_step: float = math.nan
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
            alignment=Alignment(shift=math.nan),
            partial=not spectrum.complete,
            refused=reason,
        )

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
        """Results, size, domain and flags in one line; or why it was refused."""
        if self.refused is not None:
            return f"refused, {self.refused}"
        results = ", ".join(f"{name} {result}" for name, result in self.outcome.results.items())
        size = f"; {self.size.label}" if self.size else ""
        flags = f"; {', '.join(self.flags)}" if self.flags else ""
        return f"{results}{size}; {self.domain}{flags}"

    def __repr__(self) -> str:
        where = self.provenance
        absorber = " ".join(filter(None, (self.element, self.edge))) or "unknown absorber"
        return f"<Prediction {self.model} of {absorber}, scan {where.scan}, sweep {where.sweep}: {self}>"

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


def finite(x: float | None) -> float | None:
    """The number as JSON can hold it: None for NaN and infinities."""
    return None if x is None or not math.isfinite(x) else float(x)


def _json(results: Mapping[str, OutputResult]) -> dict[str, Json]:
    return {name: result.to_json() for name, result in results.items()}
