import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.hybrid import Hybrid
from ebm_policy_ros.inference.methods import build_inference
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.observation.buffer import Observation
from ebm_policy_ros.policy.file import PolicyFileError, load_policy_file
from ebm_policy_ros.policy.policy import Choice, Policy, PolicyMismatch

PolicyWriter = Callable[..., Path]


def observation(interface: Interface, seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    return {
        "camera": rng.integers(0, 255, interface.shapes["camera"], dtype=np.uint8),
        "tool": rng.normal(size=interface.shapes["tool"]).astype(np.float32),
        "joints": np.zeros(interface.shapes["joints"], np.float32),
    }


def test_a_decision_is_the_candidate_of_lowest_energy_in_the_action_box(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    policy = Policy.load(policy_file(), device="cpu", inference={"samples": 512})
    seen = observation(interface)
    decision = policy.decide(seen)
    energies = policy.energies(seen, decision.candidates)
    assert decision.action.shape == (1, 2)
    assert decision.energy == pytest.approx(energies.min(), abs=1e-4)
    assert decision.action[0] == pytest.approx(decision.candidates[energies.argmin()], abs=1e-6)
    assert (np.abs(decision.candidates) <= 0.2 + 1e-6).all()
    low, high = policy.action_box(seen)
    assert low == pytest.approx([-0.2, -0.2]) and high == pytest.approx([0.2, 0.2])


def test_the_search_finds_what_a_dense_grid_finds(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    policy = Policy.load(policy_file(), device="cpu", inference={"samples": 1024, "iterations": 3})
    seen = observation(interface)
    side = np.linspace(-0.2, 0.2, 201, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    assert policy.decide(seen).energy <= policy.energies(seen, grid).min() + 1e-3


def test_the_same_seed_gives_the_same_decisions(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    path = policy_file()
    first, second = (Policy.load(path, device="cpu", seed=3) for _ in range(2))
    first.warm_up()
    for step in range(3):
        seen = observation(interface, step)
        assert (first.decide(seen).action == second.decide(seen).action).all()


def test_an_explicit_policy_decides_but_has_no_energy(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    policy = Policy.load(policy_file("explicit"), device="cpu")
    seen = observation(interface)
    assert not policy.has_energy
    assert policy.decide(seen).action.shape == (1, 2)
    with pytest.raises(PolicyMismatch, match="no energy"):
        policy.energies(seen, np.zeros((1, 2)))


def test_a_policy_file_carries_interface_and_facts(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    content = load_policy_file(policy_file())
    assert content.interface == interface
    assert content.training == {"seed": 0}
    assert content.shapes == {"camera": (1, 96, 128, 3), "tool": (1, 2)}


def test_a_truncated_file_is_refused(policy_file: PolicyWriter) -> None:
    path = policy_file()
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(PolicyFileError, match="not a whole safetensors file"):
        Policy.load(path)
    path.write_bytes(b"")
    with pytest.raises(PolicyFileError, match="not a whole safetensors file"):
        Policy.load(path)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(PolicyFileError, match=r"^nowhere\.safetensors: no such policy file"):
        Policy.load("nowhere.safetensors")


def rewrite(path: Path, **metadata: str) -> None:
    content = load_policy_file(path)
    tensors = load_file(path)
    known = {
        "format": "ebm_policy_ros",
        "version": "2",
        "action_shape": "[1, 2]",
        "model": json.dumps(content.model),
        "shapes": json.dumps(content.shapes),
        "interface": json.dumps(content.interface and content.interface.to_dict()),
        "inference": json.dumps(content.inference),
        "training": "{}",
    }
    save_file(tensors, path, known | metadata)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "other"}, "not a policy of ebm_policy_ros"),
        ({"version": "99"}, "policy format version 99, this package reads 2"),
        ({"model": "{"}, "damaged metadata"),
        ({"model": '{"kind": "energy"}'}, "train it again"),
        ({"inference": '{"method": "hybrid", "samples": -5}'}, "inference.samples: got -5"),
        (
            {"inference": '{"method": "simplex"}'},
            "inference.method: got 'simplex', expected one of",
        ),
        ({"inference": '{"method": "langevin", "sample": 9}'}, "inference.sample: no setting of"),
        ({"inference": '{"method": "autoregressive"}'}, "one energy of whole actions"),
        ({"action_shape": "[1]"}, "damaged metadata"),
        ({"interface": '{"rate": 0}'}, "interface: "),
    ],
)
def test_metadata_that_does_not_fit_is_refused_in_one_line(
    policy_file: PolicyWriter, metadata: dict[str, str], message: str
) -> None:
    path = policy_file()
    rewrite(path, **metadata)
    with pytest.raises(PolicyFileError) as caught:
        Policy.load(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_safetensors_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weights": torch.zeros(3)}, path)
    with pytest.raises(PolicyFileError, match="not a policy of ebm_policy_ros"):
        Policy.load(path)


def test_a_device_that_is_not_there_is_refused(policy_file: PolicyWriter) -> None:
    with pytest.raises(PolicyMismatch, match="device: got 'cuda:7'"):
        Policy.load(policy_file(), device="cuda:7")


def test_another_method_takes_its_own_defaults_and_the_same_one_keeps_the_files(
    policy_file: PolicyWriter,
) -> None:
    path = policy_file()
    kept = Policy.load(path, device="cpu", inference={"iterations": 5}).inference
    assert kept == DerivativeFree(samples=64, iterations=5)
    other = Policy.load(path, device="cpu", inference={"method": "hybrid", "steps": 7}).inference
    assert other == Hybrid(steps=7)


@pytest.mark.parametrize("method", ["hybrid", "langevin"])
def test_every_method_decides_about_the_same(
    method: str, policy_file: PolicyWriter, interface: Interface
) -> None:
    path, seen = policy_file(), observation(interface)
    dense = Policy.load(path, device="cpu", inference={"samples": 4096}).decide(seen)
    found = Policy.load(path, device="cpu", inference={"method": method}).decide(seen)
    assert found.energy <= dense.energy + 1e-3


def test_an_autoregressive_policy_decides_with_any_method(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    path, seen = policy_file("autoregressive"), observation(interface)
    own = Policy.load(path, device="cpu").decide(seen)
    # About a second of one core; a search that takes longer is refused.
    search = {"method": "derivative_free", "samples": 128, "refine": 3, "refine_samples": 8}
    joint = Policy.load(path, device="cpu", inference=search).decide(seen)
    assert own.action.shape == joint.action.shape == (1, 2)
    # The joint search may find a wider minimum, but hardly a lower one.
    assert own.energy == pytest.approx(joint.energy, abs=0.3)


@pytest.mark.parametrize("method", ["derivative_free", "hybrid", "langevin", "hmc", "mala"])
def test_a_search_of_minutes_in_an_autoregressive_model_is_refused(
    method: str, policy_file: PolicyWriter
) -> None:
    path = policy_file("autoregressive")
    with pytest.raises(ValueError, match=f"inference.method: {method} takes .*; choose") as told:
        Policy.load(path, device="cpu", inference={"method": method, "samples": 65536})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("method", ["hmc", "mala"])
def test_a_sampler_decides_by_its_lowest_action_or_one_of_its_samples(
    method: str, policy_file: PolicyWriter, interface: Interface
) -> None:
    path, seen = policy_file(), observation(interface)
    search = {"method": method, "samples": 128}
    policy = Policy.load(path, device="cpu", inference=search)
    lowest = policy.decide(seen)
    assert policy.inference == build_inference(search)
    dense = Policy.load(path, device="cpu", inference={"samples": 4096}).decide(seen)
    assert lowest.energy <= dense.energy + 1e-3
    drawn = [
        Policy.load(path, device="cpu", inference=search, choice="sample", seed=seed).decide(seen)
        for seed in range(3)
    ]
    assert len({float(d.action[0, 0]) for d in drawn}) == 3
    for found in drawn:
        assert np.isclose(found.candidates, found.action.reshape(1, -1)).all(axis=1).any()
        assert policy.energies(seen, found.action)[0] == pytest.approx(found.energy, abs=1e-3)


def test_a_decision_lists_its_modes_when_asked(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    policy, seen = Policy.load(policy_file(), device="cpu"), observation(interface)
    assert policy.decide(seen).modes == ()
    modes = policy.decide(seen, modes=3).modes
    assert 1 <= len(modes) <= 3
    assert [mode.energy for mode in modes] == sorted(mode.energy for mode in modes)
    assert sum(mode.probability for mode in modes) == pytest.approx(1.0)
    for mode in modes:
        assert policy.energies(seen, mode.action)[0] == pytest.approx(mode.energy, abs=1e-3)
        assert (mode.spread > 0).all()


def test_a_sample_varies_with_the_seed_and_a_cold_one_is_the_minimum(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    path, seen = policy_file(), observation(interface)
    lowest = Policy.load(path, device="cpu", inference={"samples": 4096}).decide(seen)
    drawn = [
        Policy.load(path, device="cpu", seed=seed, choice="sample").decide(seen)
        for seed in range(4)
    ]
    assert len({float(d.action[0, 0]) for d in drawn}) == 4
    assert all(d.energy >= lowest.energy - 1e-3 for d in drawn)
    cold = Policy.load(path, device="cpu", choice="sample", temperature=1e-4).decide(seen)
    assert cold.energy == pytest.approx(lowest.energy, abs=0.01)


@pytest.mark.parametrize("kept", [False, True], ids=["first", "after another"])
@pytest.mark.parametrize("choice", ["lowest", "sample"])
@pytest.mark.parametrize(
    ("kind", "search"),
    [
        ("energy", {"samples": 1024, "refine": 6}),
        ("energy", {"samples": 1024, "polish": 30}),
        ("energy", {"method": "hybrid"}),
        ("energy", {"method": "langevin", "samples": 64}),
        ("autoregressive", {"samples": 512}),
    ],
)
def test_fast_arithmetic_decides_as_exact_arithmetic_does(
    kind: str,
    search: dict[str, Any],
    choice: Choice,
    kept: bool,
    policy_file: PolicyWriter,
    interface: Interface,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each kind of energy with its own methods, without and with a previous action."""
    path, seen = policy_file(kind), observation(interface)
    previous = np.array([[0.05, -0.05]], np.float32) if kept else None
    found = []
    for fast in (False, True):
        monkeypatch.setattr(
            "ebm_policy_ros.policy.inference.has_fast_bfloat16", lambda _, fast=fast: fast
        )
        policy = Policy.load(
            path, device="cpu", inference=search, choice=choice, temperature=1e-3, hysteresis=1e-3
        )
        found.append(policy.decide(seen, previous=previous))
    exact, low_precision = found
    assert abs(low_precision.energy - exact.energy) < 0.02 * exact.energies.std() + 1e-3
    actual = policy.energies(seen, low_precision.action.reshape(1, -1))[0]
    assert low_precision.energy == pytest.approx(actual, abs=1e-3), "the energy it tells is exact"


@pytest.mark.parametrize("choice", ["lowest", "sample"])
@pytest.mark.parametrize(
    "search",
    [
        {"method": "derivative_free", "samples": 64, "polish": 3},
        {"method": "hybrid", "samples": 64, "starts": 2, "steps": 5},
        {"method": "langevin", "samples": 8, "iterations": 10, "polish": 3},
    ],
)
def test_an_autoregressive_policy_is_searched_along_its_slope_too(
    search: dict[str, Any], choice: Choice, policy_file: PolicyWriter, interface: Interface
) -> None:
    seen = observation(interface)
    policy = Policy.load(
        policy_file("autoregressive"), device="cpu", inference=search, choice=choice
    )
    found = policy.decide(seen)
    actual = policy.energies(seen, found.action.reshape(1, -1))[0]
    assert found.energy == pytest.approx(actual, abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"choice": "best"}, "choice: got 'best', expected lowest or sample"),
        ({"temperature": 0.0}, "temperature: got 0.0"),
        ({"inference": {"method": "autoregressive"}}, "got autoregressive, but the model has one"),
        ({"inference": "hybrid"}, "inference: got 'hybrid', expected a mapping"),
        ({"temperature": "hot"}, "temperature: got hot, expected a number > 0"),
        ({"inference": {"samples": 0}}, "inference.samples: got 0, expected an integer >= 2"),
        ({"inference": {"starts": 4}}, "inference.starts: no setting of derivative_free"),
    ],
)
def test_settings_that_do_not_fit_the_policy_are_refused(
    settings: dict[str, Any], message: str, policy_file: PolicyWriter
) -> None:
    with pytest.raises(ValueError, match=message):
        Policy.load(policy_file(), device="cpu", **settings)


def test_a_search_is_refused_for_a_policy_without_an_energy(policy_file: PolicyWriter) -> None:
    with pytest.raises(ValueError, match=r"without an energy \(explicit\), which searches for"):
        Policy.load(policy_file("explicit"), device="cpu", inference={"samples": 9})


def test_the_temperature_of_the_training_is_that_of_the_modes(policy_file: PolicyWriter) -> None:
    path = policy_file()
    assert Policy.load(path, device="cpu")._temperature == 1.0
    search = {"temperature": 0.2}
    assert Policy.load(path, device="cpu", inference=search)._temperature == 0.2
    chosen = Policy.load(path, device="cpu", inference=search, temperature=3.0)
    assert chosen._temperature == 3.0


def test_observations_of_another_shape_are_refused_and_doubles_taken(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    policy, seen = Policy.load(policy_file(), device="cpu"), observation(interface)
    doubles = {**seen, "tool": seen["tool"].astype(np.float64)}
    assert (policy.decide(doubles).action == policy.decide(seen).action).all()
    with pytest.raises(ValueError, match=r"stream tool: got shape \(2,\), expected \(1, 2\)"):
        policy.decide({**seen, "tool": seen["tool"][0]})
    with pytest.raises(ValueError, match="stream camera: got shape None"):
        policy.decide({"tool": seen["tool"]})
    with pytest.raises(PolicyMismatch, match=r"actions: got shape \(4, 3\), expected \(N, 2\)"):
        policy.energies(seen, np.zeros((4, 3)))
