"""check_robot: each kind of fault with its cure, limits of a URDF, and test moves of an arm."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml

pytest.importorskip("rclpy")

import rclpy
from geometry_msgs.msg import Pose, PoseStamped, TwistStamped, Vector3
from operator_page import Spinning
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from robot import Robot, spin_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from two_arms import arm, gripper, two_arms

from ebm_policy_ros.check.commands import command_checks
from ebm_policy_ros.check.facts import CommandFacts, Endpoint, ObservationFacts
from ebm_policy_ros.check.limits import described_checks, undescribed_note
from ebm_policy_ros.check.results import CheckResult, Level, problems, table
from ebm_policy_ros.check.streams import observation_checks
from ebm_policy_ros.check.urdf import parse_urdf, read_urdf
from ebm_policy_ros.interface import Interface, interface_from_dict, load_interface
from ebm_policy_ros.nodes.check import check_robot as command
from ebm_policy_ros.nodes.check.check_robot import CheckArgs, checked
from ebm_policy_ros.nodes.check.description import LATCHED, Description
from ebm_policy_ros.nodes.check.listener import Listener
from ebm_policy_ros.util.resources import interface_path
from ebm_policy_ros.util.yaml_file import UnreadableFile

pytestmark = pytest.mark.ros

PUSH = load_interface(interface_path("ur5e_push"))
SECOND = 1_000_000_000
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
Vector = npt.NDArray[np.float64]
Spoil = Callable[["Lab"], None]


class Lab:
    """A robot that publishes on the system's clock at 50 Hz, and the node that checks it."""

    def __init__(self, change: dict[str, dict[str, Any]]) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        values = PUSH.to_dict()
        for name, changes in change.items():
            part = values if name == "file" else values["action"] if name == "action" else None
            (values["observation"][name] if part is None else part).update(changes)
        self.interface = interface_from_dict(values, "changed")
        self.robot = Robot(self.context, PUSH)
        self.node = self.robot.node
        self.node.destroy_publisher(self.robot.clock)
        # Two participants: one can't have a topic with two types.
        self._other = rclpy.Context()
        rclpy.init(context=self._other)
        self.checker = rclpy.create_node("check_robot", context=self._other)
        self.only = "camera joints tool"
        self.after: list[Callable[[], None]] = []
        self.robot.repeat(0.02, self._tick)

    def _tick(self) -> None:
        now = self.node.get_clock().now().to_msg()
        self.robot._publish(now, 0, 0.5, self.only)
        for call in self.after:
            call()

    def publish(self, kind: Any, topic: str, make: Callable[[], Any], qos: Any = 10) -> Any:
        """Publish a message at every tick."""
        publisher = self.node.create_publisher(kind, topic, qos)
        self.after.append(lambda: publisher.publish(make()))
        return publisher

    def now(self, seconds: float = 0.0) -> Any:
        """Stamp so many seconds after now."""
        clock = self.node.get_clock()
        return (clock.now() + rclpy.duration.Duration(seconds=seconds)).to_msg()

    def check(self, **options: Any) -> list[CheckResult]:
        args = CheckArgs(interface="", seconds=0.6, **options)
        executor = SingleThreadedExecutor(context=self._other)
        executor.add_node(self.checker)
        listener = Listener(self.checker, executor, self.interface)
        spinning = Spinning(self.robot.executor)
        try:
            # On a busy machine the first announcements of a participant may get lost.
            spin_until(executor, lambda: "robot" in self.checker.get_node_names(), 60.0)
            return checked(listener, self.interface, args)
        finally:
            spinning.end()

    def close(self) -> None:
        self.checker.destroy_node()
        self.node.destroy_node()
        for context in (self.context, self._other):
            rclpy.try_shutdown(context=context)


def images(lab: Lab, encoding: str = "rgb8", ahead: float = 0.0) -> Image:
    message = Image(height=120, width=160, encoding=encoding, step=480)
    message.data = np.zeros(480 * 120, np.uint8).tobytes()
    message.header.stamp = lab.now(ahead)
    return message


def pose(lab: Lab, frame: str = "base_link", ahead: float = 0.0) -> PoseStamped:
    message = PoseStamped()
    message.header.stamp, message.header.frame_id = lab.now(ahead), frame
    message.pose.position.x = 0.5
    return message


def joints(lab: Lab, names: list[str] | None = None, **values: Any) -> JointState:
    names = lab.robot.joint_names if names is None else names
    message = JointState(name=names, position=[0.0] * len(names))
    message.header.stamp = lab.now(values.get("ahead", 0.0))
    return message


# Situations: some faults each, in different streams and commands


def content(lab: Lab) -> None:
    lab.only = ""
    short = [name.replace("wrist_3", "wrist3") for name in lab.robot.joint_names]
    lab.node.destroy_publisher(lab.robot.joints)
    lab.node.destroy_publisher(lab.robot.tool)
    lab.node.destroy_publisher(lab.robot.camera)
    lab.publish(Image, lab.robot.topics["camera"], lambda: images(lab, "rgb9"))
    lab.publish(JointState, lab.robot.topics["joints"], lambda: joints(lab, short))
    lab.publish(PoseStamped, lab.robot.topics["tool"], lambda: pose(lab, "tool0"))


def times(lab: Lab) -> None:
    lab.only = ""
    for publisher in (lab.robot.joints, lab.robot.tool, lab.robot.camera):
        lab.node.destroy_publisher(publisher)
    lab.publish(Image, lab.robot.topics["camera"], lambda: images(lab, ahead=5.0))
    lab.publish(JointState, lab.robot.topics["joints"], lambda: joints(lab, ahead=-1.0))
    lab.publish(PoseStamped, lab.robot.topics["tool"], lambda: pose(lab))


def topics(lab: Lab) -> None:
    lab.only = ""
    for publisher in (lab.robot.joints, lab.robot.tool, lab.robot.camera):
        lab.node.destroy_publisher(publisher)
    lab.publish(Image, "other/image", lambda: images(lab))
    lab.publish(JointState, lab.robot.topics["joints"], lambda: joints(lab), BEST_EFFORT)
    lab.publish(Pose, lab.robot.topics["tool"], Pose)
    lab.node.destroy_subscription(lab.robot.listener)
    lab.node.create_subscription(Vector3, PUSH.command.topic, print, 1)


def publishers(lab: Lab) -> None:
    lab.only = "camera"
    second = rclpy.create_node("second_driver", context=lab.context)
    lab.robot.add(second)
    publisher = second.create_publisher(PoseStamped, lab.robot.topics["tool"], 1)
    lab.after.append(lambda: publisher.publish(pose(lab)))
    second.create_publisher(TwistStamped, PUSH.command.topic, 1)
    lab.node.destroy_subscription(lab.robot.listener)
    lab.node.create_subscription(TwistStamped, "servo/twist", print, 1)


def doubled(lab: Lab) -> None:
    second = rclpy.create_node("joint_state_publisher", context=lab.context)
    lab.robot.add(second)
    publisher = second.create_publisher(JointState, lab.robot.topics["joints"], 10)
    lab.after.append(lambda: publisher.publish(joints(lab)))


def odd(lab: Lab) -> None:
    lab.only = "camera joints"
    lab.node.destroy_publisher(lab.robot.tool)

    def unstamped() -> PoseStamped:
        message = pose(lab)
        message.header.stamp.sec = message.header.stamp.nanosec = 0
        message.pose.position.x = 0.9
        return message

    lab.publish(PoseStamped, lab.robot.topics["tool"], unstamped)
    lab.node.destroy_subscription(lab.robot.listener)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    lab.node.create_subscription(TwistStamped, PUSH.command.topic, print, latched)
    lab.publish(String, "/robot_description", lambda: String(data="<robot><joint/>"), LATCHED)


def simulated(lab: Lab) -> None:
    lab.publish(Clock, "/clock", lambda: Clock(clock=lab.ticks()))  # type: ignore[attr-defined]
    count = iter(range(1, 10**9))
    lab.ticks = lambda: rclpy.time.Time(nanoseconds=next(count) * SECOND // 50).to_msg()  # type: ignore[attr-defined]


def over(lab: Lab) -> None:
    done = String(data='{"state": "done", "success": false}')
    lab.publish(String, "sim_bridge_node/status", lambda: done, LATCHED)


def standing(lab: Lab) -> None:
    lab.publish(Clock, "/clock", lambda: Clock(clock=rclpy.time.Time(seconds=5).to_msg()))


def well(lab: Lab) -> None:
    pass


SITUATIONS: dict[str, tuple[Spoil, dict[str, dict[str, Any]], dict[str, Any]]] = {
    # A busy machine is late.
    "well": (well, {name: {"max_age": 2.0} for name in PUSH.observation}, {}),
    "content": (content, {}, {}),
    "times": (times, {"tool": {"min_rate": 500.0}}, {}),
    "topics": (topics, {"joints": {"qos": {"reliability": "reliable"}}}, {}),
    "publishers": (publishers, {"camera": {"max_age": 0.001}}, {}),
    "doubled": (doubled, {}, {}),
    "odd": (odd, {"camera": {"size": [96, 96]}}, {}),
    "simulated": (simulated, {}, {}),
    "over": (over, {}, {"move": True}),
    "standing": (standing, {}, {}),
    "no clock": (well, {}, {"use_sim_time": True}),
}
_DONE: dict[str, list[CheckResult]] = {}


def results(situation: str) -> list[CheckResult]:
    """Results of a situation, which is set up only once."""
    if situation not in _DONE:
        spoil, change, options = SITUATIONS[situation]
        lab = Lab(change)
        try:
            spoil(lab)
            _DONE[situation] = lab.check(**options)
        finally:
            lab.close()
    return _DONE[situation]


def test_a_robot_that_is_as_its_interface_says_has_no_problem_and_no_note() -> None:
    found = results("well")
    assert {result.level for result in found} == {Level.OK}, table(found)
    told = {(result.subject, result.what): result.measured for result in found}
    assert told["camera", "picture"] == "160x120 rgb8"
    assert told["camera", "publisher"] == "robot"
    assert told["action", "listener"] == "robot" and told["action", "other commanders"] == "none"
    assert told["tool x", "in the workspace"] == "0.500"
    assert told["joints", "joints"] == "all of 6"
    assert ("all streams", "observation") in told and ("all streams", "skew") in told


SHARED = "images need config/fastdds.xml at the driver too (docs/how-to/new_arm.md)"
NAMES = "shoulder_pan_joint, shoulder_lift_joint, elbow_joint, wrist_1_joint, wrist_2_joint"
FAULTS = [
    (
        "content", "camera", "picture", "encoding 'rgb9', expected one of",
        "choose one of the encodings of docs/reference/interface.md#streams in the driver",
    ),
    (
        "content", "joints", "joints", "no wrist_3_joint",
        f"correct observation.joints.names or prefix; {NAMES}, wrist3_joint come, did you mean "
        "wrist3_joint?",
    ),
    (
        "content", "tool", "frame", "'tool0'",
        "set observation.tool.frame_id to 'tool0' if that is right, or let the publisher use "
        "'base_link'",
    ),
    (
        "times", "camera", "stamps", "s after receipt",
        "set the clocks of both computers to the same time (chrony or PTP)",
    ),
    (
        "times", "joints", "age", "1.0",
        "shorten the delay of the publisher, compare its clock (chrony), or raise "
        "observation.joints.max_age",
    ),
    (
        "times", "tool", "rate", " Hz",
        "raise the publisher's rate, or lower observation.tool.min_rate",
    ),
    (
        "topics", "camera", "publisher", "nobody on /camera/image_raw",
        "start what publishes /camera/image_raw, or correct observation.camera.topic: "
        "sensor_msgs/msg/Image comes on /other/image",
    ),
    (
        "topics", "joints", "qos", "robot offers best_effort, qos.reliability asks for reliable",
        "set observation.joints.qos to what is offered, or change the publisher's",
    ),
    (
        "topics", "tool", "publisher", "robot: geometry_msgs/msg/Pose",
        "publish geometry_msgs/msg/PoseStamped instead",
    ),
    (
        "topics", "action", "listener", "robot: geometry_msgs/msg/Vector3",
        "let it take geometry_msgs/msg/TwistStamped",
    ),
    ("publishers", "tool", "publisher", "2: ", "stop all of them but one"),
    (
        "publishers", "joints", "messages", "none",
        "robot publishes nothing: see its log, start or activate it",
    ),
    (
        "publishers", "camera", "age", "s, at most",
        "shorten the delay of the publisher, compare its clock (chrony), or raise "
        f"observation.camera.max_age; {SHARED}",
    ),
    ("publishers", "action", "other commanders", "second_driver", "stop second_driver first"),
    (
        "publishers", "action", "listener", "nobody on /servo_node/delta_twist_cmds",
        "start or activate the controller that listens on /servo_node/delta_twist_cmds, or "
        "correct action.topic: geometry_msgs/msg/TwistStamped is taken on /servo/twist",
    ),
    (
        "doubled", "joints", "publisher", "2: ",
        "stop all of them but one, or let each publish other joints: their values alternate",
    ),
    (
        "odd", "tool x", "in the workspace", "0.900",
        "move the tool inside, or correct workspace.low and high",
    ),
    (
        "odd", "action", "listener", "robot asks for transient_local",
        "let robot subscribe with durability volatile, as every controller does",
    ),
    (
        "odd", "robot", "URDF", "not XML",
        "correct what publishes robot_description, or give --urdf",
    ),
    (
        "simulated", "camera", "stamps", "the system's time",
        "start the publisher with use_sim_time:=true, or give --use_sim_time false",
    ),
    (
        "over", "simulation", "scene", "time is up, scene over",
        "the scene is over, and nothing moves in it: call sim_bridge_node/reset",
    ),
    (
        "standing", "clock", "time", "robot, stands still",
        "start or resume the simulation; nothing is observed while its clock stands still",
    ),
    (
        "no clock", "clock", "time", "nobody publishes /clock",
        "start the simulation, or leave --use_sim_time out",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("situation", "subject", "what", "measured", "cure"),
    FAULTS,
    ids=[f"{s}: {subject} {what}" for s, subject, what, *_ in FAULTS],
)
def test_each_fault_is_a_problem_with_its_cure(
    situation: str, subject: str, what: str, measured: str, cure: str
) -> None:
    found = results(situation)
    (result,) = [r for r in found if (r.subject, r.what) == (subject, what)]
    assert result.level is Level.PROBLEM, table(found)
    assert measured in result.measured
    assert result.cure == cure


NOTES = [
    ("odd", "tool", "stamps", "the time of receipt counts; delays before it stay unseen"),
    (
        "odd", "camera", "aspect",
        "frames of 160x120 are stretched to 96x96, everything 0.75 times as wide; `resize: crop` "
        "or `letterbox` of the stream keeps shapes",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("situation", "subject", "what", "text"), NOTES)
def test_what_is_allowed_but_worth_knowing_is_a_note(
    situation: str, subject: str, what: str, text: str
) -> None:
    (result,) = [r for r in results(situation) if (r.subject, r.what) == (subject, what)]
    assert (result.level, result.cure) == (Level.NOTE, text)


def test_streams_that_are_far_apart_in_time_are_a_problem() -> None:
    interface = dataclasses.replace(PUSH, max_skew=0.1)
    near, far = (0.05,) * 10, (0.05,) * 8 + (0.2,) * 2
    for skews, count in ((near, 0), (far, 1)):
        facts = ObservationFacts(10, 10, skews, "")
        found = problems(list(observation_checks(interface, facts, [])))
        assert [(result.subject, result.what) for result in found] == count * [
            ("all streams", "skew")
        ]
    assert found[0].measured == "0.050 s, at most 0.200 s"
    assert found[0].cure == "shorten the delay of the slowest stream, or raise max_skew"


def test_each_arm_and_each_gripper_of_an_action_with_parts_is_checked(context: Any) -> None:
    interface = two_arms(left=arm("left", gripper=gripper("left")), right=arm("right"))
    controller = rclpy.create_node("controller", context=context)
    checker = rclpy.create_node("check_robot", context=context)
    executor = SingleThreadedExecutor(context=context)
    for node in (controller, checker):
        executor.add_node(node)
    controller.create_subscription(TwistStamped, "left/twist", print, 1)
    controller.create_publisher(Float64MultiArray, "left/gripper", 1)
    listener = Listener(checker, executor, interface)
    spin_until(executor, lambda: checker.count_subscribers("/left/twist") == 1)
    spin_until(executor, lambda: checker.count_publishers("/left/gripper") == 1)
    found = [result for facts in listener.commands() for result in command_checks(facts)]
    assert [(result.subject, result.what, result.level.value) for result in found] == [
        ("action.parts.left", "listener", "ok"),
        ("action.parts.left", "other commanders", "ok"),
        ("action.parts.left.gripper", "listener", "PROBLEM"),
        ("action.parts.left.gripper", "other commanders", "PROBLEM"),
        ("action.parts.right", "listener", "PROBLEM"),
        ("action.parts.right", "other commanders", "ok"),
    ]
    assert found[4].cure == (
        "start or activate the controller that listens on /right/twist, or correct "
        "action.parts.right.topic: geometry_msgs/msg/TwistStamped is taken on /left/twist"
    )
    controller.destroy_node()
    checker.destroy_node()


def test_a_recorder_or_a_command_line_is_no_controller() -> None:
    kind = PUSH.command.type
    onlookers = [Endpoint(name, kind) for name in ("recorder_node", "_ros2cli_4711")]
    for heard, measured in (
        ([], "only recorder_node, _ros2cli_4711, which moves nothing"),
        ([Endpoint("servo_node", kind)], "servo_node"),
    ):
        facts = CommandFacts("action", PUSH.command, "/c", (*onlookers, *heard), (), ())
        found = [r for r in command_checks(facts) if r.what == "listener"]
        assert [r.measured for r in found] == [measured]
        assert bool(problems(found)) is not bool(heard)


def test_names_from_the_network_cannot_change_the_terminal() -> None:
    result = CheckResult("a\x1b[2J", "b", "c\nd", "e" * 100, Level.PROBLEM, "f\x1b[2J\ng")
    lines = table([result]).splitlines()
    assert len(lines) == 3 and "\x1b" not in "".join(lines)


def test_the_table_has_a_line_for_each_check_and_the_cure_below_a_problem() -> None:
    lines = table(results("content")).splitlines()
    (place,) = [i for i, line in enumerate(lines) if line.split()[:2] == ["tool", "frame"]]
    assert lines[place].split()[2:] == ["'tool0'", "'base_link'", "PROBLEM"]
    assert lines[place + 1].startswith("    cure: set observation.tool.frame_id to 'tool0'")


# Limits of a URDF


def urdf(joint: str = "elbow_joint", kind: str = "revolute", **limit: Any) -> str:
    values = {"lower": -1.0, "upper": 1.0, "velocity": 1.0} | limit
    told = " ".join(f'{key}="{value}"' for key, value in values.items())
    return f'<robot name="r"><joint name="{joint}" type="{kind}"><limit {told}/></joint></robot>'


def elbow(**action: Any) -> Interface:
    values = PUSH.to_dict()
    values["observation"]["joints"]["names"] = ["elbow_joint"]
    del values["workspace"]
    values["action"] = {
        "topic": "commands", "type": "std_msgs/msg/Float64MultiArray", "quantity": "position",
        "fields": ["elbow_joint"], "unit": "rad", "low": [-0.5], "high": [0.5],
        "max_velocity": [0.5], "measured": "joints",
    } | action  # fmt: skip
    return interface_from_dict({k: v for k, v in values.items() if v is not None}, "elbow")


@pytest.mark.parametrize(
    ("text", "action", "what", "cure"),
    [
        (urdf(), {"high": [1.2]}, "position limits", "narrow action.low and high"),
        (urdf(lower=-0.4), {}, "position limits", "narrow action.low and high"),
        (urdf(velocity=0.4), {}, "velocity limit", "lower action.max_velocity"),
        (
            urdf(velocity=0.4), {"quantity": "velocity", "max_velocity": None},
            "velocity limit", "lower action.low and high",
        ),
        (
            urdf(kind="prismatic"), {}, "unit",
            "set action.unit to m for this joint, and write low and high in it",
        ),
        (
            urdf(kind="continuous"), {}, "continuous joints",
            "set observation.joints.continuous to [elbow_joint]",
        ),
        (
            urdf(joint="elbow"), {}, "joints in the URDF",
            "correct observation.joints.names or prefix, or give the URDF of this robot; did you "
            "mean elbow?",
        ),
    ],
)  # fmt: skip
def test_limits_wider_than_those_of_the_urdf_are_a_problem(
    text: str, action: dict[str, Any], what: str, cure: str
) -> None:
    given = {key: value for key, value in action.items() if value is not None}
    interface = elbow(**given) if "max_velocity" not in action else _without_velocity(given)
    (problem,) = problems(list(described_checks(interface, parse_urdf(text))))
    assert (problem.what, problem.cure) == (what, cure)


def _without_velocity(given: dict[str, Any]) -> Interface:
    values = elbow().to_dict()
    del values["action"]["max_velocity"]
    values["action"] |= given
    return interface_from_dict(values, "elbow")


def test_limits_that_are_not_compared_leave_a_note() -> None:
    (found,) = undescribed_note(elbow())
    assert found.level is Level.NOTE
    assert found.cure == "no URDF: limits not compared; give --urdf"
    assert not list(undescribed_note(PUSH))
    notes = [r for r in described_checks(elbow(), {}) if r.level is Level.NOTE]
    assert [r.cure for r in notes] == ["the URDF has no joint elbow_joint that moves"]


@pytest.mark.parametrize("namespace", ["", "left"])
def test_a_description_is_found_in_the_namespace_and_at_the_root(
    context: Any, namespace: str
) -> None:
    robot = rclpy.create_node("driver", context=context, namespace=namespace)
    checker = rclpy.create_node("check_robot", context=context, namespace="left")
    executor = SingleThreadedExecutor(context=context)
    for node in (robot, checker):
        executor.add_node(node)
    robot.create_publisher(String, "robot_description", LATCHED).publish(String(data="<robot/>"))
    description = Description(checker)
    spin_until(executor, lambda: bool(description.text))
    for node in (robot, checker):
        node.destroy_node()


def test_limits_within_those_of_the_urdf_are_well() -> None:
    assert not problems(list(described_checks(elbow(), parse_urdf(urdf()))))


BOMB = '<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><robot>&b;</robot>'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "it has a DOCTYPE, which a robot description does not need"),
        ("<robot>", "not XML (no element found: line 1, column 7); run xacro on a .xacro first"),
        ("<sdf/>", "got <sdf>, expected <robot>, a URDF"),
        (
            '<?xml version="1.0" encoding="bogus"?><robot/>',
            "not XML (unknown encoding: bogus); run xacro on a .xacro first",
        ),
        (urdf(lower="wide"), "limit lower: got 'wide', expected a number"),
        (urdf(upper="nan"), "limit upper: got 'nan', expected a number"),
        (" " * ((16 << 20) + 1), "larger than 16,777,216 bytes"),
    ],
    ids=[
        "entities",
        "cut off",
        "another format",
        "encoding",
        "a word",
        "not a number",
        "too large",
    ],
)
def test_a_urdf_that_cannot_be_used_is_refused_in_one_line(
    text: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "arm.urdf"
    path.write_text(text)
    with pytest.raises(UnreadableFile) as error:
        read_urdf(path)
    assert str(error.value) == f"{path}: {reason}"


@pytest.mark.parametrize(
    "text",
    [
        "<robot>\ud800</robot>",
        "<robot>\0</robot>",
    ],
)
def test_a_description_from_a_topic_with_odd_characters_is_refused(text: str) -> None:
    with pytest.raises(UnreadableFile, match="not XML"):
        parse_urdf(text)


# The command


def test_bad_input_ends_with_code_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "arm.urdf"
    broken.write_text(BOMB)
    for words, text in (
        (["--interface", "nothing.yaml"], "nothing.yaml: cannot read the interface file"),
        (["--interface", "ur5e_push", "--urdf", str(broken)], "it has a DOCTYPE"),
        (["--interface", "ur5e_push", "--seconds", "0"], "--seconds: got 0.0, expected a number"),
        ([], "not given: --interface"),
    ):
        with pytest.raises(SystemExit) as exit_:
            command.main(words)
        told = capsys.readouterr()
        assert exit_.value.code == 2 and told.out == ""
        (line,) = told.err.splitlines()
        assert line.startswith("check_robot: ") and text in line


def test_a_move_is_refused_without_a_terminal() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ebm_policy_ros.nodes.check.check_robot",
         "--interface", "ur5e_push", "--move"],
        capture_output=True, text=True, timeout=120, check=False, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "check_robot: --move: asks before it moves; start it in the foreground of a terminal"
    ]


def test_the_command_prints_the_table_and_ends_with_code_1_for_an_absent_robot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(PUSH.to_dict()))
    with pytest.raises(SystemExit) as exit_:
        command.main(["--interface", str(path), "--seconds", "0.1"])
    assert exit_.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "ur5e_push: 6 checks, 4 problems"
    assert "    cure: start what publishes /camera/image_raw" in lines
