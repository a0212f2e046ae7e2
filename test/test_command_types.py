"""Every command type moves the simulated arm within its limits, and holds on request."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")

from robot import parameters
from scene import SECOND, Scene
from std_srvs.srv import Trigger

from ebm_policy_ros.control.setpoint import Setpoint
from ebm_policy_ros.interface import Interface, interface_from_dict, load_interface
from ebm_policy_ros.messages.commands import read_points
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.sim.bridge_node import SimBridgeNode
from ebm_policy_ros.util.resources import interface_path

pytestmark = [pytest.mark.ros, pytest.mark.sim]

PolicyWriter = Callable[..., Path]

# Approximate initial position. Only these joints move, so that the tool stays above the table.
HOME = np.array([-0.27, -1.33, 2.10, -2.34, -1.57, -1.84])
FREE = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 1.0])


def arm(name: str, **action: Any) -> Interface:
    """A shipped interface at the simulation's rates, with another action."""
    values = load_interface(interface_path(name)).to_dict()
    values["name"] = "simulated"
    values["rate"] = 10.0
    del values["workspace"]
    for stream in values["observation"].values():
        stream.pop("min_rate", None)
        stream["max_age"] = 0.25
    values["action"] = {k: v for k, v in (values["action"] | action).items() if v is not None}
    return interface_from_dict(values, "simulated")


def run(folder: Path, interface: Interface, policy: Path, **values: Any) -> Scene:
    """Run the policy for a while."""
    path = folder / "simulated.yaml"
    path.write_text(yaml.safe_dump(interface.to_dict()))
    scene = Scene(str(path))
    scene.start(policy=str(policy), **values)
    scene.until(lambda: len(scene.sent) > 0)
    scene.run(2.0)
    return scene


TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"


def positions(
    folder: Path, policy_for: PolicyWriter, kind: str = TRAJECTORY, **values: Any
) -> Scene:
    """Run a policy with joint positions around home, in a command type."""
    interface = arm("ur5e_trajectory", type=kind, **POSITIONS[kind])
    policy = policy_for(interface, list(HOME - 0.4 * FREE), list(HOME + 0.4 * FREE))
    return run(folder, interface, policy, **values)


def camera_stops(scene: Scene, seconds: float = 1.0) -> None:
    scene.spoil = lambda name, message: () if name == "camera" else (message,)
    scene.run(seconds)


POSITIONS: dict[str, dict[str, Any]] = {
    "sensor_msgs/msg/JointState": {"quantity": "position", "horizon": 1},
    "std_msgs/msg/Float64MultiArray": {"quantity": "position", "horizon": 1},
    TRAJECTORY: {},
}


@pytest.mark.parametrize("kind", POSITIONS)
def test_joint_positions_lead_the_arm_and_hold_it(
    tmp_path: Path, policy_for: PolicyWriter, kind: str
) -> None:
    scene = positions(tmp_path, policy_for, kind)
    try:
        start, here = np.array(scene.joints[0]), np.array(scene.joints[-1])
        assert np.abs(here - start).max() > 0.05
        # 0.31 rad/s, and the simulated servo follows closely.
        assert np.abs(np.diff(scene.joints, axis=0)).max() < 0.045
        camera_stops(scene)
        assert np.abs(np.diff(scene.joints[-3:], axis=0)).max() < 2e-3
        held = np.array(scene.sent[-1].values)
        assert np.abs(held - scene.joints[-1]).max() < 0.02, "it holds where it is"
        assert scene.sent[-2].values == scene.sent[-1].values
    finally:
        scene.close()


def test_trajectories_that_are_planned_anew_join_without_a_jump(
    tmp_path: Path, policy_for: PolicyWriter
) -> None:
    scene = positions(tmp_path, policy_for, execute=1)
    try:
        told, path = [], Setpoint()
        plans = [sent.message for sent in scene.sent[-15:]]
        for message, following in pairwise(plans):
            points, seconds = read_points(message, scene.interface.command)
            assert list(message.joint_names) == list(scene.interface.command.fields)
            assert (np.diff(seconds) > 0).all() and seconds[-1] == pytest.approx(0.8)
            times = stamp_ns(message) + np.rint(seconds * SECOND).astype(np.int64)
            path.follow(points.astype(np.float64), times)
            # Setpoints every millisecond, until the next trajectory takes over.
            ticks = range(stamp_ns(message), stamp_ns(following), SECOND // 1000)
            told += [path.at(t) for t in ticks]
        steps = np.abs(np.diff(np.array(told), axis=0))
        assert steps.max() <= 0.31 * 1e-3 + 1e-6
        assert steps.max() > 0.1 * 1e-3, "it moves"
    finally:
        scene.close()


def test_after_a_stop_an_arm_that_somebody_moved_is_commanded_from_where_it_is(
    tmp_path: Path, policy_for: PolicyWriter
) -> None:
    scene = positions(tmp_path, policy_for)
    try:
        assert scene.call(Trigger, "policy_node/stop", Trigger.Request()).success
        scene.run(1.0)

        scene.spoil = displaced
        scene.run(0.3)
        count = len(scene.sent)
        assert scene.call(Trigger, "policy_node/reset", Trigger.Request()).success
        scene.until(lambda: len(scene.sent) > count)
        begins = scene.sent[count].values[0]
        assert begins == pytest.approx(scene.joints[-1][0] + 0.5, abs=0.02)
    finally:
        scene.close()


POSITION_KINDS = (TRAJECTORY, "std_msgs/msg/Float64MultiArray")


@pytest.mark.parametrize("kind", POSITION_KINDS)
def test_a_second_stop_and_the_end_send_nothing_old(
    tmp_path: Path, policy_for: PolicyWriter, kind: str
) -> None:
    scene = positions(tmp_path, policy_for, kind)
    try:
        assert scene.call(Trigger, "policy_node/stop", Trigger.Request()).success
        scene.run(1.0)
        count = len(scene.sent)
        scene.spoil = displaced
        scene.run(0.3)
        assert scene.call(Trigger, "policy_node/stop", Trigger.Request()).success
        scene.run(0.3)
        scene.policies[0].trigger_deactivate()
        scene.settle()
        assert len(scene.sent) == count
    finally:
        scene.close()


@pytest.mark.parametrize("kind", POSITION_KINDS)
def test_while_it_holds_an_arm_that_somebody_moves_is_not_pulled_back(
    tmp_path: Path, policy_for: PolicyWriter, kind: str
) -> None:
    scene = positions(tmp_path, policy_for, kind, recover_after=2.0)
    try:
        camera_stops(scene, 0.5)
        scene.spoil = displaced
        scene.run(1.0)
        held = scene.sent[-1]
        assert held.values[0] == pytest.approx(scene.joints[-1][0] + 0.5, abs=0.02)
    finally:
        scene.close()


def test_a_trajectory_never_ends_in_the_past_and_counts_from_the_images_stamp(
    tmp_path: Path, policy_for: PolicyWriter
) -> None:
    scene = positions(tmp_path, policy_for)
    try:
        # Images 80 ms older than the tick that uses them.
        def older(name: str, message: Any) -> Any:
            if name == "camera":
                message = copy.deepcopy(message)
                scene._move_stamp(message.header.stamp, -80_000_000)
            return (message,)

        scene.spoil = older
        scene.run(0.5)
        assert scene.sent[-1].time - scene.sent[-1].stamp == pytest.approx(80_000_000, abs=1000)
        camera_stops(scene, 0.5)
        for sent in scene.sent[-10:]:
            _, seconds = read_points(sent.message, scene.interface.command)
            assert sent.stamp + seconds[-1] * SECOND > sent.time
    finally:
        scene.close()


def displaced(name: str, message: Any) -> Any:
    """Shift a joint state by half a radian, as if a person had moved the arm."""
    if name == "joints":
        message = copy.deepcopy(message)
        message.position[0] += 0.5
    return (message,)


def test_the_blend_tells_how_soon_a_new_plan_counts(
    tmp_path: Path, policy_for: PolicyWriter
) -> None:
    ways = []
    for blend in (0.0, 10.0):
        scene = positions(tmp_path, policy_for, blend=blend, execute=1, warm_start=False)
        ways.append(np.ptp(scene.joints, axis=0).max())
        scene.close()
    # With a blend of ten seconds, each plan takes effect only in part.
    assert ways[1] < 0.9 * ways[0]


VELOCITIES: dict[str, tuple[str, dict[str, Any]]] = {
    "joint velocities as numbers": ("ur5e_joint_velocity", {}),
    "joint velocities by name": ("ur5e_joint_velocity", {"type": "sensor_msgs/msg/JointState"}),
    "joint velocities in single precision": (
        "ur5e_joint_velocity",
        {"type": "std_msgs/msg/Float32MultiArray"},
    ),
    "a jog of joints": (
        "ur5e_joint_velocity",
        {"type": "control_msgs/msg/JointJog", "quantity": None},
    ),
    "a twist in six dimensions": ("ur5e_servo", {}),
    "a twist without a stamp": ("ur5e_servo", {"type": "geometry_msgs/msg/Twist"}),
}


def needs_messages(name: str) -> None:
    """Skip a test of a command whose messages are not installed."""
    if name == "a jog of joints":
        pytest.importorskip("control_msgs", reason="no wheels of it; a distribution has it")


@pytest.mark.parametrize("name", VELOCITIES)
def test_velocities_move_the_arm_and_zero_holds_it(
    tmp_path: Path, policy_for: PolicyWriter, name: str
) -> None:
    needs_messages(name)
    shipped, changes = VELOCITIES[name]
    interface = arm(shipped, **changes)
    low, high = np.array(interface.action.bounds)
    free = FREE if interface.command.is_joints else np.array([1.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    policy = policy_for(interface, list(low * free), list(high * free))
    scene = run(tmp_path, interface, policy)
    try:
        assert np.ptp(scene.joints, axis=0).max() > 0.02
        values = np.array([sent.values for sent in scene.sent])
        assert (values >= low - 1e-6).all() and (values <= high + 1e-6).all()
        camera_stops(scene)
        assert not any(scene.sent[-1].values)
        assert np.abs(np.diff(scene.joints[-3:], axis=0)).max() < 1e-3
    finally:
        scene.close()


def test_poses_lead_the_tool_no_faster_than_allowed(
    tmp_path: Path, policy_for: PolicyWriter
) -> None:
    values = arm("ur5e_servo").to_dict()
    values["action"] = {
        "topic": "target_pose",
        "type": "geometry_msgs/msg/PoseStamped",
        "frame_id": "base",
        "fields": ["x", "y"],
        # Pointing down, like the initial pose.
        "fixed": {"z": 0.02, "qx": 0.0, "qy": 1.0, "qz": 0.0, "qw": 0.0},
        "unit": "m",
        "low": [-0.7, -0.3],
        "high": [-0.3, 0.3],
        "max_velocity": [0.1, 0.1],
        "measured": "tool",
    }
    interface = interface_from_dict(values, "simulated")
    policy = policy_for(interface, [-0.7, -0.3], [-0.3, 0.3])
    scene = run(tmp_path, interface, policy)
    try:
        pose = scene.sent[-1].message.pose
        assert pose.position.z == 0.02 and pose.orientation.y == 1.0
        assert abs(scene.tool[-1] - scene.tool[3]) > 0.03
        assert np.abs(np.diff(scene.tool)).max() < 2 * 0.1 * 0.1 + 1e-3
        camera_stops(scene)
        assert np.ptp(scene.tool[-3:]) < 2e-3
    finally:
        scene.close()


def test_a_gripper_has_a_topic_of_its_own_and_keeps_its_grip(
    tmp_path: Path, policy_for: PolicyWriter
) -> None:
    gripper = {
        "topic": "gripper/commands",
        "type": "std_msgs/msg/Float64MultiArray",
        "name": "finger_joint",
        "low": 0.1,
        "high": 0.8,
    }
    interface = arm("ur5e_joint_velocity", gripper=gripper)
    policy = policy_for(interface, [*-0.1 * FREE, 0.7], [*0.1 * FREE, 0.9])
    path = tmp_path / "simulated.yaml"
    path.write_text(yaml.safe_dump(interface.to_dict()))
    scene = Scene(str(path))
    try:
        grips: list[float] = []
        from std_msgs.msg import Float64MultiArray

        scene.node.create_subscription(
            Float64MultiArray, "gripper/commands", lambda m: grips.append(m.data[0]), 100
        )
        scene.start(policy=str(policy))
        scene.until(lambda: len(grips) > 5)
        assert all(0.7 - 1e-6 <= grip <= 0.8 for grip in grips)
        assert scene.joints[-1][6] == pytest.approx(grips[-1], abs=0.15), "the simulated one moves"
        camera_stops(scene, 0.5)
        count = len(grips)
        camera_stops(scene, 1.0)
        assert len(grips) == count, "told to open or close while holding"
    finally:
        scene.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": {"fields": ["a", "b", "c", "d", "e", "f"]}}, "has no joint 'a'"),
        ({"action": {"frame_id": "map"}}, "got 'map', expected one of base_link, base"),
    ],
)
def test_the_simulated_arm_names_what_it_does_not_have(
    context: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    joints = "fields" in changes["action"]
    values = arm("ur5e_joint_velocity" if joints else "ur5e_servo").to_dict()
    values["action"] |= changes["action"]
    for key in ("measured", "max_acceleration"):
        values["action"].pop(key, None)
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match=message):
        SimBridgeNode(context=context, parameter_overrides=parameters(interface=str(path)))
