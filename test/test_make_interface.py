"""make_interface: questions, proposals, and files that the robot they were made from passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")

import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from programs import Program, run
from rclpy.executors import SingleThreadedExecutor
from robot import spin_until
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, String

from ebm_policy_ros.check.results import problems, table
from ebm_policy_ros.check.survey import Sensor, Survey, commandables
from ebm_policy_ros.check.urdf import JointLimits
from ebm_policy_ros.check.writing import write_interface
from ebm_policy_ros.interface import Interface, JointStream, load_interface
from ebm_policy_ros.nodes.check import make_interface as command
from ebm_policy_ros.nodes.check.check_robot import CheckArgs, checked
from ebm_policy_ros.nodes.check.description import LATCHED
from ebm_policy_ros.nodes.check.listener import Listener
from ebm_policy_ros.nodes.check.make_interface import MakeArgs, drafted
from ebm_policy_ros.nodes.check.surveyor import Surveyor

pytestmark = pytest.mark.ros

IMAGE = "sensor_msgs/msg/Image"
JOINTS, POSE = "sensor_msgs/msg/JointState", "geometry_msgs/msg/PoseStamped"
TWIST, ARRAY = "geometry_msgs/msg/TwistStamped", "std_msgs/msg/Float64MultiArray"
NAMES = ["shoulder", "elbow", "left_finger_joint"]


def image(encoding: str = "rgb8", height: int = 120, width: int = 160) -> Image:
    message = Image(height=height, width=width, encoding=encoding, step=3 * width)
    message.data = np.zeros(3 * width * height, np.uint8).tobytes()
    return message


def pose() -> PoseStamped:
    message = PoseStamped()
    message.header.frame_id = "base"
    message.pose.position.x, message.pose.position.z = 0.4, 0.3
    message.pose.orientation.x, message.pose.orientation.w = 1.0, 0.0
    return message


def sensor(topic: str, kind: str, message: Any, rate: float = 50.0, delay: float = 0.0) -> Sensor:
    return Sensor(topic, kind, rate, delay, message, tuple(getattr(message, "name", ())))


def survey(*commands: tuple[str, str], **described: JointLimits) -> Survey:
    states = JointState(name=NAMES, position=[0.1, -1.0, 0.0])
    sensors = (
        sensor("front/image_raw", IMAGE, image(), rate=30.0, delay=0.06),
        sensor("depth/image_raw", IMAGE, image("16UC1", 90, 160), rate=30.0),
        sensor("policy_node/debug_image", IMAGE, image()),
        sensor("joint_states", JOINTS, states, rate=500.0),
        sensor("other/joint_states", JOINTS, states),
        sensor("tool_pose", POSE, pose(), rate=100.0),
    )
    found = [c for topic, kind in commands for c in commandables(topic, kind, ("ctl",), False)]
    return Survey(sensors, tuple(found), described)


class Person:
    """Types the given lines, and keeps what is asked."""

    def __init__(self, *lines: str) -> None:
        self._lines = iter(lines)
        self.prompts: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return next(self._lines)


def made(folder: Path, found: Survey, *lines: str, **options: Any) -> Interface:
    """Interface from a survey, with enter for each question that has no line."""
    path = folder / "my_arm.yaml"
    person = Person(*lines, *[""] * 10)
    return write_interface(path, drafted(MakeArgs(out=path, **options), found, person))


def test_five_times_enter_gives_an_interface_with_the_first_camera_joints_and_tool(
    tmp_path: Path,
) -> None:
    interface = made(tmp_path, survey(("servo/twist", TWIST)))
    assert {name: s.topic for name, s in interface.observation.items()} == {
        "camera": "front/image_raw", "joints": "joint_states", "tool": "tool_pose",
    }  # fmt: skip
    action = interface.command
    assert (action.topic, action.frame_id, action.measured) == ("servo/twist", "base", "tool")
    assert action.low == (-0.05,) * 3 and action.high == (0.05,) * 3
    assert interface.rate == 10.0
    assert interface.workspace is not None
    assert interface.workspace.low == (0.25, -0.15, 0.15)
    # Three periods and the usual delay, in steps of 50 ms; half of the rate that came, or less.
    ages = {name: (s.max_age, s.min_rate) for name, s in interface.observation.items()}
    assert ages == {"camera": (0.2, 15.0), "joints": (0.1, 250.0), "tool": (0.1, 50.0)}
    assert interface == load_interface(tmp_path / "my_arm.yaml")


def test_at_most_five_questions_are_asked_each_with_its_default(tmp_path: Path) -> None:
    person = Person(*[""] * 6)
    drafted(MakeArgs(out=tmp_path / "a.yaml"), survey(("servo/twist", TWIST)), person)
    assert person.prompts == ["  [1] ", "  [1] ", "  [1,3] ", "  [10] ", "  [proposed] "]


def test_joint_positions_get_the_measured_joints_and_limits_around_them(tmp_path: Path) -> None:
    interface = made(tmp_path, survey(("forward/commands", ARRAY)))
    action = interface.command
    assert (action.quantity, action.fields) == ("position", ("shoulder", "elbow"))
    assert (action.low, action.high) == ((-0.4, -1.5), (0.6, -0.5))
    assert action.max_velocity == (0.2, 0.2) and action.measured == "joints"
    joints = interface.observation["joints"]
    assert isinstance(joints, JointStream) and joints.names == tuple(NAMES)


def test_what_no_topic_tells_of_a_command_without_names_is_marked_as_guessed(
    tmp_path: Path,
) -> None:
    made(tmp_path, survey(("forward/commands", ARRAY)))
    lines = (tmp_path / "my_arm.yaml").read_text().splitlines()
    (quantity,) = [line for line in lines if line.startswith("  quantity: position ")]
    assert quantity.endswith(
        "# GUESSED: the controller has to take it (its parameter interface_name)"
    )
    (fields,) = [line for line in lines if line.startswith("  fields: [shoulder, elbow]")]
    assert "# ORDER GUESSED: a command has no names" in fields


def test_limits_come_from_the_robot_description_if_there_is_one(tmp_path: Path) -> None:
    described = {
        "shoulder": JointLimits(-np.inf, np.inf, 2.0, True),
        "elbow": JointLimits(-1.5, 2.0, 1.0, False),
    }
    interface = made(tmp_path, survey(("forward/commands", ARRAY), **described))
    action = interface.command
    assert action.low == (-3.242, -1.4) and action.high == (3.242, 1.9)
    assert action.max_velocity == (0.2, 0.1)
    joints = interface.observation["joints"]
    assert isinstance(joints, JointStream) and joints.continuous == ("shoulder",)


def test_a_joint_that_slides_has_its_own_unit_and_speed(tmp_path: Path) -> None:
    described = {
        "shoulder": JointLimits(0.0, 0.5, np.inf, False, is_length=True),
        "elbow": JointLimits(-1.5, 2.0, 1.0, False),
    }
    action = made(tmp_path, survey(("forward/commands", ARRAY), **described)).command
    assert action.unit == "m, rad" and action.max_velocity == (0.05, 0.1)


def test_a_topic_named_after_velocities_is_proposed_as_one(tmp_path: Path) -> None:
    interface = made(tmp_path, survey(("forward_velocity/commands", ARRAY)))
    assert interface.command.is_velocity and interface.command.low == (-0.2, -0.2)


def test_poses_are_fixed_to_the_orientation_that_was_measured(tmp_path: Path) -> None:
    interface = made(tmp_path, survey(("target_pose", POSE)))
    action = interface.command
    assert dict(action.fixed) == {"qx": 1.0, "qy": 0.0, "qz": 0.0, "qw": 0.0}
    assert action.low == (0.25, -0.15, 0.15) and action.max_velocity == (0.05,) * 3


def test_options_answer_by_number_and_by_name(tmp_path: Path) -> None:
    found = survey(("servo/twist", TWIST), ("forward/commands", ARRAY))
    interface = made(
        tmp_path, found, camera="depth/image_raw,front/image_raw",
        command="/forward/commands:velocity", measured="2", rate="20", limits="-0.1,0.1",
    )  # fmt: skip
    assert {name: s.topic for name, s in interface.observation.items()} == {
        "camera": "depth/image_raw", "camera_2": "front/image_raw",
        "joints": "other/joint_states",
    }  # fmt: skip
    plain = interface.to_dict()["observation"]["camera"]
    assert plain["depth"] == [0.2, 2.0] and plain["size"] == [96, 168]
    assert interface.rate == 20.0 and interface.command.high == (0.1, 0.1)


def test_a_wrong_answer_is_asked_for_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interface = made(tmp_path, survey(("servo/twist", TWIST)), "7", "none", "", "2", "ten", "5")
    told = capsys.readouterr().out
    assert "got '7', expected a number from 1 to 2 or a name" in told
    assert "got 'ten', expected a number" in told
    assert list(interface.observation) == ["joints"] and interface.rate == 5.0
    assert not interface.command.measured


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "--camera: not given, and there is no terminal to ask at; give --camera='1', or "
             "--camera=default for the same"),
        ({"camera": "frnt/image_raw"}, "--camera: got 'frnt/image_raw', expected a number from 1 "
                                       "to 2 or a name; did you mean front/image_raw?"),
        ({"camera": "1", "command": "1,2"}, "--command: got '1,2', expected 1 of them"),
        ({"camera": "none", "command": "1", "measured": "none"},
         "--camera, --measured: nothing is observed; choose at least one stream"),
        ({"camera": "1", "command": "1", "measured": "1", "rate": "0"},
         "--rate: got 0, expected 0.1 to 1000 Hz"),
        ({"camera": "1", "command": "1", "measured": "1", "rate": "10", "limits": "1,-1"},
         "--limits: got 1 and -1, expected the lower one first"),
        ({"camera": "1", "command": "2", "measured": "tool_pose", "rate": "10"},
         "forward/commands takes joints, but none are measured: choose some"),
    ],
)  # fmt: skip
def test_without_a_terminal_an_answer_that_is_missing_or_wrong_is_one_line(
    tmp_path: Path, options: dict[str, Any], line: str
) -> None:
    found = survey(("servo/twist", TWIST), ("forward/commands", ARRAY))
    with pytest.raises(ValueError) as error:
        drafted(MakeArgs(out=tmp_path / "a.yaml", **options), found, None)
    assert str(error.value) == line


def test_names_from_the_network_stay_text(tmp_path: Path) -> None:
    names = ["yes", "1e3", "a: b # c", "{x}"]
    message = JointState(name=names, position=[0.0] * 4)
    states = sensor("joint_states", JOINTS, message)
    found = Survey((states,), tuple(commandables("c", ARRAY, ("x\n  low: [9]",), False)), {})
    interface = made(tmp_path, found)
    assert interface.command.fields == tuple(names) and interface.command.low == (-0.5,) * 4


def test_names_from_the_network_cannot_change_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = "\x1b[2J\x07"
    message = JointState(name=[f"a{odd}", "b"], position=[0.0] * 2)
    states = sensor(f"joints{odd}", JOINTS, message)
    found = Survey((states,), tuple(commandables(f"c{odd}", ARRAY, (f"n{odd}",), False)), {})
    interface = made(tmp_path, found)
    told = capsys.readouterr().out
    assert "joints?[2J?" in told and "a?[2J?" in told and "c?[2J?" in told and "n?[2J?" in told
    assert all(sign.isprintable() or sign == "\n" for sign in told)
    assert interface.command.fields == (f"a{odd}", "b")


def test_a_wrong_option_is_answered_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, line in (
        ([], "not given: --out"),
        (["--out=a.yaml", "--camra=1"], "unknown option --camra; did you mean --camera?"),
        (["--out=a.yaml", "--seconds=x"], "--seconds: got 'x', expected a number"),
    ):
        with pytest.raises(SystemExit) as exit_:
            command.main(words)
        assert exit_.value.code == 2
        assert capsys.readouterr().err == f"make_interface: {line}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rate", "fewest"), [(50.4, 25.0), (9.9, 4.9), (0.3, 0.15), (999.0, 490.0)]
)
def test_the_lowest_rate_is_at_most_half_of_that_which_came(
    tmp_path: Path, rate: float, fewest: float
) -> None:
    states = sensor("joint_states", JOINTS, JointState(name=["a"], position=[0.0]), rate=rate)
    found = Survey((states,), tuple(commandables("c", ARRAY, ("ctl",), False)), {})
    assert made(tmp_path, found).observation["joints"].min_rate == fewest


def test_a_folder_that_does_not_exist_is_refused_before_the_robot_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none" / "a.yaml"
    with pytest.raises(SystemExit) as exit_:
        command.main(["--out", str(path)])
    told = capsys.readouterr()
    assert exit_.value.code == 2 and told.out == ""
    assert told.err == (
        f"make_interface: {path}: there is no folder {path.parent}; make it first\n"
    )


def test_an_existing_file_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my_arm.yaml"
    path.write_text("mine")
    with pytest.raises(SystemExit) as exit_:
        command.main(["--out", str(path)])
    assert exit_.value.code == 2 and path.read_text() == "mine"
    told = f"make_interface: {path}: exists; choose another --out\n"
    assert capsys.readouterr().err == told


# A running robot


class Running:
    """Two cameras, joints of two publishers, a tool, a wrench, and controllers."""

    def __init__(self, context: Any) -> None:
        self.node = rclpy.create_node("driver", context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        create = self.node.create_publisher
        self._out = [
            (create(Image, "camera/image_raw", 10), image),
            (create(CompressedImage, "camera/image_raw/compressed", 10), self._compressed),
            (create(JointState, "joint_states", 10), lambda: self._joints(["shoulder", "elbow"])),
            (create(JointState, "joint_states", 10), lambda: self._joints(["finger"])),
            (create(PoseStamped, "tool_pose", 10), pose),
            (create(WrenchStamped, "wrench", 10), self._wrench),
        ]
        # A subscription of the node itself stands for a listener, as of a robot_state_publisher.
        self.node.create_subscription(JointState, "joint_states", lambda message: None, 10)
        self.node.create_subscription(Float64MultiArray, "forward/commands", print, 10)
        self.node.create_subscription(TwistStamped, "servo/twist", print, 10)
        description = create(String, "/robot_description", LATCHED)
        description.publish(
            String(
                data='<robot><joint name="elbow" type="revolute">'
                '<limit lower="-2" upper="2" velocity="1"/></joint></robot>'
            )
        )
        self.node.create_timer(0.02, self._tick)

    @staticmethod
    def _compressed() -> CompressedImage:
        return CompressedImage(format="jpeg")

    @staticmethod
    def _joints(names: list[str]) -> JointState:
        return JointState(name=names, position=[0.0] * len(names))

    @staticmethod
    def _wrench() -> WrenchStamped:
        message = WrenchStamped()
        message.header.frame_id = "tool0"
        return message

    def _tick(self) -> None:
        for publisher, make in self._out:
            message = make()
            message.header.stamp = self.node.get_clock().now().to_msg()
            publisher.publish(message)


@pytest.fixture
def running(context: Any) -> Iterator[Running]:
    running = Running(context)
    yield running
    running.node.destroy_node()


def test_the_file_made_from_a_running_robot_is_one_that_the_robot_passes(
    context: Any, running: Running, tmp_path: Path
) -> None:
    node = rclpy.create_node("make_interface", context=context)
    running.executor.add_node(node)
    found = Surveyor(node, running.executor).survey(1.0)
    assert [camera.topic for camera in found.cameras] == [
        "camera/image_raw", "camera/image_raw/compressed",
    ]  # fmt: skip
    assert [s.topic for s in found.numeric] == ["joint_states", "tool_pose", "wrench"]
    assert set(found.numeric[0].joints) == {"shoulder", "elbow", "finger"}
    assert set(found.described) == {"elbow"}
    assert [c.name for c in found.commands] == [
        "servo/twist", "forward/commands:position", "forward/commands:velocity",
        "joint_states:position", "joint_states:velocity",
    ]  # fmt: skip
    path = tmp_path / "my_arm.yaml"
    args = MakeArgs(
        out=path, camera="default", command="default", measured="1,2,3", rate="default",
        limits="default",
    )  # fmt: skip
    interface = write_interface(path, drafted(args, found, None))
    assert list(interface.observation) == ["camera", "joints", "tool", "wrench"]
    checker = rclpy.create_node("check_robot", context=context)
    running.executor.add_node(checker)
    listener = Listener(checker, running.executor, interface)
    # The description has one joint only; its limits are tested elsewhere.
    results = checked(listener, interface, CheckArgs(interface="", seconds=0.5), described=None)
    told = [(result.subject, result.what) for result in problems(results)]
    assert told == [("joints", "joints in the URDF")], table(results)
    assert yaml.safe_load(path.read_text())["name"] == "my_arm"


@pytest.mark.slow
@pytest.mark.sim
def test_both_commands_serve_the_simulated_arm(tmp_path: Path) -> None:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listener", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    heard: list[Any] = []
    node.create_subscription(JointState, "joint_states", heard.append, 1)
    bridge = Program("sim.bridge_node")
    try:
        spin_until(executor, lambda: bool(heard), 60.0)
        path = tmp_path / "my_arm.yaml"
        answers = [f"--{name}=default" for name in ("camera", "command", "measured", "rate")]
        made = run("nodes.check.make_interface", "--out", str(path), *answers, "--limits=-0.1,0.1")
        assert made.returncode == 0, made.stderr
        checked = run("nodes.check.check_robot", "--interface", str(path))
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert checked.stdout.splitlines()[-1] == "my_arm: 29 checks, all is well"
    finally:
        bridge.kill()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
