"""A person takes over from policy_node, and lets go, over a real DDS."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from robot import PERIOD, TIMEOUT, Robot, planar
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from test_execution import Record
from trajectory_msgs.msg import JointTrajectory

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.messages.takeover import PersonCommand, letting_go, takeover_message
from ebm_policy_ros.nodes.common.topics import TAKEOVER_QUALITY

pytestmark = pytest.mark.ros

StartPolicy = Callable[..., Any]
LEFT, RIGHT, STILL = [-0.125, 0.25], [0.0625, -0.03125], [0.0, 0.0]


class Person:
    """Sends what a person commands, as a teleoperation does."""

    def __init__(self, robot: Robot, interface: Interface, name: str = "/teleop_node") -> None:
        self._robot, self._interface, self.name = robot, interface, name
        create = robot.node.create_publisher
        self._publisher = create(JointTrajectory, "policy_node/takeover", TAKEOVER_QUALITY)
        robot.until(lambda: self._publisher.get_subscription_count() > 0)

    def message(self, values: list[float], step: float) -> Any:
        command = PersonCommand((np.array([values]),), (False,))
        return takeover_message(self.name, round(step * PERIOD), self._interface, command)

    def send(self, message: Any) -> None:
        self._publisher.publish(message)

    def command(self, values: list[float], step: float) -> None:
        """Command at a step, and wait until it is on the arm's topic."""
        count = len(self._robot.commands)
        self.send(self.message(values, step))
        self._robot.until(lambda: len(self._robot.commands) > count)
        assert planar(self._robot.commands[-1]) == pytest.approx(values)

    def let_go(self, step: float) -> None:
        self.send(letting_go(self.name, round(step * PERIOD)))


def tick(robot: Robot, step: int) -> list[float]:
    """Command of a tick, which is the last one with its stamp when the next tick begins."""
    robot.tick(step)
    return planar(robot.command_at(step))


@pytest.fixture
def node(robot: Robot, start_policy: StartPolicy) -> Any:
    """An active policy node that has decided."""
    node = start_policy()
    decide(robot)
    return node


@pytest.fixture
def person(robot: Robot, node: Any, interface: Interface) -> Person:
    """A person beside this node."""
    return Person(robot, interface)


def decide(robot: Robot) -> None:
    robot.tick(10)
    assert any(tick(robot, 11))


def test_a_person_commands_at_once_and_at_each_tick_until_they_let_go(
    robot: Robot, node: Any, person: Person
) -> None:
    person.command(LEFT, 11)
    assert tick(robot, 12) == LEFT and tick(robot, 13) == LEFT
    person.command(RIGHT, 13)
    assert tick(robot, 14) == RIGHT
    assert node.statistics.counts["takeovers"] == 1
    decisions = node.statistics.counts["decisions"]
    person.let_go(14)
    robot.until(lambda: planar(robot.commands[-1]) == STILL)
    assert node.statistics.counts["decisions"] == decisions, "the policy has decided nothing"
    after = tick(robot, 15)
    assert any(after) and after != RIGHT and node.safety.state is SafetyState.FRESH
    assert node.statistics.counts["decisions"] == decisions + 1


def test_a_running_decision_is_abandoned(
    robot: Robot, start_policy: StartPolicy, interface: Interface
) -> None:
    node = start_policy()
    person = Person(robot, interface)
    robot.tick(10)
    robot.tick(11)
    robot.until(lambda: node.control_loop.is_deciding)
    count = len(robot.commands)
    person.send(person.message(LEFT, 11))
    # A decision that is faster than the message is sent before it.
    robot.until(lambda: [planar(c) for c in robot.commands[count:]][-1:] == [LEFT])
    assert tick(robot, 12) == LEFT
    assert not node.control_loop.is_deciding


def test_after_the_takeover_the_node_waits_if_the_parameter_says_so(
    robot: Robot, start_policy: StartPolicy, interface: Interface
) -> None:
    node = start_policy(after_takeover="wait")
    decide(robot)
    person = Person(robot, interface)
    person.command(LEFT, 11)
    person.let_go(11)
    robot.until(lambda: planar(robot.commands[-1]) == STILL)
    assert node.safety.state is SafetyState.STOPPED
    assert node.safety.reason == "the person who commanded has let go (after_takeover: wait)"
    assert tick(robot, 12) == STILL
    assert robot.call(Trigger, "policy_node/reset", Trigger.Request()).success
    assert any(tick(robot, 13))


def test_a_person_who_falls_silent_without_letting_go_stops_the_node(
    robot: Robot, node: Any, person: Person
) -> None:
    person.command(LEFT, 11)
    assert tick(robot, 12) == LEFT
    assert node.safety.state is SafetyState.FRESH
    for step in (13, 14):  # the last command was at 11, and two periods and a half are allowed
        robot.tick(step)
    robot.until(lambda: node.safety.state is SafetyState.STOPPED)
    robot.until(lambda: planar(robot.commands[-1]) == STILL)
    reason = "/teleop_node sent no valid command for 0.25 s and did not let go"
    assert node.safety.reason == reason
    person.send(person.message(LEFT, 14))
    robot.until(lambda: bool(node.control_loop.person_ignored[1]))
    assert "the node is stopped" in node.control_loop.person_ignored[1]
    assert node.safety.state.value == "stopped", "a takeover never leaves it"
    assert tick(robot, 15) == STILL


def test_a_second_person_is_refused_until_the_first_one_lets_go(
    robot: Robot, node: Any, person: Person, interface: Interface
) -> None:
    other = Person(robot, interface, "/other")
    person.command(LEFT, 11)
    other.send(other.message(RIGHT, 11))
    robot.until(lambda: bool(node.control_loop.person_ignored[1]))
    assert node.control_loop.person_ignored[1] == (
        "'/other' wants to command while '/teleop_node' does, which must let go first"
    )
    other.let_go(11)
    assert tick(robot, 12) == LEFT
    person.command(LEFT, 12)
    person.let_go(12)
    robot.until(lambda: planar(robot.commands[-1]) == STILL)
    other.command(RIGHT, 12)
    assert tick(robot, 13) == RIGHT


def test_the_reason_of_a_stop_is_not_that_for_which_another_person_was_refused(
    robot: Robot, node: Any, person: Person, interface: Interface
) -> None:
    other, loop = Person(robot, interface, "/other"), node.control_loop
    person.command(LEFT, 11)
    person.send(person.message([np.nan, 0.0], 11))
    robot.until(lambda: loop.person_ignored[0] == "/teleop_node")
    other.send(other.message(RIGHT, 11))
    robot.until(lambda: loop.person_ignored[0] == "/other")
    for step in (12, 13, 14):
        robot.tick(step)
    robot.until(lambda: node.safety.state is SafetyState.STOPPED)
    assert "not a finite number" in node.safety.reason and "/other" not in node.safety.reason
    other.let_go(14)
    robot.until(lambda: loop.person_ignored[0] == "/teleop_node")


def test_only_the_last_persons_who_were_refused_are_remembered(
    robot: Robot, node: Any, person: Person
) -> None:
    node.trigger_deactivate()
    for number in range(12):
        person.name = f"/person_{number}"
        person.send(person.message(LEFT, 11))
        robot.until(lambda: node.control_loop.person_ignored[0] == person.name)
    assert list(node.control_loop._takeover._refusals) == [f"/person_{n}" for n in range(4, 12)]


def changed(change: Callable[[Any], None]) -> Callable[[Person], Any]:
    def make(person: Person) -> Any:
        message = person.message(LEFT, 11)
        change(message)
        return message

    return make


def set_positions(values: list[float]) -> Callable[[Any], None]:
    return lambda message: setattr(message.points[0], "positions", values)


def set_names(names: list[str]) -> Callable[[Any], None]:
    return lambda message: setattr(message, "joint_names", names)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda person: person.message(LEFT, 8), "stamped 0.30 s ago, expected at most 0.25 s"),
        (lambda person: person.message(LEFT, 14), "stamped 0.30 s in the future"),
        (lambda person: person.message(LEFT, 0), "header.stamp is zero"),
        (lambda person: person.message([np.nan, 0.0], 11), "not a finite number"),
        (changed(set_positions([0.1])), "got [1] values in a point, expected 2"),
        (changed(set_positions([0.1, 0.1, 0.1])), "got [3] values in a point, expected 2"),
        (changed(set_names(["linear.x"])), "no value for linear.y"),
        (changed(set_names(["linear.x", "elbow"])), "got the name 'elbow'"),
        (changed(set_names(["linear.x", "linear.x"])), "expected each of linear.x, linear.y once"),
        (changed(lambda m: setattr(m.header, "frame_id", "")), "header.frame_id is ''"),
        (changed(lambda m: setattr(m, "points", list(m.points) * 101)), "got 101 points"),
    ],
)
def test_a_wrong_message_is_ignored_and_the_policy_goes_on(
    robot: Robot, node: Any, person: Person, make: Callable[[Person], Any], text: str
) -> None:
    count = len(robot.commands)
    person.send(make(person))
    robot.until(lambda: bool(node.control_loop.person_ignored[1]))
    assert text in node.control_loop.person_ignored[1]
    assert len(robot.commands) == count and node.control_loop.person == ""
    assert any(tick(robot, 12))
    assert node.statistics.counts["takeovers"] == 0


def test_wrong_messages_of_a_person_who_commands_count_as_silence(
    robot: Robot, node: Any, person: Person
) -> None:
    person.command(LEFT, 11)
    for step in (12, 13, 14):
        robot.tick(step)
        person.send(person.message([np.nan, 0.0], step))
        robot.until(lambda: bool(node.control_loop.person_ignored[1]))
    robot.until(lambda: node.safety.state is SafetyState.STOPPED)
    assert "not a finite number" in node.safety.reason


def test_an_inactive_node_ignores_a_person(robot: Robot, node: Any, person: Person) -> None:
    node.trigger_deactivate()
    robot.until(lambda: planar(robot.commands[-1]) == STILL)
    count = len(robot.commands)
    person.send(person.message(LEFT, 11))
    robot.until(lambda: node.control_loop.person_ignored[1] == "the node is not active")
    assert len(robot.commands) == count


def test_the_guard_limits_a_person_and_the_speed_does_not(
    robot: Robot, start_policy: StartPolicy, interface: Interface
) -> None:
    start_policy(speed=0.1, **{"limits.high": [0.1, 0.25]})
    decide(robot)
    person = Person(robot, interface)
    count = len(robot.commands)
    person.send(person.message([5.0, 0.2], 11))
    robot.until(lambda: len(robot.commands) > count)
    assert planar(robot.commands[-1]) == pytest.approx([0.1, 0.2])
    robot.tick(12, x=0.735)
    # 5 mm are left to the wall of the workspace.
    assert planar(robot.command_at(12)) == pytest.approx([0.05, 0.2], abs=1e-6)


def test_a_stop_wins_and_a_person_who_still_holds_goes_on_after_a_reset(
    robot: Robot, node: Any, person: Person
) -> None:
    person.command(LEFT, 11)
    assert robot.call(Trigger, "policy_node/stop", Trigger.Request()).success
    robot.until(lambda: planar(robot.commands[-1]) == STILL)
    count = len(robot.commands)
    person.send(person.message(LEFT, 11))
    robot.until(lambda: "~/stop was called" in node.control_loop.person_ignored[1])
    assert len(robot.commands) == count
    assert tick(robot, 12) == STILL
    assert robot.call(Trigger, "policy_node/reset", Trigger.Request()).success
    robot.until(lambda: robot.node.count_publishers("servo_node/delta_twist_cmds") > 0)
    person.command(LEFT, 12)
    assert tick(robot, 13) == LEFT


def test_shadow_mode_proposes_what_a_person_commands(
    robot: Robot, start_policy: StartPolicy, interface: Interface
) -> None:
    proposed: list[TwistStamped] = []
    topic = "policy_node/proposed_command"
    robot.node.create_subscription(TwistStamped, topic, proposed.append, 100)
    start_policy(wait=False, publish_commands=False)
    robot.until(lambda: robot.node.count_publishers(topic) > 0)
    robot.tick(10)
    robot.tick(11)
    robot.until(lambda: bool(proposed))
    person = Person(robot, interface)
    person.send(person.message(LEFT, 11))
    robot.until(lambda: planar(proposed[-1]) == LEFT)
    assert robot.commands == []


def test_leaving_shadow_mode_does_not_give_the_arm_back_to_the_policy(
    robot: Robot, person: Person
) -> None:
    person.command(LEFT, 11)
    for shadow in (True, False):
        request = SetBool.Request(data=shadow)
        assert robot.call(SetBool, "policy_node/shadow", request).success
    robot.until(lambda: robot.node.count_publishers("servo_node/delta_twist_cmds") > 0)
    assert tick(robot, 12) == LEFT


def test_a_policy_that_holds_because_it_is_unsure_does_not_hold_a_person(
    robot: Robot, start_policy: StartPolicy, unsure_policy_file: Path, interface: Interface
) -> None:
    node = start_policy(policy=str(unsure_policy_file), when_unsure="hold", recover_after=10.0)
    robot.tick(10)
    robot.tick(11)
    robot.until(lambda: "unsure" in node.safety.reason)
    person = Person(robot, interface)
    person.command(LEFT, 11)
    assert node.safety.state is SafetyState.FRESH
    assert tick(robot, 12) == LEFT


def test_a_stale_stream_holds_a_person_as_it_holds_the_policy(
    robot: Robot, start_policy: StartPolicy, interface: Interface
) -> None:
    node = start_policy(lockstep=False)
    decide(robot)
    person = Person(robot, interface)
    for step in range(12, 15):
        robot.tick(step, only="joints tool")
        person.send(person.message(LEFT, step))
        robot.command_at(step)
    robot.until(lambda: node.safety.state is SafetyState.HOLD)
    robot.until(lambda: planar(robot.commands[-1]) == STILL)
    assert node.safety.reason.startswith("camera")
    assert node.control_loop.person == "/teleop_node"


def test_who_commands_is_told_at_every_tick_in_the_status_and_in_the_diagnostics(
    robot: Robot, person: Person
) -> None:
    record = Record(robot)
    status: list[dict[str, Any]] = []
    robot.node.create_subscription(
        String, "policy_node/status", lambda message: status.append(json.loads(message.data)), 1
    )
    diagnosed: list[dict[str, str]] = []

    def diagnose(message: Any) -> None:
        diagnosed.append({pair.key: pair.value for pair in message.status[0].values})

    robot.node.create_subscription(DiagnosticArray, "/diagnostics", diagnose, 10)
    tick(robot, 12)
    robot.until(lambda: bool(status) and status[-1]["commander"] == "policy")
    person.command(LEFT, 12)
    robot.until(lambda: status[-1]["commander"] == "person")
    assert status[-1]["taken_by"] == "/teleop_node"
    robot.until(lambda: bool(diagnosed) and diagnosed[-1].get("commander") == "person")
    tick(robot, 13)
    assert record.at(13)["commander"] == "person" and record.at(13)["energy"] == ""
    person.let_go(13)
    robot.until(lambda: status[-1]["commander"] == "policy" and status[-1]["taken_by"] == "")
    tick(robot, 14)
    assert record.at(14)["commander"] == "policy"
    robot.call(Trigger, "policy_node/stop", Trigger.Request())
    robot.until(lambda: status[-1]["commander"] == "nobody")
    robot.tick(15)
    assert record.at(15)["commander"] == "nobody"
    assert sorted(record.ticks) == [12, 13, 14, 15] and record.count == 4


def set_back(node: Any) -> None:
    """Let the node's last tick lie in the future, as when a system's clock is set by 20 ms."""
    node.control_loop.last_tick += PERIOD // 5


def test_a_takeover_begins_though_the_clock_is_behind_the_last_tick(
    robot: Robot, start_policy: StartPolicy, interface: Interface
) -> None:
    node = start_policy()
    decide(robot)
    person, count = Person(robot, interface), len(robot.commands)
    set_back(node)
    person.send(person.message(LEFT, 11))
    robot.until(lambda: node.control_loop.person != "")
    assert node.statistics.counts["takeovers"] == 1
    assert len(robot.commands) == count, "nothing is sent on a clock that was set back"


def test_a_decision_that_runs_when_the_clock_is_set_back_is_abandoned_for_a_person(
    robot: Robot, start_policy: StartPolicy, interface: Interface
) -> None:
    node = start_policy()
    decide(robot)
    person, loop = Person(robot, interface), node.control_loop
    go_on = threading.Event()

    def wait(*values: Any) -> None:
        go_on.wait(TIMEOUT)

    loop.loaded.policy._model.encoder.trunk.register_forward_hook(wait)
    robot.tick(12)
    robot.until(lambda: loop.is_deciding)
    count = len(robot.commands)
    set_back(node)
    person.send(person.message(LEFT, 12))
    robot.until(lambda: loop.person != "")
    assert not loop.is_deciding
    go_on.set()
    assert tick(robot, 13) == LEFT
    assert all(planar(command) == LEFT for command in robot.commands[count:])
