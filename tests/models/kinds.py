"""Models that give classes, curves and numbers, small and with weights of chance: for tests of what follows.

They take Pt L3 without a foil, and have no domain, no latent map, no theory and no size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from xas_live.models.bundle import Bundle
from xas_live.models.card import Absorber, Card, GridSegment, InputSpec
from xas_live.models.network_spec import NetworkSpec
from xas_live.models.networks import init_network
from xas_live.models.outputs import ClassesSpec, CurveSpec, OutputSpec, ScalarsSpec, Target, kinds_of

CLASSES = ("T4", "Td5", "O6", "C8", "C12")
"""Of `classifier_bundle`: sites by their number of neighbours."""

_DRAWS = 64  # of chance, for scaling and calibration
EDGE = 11564.0


def flat_input(kind: str = "norm") -> InputSpec:
    """mu(E) of Pt L3 from -30 to 90 eV, without a foil."""
    return InputSpec(
        absorber=Absorber(element="Pt", edge="L3", energy=EDGE), kind=kind, origin="e0", anchor="none",
        grid=(GridSegment(start=-30.0, stop=90.0, step=2.0),), windows=(-130.0, -40.0, 100.0, 380.0),
    )  # fmt: skip


def chi_input(k_weight: int = 2) -> InputSpec:
    """chi(k) of Pt L3 from 3 to 10 1/Å."""
    return InputSpec(
        absorber=Absorber(element="Pt", edge="L3", energy=EDGE), kind="chi", unit="1/Å", origin="e0",
        grid=(GridSegment(start=3.0, stop=10.0, step=0.05),), windows=(-130.0, -40.0, 100.0, 580.0),
        k_weight=k_weight, anchor="none",
    )  # fmt: skip


def classes_spec(name: str = "environment", classes: Sequence[str] = CLASSES) -> ClassesSpec:
    """An output of classes."""
    return ClassesSpec(kind="classes", name=name, prefix=f"{name}.", classes=tuple(classes))


def curve_spec(name: str = "g") -> CurveSpec:
    """A pair distribution over r."""
    r = tuple(np.round(np.arange(1.5, 6.0, 0.1), 3).tolist())
    return CurveSpec(kind="curve", name=name, prefix=f"{name}.", x_name="r", x_unit="Å", x=r, unit="1/Å")


def numbers_spec() -> ScalarsSpec:
    """A number with a unit and one without."""
    targets = (
        Target(name="oxidation_state", minimum=0.0, maximum=4.0, non_negative=True, description="mean"),
        Target(name="bond", unit="Å", minimum=1.9, maximum=2.8, description="mean bond length"),
    )
    return ScalarsSpec(name="numbers", prefix="numbers.", targets=targets)


def bundle_of(
    name: str, outputs: Sequence[OutputSpec], given: InputSpec | None = None, *, seed: int = 0
) -> Bundle:
    """A bundle with these outputs, its networks and calibration by chance."""
    chance, spec = torch.Generator().manual_seed(seed), NetworkSpec(hidden=(8,), members=2)
    card = Card(
        name=name, version="1", summary="by chance", inputs=(given or flat_input(),), outputs=tuple(outputs),
        network=spec, training={}, calibration={},
    )  # fmt: skip
    tensors = init_network(spec, card.points, card.width, chance)
    tensors |= {"input_mean": torch.zeros(card.points), "input_scale": torch.ones(card.points)}
    for kind in kinds_of(card.outputs):
        raw = torch.randn((spec.members, _DRAWS, kind.width), generator=chance)
        truth = torch.randn((_DRAWS, kind.width), generator=chance)
        tensors |= kind.scaling(truth)
        decoded = kind.decoded(tensors, raw)
        tensors |= kind.calibrate(decoded.mean(0), decoded.std(0, correction=0), truth, None)
    return Bundle(card, tensors, sha256=f"{seed:064x}")


def classifier_bundle(name: str = "sites", classes: Sequence[str] = CLASSES) -> Bundle:
    """Classes alone, from norm of mu(E)."""
    return bundle_of(name, [classes_spec(classes=classes)], seed=1)


def curve_bundle(name: str = "pairs", given: InputSpec | None = None) -> Bundle:
    """A curve alone, from norm of mu(E); or from what is `given`."""
    return bundle_of(name, [curve_spec()], given, seed=2)


def mixed_bundle(name: str = "mixed") -> Bundle:
    """Numbers, classes and a curve."""
    return bundle_of(name, [numbers_spec(), classes_spec(), curve_spec()], seed=3)
