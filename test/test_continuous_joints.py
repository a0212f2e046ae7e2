"""Continuous joints: angles that differ by a full turn are equivalent everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from messages import joints
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from ebm_policy_ros.control.command_guard import CommandGuard
from ebm_policy_ros.control.limits import Limits
from ebm_policy_ros.interface import Interface, InterfaceError, interface_from_dict
from ebm_policy_ros.nodes.common.pauses import boot_time
from ebm_policy_ros.observation.buffer import ObservationBuffer
from ebm_policy_ros.observation.robot_state import RobotState, RobotStateEstimator
from ebm_policy_ros.teleop.leader import Leader
from ebm_policy_ros.training.data.commands import Commands
from ebm_policy_ros.training.data.episodes import read_episode
from ebm_policy_ros.util.geometry import follow, near, wrap

MS = 1_000_000
ARRAY = "std_msgs/msg/Float64MultiArray"
JUST_BELOW, JUST_ABOVE = 3.12, -3.123  # pi = 3.1416 is in between: 0.04 rad apart


def interface(history: int = 1, **changes: Any) -> Interface:
    joints = {
        "topic": "joint_states", "type": "sensor_msgs/msg/JointState", "names": ["a", "b"],
        "max_age": 0.2, "history": history, "continuous": ["a"],
    }  # fmt: skip
    action = {
        "topic": "cmd", "type": "std_msgs/msg/Float64MultiArray", "quantity": "position",
        "fields": ["a", "b"], "unit": "rad", "low": [-3.2, -2.0], "high": [3.2, 2.0],
        "max_velocity": [0.5, 0.5], "measured": "joints",
    }  # fmt: skip
    values = {"name": "x", "rate": 10, "observation": {"joints": joints}, "action": action}
    return interface_from_dict({**values, "action": action | changes}, "x")


def joint_state(store: Any, time_ns: int, position: list[float]) -> Any:
    kinds, empty = store.types, np.empty(0)
    stamp = kinds["builtin_interfaces/msg/Time"](*divmod(time_ns, 10**9))
    return kinds["sensor_msgs/msg/JointState"](
        kinds["std_msgs/msg/Header"](stamp, ""), ["a", "b"], np.array(position), empty, empty
    )


def numbers(store: Any, values: list[float]) -> Any:
    layout = store.types["std_msgs/msg/MultiArrayLayout"]([], 0)
    return store.types[ARRAY](layout, np.array(values))


def measured(a: float, velocity: float = 0.0) -> RobotState:
    return RobotState({"a": a, "b": 0.0}, {"a": velocity, "b": 0.0}, {})


def test_angles_a_turn_apart_are_one_place() -> None:
    angles = np.array([3.0 * np.pi, -0.5, 7.0])
    assert wrap(angles) == pytest.approx([-np.pi, -0.5, 7.0 - 2 * np.pi])
    assert near(np.array([JUST_ABOVE]), np.array([JUST_BELOW]))[0] == pytest.approx(
        3.1602, abs=1e-4
    )
    rows = np.array([[3.1], [-3.1], [-3.0]])
    assert np.abs(np.diff(follow(rows, np.array([15.7])), axis=0)).max() < 0.1


def test_an_observation_is_within_half_a_turn_and_its_samples_don_t_jump() -> None:
    buffer = ObservationBuffer(interface(history=3))
    for step, angle in enumerate((3.08, JUST_BELOW, JUST_ABOVE)):
        time = 100 * MS * step
        buffer.add("joints", joints(["a", "b"], [angle, 1.0], time), time)
    seen = buffer.observe(200 * MS)["joints"]
    assert seen[-1] == pytest.approx([JUST_ABOVE, 1.0])
    assert np.diff(seen[:, 0]) == pytest.approx([0.04, 0.04], abs=1e-3)
    # Independent of the number of turns that the driver has counted.
    buffer.add("joints", joints(["a", "b"], [4 * np.pi + 0.5, 1.0], 300 * MS), 300 * MS)
    assert buffer.observe(300 * MS)["joints"][-1, 0] == pytest.approx(0.5, abs=1e-5)
    kept = buffer.snapshot(300 * MS).measured(["joints"])["joints"]
    assert kept[-1, 0] == pytest.approx(4 * np.pi + 0.5, abs=1e-5)


@pytest.mark.parametrize("turns", [1_000, -100_000])
def test_turns_take_no_digits_of_an_angle(turns: int) -> None:
    """In single precision, 1,000 turns leave a resolution of 0.0005 rad."""
    far = turns * 2 * np.pi
    buffer, state = ObservationBuffer(interface(history=2)), RobotStateEstimator(interface())
    for time, angle in ((0, 0.5), (100 * MS, 0.5001), (200 * MS, 0.5002)):
        buffer.add("joints", joints(["a", "b"], [far + angle, 1.0], time), time)
        if time:
            snapshot = buffer.snapshot(time)
            found = state.update(snapshot.measured(["joints"]), snapshot.stamps, time)
    seen = snapshot.arrays()["joints"]
    assert seen.dtype == np.float32 and seen[:, 0] == pytest.approx([0.5001, 0.5002], abs=1e-6)
    assert found.velocity["a"] == pytest.approx(1e-3, abs=1e-5)
    # Commands keep the same precision in training.
    commands = Commands(interface())
    commands.add(10**12, np.array([[far + 0.5001, 1.0]]), np.zeros(1))
    action = commands.action(10**12)
    assert action is not None and action == pytest.approx([0.5001, 1.0], abs=1e-6)


def test_the_velocity_across_the_seam_is_that_of_the_joint() -> None:
    state = RobotStateEstimator(interface())
    for time, angle in ((0, JUST_BELOW), (100 * MS, JUST_ABOVE)):
        seen = {"joints": np.array([[angle, 0.0]])}
        found = state.update(seen, {"joints": time}, time)
    assert found.velocity["a"] == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize("turns", [0, 2, -1])
def test_the_guard_takes_the_short_way_round(turns: int) -> None:
    place = JUST_BELOW + turns * 2 * np.pi
    guarded = CommandGuard(interface()).guard(np.array([[JUST_ABOVE, 0.0]]), measured(place))
    assert guarded.actions is not None
    assert guarded.actions[0, 0] == pytest.approx(place + 0.0402, abs=1e-3)
    assert guarded.interventions == ()
    # The other direction is as short, and limited in the same way.
    back = CommandGuard(interface()).guard(np.array([[JUST_BELOW, 0.0]]), measured(JUST_ABOVE))
    assert back.actions is not None and back.actions[0, 0] == pytest.approx(-3.163, abs=1e-3)
    far = CommandGuard(interface()).guard(np.array([[-2.0, 0.0]]), measured(JUST_BELOW))
    assert far.actions is not None and far.actions[0, 0] == pytest.approx(JUST_BELOW + 0.05)
    assert far.interventions == ("velocity: a",)


def test_bounds_of_less_than_a_turn_are_refused_and_others_don_t_count() -> None:
    with pytest.raises(InterfaceError, match=r"a whole turn from action\.low for a"):
        interface(high=[3.0, 2.0])
    limits = Limits.of(interface())
    assert limits.low.tolist() == [-np.inf, -2.0] and limits.high.tolist() == [np.inf, 2.0]
    tight = limits.tightened(interface(), {"low": [-1.0, -1.0]})
    assert tight.low.tolist() == [-np.inf, -1.0]


def test_only_joints_of_the_stream_with_positions_can_be_continuous() -> None:
    values = interface().to_dict()
    values["observation"]["joints"]["continuous"] = ["c"]
    with pytest.raises(InterfaceError, match=r"observation\.joints\.continuous"):
        interface_from_dict(values, "x")


def test_labels_go_on_from_where_the_joint_is(tmp_path: Path) -> None:
    """The teleoperator wraps angles too: 0.04 rad a step, three of them across the seam."""
    angles = 2.9 + 0.04 * np.arange(20)
    store = get_typestore(Stores.ROS2_JAZZY)
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        kinds = {"/joint_states": "sensor_msgs/msg/JointState", "/cmd": ARRAY}
        topics = {t: bag.add_connection(t, kind, typestore=store) for t, kind in kinds.items()}
        for step, angle in enumerate(angles):
            time = 10**12 + 100 * MS * step
            for topic, message in (
                ("/joint_states", joint_state(store, time, [float(wrap(np.array(angle))), 0.0])),
                ("/cmd", numbers(store, [float(wrap(np.array(angle + 0.04))), 0.0])),
            ):
                data = bytes(store.serialize_cdr(message, kinds[topic]))
                bag.write(topics[topic], time + MS, data)
    episode = read_episode(tmp_path / "bag", interface(horizon=3))
    moves = episode.actions[:, 0, 0] - episode.observations["joints"][:, -1, 0]
    assert len(moves) >= 18 and moves[:17] == pytest.approx(np.full(17, 0.04), abs=1e-3)
    assert np.abs(np.diff(episode.actions[:, :, 0], axis=1)).max() < 0.05


def test_a_trajectory_across_the_seam_is_interpolated_the_short_way() -> None:
    commands = Commands(interface())
    points = np.array([[3.12, 0.0], [-3.12, 0.0]], np.float32)  # 0.043 rad apart
    commands.add(10**12, points, np.array([0.0, 0.2]))
    found = commands.action(10**12)
    assert found is not None and float(wrap(np.array(found[0] - np.pi))) == pytest.approx(
        0, abs=1e-3
    )


def test_a_gripper_turns_no_joint() -> None:
    """The gripper's only value has the index of the first joint, which is continuous."""
    commands = Commands(interface(), of_gripper=True)
    commands.add(10**12, np.array([[85.0], [0.0]]), np.array([0.0, 1.0]))
    assert commands.newest(10**12) == pytest.approx([85.0])
    assert commands.newest(10**12 + 500 * MS) == pytest.approx([42.5])


def test_a_leader_is_followed_across_the_seam() -> None:
    leader = Leader(interface().command, (), (), (), 0.3, 0.6, 1.0, continuous=[0])
    leader.take(["a", "b"], [JUST_ABOVE, 0.0], 0.0)
    desired = leader.desired(0.1, measured(JUST_BELOW))
    assert desired.problem == "" and desired.target is not None
    assert desired.target[0] == pytest.approx(JUST_BELOW + 0.0402, abs=1e-3)


@pytest.mark.ros
def test_a_command_across_the_seam_is_held_where_it_is(context: Any) -> None:
    """The driver wraps angles: a command of 3.16 is measured as -3.123."""
    rclpy = pytest.importorskip("rclpy")
    from rclpy.executors import SingleThreadedExecutor
    from std_msgs.msg import Float64MultiArray

    from ebm_policy_ros.nodes.common.outputs import Outputs

    robot, node = interface(), rclpy.create_node("commands", context=context)
    heard: list[float] = []
    node.create_subscription(Float64MultiArray, "cmd", lambda m: heard.append(m.data[0]), 10)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    outputs = Outputs(node, robot, True)
    deadline = boot_time() + 20.0
    while node.count_subscribers("cmd") < 1 or not outputs.publishes:
        assert boot_time() < deadline
        executor.spin_once(timeout_sec=0.05)

    def next_command() -> float:
        while not heard:
            assert boot_time() < deadline, "nothing was heard"
            executor.spin_once(timeout_sec=0.05)
        return heard.pop(0)

    now = node.get_clock().now().nanoseconds
    sent = np.array([[3.16, 0.0]])
    outputs.send(
        outputs.command(sent, measured(JUST_BELOW), now, Limits.of(robot), 0.2, grip=True)
    )
    assert next_command() == pytest.approx(3.16)
    outputs.hold(now + 100 * MS, measured(JUST_ABOVE))
    assert next_command() == pytest.approx(3.16 - 2 * np.pi)
    outputs.close()
    node.destroy_node()
