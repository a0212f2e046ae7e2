"""Confidence measures and thresholds of a policy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_policy import observation

from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import build_model
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.policy.file import PolicyFileError, load_policy_file, save_policy
from ebm_policy_ros.policy.out_of_distribution import (
    FeatureTap,
    OutOfDistributionDetector,
    Reference,
    colours,
    effective_samples,
)
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training import calibrate as command
from ebm_policy_ros.training.calibration import calibrate
from ebm_policy_ros.training.data.batches import split_episodes
from ebm_policy_ros.training.data.dataset import Dataset

ROOT = Path(__file__).resolve().parents[1]
PolicyWriter = Callable[..., Path]


def gaussian(rows: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def test_the_distance_is_in_standard_deviations() -> None:
    scale, centre = torch.tensor([0.1, 20.0]), torch.tensor([5.0, -3.0])
    reference = Reference.fit(gaussian(20000, 2) * scale + centre, 1e-6)
    steps = torch.tensor([0.0, 1.0, 4.0])[:, None]
    assert reference.distance(centre + steps * scale).tolist() == pytest.approx(
        [0.0, 1.0, 4.0], abs=0.05
    )


def test_values_that_went_together_are_far_when_they_part() -> None:
    both = gaussian(5000, 1)
    reference = Reference.fit(torch.cat((both, both + 0.05 * gaussian(5000, 1, 1)), dim=1), 1e-6)
    together, apart = reference.distance(torch.tensor([[1.0, 1.0], [1.0, -1.0]])).tolist()
    assert together < 1 and apart > 5


def test_a_value_that_never_changed_is_far_when_it_does_by_more_than_the_floor() -> None:
    values = torch.cat((gaussian(1000, 1), torch.full((1000, 1), 7.0)), dim=1)
    reference = Reference.fit(values, 0.01)
    near, far = reference.distance(torch.tensor([[0.0, 7.001], [0.0, 8.0]])).tolist()
    assert near < 1.1 and far > 10


def test_colours_are_roots_of_the_shares_of_the_picture() -> None:
    frames = torch.zeros(3, 1, 4, 4, 3, dtype=torch.uint8)
    frames[1, :, :2, :, 0] = 255  # half of the image is red
    frames[2] = 255
    found = colours(frames)
    assert found.shape == (3, 64)
    assert found.square().sum(dim=1).tolist() == pytest.approx([1.0] * 3)
    half = math.sqrt(0.5)
    assert found[0, 0] == 1 and found[2, 63] == 1
    assert [found[1, 0].item(), found[1, 3 * 16].item()] == pytest.approx([half, half])


def test_effective_samples_count_those_that_share_the_weight() -> None:
    assert effective_samples(torch.zeros(50), 1.0) == pytest.approx(50)
    assert effective_samples(torch.tensor([0.0, 0.0, 90.0, math.inf]), 1.0) == pytest.approx(2)
    one = effective_samples(torch.tensor([0.0, 1.0]), 0.01)
    assert one == pytest.approx(1)


def test_thresholds_are_passed_by_the_asked_share_of_what_was_held_out() -> None:
    known = {"features": gaussian(4000, 6), "colours": gaussian(4000, 3, 1)}
    held_out = {"features": gaussian(5000, 6, 2), "colours": gaussian(5000, 3, 3)}
    detector = OutOfDistributionDetector.fit(known, held_out, rate=0.02)
    distances = detector.distances(held_out)
    for name, most in detector.thresholds.items():
        assert (distances[name] > most).float().mean().item() == pytest.approx(0.01, abs=0.001)
    strange = {"features": 9.0, "colours": 0.5}
    assert detector.unsure(strange) == (
        f"unfamiliar observation (9, at most {detector.thresholds['features']:.3g})",
    )
    lost = {"features": 0.5, "colours": math.nan}
    assert detector.unsure(lost)[0].startswith("unfamiliar colours in the picture (nan")
    assert detector.unsure({"features": 0.5, "colours": 0.5}) == ()


@pytest.mark.parametrize("depth", [0, 1])
def test_features_are_those_before_and_after_the_trunk(depth: int) -> None:
    shapes = {"tool": (2, 3)}
    config = ModelConfig(streams=("tool",), trunk_width=5, trunk_depth=depth)
    model = build_model(config, shapes, 2)
    tap = FeatureTap(model)
    batch = {"tool": gaussian(4, 6).reshape(4, 2, 3)}
    model.encode(batch)
    found = tap.last(batch)
    assert list(found) == ["features"]
    assert torch.equal(found["features"][:, :6], batch["tool"].flatten(1))
    assert found["features"].shape == (4, 6 + 5 * depth)
    if depth:
        assert torch.equal(found["features"][:, 6:], model.encoder(batch))


def demonstrations(interface: Interface, episodes: int = 8, length: int = 30) -> Dataset:
    """Dark images, and a tool near the origin."""
    rng = np.random.default_rng(0)
    count = episodes * length
    camera = rng.integers(0, 120, (count, *interface.shapes["camera"]), dtype=np.uint8)
    tool = 0.1 * rng.normal(size=(count, 1, 2)).astype(np.float32)
    return Dataset(
        {"camera": camera, "tool": tool},
        np.zeros((count, 1, 2), np.float32),
        np.arange(count) // length,
        tuple(str(i) for i in range(episodes)),
        np.ones(episodes),
    )


@pytest.fixture
def calibrated(policy_file: PolicyWriter, interface: Interface) -> Callable[[str], Path]:
    """Writer of a policy with random weights, calibrated on `demonstrations`."""

    def write(kind: str = "energy") -> Path:
        path = policy_file(kind)
        content = load_policy_file(path)
        model = build_model(ModelConfig.from_dict(content.model), content.shapes, 2)
        model.load_state_dict(content.state)
        data = demonstrations(interface)
        known, held_out = split_episodes(data.episodes, 0.5, 0)
        found = calibrate(model.eval(), data, known, held_out, 0.01)
        save_policy(path, dataclasses.replace(content, **vars(found)))
        return path

    return write


@pytest.mark.parametrize("kind", ["energy", "autoregressive", "explicit"])
def test_a_decision_names_what_is_unfamiliar(
    kind: str, calibrated: Callable[[str], Path], interface: Interface
) -> None:
    policy = Policy.load(calibrated(kind), device="cpu")
    assert policy.has_thresholds and set(policy.thresholds) == {"features", "colours"}
    seen = {n: v[0] for n, v in demonstrations(interface).observations.items()}
    familiar = policy.decide(seen).confidence
    assert familiar.unsure == () and 0 < familiar.features < 2 and 0 < familiar.colours < 2
    far = policy.decide({**seen, "tool": seen["tool"] + 50}).confidence
    (words,) = far.unsure
    assert words.startswith("unfamiliar observation (") and far.colours == familiar.colours
    bright = policy.decide({**seen, "camera": 255 - seen["camera"]}).confidence
    assert any(words.startswith("unfamiliar colours") for words in bright.unsure)


def test_energy_gap_and_effective_samples_are_those_of_the_decision(
    policy_file: PolicyWriter, interface: Interface
) -> None:
    policy, seen = Policy.load(policy_file(), device="cpu"), observation(interface)
    decision = policy.decide(seen)
    sure = decision.confidence
    assert sure.energy == decision.energy and sure.gap > 0
    assert 1 <= sure.effective_samples <= len(decision.energies)
    assert math.isnan(sure.features) and math.isnan(sure.colours) and sure.unsure == ()
    explicit = Policy.load(policy_file("explicit"), device="cpu").decide(seen).confidence
    assert all(math.isnan(v) for v in (explicit.energy, explicit.gap, explicit.effective_samples))


def test_thresholds_travel_in_the_policy_file_beside_unchanged_weights(
    policy_file: PolicyWriter, calibrated: Callable[[str], Path]
) -> None:
    plain = load_policy_file(policy_file())
    assert plain.confidence == {} and plain.references == {}
    content = load_policy_file(calibrated("energy"))
    assert content.confidence["false_alarms"] == 0.01
    assert content.confidence["episodes"] == [4, 4]
    assert content.state.keys() == plain.state.keys()
    assert all(torch.equal(content.state[name], value) for name, value in plain.state.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": {"thresholds": {"smell": 1.0}}}, "got 'smell', expected"),
        (
            {"confidence": {"thresholds": {"colours": "low"}}},
            "confidence.colours: got low",
        ),
        ({"confidence": {"thresholds": 3}}, "got thresholds 3, expected numbers by name"),
        ({"references": {}}, "no 'features.mean'"),
    ],
)
def test_confidence_that_does_not_fit_is_refused_in_one_line(
    change: dict[str, Any], message: str, calibrated: Callable[[str], Path]
) -> None:
    path = calibrated("energy")
    save_policy(path, dataclasses.replace(load_policy_file(path), **change))
    with pytest.raises(PolicyFileError, match=message) as refusal:
        Policy.load(path)
    assert "\n" not in str(refusal.value)


def write_arrays(path: Path, interface: Interface) -> None:
    data = demonstrations(interface)
    arrays = {f"observation/{name}": values for name, values in data.observations.items()}
    ends = np.flatnonzero(np.diff(data.episodes, append=-1)) + 1
    np.savez(path, actions=data.actions, episode_ends=ends, **arrays)  # type: ignore[arg-type]


def test_the_command_adds_thresholds_and_leaves_the_weights(
    policy_file: PolicyWriter, interface: Interface, tmp_path: Path
) -> None:
    policy, out = policy_file(), tmp_path / "sure.safetensors"
    write_arrays(tmp_path / "data.npz", interface)
    flags = [f"--policy={policy}", f"--data={tmp_path / 'data.npz'}", f"--out={out}"]
    command.main([*flags, "--false_alarms=0.05"])
    before, after = load_file(policy), load_file(out)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert Policy.load(out, device="cpu").has_thresholds


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out=policy.safetensors"], "policy.safetensors: exists; choose another --out"),
        (["--false_alarms=1.5"], "false_alarms: got 1.5, expected a share"),
        (
            ["--data=nowhere"],
            "nowhere: no such folder of demonstrations; name a folder",
        ),
        (["--policy=nowhere"], "nowhere.safetensors: no such policy file"),
        (["--data=small.npz"], "camera has shape (1, 4, 4, 3), policy.safetensors was trained"),
    ],
)
def test_the_command_tells_mistakes_in_one_line(
    more: list[str],
    message: str,
    policy_file: PolicyWriter,
    interface: Interface,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    policy_file().rename(tmp_path / "policy.safetensors")
    write_arrays(tmp_path / "data.npz", interface)
    arrays = dict(np.load(tmp_path / "data.npz"))
    np.savez(
        tmp_path / "small.npz",
        **{**arrays, "observation/camera": arrays["observation/camera"][:, :, :4, :4]},
    )
    with pytest.raises(SystemExit):
        command.main(["--policy=policy.safetensors", "--data=data.npz", "--out=new", *more])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("calibrate_policy: ") and message in line
    assert not (tmp_path / "new").exists()
