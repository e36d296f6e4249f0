"""A user's own standards: intervals calibrated anew on labelled spectra, the network left as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from xas_live.models.bundle import Bundle
from xas_live.models.card import Accuracy
from xas_live.models.networks import network
from xas_live.models.outputs.intervals import BINS, conformal_rank, fit_intervals, half_width
from xas_live.training.calibrate import LEVEL
from xas_live.training.train import Scaling
from xas_live.training.transfer import Labelled, LabelledError, read_labelled


def recalibrated(bundle: Bundle, labelled: Labelled, name: str) -> Bundle:
    """A bundle whose intervals come from labelled spectra, not yet stored.

    Particles count, not spectra: of each the first spectrum gives its score. Thirds of predicted size get
    intervals of their own where each holds particles enough for 90 %, else all share one.

    Raises
    ------
    LabelledError : when there are too few particles with all labels for 90 % intervals.
    """
    card, t = bundle.card, bundle.tensors
    scaling = Scaling(*(t[k] for k in ("input_mean", "input_scale", "target_mean", "target_scale")))
    with torch.inference_mode():
        out = scaling.targets(network(card.network, bundle.network, scaling.inputs(labelled.x)))
    mean, spread = out.mean(0), out.std(0, correction=0)
    error = mean - labelled.y
    first = np.unique(labelled.group, return_index=True)[1]
    rows = torch.from_numpy(first[torch.isfinite(error[first]).all(1).numpy()])
    try:
        conformal_rank(len(rows), LEVEL)
    except ValueError as reason:
        raise LabelledError(
            f"{len(rows)} particles with every label are too few to calibrate on: {reason}"
        ) from reason
    bins = BINS if _enough(len(rows) // BINS) else 1
    intervals = fit_intervals(error[rows], spread[rows], mean[rows, 0], bins)
    half = half_width({**t, **intervals}, spread, mean[:, 0], LEVEL)
    names = bundle.target_names

    def by_name(values: torch.Tensor) -> dict[str, float]:
        return dict(zip(names, [float(f"{v:.3g}") for v in values.tolist()], strict=True))

    known = torch.isfinite(error)
    accuracy = Accuracy(
        mae=by_name(error.abs().nanmean(0)),
        bias=by_name(error.nanmean(0)),
        coverage=by_name(((error.abs() <= half) & known).sum(0) / known.sum(0)),
        coverage_by_size={},
        half_width=by_name(half.mean(0)),
        level=LEVEL,
        particles=len(first),
        folds=1,
        conditions="the labelled spectra as they are; the intervals' own scores are among them",
    )
    calibration = {
        "method": "split conformal, normalised by ensemble spread"
        + (f", by predicted {names[0]}" if bins > 1 else ""),
        "set": f"labelled spectra of {labelled.about['file']}",
        "labelled": labelled.about,
        "particles": len(rows),
        "calibrated_on": f"standards ({len(rows)} particles)",
        "from": {"name": bundle.name, "sha256": bundle.sha256},
    }
    return Bundle(
        card=card.model_copy(
            update={"name": name, "calibration": calibration, "accuracy": accuracy, "trust": None}
        ),
        tensors={**bundle.stored, **intervals},
        sha256="",
    )


def _enough(particles: int) -> bool:
    """Whether so many give intervals of the card's level."""
    try:
        conformal_rank(particles, LEVEL)
    except ValueError:
        return False
    return True


def recalibrate_bundle(source: Bundle, path: Path, folder: Path) -> Bundle:
    """Read labelled spectra, calibrate on them, and write the bundle in `folder`, named after it.

    Raises
    ------
    LabelledError : when the spectra cannot be calibrated on.
    """
    return recalibrated(source, read_labelled(path, source), folder.name).save(folder)
