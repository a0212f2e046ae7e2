"""Removal of idle steps at the ends of demonstrations, so that a policy starts to move."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from demonstration import LATENCY, SECOND, START, pose, sent, twist, write_bag
from small_policy import learn

from ebm_policy_ros.energy.model_config import Kind
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.data.idle import trim_idle

GOAL = np.array([0.6, 0.2])


def reach(**action: object) -> Interface:
    """Interface of a tool in a plane, moved by a twist at 10 Hz."""
    values = {
        "name": "reach",
        "rate": 10.0,
        "observation": {
            "tool": {
                "topic": "tool_pose",
                "type": "geometry_msgs/msg/PoseStamped",
                "frame_id": "base_link",
                "fields": ["x", "y"],
                "max_age": 0.2,
            }
        },
        "action": {
            "topic": "cmd_vel",
            "type": "geometry_msgs/msg/TwistStamped",
            "frame_id": "base_link",
            "fields": ["linear.x", "linear.y"],
            "unit": "m/s",
            "low": [-0.25, -0.25],
            "high": [0.25, 0.25],
            **action,
        },
    }
    return interface_from_dict(values, "reach")


def begin(episode: int) -> npt.NDArray[np.float64]:
    start: npt.NDArray[np.float64] = np.array([0.3, 0.0]) + np.random.default_rng(episode).uniform(
        -0.02, 0.02, 2
    )
    return start


def demonstrations(folder: Path) -> Path:
    """Thirty reaching motions, each after 1.5 s without motion."""
    for episode in range(30):
        at, messages = begin(episode), []
        for step in range(65):
            time = START + episode * 100 * SECOND + step * SECOND // 10
            move = np.zeros(2) if step < 15 else np.clip(GOAL - at, -0.1, 0.1)
            messages += [
                sent("/tool_pose", pose(time, *at), time + LATENCY),
                sent("/cmd_vel", twist(time, *move), time + LATENCY),
            ]
            at = at + 0.1 * move
        write_bag(folder / f"e{episode:02d}", messages)
    return folder


def dataset(*episodes: list[float]) -> Dataset:
    values = np.concatenate([np.array(episode, np.float32) for episode in episodes])
    return Dataset(
        observations={"tool": np.arange(len(values), dtype=np.float32)[:, None, None]},
        actions=np.stack((values, 0 * values), axis=1)[:, None],
        episodes=np.repeat(np.arange(len(episodes)), [len(episode) for episode in episodes]),
        names=tuple(f"e{i}" for i in range(len(episodes))),
        outcomes=np.ones(len(episodes)),
    )


def test_steps_before_the_first_motion_and_after_the_last_are_left_out_but_for_two() -> None:
    still = 0.004  # under 1 % of the range of 0.5 m/s
    data = dataset([0, still, 0.1, 0, 0.2, 0, -still, 0, 0], [0, 0, 0], [0.1, 0.1])
    trimmed, count = trim_idle(data, reach())
    assert count == 4
    assert trimmed.observations["tool"].ravel().tolist() == [2, 3, 4, 5, 6, 9, 10, 11, 12, 13]
    assert trimmed.episodes.tolist() == [0] * 5 + [1] * 3 + [2] * 2
    assert len(trimmed.actions) == 10


def test_a_position_moves_where_it_changes_and_a_gripper_counts_too() -> None:
    values = reach().to_dict()
    values["observation"]["tool"]["fields"] = ["x", "y", "z", "qx", "qy", "qz", "qw"]
    fixed = {"z": 0.0, "qx": 0.0, "qy": 0.0, "qz": 0.0, "qw": 1.0}
    values["action"] |= {
        "type": "geometry_msgs/msg/PoseStamped", "fields": ["x", "y"], "fixed": fixed,
        "low": [0.0, 0.0], "high": [1.0, 1.0], "max_velocity": [0.25, 0.25], "measured": "tool",
    }  # fmt: skip
    positions = [0.3, 0.3, 0.3, 0.32, 0.34, 0.34, 0.34, 0.34]
    trimmed, count = trim_idle(dataset(positions), interface_from_dict(values, "pose"))
    assert count == 4 and trimmed.observations["tool"].ravel().tolist() == [3, 4, 5, 6]
    moving, count = trim_idle(dataset([0.3, 0.32, 0.34]), interface_from_dict(values, "pose"))
    assert count == 0 and len(moving.actions) == 3
    values = reach().to_dict()
    values["action"]["gripper"] = {
        "topic": "grip", "type": "sensor_msgs/msg/JointState", "name": "finger",
        "low": 0.0, "high": 1.0,
    }  # fmt: skip
    data = dataset([0] * 8)
    grip = np.array([0, 0, 0, 1, 1, 1, 1, 1], np.float32)[:, None, None]
    with_grip = Dataset(**{**vars(data), "actions": np.concatenate((data.actions, grip), axis=2)})
    trimmed, count = trim_idle(with_grip, interface_from_dict(values, "grip"))
    assert trimmed.observations["tool"].ravel().tolist() == [3, 4, 5]


@pytest.mark.parametrize("kind", ["explicit", pytest.param("energy", marks=pytest.mark.slow)])
def test_a_policy_of_demonstrations_that_begin_with_waiting_starts_every_time(
    kind: Kind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interface = reach()
    demos = demonstrations(tmp_path / "demos")
    policy = learn(tmp_path, demos, interface, kind)
    found = re.search(r"(\d+) of 1950 steps stand still at the ends", capsys.readouterr().err)
    assert found and 450 <= int(found[1]) < 600, "fifteen at each beginning, and a few at the end"
    started = 0
    for episode in range(100, 120):
        at = begin(episode)
        for _ in range(30):
            move = policy.decide({"tool": at[None].astype(np.float32)}).action[0]
            at = at + 0.1 * np.clip(move, -0.25, 0.25)
        started += bool(np.linalg.norm(at - begin(episode)) > 0.1)
    assert started == 20
