"""A complete policy on a GPU: the CPU's decisions, two policies in parallel, constant memory."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ebm_policy_ros.policy.policy import Policy

pytestmark = pytest.mark.gpu
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
on_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="no CUDA device")
SEARCHED = ("energy", "autoregressive")


@pytest.fixture(autouse=True)
def told() -> Iterator[None]:
    """Turn warnings about an unused captured graph or kernel into errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*(CUDA graph of|kernel).*")
        yield


def seen_by(policy: Policy, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        name: random.integers(0, 256, shape, np.uint8)
        if len(shape) == 4
        else random.normal(size=shape).astype(np.float32)
        for name, shape in policy.shapes.items()
    }


@pytest.mark.parametrize("kind", SEARCHED)
def test_energies_are_those_of_the_cpu(kind: str, policy_file: Callable[..., Path]) -> None:
    path = policy_file(kind)
    here, there = (Policy.load(path, device) for device in ("cpu", DEVICE))
    actions = np.random.default_rng(0).uniform(-0.2, 0.2, (500, 2)).astype(np.float32)
    for seed in range(3):
        expected = here.energies(seen_by(here, seed), actions)
        spread = float(np.ptp(expected))
        assert spread > 1e-3
        found = there.energies(seen_by(there, seed), actions)
        assert float(np.abs(found - expected).max()) < 1e-3 * spread


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    "search",
    [
        {"samples": 4096, "refine": 6},
        {"samples": 4096, "polish": 30},
        pytest.param({"method": "hybrid"}, marks=on_gpu),
        pytest.param({"method": "langevin", "samples": 256}, marks=on_gpu),
    ],
    ids=["refined", "polished", "hybrid", "langevin"],
)
def test_an_action_is_as_low_as_the_cpus(
    search: dict[str, Any], known: bool, policy_file: Callable[..., Path]
) -> None:
    path = policy_file()
    here, there = (
        Policy.load(path, device, inference=search, hysteresis=0.0) for device in ("cpu", DEVICE)
    )
    there.warm_up()
    previous = np.zeros((1, 2), np.float32) if known else None
    for seed in range(5):
        seen = seen_by(here, seed)
        decisions = [policy.decide(seen, previous=previous) for policy in (here, there)]
        lowest, found = here.energies(seen, np.concatenate([d.action for d in decisions]))
        corners = np.stack(np.meshgrid([-0.2, 0.2], [-0.2, 0.2]), -1).reshape(-1, 2)
        spread = float(np.ptp(here.energies(seen, corners.astype(np.float32))))
        # The candidates drawn on the other device differ.
        assert found <= lowest + 0.02 * spread
        assert decisions[1].energy == pytest.approx(float(found), abs=0.02 * spread)


@pytest.mark.parametrize("kind", ["explicit", "two_step"])
def test_explicit_actions_are_those_of_the_cpu(
    kind: str, policy_file: Callable[..., Path]
) -> None:
    path = policy_file(kind)
    here, there = (Policy.load(path, device) for device in ("cpu", DEVICE))
    there.warm_up()
    for seed in range(3):
        seen = seen_by(here, seed)
        one, other = (policy.decide(seen).action for policy in (here, there))
        np.testing.assert_allclose(other, one, atol=1e-4)


@pytest.mark.parametrize("kind", SEARCHED)
def test_a_budget_is_kept_to(kind: str, policy_file: Callable[..., Path]) -> None:
    policy = Policy.load(policy_file(kind), DEVICE)
    policy.warm_up()
    seen = seen_by(policy, 0)
    cut, whole = policy.decide(seen, budget=1e-6), policy.decide(seen, budget=60.0)
    assert not cut.complete and whole.complete
    assert np.isfinite(cut.action).all() and np.isfinite(whole.action).all()
    np.testing.assert_array_equal(whole.action, policy.decide(seen).action)


def test_policies_beside_each_other_decide_as_alone(policy_file: Callable[..., Path]) -> None:
    paths = [policy_file(kind) for kind in SEARCHED]
    alone = []
    for path in paths:
        policy = Policy.load(path, DEVICE)
        policy.warm_up()
        alone.append([policy.decide(seen_by(policy, seed)).action for seed in range(4)])
    both = [Policy.load(path, DEVICE) for path in paths]
    for policy in both:
        policy.warm_up()
    for seed in range(4):
        for policy, expected in zip(both, alone, strict=True):
            found = policy.decide(seen_by(policy, seed)).action
            np.testing.assert_allclose(found, expected[seed], atol=1e-5)


@on_gpu
def test_memory_stays_after_a_thousand_decisions(policy_file: Callable[..., Path]) -> None:
    policy = Policy.load(policy_file(), DEVICE)
    policy.warm_up()
    seen = seen_by(policy, 0)
    held = []
    for count in (100, 900):
        for _ in range(count):
            policy.decide(seen)
        gc.collect()  # objects of earlier tests
        held.append(torch.cuda.memory_allocated())
    assert held[0] == held[1]
