"""Models that give classes, curves and numbers, small and with random weights; and sweeps for them.

They take Pt L3 without a foil, and have no domain, no latent map, no theory and no size. Other folders of
tests take them by `from tests.models.kinds import classifier_bundle`.
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
from xas_live.reduction.target import InputKind
from xas_live.spectrum import Provenance, Spectrum

CLASSES = ("T4", "Td5", "O6", "C8", "C12")
"""Of `classifier_bundle`: sites by their number of neighbours."""

EDGE = 11564.0
RUN = "0f3d3b1e-5d3c-4c57-9d2f-3f4a0d9c1a11"

_DRAWS = 64  # at random, for scaling and calibration


def mu_input(kind: InputKind = "norm") -> InputSpec:
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
    """A bundle with these outputs, its weights and calibration random."""
    chance, spec = torch.Generator().manual_seed(seed), NetworkSpec(hidden=(8,), members=2)
    card = Card(
        name=name, version="1", summary="random", inputs=(given or mu_input(),), outputs=tuple(outputs),
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


def sweeps(count: int, refused: Sequence[int] = ()) -> list[Spectrum]:
    """Sweeps of one run over an edge with some fine structure; those `refused` have none."""
    energy = np.arange(EDGE - 150.0, EDGE + 600.0, 1.0)
    above = energy - EDGE
    fine = np.where(above > 5.0, 0.05 * np.sin(0.3 * np.sqrt(np.clip(above, 0.0, None)) * 5.4), 0.0)
    mu = 0.2 + (0.5 + np.arctan(above / 2.0) / np.pi) * (1.0 + fine)
    return [
        Spectrum(
            energy=energy,
            mu=np.full_like(mu, 0.7) if k in refused else mu * (1.0 + 0.01 * k),
            element="Pt",
            edge="L3",
            provenance=Provenance(scan="17", run_uid=RUN, scan_id=17, sweep=k, time=1.7e9 + k),
        )
        for k in range(count)
    ]
