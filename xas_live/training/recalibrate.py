"""A user's own standards: intervals calibrated anew on labelled spectra, the network left as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from xas_live.models.bundle import Bundle
from xas_live.models.card import Accuracy
from xas_live.models.networks import network
from xas_live.models.outputs import OutputKind
from xas_live.models.outputs.intervals import BINS
from xas_live.training.calibrate import FEWEST, LEVEL, column_of, enough
from xas_live.training.train import Scaling
from xas_live.training.transfer import Labelled, LabelledError, read_labelled


def recalibrated(bundle: Bundle, labelled: Labelled, name: str) -> Bundle:
    """A bundle whose intervals, sets of classes or bands come from labelled spectra, not yet stored.

    Particles count, not spectra: of each the first spectrum gives its score. Thirds of predicted size get
    intervals of their own where each holds particles enough for 90 %, else all share one.

    Raises
    ------
    LabelledError : when the model has several outputs, or there are too few particles with all labels for
        90 % intervals.
    """
    kind = _only_output(bundle)
    card, t = bundle.card, bundle.tensors
    scaling = Scaling.of_bundle(bundle)
    with torch.inference_mode():
        out = scaling.outputs(network(card.network, bundle.network, scaling.inputs(labelled.x)))
    mean, spread = out.mean(0), out.std(0, correction=0)
    first = np.unique(labelled.group, return_index=True)[1]
    rows = torch.from_numpy(first[torch.isfinite(labelled.y[first]).all(1).numpy()])
    if not enough(len(rows)):
        raise LabelledError(
            f"{len(rows)} particles with every label are too few to calibrate on: intervals of "
            f"{100 * LEVEL:g} % need {FEWEST}"
        )
    bins = BINS if kind.strata is not None and enough(len(rows) // BINS) else 1
    stratum = None if kind.strata is None else mean[:, column_of(bundle.kinds, kind.strata)]
    by = None if stratum is None else stratum[rows]
    intervals = kind.calibrate(mean[rows], spread[rows], labelled.y[rows], by, bins=bins)
    estimate = kind.estimate({**t, **intervals}, mean, spread, stratum, LEVEL)
    error = kind.error(mean, labelled.y)
    covered = kind.covered(estimate, labelled.y)

    def figures(values: torch.Tensor) -> dict[str, float]:
        return {name: float(f"{value:.3g}") for name, value in kind.figures(values).items()}

    accuracy = Accuracy(
        mae=figures(error.abs()),
        bias=figures(error),
        coverage=figures(covered),
        coverage_by_size={},
        half_width=figures(estimate.half),
        level=LEVEL,
        particles=len(first),
        folds=1,
        conditions="the labelled spectra as they are; the intervals' own scores are among them",
    )
    calibration = {
        "method": "split conformal, normalised by ensemble spread"
        + (f", by predicted {kind.strata}" if bins > 1 else ""),
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


def _only_output(bundle: Bundle) -> OutputKind:
    if len(bundle.kinds) != 1:
        raise LabelledError(f"{bundle.name} has {len(bundle.kinds)} outputs: calibrate models of one output")
    return bundle.kinds[0]


def recalibrate_bundle(source: Bundle, path: Path, folder: Path) -> Bundle:
    """Read labelled spectra, calibrate on them, and write the bundle in `folder`, named after it.

    Raises
    ------
    LabelledError : when the model has several outputs, or the spectra cannot be calibrated on.
    """
    _only_output(source)
    return recalibrated(source, read_labelled(path, source), folder.name).save(folder)
