"""How the live figure marks predictions by their degree: palette, words and dots of three kinds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from xas_live.flags import Flag, Severity
from xas_live.prediction import SAID_BY_VERDICT, Degree, Prediction, Verdict
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

_LIKE = "like the spectra that the model was trained on"
_BARS = tuple(to_rgba(*of) for of in ((BLUE, 0.28), (ORANGE, 0.42), (VERMILION, 0.2)))
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


def colour_of(verdict: Verdict) -> str:
    """Colour of the numbers of a prediction, as text or as a line."""
    return _TEXTS[ranks([verdict])[0]]


def bars_of(rank: NDArray[np.intp]) -> list[tuple[float, float, float, float]]:
    """Colours of intervals, by the ranks of their predictions."""
    return [_BARS[k] for k in rank]


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
    """Points by degree: full where trusted or not judged, hollow under caution, crosses where not usable."""

    def __init__(self, ax: Axes, marker: str = "o", **style: Any) -> None:
        dots = partial(line, ax, ls="", **style)
        self.trusted = dots(marker=marker, color=BLUE, mec="white")
        self.caution = dots(marker=marker, mfc="white", mec=ORANGE, mew=1.6)
        self.unusable = dots(marker="x", color=VERMILION, mew=1.8)

    def draw(self, x: Array, y: Array, rank: NDArray[np.intp], size: float) -> None:
        """Show points (n,) with these ranks, of this size (typographical points)."""
        for k, artist in enumerate((self.trusted, self.caution, self.unusable)):
            artist.set_data(x[rank == k], y[rank == k])
            artist.set_markersize(size)
        self.trusted.set_markeredgewidth(0.8 if size > 4 else 0.0)
        self.caution.set_markeredgewidth(1.6 if size > 4 else 1.0)


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
