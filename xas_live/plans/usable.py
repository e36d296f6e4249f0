"""What counts for plans: whole sweeps, not refused, under the verdicts "trusted" and "caution"."""

from __future__ import annotations

from collections.abc import Sequence

from xas_live.errors import Refusal
from xas_live.prediction import Prediction, Value


def usable(prediction: Prediction) -> bool:
    """Return whether a prediction counts."""
    return prediction.refused is None and not prediction.partial and prediction.verdict.usable


def usable_values(predictions: Sequence[Prediction], target: str) -> list[Value]:
    """Return the values that count, by the model of the first sweep.

    Of a sweep that was judged again the last counts.

    Raises
    ------
    Refusal : when none of that model's predictions has the target.
    """
    told = [p for p in predictions if p.refused is None]
    primary = [p for p in told if p.model_sha256 == told[0].model_sha256]
    if primary and not any(target in p.values for p in primary):
        given = ", ".join(primary[0].values) or "no numbers"
        raise Refusal(f"{primary[0].model} gives no {target!r}: choose from {given}")
    of_sweep = {(p.provenance.run_uid, p.provenance.stream, p.provenance.sweep): p for p in primary}
    return [p.values[target] for p in of_sweep.values() if usable(p) and target in p.values]
