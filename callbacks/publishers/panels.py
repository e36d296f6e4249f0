"""Panels of the live figure besides the spectrum and the results: the latent map, and the two lights."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.transforms import ScaledTranslation

from xas_live.callbacks.publishers.marks import GREY, INK, line, quality_light, quiet, verdict_light
from xas_live.callbacks.publishers.series import Shown
from xas_live.callbacks.publishers.trails import Trails
from xas_live.prediction import Prediction
from xas_live.spectrum import Array


@dataclass(frozen=True, eq=False)
class Cloud:
    """Training spectra of a model in its latent coordinates.

    Attributes
    ----------
    model_sha256 : of the model.
    at : (n, 2) first two coordinates.
    target : (n,) the target that is shown, of each.
    name : of that target, as "CN1".
    """

    model_sha256: str
    at: Array
    target: Array
    name: str


class LatentPanel:
    """Where the sweeps lie among the model's training spectra; hidden while that is not known.

    Sweeps beyond the training spectra stand at the rim.
    """

    def __init__(self, ax: Axes) -> None:
        self.ax = ax
        self._cloud: Cloud | None = None
        self._training = ax.scatter([], [], c=[], s=11, lw=0, cmap=_SHADES, zorder=1)
        self._trails = Trails(ax, zorder=3, clip_on=False)
        self._newest = Trails(ax, zorder=4, clip_on=False)
        quiet(ax)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_title("among training spectra", loc="left", size=10, color=GREY, pad=4, y=1.0)
        ax.set_visible(False)

    def update(self, shown: Shown, cloud: Cloud | None) -> None:
        """Show the sweeps that the cloud's model has judged, over the cloud; the newest of all stands out."""
        self.ax.set_visible(cloud is not None)
        if cloud is None:
            return
        if cloud is not self._cloud:
            self._cloud = cloud
            self._frame(cloud)
        at = np.full((len(shown), 2), np.nan)
        for k, point in enumerate(shown.points):
            prediction = point.prediction
            if prediction.domain.latent and prediction.model_sha256 == cloud.model_sha256:
                at[k] = prediction.domain.latent[:2]
        low, high = np.transpose([self.ax.get_xlim(), self.ax.get_ylim()])
        x, y = at.clip(low, high).T
        judged = np.isfinite(x)
        self._trails.draw(shown, x, y, size=4.5 if judged.sum() <= 50 else 3.0)
        newest = np.arange(len(shown)) == len(shown) - 1
        self._newest.draw(shown, np.where(newest, x, np.nan), y, size=10.0)

    def _frame(self, cloud: Cloud) -> None:
        self._training.set_offsets(cloud.at)
        self._training.set_array(cloud.target)
        self._training.autoscale()
        low, high = cloud.at.min(axis=0), cloud.at.max(axis=0)
        margin = 0.06 * (high - low)
        (left, bottom), (right, top) = low - margin, high + margin
        self.ax.set_xlim(left, right)
        self.ax.set_ylim(bottom, top)
        self.ax.set_xlabel(
            f"darker: higher {cloud.name}" if cloud.name else "", loc="left", size=10, color=GREY, labelpad=3
        )


_SHADES = LinearSegmentedColormap.from_list("shades", ["#E4E7EA", "#8E959C"])
_LAMP, _WORDS = 0.19, 0.54  # from the panel's left (inches)
_LETTER_OF_WORDS = 5.6  # width of one (points)


class LightsPanel:
    """Two lights, with words: how far to believe the latest sweep, and are its data sound.

    Parameters
    ----------
    ax : where to draw.
    beside : axes to the right, whose room the words take while they are hidden.
    """

    def __init__(self, ax: Axes, beside: Axes | None = None) -> None:
        self.ax = ax
        self._beside = beside
        ax.set_axis_off()
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1)
        figure = ax.get_figure(root=True)
        assert figure is not None
        lamp, words = (
            ax.transData + ScaledTranslation(inches, 0.0, figure.dpi_scale_trans)
            for inches in (_LAMP, _WORDS)
        )
        rows = (0.92, 0.28)
        light = partial(line, ax, marker="o", ms=30, mew=2, clip_on=False, transform=lamp)
        sign = partial(ax.text, weight="bold", color="white", ha="center", va="center_baseline")
        text = partial(ax.text, 0.0, s="", transform=words)
        self._lamps = [light([0.0], [y]) for y in rows]
        self._signs = [sign(0.0, y - 0.01, "", size=17, transform=lamp) for y in rows]
        self._titles = [text(y=y + 0.07, size=14, weight="bold", color=INK, va="center") for y in rows]
        self._words = [text(y=y - 0.02, size=11, color=GREY, va="top") for y in rows]
        self.update(None)

    def update(self, prediction: Prediction | None) -> None:
        """Show the verdict on the latest sweep."""
        lights = verdict_light(prediction), quality_light(prediction)
        for k, (colour, sign, title, words) in enumerate(lights):
            self._lamps[k].set_color(colour)
            self._lamps[k].set_markeredgecolor("white")
            self._signs[k].set_text(sign)
            self._titles[k].set_text(title)
            self._words[k].set_text(self._wrapped(words, lines=(3, 4)[k]))  # nothing stands under the second

    def _wrapped(self, words: str, lines: int) -> str:
        last = self.ax if self._beside is None or self._beside.get_visible() else self._beside
        pixels = last.get_window_extent().x1 - self.ax.get_window_extent().x0
        inches = pixels / self.ax.get_figure(root=True).dpi - _WORDS  # type: ignore[union-attr]
        columns = max(24, int(72 * inches / _LETTER_OF_WORDS))
        return "\n".join(textwrap.wrap(words, columns, max_lines=lines, placeholder=" …"))
