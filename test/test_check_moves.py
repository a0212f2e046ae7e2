"""check_robot --move: test moves of an arm that follows, and of one with each kind of fault."""

from __future__ import annotations

import os
import pty
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("rclpy")

import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.executors import SingleThreadedExecutor
from robot import parameters, spin_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from two_arms import arm as velocity_arm
from two_arms import two_arms

from ebm_policy_ros.check.motion import moves_along, probes_of
from ebm_policy_ros.check.results import CheckResult, Level, problems, table
from ebm_policy_ros.check.urdf import JointLimits
from ebm_policy_ros.check.verdicts import judge
from ebm_policy_ros.check.watch import Watch
from ebm_policy_ros.control.limits import Limits, part_limits
from ebm_policy_ros.interface import Interface, interface_from_dict, load_interface
from ebm_policy_ros.nodes.check.check_robot import CheckArgs, checked
from ebm_policy_ros.nodes.check.description import LATCHED
from ebm_policy_ros.nodes.check.listener import Listener
from ebm_policy_ros.nodes.check.motion import MotionCheck
from ebm_policy_ros.nodes.common.command_session import CommandSession
from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.util.resources import interface_path

pytestmark = pytest.mark.ros

PUSH = load_interface(interface_path("ur5e_push"))
SECOND = 1_000_000_000
Vector = npt.NDArray[np.float64]


class Arm:
    """An arm on fast simulated time, and a person at its terminal."""

    PERIOD_NS = SECOND // 50

    def __init__(self, context: Any, interface: Interface, gain: Vector, told: list[Any]) -> None:
        self.interface, self.gain = interface, gain
        self.node = rclpy.create_node("arm", context=context, parameter_overrides=told)
        for parameter in told:
            self.node.declare_parameter(parameter.name, parameter.value)
        self.checker = rclpy.create_node(
            "check_robot", context=context,
            parameter_overrides=[rclpy.Parameter("use_sim_time", value=True)],
        )  # fmt: skip
        self.executor = SingleThreadedExecutor(context=context)
        for node in (self.node, self.checker):
            self.executor.add_node(node)
        create = self.node.create_publisher
        self._clock = create(Clock, "/clock", 10)
        self._tool = create(PoseStamped, "tool_pose", 10)
        self._joints = create(JointState, "joint_states", 10)
        self._camera = create(Image, "camera/image_raw", 10)
        action = interface.command
        kind = TwistStamped if not action.is_joints else Float64MultiArray
        self.node.create_subscription(kind, action.topic, self._on_command, 10)
        self.place: Vector = np.array([0.5, 0.0])
        self.origin: Vector = self.place
        self.farthest = self.turn = self.noise = 0.0
        self._velocity: Vector = np.zeros(2)
        self.count = 0
        self.commands: list[Vector] = []
        self.during: Callable[[], None] = lambda: None
        self.silent = False
        self._far, self._near = pty.openpty()
        os.set_blocking(self._far, False)
        self.terminal = Terminal(os.ttyname(self._near))
        self.screen, self.answers = "", {"Type order": "order\r", "Type yes": "yes\r"}
        self.node.create_timer(0.004, self._step)

    def _on_command(self, message: Any) -> None:
        if isinstance(message, TwistStamped):
            values = np.array([message.twist.linear.x, message.twist.linear.y])
        else:
            values = np.array(message.data)
        self.commands.append(values)
        if self.interface.command.is_velocity:
            self._velocity = self.gain @ values
        else:
            told = self.origin + self.gain @ (values - self.origin)
            self._velocity = (told - self.place) * 20.0

    def _step(self) -> None:
        """Move for 20 ms, and publish."""
        self.count += 1
        self.place = self.place + self._velocity * self.PERIOD_NS / SECOND
        if not self.interface.command.is_velocity:
            self._velocity = self._velocity * 0.6
        self.farthest = max(self.farthest, float(np.abs(self.place - [0.5, 0.0]).max()))
        stamp = rclpy.time.Time(nanoseconds=self.count * self.PERIOD_NS).to_msg()
        tool = PoseStamped()
        tool.header.stamp, tool.header.frame_id = stamp, "base_link"
        x, tool.pose.position.y = self.place.tolist()
        tool.pose.position.x = x + self.noise * (-1) ** self.count
        half = self.turn * (x - 0.5) / 2
        tool.pose.orientation.z, tool.pose.orientation.w = np.sin(half), np.cos(half)
        joints = JointState(name=["a", "b"], position=self.place.tolist())
        joints.header.stamp = stamp
        image = Image(height=2, width=2, encoding="mono8", step=2, data=[0] * 4)
        image.header.stamp = stamp
        self._tool.publish(tool)
        self._joints.publish(joints)
        if not self.silent:
            self._camera.publish(image)
        self._clock.publish(Clock(clock=stamp))
        self._look()
        self.during()

    def _look(self) -> None:
        try:
            self.screen += os.read(self._far, 1 << 16).decode()
        except BlockingIOError:
            pass
        for question in [one for one in self.answers if one in self.screen]:
            self.press(self.answers.pop(question))

    def press(self, keys: str) -> None:
        os.write(self._far, keys.encode())

    @property
    def is_away(self) -> bool:
        """True once the arm has moved by 2 mm."""
        return self.farthest > 0.002

    def check(self) -> list[CheckResult]:
        """Problems of all that moves nothing."""
        self.listener = Listener(self.checker, self.executor, self.interface)
        args = CheckArgs(interface="", seconds=1.0, use_sim_time=True)
        return problems(checked(self.listener, self.interface, args))

    def move(self) -> list[CheckResult]:
        """Check the streams, then make the test moves."""
        found = self.check()
        assert not found, table(found)
        node, listener, inputs = self.checker, self.listener, self.listener.inputs
        check = MotionCheck(node, self.interface, inputs, self.terminal, listener.unproven(), {})
        results = check.run(self.executor)
        # What was sent last may not have been received yet.
        spin_until(self.executor, lambda: not self.commands or self.is_told_to_stand)
        return results

    @property
    def is_told_to_stand(self) -> bool:
        """True if the last command is the safe one."""
        return not self.interface.command.is_velocity or not self.commands[-1].any()

    def close(self) -> None:
        self.terminal.close()
        os.close(self._far)
        os.close(self._near)
        self.checker.destroy_node()
        self.node.destroy_node()


def twists() -> Interface:
    values = PUSH.to_dict()
    values["observation"] = {
        "tool": values["observation"]["tool"],
        "camera": values["observation"]["camera"] | {"size": [2, 2]},
    }
    return interface_from_dict(values, "twists")


def positions() -> Interface:
    values = twists().to_dict()
    del values["workspace"]
    values["observation"]["joints"] = {
        "topic": "joint_states", "type": "sensor_msgs/msg/JointState", "names": ["a", "b"],
        "max_age": 0.2,
    }  # fmt: skip
    values["action"] = {
        "topic": "commands", "type": "std_msgs/msg/Float64MultiArray", "quantity": "position",
        "fields": ["a", "b"], "unit": "rad", "low": [0.0, -1.0], "high": [1.0, 1.0],
        "max_velocity": [0.5, 0.5], "measured": "joints", "lag": 0.1,
    }  # fmt: skip
    return interface_from_dict(values, "positions")


Start = Callable[..., Arm]
CONTROLLER = parameters(joints=["a", "b"], interface_name="position")


@pytest.fixture
def start(context: Any) -> Iterator[Start]:
    arms: list[Arm] = []

    def begin(interface: Interface, gain: Any = 1.0, told: Any = CONTROLLER) -> Arm:
        arms.append(Arm(context, interface, np.asarray(gain) * np.eye(2), told))
        return arms[-1]

    yield begin
    for arm in arms:
        arm.close()


def measured(found: list[CheckResult]) -> list[str]:
    return [result.measured for result in found]


@pytest.mark.parametrize("interface", [twists(), positions()], ids=["velocity", "position"])
def test_an_arm_that_follows_has_the_right_direction_and_is_back_where_it_began(
    start: Start, interface: Interface
) -> None:
    arm = start(interface)
    found = arm.move()
    assert not problems(found), table(found)
    assert all("direction ok" in text for text in measured(found)) and len(found) == 2
    assert np.abs(arm.place - [0.5, 0.0]).max() < 0.002
    assert arm.farthest < 0.016
    names = interface.command.fields
    assert all(f"  {name}" in arm.screen for name in names)
    assert "THE ARM WILL MOVE" in arm.screen


@pytest.mark.parametrize(
    ("interface", "gain", "text", "cure"),
    [
        (twists(), -1.0, "reversed", "linear.x and what measures it point opposite ways"),
        (twists(), 1.96, r"scale (1\.[89]|2\.[01])\d", "the arm moves "),
        (twists(), 0.0, "did not move", "activate the controller, enable the arm"),
        (positions(), -1.0, "reversed", "a and what measures it point opposite ways"),
        (positions(), 0.0, "did not move", "activate the controller, enable the arm"),
    ],
    ids=["reversed", "scaled", "dead", "joint reversed", "joint dead"],
)
def test_a_wrong_sign_or_scale_is_a_problem_with_its_cure(
    start: Start, interface: Interface, gain: float, text: str, cure: str
) -> None:
    arm = start(interface, gain)
    found = arm.move()
    assert len(found) == 2 and len(problems(found)) == 2, table(found)
    assert all(re.search(text, told) for told in measured(found)), table(found)
    assert found[0].cure.startswith(cure)
    assert np.abs(arm.place - [0.5, 0.0]).max() < 0.003


def test_a_motion_of_another_axis_is_named(start: Start) -> None:
    arm = start(twists())
    arm.gain = np.array([[0.0, 1.0], [1.0, 0.0]])
    found = arm.move()
    assert "linear.y" in found[0].measured and "moved another axis" in found[0].measured
    assert found[0].cure.startswith("linear.x moves linear.y: ")
    assert "linear.x" in found[1].measured


def test_a_motion_that_the_guard_does_not_let_through_is_told_as_such(start: Start) -> None:
    values = twists().to_dict()
    box = {"stream": "tool", "fields": ["x"], "low": [0.499], "high": [0.501]}
    arm = start(interface_from_dict(values | {"workspace": box}, "narrow"))
    found = arm.move()
    assert found[0].cure.startswith("the guard changed the commands (workspace: linear.x), which")
    assert arm.farthest < 0.006
    assert "direction ok" in found[1].measured


def test_an_arm_that_runs_away_is_stopped(start: Start) -> None:
    arm = start(twists(), 8.0)
    (found,) = arm.move()
    assert found.measured == "stopped" and found.cure.startswith("linear.x moved +")
    assert arm.farthest < 0.04


def test_a_stream_that_becomes_stale_stops_the_arm_where_it_is(start: Start) -> None:
    arm = start(twists())

    def fail() -> None:
        arm.silent |= arm.is_away

    arm.during = fail
    (found,) = arm.move()
    assert found.measured == "stopped"
    old = r"camera \(camera/image_raw\): 0\.\d+ s old, at most 0\.25 s allowed"
    assert re.fullmatch(f"{old}; the arm stays where it stopped", found.cure)
    assert arm.is_away and np.abs(arm.place - [0.5, 0.0]).max() > 0.002


def test_the_end_of_a_scene_ends_the_moves_with_its_cure(start: Start) -> None:
    arm = start(twists())
    status = arm.node.create_publisher(String, "sim_bridge_node/status", LATCHED)

    def end() -> None:
        if arm.is_away:
            status.publish(String(data='{"state": "done", "success": true}'))

    arm.during = end
    (found,) = arm.move()
    assert found.measured == "stopped"
    assert found.cure.startswith("goal reached, scene over; call sim_bridge_node/reset")


def test_a_key_stops_the_arm_at_once(start: Start) -> None:
    arm = start(twists())
    pressed: list[bool] = []

    def press() -> None:
        if arm.is_away and not pressed:
            pressed.append(True)
            arm.press(" ")

    arm.during = press
    (found,) = arm.move()
    assert found.cure == "a key was pressed; the arm stays where it stopped"
    assert arm.farthest < 0.0045


def test_an_interrupt_leaves_the_arm_with_the_safe_command(start: Start) -> None:
    arm = start(twists())

    def interrupt() -> None:
        if arm.is_away:
            arm.during = lambda: None
            raise KeyboardInterrupt

    arm.during = interrupt
    with pytest.raises(KeyboardInterrupt):
        arm.move()
    spin_until(arm.executor, lambda: arm.is_told_to_stand)
    assert arm.is_away


def test_without_a_typed_yes_nothing_is_commanded(start: Start) -> None:
    arm = start(twists())
    arm.answers["Type yes"] = "y\r"
    (found,) = arm.move()
    assert found.measured == "not agreed to" and found.level is Level.PROBLEM
    assert not arm.commands


def test_a_stream_that_fails_while_the_person_thinks_is_no_motion(start: Start) -> None:
    arm = start(twists())

    def fail() -> None:
        arm.silent |= "Type yes" in arm.screen

    arm.during = fail
    (found,) = arm.move()
    assert found.measured == "stopped" and found.cure.startswith("camera (camera/image_raw): ")
    assert not np.any(arm.commands)


def test_the_way_back_has_the_speed_of_its_own_bound(start: Start) -> None:
    values = twists().to_dict()
    values["action"] |= {"low": [-0.25, -0.02], "high": [0.02, 0.25]}
    arm = start(interface_from_dict(values, "uneven"))
    found = arm.move()
    assert not problems(found) and len(found) == 2, table(found)
    assert np.abs(arm.commands).max() < 0.0101
    assert np.abs(arm.place - [0.5, 0.0]).max() < 0.002


def test_a_dimension_that_cannot_come_back_is_left_out(start: Start) -> None:
    values = twists().to_dict()
    values["action"] |= {"low": [-0.25, 0.0], "high": [0.25, 0.25]}
    arm = start(interface_from_dict(values, "one way"))
    found = arm.move()
    assert not problems(found), table(found)
    assert [(r.subject, r.measured) for r in found if r.level is Level.NOTE] == [
        ("linear.y", "not moved")
    ]
    assert not np.array(arm.commands)[:, 1].any()
    before, _, after = arm.screen.partition("One after the other")
    assert "linear.y is not moved: low or high is 0" in before and "linear.y" not in after


def turning() -> Interface:
    values = twists().to_dict()
    values["observation"]["tool"]["fields"] = ["x", "y", "qx", "qy", "qz", "qw"]
    return interface_from_dict(values, "turning")


@pytest.mark.parametrize(
    ("turn", "measured", "cure"),
    [
        (
            4.0,
            "angular.z +0.0",
            "linear.x moves angular.z: compare fields and frame_id",
        ),
        (40.0, "stopped", "linear.x turned the tool, angular.z +0.0"),
    ],
)
def test_a_tool_that_turns_instead_of_moving_straight_is_a_problem(
    start: Start, turn: float, measured: str, cure: str
) -> None:
    arm = start(turning())
    arm.turn = turn
    found = problems(arm.move())
    assert len(found) == 1 and found[0].measured.startswith(measured), table(found)
    assert found[0].cure.startswith(cure)
    assert arm.farthest < (0.006 if turn < 10 else 0.004)


def states(left: float, right: float) -> tuple[RobotState, RobotState]:
    still = {"linear.x": 0.0, "linear.y": 0.0}
    places = ({"x": left, "y": 0.0}, {"x": right, "y": 0.0})
    return RobotState(places[0], still, {}), RobotState(places[1], still, {})


def test_a_motion_of_the_other_arm_is_a_problem_and_ends_the_move_if_it_is_long() -> None:
    interface = two_arms(**{s: velocity_arm(s, measured=f"{s}_tool") for s in ("left", "right")})
    begin = states(0.1, 0.2)
    limits = part_limits(interface, {})
    probe = next(iter(probes_of(0, interface.parts[0], limits[0], begin[0], {})))
    watch = Watch(interface, {})
    watch.begin(begin)
    assert not watch.look(states(0.1, 0.205), probe)
    found = judge(probe, 0.005, watch.motions)
    assert found.measured == "right.linear.x +5.0 mm: moved the other arm"
    cure = "exchange the topics of the parts, or the streams that measure them"
    assert found.cure == f"left.linear.x moves right.linear.x: {cure}"
    assert watch.look(states(0.1, 0.216), probe) == (
        f"left.linear.x moved the other arm, right.linear.x +16.0 mm: {cure}"
    )


def test_noise_of_the_measurement_is_no_motion_after_the_command(start: Start) -> None:
    arm = start(twists())
    arm.noise = 0.0004
    found = arm.move()
    assert not problems(found), table(found)


def test_an_arm_that_moves_before_it_is_commanded_is_not_commanded(start: Start) -> None:
    arm = start(twists())
    arm.noise = 0.002
    (found,) = arm.move()
    assert found.cure.startswith("linear.x changes by +4.0 mm although nothing is commanded")
    assert not arm.commands


def test_each_joint_moves_in_the_unit_of_the_description_or_else_of_the_interface(
    start: Start,
) -> None:
    values = positions().to_dict()
    action = interface_from_dict(values, "rad").command
    described = {"a": JointLimits(0.0, 1.0, 1.0, False, is_length=True)}
    assert moves_along(action, "a", described) and not moves_along(action, "b", described)
    values["action"]["unit"] = "m, rad"
    arm = start(interface_from_dict(values, "mixed"))
    (found,) = arm.move()
    told = "unit 'm, rad' does not tell whether a moves in m or rad; give --urdf"
    assert found.cure.startswith(told) and not arm.commands


# Commands without names


def test_without_an_order_of_the_controller_a_person_confirms_names_and_the_largest_leap(
    start: Start,
) -> None:
    arm = start(positions(), told=[])
    found = arm.move()
    assert not problems(found) and len(found) == 2, table(found)
    assert "commands takes numbers without names, and no controller tells their" in arm.screen
    assert "  1  a                            now at +0.500" in arm.screen
    assert "In another order a joint leaps by up to 0.50 at once" in arm.screen


def test_an_order_that_nobody_confirms_is_not_commanded(start: Start) -> None:
    arm = start(positions(), told=[])
    arm.answers["Type order"] = "yes\r"
    (found,) = arm.move()
    assert found.measured == "not agreed to" and "type order" in found.cure
    assert not arm.commands and "THE ARM WILL MOVE" not in arm.screen


def test_a_leap_by_a_wrong_order_is_answered_by_no_further_command(start: Start) -> None:
    arm = start(positions(), told=[])
    arm.gain, arm.origin = np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros(2)
    (found,) = arm.move()
    assert found.measured == "stopped"
    told = "nothing more was sent, since the order of the joints is not proven"
    assert found.cure.endswith(told)
    # The measured positions after the leap, in the wrong order again, would be another leap.
    assert arm.farthest > 0.1 and np.allclose(arm.commands, [0.5, 0.0])


@pytest.mark.parametrize(
    ("told", "what", "cure"),
    [
        (
            {"joints": ["b", "a"], "interface_name": "position"}, "joints",
            "set action.fields to the order of arm: [b, a]",
        ),
        (
            {"joints": ["a", "b"], "interface_name": "velocity"}, "quantity",
            "arm takes velocity: correct action.quantity, or command a controller of position",
        ),
    ],
)  # fmt: skip
def test_an_order_other_than_that_of_the_controller_is_a_problem(
    start: Start, told: dict[str, Any], what: str, cure: str
) -> None:
    arm = start(positions(), told=parameters(**told))
    (found,) = arm.check()
    assert (found.what, found.cure) == (what, cure)


@pytest.mark.parametrize("is_mute", [True, False])
def test_a_mute_session_sends_nothing_after_its_last_command(start: Start, is_mute: bool) -> None:
    arm = start(positions())
    state = RobotState({"a": 0.5, "b": 0.0}, {"a": 0.0, "b": 0.0}, {})
    session = CommandSession(arm.checker, arm.interface)
    session.is_mute = is_mute
    outputs, values = session.open(), np.array([[0.5, 0.0]])
    spin_until(arm.executor, lambda: arm.checker.count_subscribers("commands") == 1)
    limits = Limits.of(arm.interface)
    session.send(outputs.command(values, state, SECOND, limits, 0.0, grip=False))
    session.hold(2 * SECOND, state)
    session.rest(2 * SECOND)
    session.close()  # waits for the delivery
    last = arm.checker.create_publisher(Float64MultiArray, "commands", 1)
    spin_until(arm.executor, lambda: arm.checker.count_publishers("commands") == 1)

    def is_last() -> bool:
        last.publish(Float64MultiArray(data=[9.0, 9.0]))
        return bool(arm.commands) and arm.commands[-1][0] == 9.0

    spin_until(arm.executor, is_last)
    sent = [command for command in arm.commands if command[0] != 9.0]
    assert len(sent) == (1 if is_mute else 3)
