"""Baselines of several steps: flow matching and two-step regression, against known answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seeds import seeded
from torch import Tensor, nn

from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.model_config import Kind, ModelConfig
from ebm_policy_ros.energy.models import build_model
from ebm_policy_ros.observation.buffer import Observation
from ebm_policy_ros.policy.file import load_policy_file, save_policy
from ebm_policy_ros.policy.policy import Policy, PolicyMismatch
from ebm_policy_ros.training.learning.processes import _OwnRows

Draw = Callable[[torch.Generator, int], tuple[Tensor, Tensor]]
KINDS: tuple[Kind, Kind] = ("flow", "two_step")
SEEN: Observation = {
    "camera": np.full((1, 96, 128, 3), 90, np.uint8), "tool": np.ones((1, 2), np.float32)
}  # fmt: skip


def model_of(kind: Kind, size: int = 1, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = ModelConfig(kind, ("tool",), trunk_width=64, head=HeadConfig(width=64), **settings)
    return build_model(config, {"tool": (1, 2)}, size)


def either(generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Two right actions whatever is observed: 0.6 of seven in ten demonstrators, and -0.6."""
    side = torch.rand((count, 1), generator=generator).lt(0.7).float() * 2 - 1
    spread = 0.02 * torch.randn((count, 1), generator=generator)
    return torch.randn((count, 1, 2), generator=generator), 0.6 * side + spread


def product(generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """One right action, a smooth function of the observation."""
    tool = 2 * torch.rand((count, 1, 2), generator=generator) - 1
    return tool, 0.8 * tool.prod(dim=2)


def chosen(kind: Kind, draw: Draw) -> tuple[Tensor, Tensor]:
    """Actions of a trained model for new observations, and demonstrated ones, (2000, 1) each."""
    model, draws, steps, rate = model_of(kind), seeded(0), 800, 3e-3
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        tool, action = draw(draws, 128)
        optimizer.zero_grad()
        model.loss(model.encode({"tool": tool}), action, draws).backward()
        optimizer.step()
    tool, action = draw(draws, 2000)
    with torch.no_grad():
        return model.action(model.encode({"tool": tool}), draws), action


def test_a_flow_takes_each_of_two_right_actions_as_often_as_it_was_shown() -> None:
    actions, _ = chosen("flow", either)
    assert (actions > 0).float().mean().item() == pytest.approx(0.7, abs=0.06)
    assert (actions.abs() - 0.6).abs().lt(0.15).float().mean() > 0.9
    assert actions.abs().lt(0.3).float().mean() < 0.05, "few between them"


def test_two_steps_take_the_more_frequent_of_two_right_actions() -> None:
    """The mean of both, 0.24, is what regression answers, and nobody has shown it."""
    mean, _ = chosen("explicit", either)
    assert mean.sub(0.24).abs().max() < 0.1
    actions, _ = chosen("two_step", either)
    assert actions.sub(0.6).abs().max() < 0.25


@pytest.mark.parametrize(
    ("kind", "mean", "largest"), [("flow", 0.02, 0.3), ("two_step", 0.01, 0.1)]
)
def test_the_one_right_action_is_found(kind: Kind, mean: float, largest: float) -> None:
    error = torch.sub(*chosen(kind, product)).abs()
    assert error.mean() < mean and error.max() < largest


def constant(kind: Kind, values: list[float], **settings: Any) -> Any:
    """A model whose network answers with the same values everywhere."""
    model = model_of(kind, len(values), **settings)
    nn.init.zeros_(model.head.output.weight)
    model.head.output.bias.data = torch.tensor(values)
    return model


@pytest.mark.parametrize("steps", [1, 7])
def test_a_flow_of_constant_velocity_moves_the_noise_by_it_within_the_box(steps: int) -> None:
    velocity = [0.5, -1.0]
    model = constant("flow", velocity, flow_steps=steps)
    features, target = torch.randn(50, 64), torch.rand(50, 2)
    moved = model.action(features, seeded(3))
    noise = torch.randn((50, 2), generator=seeded(3))
    expected = (noise + torch.tensor(velocity)).clamp(-1, 1)
    assert torch.allclose(moved, expected, atol=1e-6) and 10 < (moved.abs() < 1).sum() < 90
    error = torch.tensor(velocity) - (target - noise)
    assert model.loss(features, target, seeded(3)).item() == pytest.approx(
        error.square().mean().item(), rel=1e-5
    )


def test_the_two_steps_begin_at_nothing_and_at_nine_tenths_of_the_first() -> None:
    model = constant("two_step", [0.2, 0.4])
    asked: list[tuple[list[float], float]] = []
    model.head.register_forward_pre_hook(lambda _, a: asked.append((a[1][0].tolist(), a[2])))
    assert model.action(torch.randn(1, 64))[0].tolist() == pytest.approx([0.2, 0.4])
    (start, first), (again, second) = asked
    assert (start, first, second) == ([0.0, 0.0], 0.0, 0.9)
    assert again == pytest.approx([0.18, 0.36])
    loss = model.loss(torch.randn(4, 64), torch.zeros(4, 2), seeded(0))
    assert loss.item() == pytest.approx(2 * (0.2**2 + 0.4**2) / 2)


def test_the_seed_decides_what_a_flow_answers_and_two_steps_draw_nothing() -> None:
    features = torch.randn(4, 64)
    flow, two_step = (model_of(kind) for kind in KINDS)
    one, same, other = (flow.action(features, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.allclose(one, other, atol=0.1)
    draws = seeded(0)
    assert torch.equal(two_step.action(features, draws), two_step.action(features, seeded(1)))
    assert torch.equal(draws.get_state(), seeded(0).get_state())


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_of_two_processes_add_up_to_that_of_one(kind: Kind) -> None:
    model, features, target = model_of(kind, 3), torch.randn(15, 64), torch.rand(15, 3)
    total = torch.zeros(())
    for rows in (slice(0, 7), slice(7, 15)):
        with _OwnRows(15, rows):
            loss = model.loss(features[rows], target[rows], seeded(5))
        total = total + loss * (rows.stop - rows.start) / 15
    assert torch.allclose(total, model.loss(features, target, seeded(5)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_file_gives_the_same_decisions_each_time(
    kind: Kind, policy_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = policy_file(kind)
    content = load_policy_file(path)
    policy = Policy.load(path, device="cpu")
    policy.warm_up()
    action = policy.decide(SEEN, modes=2, previous=np.zeros((1, 2)), budget=1.0).action
    assert action.shape == (1, 2) and np.isfinite(action).all()
    save_policy(tmp_path / "again.safetensors", content)
    for again in (policy, Policy.load(tmp_path / "again.safetensors", device="cpu")):
        np.testing.assert_array_equal(again.decide(SEEN).action, action)
    other = Policy.load(path, device="cpu", seed=1).decide(SEEN).action
    assert np.array_equal(other, action) == (kind == "two_step")
    assert not policy.has_energy
    with pytest.raises(PolicyMismatch, match="no energy"):
        policy.energies(SEEN, np.zeros((1, 2)))
    with pytest.raises(ValueError, match=f"without an energy \\({kind}\\)"):
        Policy.load(path, device="cpu", inference={"samples": 9})


def test_only_the_file_of_a_flow_has_its_steps(policy_file: Callable[..., Path]) -> None:
    """Earlier releases, which don't know the setting, read the files of other kinds."""
    assert "flow_steps" not in load_policy_file(policy_file("explicit")).model
    path = policy_file("flow")
    content = load_policy_file(path)
    assert content.model["flow_steps"] == 10
    before = Policy.load(path, device="cpu").decide(SEEN).action
    save_policy(path, dataclasses.replace(content, model={**content.model, "flow_steps": 2}))
    assert not np.allclose(Policy.load(path, device="cpu").decide(SEEN).action, before, atol=1e-3)
