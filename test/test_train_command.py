"""Command train_policy, from its arguments to the policy file."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ebm_policy_ros.energy.models import Kind
from ebm_policy_ros.policy.file import load_policy_file
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training import train
from ebm_policy_ros.training.data import bag_dataset
from ebm_policy_ros.training.data.dataset import Dataset


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
    policy = Policy.load(tmp_path / "run" / train.POLICY, device="cpu")
    decision = policy.decide({"tool": np.zeros((1, 2), np.float32)})
    assert decision.action.shape == (1, 2)
    assert policy.has_energy == (kind in ("energy", "autoregressive"))
    training = load_policy_file(tmp_path / "run" / train.POLICY).training
    assert training["demonstrations"] == 10 and training["held_out"]["action_error"] > 0
    assert policy.has_thresholds and set(policy.thresholds) == {"features"}
    far = policy.decide({"tool": np.full((1, 2), 50, np.float32)}).confidence
    assert decision.confidence.unsure == () and len(far.unsure) == 1


def test_with_nothing_held_out_a_policy_has_no_thresholds(bags: None, tmp_path: Path) -> None:
    train.main(command(tmp_path, "--learning.held_out=0"))
    policy = Policy.load(tmp_path / "run" / train.POLICY, device="cpu")
    assert not policy.has_thresholds
    far = policy.decide({"tool": np.full((1, 2), 50, np.float32)}).confidence
    assert far.unsure == ()


def test_the_command_repeats_itself_from_its_config_file(bags: None, tmp_path: Path) -> None:
    train.main(command(tmp_path, "--seed=5"))
    config = tmp_path / "run" / train.CONFIG
    train.main(["--config", str(config), "--out", str(tmp_path / "again")])
    weights, same = (load_file(tmp_path / n / train.POLICY) for n in ("run", "again"))
    assert all(torch.equal(same[name], value) for name, value in weights.items())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "run: not empty; continue its run with --resume or choose another --out"),
        (["--resume", "--steps=9"], "steps is 9 here, 8 in the checkpoint"),
        (["--resume", "--out=elsewhere"], "elsewhere: no checkpoint.safetensors"),
        (["--out=new", "--model.streams=[wrist]"], "got 'wrist', expected some of"),
        (["--out=new", "--interface=missing.yaml"], "missing.yaml: cannot read"),
        (["--out=new", "--device=cuda:99"], "got 'cuda:99', which is not there"),
        (["--out=new", "--steps=0"], "steps: got 0"),
        (["--out=new", "--false_alarms=2"], "false_alarms: got 2.0, expected a share"),
    ],
)
def test_the_command_tells_mistakes_in_one_line(
    more: list[str],
    message: str,
    bags: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    train.main(command(tmp_path))
    before = (tmp_path / "run" / train.POLICY).read_bytes()
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        train.main(command(tmp_path, *more))
    lines = capsys.readouterr().err.strip().splitlines()
    assert exit_.value.code == 2
    assert len(lines) == 1 and message in lines[0]
    assert (tmp_path / "run" / train.POLICY).read_bytes() == before
    assert not (tmp_path / "new").exists() and not (tmp_path / "elsewhere").exists()
