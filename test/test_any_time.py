"""Searches with a warm start, and searches with a deadline."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from seeds import seeded
from test_inference import box, centres, conditional, four_wells, quadratic
from test_policy import observation
from torch import Tensor

from ebm_policy_ros.inference import deadline
from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree
from ebm_policy_ros.inference.candidates import Energy
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.hybrid import Hybrid
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.policy.action_search import kept_minimum
from ebm_policy_ros.policy.policy import Policy, PolicyMismatch

PAST, FAR = 0.0, math.inf
WHOLE: dict[str, DerivativeFree | Langevin | Hybrid] = {
    "plain": DerivativeFree(64),
    "refined": DerivativeFree(64, refine=3),
    "polished": DerivativeFree(64, polish=5),
    "langevin": Langevin(64, iterations=20),
    "hybrid": Hybrid(64, starts=4, steps=10),
}
METHODS = (*WHOLE, "autoregressive")

# A minimum too narrow for 64 candidates, 10 deep, in a wide bowl around 0.
NEEDLE = torch.tensor([0.7, -0.7])


def needle(actions: Tensor) -> Tensor:
    distance = (actions - NEEDLE[: actions.shape[-1]]).square().sum(dim=-1)
    return actions.square().sum(dim=-1) - 10 * torch.exp(-distance / 0.0005**2)


def needle_part(prefix: Tensor) -> Tensor:
    """The same minimum in each dimension, given that all previous values are in it."""
    inside = ((prefix - NEEDLE[: prefix.shape[-1]]).abs() < 1e-3).all(dim=-1)
    return prefix[..., -1].square() - 10 * inside


def search(
    name: str, starts: Tensor | None = None, deadline: float | None = None, rows: int = 1
) -> Solution:
    low, high = box(2)
    if name == "autoregressive":
        method = AutoregressiveDerivativeFree(64)
        return method.minimize(
            [needle_part] * 2, low, high, rows, seeded(), starts=starts, deadline=deadline
        )
    return WHOLE[name].minimize(
        needle, low, high, rows, seeded(), starts=starts, deadline=deadline
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_start_at_a_minimiser_that_the_candidates_miss_is_the_result(name: str) -> None:
    assert (search(name).best - NEEDLE).norm() > 0.1
    starts = torch.stack((torch.zeros(2), NEEDLE)).expand(1, 2, 2)
    for end in (None, PAST):
        found = search(name, starts, end)
        assert found.best[0].tolist() == pytest.approx(NEEDLE.tolist(), abs=1e-3)
        assert found.complete == (end is None)


@pytest.mark.parametrize("name", WHOLE)
def test_a_result_is_never_worse_than_the_best_start(name: str) -> None:
    for seed in range(5):
        starts = torch.rand(3, 7, 2, generator=seeded(seed)) * 2 - 1
        found = WHOLE[name].minimize(
            four_wells, *box(2), 3, seeded(), starts=starts, deadline=None
        )
        assert (found.best_energy <= four_wells(starts).amin(dim=1) + 1e-5).all()


@pytest.mark.parametrize("name", WHOLE)
def test_after_the_deadline_the_best_of_the_first_candidates_is_the_result(name: str) -> None:
    seen: list[Tensor] = []

    def energy(actions: Tensor) -> Tensor:
        seen.append(actions.detach())
        return four_wells(actions)

    found = WHOLE[name].minimize(energy, *box(2), 2, seeded(), deadline=PAST)
    assert len(seen) == 1 and not found.complete
    first = four_wells(seen[0])
    assert found.best_energy.tolist() == first.amin(dim=1).tolist()
    assert torch.allclose(four_wells(found.best), found.best_energy)


def test_after_the_deadline_dimensions_have_been_searched_once() -> None:
    calls: list[int] = []
    centre = centres(2, 1)

    def count(part: Energy) -> Energy:
        def counted(prefix: Tensor) -> Tensor:
            calls.append(prefix.shape[1])
            return part(prefix)

        return counted

    parts = [count(part) for part in conditional(centre)]
    method = AutoregressiveDerivativeFree(256, iterations=5, refine=5)
    found = method.minimize(parts, *box(2), deadline=PAST)
    # One round, the sum that selects the minima, and the energy of whole actions.
    assert len(calls) == 2 + 2 + 2 and not found.complete
    assert (found.best - centre).norm() < 0.1


@pytest.mark.parametrize("name", METHODS)
def test_a_deadline_that_is_not_reached_changes_nothing(name: str) -> None:
    free, bound = search(name), search(name, deadline=FAR)
    assert free.complete and bound.complete
    assert torch.equal(free.actions, bound.actions)
    assert torch.equal(free.energies, bound.energies)


@pytest.mark.parametrize("name", WHOLE)
def test_a_search_cut_short_halfway_returns_the_lowest_that_it_evaluated(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowest, now = [math.inf], [0.0]
    monkeypatch.setattr(deadline, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def slow(actions: Tensor) -> Tensor:
        energies = four_wells(actions)
        lowest.append(min(lowest[-1], energies.min().item()))
        if len(lowest) == 4:  # the third evaluation exceeds the deadline
            now[0] = 1.0
        return energies

    found = WHOLE[name].minimize(slow, *box(2), 1, seeded(), deadline=1.0)
    assert found.best_energy.item() == pytest.approx(lowest[-1], abs=1e-6)
    assert len(lowest) == 4 and not found.complete


@pytest.mark.parametrize("name", METHODS)
def test_with_starts_too_rows_of_a_batch_get_what_they_would_get_alone(name: str) -> None:
    starts = NEEDLE * torch.linspace(-1, 1, 8)[:, None, None]
    together = search(name, starts, rows=8).best
    for row in (0, 7):
        alone = search(name, starts[row : row + 1]).best[0]
        assert (together[row] - alone).norm() < (0.15 if row == 0 else 1e-3)
    assert (together[:7] - NEEDLE).norm(dim=1).min() > 0.1


@pytest.mark.parametrize("name", METHODS)
def test_starts_outside_the_box_are_moved_into_it_and_wrong_ones_refused(name: str) -> None:
    found = search(name, torch.full((1, 1, 2), 7.0))
    assert (found.actions.abs() <= 1).all()
    lost = search(name, torch.full((1, 1, 2), torch.nan))
    assert torch.isfinite(lost.best).all()
    for shape in ((1, 2), (2, 1, 2), (1, 1, 3), (1, 65, 2)):
        with pytest.raises(ValueError, match=r"starts: got shape .*, expected \(1, M, 2\)"):
            search(name, torch.zeros(shape))


def test_a_start_costs_no_evaluation() -> None:
    sizes: list[list[int]] = []
    for starts in (None, torch.zeros(1, 16, 2)):
        sizes.append([])

        def energy(actions: Tensor) -> Tensor:
            sizes[-1].append(actions.shape[1])
            return quadratic(torch.zeros(1, 2))(actions)

        DerivativeFree(64, 3).minimize(energy, *box(2), 1, seeded(), starts=starts)
    assert sizes[0] == sizes[1] == [64] * 4


PolicyWriter = Callable[..., Path]


@pytest.mark.parametrize("kind", ["energy", "autoregressive"])
def test_a_decision_takes_up_the_previous_one(
    kind: str, policy_file: PolicyWriter, interface: Interface
) -> None:
    path, seen = policy_file(kind), observation(interface)
    exact = Policy.load(path, device="cpu", inference={"samples": 4096, "refine": 6}).decide(seen)
    coarse = Policy.load(path, device="cpu", inference={"samples": 9, "iterations": 1})
    alone = coarse.decide(seen)
    warm = coarse.decide(seen, previous=exact.action)
    assert alone.energy > exact.energy + 1e-5
    assert warm.energy <= exact.energy + 1e-5
    again = coarse.decide(seen, previous=exact.action)
    assert (warm.action == again.action).all() and (warm.candidates == again.candidates).all()
    assert (coarse.decide(seen).candidates == alone.candidates).all()


def test_a_previous_action_is_checked_and_one_that_is_no_number_ignored(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    policy, seen = Policy.load(policy_file(), device="cpu"), observation(interface)
    lost = policy.decide(seen, previous=np.full((1, 2), np.nan))
    assert (lost.candidates == policy.decide(seen).candidates).all()
    outside = policy.decide(seen, previous=np.full((1, 2), 9.0))
    assert (np.abs(outside.candidates) <= 0.2 + 1e-6).all()
    with pytest.raises(PolicyMismatch, match=r"previous: got shape \(2,\), expected \(1, 2\)"):
        policy.decide(seen, previous=np.zeros(2))


def test_a_decision_without_time_is_the_best_of_the_first_candidates(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    path, seen = policy_file(), observation(interface)
    first = Policy.load(path, device="cpu", inference={"iterations": 0}).decide(seen)
    for settings in ({"choice": "lowest"}, {"choice": "sample"}):
        policy = Policy.load(path, device="cpu", **settings)  # type: ignore[arg-type]
        hurried = policy.decide(seen, modes=3, budget=0.0)
        assert not hurried.complete and hurried.modes == ()
        assert (hurried.action == first.action).all()
        assert policy.decide(seen, budget=60.0).complete
    policy = Policy.load(path, device="cpu")
    assert (policy.decide(seen).action == policy.decide(seen, budget=60.0).action).all()


def test_a_policy_without_an_energy_needs_neither(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    policy, seen = Policy.load(policy_file("explicit"), device="cpu"), observation(interface)
    plain = policy.decide(seen)
    other = policy.decide(seen, previous=np.ones((1, 2)), budget=0.0)
    assert other.complete and (other.action == plain.action).all()


def test_of_equally_good_minima_the_one_that_keeps_to_the_action_counts() -> None:
    minima = torch.tensor([[0.6, 0.0], [-0.6, 0.1], [-0.5, 0.0], [0.0, 0.0]])
    energies = torch.tensor([0.0, 0.8, 1.5, 9.0])
    action = torch.tensor([-0.5, 0.0])
    chosen = [int(kept_minimum(minima, energies, action, margin)) for margin in (0.5, 1.0, 2.0)]
    assert chosen == [0, 1, 2]
    assert int(kept_minimum(minima, energies, torch.tensor([0.5, 0.0]), 2.0)) == 0


def test_a_decision_leaves_the_previous_answer_only_for_a_much_lower_one(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    """Every action is a minimum here: only the margins decide."""
    path, seen = policy_file(), observation(interface)
    corner = np.array([[0.19, -0.19]], np.float32)
    free, kept = (
        Policy.load(path, device="cpu", hysteresis=margin, inference={"samples": 512}).decide(
            seen, previous=corner
        )
        for margin in (0.0, 1e6)
    )
    assert free.energy == free.energies.min()
    assert kept.energy >= free.energy
    assert np.abs(kept.action - corner).max() <= np.abs(free.action - corner).max()
    one = Policy.load(path, device="cpu", hysteresis=0.5, inference={"samples": 512})
    assert one.decide(seen, previous=corner).energy <= free.energy + 0.5
    with pytest.raises(ValueError, match="hysteresis: got -1, expected a number >= 0"):
        Policy.load(path, device="cpu", hysteresis=-1)
