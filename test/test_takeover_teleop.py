"""teleop_node takes over from policy_node, with the simulated arm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from robot import parameters
from scene import SECOND
from sensor_msgs.msg import Joy
from test_command_types import HOME, POSITIONS, PolicyWriter, arm
from test_teleop_node import LeaderArm, Person, Stick, write

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.nodes.teleop.node import TeleopNode

pytestmark = [pytest.mark.ros, pytest.mark.sim]

Start = Callable[..., "Pair"]
JOINTS = "sensor_msgs/msg/JointState"


class Pair:
    """A person at teleop_node and an active policy_node from which they take over."""

    def __init__(self, interface: str = "ur5e_push", policy: str = "ur5e_push", **values: Any):
        self.person = Person(interface, takeover="policy_node", **values)
        self.scene = self.person.scene
        # In lockstep a busy machine's pauses don't make it hold.
        chosen: dict[str, Any] = {"lockstep": True, "when_unsure": "go", "stop_after": 600.0}
        self.policy: Any = self.scene.start(policy=policy, **chosen)
        self.scene.until(lambda: self.commander == "policy")
        topic = "policy_node/takeover"
        self.scene.wait(lambda: self.scene.node.count_subscribers(topic) > 0)
        link: Any = self.person.node._link
        self.scene.wait(lambda: not link.problem())

    @property
    def commander(self) -> str:
        return str(self.policy.control_loop.commander.value)

    def wait_for(self, commander: str) -> None:
        self.scene.wait(lambda: self.commander == commander)

    def release(self, stick: Stick) -> None:
        """Let everything go, and wait until the node has seen it."""
        stick.send()
        self.scene.wait(lambda: self.person.node._hold._before is False)

    def run_until(self, commander: str) -> None:
        self.scene.until(lambda: self.commander == commander, steps=50)

    def wait_for_command(self, *values: float) -> None:
        self.scene.wait(lambda: self.scene.sent[-1].values == pytest.approx(values))

    def until_policy_moves(self) -> None:
        """Run ticks until the policy commands a motion."""
        self.run_until("policy")
        count = len(self.scene.sent)
        self.scene.until(lambda: any(any(s.values) for s in self.scene.sent[count:]), steps=50)


@pytest.fixture
def start() -> Iterator[Start]:
    pairs: list[Pair] = []

    def begin(*names: str, **values: Any) -> Pair:
        pairs.append(Pair(*names, **values))
        return pairs[-1]

    yield begin
    for pair in pairs:
        pair.person.close()


@pytest.fixture
def pair(start: Start) -> Pair:
    return start(source="gamepad", message_timeout=2.0)


@pytest.fixture
def stick(pair: Pair) -> Stick:
    stick = Stick(pair.person)
    pair.release(stick)
    return stick


def test_the_button_alone_keeps_the_policy_off_and_the_stick_then_moves_the_arm(
    pair: Pair, stick: Stick
) -> None:
    stick.hold(2, 4)
    pair.wait_for("person")
    pair.wait_for_command(0.0, 0.0)
    pair.scene.wait(lambda: "you command" in pair.person.screen)
    stick.send(4, up=1.0)  # no tick passes
    pair.wait_for_command(0.1, 0.0)  # 0.4 of the interface's 0.25 m/s
    stick.hold(2, 4, left=-1.0)
    pair.wait_for_command(0.0, -0.1)
    topic = pair.scene.interface.command.topic
    assert pair.scene.node.count_publishers(topic) == 1, "the policy node's"
    stick.send()
    pair.until_policy_moves()
    assert pair.policy.safety.state is SafetyState.FRESH
    assert pair.policy.statistics.counts["takeovers"] == 1


def test_what_is_held_from_the_start_takes_nothing_over(pair: Pair) -> None:
    stick = Stick(pair.person)
    stick.hold(4, 4, up=1.0)
    assert pair.commander == "policy"
    pair.release(stick)
    stick.hold(2, 4, up=1.0)
    pair.wait_for("person")


def test_a_joystick_that_is_unplugged_while_it_is_held_stops_the_node(start: Start) -> None:
    pair = start(source="gamepad", message_timeout=2.0)
    stick = Stick(pair.person)
    pair.release(stick)
    stick.hold(3, 4, up=1.0)
    pair.wait_for_command(0.1, 0.0)
    # Simulated time stands still: the arm stands still before the policy node misses a message.
    pair.wait_for_command(0.0, 0.0)
    assert pair.commander == "person"
    pair.scene.until(lambda: pair.policy.safety.state is SafetyState.STOPPED, steps=20)
    assert "did not let go" in pair.policy.safety.reason
    pair.wait_for_command(0.0, 0.0)
    pair.scene.wait(lambda: "policy_node is stopped: /teleop_node" in pair.person.screen)
    assert "holding: no message of the joystick" in pair.person.screen


def test_a_key_takes_over_while_it_repeats_and_then_the_policy_goes_on(start: Start) -> None:
    pair = start(key_timeout=2.0, key_hold=2.5)
    pair.person.press("w")
    pair.run_until("person")
    for _ in range(3):
        pair.person.press("w")
        pair.scene.step()
    pair.wait_for_command(0.1, 0.0)
    pair.scene.wait(lambda: pair.commander == "policy")
    assert pair.policy.safety.state is SafetyState.FRESH


def test_t_takes_over_until_space_whatever_is_pressed_in_between(start: Start) -> None:
    pair = start(key_timeout=2.0, key_hold=0.3)
    pair.person.press("t")
    pair.run_until("person")
    pair.person.press("w")
    pair.wait_for_command(0.1, 0.0)
    pair.wait_for_command(0.0, 0.0)  # later than the key has held a takeover
    pair.scene.run(0.3)
    assert pair.commander == "person"
    pair.person.press(" ")
    pair.run_until("policy")


def test_a_teleoperation_that_ends_while_the_person_holds_stops_the_node(
    pair: Pair, stick: Stick
) -> None:
    stick.hold(2, 4, up=1.0)
    pair.scene.policies.remove(pair.person.node)
    pair.scene.executor.remove_node(pair.person.node)
    pair.person.node.close()
    pair.person.node.destroy_node()
    pair.wait_for_command(0.0, 0.0)
    assert pair.commander == "person", "it is still waited for"
    pair.scene.until(lambda: pair.policy.safety.state is SafetyState.STOPPED, steps=20)
    assert "did not let go" in pair.policy.safety.reason
    pair.wait_for_command(0.0, 0.0)


@pytest.fixture
def joint_pair(start: Start, tmp_path: Path, policy_for: PolicyWriter) -> Callable[..., Pair]:
    """Starter of a pair whose arm is commanded by joint positions."""

    def begin(**values: Any) -> Pair:
        interface = arm("ur5e_trajectory", type=JOINTS, **POSITIONS[JOINTS])
        reach = 0.4 * np.array([1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
        policy = policy_for(interface, list(HOME - reach), list(HOME + reach))
        return start(write(tmp_path, interface), str(policy), **values)

    return begin


def test_positions_go_on_from_the_last_one_that_was_sent(
    joint_pair: Callable[..., Pair],
) -> None:
    pair = joint_pair(source="gamepad", message_timeout=2.0)
    stick = Stick(pair.person)
    pair.release(stick)
    pair.scene.run(1.0)
    begun = len(pair.scene.sent)
    stick.hold(8, 4, up=1.0)
    taken = len(pair.scene.sent)
    stick.send()
    pair.run_until("policy")
    pair.scene.run(0.5)
    sent = np.array([sent.values for sent in pair.scene.sent])
    stamps = np.array([sent.stamp for sent in pair.scene.sent]) / SECOND
    steps = np.abs(np.diff(sent, axis=0))
    for change in (begun, taken):  # at the interface's 0.31 rad/s for at most a period
        assert steps[change - 1 : change + 3].max() <= 0.031 + 1e-6
    # Extra messages between two ticks don't make the arm faster: 0.4 of 0.31 rad/s.
    moved = sent[taken - 1, 0] - sent[taken - 7, 0]
    assert moved == pytest.approx(0.4 * 0.31 * (stamps[taken - 1] - stamps[taken - 7]), rel=0.2)


def test_a_leader_arm_takes_over_by_key_without_a_jump(joint_pair: Callable[..., Pair]) -> None:
    pair = joint_pair(source="leader", message_timeout=2.0)
    leader = LeaderArm(pair.person)
    leader.place = np.array(pair.scene.joints[-1])
    pair.person.press("t")
    for _ in range(30):
        leader.hold(1)
        if pair.commander == "person":
            break
        leader.place = np.array(pair.scene.joints[-1])
    leader.place[0] += 0.1
    for _ in range(40):
        leader.hold(1)
        if abs(pair.scene.joints[-1][0] - leader.place[0]) < 0.01:
            break
    assert pair.commander == "person"
    assert pair.scene.joints[-1][0] == pytest.approx(leader.place[0], abs=0.02)
    pair.person.press(" ")
    pair.run_until("policy")


def test_a_pedal_takes_over_with_a_leader_arm(joint_pair: Callable[..., Pair]) -> None:
    pair = joint_pair(source="leader", message_timeout=2.0, pedal="pedal")
    publisher = pair.scene.node.create_publisher(Joy, "pedal", 10)
    pair.scene.wait(lambda: publisher.get_subscription_count() > 0)
    leader = LeaderArm(pair.person)

    def follow(pressed: int, commander: str) -> None:
        for _ in range(50):
            publisher.publish(Joy(buttons=[pressed]))
            leader.place = np.array(pair.scene.joints[-1])
            leader.hold(1)
            if pair.commander == commander:
                return
        raise AssertionError(pair.commander)

    publisher.publish(Joy(buttons=[0]))
    pair.scene.wait(lambda: pair.person.node._hold._before is False)
    follow(1, "person")
    follow(0, "policy")
    assert pair.policy.safety.state is SafetyState.FRESH


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"pedal": "pedal"}, "pedal: takes over from a policy node, but takeover names none"),
        ({"takeover": "policy_node", "part": "left"}, "part: takeover moves all parts"),
    ],
)
def test_parameters_that_do_not_go_together_are_told_in_a_line(
    context: Any, values: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        TeleopNode(context=context, parameter_overrides=parameters(**values))
