"""Transitions between trajectories, and the robot state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ebm_policy_ros.control.setpoint import Setpoint
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.observation.robot_state import RobotStateEstimator

MS = 1_000_000
FAST, FREE = np.array([1e3]), np.array([np.inf])


def ramp(start: float, slope: float, begin: int, count: int = 5) -> tuple[Any, Any]:
    """Positions of a joint every 100 ms, from 100 ms after `begin` (ms) on."""
    times = np.array([begin + 100 * i for i in range(1, count + 1)]) * MS
    return np.array([[start + slope * 0.1 * i] for i in range(1, count + 1)]), times


def test_the_first_point_is_where_the_arm_is_told_to_be() -> None:
    path = Setpoint()
    path.follow(*ramp(0.0, 1.0, 0))
    plan, times = ramp(0.5, 1.0, 200)  # 0.3 rad away from the old one
    points, when = path.join(
        plan, times, 250 * MS, blend=0.2, max_velocity=FAST, max_acceleration=FREE
    )
    assert when[0] == 250 * MS and points[0] == pytest.approx([0.25])


def test_a_new_plan_takes_over_within_the_blend_and_nothing_jumps() -> None:
    path = Setpoint()
    path.follow(*ramp(0.0, 0.0, 0))
    plan, times = ramp(1.0, 0.0, 200)
    points, when = path.join(
        plan, times, 220 * MS, blend=0.2, max_velocity=FAST, max_acceleration=FREE
    )
    # At 300, 400 and 500 ms: 80, 180 and 280 ms after the current time.
    assert points[1:4, 0] == pytest.approx([0.4, 0.9, 1.0])
    path.follow(points, when)
    told = np.array([path.at(t * MS) for t in range(220, 500)])
    assert np.abs(np.diff(told, axis=0)).max() < 0.006


def test_from_point_to_point_the_velocity_is_limited() -> None:
    path = Setpoint()
    path.follow(np.zeros((1, 1)), np.array([0]))
    plan, times = ramp(1.0, 0.0, 0)
    points, when = path.join(
        plan, times, 50 * MS, blend=0.0, max_velocity=np.array([2.0]), max_acceleration=FREE
    )
    assert points[:, 0] == pytest.approx([0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
    assert (np.diff(when) > 0).all()


def test_the_acceleration_is_limited_but_slowing_down_is_not() -> None:
    path = Setpoint()
    path.follow(*ramp(0.0, 1.0, 0))  # 1 rad/s
    plan, times = ramp(0.2, 3.0, 200)
    points, when = path.join(plan, times, 200 * MS, 0.0, FAST, np.array([5.0]))
    velocity = np.diff(points[:, 0]) / (np.diff(when) / 1e9)
    assert velocity[:3] == pytest.approx([1.5, 2.0, 2.5], abs=1e-2)
    plan, times = ramp(0.1, 0.0, 200)
    points, _ = path.join(plan, times, 200 * MS, 0.0, FAST, np.array([5.0]))
    assert points[1, 0] == pytest.approx(0.2), "it stops before it turns back"
    assert points[2, 0] == pytest.approx(0.15)


def test_points_whose_time_is_past_are_left_out() -> None:
    path = Setpoint()
    path.follow(np.zeros((1, 1)), np.array([0]))
    plan, times = ramp(0.0, 1.0, 0)
    points, when = path.join(
        plan, times, 250 * MS, blend=0.0, max_velocity=FAST, max_acceleration=FREE
    )
    assert when.tolist() == [t * MS for t in (250, 300, 400, 500)]
    assert points[:, 0] == pytest.approx([0.0, 0.3, 0.4, 0.5])


def test_nothing_is_followed_before_the_first_command() -> None:
    path = Setpoint()
    assert path.at(0) is None
    with pytest.raises(ValueError, match="nothing is followed yet"):
        path.join(*ramp(0.0, 0.0, 0), 0, 0.0, FAST, FREE)
    path.follow(np.ones((1, 2)), np.array([0]))
    assert path.at(10**18) == pytest.approx([1.0, 1.0])
    path.clear()
    assert path.at(0) is None


# Robot state


def pose_stream(fields: list[str], action: list[str]) -> Interface:
    values = {
        "name": "x",
        "rate": 10.0,
        "observation": {
            "tool": {
                "topic": "tool_pose",
                "type": "geometry_msgs/msg/PoseStamped",
                "frame_id": "base_link",
                "fields": fields,
                "max_age": 0.2,
            }
        },
        "action": {
            "topic": "c",
            "type": "geometry_msgs/msg/TwistStamped",
            "frame_id": "base_link",
            "fields": action,
            "unit": "m/s",
            "low": [-1.0] * len(action),
            "high": [1.0] * len(action),
            "measured": "tool",
        },
    }
    return interface_from_dict(values, "x")


def test_a_velocity_that_nothing_measures_is_the_difference_of_positions() -> None:
    state = RobotStateEstimator(pose_stream(["x", "y"], ["linear.y", "linear.x"]))
    start = state.update({"tool": np.array([[0.5, 0.0]], np.float32)}, {"tool": 0}, 0)
    assert start.velocity == {"linear.y": 0.0, "linear.x": 0.0}
    moved = state.update(
        {"tool": np.array([[0.51, -0.02]], np.float32)}, {"tool": 100 * MS}, 100 * MS
    )
    assert moved.velocity == pytest.approx({"linear.x": 0.1, "linear.y": -0.2}, abs=1e-6)
    again = state.update(
        {"tool": np.array([[0.51, -0.02]], np.float32)}, {"tool": 100 * MS}, 100 * MS
    )
    assert again.velocity == moved.velocity, "no new sample tells nothing new"
    state.clear()
    after = state.update({"tool": np.array([[0.9, 0.9]], np.float32)}, {"tool": 0}, 0)
    assert after.velocity == {"linear.y": 0.0, "linear.x": 0.0}


@pytest.mark.parametrize("sign", [1, -1])
def test_an_angular_velocity_is_the_rotation_between_two_quaternions(sign: int) -> None:
    fields = ["qx", "qy", "qz", "qw"]
    state = RobotStateEstimator(pose_stream(fields, ["angular.x", "angular.y", "angular.z"]))
    # From half a turn about x, 0.1 rad more about z of the base.
    half, turned = 0.05, np.array([[np.cos(0.05), np.sin(0.05), 0.0, 0.0]], np.float32)
    state.update({"tool": np.array([[1.0, 0.0, 0.0, 0.0]], np.float32)}, {"tool": 0}, 0)
    found = state.update({"tool": sign * turned}, {"tool": 100 * MS}, 100 * MS)
    expected = {"angular.x": 0.0, "angular.y": 0.0, "angular.z": 2 * half / 0.1}
    assert found.velocity == pytest.approx(expected, abs=1e-4)


def test_the_other_quaternion_of_an_orientation_is_no_motion() -> None:
    fields = ["x", "qx", "qy", "qz", "qw"]
    values = pose_stream(fields, ["linear.x"]).to_dict()
    values["action"] |= {
        "type": "geometry_msgs/msg/PoseStamped",
        "fields": fields,
        "fixed": {"y": 0.0, "z": 0.0},
        "low": [-1.0] * 5,
        "high": [1.0] * 5,
        "max_velocity": [1.0] * 5,
    }
    state = RobotStateEstimator(interface_from_dict(values, "x"))
    here = np.array([[0.5, 1.0, 0.0, 0.0, 0.0]], np.float32)
    state.update({"tool": here}, {"tool": 0}, 0)
    there = here * [[1.0, -1.0, -1.0, -1.0, -1.0]]
    found = state.update({"tool": there}, {"tool": 100 * MS}, 100 * MS)
    assert found.velocity == pytest.approx(dict.fromkeys(fields, 0.0))


def test_two_samples_close_to_each_other_make_no_velocity() -> None:
    state = RobotStateEstimator(pose_stream(["x"], ["linear.x"]))
    state.update({"tool": np.array([[0.5]], np.float32)}, {"tool": 0}, 0)
    near = state.update({"tool": np.array([[0.5005]], np.float32)}, {"tool": 2 * MS}, 2 * MS)
    assert near.velocity == {"linear.x": 0.0}, "half a millimetre of noise"


def test_measured_joint_velocities_are_taken_as_they_are() -> None:
    values = pose_stream(["x"], ["linear.x"]).to_dict()
    values["observation"]["joints"] = {
        "topic": "joint_states",
        "type": "sensor_msgs/msg/JointState",
        "names": ["b", "a"],
        "fields": ["velocity", "position"],
        "max_age": 0.1,
    }
    values["action"] = {
        "topic": "c",
        "type": "std_msgs/msg/Float64MultiArray",
        "quantity": "velocity",
        "fields": ["a"],
        "unit": "rad/s",
        "low": [-1.0],
        "high": [1.0],
        "measured": "joints",
    }
    state = RobotStateEstimator(interface_from_dict(values, "x"))
    observation = {"joints": np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)}
    found = state.update(observation, {"joints": 0}, 0)
    assert found.position == pytest.approx({"a": 0.4})
    assert found.velocity == pytest.approx({"a": 0.2})
