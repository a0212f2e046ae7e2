"""Recorder faults: refused starts, warnings, keys, killed processes and full disks."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")

import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from robot import Robot, parameters
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.bags.metadata import read_custom_data
from ebm_policy_ros.bags.topics import serialised_stamp_ns
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.nodes.recorder.node import SETTINGS, RecorderNode

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[1]
SECOND = 1_000_000_000
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = DurabilityPolicy.TRANSIENT_LOCAL


class Lab:
    """A robot on the system clock, its recorder, and the operator."""

    def __init__(self, robot: Robot, folder: Path) -> None:
        self.robot, self.demos = robot, folder / "demos"
        self.status: dict[str, Any] = {}
        self.sent: list[int] = []
        """Stamps of the camera's images, nanoseconds."""
        latched = QoSProfile(depth=1, durability=LATCHED)
        robot.node.create_subscription(String, "recorder_node/status", self._on_status, latched)
        self._nodes: list[RecorderNode] = []

    def _on_status(self, message: Any) -> None:
        self.status = json.loads(message.data)

    def record(self, **values: Any) -> RecorderNode:
        """Start a recorder in this process."""
        chosen = {"folder": str(self.demos), "keys": False, **values}
        node = RecorderNode(context=self.robot.context, parameter_overrides=parameters(**chosen))
        self._nodes.append(node)
        self.robot.add(node)
        return node

    def run(self) -> None:
        """Publish current samples at 50 Hz."""
        self.robot.repeat(0.02, self._tick)

    def _tick(self) -> None:
        if self.robot.camera is not None:
            self.sent.append(self.robot.node.get_clock().now().nanoseconds)
        self.robot.tick_now()

    def ask(self, name: str) -> Any:
        return self.robot.call(Trigger, f"recorder_node/{name}", Trigger.Request())

    def stop(self, success: bool = True) -> Any:
        request = SetBool.Request(data=success)
        return self.robot.call(SetBool, "recorder_node/stop", request)

    def start(self, request: str = "start") -> str:
        """Retry a start that a busy machine may refuse for a moment; return the answer."""
        answers: list[Any] = []

        def succeeds() -> bool:
            answers.append(self.ask(request))
            return bool(answers[-1].success)

        self.robot.until(succeeds)
        return str(answers[-1].message)

    @property
    def partial(self) -> Path:
        return self.demos / ".partial" / "episode_0000"

    def told(self, text: str) -> None:
        """Wait until a warning in the status contains a text."""
        self.robot.until(lambda: any(text in line for line in self.status.get("warnings", [])))

    def count(self, topic: str) -> int:
        """Number of messages of a topic in this episode, from the status."""
        if self.status.get("state") != "recording":
            return 0
        return int(self.status["topics"][topic]["count"])

    def close(self) -> None:
        for node in self._nodes:
            node.close()
            node.destroy_node()


@pytest.fixture
def lab(robot: Robot, tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(robot, tmp_path)
    yield lab
    lab.close()


def stamps(bag: Path, topic: str) -> list[int]:
    """Header stamps of a topic's messages."""
    with AnyReader([bag]) as reader:
        chosen = [c for c in reader.connections if c.topic == topic]
        return [serialised_stamp_ns(data) for _, _, data in reader.messages(connections=chosen)]


def test_commands_are_not_needed_to_start_but_their_absence_is_told(lab: Lab) -> None:
    lab.record()
    lab.run()
    lab.start()
    lab.told("/servo_node/delta_twist_cmds: nobody commands yet")
    command = lab.robot.node.create_publisher(
        TwistStamped, "servo_node/delta_twist_cmds", BEST_EFFORT
    )
    lab.robot.until(lambda: command.get_subscription_count() > 0)
    lab.robot.repeat(0.02, lambda: command.publish(TwistStamped()))
    lab.robot.until(lambda: lab.count("/servo_node/delta_twist_cmds") > 5)
    assert lab.status["warnings"] == []
    bag = Path(lab.stop().message)
    assert len(stamps(bag, "/servo_node/delta_twist_cmds")) > 5
    told = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    offered = {
        t["topic_metadata"]["name"]: t["topic_metadata"]["offered_qos_profiles"]
        for t in told["topics_with_message_count"]
    }
    assert offered["/servo_node/delta_twist_cmds"][0]["reliability"] == "best_effort"
    assert offered["/camera/image_raw"][0]["reliability"] == "reliable"


def test_an_end_of_the_commands_in_an_episode_is_told_as_one(lab: Lab) -> None:
    lab.record()
    lab.run()
    lab.start()
    topic = "/servo_node/delta_twist_cmds"
    command = lab.robot.node.create_publisher(TwistStamped, topic, BEST_EFFORT)
    lab.robot.until(lambda: command.get_subscription_count() > 0)
    commanding = lab.robot.repeat(0.02, lambda: command.publish(TwistStamped()))
    lab.robot.until(lambda: lab.count(topic) > 5 and lab.status["warnings"] == [])
    commanding.cancel()
    lab.robot.node.destroy_publisher(command)
    lab.robot.until(lambda: lab.status["warnings"] != [])
    assert lab.status["warnings"] == [f"{topic}: nobody commands any more"]
    assert lab.stop().success


def test_each_publishers_quality_of_service_is_copied(lab: Lab) -> None:
    node, topic = lab.robot.node, lab.robot.topics["tool"]
    node.destroy_publisher(lab.robot.tool)
    offered = QoSProfile(depth=3, durability=LATCHED)
    lab.robot.tool = node.create_publisher(PoseStamped, topic, offered)
    lab.record()
    lab.run()
    lab.start()
    (subscribed,) = node.get_subscriptions_info_by_topic("/tool_pose")
    assert subscribed.qos_profile.durability == LATCHED
    lab.robot.until(lambda: lab.count("/tool_pose") > 3)
    bag = Path(lab.stop().message)
    with AnyReader([bag]) as reader:
        (found,) = [c for c in reader.connections if c.topic == "/tool_pose"]
    (profile,) = found.ext.offered_qos_profiles
    assert (profile.durability.name, profile.reliability.name) == ("TRANSIENT_LOCAL", "RELIABLE")


def test_a_publisher_that_offers_less_than_those_before_is_told_and_heard_from_the_next_on(
    lab: Lab,
) -> None:
    lab.record()
    lab.run()
    lab.start()
    lab.robot.until(lambda: lab.count("/tool_pose") > 0)
    second = lab.robot.node.create_publisher(PoseStamped, lab.robot.topics["tool"], BEST_EFFORT)
    lab.told("/tool_pose: a new publisher offers a lower quality of service; it is not heard")
    assert second.get_subscription_count() == 0
    assert lab.stop().success
    lab.robot.until(lambda: second.get_subscription_count() == 1)


def changed(interface: Interface, folder: Path, stream: str, **values: Any) -> str:
    """Write the interface file with other values in one stream."""
    plain = interface.to_dict()
    plain["observation"][stream] |= values
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(plain))
    return str(path)


def refused(lab: Lab, text: str) -> str:
    """Wait for a refusal that contains a text, and return the refusal."""
    said = []

    def asked() -> bool:
        answer = lab.ask("start")
        assert not answer.success
        said.append(answer.message)
        return text in answer.message

    lab.robot.until(asked)
    assert not lab.demos.joinpath(".partial").exists()
    return str(said[-1])


def test_a_start_is_refused_while_a_stream_repeats_an_old_image(lab: Lab) -> None:
    lab.record()
    robot = lab.robot
    old = robot.node.get_clock().now().to_msg()
    old.sec -= 10
    robot.repeat(0.02, lambda: robot._publish(old, 0, 0.5, "camera"))
    robot.repeat(
        0.02,
        lambda: robot._publish(robot.node.get_clock().now().to_msg(), 0, 0.5, "joints tool"),
    )
    refused(lab, "camera (camera/image_raw): 10.")


def test_a_start_beside_a_simulation_names_the_parameter_that_was_forgotten(lab: Lab) -> None:
    lab.record()
    lab.robot.repeat(0.02, lambda: lab.robot.tick(20))
    refused(lab, "/camera/image_raw: the stamps are a simulation's: use_sim_time:=true")


def test_a_start_is_refused_where_a_joint_is_missing(
    lab: Lab, interface: Interface, tmp_path: Path
) -> None:
    names = [*interface.to_dict()["observation"]["joints"]["names"], "gripper_joint"]
    lab.record(interface=changed(interface, tmp_path, "joints", names=names))
    lab.run()
    refused(lab, "joints (joint_states): no joint 'gripper_joint'")


def test_a_start_is_refused_where_a_frame_is_not_that_of_the_interface(
    lab: Lab, interface: Interface, tmp_path: Path
) -> None:
    values = interface.to_dict()
    del values["workspace"]
    values["action"].pop("measured")
    values["observation"]["tool"]["frame_id"] = "world"
    path = tmp_path / "frames.yaml"
    path.write_text(yaml.safe_dump(values))
    lab.record(interface=str(path))
    lab.run()
    refused(lab, "tool_pose: frame 'base_link', expected 'world'")


def test_a_start_is_refused_below_the_least_rate(
    lab: Lab, interface: Interface, tmp_path: Path
) -> None:
    lab.record(interface=changed(interface, tmp_path, "joints", min_rate=300.0))
    lab.run()
    refused(lab, "Hz, at least 300.0 Hz expected")


def test_a_start_is_refused_where_a_publisher_offers_less_than_the_policy_needs(
    lab: Lab, interface: Interface, tmp_path: Path
) -> None:
    node, topic = lab.robot.node, lab.robot.topics["tool"]
    node.destroy_publisher(lab.robot.tool)
    lab.robot.tool = node.create_publisher(PoseStamped, topic, BEST_EFFORT)
    wanted = {"reliability": "reliable", "durability": "volatile"}
    lab.record(interface=changed(interface, tmp_path, "tool", qos=wanted))
    lab.run()
    said = refused(lab, "/tool_pose: robot offers best_effort")
    assert "qos.reliability asks for reliable" in said


def test_a_start_is_refused_where_somebody_publishes_another_type(lab: Lab) -> None:
    lab.record()
    lab.run()
    context = rclpy.Context()  # one process cannot have two types on a topic
    rclpy.init(context=context)
    other = rclpy.create_node("counter", context=context)
    try:
        other.create_publisher(String, "joint_states", 1)
        lab.told("counter publishes")
        refused(lab, "/joint_states: counter publishes std_msgs/msg/String, expected sensor_msgs")
    finally:
        other.destroy_node()
        rclpy.try_shutdown(context=context)


def test_two_cameras_on_one_topic_are_told(lab: Lab) -> None:
    lab.record()
    lab.run()
    lab.robot.node.create_publisher(Image, lab.robot.topics["camera"], 1)
    lab.start()
    lab.told("/camera/image_raw: 2 publishers (robot, robot)")


def test_the_note_and_the_versions_go_into_the_episode(lab: Lab) -> None:
    node = lab.record(note="first day")
    lab.run()
    lab.start()
    node.set_parameters([Parameter("note", value="second camera is dirty")])
    custom = read_custom_data(Path(lab.stop(False).message))
    assert (custom["note"], custom["outcome"]) == ("second camera is dirty", "failure")
    assert set(json.loads(custom["versions"])) == {"ebm_policy_ros", "ros_distro"}
    assert json.loads(custom["interface"])["name"] == "ur5e_push"
    assert custom["start_time"].endswith("+00:00")


def test_a_stream_that_stalls_is_told_within_a_second_and_so_is_its_return(lab: Lab) -> None:
    lab.record()
    lab.run()
    lab.start()
    lab.robot.until(lambda: lab.count("/camera/image_raw") > 10)
    status = lab.status
    assert (status["episode"], status["kept"]["success"]) == ("episode_0000", 0)
    assert status["topics"]["/joint_states"]["drops"] == 0
    assert 20 < status["topics"]["/joint_states"]["rate"] < 60
    cable, lab.robot.camera = lab.robot.camera, None
    pulled = time.time_ns()
    lab.told("/camera/image_raw has stalled")
    # Measured by the reported ages, which do not depend on the speed of the machine.
    assert lab.status["topics"]["/camera/image_raw"]["age"] < 1.0
    lab.robot.camera = cable
    lab.robot.until(
        lambda: not lab.status["warnings"] or "stalled" not in lab.status["warnings"][0]
    )
    bag = Path(lab.stop().message)
    facts = json.loads(read_custom_data(bag)["streams"])["/camera/image_raw"]
    assert facts["gaps"] == 1 and facts["longest_gap"] > 0.25
    assert facts["count"] == len(stamps(bag, "/camera/image_raw"))
    assert max(stamps(bag, "/camera/image_raw")) > pulled
    kept = {"success": 1, "failure": 0, "in_folder": 1, "successes_in_folder": 1}
    lab.robot.until(lambda: lab.status["kept"] == kept)


def test_messages_that_came_too_fast_to_be_taken_are_counted(lab: Lab) -> None:
    lab.record()
    lab.run()
    lab.start()
    lab.robot.until(lambda: lab.count("/camera/image_raw") > 2)
    now = lab.robot.node.get_clock().now().to_msg()
    for _ in range(150):  # not taken meanwhile, and the recorder has room for 100
        lab.robot._publish(now, 0, 0.5, "camera")
    lab.robot.until(lambda: lab.status["topics"]["/camera/image_raw"]["drops"] >= 50)
    streams = json.loads(read_custom_data(Path(lab.stop().message))["streams"])
    assert 50 <= streams["/camera/image_raw"]["drops"] < 60
    assert streams["/joint_states"]["drops"] == 0


def test_rerecording_replaces_the_running_episode_or_sets_the_last_one_aside(lab: Lab) -> None:
    lab.record()
    assert "none was kept since the start" in lab.ask("rerecord").message
    lab.run()
    lab.start()
    lab.robot.until(lambda: lab.count("/tool_pose") > 50)
    assert lab.start("rerecord") == "episode_0000"
    lab.robot.until(lambda: 0 < lab.count("/tool_pose") < 50)
    kept = Path(lab.stop().message)
    assert lab.start("rerecord") == f"episode_0001; set aside: {lab.partial}"
    assert not kept.exists() and read_custom_data(lab.partial)["outcome"] == "success"
    assert lab.stop().message == str(lab.demos / "episode_0001")
    counts = {"success": 1, "failure": 0, "in_folder": 1, "successes_in_folder": 1}
    lab.robot.until(lambda: lab.status["kept"] == counts)


def test_a_request_that_is_refused_changes_nothing(lab: Lab) -> None:
    lab.record()
    lab.run()
    lab.start()
    assert "stop or discard it first" in lab.ask("start").message
    lab.robot.camera = None
    lab.robot.until(lambda: "camera" in lab.ask("rerecord").message)
    assert lab.stop().success
    for answer in (lab.stop(), lab.ask("discard")):
        assert (answer.success, answer.message) == (False, "no episode is being recorded")
    lab.robot.until(lambda: "camera" in lab.ask("rerecord").message)
    assert (lab.demos / "episode_0000").is_dir()


def test_a_start_is_refused_on_a_disk_that_is_nearly_full(lab: Lab) -> None:
    lab.record(min_free=1e6)
    lab.run()
    refused(lab, "must stay so (min_free)")


def test_a_disk_that_gets_full_ends_the_episode_and_says_so(lab: Lab) -> None:
    lab.record()
    lab.run()
    lab.start()
    partial = lab.partial
    lab.robot.until(lambda: lab.count("/camera/image_raw") > 0)
    random = np.random.default_rng(0)

    def publish_noise() -> None:  # which doesn't compress
        image = Image(height=120, width=160, encoding="rgb8", step=480)
        image.data = random.bytes(120 * 160 * 3)
        image.header.stamp = lab.robot.node.get_clock().now().to_msg()
        lab.robot.camera.publish(image)

    lab.robot.repeat(0.02, publish_noise)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, hard))
    try:
        lab.robot.until(lambda: lab.status.get("state") == "idle")
        answer = lab.stop()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not answer.success
    assert f"the last one ended early and is in {partial}" in answer.message
    found = stamps(partial, "/camera/image_raw")
    assert len(found) > 10
    assert read_custom_data(partial)["outcome"] == "unfinished"
    assert lab.start() == "episode_0001"


def test_a_misspelt_parameter_leaves_no_folder(
    context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no parameter 'foldr'"):
        RecorderNode(context=context, parameter_overrides=parameters(foldr="x"))
    assert list(tmp_path.iterdir()) == []


def test_a_whole_number_where_a_decimal_one_belongs_is_told_in_a_line(context: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^min_free: got 1, expected a decimal number; write 1.0$"
    ):
        RecorderNode(context=context, parameter_overrides=parameters(min_free=1))


def test_the_parameter_file_shows_every_parameter_with_its_default() -> None:
    text = (ROOT / "config" / "recorder.yaml").read_text(encoding="utf-8")
    shown = yaml.safe_load(text)["/**/recorder_node"]["ros__parameters"]
    assert shown == {setting.name: setting.default for setting in SETTINGS}


class Process:
    """A recorder as a separate process, in the foreground of a terminal."""

    def __init__(self, demos: Path, keys: bool) -> None:
        command = [sys.executable, "-m", "ebm_policy_ros.nodes.recorder.node", "--ros-args"]
        for name, value in {"folder": demos, "keys": str(keys).lower()}.items():
            command += ["-p", f"{name}:={value}"]
        self.screen = ""
        self.pid, self.person = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, command)
        os.set_blocking(self.person, False)

    def press(self, key: str) -> None:
        self.screen = ""
        os.write(self.person, key.encode())

    def shows(self, text: str) -> bool:
        try:
            self.screen += os.read(self.person, 100_000).decode(errors="replace")
        except (BlockingIOError, OSError):
            pass  # nothing new, or the process has ended
        return text in self.screen

    def end(self, number: int) -> int:
        """Send a signal and return the exit code."""
        os.kill(self.pid, number)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        os.close(self.person)
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def process(lab: Lab) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(keys: bool) -> Process:
        started.append(Process(lab.demos, keys))
        return started[-1]

    yield start
    for each in started:
        if each.pid:
            each.end(signal.SIGKILL)


def test_keys_do_what_the_services_do_and_the_screen_shows_it(
    lab: Lab, process: Callable[..., Process]
) -> None:
    recorder = process(keys=True)
    lab.run()
    lab.robot.until(lambda: recorder.shows("enter: start an episode, Y: keep it as a success"))
    lab.robot.until(lambda: recorder.shows("GiB left"))

    def press(key: str, shown: str) -> None:
        recorder.press(key)
        lab.robot.until(lambda: recorder.shows(shown))

    def start() -> None:
        recorder.screen = ""  # which may show the episode before
        while "RECORDING" not in recorder.screen:
            recorder.press("\r")
            lab.robot.until(lambda: recorder.shows("RECORDING") or recorder.shows("[WARN]"))

    press("Y", "no episode is being recorded")
    start()
    lab.robot.until(lambda: recorder.shows("camera 50 Hz") or recorder.shows("min left"))
    press("Y", "kept 1 (1 success, 0 failure)")
    start()
    press("N", "kept 2 (1 success, 1 failure)")
    start()
    for small in "sdwrxb":
        recorder.press(small)
    press("X", "discard it? The same key or button again within 3 s does it")
    recorder.press("w")
    press("X", "discard it? ")
    press("X", "discarded")
    press("B", "discard it, begin anew? ")
    press("B", "set aside")
    press("Y", "kept 2 (2 success, 0 failure)")
    assert recorder.end(signal.SIGINT) == 0
    outcomes = {
        path.name: read_custom_data(path)["outcome"] for path in lab.demos.glob("episode*")
    }
    assert outcomes == {"episode_0000": "success", "episode_0002": "success"}


def test_a_recorder_that_is_killed_loses_at_most_the_last_second(
    lab: Lab, process: Callable[..., Process]
) -> None:
    recorder = process(keys=False)
    lab.run()
    lab.start()
    partial = lab.partial
    begun = len(lab.sent)
    lab.robot.until(lambda: lab.count("/camera/image_raw") > 100)
    recorder.end(signal.SIGKILL)
    killed = lab.robot.node.get_clock().now().nanoseconds
    lab.record()  # the next start
    custom = read_custom_data(partial)
    assert custom["outcome"] == "unfinished"
    assert json.loads(custom["interface"])["name"] == "ur5e_push"
    found = stamps(partial, "/camera/image_raw")
    # The image is stamped a moment after it is noted here.
    needed = [time for time in lab.sent[begun:] if time < killed - SECOND]
    assert len(needed) > 20
    assert len([stamp for stamp in found if stamp >= needed[0]]) >= len(needed)
    assert found == sorted(set(found))
    lab.start()
    assert lab.stop().message == str(lab.demos / "episode_0001")
