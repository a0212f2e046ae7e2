"""Conversion of actions to command messages and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ebm_policy_ros.interface import Action, Gripper
from ebm_policy_ros.messages.commands import command_message, read_command, read_points
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.messages.types import message_class

pytestmark = pytest.mark.ros

TIME = 3_250_000_000
JOINTS = {"fields": ("a", "b"), "unit": "rad", "low": (-1.0, -1.0), "high": (1.0, 1.0)}
POSITION = {"quantity": "position", "max_velocity": (1.0, 1.0), "measured": "joints"}
KINDS: dict[str, dict[str, Any]] = {
    "geometry_msgs/msg/TwistStamped": {
        **JOINTS, "fields": ("linear.y", "angular.z"), "frame_id": "base"
    },
    "geometry_msgs/msg/PoseStamped": {
        **JOINTS, **POSITION, "fields": ("z", "x"), "frame_id": "base",
        "fixed": {"y": 0.5, "qx": 0.0, "qy": 0.0, "qz": 0.0, "qw": 1.0},
    },
    "geometry_msgs/msg/Twist": {
        **JOINTS, "fields": ("linear.y", "angular.z"), "frame_id": "base"
    },
    "sensor_msgs/msg/JointState": {**JOINTS, "quantity": "velocity"},
    "std_msgs/msg/Float32MultiArray": {**JOINTS, **POSITION},
    "control_msgs/msg/JointJog": JOINTS,
    "std_msgs/msg/Float64MultiArray": {**JOINTS, **POSITION},
    "trajectory_msgs/msg/JointTrajectory": {**JOINTS, **POSITION},
}  # fmt: skip


def action_of(kind: str) -> Action:
    return Action(topic="command", type=kind, **KINDS[kind])


def filled(kind: str, values: list[float]) -> Any:
    if kind.startswith("control_msgs"):
        pytest.importorskip("control_msgs", reason="no wheels of it; a distribution has it")
    return command_message(action_of(kind), np.array([values]), TIME, np.array([0.1]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_is_read_again(kind: str) -> None:
    message = filled(kind, [0.25, -0.5])
    assert read_command(message, action_of(kind)).tolist() == [0.25, -0.5]
    if not kind.endswith(("MultiArray", "Twist")):
        assert stamp_ns(message) == TIME
    else:
        assert stamp_ns(message) == 0, "it has no header"


def test_each_field_is_where_its_name_says() -> None:
    twist = filled("geometry_msgs/msg/TwistStamped", [0.25, -0.5])
    assert (twist.twist.linear.y, twist.twist.angular.z) == (0.25, -0.5)
    assert twist.header.frame_id == "base"
    bare = filled("geometry_msgs/msg/Twist", [0.25, -0.5])
    assert (bare.linear.y, bare.angular.z, bare.linear.x) == (0.25, -0.5, 0.0)
    pose = filled("geometry_msgs/msg/PoseStamped", [0.25, -0.5]).pose
    assert (pose.position.x, pose.position.y, pose.position.z) == (-0.5, 0.5, 0.25)
    assert pose.orientation.w == 1.0
    joints = filled("sensor_msgs/msg/JointState", [0.25, -0.5])
    assert list(joints.name) == ["a", "b"] and list(joints.velocity) == [0.25, -0.5]
    assert len(joints.position) == 0


def test_a_jog_has_velocities_by_name_alone() -> None:
    jog = filled("control_msgs/msg/JointJog", [0.25, -0.5])
    assert list(jog.joint_names) == ["a", "b"] and list(jog.velocities) == [0.25, -0.5]
    assert len(jog.displacements) == 0
    with pytest.raises(MessageError, match="no joint 'b' for a"):
        jog.joint_names, jog.velocities = ["a"], [0.25]
        read_command(jog, action_of("control_msgs/msg/JointJog"))


def test_messages_that_are_not_installed_are_named_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROS_DISTRO", "humble")
    with pytest.raises(ValueError, match=r"apt-get install ros-humble-no-such-msgs$"):
        message_class("no_such_msgs/msg/Nothing")


def test_a_trajectory_has_its_times_after_the_stamp() -> None:
    kind = "trajectory_msgs/msg/JointTrajectory"
    rows, times = np.array([[0.0, 0.1], [0.2, 0.3]]), np.array([0.05, 1.25])
    message = command_message(action_of(kind), rows, TIME, times)
    last = message.points[-1].time_from_start
    assert (last.sec, last.nanosec) == (1, 250_000_000)
    points, seconds = read_points(message, action_of(kind))
    assert points == pytest.approx(rows) and seconds == pytest.approx(times)


def test_joints_are_found_by_name_in_any_order() -> None:
    message = filled("sensor_msgs/msg/JointState", [0.25, -0.5])
    message.name, message.velocity = ["b", "c", "a"], [1.0, 2.0, 3.0]
    assert read_command(message, action_of("sensor_msgs/msg/JointState")).tolist() == [3.0, 1.0]


@pytest.mark.parametrize(
    ("kind", "spoil", "problem"),
    [
        ("geometry_msgs/msg/TwistStamped", {"frame": "map"}, "frame 'map', expected 'base'"),
        ("std_msgs/msg/Float64MultiArray", {"data": [1.0]}, "command: 1 numbers, expected 2"),
        ("std_msgs/msg/Float64MultiArray", {"data": [1.0, float("nan")]}, "not a finite number"),
        ("sensor_msgs/msg/JointState", {"name": ["a", "c"]}, "command: no joint 'b' for a, c"),
        ("sensor_msgs/msg/JointState", {"velocity": [1.0]}, "command: 1 values for a, b"),
        ("trajectory_msgs/msg/JointTrajectory", {"points": []}, "a trajectory without points"),
    ],
)
def test_a_command_that_cannot_be_is_refused(
    kind: str, spoil: dict[str, Any], problem: str
) -> None:
    message = filled(kind, [0.25, -0.5])
    for name, value in spoil.items():
        if name == "frame":
            message.header.frame_id = value
        else:
            setattr(message, name, value)
    with pytest.raises(MessageError, match=problem):
        read_command(message, action_of(kind))


@pytest.mark.parametrize("kind", [k for k in KINDS if k.startswith(("sensor", "std", "traj"))])
def test_a_gripper_is_written_and_read_in_every_type(kind: str) -> None:
    gripper = Gripper(topic="grip", type=kind, name="finger", low=0.0, high=1.0)
    message = command_message(gripper, np.array([[0.75]]), TIME, np.array([0.1]))
    assert read_points(message, gripper)[0].tolist() == [[0.75]]
    if kind.endswith("JointTrajectory"):
        # A controller refuses a trajectory that ends in the past.
        assert message.points[0].time_from_start.nanosec == 100_000_000
        message.points = []
        with pytest.raises(MessageError, match="grip: a trajectory without points"):
            read_points(message, gripper)
