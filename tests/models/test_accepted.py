"""The section of accepted departures: what is taken away from a spectrum, and what a bundle must have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from xas_live.models import ModelError, load_model
from xas_live.models.bundle import Bundle
from xas_live.models.ensemble import Ensemble
from xas_live.models.sections.accepted import beyond_accepted, without_accepted
from xas_live.models.sections.cost import acceptable
from xas_live.models.sections.specs import Acceptance, AcceptedSection, Sections

SAMPLE = Acceptance(files={"a.dat": "0"}, spectra=5, anchor="reference", model="pt-l3", sha256="0")
AXES = np.eye(4)[:2]
TENSORS = {
    "accepted_axes": AXES,
    "accepted_low": np.array([0.0, -0.5]),
    "accepted_high": np.array([1.0, 0.25]),
}


@pytest.mark.parametrize(
    ("departure", "left"),
    [
        ([0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
        ([3.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0]),  # no more than was accepted
        ([-0.5, 0.0, 0.0, 0.0], [-0.5, 0.0, 0.0, 0.0]),  # not in the other direction
        ([0.5, -0.4, 0.3, 0.0], [0.0, 0.0, 0.3, 0.0]),  # not what lies beside the axes
        ([0.0, -0.9, 0.0, 0.0], [0.0, -0.4, 0.0, 0.0]),
    ],
)
def test_no_more_is_taken_away_than_was_accepted(departure, left):
    nearest, residual = np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([departure])
    found = without_accepted(TENSORS, nearest + residual, residual)
    np.testing.assert_allclose(found - nearest, [left], atol=1e-12)


def test_numpy_and_torch_take_away_the_same():
    x, residual = np.random.default_rng(0).standard_normal((2, 5, 4))
    tensors = {name: torch.from_numpy(value) for name, value in TENSORS.items()}
    found = without_accepted(tensors, torch.from_numpy(x), torch.from_numpy(residual))
    np.testing.assert_allclose(found.numpy(), without_accepted(TENSORS, x, residual))


def test_other_respects_count_from_where_accepted_samples_lie():
    tensors = {"accepted_left": np.array([0.5, 0.0])}
    found = beyond_accepted(tensors, np.array([[0.4, 0.4], [2.0, 0.0]]))
    np.testing.assert_allclose(found, [[0.0, 0.4], [1.5, 0.0]])
    in_torch = {"accepted_left": torch.tensor([0.5, 0.0])}
    assert beyond_accepted(in_torch, torch.tensor([[0.4, 0.4]])).tolist() == [[0.0, pytest.approx(0.4)]]


def test_neither_oxide_nor_the_residual_is_accepted_by_its_strength():
    sections = load_model("pt-l3").card.sections
    kinds = sections.chemistry.kinds[1:]
    found = acceptable(sections.distances, sections.chemistry.kinds, 0.3)
    assert len(found) == len(load_model("pt-l3").tensors["cost_rim"])
    shares = dict(zip(kinds, found[-1 - len(kinds) : -1], strict=True))
    assert shares.pop("oxide") == 0.0
    assert set(shares.values()) == {0.3}
    assert dict(zip(sections.distances, found, strict=False))["residual"] == 0.0
    assert not acceptable(("residual", "oxide"), (), 0.3).any()


def test_the_section_needs_domain_and_cost():
    with pytest.raises(ValidationError, match=r"sections.accepted needs sections.domain and sections.cost"):
        Sections(accepted=AcceptedSection(axes=1, samples=(SAMPLE,)))
    with pytest.raises(ValidationError, match="samples"):
        AcceptedSection(axes=1, samples=())


def accepting(bundle: Bundle, axes: torch.Tensor, reach: float) -> Bundle:
    """The bundle with these axes (k, g), accepted as far as this to both sides."""
    section = AcceptedSection(axes=len(axes), samples=(SAMPLE,))
    sections = bundle.card.sections.model_copy(update={"accepted": section})
    high = torch.full((len(axes),), reach)
    left = torch.zeros(len(bundle.tensors["cost_rim"]))
    tensors = {
        "accepted_axes": axes,
        "accepted_low": -high,
        "accepted_high": high,
        "accepted_left": left,
    }
    card = bundle.card.model_copy(update={"sections": sections})
    return replace(bundle, card=card, tensors=bundle.tensors | tensors)


def test_a_bundle_with_axes_of_another_grid_is_refused():
    with pytest.raises(ModelError, match="'accepted_axes' has shape"):
        accepting(load_model("pt-l3"), torch.eye(7)[:1], 1.0)


class OnTorch(Ensemble):
    """As on a GPU: with torch's arithmetic."""

    def _here(self, tensor):
        return tensor

    def _taken(self, inputs):
        return torch.from_numpy(np.asarray(inputs, dtype=np.float32))


def test_judging_is_of_the_rest_and_numbers_are_of_the_spectrum():
    bundle = load_model("pt-l3")
    grid = bundle.grid
    bump = np.exp(-0.5 * ((grid - 1.5) / 3.5) ** 2)
    axes = torch.from_numpy(bump[None] / np.sqrt(bump @ bump)).float()
    x = bundle.array("train_mean") + np.array([[0.0], [0.2], [0.3]]) * bump
    error = 0.01 * np.cos(grid / 20.0) * np.ones((3, 1))
    cpu = torch.device("cpu")
    accepts = accepting(bundle, axes, 100.0)
    before, after = (Ensemble(each, cpu, 0.9).judge(x, error) for each in (bundle, accepts))
    np.testing.assert_allclose(after.mean, before.mean, atol=1e-4)
    np.testing.assert_allclose(after.latent, before.latent, atol=1e-5)
    np.testing.assert_allclose(
        after.half / after.widening, before.half / before.widening, rtol=1e-4
    )  # before widening
    left, whole = (np.linalg.norm(found.residual, axis=1) for found in (after, before))
    assert left[2] < 0.5 * whole[2]
    assert left[1] <= whole[1]  # a small bump is within what training knows
    on_torch = OnTorch(accepts, cpu, 0.9).judge(x, error)
    for name in ("mean", "half", "p", "scores", "residual", "widening"):
        np.testing.assert_allclose(getattr(on_torch, name), getattr(after, name), rtol=1e-3, atol=1e-3)
