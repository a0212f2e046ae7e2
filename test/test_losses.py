"""Losses and counter-examples by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ebm_policy_ros.training.losses import info_nce, mse
from ebm_policy_ros.training.negatives import uniform


def test_info_nce_by_hand() -> None:
    positive = torch.tensor([0.0, math.log(2.0)])
    negatives = torch.tensor([[math.log(3.0), math.log(4.0)], [0.0, 0.0]])
    # Probabilities of the positive: 1 / (1 + 1/3 + 1/4) and (1/2) / (1/2 + 1 + 1).
    expected = (math.log(19 / 12) + math.log(5.0)) / 2
    assert info_nce(positive, negatives).item() == pytest.approx(expected, rel=1e-6)


def test_info_nce_of_equal_energies_is_the_log_of_the_choices() -> None:
    assert info_nce(torch.zeros(4), torch.zeros(4, 7)).item() == pytest.approx(math.log(8.0))


def test_info_nce_divides_energies_by_the_temperature() -> None:
    positive, negatives = torch.randn(3), torch.randn(3, 5)
    divided = info_nce(positive / 0.5, negatives / 0.5)
    assert info_nce(positive, negatives, temperature=0.5).item() == pytest.approx(divided.item())


def test_info_nce_lowers_the_positive_and_raises_the_negatives() -> None:
    positive = torch.zeros(2, requires_grad=True)
    negatives = torch.randn(2, 6).requires_grad_()
    info_nce(positive, negatives).backward()  # type: ignore[no-untyped-call]
    assert positive.grad is not None and negatives.grad is not None
    assert (positive.grad > 0).all() and (negatives.grad < 0).all()


def test_info_nce_of_far_apart_energies_is_finite() -> None:
    assert info_nce(torch.tensor([1e4]), torch.tensor([[-1e4, 0.0]])).item() == pytest.approx(2e4)


def test_mse_by_hand() -> None:
    assert mse(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])).item() == 2.5


def test_counter_examples_fill_the_box_evenly() -> None:
    drawn = uniform(50, 200, 3, torch.Generator().manual_seed(0))
    assert drawn.shape == (50, 200, 3)
    assert drawn.min() >= -1 and drawn.max() <= 1
    for dimension in range(3):
        shares = torch.histc(drawn[..., dimension], bins=4, min=-1, max=1) / 10_000
        assert (shares - 0.25).abs().max() < 0.02


def test_counter_examples_follow_from_the_seed() -> None:
    first, second = (uniform(2, 3, 2, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, second)
