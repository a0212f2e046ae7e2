"""Joint trajectories from recording to motion: what was demonstrated is what the arm does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from demonstration import SECOND, START, Sent, header, joints, message, sent, write_bag

from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.models import Kind, ModelConfig
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.policy import Policy
from ebm_policy_ros.setpoint import Setpoint
from ebm_policy_ros.training.learning import LearningConfig
from ebm_policy_ros.training.negatives import NegativesConfig
from ebm_policy_ros.training.train import POLICY, TrainConfig, train

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


def learn(folder: Path, demos: Path, interface: Interface, kind: Kind) -> Policy:
    """A small policy of the demonstrations."""
    path = folder / "interface.yaml"
    path.write_text(yaml.safe_dump(interface.to_dict()))
    config = TrainConfig(
        data=demos,
        out=folder / f"{kind}_{interface.action.horizon}",
        interface=str(path),
        steps=600,
        device="cpu",
        model=ModelConfig(
            kind, tuple(interface.observation), trunk_width=64, head=HeadConfig(width=64)
        ),
        learning=LearningConfig(
            precision="fp32",
            learning_rate=3e-3,
            warm_up=20,
            validate_every=600,
            average_decay=0.98,
            negatives=NegativesConfig(count=24, around=24, nearest=0.01, farthest=0.3),
        ),
    )
    assert train(config)
    return Policy.load(config.out / POLICY, device="cpu")


def reached(policy: Policy, interface: Interface, late: float = 0.0) -> float:
    """How far joint a gets in 6 s from zero if the arm is where it is told to be.

    Args:
        policy: What decides.
        interface: Tells horizon and limits.
        late: From the observation to the command, s.
    """
    path = Setpoint()
    path.follow(np.zeros((1, 2)), np.array([START]))
    speed = np.array(interface.action.max_velocity)
    for step in range(60):
        time = START + step * PERIOD
        here = path.at(time)
        assert here is not None
        plan = policy.decide({"joints": here[None].astype(np.float32)}).action.astype(float)
        times = time + PERIOD * np.arange(1, len(plan) + 1)
        now = time + round(late * SECOND)
        path.follow(*path.join(plan, times, now, BLEND, speed, np.full(2, np.inf)))
    end = path.at(START + 60 * PERIOD)
    assert end is not None
    return float(end[0])


@pytest.mark.parametrize("kind", ["explicit", "energy"])
@pytest.mark.parametrize("horizon", [1, 8])
def test_x(horizon: int, kind: Kind, tmp_path: Path) -> None:
    demos = demonstrations(tmp_path / "demos", True)
    interface = reach(horizon)
    import time

    t = time.time()
    policy = learn(tmp_path, demos, interface, kind)
    print("train", time.time() - t)
    print(kind, horizon, reached(policy, interface), reached(policy, interface, 0.02))
