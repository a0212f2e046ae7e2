"""Parts from an external package: named in the configuration, and required by the policy."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from programs import run

from ebm_policy_ros import ModelConfig, TrainConfig, train
from ebm_policy_ros.energy.convolutions import IMAGE_ENCODERS, ImageEncoderConfig
from ebm_policy_ros.util.plugins import VARIABLE, PluginNeeded, Registry, names_from_a_file

ROOT = Path(__file__).resolve().parents[1]

# One of each: an encoder, the layers of a head, a loss, a source of negatives, a search.
LAB = '''
from dataclasses import dataclass

import torch
from torch import nn

from ebm_policy_ros import Solution


class Mean(nn.Module):
    """Mean colour of the last frame."""

    def __init__(self, config, shape):
        super().__init__()
        self.size = 3

    def forward(self, frames):
        return frames[:, -1].float().mean(dim=(1, 2)) / 255


def smooth_layers(config):
    return nn.Sequential(nn.Linear(config.width, config.width), nn.SiLU())


def margin(positive, negatives, temperature, masked):
    """Hinge: each negative is at least 1 above the demonstrated action."""
    return torch.relu(1 + positive[:, None] - negatives).mean()


def corners(config, now):
    shape = (len(now.positive), config.count, len(now.low))
    signs = torch.randint(0, 2, shape, generator=now.generator, device=now.low.device)
    return torch.where(signs > 0, now.high, now.low)


@dataclass(frozen=True)
class Grid:
    """Evaluate the energy on a line from corner to corner."""

    samples: int = 101

    @property
    def evaluated(self):
        return self.samples, 0

    def minimize(
        self, energy, low, high, batch=1, generator=None, starts=None, deadline=None,
        low_precision=None,
    ):
        share = torch.linspace(0, 1, self.samples)[:, None]
        actions = (low + share * (high - low)).expand(batch, -1, -1)
        return Solution.of(actions, energy(actions), energy, low, high, True)
'''


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with the package my_lab, and demonstrations next to it."""
    package = tmp_path / "packages" / "my_lab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text(LAB)
    steps, random = 64, np.random.default_rng(0)
    level = random.uniform(0, 1, (steps, 1)).astype(np.float32)
    frames = np.broadcast_to((255 * level)[:, :, None, None, None], (steps, 1, 8, 8, 3))
    arrays: dict[str, Any] = {
        "observation/camera": frames.astype(np.uint8),
        "actions": level[:, None, :] - 0.5,
        "episode_ends": np.arange(8, 65, 8),
    }
    np.savez(tmp_path / "demos.npz", **arrays)
    return tmp_path


DECIDE = """
import json
import numpy as np
from ebm_policy_ros import Policy

policy = Policy.load("run/policy.safetensors", device="cpu")
decision = policy.decide({"camera": np.full((1, 8, 8, 3), 255, np.uint8)})
print(json.dumps([type(policy.inference).__name__, decision.action.tolist()]))
"""


@pytest.mark.slow
def test_one_of_each_from_outside_is_trained_and_decides(lab: Path) -> None:
    path = os.pathsep.join((str(lab / "packages"), str(ROOT)))
    done = run(
        "training.train", "--data", "demos.npz", "--out", "run",
        "--steps", "300", "--device", "cpu", "--threads", "1",
        "--model.image.network", "my_lab.parts.Mean",
        "--model.head.kind", "my_lab.parts.smooth_layers",
        "--learning.loss", "my_lab.parts.margin",
        "--learning.negatives.source", "my_lab.parts.corners",
        "--learning.negatives.around", "16",
        "--learning.held_out", "0", "--learning.precision", "fp32",
        "--inference.method", "my_lab.parts.Grid",
        folder=lab, PYTHONPATH=path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    decide = lab / "decide.py"
    decide.write_text(DECIDE)
    refused = run(decide, folder=lab, PYTHONPATH=path)
    assert refused.returncode and "install it, and allow it with" in refused.stderr
    assert f"{VARIABLE}=my_lab" in refused.stderr and "train it again" not in refused.stderr
    decided = run(decide, folder=lab, **{VARIABLE: "my_lab", "PYTHONPATH": path})
    assert decided.returncode == 0, decided.stderr
    kind, action = json.loads(decided.stdout.splitlines()[-1])
    # For the brightest image, the action is the highest demonstrated one, about 0.5.
    assert kind == "Grid" and np.asarray(action).ravel() == pytest.approx([0.5], abs=0.15)
    gone = run(decide, folder=lab, **{VARIABLE: "my_lab", "PYTHONPATH": str(ROOT)})
    assert "of the package 'my_lab', which cannot be imported" in gone.stderr


FAULTS = """
import torch
from torch import nn


class Sized(nn.Module):
    def __init__(self, config, shape):
        super().__init__()
        self.size = {"Sized": 3, "Text": "3", "Zero": 0}[type(self).__name__]

    def forward(self, frames):
        return frames[:, -1].float().mean(dim=(1, 2, 3))[:, None]


class Text(Sized):
    pass


class Zero(Sized):
    pass


class Unsized(nn.Module):
    def __init__(self, config, shape):
        super().__init__()


class Square(Unsized):
    size = 3

    def forward(self, frames):
        return frames[:, -1].float()


def plain(frames):
    return frames.float().mean(dim=(1, 2))


def features(config, shape):
    return torch.zeros(3)
"""


@pytest.mark.parametrize(
    ("network", "refusal"),
    [
        ("Sized", "image encoder Sized: got features of shape (2, 1) for 2 frames, expected (2, "),
        ("Square", "image encoder Square: got features of shape (2, 8, 8, 3) for 2 frames"),
        ("Unsized", "image encoder Unsized: has no `size`, expected its number of features"),
        ("Text", "image encoder Text: has the size '3', expected its number of features"),
        ("Zero", "image encoder Zero: has the size 0, expected its number of features"),
        ("plain", "image encoder: plain() takes 1 positional argument but 2 were given; expected"),
        ("features", "image encoder: got a Tensor, expected a class or function that takes"),
    ],
)
def test_an_encoder_that_is_not_what_it_says_is_refused_before_there_is_a_folder(
    lab: Path, monkeypatch: pytest.MonkeyPatch, network: str, refusal: str
) -> None:
    (lab / "packages" / "my_lab" / "faults.py").write_text(FAULTS)
    monkeypatch.syspath_prepend(lab / "packages")
    monkeypatch.setattr(IMAGE_ENCODERS, "_imported", {})
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        monkeypatch.delitem(sys.modules, name)
    image = ImageEncoderConfig(network=f"my_lab.faults.{network}")
    config = TrainConfig(
        lab / "demos.npz", lab / "run", device="cpu", model=ModelConfig(image=image)
    )
    with pytest.raises(ValueError) as refused:
        train(config)
    assert refusal in str(refused.value) and "\n" not in str(refused.value)
    assert not (lab / "run").exists()


def test_a_name_that_nobody_registered_is_answered_with_the_nearest() -> None:
    parts: Registry[int] = Registry("number")
    parts.register("seven")(7)
    assert parts.find("seven") == 7 and list(parts) == ["seven"]
    with pytest.raises(
        ValueError, match=r"got 'sevn', expected one of seven, or .*did you mean seven"
    ):
        parts.find("sevn")
    with pytest.raises(ValueError, match="there is one of this name already"):
        parts.register("seven")(torch.nn.ReLU)
    with pytest.raises(ValueError, match="torch has no Nothing"):
        parts.find("torch.Nothing")


def test_a_file_imports_nothing_that_was_not_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: Registry[object] = Registry("number")
    sys.modules.pop("this", None)
    with names_from_a_file(), pytest.raises(PluginNeeded, match=f"{VARIABLE}=this"):
        parts.find("this.s")
    assert "this" not in sys.modules
    with names_from_a_file(), pytest.raises(PluginNeeded, match=f"{VARIABLE}=os"):
        parts.find("os.system")  # already imported
    monkeypatch.setenv(VARIABLE, "other, this")
    with names_from_a_file():
        assert isinstance(parts.find("this.s"), str)


def test_an_installed_package_declares_itself_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "other_lab-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other_lab\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[ebm_policy_ros.plugins]\nparts = other_lab.parts\n"
    )
    (tmp_path / "other_lab").mkdir()
    (tmp_path / "other_lab" / "parts.py").write_text("seven = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    numbers: Registry[int] = Registry("number")
    with names_from_a_file():
        assert numbers.find("other_lab.parts.seven") == 7


@pytest.mark.parametrize("name", ["a" * 1_000_000, "a." * 100_000 + "b"])
def test_a_name_of_any_length_is_refused_in_a_short_line(name: str) -> None:
    parts: Registry[int] = Registry("number")
    parts.register("seven")(7)
    with pytest.raises(ValueError, match="expected one of seven") as refusal:
        parts.find(name)
    assert len(str(refusal.value)) < 300
