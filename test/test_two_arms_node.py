"""Two arms over a real DDS: one policy, two commands, and what stops both."""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")

import rclpy
from builtin_interfaces.msg import Time
from demonstration import write_bag
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from robot import PERIOD, TIMEOUT, parameters, spin_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Joy
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from two_arms import SIDES, arm, demonstration, gripper, values
from visualization_msgs.msg import MarkerArray

from ebm_policy_ros.bags.discovery import find_bags
from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.nodes.policy.node import PolicyNode
from ebm_policy_ros.nodes.policy.visualization import commanded
from ebm_policy_ros.nodes.recorder.node import RecorderNode
from ebm_policy_ros.nodes.teleop.node import TeleopNode
from ebm_policy_ros.policy.decision import Decision
from ebm_policy_ros.policy.out_of_distribution import Confidence
from ebm_policy_ros.training.data.episodes import read_episode

pytestmark = pytest.mark.ros

# Action of the policy: linear.x and linear.y of the left arm, then of the right one, m/s.
ACTION = [0.1, 0.05, -0.2, 0.0]
MOVING = {"left": (0.1, 0.05), "right": (-0.2, 0.0)}
STILL = {"left": (0.0, 0.0), "right": (0.0, 0.0)}


def robot_of(**parts: dict[str, Any]) -> Interface:
    """Two arms that are measured by the poses of their tools."""
    content = values(**parts)
    for side in SIDES:
        del content["observation"][f"{side}_joints"]
    return interface_from_dict(content, "two_arms")


class TwoArms:
    """Publishes the tools of two arms on simulated time, and receives the commands of both."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.node = rclpy.create_node("robot", context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.clock = self.node.create_publisher(Clock, "/clock", 10)
        self.tools = {
            side: self.node.create_publisher(PoseStamped, f"{side}/tool_pose", 10)
            for side in SIDES
        }
        self.heard: dict[str, list[TwistStamped]] = {side: [] for side in SIDES}
        self.listeners = {
            side: self.listen(f"{side}/twist", self.heard[side].append) for side in SIDES
        }
        self.nodes: list[Any] = []
        self.step = 10
        self.x = {"left": 0.3, "right": 0.3}

    def listen(self, topic: str, hear: Callable[[Any], Any], kind: Any = TwistStamped) -> Any:
        return self.node.create_subscription(kind, topic, hear, 100)

    def add(self, node: Any) -> Any:
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def start_policy(self, policy: Path, **chosen: Any) -> Any:
        settings = {"policy": str(policy), "use_sim_time": True, "autostart": True}
        settings |= {"device": "cpu", "when_unsure": "go"} | chosen
        node = self.add(
            PolicyNode(context=self.context, parameter_overrides=parameters(**settings))
        )
        self.until(lambda: self.node.count_subscribers("/clock") > 0)
        self.until(lambda: self.subscribers("tool_pose") >= [1, 1])
        self.until(lambda: node.is_active)  # the policy is loaded in the background
        return node

    def subscribers(self, topic: str) -> list[int]:
        """Number of subscribers to a topic of each side."""
        return [self.node.count_subscribers(f"{side}/{topic}") for side in SIDES]

    def until(self, condition: Callable[[], bool]) -> None:
        spin_until(self.executor, condition)

    def tick(self, sides: tuple[str, ...] = SIDES) -> dict[str, tuple[float, float]]:
        """Publish a sample of each side and then the time; return the newest command of each."""
        self.step += 1
        stamp = Time(sec=self.step // 10, nanosec=self.step % 10 * PERIOD)
        for side in sides:
            pose = PoseStamped()
            pose.header.stamp, pose.header.frame_id = stamp, f"{side}_base"
            pose.pose.position.x = self.x[side]
            self.tools[side].publish(pose)
        self.clock.publish(Clock(clock=stamp))
        self.until(lambda: all(map(self._is_done, self.nodes)))
        for publisher in (p for node in self.nodes for p in node.publishers):
            publisher.wait_for_all_acked(Duration(seconds=TIMEOUT))
        for _ in range(20):
            self.executor.spin_once(timeout_sec=0.002)
        return self.commands()

    def _is_done(self, node: Any) -> bool:
        now = self.step * PERIOD
        if isinstance(node, TeleopNode):
            return node.commander.last_tick == now
        if not isinstance(node, PolicyNode) or node.control_loop is None or not node.is_active:
            return True
        return node.control_loop.last_tick == now and not node.control_loop.is_deciding

    def ticks(self, count: int, sides: tuple[str, ...] = SIDES) -> dict[str, tuple[float, float]]:
        for _ in range(count):
            found = self.tick(sides)
        return found

    def commands(self) -> dict[str, tuple[float, float]]:
        """Newest command of each arm."""
        last = {side: heard[-1].twist.linear for side, heard in self.heard.items() if heard}
        return {side: (round(v.x, 6), round(v.y, 6)) for side, v in last.items()}

    def forget(self) -> None:
        for heard in self.heard.values():
            heard.clear()

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready)
        future = client.call_async(request)
        self.until(future.done)
        return future.result()

    def close(self) -> None:
        for node in self.nodes:
            node.close()
            node.destroy_node()
        self.node.destroy_node()


@pytest.fixture
def arms(context: Any) -> Iterator[TwoArms]:
    arms = TwoArms(context)
    yield arms
    arms.close()


@pytest.fixture
def policy(policy_for: Callable[..., Path]) -> Path:
    return policy_for(robot_of(), ACTION, ACTION)


def test_one_decision_commands_both_arms_each_in_its_frame(arms: TwoArms, policy: Path) -> None:
    arms.start_policy(policy)
    assert arms.ticks(4) == MOVING
    left, right = (arms.heard[side][-1] for side in SIDES)
    assert (left.header.frame_id, right.header.frame_id) == ("left_base", "right_base")
    assert stamp_ns(left) == stamp_ns(right) == arms.step * PERIOD


@pytest.mark.parametrize("lost", SIDES)
def test_a_lost_stream_of_one_arm_holds_and_then_stops_both(
    arms: TwoArms, policy: Path, lost: str
) -> None:
    node = arms.start_policy(policy, stop_after=1.0)
    assert arms.ticks(4) == MOVING
    kept = tuple(side for side in SIDES if side != lost)
    # Its last sample may be used for 0.3 s.
    assert arms.ticks(3, kept) == MOVING
    assert arms.tick(kept) == STILL and node.safety.state is SafetyState.HOLD
    assert f"{lost}_tool" in node.safety.reason
    arms.ticks(10, kept)
    assert node.safety.state.value == "stopped"
    assert arms.ticks(10) == STILL, "it stays stopped when the stream is back"
    assert node.safety.state.value == "stopped"


def test_a_limit_of_one_arm_guards_that_arm_alone(
    arms: TwoArms, policy_for: Callable[..., Path]
) -> None:
    box = {"stream": "right_tool", "fields": ["x"], "low": [0.25], "high": [0.5]}
    robot = robot_of(left=arm("left"), right=arm("right", workspace=box))
    node = arms.start_policy(policy_for(robot, ACTION, ACTION))
    # The right arm may go on to 0.25 m within a period; the left one, as far, has no such box.
    arms.x |= {"left": 0.255, "right": 0.255}
    found = arms.ticks(4)
    assert found["left"] == MOVING["left"]
    assert found["right"][0] == pytest.approx(-0.05, abs=1e-3)
    assert [*node.statistics.interventions] == ["right: workspace: linear.x"]


def test_a_guard_that_allows_nothing_holds_both(
    arms: TwoArms, policy_for: Callable[..., Path]
) -> None:
    """The left arm is commanded by joints, whose motions may lead anywhere outside of its box."""
    box = {"stream": "left_tool", "fields": ["x"], "low": [0.0], "high": [0.4]}
    joints = arm("left", topic="left/velocity", type="std_msgs/msg/Float64MultiArray")
    joints |= {"quantity": "velocity", "fields": ["a", "b"], "frame_id": "", "workspace": box}
    robot = robot_of(left=joints, right=arm("right"))
    sent: list[list[float]] = []
    arms.listen("left/velocity", lambda message: sent.append([*message.data]), Float64MultiArray)
    node = arms.start_policy(policy_for(robot, ACTION, ACTION))
    assert arms.ticks(4)["right"] == MOVING["right"]
    assert sent[-1] == pytest.approx(MOVING["left"])
    arms.x["left"] = 0.45
    assert arms.tick()["right"] == STILL["right"] and sent[-1] == [0.0, 0.0]
    assert node.safety.reason == "guard: left: workspace: x"


def test_parameters_tighten_the_limits_of_all_arms(arms: TwoArms, policy: Path) -> None:
    node = arms.start_policy(policy, **{"limits.high": [0.02, 0.25, 0.25, 0.25]})
    assert arms.ticks(4) == {"left": (0.02, 0.05), "right": (-0.2, 0.0)}
    (answer,) = node.set_parameters(parameters(**{"limits.low": [-0.2, -0.2]}))
    assert "expected one number for each of left.linear.x, left.linear.y, right" in answer.reason
    (answer,) = node.set_parameters(parameters(**{"limits.low": [-0.2, -0.2, -0.1, -0.2]}))
    assert answer.successful and arms.ticks(2)["right"] == (-0.1, 0.0)


def test_another_commander_of_one_arm_holds_both(arms: TwoArms, policy: Path) -> None:
    node = arms.start_policy(policy)
    assert arms.ticks(4) == MOVING
    rival = arms.node.create_publisher(TwistStamped, "right/twist", 1)
    arms.until(lambda: arms.node.count_publishers("right/twist") == 2)
    assert arms.ticks(2) == STILL
    assert "right: robot may command on /right/twist too" in node.safety.reason
    arms.node.destroy_publisher(rival)
    arms.until(lambda: arms.node.count_publishers("right/twist") == 1)
    assert arms.ticks(6) == MOVING


def test_without_a_listener_of_one_arm_neither_moves(arms: TwoArms, policy: Path) -> None:
    arms.node.destroy_subscription(arms.listeners["left"])
    arms.until(lambda: arms.node.count_subscribers("left/twist") == 0)
    node = arms.start_policy(policy)
    assert not arms.ticks(4).get("right")
    assert "left: nobody listens on /left/twist" in node.safety.reason


def test_the_last_commands_of_both_are_stops(arms: TwoArms, policy: Path) -> None:
    node = arms.start_policy(policy)
    assert arms.ticks(4) == MOVING
    node.trigger_deactivate()
    arms.until(lambda: arms.commands() == STILL)
    assert arms.node.count_publishers("left/twist") == 0


def test_a_stop_of_an_operator_stops_both(arms: TwoArms, policy: Path) -> None:
    node = arms.start_policy(policy)
    assert arms.ticks(4) == MOVING
    assert arms.call(Trigger, "policy_node/stop", Trigger.Request()).success
    arms.until(lambda: arms.commands() == STILL)
    assert node.safety.state is SafetyState.STOPPED


def test_shadow_mode_proposes_the_command_of_each_arm(arms: TwoArms, policy: Path) -> None:
    proposed: dict[str, list[Any]] = {side: [] for side in SIDES}
    for side in SIDES:
        arms.listen(f"policy_node/proposed_command_{side}", proposed[side].append)
    arms.start_policy(policy, publish_commands=False)
    arms.ticks(4)
    found = {side: heard[-1].twist.linear for side, heard in proposed.items()}
    assert {side: (round(v.x, 6), round(v.y, 6)) for side, v in found.items()} == MOVING
    assert not arms.commands(), "nothing is commanded"


def test_diagnostics_and_markers_tell_of_both_arms(
    arms: TwoArms, policy_for: Callable[..., Path]
) -> None:
    told: list[Any] = []
    arms.listen("/diagnostics", told.append, DiagnosticArray)
    drawn: list[Any] = []
    arms.listen("policy_node/candidates", drawn.append, MarkerArray)
    robot = robot_of(left=arm("left"), right=arm("right", low=[-0.1, -0.1], high=[0.1, 0.1]))
    arms.start_policy(policy_for(robot, ACTION, ACTION))
    arms.until(lambda: arms.node.count_subscribers("policy_node/candidates") > 0)
    arms.ticks(4)
    arms.until(lambda: bool(drawn))
    frames = {(marker.ns, marker.header.frame_id) for marker in drawn[-1].markers}
    assert frames == {
        ("left.candidates", "left_base"), ("left.command", "left_base"),
        ("right.candidates", "right_base"), ("right.command", "right_base"),
    }  # fmt: skip

    def guarded() -> dict[str, int]:
        """Changes by the guards in the newest diagnostics, while time goes on."""
        arms.tick()
        pairs = told[-1].status[0].values if told else []
        return {pair.key: int(pair.value) for pair in pairs if pair.key.startswith("guard ")}

    arms.until(lambda: bool(guarded()))
    assert [*guarded()] == ["guard right: bounds: linear.x"]
    names = [status.name.rpartition(": ")[2] for status in told[-1].status]
    assert names == ["policy", "left_tool", "right_tool"]


def test_the_recorder_writes_the_commands_of_both(
    arms: TwoArms, policy: Path, tmp_path: Path
) -> None:
    path = tmp_path / "two_arms.yaml"
    path.write_text(yaml.safe_dump(robot_of().to_dict()))
    chosen = {"interface": str(path), "folder": str(tmp_path / "demos"), "policy_node": ""}
    settings = parameters(**chosen, use_sim_time=True, keys=False)
    arms.add(RecorderNode(context=arms.context, parameter_overrides=settings))
    arms.start_policy(policy)
    arms.until(lambda: arms.subscribers("twist") == [2, 2])

    def recording() -> bool:
        arms.tick()
        return bool(arms.call(Trigger, "recorder_node/start", Trigger.Request()).success)

    while not recording():
        pass
    arms.ticks(12)
    assert arms.call(SetBool, "recorder_node/stop", SetBool.Request(data=True)).success
    (bag,) = find_bags(tmp_path / "demos")
    episode = read_episode(bag, robot_of())
    assert len(episode.actions) >= 10
    np.testing.assert_allclose(episode.actions[:, 0], [ACTION] * len(episode.actions), atol=1e-6)


def test_the_ring_of_what_was_sent_keeps_the_grippers_of_the_decision() -> None:
    grips = {"fields": ["linear.x"], "low": [-0.25], "high": [0.25], "gripper": gripper("left")}
    robot = robot_of(left=arm("left", **grips), right=arm("right"))
    assert robot.action.names == (
        "left.linear.x", "left.finger", "right.linear.x", "right.linear.y",
    )  # fmt: skip
    action = np.array([[0.1, 0.05, -0.2, 0.0]], np.float32)
    confidence = Confidence(0.0, 1.0, 1.0, 1.0, 1.0, ())
    decision = Decision(action, 0.0, action, np.zeros(1, np.float32), (), confidence, True, {})
    sent = [np.array([[0.08]]), np.array([[-0.1, 0.01]])]
    assert commanded(robot, decision, sent) == pytest.approx([0.08, 0.05, -0.1, 0.01])
    assert decision.action[0] == pytest.approx([0.1, 0.05, -0.2, 0.0])


# Teleoperation


class Operator:
    """A person at a pseudo-terminal, with teleop_node."""

    def __init__(self, arms: TwoArms, tmp_path: Path, **chosen: Any) -> None:
        path = tmp_path / "two_arms.yaml"
        robot = robot_of(**{side: arm(side, measured=f"{side}_tool") for side in SIDES})
        path.write_text(yaml.safe_dump(robot.to_dict()))
        self._arms = arms
        self._far, self._near = pty.openpty()
        settings = {"interface": str(path), "use_sim_time": True, "key_timeout": 2.0} | chosen
        self.node = arms.add(
            TeleopNode(
                Terminal(os.ttyname(self._near)),
                context=arms.context,
                parameter_overrides=parameters(**settings),
            )
        )
        arms.until(lambda: arms.node.count_subscribers("/clock") > 0)
        arms.until(lambda: arms.node.count_subscribers("right/tool_pose") > 0)

    def press(self, keys: str) -> dict[str, tuple[float, float]]:
        """Press keys and let two ticks pass; return the newest commands."""
        os.write(self._far, keys.encode())
        return self._arms.ticks(2)

    def close(self) -> None:
        os.close(self._far)
        os.close(self._near)


def test_one_arm_is_moved_and_the_other_one_is_told_to_stand_still(
    arms: TwoArms, tmp_path: Path
) -> None:
    person = Operator(arms, tmp_path, speed=0.4)
    arms.ticks(3)
    assert not arms.commands(), "nothing is commanded before the first motion"
    assert person.press("w") == {"left": (0.1, 0.0), "right": (0.0, 0.0)}
    assert person.press("p") == STILL, "choosing the next arm moves nothing"
    assert person.press("w") == {"left": (0.0, 0.0), "right": (0.1, 0.0)}
    # Without the right tool's pose neither arm is moved.
    person.press("p")
    assert arms.ticks(5, ("left",)) == STILL
    assert "right_tool" in person.node.commander.problem
    person.close()


def test_each_press_of_a_gamepads_button_chooses_the_next_arm(
    arms: TwoArms, tmp_path: Path
) -> None:
    chosen = {"source": "gamepad", "message_timeout": 2.0, "joy.next_part": 9}
    person = Operator(arms, tmp_path, speed=0.4, **chosen)
    publisher = arms.node.create_publisher(Joy, "joy", 10)
    arms.until(lambda: publisher.get_subscription_count() == len(SIDES))

    def send(*buttons: int, forward: float = 0.0) -> dict[str, tuple[float, float]]:
        axes = [0.0, forward, *[0.0] * 6]
        publisher.publish(Joy(axes=axes, buttons=[int(n in buttons) for n in range(11)]))
        return arms.ticks(2)

    send()
    assert send(4, forward=1.0) == {"left": (0.1, 0.0), "right": (0.0, 0.0)}
    assert send(4, 9, forward=1.0) == STILL, "what is held does not move the next arm"
    send()
    assert send(4, forward=1.0) == {"left": (0.0, 0.0), "right": (0.1, 0.0)}
    send()
    send(9)
    send()
    assert send(4, forward=1.0) == {"left": (0.1, 0.0), "right": (0.0, 0.0)}
    person.close()


def test_a_person_takes_over_both_arms_of_a_policy(
    arms: TwoArms, policy: Path, tmp_path: Path
) -> None:
    node = arms.start_policy(policy)
    chosen = {"source": "gamepad", "message_timeout": 2.0, "takeover": "policy_node"}
    person = Operator(arms, tmp_path, speed=0.4, **chosen)
    publisher = arms.node.create_publisher(Joy, "joy", 10)
    arms.until(lambda: publisher.get_subscription_count() == len(SIDES))
    arms.until(lambda: arms.node.count_subscribers("policy_node/takeover") > 0)

    def send(*buttons: int, forward: float = 0.0) -> None:
        axes = [0.0, forward, *[0.0] * 6]
        publisher.publish(Joy(axes=axes, buttons=[int(n in buttons) for n in range(11)]))
        for _ in range(2):
            arms.tick()

    assert arms.ticks(4) == MOVING
    send()
    send(4, forward=1.0)
    arms.until(lambda: arms.commands() == {"left": (0.1, 0.0), "right": (0.0, 0.0)})
    assert node.control_loop.commander.value == "person"
    send()
    arms.until(lambda: node.control_loop.person == "")
    assert arms.ticks(3) == MOVING
    person.close()


def test_the_key_for_the_next_arm_does_not_give_the_arms_back_to_the_policy(
    arms: TwoArms, policy: Path, tmp_path: Path
) -> None:
    node = arms.start_policy(policy)
    person = Operator(arms, tmp_path, speed=0.4, takeover="policy_node", key_hold=5.0)
    arms.until(lambda: arms.node.count_subscribers("policy_node/takeover") > 0)
    person.press("p")
    assert arms.ticks(4) == MOVING, "it takes nothing over"
    person.press("w")
    arms.until(lambda: arms.commands() == {"left": (0.0, 0.0), "right": (0.1, 0.0)})
    person.press("p")
    arms.until(lambda: arms.commands() == STILL)
    assert node.control_loop.commander.value == "person"
    person.press("w")
    arms.until(lambda: arms.commands() == {"left": (0.1, 0.0), "right": (0.0, 0.0)})
    assert node.statistics.counts["takeovers"] == 1
    person.close()


def test_an_operator_may_command_one_arm_alone(arms: TwoArms, tmp_path: Path) -> None:
    person = Operator(arms, tmp_path, speed=0.4, part="right")
    arms.ticks(3)
    assert person.press("w") == {"right": (0.1, 0.0)}
    assert arms.node.count_publishers("left/twist") == 0, "another node may command it"
    person.close()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"part": "middle"}, "part: got 'middle', expected one of left, right or nothing"),
        ({"invert": ["linear.x"]},
         "invert: got 'linear.x', expected names that begin with left. or right."),
        ({"invert": ["right.linear.z"]}, "invert: got 'linear.z', expected some of linear.x"),
    ],
)  # fmt: skip
def test_a_part_or_direction_that_is_not_there_is_one_line(
    arms: TwoArms, tmp_path: Path, chosen: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        Operator(arms, tmp_path, **chosen)
    assert message in str(caught.value) and "\n" not in str(caught.value)


# Replay


@pytest.mark.slow
def test_replay_compares_the_proposals_of_both_arms(policy: Path, tmp_path: Path) -> None:
    from ebm_policy_ros.sim.replay.command import main

    bag = write_bag(tmp_path / "bag", demonstration(40))
    out = tmp_path / "replay"
    chosen = ("--policy", str(policy), "--device", "cpu", "--max_latency", "1e9")
    with suppress(SystemExit):
        main([str(bag), "--out", str(out), *chosen])
    content = json.loads((out / "replay.json").read_text())
    error = next(check for check in content["checks"] if check["name"] == "action error (m/s)")
    # Of the first step 0.1 and 0.05 m/s left, 0.2 m/s right; it gets less until the last one. A
    # busy machine leaves some of the steps out, or stands still in them.
    assert 0.04 < error["value"] <= np.sqrt(0.1**2 + 0.05**2 + 0.2**2)
    assert content["counts"]["decisions"] > 0
    assert (out / "replay.png").exists()
