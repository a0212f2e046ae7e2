"""Joint trajectories from recording to execution: the policy reproduces the demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstration import SECOND, START, Sent, header, joints, message, sent, write_bag
from small_policy import learn

from ebm_policy_ros.control.setpoint import Setpoint
from ebm_policy_ros.energy.model_config import Kind
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.data.episodes import read_episode

JOINTS = ["a", "b"]
PERIOD = SECOND // 10
BLEND = 0.2
Array = Any


def reach(horizon: int = 1, **action: Any) -> Interface:
    """Interface of two joints, commanded by trajectories at 10 Hz."""
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
    """A trajectory of positions, with times in s after the stamp."""
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
    """Reaching motions from about zero to 0.60 rad, with or without a point at time zero."""
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


def reached(policy: Policy, interface: Interface, late: float = 0.0) -> float:
    """Position of joint a after 6 s from zero, if the arm is always at its setpoint.

    Args:
        policy: The policy.
        interface: Horizon and limits.
        late: Delay from the observation to the command, s.
    """
    path = Setpoint()
    path.follow(np.zeros((1, 2)), np.array([START]))
    speed = np.array(interface.command.max_velocity)
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


def test_the_label_is_the_position_one_period_after_the_stamp(tmp_path: Path) -> None:
    read = [
        read_episode(demonstrations(tmp_path / str(first), first, 1) / "e00", reach(8))
        for first in (True, False)
    ]
    for episode in read:
        here = episode.observations["joints"][:, 0]
        # The arm follows exactly, so each action is its position one period later.
        assert episode.actions[:-9, 0] == pytest.approx(here[1:-8], abs=1e-6)
        assert episode.actions[:-9, 7] == pytest.approx(here[8:-1], abs=1e-6)
    assert np.array_equal(read[0].actions, read[1].actions)


def test_between_its_points_a_trajectory_leads_straight_and_after_the_last_it_rests(
    tmp_path: Path,
) -> None:
    messages = [measured(START + k * PERIOD, [0.0, 0.0]) for k in range(20)]
    messages.append(commanded(START, ([0.0, 0.0], 0.0), ([0.4, 0.8], 0.4)))
    # From the value of the first trajectory at that time, 0.3, to 0.9 within 0.6 s.
    messages.append(commanded(START + 3 * PERIOD, ([0.9, 0.6], 0.6)))
    messages.sort(key=lambda entry: entry.received_ns)
    episode = read_episode(write_bag(tmp_path / "bag", messages), reach(2))
    assert episode.actions[:, 0, 0] == pytest.approx(0.1 * np.arange(1, 10), abs=1e-6)
    assert episode.actions[:8, 1, 0] == pytest.approx(0.1 * np.arange(2, 10), abs=1e-6)
    assert episode.actions[-1, 1].tolist() == pytest.approx([0.9, 0.6])


def test_plans_of_a_single_point_lead_as_far_as_they_say() -> None:
    path = Setpoint()
    path.follow(np.zeros((1, 2)), np.array([START]))
    fast, gentle = np.full(2, 0.5), np.full(2, 2.0)
    for step in range(20):
        now = START + step * PERIOD
        here = path.at(now)
        assert here is not None
        path.follow(
            *path.join(here[None] + 0.03, np.array([now + PERIOD]), now, BLEND, fast, gentle)
        )
    end = path.at(START + 20 * PERIOD)
    # At 0.3 rad/s, except for the 0.2 s of acceleration.
    assert end is not None and end[0] == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("kind", ["explicit", pytest.param("energy", marks=pytest.mark.slow)])
def test_a_policy_of_one_action_reaches_as_far_as_was_demonstrated(
    kind: Kind, tmp_path: Path
) -> None:
    interface = reach()
    policy = learn(tmp_path, demonstrations(tmp_path / "demos", True), interface, kind)
    assert reached(policy, interface) >= 0.55
    assert reached(policy, interface, late=0.02) >= 0.55


@pytest.mark.parametrize("kind", ["explicit", "energy"])
def test_a_policy_of_a_horizon_reaches_as_far_as_was_demonstrated(
    kind: Kind, tmp_path: Path
) -> None:
    interface = reach(8)
    policy = learn(tmp_path, demonstrations(tmp_path / "demos", True), interface, kind)
    assert reached(policy, interface) >= 0.55
