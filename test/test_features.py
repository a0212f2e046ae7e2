"""Features of measured streams: what each formula computes, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ebm_policy_ros.energy.features import Features
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training import train
from ebm_policy_ros.training.train_config import POLICY

SHAPES = {
    "tool": (1, 2), "block": (1, 2), "goal": (1, 2), "state": (1, 5), "pose": (1, 7),
    "place": (1, 3), "past": (2, 2), "camera": (1, 8, 8, 3),
}  # fmt: skip
SEEN = {
    "tool": torch.tensor([[[0.1, 0.2]]]),
    "block": torch.tensor([[[0.4, 0.6]]]),
    "goal": torch.tensor([[[0.4, 0.9]]]),
    "state": torch.tensor([[[1.0, 2.0, 4.0, 6.0, math.pi / 2]]]),
    # A quarter turn about z.
    "pose": torch.tensor([[[1.0, 1.0, 0.5, 0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)]]]),
    "place": torch.tensor([[[2.0, 1.0, 0.5]]]),
    "past": torch.tensor([[[0.0, 0.0], [0.1, 0.2]]]),
}


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("tool", [0.1, 0.2]),
        ("block - tool", [0.3, 0.4]),
        ("state[2:4] - state[0:2]", [3.0, 4.0]),
        ("state[3:]", [6.0, math.pi / 2]),
        ("state[:2]", [1.0, 2.0]),
        ("state[3] - state[0]", [5.0]),
        ("length block - tool", [0.5]),
        ("angle state[4]", [1.0, 0.0]),
        # x of the outer frame is -y of a frame that is turned by +90 degrees.
        ("state[2:4] - state[0:2] in state[4]", [4.0, -3.0]),
        # Along +y, and across it, to its left.
        ("block - tool in goal - block", [0.4, -0.3]),
        ("place - pose[0:3] in pose[3:7]", [0.0, -1.0, 0.0]),
        ("past", [0.0, 0.0, 0.1, 0.2]),
        ("length past", [0.0, math.hypot(0.1, 0.2)]),
    ],
)
def test_formula_computes(formula: str, expected: list[float]) -> None:
    features = Features([formula], SHAPES)
    found = features(SEEN)[0]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert features.size == len(expected)


def test_formulas_stand_side_by_side_and_name_their_streams() -> None:
    features = Features(["block - tool", "length goal"], SHAPES)
    assert features(SEEN).tolist()[0] == pytest.approx([0.3, 0.4, math.hypot(0.4, 0.9)])
    assert features.shapes == {"block": (1, 2), "tool": (1, 2), "goal": (1, 2)}


def test_a_frame_without_direction_gives_finite_values() -> None:
    same = {**SEEN, "goal": SEEN["block"]}
    found = Features(["block - tool in goal - block"], SHAPES)(same)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("block + tool", "no formula"),
        ("", "no formula"),
        ("blok - tool", "no measured stream 'blok', expected one of tool, block"),
        ("camera", "no measured stream 'camera'"),
        ("state[4:9]", "columns 4 to 8 of state, which has 5"),
        ("state[3:2]", "columns 3 to 1 of state"),
        ("state - tool", "a difference of 5 and 2 values"),
        ("place in state[4]", "a vector of 3 values in a frame of 1"),
        ("tool - past", "tool and past have histories of different lengths"),
    ],
)
def test_refuses_formulas_in_one_line(formula: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^model.features: got ") as caught:
        Features([formula], SHAPES)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_policy_of_features_alone_decides_by_them(tmp_path: Path) -> None:
    """The same action wherever tool and block are together, since only their difference counts."""
    random = np.random.default_rng(0)
    tool, apart = (random.uniform(-1, 1, (300, 2)).astype(np.float32) for _ in range(2))
    arrays = {"observation/tool": tool, "observation/block": tool + apart, "actions": apart}
    np.savez(tmp_path / "data.npz", episode_ends=np.arange(30, 301, 30), **arrays)  # type: ignore[arg-type]
    flags = [f"--data={tmp_path / 'data.npz'}", f"--out={tmp_path / 'run'}", "--model.streams=[]"]
    train.main([*flags, "--model.features=[block - tool]", "--steps=400", "--model.kind=explicit"])
    policy = Policy.load(tmp_path / "run" / POLICY, device="cpu")
    assert set(policy.shapes) == {"tool", "block"}
    for place in (0.0, 5.0):
        seen = {"tool": np.full((1, 2), place), "block": np.array([[place + 0.5, place - 0.2]])}
        decision = policy.decide({name: v.astype(np.float32) for name, v in seen.items()})
        assert decision.action[0] == pytest.approx([0.5, -0.2], abs=0.05)


def test_a_policy_file_with_a_long_formula_is_refused_before_it_is_read() -> None:
    long = "a" + " in " * 20_000
    with pytest.raises(ValueError, match="expected formulas of at most 256 characters"):
        ModelConfig(features=(long,))
