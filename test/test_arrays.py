"""Demonstrations as arrays: reading, selection and refusal."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ebm_policy_ros.policy.file import load_policy_file
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training import train
from ebm_policy_ros.training.data.arrays import load_arrays
from ebm_policy_ros.training.data.dataset import Dataset, DemonstrationError
from ebm_policy_ros.training.data.options import EpisodeOptions
from ebm_policy_ros.training.learning.checkpoint import save_checkpoint
from ebm_policy_ros.training.loading import load_training_data
from ebm_policy_ros.training.train_config import POLICY

RANDOM = np.random.default_rng(0)
TOOL = RANDOM.uniform(-1, 1, (30, 2))
ARRAYS: dict[str, Any] = {
    "observation/tool": TOOL,
    "observation/camera": RANDOM.integers(0, 256, (30, 8, 12, 3), np.uint8),
    "actions": 0.1 * TOOL,
    "episode_ends": np.array([5, 20, 30]),
}


def write(folder: Path, **changes: Any) -> Path:
    arrays = {**ARRAYS, **{name.replace("__", "/"): value for name, value in changes.items()}}
    path = folder / "demos.npz"
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_arrays_are_read_with_an_axis_of_time(tmp_path: Path) -> None:
    data = load_arrays(write(tmp_path))
    assert data.observations["tool"].shape == (30, 1, 2)
    assert data.observations["camera"].shape == (30, 1, 8, 12, 3)
    assert data.observations["camera"].dtype == np.uint8
    assert data.actions.shape == (30, 1, 2) and data.actions.dtype == np.float32
    assert np.bincount(data.episodes).tolist() == [5, 15, 10]
    assert data.names == ("demos.npz[0]", "demos.npz[1]", "demos.npz[2]")
    several = load_arrays(write(tmp_path, observation__tool=TOOL[:, None].repeat(3, axis=1)))
    assert several.observations["tool"].shape == (30, 3, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": None}, "no array 'actions', only episode_ends, observation/camera"),
        ({"episode_ends": None}, "no array 'episode_ends'"),
        ({"observation__tool": None, "observation__camera": None}, "no array observation/NAME"),
        ({"observation__tool": TOOL[:29]}, "observation/tool has 29 steps, actions has 30"),
        ({"episode_ends": np.array([5, 20])}, "the last of them 30, the number of steps"),
        (
            {"episode_ends": np.array([20, 5, 30])},
            r"episode_ends is \[20  5 30\], expected rising",
        ),
        ({"episode_ends": np.array([5.0, 30.0])}, "expected rising whole numbers"),
        ({"actions": np.zeros(30)}, r"actions has shape \(30,\) of float64, expected"),
        ({"actions": np.full((30, 2), "x")}, "actions holds <U1, expected numbers"),
        ({"observation__camera": np.zeros((30, 8, 12, 4), np.uint8)}, "observation/camera has"),
        ({"outcomes": np.ones(2)}, r"outcomes has shape \(2,\) of float64, expected \(3,\)"),
        ({"outcomes": np.array(["a", "b", "c"])}, "outcomes has shape .* of <U1, expected"),
        ({"actions": np.zeros((30, 0))}, r"actions has shape \(30, 0\), with nothing in it"),
        ({"observation__tool": np.zeros((30, 8, 8), np.uint8)}, "uint8 is for pictures"),
        ({"actions": np.array([{}] * 30)}, "not a whole .npz file of plain arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DemonstrationError, match=message) as refusal:
        load_arrays(write(tmp_path, **changes))
    assert "demos.npz" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    for content in (path.read_bytes()[:500], b"", b"hello"):
        path.write_bytes(content)
        with pytest.raises(DemonstrationError, match=r"demos\.npz: not a whole"):
            load_arrays(path)
    with path.open("wb") as file:
        np.save(file, TOOL)
    with pytest.raises(DemonstrationError, match=r"demos\.npz: not a whole"):
        load_arrays(path)
    np.savez_compressed(path, **ARRAYS)
    damaged = bytearray(path.read_bytes())
    damaged[200:260] = bytes(60)
    path.write_bytes(damaged)
    with pytest.raises(DemonstrationError, match=r"demos\.npz: not a whole"):
        load_arrays(path)
    with pytest.raises(DemonstrationError, match=r"nowhere\.npz: cannot be read"):
        load_arrays(tmp_path / "nowhere.npz")


def test_arrays_are_checked_against_the_interface_that_is_named(tmp_path: Path) -> None:
    path, push = write(tmp_path), EpisodeOptions(interface="ur5e_push")
    assert load_training_data(path, push, ("tool",)).interface is not None
    with pytest.raises(DemonstrationError, match=r"camera has shape \(1, 8, 12, 3\) a step, ur5e"):
        load_training_data(path, push, ("camera",))
    with pytest.raises(DemonstrationError, match="got 'wrist', expected some of tool, camera"):
        load_training_data(path, EpisodeOptions(), ("wrist",))
    wide = 0.1 * TOOL
    wide[[7, 9], 1] = 0.5
    path = write(tmp_path, actions=wide)
    expected = r"actions\[7\], linear.y: 0.5 is outside .* -0.25 to 0.25, also in 1 further"
    with pytest.raises(DemonstrationError, match=expected):
        load_training_data(path, push, ("tool",))
    path = write(tmp_path, actions=np.zeros((30, 3)))
    with pytest.raises(DemonstrationError, match=r"actions has shape \(1, 3\) a step"):
        load_training_data(path, push, ("tool",))


def dataset(lengths: list[int], outcomes: list[float]) -> Dataset:
    episodes = np.repeat(np.arange(len(lengths)), lengths)
    values = episodes.astype(np.float32)[:, None, None]
    names = tuple(f"episode {i}" for i in range(len(lengths)))
    return Dataset({"tool": values}, values, episodes, names, np.array(outcomes))


def test_the_best_demonstrations_are_the_shortest_or_those_of_the_best_outcome() -> None:
    data = dataset([9, 3, 5, 4], [1.0, 0.0, 1.0, 0.5])
    short = data.best(0.5, "length")
    assert short.names == ("episode 1", "episode 3")
    assert short.observations["tool"].flatten().tolist() == [1, 1, 1, 3, 3, 3, 3]
    assert short.episodes.tolist() == [0, 0, 0, 1, 1, 1, 1]
    good = data.best(0.5, "outcome")
    assert good.names == ("episode 0", "episode 2") and good.outcomes.tolist() == [1.0, 1.0]
    assert data.best(0.25, "outcome").names == ("episode 2",)
    assert data.best(0.01, "length").names == ("episode 1",)


def test_the_command_learns_from_arrays_without_a_robot(tmp_path: Path) -> None:
    """Three actions per decision, which no interface file describes yet."""
    chunks = np.repeat(0.1 * TOOL[:, None], 3, axis=1) * np.array([1.0, 0.5, 0.25])[:, None]
    path, out = (
        write(tmp_path, actions=chunks, outcomes=np.array([3.0, 1.0, 2.0])),
        tmp_path / "run",
    )
    flags = ["--model.streams=[tool]", "--steps=4", "--keep=0.7", "--keep_by=outcome"]
    train.main([f"--data={path}", f"--out={out}", *flags])
    content = load_policy_file(out / POLICY)
    assert content.interface is None and content.action_shape == (3, 2)
    assert content.training["demonstrations"] == 2
    policy = Policy.load(out / POLICY, device="cpu")
    policy.warm_up()
    decision = policy.decide({"tool": np.zeros((1, 2), np.float32)}, modes=2)
    assert decision.action.shape == (3, 2)
    assert all(mode.action.shape == mode.spread.shape == (3, 2) for mode in decision.modes)


def test_a_policy_looks_at_every_stream_where_the_usual_ones_are_not_there(tmp_path: Path) -> None:
    out = tmp_path / "run"
    data = write(tmp_path, observation__camera=None, observation__state=TOOL[:, :1])
    train.main([f"--data={data}", f"--out={out}", "--steps=2"])
    content = load_policy_file(out / POLICY)
    assert sorted(content.model["streams"]) == sorted(content.shapes) == ["state", "tool"]
    usual = load_training_data(write(tmp_path, observation__state=TOOL), EpisodeOptions())
    assert usual.streams == ("camera", "tool")


def test_the_box_of_a_policy_exceeds_the_shown_actions_by_the_margin(tmp_path: Path) -> None:
    data, out = write(tmp_path), tmp_path / "run"
    flags = ["--steps=1", "--model.streams=[tool]", "--learning.held_out=0", "--action.margin=0.5"]
    train.main([f"--data={data}", f"--out={out}", *flags])
    box = Policy.load(out / POLICY, device="cpu").action_box({"tool": TOOL[:1]})
    low, high = 0.1 * TOOL.min(axis=0), 0.1 * TOOL.max(axis=0)
    more = (high - low) / 2
    assert np.allclose(box, (low - more, high + more), atol=1e-6)


def test_a_full_disk_is_told_in_one_line_and_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    # Writing to this file fails as on a full disk.
    (tmp_path / "checkpoint.partial").symlink_to("/dev/full")
    with pytest.raises(OSError) as full:
        save_checkpoint(tmp_path / "checkpoint", {"model": {"w": torch.zeros(9)}}, {})
    assert full.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--inference.method=autoregressive", "got autoregressive, but the model has one energy"),
        ("--inference.method=simplex", "inference.method: got 'simplex', expected one of"),
        ("--inference.step_size=0.1", "inference.step_size: no setting of derivative_free"),
        ("--inference.noise_scale=x", "inference.noise_scale: got x, expected a number > 0"),
        ("--model.streams=[a.b]", "expected names of letters, digits and _"),
        ("--model.streams=[forward]", "got 'forward', which torch needs itself"),
        ("--model.tied=true", "model.tied"),
        ("--seed=18446744073709551616", "seed: got 18446744073709551616, expected at most"),
        ("--keep=0", "keep: got 0.0, expected a fraction above 0"),
        ("--keep_by=mood", "keep_by"),
        ("--learning.negatives.source=nowhere", "source"),
        ("--data=nowhere.npz", "nowhere.npz: cannot be read"),
    ],
)
def test_the_command_tells_mistakes_in_one_line(
    more: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [] if more.startswith("--data") else [f"--data={write(tmp_path)}"]
    flags = [*data, f"--out={tmp_path / 'run'}", "--model.streams=[tool]", "--steps=2", more]
    with pytest.raises(SystemExit) as exit_:
        train.main(flags)
    lines = capsys.readouterr().err.strip().splitlines()
    assert exit_.value.code == 2
    assert message in lines[-1] and len(lines) == 1
    assert not (tmp_path / "run").exists()
