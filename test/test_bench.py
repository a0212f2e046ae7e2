"""Correctness of the benchmark's baselines, and completeness of its rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import decisions
import growth
import numpy as np
import plain
import pytest
import torch
from torch import Tensor

from ebm_policy_ros.energy.heads import HEAD_LAYERS, HeadConfig
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import AutoregressiveModel, EnergyModel, build_model
from ebm_policy_ros.inference.autoregressive import JointEnergy
from ebm_policy_ros.policy.file import PolicyFile, save_policy
from ebm_policy_ros.policy.policy import Policy

CENTRE = torch.tensor([0.3, -0.6])
CORNERS = -torch.ones(2), torch.ones(2)


def write(path: Path, kind: Any = "energy", head: HeadConfig | None = None) -> Path:
    """Write a policy for a state of four numbers, with random weights."""
    config = ModelConfig(kind, ("state",), trunk_depth=0, head=head or HeadConfig(width=16))
    shapes: dict[str, tuple[int, ...]] = {"state": (1, 4)}
    torch.manual_seed(0)
    model = build_model(config, shapes, 2)
    method = "autoregressive" if kind == "autoregressive" else "derivative_free"
    search = {"method": method, "samples": 64, "iterations": 2}
    save_policy(
        path, PolicyFile(model.state_dict(), config.to_dict(), shapes, (1, 2), None, search, {})
    )
    return path


def plain_policy(path: Path) -> plain.PlainPolicy:
    return plain.PlainPolicy(path, partial(plain.derivative_free, samples=64, evaluations=3))


def valley(actions: Tensor) -> Tensor:
    return 50 * (actions - CENTRE).square().sum(dim=1)


def along(actions: Tensor) -> Tensor:
    """Term of the valley for the last value of a prefix."""
    last = actions.shape[1] - 1
    return 50 * (actions[:, last] - CENTRE[last]).square()


@pytest.mark.parametrize("kind", list(HEAD_LAYERS))
def test_plain_energies_are_those_of_the_model(kind: str, tmp_path: Path) -> None:
    head = HeadConfig(kind, 16, 2)
    policy = plain_policy(write(tmp_path / "policy.safetensors", head=head))
    state, actions = torch.randn(1, 4), torch.rand(100, 2) * 2 - 1
    model = policy.model
    assert isinstance(model, EnergyModel)
    with torch.no_grad():
        expected = model.energy(model.encode({"state": state[None]}), actions[None])[0]
        (energy,) = policy.energies({"state": state.numpy()})
        assert expected.std() > 0.01
        torch.testing.assert_close(energy(actions), expected, atol=1e-5, rtol=1e-5)


def test_plain_energies_of_each_dimension_are_those_of_the_model(tmp_path: Path) -> None:
    policy = plain_policy(write(tmp_path / "policy.safetensors", "autoregressive"))
    state, actions = torch.randn(1, 4), torch.rand(100, 2) * 2 - 1
    model = policy.model
    assert isinstance(model, AutoregressiveModel)
    with torch.no_grad():
        parts = model.energies(model.encode({"state": state[None]}))
        found = policy.energies({"state": state.numpy()})
        for j, (part, energy) in enumerate(zip(parts, found, strict=True)):
            prefix = actions[:, : j + 1]
            expected = part(prefix[None])[0]
            torch.testing.assert_close(energy(prefix), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("search", "energies"),
    [
        (partial(plain.derivative_free, samples=4096, evaluations=3), [valley]),
        (partial(plain.autoregressive, samples=1024, iterations=3), [along, along]),
        (partial(plain.langevin, samples=256, iterations=100), [valley]),
    ],
)
def test_plain_searches_find_a_known_minimiser(
    search: plain.Search, energies: list[Callable[[Tensor], Tensor]]
) -> None:
    torch.manual_seed(0)
    assert (search(energies, *CORNERS) - CENTRE).abs().max() < 0.02


def test_brute_force_tells_the_lower_of_two_minima() -> None:
    axis = torch.linspace(-1, 1, 51)

    def energy(actions: Tensor) -> Tensor:
        other = 50 * (actions + CENTRE).square().sum(dim=1) + 0.01
        return torch.minimum(valley(actions), other)

    values = energy(torch.cartesian_prod(axis, axis)).reshape(51, 51)
    assert (plain.lowest_near(energy, values, axis) - CENTRE).abs().max() < 1e-4


def test_the_joint_energy_on_a_grid_is_that_of_single_actions(tmp_path: Path) -> None:
    policy = plain_policy(write(tmp_path / "policy.safetensors", "autoregressive"))
    energies = policy.energies({"state": torch.randn(1, 4).numpy()})
    axis = torch.linspace(-1, 1, 9)
    parts = [lambda actions, part=part: part(actions[0])[None] for part in energies]
    with torch.no_grad():
        joint = JointEnergy(parts, *CORNERS)(torch.cartesian_prod(axis, axis)[None])
        torch.testing.assert_close(
            plain.joint_grid(energies, axis), joint.reshape(9, 9), atol=1e-4, rtol=1e-4
        )


@pytest.mark.slow
def test_a_row_has_all_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MOST", 25)
    search = partial(plain.derivative_free, samples=64, evaluations=3)
    case = decisions.Case("tiny", write(tmp_path / "policy.safetensors"), {}, search)
    monkeypatch.setattr(plain, "GRID", 51)
    row = decisions.measure(case, 0.1, {"GFLOP/s fp32": 100.0}, {})
    assert row["case"] == "tiny" and 20 <= row["n"] <= 25
    assert 0 < row["p50 ms"] <= row["p95 ms"] <= row["p99 ms"]
    assert 0 < row["plain p50 ms"] <= row["plain p99 ms"]
    assert row["ratio"] == pytest.approx(row["plain p50 ms"] / row["p50 ms"])
    # 64 candidates, three times: 2 * (16 * 2 + 2 * 16 * 16 + 16) FLOP; the encoder has none.
    assert row["GFLOP"] * 1e9 == 192 * 2 * (32 + 512 + 16)
    assert row["MB"] > 50 and row["plain MB"] > 50
    assert 0 <= row["error"] < 0.5 and 0 <= row["energy above"] < 1
    head, line = decisions.table_row(), decisions.table_row(row)
    assert head.splitlines()[0].count("|") == line.count("|") == 17
    assert line.startswith("| tiny | ")


@pytest.mark.parametrize(("name", "size"), [("frames", 2), ("wide", 24)])
def test_policies_for_a_gpu_decide_on_what_is_shown_to_them(
    name: str, size: int, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.safetensors"
    decisions.make_policy(path)
    policy = Policy.load(path, device="cpu", inference={"samples": 32})
    seen = decisions.observations(policy)
    action = policy.decide(seen[0]).action
    other = plain_policy(path).decide(seen[0])
    assert action.shape == (1, size) and other.shape == (size,)
    assert max(abs(action).max(), abs(other).max()) <= 1


def test_a_slope_is_that_of_the_large_sizes() -> None:
    sizes = [1, 10, 100, 1000, 10000]
    assert growth.slope(sizes, [size**2 for size in sizes]) == pytest.approx(2)
    # A constant cost hides the growth of small sizes.
    assert growth.slope(sizes, [5 + size**2 for size in sizes]) == pytest.approx(2, abs=0.01)


def test_the_growth_of_each_kind_is_measured(tmp_path: Path) -> None:
    every = growth.all_series(0.01, tmp_path, small=True)
    growth.write_pictures(tmp_path / "pictures.npy", 2)
    assert np.load(tmp_path / "pictures.npy", mmap_mode="r").shape == (80, 48, 64, 3)
    for series in every:
        size = 2 if series.name == "demonstrations" else series.sizes[0]
        found = series.measure(size)
        assert found["seconds"] > 0 and found["bytes"] > 1e7, series.name
