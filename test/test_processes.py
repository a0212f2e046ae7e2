"""Training of one model by several processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from programs import run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.learning import trainer
from ebm_policy_ros.training.learning.processes import Processes, _OwnRows
from ebm_policy_ros.training.train import main
from ebm_policy_ros.training.train_config import POLICY

# 15 frames cannot be halved; observations are changed at random, and negatives are uniform and
# from chains.
SETTINGS = {
    "steps": 20,
    "device": "cpu",
    "learning.batch_size": 15,
    "learning.image_shift": 2,
    "learning.image_jitter": 0.1,
    "learning.measurement_noise": 0.1,
    "learning.precision": "fp32",
    "learning.negatives.source": "mixed",
    "learning.negatives.chain.iterations": 5,
    "learning.gradient_penalty": 1.0,
    "learning.action_noise": 0.05,
    "learning.validate_every": 10,
    "model.image.channels": "[4,4]",
    "model.image.strides": "[2,1]",
}


def arguments(folder: Path, name: str, **more: object) -> list[str]:
    settings = {**SETTINGS, "data": folder / "demos.npz", "out": folder / name, **more}
    return [f"--{key}={value}" for key, value in settings.items()]


def train(
    folder: Path, name: str, *launcher: str, **more: object
) -> subprocess.CompletedProcess[str]:
    words = arguments(folder, name, **more)
    if not launcher:
        return run("training.train", *words)
    command = [sys.executable, *launcher, "-m", "ebm_policy_ros.training.train", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def two_processes() -> list[str]:
    # On a CPU `accelerate launch` starts one process, whatever --num_processes says.
    return ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


@pytest.fixture
def demos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    tool = random.uniform(-1, 1, (120, 2)).astype(np.float32)
    arrays: dict[str, Any] = {
        "observation/camera": random.integers(0, 256, (120, 8, 12, 3), np.uint8),
        "observation/tool": tool,
        "actions": 0.1 * np.tanh(2 * tool),
        "episode_ends": np.arange(12, 121, 12),
    }
    np.savez(tmp_path / "demos.npz", **arrays)
    return tmp_path


def logged(folder: Path) -> dict[str, list[float]]:
    events = EventAccumulator(str(folder)).Reload()
    names = [name for name in events.Tags()["scalars"] if "per_second" not in name]
    return {name: [event.value for event in events.Scalars(name)] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"model.kind": "energy"},
        {"model.kind": "energy", "model.proposals": 2, "learning.negatives.source": "proposal"},
        {"model.kind": "flow"},
    ],
    ids=["energy", "proposal", "flow"],
)
def test_two_processes_learn_what_one_learns(options: dict[str, object], demos: Path) -> None:
    for name, launcher in (("one", []), ("two", two_processes())):
        run = train(demos, name, *launcher, **options)
        assert run.returncode == 0, run.stderr
        # Only the main process prints and writes.
        assert run.stdout.count(POLICY) == 1
        assert len(list((demos / name).glob("events.*"))) == 1
    one, two = logged(demos / "one"), logged(demos / "two")
    assert one.keys() == two.keys() >= {"train/loss", "held_out/loss", "held_out/action_error"}
    for name, values in one.items():
        assert two[name] == pytest.approx(values, rel=1e-4), name
    Policy.load(demos / "two" / POLICY, device="cpu")


def test_a_batch_smaller_than_the_processes_is_refused(
    demos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Two(Processes):
        def __init__(self, device: torch.device) -> None:
            super().__init__(device)
            self.count = 2

    monkeypatch.setattr(trainer, "Processes", Two)
    with pytest.raises(SystemExit) as exit_:
        main(arguments(demos, "few", **{"learning.batch_size": 1}))
    assert exit_.value.code == 2
    refusal = "learning.batch_size: got batches of 1 frames for 2 processes"
    assert refusal in capsys.readouterr().err
    assert not (demos / "few").exists()


def test_one_process_has_the_whole_batch() -> None:
    alone = Processes(torch.device("cpu"))
    assert alone.count == 1 and alone.is_main
    assert alone.rows(15) == slice(0, 15)


def test_a_process_draws_its_rows_of_the_whole_batch_also_where_each_has_several() -> None:
    whole = torch.rand((15, 4, 1), generator=torch.Generator().manual_seed(0))
    with _OwnRows(5, slice(2, 5)):
        rows = torch.rand((9, 4, 1), generator=torch.Generator().manual_seed(0))
    assert torch.equal(rows, whole[6:])
