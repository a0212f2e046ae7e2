"""Derivative-free search on energies with a known minimiser."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, quantiles
from ebm_policy_ros.inference.derivative_free import DerivativeFree

LOW, HIGH = -torch.ones(2), torch.ones(2)


def quadratic(centre: Tensor, sharpness: float = 50.0) -> Energy:
    """E = sharpness * |a - centre|^2, with a centre for each row, shape (B, D)."""
    return lambda actions: sharpness * (actions - centre[:, None]).square().sum(dim=-1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_quadratic_minimiser_is_found_within_two_thousandths_of_the_half_width() -> None:
    centres = torch.rand(16, 2, generator=seeded(1)) * 1.6 - 0.8
    low, high = torch.tensor([-3.0, 0.1]), torch.tensor([1.0, 0.5])
    half, middle = (high - low) / 2, (high + low) / 2
    energy = quadratic(centres)
    solution = DerivativeFree(16384, 3).minimize(
        lambda actions: energy((actions - middle) / half), low, high, 16, seeded()
    )
    errors = ((solution.best - middle) / half - centres).norm(dim=1)
    assert errors.square().mean().sqrt() < 2e-3
    # Rounding decides which candidates are resampled: one of 32 may be further off.
    apart = ((solution.best - middle) / half - centres).abs().flatten().sort().values
    assert apart[-2] < 2e-3 and apart[-1] < 2.5e-3


def test_best_is_the_exact_minimum_of_the_candidates_returned() -> None:
    centres = torch.tensor([[0.3, -0.2], [-0.9, 0.9]])
    energy = quadratic(centres)
    solution = DerivativeFree(200, 3).minimize(energy, LOW, HIGH, 2, seeded())
    assert solution.actions.shape == (2, 200, 2) and solution.best.shape == (2, 2)
    assert torch.equal(solution.energies, energy(solution.actions))
    assert torch.equal(solution.best_energy, solution.energies.min(dim=1).values)
    assert torch.equal(energy(solution.best[:, None])[:, 0], solution.best_energy)


def test_more_rounds_never_raise_the_lowest_energy() -> None:
    """Noise moves candidates out of a narrow valley; the best one is kept."""
    energy = quadratic(torch.tensor([[0.123, 0.456]]), sharpness=1e6)
    found = [
        DerivativeFree(64, rounds, noise_scale=1.0)
        .minimize(energy, LOW, HIGH, 1, seeded())
        .best_energy.item()
        for rounds in range(5)
    ]
    assert found == sorted(found, reverse=True)


def test_rows_of_a_batch_do_not_influence_each_other() -> None:
    """Energies of one row so low that it would take every draw of a shared softmax."""
    centres = torch.rand(8, 2, generator=seeded(2)) * 1.6 - 0.8
    offsets = -1000.0 * torch.arange(8.0)[:, None]
    energy = quadratic(centres)
    inference = DerivativeFree(2048, 3)
    batched = inference.minimize(lambda a: energy(a) + offsets, LOW, HIGH, 8, seeded())
    assert (batched.best - centres).norm(dim=1).max() < 0.02
    for row in range(8):
        alone = inference.minimize(quadratic(centres[row : row + 1]), LOW, HIGH, 1, seeded(row))
        assert (alone.best[0] - batched.best[row]).norm() < 0.04


def test_resampling_a_batch_is_resampling_each_row() -> None:
    energies = torch.randn(8, 500, generator=seeded(1)) * 5
    offsets = torch.rand(8, 1, generator=seeded(2))
    together = quantiles(energies, offsets)
    for i in range(8):
        rows = slice(i, i + 1)
        assert torch.equal(quantiles(energies[rows], offsets[rows])[0], together[i])


def test_resampling_draws_each_candidate_by_its_probability() -> None:
    energies = -torch.tensor([[0.5, 0.25, 0.125, 0.125, 0.0, 0.0, 0.0, 0.0]]).log()
    for offset in (0.1, 0.5, 0.9):
        drawn = quantiles(energies, torch.tensor([[offset]]))
        assert drawn.flatten().tolist() == [0, 0, 0, 0, 1, 1, 2, 3]


def test_candidates_stay_in_the_box() -> None:
    low, high = torch.tensor([0.5, -2.0]), torch.tensor([0.6, -1.0])
    energy = quadratic(torch.tensor([[0.6, -1.0]]))
    solution = DerivativeFree(256, 3, noise_scale=2.0).minimize(energy, low, high)
    assert (solution.actions >= low).all() and (solution.actions <= high).all()


def test_same_seed_same_result() -> None:
    energy = quadratic(torch.tensor([[0.1, 0.2]]))
    first, second, other = (
        DerivativeFree(64, 3).minimize(energy, LOW, HIGH, 1, seeded(seed)) for seed in (5, 5, 6)
    )
    assert torch.equal(first.actions, second.actions)
    assert not torch.equal(first.actions, other.actions)


def test_double_precision_stays_double() -> None:
    energy = quadratic(torch.tensor([[0.1, 0.2]], dtype=torch.float64))
    solution = DerivativeFree(64, 2).minimize(energy, LOW.double(), HIGH.double())
    assert solution.best.dtype == solution.best_energy.dtype == torch.float64


def test_candidates_whose_energy_is_not_a_number_are_never_chosen() -> None:
    quadratic_energy = quadratic(torch.tensor([[0.5, 0.0]]))

    def energy(actions: Tensor) -> Tensor:
        return quadratic_energy(actions).where(actions[..., 0] > 0, torch.nan)

    solution = DerivativeFree(512, 3).minimize(energy, LOW, HIGH, 1, seeded())
    assert (solution.best[0] - torch.tensor([0.5, 0.0])).norm() < 0.05
    nothing = DerivativeFree(8, 2).minimize(lambda a: a[..., 0] * torch.nan, LOW, HIGH)
    assert not torch.isfinite(nothing.best_energy).any()
    assert torch.isfinite(nothing.actions).all()


def test_wrong_settings_and_shapes_are_told_in_one_line() -> None:
    with pytest.raises(ValueError, match="samples: got 1, expected an integer >= 2"):
        DerivativeFree(samples=1)
    with pytest.raises(ValueError, match="refine_samples: got 3, expected an integer >= 4"):
        DerivativeFree(refine_samples=3, refine=1)
    with pytest.raises(ValueError, match=r"noise_scale: got 0\.0, expected a number > 0"):
        DerivativeFree(noise_scale=0.0)
    with pytest.raises(ValueError, match=r"low and high: got shapes \(2,\) and \(3,\)"):
        DerivativeFree(8).minimize(lambda a: a[..., 0], LOW, torch.ones(3))
    with pytest.raises(ValueError, match=r"low: got \[1\.0, 1\.0\], expected at most high"):
        DerivativeFree(8).minimize(lambda a: a[..., 0], HIGH, LOW)
    with pytest.raises(ValueError, match=r"low and high: got .*inf.*, expected numbers"):
        DerivativeFree(8).minimize(lambda a: a[..., 0], LOW, HIGH * torch.inf)
    with pytest.raises(ValueError, match=r"energy: got shape \(1, 8, 2\) .* expected \(1, 8\)"):
        DerivativeFree(8).minimize(lambda a: a, LOW, HIGH)
