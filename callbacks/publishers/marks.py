"""How the live figure marks predictions by their degree: palette, words and dots of three kinds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from xas_live.flags import Flag, Severity
from xas_live.prediction import SAID_BY_VERDICT, Degree, Prediction, Value, Verdict
from xas_live.spectrum import Array

# Okabe and Ito's palette: told apart by colour-blind eyes too. Colour has one meaning throughout.
BLUE, GREEN, ORANGE, VERMILION, PURPLE = "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
INK, GREY, PALE = "#222222", "#767676", "#C9CED3"
AMBER = "#9A6A00"
"""The orange of caution where it is text or a thin line on white."""

SIGNS = {Degree.TRUSTED: "✓", Degree.CAUTION: "!", Degree.NOT_USABLE: "×", None: "–"}
LAMPS = {Degree.TRUSTED: GREEN, Degree.CAUTION: ORANGE, Degree.NOT_USABLE: VERMILION, None: PALE}
"""Colour of the verdict itself, by degree."""

ADSORBATES: dict[str, Any] = {"marker": "D", "mfc": "white", "mec": INK, "mew": 1.0}
"""How a share of adsorbates is marked."""

MOST_SAMPLES = 8
"""So many samples can be told apart."""

EARLIER, PLAIN = MOST_SAMPLES, MOST_SAMPLES + 1
"""Marks of samples measured before these, and of the only one: its colours say the degree alone."""

STYLES = (
    ("o", BLUE), ("s", "#117733"), ("v", "#882255"), ("P", "#44AA99"), ("p", INK), ("<", "#332288"),
    ("h", "#8A7A1F"), (">", "#56A0D3"), (".", GREY), ("o", BLUE),
)  # fmt: skip
"""Marker and colour of each sample, of earlier ones, and of the only one."""

NOISE_WIDTH = 1.6  # of the line that shows the statistical part of an interval (typographical points)
MEAN_BAND = 0.16
"""Opacity of the band of an average's interval."""

_WHOLE = 0.1  # half width of an interval from which one decimal is enough for a pure number
_LIKE = "like the spectra that the model was trained on"
_DOUBTED = tuple(to_rgba(*of) for of in ((ORANGE, 0.42), (VERMILION, 0.2)))
_BARS = (*(to_rgba(colour, 0.28) for _, colour in STYLES), *_DOUBTED)
_TEXTS = (BLUE, AMBER, VERMILION)
_RANKS: dict[Degree | None, int] = {Degree.CAUTION: 1, Degree.NOT_USABLE: 2}


class Light(NamedTuple):
    """A verdict for the eye: colour, sign, word, and why."""

    colour: str
    sign: str
    title: str
    words: str


def ranks(verdicts: Sequence[Verdict]) -> NDArray[np.intp]:
    """(n,) 0 where nothing speaks against it, 1 for caution, 2 for not usable."""
    return np.array([_RANKS.get(each.degree, 0) for each in verdicts], dtype=np.intp)


def colour_of(verdict: Verdict, mark: int = PLAIN) -> str:
    """Colour of the numbers of a prediction, as text or as a line: by its degree, and its sample's mark."""
    rank = ranks([verdict])[0]
    return _TEXTS[rank] if rank else STYLES[mark][1]


def figures_of(value: Value, places: int | None = None) -> tuple[str, str]:
    """A number, and its interval, as text; default: with the decimals that are worth showing."""
    if places is None:
        rough = not value.unit and value.upper - value.lower >= 2 * _WHOLE
        places = 1 if rough else value.decimals
    return f"{value.value:.{places}f}", f"{value.lower:.{places}f} – {value.upper:.{places}f}"


def shortened(text: str, room: int) -> str:
    """The text in at most so many letters: of a long one the middle is left out."""
    if len(text) <= room:
        return text
    tail = max(1, (room - 1) // 2)
    return f"{text[: max(1, room - 1 - tail)]}…{text[-tail:]}"


def said(prediction: Prediction) -> str:
    """What to do with the numbers, and why."""
    verdict = prediction.verdict
    if prediction.refused is not None:
        return f"refused, {prediction.refused}"
    if verdict.degree is None:
        return prediction.why or "this model does not judge spectra"
    if verdict.degree is Degree.TRUSTED:
        return prediction.why or _LIKE
    use = "do not use the numbers"
    if verdict.usable:
        use = f"usable, with an {verdict.wider}" if verdict.wider else "usable"
    return f"{use}: {prediction.because}" if prediction.because else use


def verdict_light(prediction: Prediction | None) -> Light:
    """How far to believe the latest sweep."""
    if prediction is None:
        return Light(PALE, "", "Verdict", "waiting for the first sweep")
    degree = prediction.verdict.degree
    title = str(degree).capitalize() if degree else "Not judged"
    words = "no number is given" if prediction.refused is not None else prediction.why
    return Light(LAMPS[degree], SIGNS[degree], title, words or said(prediction))


def quality_light(prediction: Prediction | None) -> Light:
    """Whether the data of the latest sweep are sound, by the flags that the verdict does not say."""
    if prediction is None:
        return Light(PALE, "", "Quality", "")
    if prediction.refused is not None:
        return Light(VERMILION, "×", "Refused", prediction.refused)
    flags = [flag for flag in prediction.flags if flag not in SAID_BY_VERDICT]
    words = ", ".join(flags).replace("_", " ")
    if all(_is_remark(flag) for flag in flags):
        return Light(GREEN, "✓", "Good data", words or "no flags")
    return Light(ORANGE, "!", "Flagged", words)


def _is_remark(flag: str) -> bool:
    return any(flag == known and known.severity is Severity.REMARK for known in Flag)


class DegreeDots:
    """Points of one sample by degree: full where trusted or not judged, hollow under caution, else crosses.

    Parameters
    ----------
    ax : where to draw.
    mark : of the sample. Points of the only one have the colours of their degrees, of several those of
        their samples.
    style : of all artists.
    """

    def __init__(self, ax: Axes, mark: int = PLAIN, **style: Any) -> None:
        dots = partial(line, ax, ls="", **style)
        marker, colour = STYLES[mark]
        doubted = (ORANGE, VERMILION) if mark == PLAIN else (colour, colour)
        self.trusted = dots(marker=marker, color=colour, mec="white")
        self.caution = dots(marker=marker, mfc="white", mec=doubted[0], mew=1.6)
        self.unusable = dots(marker="x", color=doubted[1], mew=1.8)

    def draw(self, x: Array, y: Array, rank: NDArray[np.intp], size: float) -> None:
        """Show points (n,) with these ranks, of this size (typographical points); NaN is no point."""
        known = np.isfinite(x) & np.isfinite(y)
        for k, artist in enumerate((self.trusted, self.caution, self.unusable)):
            of = known & (rank == k)
            artist.set_data(x[of], y[of])
            artist.set_markersize(size)
        self.trusted.set_markeredgewidth(0.8 if size > 4 else 0.0)
        self.caution.set_markeredgewidth(1.6 if size > 4 else 1.0)


class Bars:
    """Vertical bars by the degree of their predictions and the marks of their samples."""

    def __init__(
        self, ax: Axes, *, capstyle: Literal["round", "butt"] = "round", zorder: float = 2.0
    ) -> None:
        self._make = partial(line, ax, solid_capstyle=capstyle, zorder=zorder)
        self.lines: dict[int, Line2D] = {}

    def draw(
        self, x: Array, low: Array, high: Array, rank: NDArray[np.intp], mark: NDArray[np.intp], width: float
    ) -> None:
        """Show bars (n,) from `low` to `high`, of this width (typographical points)."""
        kind = np.where(rank > 0, len(STYLES) + rank - 1, mark)
        gap = np.full_like(x, np.nan)
        across, along = np.stack([x, x, gap], axis=1), np.stack([low, high, gap], axis=1)
        for each in np.unique(kind):
            if each not in self.lines:
                self.lines[int(each)] = self._make(color=_BARS[each])
        for each, artist in self.lines.items():
            of = kind == each
            artist.set_data(across[of].ravel(), along[of].ravel())
            artist.set_linewidth(width)


def line(ax: Axes, x: Sequence[float] = (), y: Sequence[float] = (), **style: Any) -> Line2D:
    """Draw a line, mostly without points so far."""
    [line] = ax.plot(x, y, **style)
    return line


def quiet(ax: Axes) -> None:
    """Axes that step back behind the data."""
    ax.tick_params(labelsize=10, color=PALE, labelcolor=GREY)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(PALE)
