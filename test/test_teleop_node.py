"""Teleoperation of the simulated arm by keyboard, joystick and leader arm."""

from __future__ import annotations

import copy
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")

from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import TIMEOUT, parameters
from scene import SECOND, Scene
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import String
from std_srvs.srv import SetBool
from test_command_types import POSITIONS, VELOCITIES, arm, needs_messages

from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.nodes.recorder.node import RecorderNode
from ebm_policy_ros.sim.tasks.push import PushDemonstrator

pytestmark = [pytest.mark.ros, pytest.mark.sim]

Start = Callable[..., "Person"]
LEADER_FAR = 0.4
# Duration for which a key press is valid, s: longer than a tick on a busy machine.
KEY_TIMEOUT = 0.8


class Person:
    """An operator at a pseudo-terminal, with the simulated arm."""

    def __init__(self, interface: str = "ur5e_push", **values: Any) -> None:
        self.scene = Scene(interface)
        self._far, self._near = pty.openpty()
        os.set_blocking(self._far, False)
        self._seen = ""
        self.node = self.scene.start_teleop(
            Terminal(os.ttyname(self._near)), **{"key_timeout": KEY_TIMEOUT} | values
        )
        self.scene.run(0.3)

    def press(self, keys: str) -> None:
        os.write(self._far, keys.encode())
        # Transmission from one end of a terminal to the other takes a moment.
        assert not keys or select.select([self._near], [], [], TIMEOUT)[0]

    def hold(self, keys: str, ticks: int) -> list[tuple[float, ...]]:
        """Press keys at each of some ticks, then wait for their timeout; return the commands."""
        count = len(self.scene.sent)
        for _ in range(ticks):
            self.press(keys)
            self.scene.step()
        over = time.monotonic() + self.node.values["key_timeout"]
        self.scene.wait(lambda: time.monotonic() > over)
        return [sent.values for sent in self.scene.sent[count:]]

    @property
    def tool(self) -> float:
        """X + y of the tool now, m."""
        self.scene.wait(lambda: stamp_ns(self.scene.last["tool"]) == self.scene.time)
        return self.scene.tool[-1]

    @property
    def screen(self) -> str:
        """All output so far."""
        try:
            self._seen += os.read(self._far, 1 << 16).decode()
        except BlockingIOError:
            pass
        return self._seen

    def close(self) -> None:
        self.scene.close()
        os.close(self._far)
        os.close(self._near)


@pytest.fixture
def start() -> Iterator[Start]:
    people: list[Person] = []

    def begin(interface: str = "ur5e_push", **values: Any) -> Person:
        people.append(Person(interface, **values))
        return people[-1]

    yield begin
    for person in people:
        person.close()


def write(folder: Path, interface: Interface) -> str:
    path = folder / "simulated.yaml"
    path.write_text(yaml.safe_dump(interface.to_dict()))
    return str(path)


# Keys


def test_a_key_moves_the_arm_while_it_repeats_and_not_longer(start: Start) -> None:
    person = start()
    assert person.scene.sent == [], "nobody has touched it"
    # 0.4 of the interface's 0.25 m/s.
    for key, wanted in (("w", (0.1, 0.0)), ("d", (0.0, -0.1)), ("z", (-0.1, 0.1))):
        assert person.hold(key, 3)[-1] == pytest.approx(wanted)
        before, released = person.tool, person.scene.time
        person.scene.run(0.3)
        person.scene.wait(lambda: person.scene.sent[-1].stamp == person.scene.time)
        after = [sent for sent in person.scene.sent if sent.stamp > released]
        assert len(after) == 3, "standing still is commanded too"
        assert all(sent.is_safe for sent in after)
        assert person.tool - before == pytest.approx(0.1 * sum(wanted), abs=2e-3)
    stamps = [sent.stamp for sent in person.scene.sent]
    assert set(np.diff(stamps).tolist()) == {SECOND // 10}, "one at each tick"
    shown = person.screen
    for text in (
        "w  linear.x +",
        "q  linear.x + linear.y +",
        "X  discard it",
        "+ =  faster",
    ):
        assert text in shown
    assert "linear.z" not in shown and "joint" not in shown
    assert "commanding | linear.x +100% | speed 40%" in shown


def test_speed_keys_change_the_speed_up_to_the_interfaces_bound(start: Start) -> None:
    person = start()
    assert person.hold("w+", 1)[0][0] == pytest.approx(0.125)
    assert person.hold("w--", 1)[0][0] == pytest.approx(0.08)
    assert person.hold("w" + "+" * 20, 1)[0][0] == pytest.approx(0.25)
    assert "speed 100%" in person.screen
    assert person.node.get_parameter("speed").value == 1.0


def test_limits_and_the_workspace_hold_for_a_person_too(start: Start) -> None:
    person = start(speed=1.0, **{"limits.high": [0.2, 0.2], "limits.workspace_high": [0.6, 0.3]})
    commands = [values[0] for values in person.hold("w", 40)]
    assert max(commands) == pytest.approx(0.2) and commands[-1] == pytest.approx(0.0, abs=5e-3)
    assert person.scene.last["tool"].pose.position.x == pytest.approx(0.6, abs=5e-3)
    assert "workspace: linear.x" in person.screen
    tighter = Parameter("limits.low", value=[-0.05, -0.05]).to_parameter_msg()
    request = SetParameters.Request(parameters=[tighter])
    answer = person.scene.call(SetParameters, "teleop_node/set_parameters", request)
    assert answer.results[0].successful
    assert person.hold("s", 2)[-1][0] == pytest.approx(-0.05)


def test_an_arm_that_is_not_measured_any_more_holds_and_the_screen_tells_why(start: Start) -> None:
    person = start()
    person.hold("w", 3)
    person.scene.spoil = lambda name, message: () if name == "tool" else (message,)
    assert person.hold("w", 5)[-1] == (0.0, 0.0)
    assert "holding: tool (tool_pose): 0.2" in person.screen
    person.scene.mend()
    assert person.hold("w", 2)[-1][0] == pytest.approx(0.1)


def test_a_clock_that_stands_still_is_told_and_no_motion_is_shown(start: Start) -> None:
    person = start()
    person.hold("w", 2)
    assert "stands still" not in person.screen
    person.press("w")
    person.scene.step()
    person.scene.wait(lambda: "the clock stands still (commanding)" in person.screen)
    shown = person.screen.rsplit("the clock stands still", 1)[1]
    assert "linear.x" not in shown
    person.hold("w", 1)
    assert "linear.x +100%" in person.screen.rsplit("the clock stands still", 1)[1]


def test_a_clock_that_is_set_back_does_not_stop_the_person(start: Start) -> None:
    person = start()
    person.hold("w", 2)
    person.scene.shift -= 500 * SECOND
    person.scene.step()
    assert person.hold("w", 3)[-1][0] == pytest.approx(0.1)
    assert person.scene.sent[-1].stamp == person.scene.time


def test_space_leaves_the_topic_and_t_takes_it(start: Start) -> None:
    person = start()
    topic = person.scene.interface.command.topic
    person.hold("w", 2)
    assert person.hold(" ", 1) == [(0.0, 0.0)]
    count = len(person.scene.sent)
    person.scene.run(0.5)
    assert len(person.scene.sent) == count
    assert person.scene.node.count_publishers(topic) == 0
    person.press("t")
    person.scene.run(0.5)
    assert len(person.scene.sent) >= count + 4 and person.scene.sent[-1].is_safe
    release = SetBool.Request(data=False)
    assert person.scene.call(SetBool, "teleop_node/engage", release).message == "free"
    assert person.scene.node.count_publishers(topic) == 0


def test_beside_another_commander_nobody_moves_the_arm(start: Start) -> None:
    person = start()
    topic = person.scene.interface.command.topic

    def other() -> Any:
        return person.scene.node.create_publisher(person.scene._command_class, topic, 1)

    first = other()
    assert person.hold("w", 3) == []
    assert "free: wire may command on /servo_node/delta_twist_cmds too" in person.screen
    person.scene.node.destroy_publisher(first)
    person.scene.wait(lambda: person.scene.node.count_publishers(topic) == 0)
    assert person.hold("w", 3)[-1][0] == pytest.approx(0.1)
    other()
    person.scene.wait(lambda: person.node.count_publishers(topic) == 2)
    commands = person.hold("w", 10)
    assert commands and not any(map(any, commands)) and len(commands) < 8, "then it is silent"


# Command types

HELD: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        kind: ("ur5e_trajectory", {"type": kind, **changes}) for kind, changes in POSITIONS.items()
    },
    **VELOCITIES,
}


@pytest.mark.parametrize("name", HELD)
def test_keys_move_the_arm_by_every_type_of_command(
    start: Start, tmp_path: Path, name: str
) -> None:
    needs_messages(name)
    shipped, changes = HELD[name]
    interface = arm(shipped, **changes)
    person = start(write(tmp_path, interface), speed=1.0)
    # For joints the sixth, which turns about the tool's own axis; otherwise a turn about the
    # vertical.
    is_joints = interface.command.is_joints
    commands = person.hold("6w" if is_joints else "j", 10)
    moved = np.subtract(person.scene.joints[-1], person.scene.joints[-8])
    assert abs(moved[5]) > 0.05 and np.abs(moved[:5]).max() < 0.01
    assert not is_joints or moved[5] > 0
    assert np.abs(np.diff(person.scene.joints, axis=0)).max() < 0.045, "the interface's limit"
    assert len(commands) >= 9
    person.scene.run(0.5)
    assert np.abs(np.diff(person.scene.joints[-3:], axis=0)).max() < 2e-3
    held = person.scene.sent[-1].values
    if not interface.command.is_velocity:
        assert np.abs(np.subtract(held, person.scene.joints[-1])).max() < 0.02
        assert held == person.scene.sent[-2].values


def pose_interface() -> Interface:
    values = arm("ur5e_servo").to_dict()
    values["action"] = {
        "topic": "target_pose",
        "type": "geometry_msgs/msg/PoseStamped",
        "frame_id": "base",
        "fields": ["x", "y", "z", "qx", "qy", "qz", "qw"],
        "unit": "m",
        "low": [-0.8, -0.4, 0.0, -1.0, -1.0, -1.0, -1.0],
        "high": [-0.2, 0.4, 0.4, 1.0, 1.0, 1.0, 1.0],
        "max_velocity": [0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2],
        "measured": "tool",
    }
    return interface_from_dict(values, "simulated")


def test_keys_move_and_turn_a_pose(start: Start, tmp_path: Path) -> None:
    person = start(write(tmp_path, pose_interface()), speed=1.0, invert=["linear.x"])
    before = person.scene.last["tool"].pose
    person.hold("wr", 10)
    after = person.scene.last["tool"].pose
    # In UR's `base` x points backwards; inverted, w leads away from the arm.
    assert after.position.x - before.position.x == pytest.approx(-0.09, abs=0.02)
    assert after.position.z - before.position.z == pytest.approx(0.09, abs=0.02)
    person.hold("j", 10)
    turned = person.scene.last["tool"].pose
    angle = 2 * np.arccos(abs(overlap(after.orientation, turned.orientation)))
    # Twice the 0.2 of a quaternion's component.
    assert angle == pytest.approx(0.36, abs=0.06)
    assert turned.position.z == pytest.approx(after.position.z, abs=0.015)
    person.scene.run(0.5)
    assert np.ptp(person.scene.tool[-3:]) < 2e-3


def overlap(a: Any, b: Any) -> float:
    return float(a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w)


def test_gripper_keys_send_it_to_its_ends_and_nothing_else_moves_it(
    start: Start, tmp_path: Path
) -> None:
    gripper = {
        "topic": "gripper/commands",
        "type": "std_msgs/msg/Float64MultiArray",
        "name": "finger_joint",
        "low": 0.1,
        "high": 0.8,
    }
    person = start(write(tmp_path, arm("ur5e_joint_velocity", gripper=gripper)))
    person.hold("w", 3)
    assert person.scene.joints[-1][6] == pytest.approx(0.1), "where it was"
    person.hold("h", 3)
    assert person.scene.joints[-1][6] == pytest.approx(0.8)
    person.hold("g", 3)
    assert person.scene.joints[-1][6] == pytest.approx(0.1)
    assert "h  finger_joint to 0.8" in person.screen


# Joysticks


class Stick:
    """A gamepad that publishes its state on changes."""

    def __init__(self, person: Person) -> None:
        self._scene = person.scene
        self._publisher = person.scene.node.create_publisher(Joy, "joy", 10)
        person.scene.wait(lambda: self._publisher.get_subscription_count() > 0)

    def send(self, *buttons: int, up: float = 0.0, left: float = 0.0, **values: Any) -> None:
        message = Joy(axes=[left, up, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], buttons=[0] * 11)
        for number in buttons:
            message.buttons[number] = 1
        for name, value in values.items():
            setattr(message, name, value)
        self._publisher.publish(message)
        self._scene.settle()

    def hold(self, ticks: int, *buttons: int, **values: float) -> None:
        for _ in range(ticks):
            self.send(*buttons, **values)
            self._scene.step()


@pytest.fixture
def stick(start: Start) -> Stick:
    stick = Stick(start(source="gamepad", message_timeout=2.0))
    stick.send()
    return stick


def last(stick: Stick) -> Any:
    return stick._scene.sent[-1].values


def test_a_gamepad_moves_the_arm_only_while_the_dead_man_button_is_held(stick: Stick) -> None:
    stick.hold(3, up=1.0)
    assert stick._scene.sent == []
    stick.hold(3, 4, up=1.0)
    assert last(stick) == pytest.approx((0.1, 0.0))
    stick.hold(2, 4, up=0.05, left=-0.55)
    assert last(stick) == pytest.approx((0.0, -0.05)), "the dead zone, and half of what is left"
    count = len(stick._scene.sent)
    stick.send(up=1.0)  # no tick passes
    stick._scene.wait(lambda: len(stick._scene.sent) == count + 1)
    assert last(stick) == (0.0, 0.0)
    stick.hold(2, up=1.0)
    assert last(stick) == (0.0, 0.0)


def test_a_joystick_that_falls_silent_stops_the_arm(start: Start) -> None:
    stick = Stick(start(source="gamepad", message_timeout=0.8))
    stick.send()
    stick.hold(3, 4, up=1.0)
    assert any(last(stick))
    silent = time.monotonic() + 0.8
    stick._scene.wait(lambda: time.monotonic() > silent)
    stick._scene.run(0.2)
    assert last(stick) == (0.0, 0.0)
    stick.hold(3, 4, up=1.0)
    assert last(stick) == (0.0, 0.0), "it must be let go once"
    stick.send()
    stick.hold(2, 4, up=1.0)
    assert any(last(stick))


def test_a_joystick_that_sends_nonsense_stops_the_arm(stick: Stick) -> None:
    held = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    for axes, buttons in (([], held), ([float("nan")] * 8, held), ([], [])):
        stick.hold(2, 4, up=1.0)
        assert any(last(stick))
        stick.send(axes=axes, buttons=buttons)
        stick._scene.step()
        assert last(stick) == (0.0, 0.0)
        stick.hold(2, 4, up=1.0)
        assert last(stick) == (0.0, 0.0), "it must be let go once"
        stick.send()


def test_what_is_held_while_the_arm_holds_for_a_fault_must_be_let_go_once(stick: Stick) -> None:
    scene = stick._scene
    stick.hold(2, 4, up=1.0)
    scene.spoil = lambda name, message: () if name == "tool" else (message,)
    stick.hold(5, 4, up=1.0)
    assert last(stick) == (0.0, 0.0)
    scene.mend()
    stick.hold(4, 4, up=1.0)
    assert last(stick) == (0.0, 0.0)
    stick.send()
    stick.hold(2, 4, up=1.0)
    assert last(stick) == pytest.approx((0.1, 0.0))


def test_what_is_held_from_the_start_does_not_move_the_arm(start: Start) -> None:
    stick = Stick(start(source="gamepad", message_timeout=2.0))
    stick.hold(3, 4, up=1.0)
    assert stick._scene.sent == []


def test_axes_signs_and_buttons_are_parameters(start: Start) -> None:
    chosen = {"joy.axes": [0, -1, -1, -1, -1, -1], "joy.signs": [-1.0, *[1.0] * 5]}
    stick = Stick(
        start(
            source="gamepad", message_timeout=2.0, **chosen, **{"joy.deadman": 9, "joy.faster": 8}
        )
    )
    stick.send()
    stick.send(8)
    stick.hold(2, 9, left=1.0, up=1.0)
    assert last(stick) == pytest.approx((-0.125, 0.0))


def test_a_3d_mouse_moves_in_the_frames_own_directions(start: Start) -> None:
    person = start(source="spacemouse", message_timeout=2.0)
    publisher = person.scene.node.create_publisher(Joy, "spacenav/joy", 10)
    person.scene.wait(lambda: publisher.get_subscription_count() > 0)
    for held in (0, 1):
        publisher.publish(Joy(axes=[-1.0, 0.5, 0.0, 0.0, 0.0, 0.9], buttons=[held, 0]))
        person.scene.settle()
        person.scene.run(0.2)
    half = 0.1 * (0.5 - 0.1) / 0.9
    assert person.scene.sent[-1].values == pytest.approx((-0.1, half))


# Leader arms


class LeaderArm:
    """A leader arm that is moved by hand."""

    def __init__(self, person: Person) -> None:
        self._scene = person.scene
        self._names = list(person.scene.interface.command.names)
        self._publisher = person.scene.node.create_publisher(JointState, "leader/joint_states", 10)
        person.scene.wait(lambda: self._publisher.get_subscription_count() > 0)
        self.place = np.array(person.scene.joints[-1])

    def hold(self, ticks: int) -> None:
        for _ in range(ticks):
            backwards = slice(None, None, -1)  # the order of the names is arbitrary
            message = JointState(
                name=self._names[backwards], position=self.place[backwards].tolist()
            )
            self._publisher.publish(message)
            self._scene.settle()
            self._scene.step()


@pytest.fixture
def led(start: Start, tmp_path: Path) -> tuple[Person, LeaderArm]:
    interface = arm("ur5e_trajectory", type="sensor_msgs/msg/JointState", **POSITIONS[
        "sensor_msgs/msg/JointState"
    ])  # fmt: skip
    person = start(
        write(tmp_path, interface),
        source="leader",
        message_timeout=1.0,
        **{"leader.far": LEADER_FAR},
    )
    return person, LeaderArm(person)


def test_the_arm_follows_a_leader_no_faster_than_its_limit(led: tuple[Person, LeaderArm]) -> None:
    person, leader = led
    leader.hold(3)
    assert person.scene.sent == [], "nobody took it"
    person.press("t")
    leader.hold(2)
    leader.place[0] += 0.3
    # Ten steps at the limit; on a busy machine a command may be one step late.
    for _ in range(40):
        leader.hold(1)
        if abs(person.scene.joints[-1][0] - leader.place[0]) < 0.01:
            break
    steps = np.diff(np.array(person.scene.joints)[:, 0])
    assert steps.max() < 0.31 * 0.1 * 1.4 and steps.max() > 0.02
    assert person.scene.joints[-1][0] == pytest.approx(leader.place[0], abs=0.02)


def test_a_leader_that_is_elsewhere_moves_nothing_until_it_is_brought_near(
    led: tuple[Person, LeaderArm],
) -> None:
    person, leader = led
    leader.place[0] += 0.2
    person.press("t")
    leader.hold(5)
    assert person.scene.sent == []
    assert "waiting: bring the leader arm to the arm: shoulder_pan_joint is +0.20" in person.screen
    leader.place[0] -= 0.15
    leader.hold(10)
    assert person.scene.joints[-1][0] == pytest.approx(leader.place[0], abs=0.01)
    leader.place[0] -= LEADER_FAR + 0.05
    leader.hold(10)
    away = person.scene.joints[-1][0] - leader.place[0]
    assert away > LEADER_FAR, "let go at once, and held"
    assert np.abs(np.diff(person.scene.joints[-3:], axis=0)).max() < 2e-3


def test_a_leader_that_falls_silent_is_not_followed(start: Start, tmp_path: Path) -> None:
    interface = arm("ur5e_trajectory")
    person = start(write(tmp_path, interface), source="leader", message_timeout=0.1)
    leader = LeaderArm(person)
    person.press("t")
    leader.hold(3)
    leader.place[0] += 0.3
    leader.hold(3)
    person.scene.until(lambda: "no message of the leader arm for" in person.screen, steps=1000)
    person.scene.run(1.0)
    assert np.abs(np.diff(person.scene.joints[-3:], axis=0)).max() < 2e-3


# Episodes


def test_keys_record_an_episode_and_the_answers_are_shown(start: Start, tmp_path: Path) -> None:
    person = start()
    person.press("\r")
    person.scene.until(lambda: "start: nobody offers recorder_node/start" in person.screen)
    chosen = parameters(folder=str(tmp_path / "demos"), use_sim_time=True)
    recorder = RecorderNode(context=person.scene.context, parameter_overrides=chosen)
    person.scene.add(recorder)
    try:
        person.scene.run(1.0)
        person.press("\r")
        person.scene.until(lambda: "start: episode_0000" in person.screen)
        person.hold("w", 3)
        person.press("Y")
        person.scene.until(lambda: "success: " in person.screen)
        assert (tmp_path / "demos" / "episode_0000").is_dir()
        person.press("x")
        person.press("X")
        person.scene.until(lambda: "discard it? The same key or button again" in person.screen)
        assert "discard: " not in person.screen
        person.press("X")
        person.scene.until(lambda: "discard: refused: no episode" in person.screen)
        assert person.screen.count("discard: ") == 1, "a small x is nothing"
        tell(person, "nonsense")
        status = {"state": "recording", "episode": "episode_0001", "elapsed_s": 2.4}
        status |= {
            "kept": {"success": 1, "failure": None},
            "warnings": ["camera: silent", "b", "c"],
        }
        status["disk_left_s"] = 1.7e6
        shown = "speed 40% | recording episode_0001, 2 s, ! camera: silent (+2), 1 success, disk"
        shown += " for 20 days"

        def is_shown() -> bool:
            tell(person, json.dumps(status))  # again: the recorder's own status comes in between
            person.scene.step()
            return shown in person.screen

        person.scene.until(is_shown)
    finally:
        recorder.close()
        recorder.destroy_node()


def test_a_recorder_that_hangs_is_told_and_so_is_a_key_that_it_does_not_answer(
    start: Start, tmp_path: Path
) -> None:
    person = start()
    chosen = parameters(folder=str(tmp_path / "demos"), use_sim_time=True)
    recorder = RecorderNode(context=person.scene.context, parameter_overrides=chosen)
    person.scene.add(recorder)
    try:
        person.scene.run(1.0)
        person.press("\r")
        person.scene.until(lambda: "start: episode_0000" in person.screen)
        person.scene.wait(lambda: "recording episode_0000" in person.screen)
        person.scene.executor.remove_node(recorder)
        person.scene.wait(lambda: "! recorder silent for 2 s (recording" in person.screen)
        person.press("Y")
        person.scene.wait(lambda: "success: no answer from recorder_node" in person.screen)
        person.scene.add(recorder)  # it continues, and its answer comes late
        kept = tmp_path / "demos" / "episode_0000"
        person.scene.wait(lambda: f"success: {kept}" in person.screen)
        person.scene.wait(lambda: "silent" not in person.node._recorder.status)
    finally:
        recorder.close()
        recorder.destroy_node()


def tell(person: Person, text: str) -> None:
    """Publish a recorder status."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = person.scene.node.create_publisher(String, "recorder_node/status", latched)
    person.scene.wait(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(String(data=text))
    person.scene.settle()


KEYS = {(1, 0): "w", (-1, 0): "s", (0, 1): "a", (0, -1): "d"} | {
    (1, 1): "q", (1, -1): "e", (-1, 1): "z", (-1, -1): "c",
}  # fmt: skip


def test_a_person_pushes_the_block_onto_the_goal_with_the_keys(start: Start) -> None:
    """Eight directions at one speed, with occasional pauses, are enough."""
    person = start(key_timeout=0.03)
    world = person.scene.bridge._world
    oracle = PushDemonstrator(np.random.default_rng(0), 1)
    for _ in range(140):
        tool, _ = world.tool_pose
        wanted = oracle.act(tool, world.poses)
        # Directions are rounded to the eight keys; slow motion becomes short key presses.
        x, y = np.sign(wanted) * (np.abs(wanted) > max(0.4 * np.abs(wanted).max(), 0.02))
        person.hold(KEYS.get((int(x), int(y)), ""), 1)
        if world.success:
            break
    assert world.success


# End of the node


def start_process(person_end: int, scene: Scene) -> subprocess.Popen[bytes]:
    """Start teleop_node on its own terminal."""
    command = [sys.executable, "-m", "ebm_policy_ros.nodes.teleop.node", "--ros-args"]
    command += ["-p", "use_sim_time:=true", "-p", "key_timeout:=2.0"]
    environment = {**os.environ, "ROS_DOMAIN_ID": str(scene.domain)}
    # Tests under nohup ignore SIGHUP, and their child processes would inherit that.
    started = ["env", "--default-signal=HUP", "setsid", "--ctty"]
    return subprocess.Popen([*started, *command], env=environment, stdin=person_end)


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM twice", "the terminal is closed"])
def test_however_it_ends_the_last_command_is_to_stand_still(how: str) -> None:
    scene = Scene()
    far, near = pty.openpty()
    process = start_process(near, scene)
    os.close(near)
    try:

        def moving() -> bool:
            os.write(far, b"w")
            time.sleep(0.01)  # the simulation does not wait here
            return len(scene.sent) > 3 and any(scene.sent[-1].values)

        scene.until(moving, steps=3000)
        if how == "Ctrl-C":
            os.write(far, b"\x03")
        elif how == "SIGTERM twice":
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
        else:
            os.close(far)
        scene.wait(lambda: process.poll() is not None)
        scene.settle()
        assert process.returncode == 0
        assert scene.sent[-1].values == (0.0, 0.0)
    finally:
        process.kill()
        process.wait()
        scene.close()
        if how != "the terminal is closed":
            os.close(far)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"source": "mouse"}, "source: got 'mouse', expected keyboard or gamepad"),
        ({"source": "leader"}, "a leader arm gives positions of joints, but the interface"),
        ({"invert": ["linear.z"]}, "invert: got 'linear.z', expected some of linear.x, linear.y"),
        ({"source": "gamepad", "joy.axes": [1]}, "joy.axes: got 1 numbers, expected one for each"),
        ({"limits.high": [9.0, 0.1]}, "is looser than the interface's 0.25"),
    ],
)
def test_bad_parameters_are_told_in_a_line(
    context: Any, values: dict[str, Any], told: str
) -> None:
    from ebm_policy_ros.nodes.teleop.node import TeleopNode

    with pytest.raises(ValueError, match=told):
        TeleopNode(context=context, parameter_overrides=parameters(**copy.deepcopy(values)))


# A paused process


def test_what_was_pressed_while_the_process_stood_still_moves_nothing(start: Start) -> None:
    person = start()
    assert any(person.hold("w", 3)[-1])
    pauses = person.node.commander._pauses
    pauses.close()  # no monitoring now, as in a stopped process
    person.press("wwww")
    threading.Event().wait(0.7)
    count = len(person.scene.sent)
    for _ in range(3):
        person.scene.step()
    person.scene.wait(lambda: len(person.scene.sent) > count)
    assert all(sent.is_safe for sent in person.scene.sent[count:])
    assert "this process stood still" in person.screen
