"""Command train_policy, from its arguments to the policy file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ebm_policy_ros.energy.model_config import Kind
from ebm_policy_ros.policy.file import load_policy_file
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training import train
from ebm_policy_ros.training.data import bag_dataset
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.train_config import CONFIG, POLICY
from ebm_policy_ros.util.resources import share_directory
from ebm_policy_ros.util.yaml_file import read_yaml


def command(folder: Path, *more: str) -> list[str]:
    settings = {
        "interface": "ur5e_push",
        "steps": 8,
        "model.streams": "[tool]",
        "learning.validate_every": 4,
    }
    flags = [f"--{name}={value}" for name, value in settings.items()]
    return [f"--data={folder / 'demos'}", f"--out={folder / 'run'}", *flags, *more]


@pytest.fixture
def bags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the reading of bags by these demonstrations."""
    tool = np.random.default_rng(0).uniform(-1, 1, (120, 1, 2)).astype(np.float32)
    names = tuple(f"bag_{i}" for i in range(10))
    dataset = Dataset({"tool": tool}, 0.1 * tool, np.arange(120) // 12, names, np.ones(10))
    monkeypatch.setattr(bag_dataset, "load_dataset", lambda folder, interface, **choice: dataset)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_command_writes_a_policy_that_decides(kind: str, bags: None, tmp_path: Path) -> None:
    train.main(command(tmp_path, "--model.kind", kind))
    policy = Policy.load(tmp_path / "run" / POLICY, device="cpu")
    decision = policy.decide({"tool": np.zeros((1, 2), np.float32)})
    assert decision.action.shape == (1, 2)
    assert policy.has_energy == (kind in ("energy", "autoregressive"))
    training = load_policy_file(tmp_path / "run" / POLICY).training
    assert training["demonstrations"] == 10 and training["held_out"]["action_error"] > 0
    assert policy.has_thresholds and set(policy.thresholds) == {"features"}
    far = policy.decide({"tool": np.full((1, 2), 50, np.float32)}).confidence
    assert decision.confidence.unsure == () and len(far.unsure) == 1


def test_without_a_configuration_the_demonstrations_choose_the_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (24, 1, 24, 32, 3), np.uint8)
    state = random.normal(size=(24, 3)).astype(np.float32)
    for name, streams, size, horizon, kind in (
        ("states", {"state": state}, 2, 1, "energy"),
        ("states_proposals", {"state": state}, 3, 4, "energy"),
        ("states_proposals", {"state": state}, 3, 1, "energy"),
        ("states_proposals", {"state": state}, 7, 1, "energy"),
        ("pictures", {"camera": frames, "state": state}, 2, 1, "energy"),
        ("pictures_proposals", {"camera": frames, "state": state}, 3, 4, "energy"),
        ("pictures_proposals", {"camera": frames, "state": state}, 7, 1, "energy"),
    ):
        arrays: dict[str, Any] = {f"observation/{n}": v for n, v in streams.items()}
        actions = random.normal(size=(24, size)).astype(np.float32)
        key = f"{name}_{size}_{horizon}"
        data, run = tmp_path / f"{key}.npz", tmp_path / key
        np.savez(data, actions=actions, episode_ends=[12, 24], **arrays)
        train.main([f"--data={data}", f"--out={run}", "--steps=2", f"--horizon={horizon}"])
        told = capsys.readouterr().out
        assert f"{name}.yaml:\n  2 demonstrations, 24 decisions" in told
        content = load_policy_file(run / POLICY)
        assert content.model["kind"] == kind
        assert ("proposals" in content.model) == name.endswith("_proposals")
        recipe = read_yaml(share_directory() / "config" / "training" / f"{name}.yaml")
        settings = content.training["config"]
        assert settings["steps"] == 2  # the command line's option replaces the recipe's
        assert settings["learning"]["negatives"].items() >= recipe["learning"]["negatives"].items()
        assert content.inference.items() >= recipe["inference"].items()
    # An interrupted run is continued with its own settings.
    (run / POLICY).unlink()
    train.main([f"--data={data}", f"--out={run}", "--resume"])
    assert (run / POLICY).exists()


def test_the_choice_of_a_recipe_and_the_training_read_the_demonstrations_once(
    bags: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read, times = bag_dataset.load_dataset, []

    def counting(*args: Any, **choice: Any) -> Dataset:
        times.append(args)
        return read(*args, **choice)

    monkeypatch.setattr(bag_dataset, "load_dataset", counting)
    train.main(command(tmp_path))
    assert len(times) == 1


@pytest.mark.parametrize(
    ("kind", "recipe"), [("explicit", "states"), ("autoregressive", "states_autoregressive")]
)
def test_kinds_without_a_proposal_take_a_recipe_of_their_own(
    kind: str, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    state, actions = (random.normal(size=(24, n)).astype(np.float32) for n in (3, 7))
    arrays: dict[str, Any] = {"observation/state": state, "actions": actions}
    arrays["episode_ends"] = np.array([12, 24])
    np.savez(tmp_path / "data.npz", **arrays)
    flags = [f"--data={tmp_path / 'data.npz'}", "--steps=2", f"--model.kind={kind}"]
    train.main([*flags, f"--out={tmp_path / 'run'}"])
    assert f"{recipe}.yaml" in capsys.readouterr().out


def test_the_steps_are_computed_from_a_time(tmp_path: Path, bags: None) -> None:
    train.main(command(tmp_path, "--time=0.5s"))
    settings = read_yaml(tmp_path / "run" / CONFIG)
    trained = load_policy_file(tmp_path / "run" / POLICY).training["steps"]
    assert settings["time"] == "" and settings["steps"] == trained
    train.main([*command(tmp_path), "--time=0.5s", "--resume"])


def test_chunks_are_made_of_single_actions(tmp_path: Path) -> None:
    state = np.arange(24, dtype=np.float32)[:, None] * [1.0, 0.5]
    arrays: dict[str, Any] = {
        "observation/state": state.astype(np.float32),
        "actions": state.astype(np.float32),
    }
    np.savez(tmp_path / "data.npz", episode_ends=np.array([12, 24]), **arrays)
    flags = [f"--data={tmp_path / 'data.npz'}", "--steps=2", f"--out={tmp_path / 'run'}"]
    train.main([*flags, "--horizon=4"])
    policy = Policy.load(tmp_path / "run" / POLICY, device="cpu")
    assert policy.decide({"state": np.zeros((1, 2), np.float32)}).action.shape == (4, 2)
    # Chunks that are longer than wanted are cut.
    arrays["actions"] = np.repeat(state[:, None], 4, axis=1)
    np.savez(tmp_path / "chunks.npz", episode_ends=np.array([12, 24]), **arrays)
    flags = [f"--data={tmp_path / 'chunks.npz'}", "--steps=2", f"--out={tmp_path / 'cut'}"]
    train.main([*flags, "--horizon=2"])
    assert load_policy_file(tmp_path / "cut" / POLICY).action_shape == (2, 2)
    with pytest.raises(SystemExit):
        train.main([*flags, f"--out={tmp_path / 'long'}", "--horizon=13"])


def test_with_nothing_held_out_a_policy_has_no_thresholds(bags: None, tmp_path: Path) -> None:
    train.main(command(tmp_path, "--learning.held_out=0"))
    policy = Policy.load(tmp_path / "run" / POLICY, device="cpu")
    assert not policy.has_thresholds
    far = policy.decide({"tool": np.full((1, 2), 50, np.float32)}).confidence
    assert far.unsure == ()


def test_the_command_repeats_itself_from_its_config_file(bags: None, tmp_path: Path) -> None:
    train.main(command(tmp_path, "--seed=5"))
    config = tmp_path / "run" / CONFIG
    train.main(["--config", str(config), "--out", str(tmp_path / "again")])
    weights, same = (load_file(tmp_path / n / POLICY) for n in ("run", "again"))
    assert all(torch.equal(same[name], value) for name, value in weights.items())


MISTAKES: tuple[tuple[list[str], str], ...] = (
    ([], "run: not empty; continue its run with --resume or choose another --out"),
    (["--resume", "--steps=9"], "steps is 9 here, 8 in the checkpoint"),
    (["--resume", "--out=elsewhere"], "elsewhere: no checkpoint.safetensors"),
    (["--out=new", "--model.streams=[wrist]"], "got 'wrist', expected some of"),
    (["--out=new", "--interface=missing.yaml"], "missing.yaml: cannot read"),
    (["--out=new", "--device=cuda:99"], "got 'cuda:99', which is not there"),
    (["--out=new", "--steps=0"], "steps: got 0"),
    (["--out=new", "--time=soon"], "time: got 'soon', expected for example 90s, 10m or 2h"),
    (["--out=new", "--horizon=-1"], "horizon: got -1"),
    (["--out=new", "--false_alarms=2"], "false_alarms: got 2.0, expected a share"),
)


def test_the_command_tells_mistakes_in_one_line(
    bags: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    train.main(command(tmp_path))
    before = (tmp_path / "run" / POLICY).read_bytes()
    capsys.readouterr()
    for more, message in MISTAKES:
        with pytest.raises(SystemExit) as exit_:
            train.main(command(tmp_path, *more))
        lines = capsys.readouterr().err.strip().splitlines()
        assert exit_.value.code == 2
        assert len(lines) == 1 and message in lines[0]
        assert (tmp_path / "run" / POLICY).read_bytes() == before
        assert not (tmp_path / "new").exists() and not (tmp_path / "elsewhere").exists()
