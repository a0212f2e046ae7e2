"""Joint trajectories from recording to motion: what was demonstrated is what the arm does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demonstration import SECOND, START, Sent, header, joints, message, sent, write_bag

from ebm_policy_ros.energy.models import ModelConfig, build_model
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.setpoint import Setpoint
from ebm_policy_ros.training.bag_dataset import load_dataset
from ebm_policy_ros.training.bags import read_episode
from ebm_policy_ros.training.dataset import Dataset
from ebm_policy_ros.training.learning import LearningConfig
from ebm_policy_ros.training.negatives import NegativesConfig
from ebm_policy_ros.training.trainer import Trainer

JOINTS = ["a", "b"]
PERIOD = SECOND // 10
BLEND = 0.2
Array = Any


def reach(horizon: int = 1, **action: Any) -> Interface:
    """Two joints, commanded by trajectories at 10 Hz."""
    values = {
        "name": "reach",
        "rate": 10.0,
        "observation": {
            "joints": {
                "topic": "joint_states",
                "type": "sensor_msgs/msg/JointState",
                "names": JOINTS,
                "max_age": 0.2,
            }
        },
        "action": {
            "topic": "joint_trajectory",
            "type": "trajectory_msgs/msg/JointTrajectory",
            "fields": JOINTS,
            "unit": "rad",
            "low": [-3.0, -3.0],
            "high": [3.0, 3.0],
            "max_velocity": [0.5, 0.5],
            "measured": "joints",
            "horizon": horizon,
            **action,
        },
    }
    return interface_from_dict(values, "reach")


def trajectory(stamp: int, *points: tuple[Array, float]) -> Any:
    """Positions, and when to be there, s after the stamp."""
    empty = np.empty(0)
    return message(
        "trajectory_msgs/msg/JointTrajectory",
        header=header(stamp),
        joint_names=JOINTS,
        points=[
            message(
                "trajectory_msgs/msg/JointTrajectoryPoint",
                positions=np.array(position, float),
                velocities=empty,
                accelerations=empty,
                effort=empty,
                time_from_start=message(
                    "builtin_interfaces/msg/Duration",
                    sec=int(seconds),
                    nanosec=round(seconds % 1 * SECOND),
                ),
            )
            for position, seconds in points
        ],
    )


def commanded(stamp: int, *points: tuple[Array, float]) -> Sent:
    return sent("/joint_trajectory", trajectory(stamp, *points), stamp + 2_000_000)


def measured(stamp: int, position: Array) -> Sent:
    return sent("/joint_states", joints(stamp, JOINTS, list(position)), stamp + 1_000_000)


def demonstrations(folder: Path, first_point: bool, count: int = 20) -> Path:
    """Reaches from about zero to 0.60 rad, recorded with or without the point of now."""
    for episode in range(count):
        at, messages = np.random.default_rng(episode).uniform(-0.05, 0.05, 2), []
        for step in range(60):
            time = START + episode * 100 * SECOND + step * PERIOD
            move = 0.1 * np.array([0.12, 0.06]) * (at[0] < 0.6)
            points = [(at, 0.0)] if first_point else []
            points += [(at + move, 0.1), (at + 2 * move, 0.2)]
            messages += [measured(time, at), commanded(time, *points)]
            at = at + move
        write_bag(folder / f"e{episode:02d}", messages)
    return folder


def learn(folder: Path, data: Dataset, kind: str) -> Any:
    """A small model of the demonstrations, as a function from joints to actions (H, D)."""
    torch.manual_seed(0)
    config = ModelConfig.from_dict({"kind": kind, "streams": ["joints"], "trunk_width": 64})
    horizon, size = data.actions.shape[1:]
    shapes = {"joints": data.observations["joints"].shape[1:]}
    search = DerivativeFree(samples=512)
    trainer = Trainer(
        build_model(config, shapes, horizon * size),
        data,
        LearningConfig(
            precision="fp32", held_out=0.0, warm_up=20, average_decay=0.98,
            negatives=NegativesConfig(count=64, around=16),
        ),
        search,
        steps=400,
        seed=0,
        folder=folder,
    )  # fmt: skip
    assert trainer.run()
    return trainer


@pytest.mark.parametrize("horizon", [1, 8])
def test_x(horizon: int, tmp_path: Path) -> None:
    pass
