"""The change of what is predicted between two sweeps of one sample, and its error."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from xas_live.errors import Refusal
from xas_live.prediction.results import Value
from xas_live.prediction.verdict import Degree

if TYPE_CHECKING:
    from xas_live.prediction.prediction import Prediction

SAME_TEMPERATURE = 30.0  # K within which disorder changes too little to pass for a change of structure


def change(earlier: Prediction, later: Prediction) -> dict[str, Value]:
    """Return how much each value has changed from an earlier sweep of a sample to a later one.

    The statistical parts of both add in quadrature. The model's parts cancel but for a rest in proportion to
    the distance of the two spectra among the training's (`models.sections.change`). They do not cancel, and
    add in quadrature, where the sweeps differ in more than the sample's structure: in foil or alignment, in
    temperature by over 30 K, or where one of them departs from the training; and of models without that
    section.

    Parameters
    ----------
    earlier, later : of one sample, by one model.

    Returns
    -------
    By target, the change with its interval at the level of the predictions.

    Raises
    ------
    Refusal : for predictions of different models, levels or absorbers, refused ones, and growing sweeps.

    Examples
    --------
    >>> change(xas.predictions[0], xas.latest)["CN1"]
    """
    _check(earlier, later)
    cancels = _differ_in_structure_alone(earlier, later)
    distance = math.dist(earlier.domain.latent, later.domain.latent) if cancels else math.inf
    changes = {}
    for name, after in later.values.items():
        before = earlier.values.get(name)
        if before is None:
            continue
        model = math.hypot(_model_part(before), _model_part(after))
        if name in later.change_scales:
            model = min(model, later.change_scales[name] * distance)
        statistical = math.hypot(before.statistical, after.statistical)
        half = math.hypot(model, 0.0 if math.isnan(statistical) else statistical)
        difference = after.value - before.value
        changes[name] = Value(
            value=difference,
            std=half / NormalDist().inv_cdf(0.5 + 0.5 * after.level),
            lower=difference - half,
            upper=difference + half,
            level=after.level,
            unit=after.unit,
            statistical=statistical,
            model=model,
        )
    return changes


def _check(earlier: Prediction, later: Prediction) -> None:
    """Refuse predictions whose difference means nothing."""
    for which, prediction in (("earlier", earlier), ("later", later)):
        where = f"the {which} one (scan {prediction.provenance.scan})"
        if prediction.refused is not None:
            raise Refusal(f"a change is of two predictions, and {where} was refused: {prediction.refused}")
        if prediction.partial:
            raise Refusal(f"a change is of two whole sweeps, and {where} is still growing, or was aborted")
    if earlier.model_sha256 != later.model_sha256:
        raise Refusal(
            f"a change is of two predictions by one model, not by {earlier.model} and {later.model}: take "
            "predictions of the same name and hash"
        )
    absorbers = [(p.element, p.edge) for p in (earlier, later)]
    if absorbers[0] != absorbers[1]:
        raise Refusal(f"a change is of one absorber, not of {' and '.join(map(str, absorbers))}")
    levels = {value.level for p in (earlier, later) for value in p.values.values()}
    if len(levels) > 1:
        raise Refusal(f"the intervals are of different levels, {sorted(levels)}: analyse both alike")


def _differ_in_structure_alone(earlier: Prediction, later: Prediction) -> bool:
    """Return whether all but the sample's structure is the same in both sweeps, so that errors cancel."""
    if not earlier.domain.latent or len(earlier.domain.latent) != len(later.domain.latent):
        return False
    if str(earlier.anchor) != str(later.anchor) or earlier.aligned != later.aligned:
        return False
    before, after = earlier.temperature, later.temperature
    if before is not None and after is not None and abs(after - before) > SAME_TEMPERATURE:
        return False
    return all(p.verdict.degree in (Degree.TRUSTED, None) for p in (earlier, later))


def _model_part(value: Value) -> float:
    """Return the model's part of a value's error; all of it where the noise is not known."""
    return 0.5 * (value.upper - value.lower) if math.isnan(value.model) else value.model
