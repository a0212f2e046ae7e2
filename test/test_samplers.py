"""Samplers on distributions with known moments and masses."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seeds import seeded
from test_inference import box, four_wells, quadratic
from torch import Tensor

from ebm_policy_ros.inference import deadline
from ebm_policy_ros.inference.autoregressive import JointEnergy
from ebm_policy_ros.inference.candidates import Energy, anneal, reflect
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.inference.methods import build_inference
from ebm_policy_ros.inference.metropolis import (
    HamiltonianMonteCarlo,
    MetropolisChains,
    MetropolisLangevin,
)
from ebm_policy_ros.inference.solution import Samples, Solution

SAMPLERS: dict[str, MetropolisChains] = {
    "hmc": HamiltonianMonteCarlo(2048),
    "mala": MetropolisLangevin(2048, 60),
}
KINDS = (HamiltonianMonteCarlo, MetropolisLangevin)
CENTRE = torch.tensor([0.1, -0.2])
COVARIANCE = torch.tensor([[0.04, 0.018], [0.018, 0.01]])


def gaussian(actions: Tensor) -> Tensor:
    apart = actions - CENTRE
    return ((apart @ COVARIANCE.inverse()) * apart).sum(dim=-1) / 2


def two_wells(actions: Tensor) -> Tensor:
    """A wide well with 0.7 of the mass and a narrow one, which is deeper, with 0.3."""
    places, widths = torch.tensor([[-0.4, -0.4], [0.5, 0.5]]), torch.tensor([0.12, 0.05])
    squares = (actions[..., None, :] - places).square().sum(dim=-1)
    logs = torch.tensor([0.7, 0.3]).log() - 2 * widths.log()
    return -torch.logsumexp(logs - squares / widths.square() / 2, dim=-1)


def banana(actions: Tensor) -> Tensor:
    """Curved valley, whose right arm is higher than the left one."""
    x, y = actions.unbind(dim=-1)
    return 50 * (y - x.square() + 0.5).square() + x.square() + 0.8 * x


def inverted(actions: Tensor) -> Tensor:
    """Bowl with a wall of infinite energy on the left and no number below."""
    energies = quadratic(torch.zeros(1, 2), 8.0)(actions)
    energies = energies.where(actions[..., 0] > 0, torch.inf)
    return energies.where(actions[..., 1] > -0.1, torch.nan)


def grid_mean(energy: Energy, of: Any, temperature: float = 1.0) -> float:
    """Mean of a function under exp(-E / temperature) in the box, on a grid."""
    axis = (torch.arange(800, dtype=torch.float64) + 0.5) / 400 - 1
    points = torch.cartesian_prod(axis, axis)
    weights = (-energy(points[None].float())[0].double() / temperature).softmax(dim=0)
    return float((weights * of(points).double()).sum())


def drawn(name: str, energy: Energy, batch: int = 1, **settings: Any) -> Samples:
    method = dataclasses.replace(SAMPLERS[name], **settings)
    solution = method.minimize(energy, *box(2), batch, seeded())
    assert solution.samples is not None
    assert torch.isfinite(solution.samples.actions).all()
    return solution.samples


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_have_mean_and_covariance_of_a_gaussian(name: str) -> None:
    samples = drawn(name, gaussian).actions[0]
    assert (samples.mean(dim=0) - CENTRE).abs().max() < 0.01
    assert samples.T.cov().flatten().tolist() == pytest.approx(
        COVARIANCE.flatten().tolist(), rel=0.1
    )


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_two_wells_have_their_masses(name: str, temperature: float) -> None:
    expected = grid_mean(two_wells, lambda p: p.sum(dim=-1) < 0, temperature)
    samples = drawn(name, two_wells, 2, temperature=temperature, pool=64).actions
    found = (samples.sum(dim=-1) < 0).float().mean().item()
    assert found == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_parts_of_a_curved_valley_have_their_masses(name: str, temperature: float) -> None:
    samples = drawn(name, banana, 4, samples=1024, temperature=temperature).actions.flatten(0, 1)
    for edge in (-0.6, -0.2, 0.3):
        expected = grid_mean(banana, lambda p, edge=edge: p[:, 0] < edge, temperature)
        assert (samples[:, 0] < edge).float().mean().item() == pytest.approx(expected, abs=0.03)
    across = (samples[:, 1] - samples[:, 0].square() + 0.5).square().mean().item()
    expected = grid_mean(banana, lambda p: (p[:, 1] - p[:, 0] ** 2 + 0.5) ** 2, temperature)
    assert across == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_mass_collects_at_a_face_and_none_is_lost_there(name: str) -> None:
    """Exponential and half Gaussian that fall from two faces of the box."""

    def energy(actions: Tensor) -> Tensor:
        x, y = (actions + 1).unbind(dim=-1)
        return 10 * x + (y / 0.2).square() / 2

    heights = drawn(name, energy).actions[0] + 1
    assert heights[:, 0].mean().item() == pytest.approx(0.1, rel=0.05)
    assert heights[:, 1].mean().item() == pytest.approx(0.2 * (2 / math.pi) ** 0.5, rel=0.05)
    assert (heights[:, 0] < 0.01).float().mean().item() == pytest.approx(0.095, abs=0.02)


def test_reflection_folds_at_both_faces_and_turns_the_direction_of_odd_ones() -> None:
    low, high = torch.tensor([0.0, 3.0]), torch.tensor([1.0, 3.0])
    start = torch.tensor([[[0.3, 3.0], [1.25, 2.0], [-0.25, 9.0], [2.25, 3.0], [-1.25, 3.0]]])
    inside, turned = reflect(start, low, high)
    assert inside[0, :, 0].tolist() == pytest.approx([0.3, 0.75, 0.25, 0.25, 0.75])
    assert turned[0, :, 0].tolist() == [False, True, True, False, False]
    assert (inside[..., 1] == 3.0).all()


@pytest.mark.parametrize(("name", "target"), [("hmc", 0.65), ("hmc", 0.9), ("mala", 0.574)])
@pytest.mark.parametrize("width", [1e-3, 0.1, 10.0])
def test_the_step_size_is_adapted_to_the_acceptance(
    name: str, target: float, width: float
) -> None:
    settings = {"samples": 256, "iterations": 60, "target_acceptance": target}
    samples = drawn(name, lambda a: (a / width).square().sum(dim=-1) / 2, 2, **settings)
    # In a box of 0.2 widths every step is accepted.
    expected = target if width < 1 else 1.0
    assert samples.acceptance.tolist() == pytest.approx([expected] * 2, abs=0.06)


@pytest.mark.parametrize("name", SAMPLERS)
def test_rows_of_a_batch_are_sampled_each_for_itself(name: str) -> None:
    """Offsets that would take every draw of a shared softmax, and widths far apart."""
    widths = torch.tensor([0.01, 0.05, 0.2])
    offsets = torch.tensor([0.0, -1000.0, 30.0])

    def energy(actions: Tensor) -> Tensor:
        squares = actions.square().sum(dim=-1)
        return squares / widths[:, None].square() / 2 + offsets[:, None]

    samples = drawn(name, energy, 3, samples=2048).actions
    for row, width in enumerate(widths.tolist()):
        assert samples[row].std(dim=0).tolist() == pytest.approx([width] * 2, rel=0.08)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_stay_where_the_energy_is_a_number(name: str) -> None:
    samples = drawn(name, inverted)
    assert torch.isfinite(samples.energies).all()
    assert torch.isfinite(inverted(samples.actions)).all()
    expected = 0.25 * (2 / math.pi) ** 0.5
    assert samples.actions[0, :, 0].mean().item() == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_starts_change_neither_the_masses_nor_hide_a_lower_action(name: str) -> None:
    method = dataclasses.replace(SAMPLERS[name], samples=1024)
    starts = torch.full((4, 64, 2), 0.5)

    def solve(energy: Energy) -> Solution:
        return method.minimize(energy, *box(2), 4, seeded(), starts=starts)

    samples = solve(two_wells).samples
    assert samples is not None
    share = (samples.actions.sum(dim=-1) < 0).float().mean().item()
    assert share == pytest.approx(0.7, abs=0.04)

    def needle(actions: Tensor) -> Tensor:
        return two_wells(actions) - 50 * ((actions - 0.5).abs().amax(dim=-1) < 1e-6)

    found = solve(needle)
    assert (found.best - 0.5).abs().max() < 1e-6
    assert (found.best_energy <= needle(starts).amin(dim=1)).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_search_by_a_sampler_is_as_exact_as_one_by_descent(name: str) -> None:
    method = dataclasses.replace(SAMPLERS[name], samples=256)
    centre = torch.tensor([[0.3, -0.4, 0.7, -0.1]])
    found = method.minimize(quadratic(centre), *box(4), 1, seeded())
    assert (found.best - centre).abs().max() < 1e-4
    assert torch.equal(found.best_energy, found.energies.amin(dim=1))
    modes = method.minimize(four_wells, *box(2), 2, seeded()).modes(generator=seeded())
    assert modes.count.tolist() == [4, 4]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("calls", [1, 3, 18, 24])
def test_a_sampler_cut_short_returns_the_lowest_that_it_evaluated(
    name: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool takes 16 evaluations; the chains begin after it."""
    method = dataclasses.replace(SAMPLERS[name], samples=64)
    lowest, now = list[float](), [0.0]
    monkeypatch.setattr(deadline, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def slow(actions: Tensor) -> Tensor:
        energies = four_wells(actions)
        lowest.append(energies.min().item())
        if len(lowest) == calls:
            now[0] = 1.0
        return energies

    found = method.minimize(slow, *box(2), 1, seeded(), deadline=1.0)
    assert len(lowest) == calls and not found.complete and found.samples is None
    assert found.best_energy.item() == pytest.approx(min(lowest), abs=1e-6)
    free, bound = (
        method.minimize(four_wells, *box(2), 1, seeded(), deadline=at) for at in (None, math.inf)
    )
    assert bound.complete and torch.equal(free.actions, bound.actions)


def test_the_solution_of_a_sampler_draws_its_samples_at_any_temperature() -> None:
    solution = HamiltonianMonteCarlo(128, 10).minimize(two_wells, *box(2), 256, seeded())
    assert solution.samples is not None
    for temperature in (1.0, 1.5):
        picked = solution.sample(temperature, seeded())
        assert (solution.samples.actions == picked[:, None]).all(dim=-1).any(dim=1).all()
        expected = grid_mean(two_wells, lambda p: p.sum(dim=-1) < 0, temperature)
        share = (picked.sum(dim=-1) < 0).float().mean().item()
        assert share == pytest.approx(expected, abs=0.09)
    cold = two_wells(solution.sample(1e-6, seeded())[:, None])[:, 0]
    assert torch.allclose(cold, solution.samples.energies.amin(dim=1), atol=1e-5)
    with pytest.raises(ValueError, match=r"temperature: got 0.0, expected a number > 0"):
        solution.sample(0.0)


def test_a_sample_of_conditional_energies_is_drawn_value_by_value() -> None:
    joint = JointEnergy([lambda p: 8 * p[..., -1].square()] * 2, *box(2))
    solution = HamiltonianMonteCarlo(16, iterations=2).minimize(joint, *box(2), 1, seeded())
    assert solution.samples is not None
    expected = joint.sample(1, 1.0, seeded(3))
    assert torch.equal(solution.sample(generator=seeded(3)), expected)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_chain_samples_from_where_it_begins(name: str) -> None:
    method = dataclasses.replace(SAMPLERS[name], iterations=80)
    ends = method.chain(gaussian, torch.zeros(1, 2048, 2), *box(2), seeded())
    assert not ends.requires_grad
    assert (ends[0].mean(dim=0) - CENTRE).abs().max() < 0.015
    assert ends[0].var(dim=0).tolist() == pytest.approx(COVARIANCE.diag().tolist(), rel=0.1)


def test_the_same_seed_gives_the_same_samples_in_either_precision() -> None:
    for dtype in (torch.float32, torch.float64):
        low, high = (bound.to(dtype) for bound in box(3))
        energy = quadratic(torch.zeros(1, 3, dtype=dtype))
        for method in (HamiltonianMonteCarlo(32), MetropolisLangevin(32, 10)):
            first, second, other = (
                method.minimize(energy, low, high, 2, seeded(seed)).samples for seed in (5, 5, 6)
            )
            assert first and second and other
            assert torch.equal(first.actions, second.actions)
            assert not torch.equal(first.actions, other.actions)
            assert first.actions.dtype == first.acceptance.dtype == dtype


@pytest.mark.parametrize(
    "method",
    [*(kind(1, pool=pool) for kind in (Langevin, *KINDS) for pool in (1, 2))],
)
def test_one_chain_beside_one_start_and_a_dimension_without_width_are_enough(
    method: Langevin | MetropolisChains,
) -> None:
    low, high = torch.tensor([-1.0, 0.2]), torch.tensor([1.0, 0.2])
    starts = torch.tensor([[[0.3, 0.2]], [[-0.4, 0.2]]])
    energy = quadratic(torch.tensor([[0.5, 0.0], [-0.5, 0.0]]))
    found = method.minimize(energy, low, high, 2, seeded(), starts=starts)
    assert (found.best_energy <= energy(starts)[:, 0]).all()
    assert (found.actions[..., 1] == 0.2).all() and torch.isfinite(found.actions).all()


def test_annealing_keeps_the_effective_sample_size() -> None:
    energies = torch.stack((torch.linspace(0, 1, 1000), torch.linspace(0, 1e5, 1000)))
    energies[:, ::2] = torch.inf
    index, factor = anneal(energies, 100, 50, seeded())
    assert index.shape == (2, 50) and torch.isfinite(energies.gather(1, index)).all()
    assert factor[0].item() == 1.0
    weights = (-factor[1] * energies[1]).exp()
    assert (weights.sum().square() / weights.square().sum()).item() == pytest.approx(100, rel=0.01)


def test_langevin_begins_in_low_wells_and_is_not_behind_a_search_without_slope() -> None:
    """Eight dimensions with seven wells each; all searches evaluate as many candidates."""
    centre = torch.linspace(-0.3, 0.4, 8)

    def energy(actions: Tensor) -> Tensor:
        apart = 3.6 * (actions - centre)
        return (apart.square() + 10 - 10 * torch.cos(2 * math.pi * apart)).sum(dim=-1) / 2

    methods = (
        Langevin(256, 60),
        Langevin(256, 75, pool=1),
        DerivativeFree(sum(Langevin(256, 60).evaluations) // 4),
    )
    warm, cold, plain = (
        method.minimize(energy, *box(8), 16, seeded()).best_energy.mean() for method in methods
    )
    assert warm < cold - 0.5
    assert warm < plain - 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "hmc", "leapfrog_steps": 0}, "leapfrog_steps: got 0, expected an integer >="),
        ({"method": "mala", "leapfrog_steps": 2}, "leapfrog_steps: no setting of mala, which has"),
        ({"method": "hmc", "target_acceptance": 1.5}, "target_acceptance: got 1.5, expected a"),
        ({"method": "mala", "temperature": 0}, "temperature: got 0, expected a number > 0"),
        ({"method": "hmc", "step_size": -1.0}, "step_size: got -1.0, expected a number > 0"),
        ({"method": "mala", "iterations": 20_000}, "iterations: got 20000, expected at most"),
        ({"method": "langevin", "pool": 0}, "pool: got 0, expected an integer >= 1"),
        ({"method": "hmc", "samples": 0}, "samples: got 0, expected an integer >= 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"inference.{message}") as refusal:
        build_inference(settings)
    assert "\n" not in str(refusal.value)


def test_samplers_are_built_by_name() -> None:
    assert build_inference({"method": "hmc"}) == HamiltonianMonteCarlo()
    assert build_inference({"method": "mala", "samples": 9}) == MetropolisLangevin(9)
