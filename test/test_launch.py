"""Launch files in a real launch service: nodes, arguments and exit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from launched import TIMEOUT, Launch

pytest.importorskip("rclpy")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import parameter_value_to_python
from robot import Robot, planar
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from ebm_policy_ros.bags.metadata import read_custom_data

pytestmark = pytest.mark.ros

BRING_UP = """
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

def generate_launch_description():
    source = PythonLaunchDescriptionSource("{file}")
    return LaunchDescription([IncludeLaunchDescription(source)])
"""


class Observer:
    """A node that observes the launched ones."""

    def __init__(self, context: Any) -> None:
        self.node = rclpy.create_node("observer", context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)

    def until(self, condition: Callable[[], bool], launch: Launch) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert launch.is_running, launch.output
            assert time.monotonic() < deadline, launch.output
            self._executor.spin_once(timeout_sec=0.05)

    def call(self, kind: Any, name: str, request: Any, launch: Launch) -> Any:
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, launch)
        future = client.call_async(request)
        self.until(future.done, launch)
        return future.result()

    def parameters(self, node: str, launch: Launch, *names: str) -> list[Any]:
        request = GetParameters.Request(names=names)
        answer = self.call(GetParameters, f"{node}/get_parameters", request, launch)
        return [parameter_value_to_python(value) for value in answer.values]

    def state(self, node: str, launch: Launch) -> str:
        answer = self.call(GetState, f"{node}/get_state", GetState.Request(), launch)
        return str(answer.current_state.label)

    def finish(self, launch: Launch, heard: Callable[[], bool] = lambda: True) -> int:
        """Send Ctrl-C, wait for pending messages and the end, and return the exit code."""
        launch.interrupt()
        deadline = time.monotonic() + TIMEOUT
        while launch.is_running or not heard():
            assert time.monotonic() < deadline, launch.output
            self._executor.spin_once(timeout_sec=0.05)
        return launch.end()


@pytest.fixture
def observer(context: Any) -> Iterator[Observer]:
    observer = Observer(context)
    yield observer
    observer.node.destroy_node()


def write_parameters(folder: Path, **values: Any) -> str:
    """Write a parameter file for every node."""
    lines = [f"    {name}: {value}\n" for name, value in values.items()]
    (folder / "mine.yaml").write_text("/**:\n  ros__parameters:\n" + "".join(lines))
    return "params_file:=mine.yaml"


def is_clean(launch: Launch) -> bool:
    return "Traceback" not in launch.output and "has died" not in launch.output


@pytest.mark.sim
def test_the_arm_and_the_policy_meet_in_a_namespace_and_ctrl_c_ends_with_a_stop(
    start_launch: Callable[..., Launch], observer: Observer, policy_file: Callable[..., Path]
) -> None:
    commands: list[tuple[float, float]] = []
    observer.node.create_subscription(
        TwistStamped,
        "/left/servo_node/delta_twist_cmds",
        lambda message: commands.append((message.twist.linear.x, message.twist.linear.y)),
        100,
    )
    launch = start_launch(
        "demo", f"policy:={policy_file()}", "namespace:=left", "task:=push_either"
    )
    observer.until(lambda: any(map(any, commands)), launch)
    for told in ("watch it with viewer:=true", "MOVES THE ARM from now on"):
        observer.until(lambda told=told: told in launch.output, launch)  # type: ignore[misc]
    topics = dict(observer.node.get_topic_names_and_types())
    assert {"/left/camera/image_raw", "/left/joint_states", "/clock"} <= set(topics)
    assert "/left/clock" not in topics
    assert observer.parameters("/left/policy_node", launch, "use_sim_time") == [True]
    assert observer.parameters("/left/sim_bridge_node", launch, "task") == ["push_either"]
    assert observer.finish(launch, lambda: commands[-1] == (0.0, 0.0)) == 0
    assert is_clean(launch), launch.output


def test_an_operators_session_on_the_systems_clock(
    start_launch: Callable[..., Launch],
    robot: Robot,
    policy_file: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Start, a lost camera, diagnostics, the stop, the reset, and the end."""
    statuses: list[Any] = []
    robot.node.create_subscription(DiagnosticArray, "/diagnostics", statuses.append, 10)
    given = write_parameters(tmp_path, stop_after=1.0)
    launch = start_launch("policy", f"policy:={policy_file()}", "autostart:=true", given)
    robot.repeat(0.05, robot.tick_now)

    def state() -> str:
        return str(statuses[-1].status[0].message) if statuses else ""

    robot.until(lambda: any(any(planar(command)) for command in robot.commands))
    robot.until(lambda: state() == "fresh")
    cable, robot.camera = robot.camera, None
    robot.node.destroy_publisher(cable)
    robot.until(lambda: state().startswith("stopped: held for 1.0 s: camera"))
    assert planar(robot.commands[-1]) == [0.0, 0.0]
    answer = robot.call(Trigger, "policy_node/reset", Trigger.Request())
    assert not answer.success and "camera (camera/image_raw)" in answer.message
    robot.camera = robot.node.create_publisher(Image, robot.topics["camera"], 10)
    robot.until(lambda: robot.call(Trigger, "policy_node/reset", Trigger.Request()).success)
    count = len(robot.commands)
    robot.until(lambda: any(any(planar(command)) for command in robot.commands[count:]))
    assert robot.call(Trigger, "policy_node/stop", Trigger.Request()).success
    robot.until(lambda: state() == "stopped: ~/stop was called")
    assert planar(robot.commands[-1]) == [0.0, 0.0]
    launch.interrupt()
    assert launch.end() == 0
    assert is_clean(launch), launch.output


def test_launch_arguments_win_over_a_parameter_file_only_where_they_are_given(
    start_launch: Callable[..., Launch],
    observer: Observer,
    policy_file: Callable[..., Path],
    tmp_path: Path,
) -> None:
    given = write_parameters(
        tmp_path, autostart="false", device="cuda:9", policy="x", **{"inference.samples": 7}
    )
    policy = str(policy_file())
    chosen = ("device:=cpu", "use_sim_time:=true", "publish_commands:=false")
    launch = start_launch("policy", f"policy:={policy}", *chosen, given)
    names = (
        "policy", "device", "inference.samples", "threads", "use_sim_time", "publish_commands"
    )  # fmt: skip
    values = observer.parameters("/policy_node", launch, *names)
    assert values == [policy, "cpu", 7, 1, True, False]
    assert observer.state("/policy_node", launch) == "unconfigured"
    assert observer.finish(launch) == 0
    assert is_clean(launch), launch.output


def test_an_arm_stays_still_until_somebody_starts_the_policy(
    start_launch: Callable[..., Launch], robot: Robot, policy_file: Callable[..., Path]
) -> None:
    launch = start_launch("policy", f"policy:={policy_file()}")
    robot.repeat(0.05, robot.tick_now)
    robot.until(lambda: "waiting, nothing moves: ~/start configures" in launch.output)
    assert "MOVES THE ARM" not in launch.output and robot.commands == []
    assert robot.call(Trigger, "policy_node/start", Trigger.Request()).success
    robot.until(lambda: "MOVES THE ARM from now on" in launch.output)
    robot.until(lambda: any(any(planar(command)) for command in robot.commands))
    launch.interrupt()
    assert launch.end() == 0
    assert is_clean(launch), launch.output


@pytest.mark.sim
def test_an_operators_page_comes_with_all_it_shows(
    start_launch: Callable[..., Launch],
    observer: Observer,
    policy_file: Callable[..., Path],
) -> None:
    launch = start_launch("operate", "simulation:=true", f"policy:={policy_file()}", "port:=0")
    observer.until(lambda: "the page is at http://127.0.0.1:" in launch.output, launch)
    for node in ("policy_node", "recorder_node", "sim_bridge_node", "operator_node"):
        assert observer.parameters(f"/{node}", launch, "use_sim_time") == [True]
    assert observer.state("/policy_node", launch) == "unconfigured"
    assert observer.finish(launch) == 0
    assert is_clean(launch), launch.output


def test_an_operators_page_without_a_simulation_follows_the_systems_clock(
    start_launch: Callable[..., Launch], observer: Observer, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    launch = start_launch("operate", "port:=0", "policies:=mine")
    observer.until(lambda: "the page is at http://127.0.0.1:" in launch.output, launch)
    assert observer.parameters("/operator_node", launch, "policies") == ["mine"]
    assert observer.parameters("/policy_node", launch, "use_sim_time") == [False]
    names = {name for name, _ in observer.node.get_node_names_and_namespaces()}
    assert "sim_bridge_node" not in names
    assert observer.finish(launch) == 0
    assert is_clean(launch), launch.output


def test_a_robots_bring_up_includes_a_launch_file_beside_arguments_of_its_own(
    start_launch: Callable[..., Launch],
    observer: Observer,
    installation: tuple[Path, Any],
    tmp_path: Path,
) -> None:
    file = installation[0] / "share" / "ebm_policy_ros" / "launch" / "record.launch.py"
    (tmp_path / "bringup.launch.py").write_text(BRING_UP.format(file=str(file)))
    launch = start_launch(
        str(tmp_path / "bringup.launch.py"), "robot_ip:=192.168.0.7", "folder:=mine"
    )
    assert observer.parameters("/recorder_node", launch, "folder") == ["mine"]
    assert observer.finish(launch) == 0


def test_the_recorder_takes_the_folder_that_is_named_even_if_it_looks_like_a_number(
    start_launch: Callable[..., Launch], observer: Observer, tmp_path: Path
) -> None:
    launch = start_launch("record", "folder:=2024", "interface:=ur5e_push")
    values = observer.parameters("/recorder_node", launch, "folder", "interface", "prefix")
    assert values == ["2024", "ur5e_push", "episode"]
    assert (tmp_path / "2024").is_dir()
    assert observer.finish(launch) == 0
    assert is_clean(launch), launch.output


@pytest.mark.sim
def test_the_simulation_alone_publishes_what_the_arm_would(
    start_launch: Callable[..., Launch], observer: Observer, tmp_path: Path
) -> None:
    launch = start_launch("sim", write_parameters(tmp_path, seed=3), "log_level:=debug")
    observer.until(lambda: observer.node.count_publishers("/camera/image_raw") == 1, launch)
    values = observer.parameters("/sim_bridge_node", launch, "task", "seed", "auto_reset")
    assert values == ["push", 3, True]
    assert "[DEBUG]" in launch.output
    assert observer.finish(launch) == 0
    assert is_clean(launch), launch.output


@pytest.mark.sim
def test_a_person_collects_demonstrations_in_one_terminal(
    start_launch: Callable[..., Launch], observer: Observer, tmp_path: Path
) -> None:
    about = ("folder:=demos", "target:=2", "operator:=Ada", "task_text:=push the block")
    launch = start_launch("collect", "simulation:=true", *about, terminal=True)

    def press(key: str, told: str) -> None:
        """Press a key until its effect is told: it is refused while something still starts."""

        def done() -> bool:
            launch.press(key)
            return told in launch.output

        observer.until(done, launch)

    observer.until(
        lambda: "-> set the scene, then record (enter), success 1 of 2" in launch.output, launch
    )
    press("\r", "-> do the task, then keep it as a success (Y)")
    press("w", "commanding")
    press("Y", "-> set the scene, then record (enter), success 2 of 2")
    assert observer.finish(launch) == 0
    assert is_clean(launch), launch.output
    noted = read_custom_data(tmp_path / "demos" / "episode_0000")
    assert (noted["operator"], noted["task"]) == ("Ada", "push the block")
    assert (tmp_path / "demos" / "coverage.png").exists()


@pytest.mark.parametrize(
    "given",
    [
        {"takeover": "policy_node", "pedal": "foot/joy"},
        {"interface": "ur5e_scoop", "part": "left"},
    ],
    ids="-".join,
)
def test_a_person_chooses_pedal_and_arm(
    given: dict[str, str], start_launch: Callable[..., Launch], observer: Observer
) -> None:
    arguments = [f"{name}:={value}" for name, value in given.items()]
    launch = start_launch("teleop", "source:=gamepad", *arguments)
    assert observer.parameters("/teleop_node", launch, *given) == list(given.values())
    assert observer.finish(launch) == 0
    assert is_clean(launch), launch.output


def test_a_person_takes_the_arm_from_the_terminal_that_launched_the_node(
    start_launch: Callable[..., Launch], robot: Robot
) -> None:
    launch = start_launch("teleop", "source:=keyboard", terminal=True)
    robot.repeat(0.05, robot.tick_now)
    robot.until(lambda: "linear.x +" in launch.output)

    def moved() -> bool:
        launch.press("a")
        return any(any(planar(command)) for command in robot.commands)

    robot.until(moved)
    assert planar(robot.commands[-1]) == [0.0, pytest.approx(0.1)]
    launch.press("\x03")
    robot.until(lambda: not launch.is_running and planar(robot.commands[-1]) == [0.0, 0.0])
    assert launch.end() == 0
    assert is_clean(launch), launch.output


@pytest.mark.parametrize(
    ("name", "argument", "told"),
    [
        ("teleop", "source:=keyboard", "source: the keyboard needs a terminal"),
        ("teleop", "source:=mouse", 'Argument "source" provided value "mouse"'),
        ("sim", "viewer:=true", "viewer: there is no display"),
        ("sim", "task:=juggle", "task: got 'juggle', expected one of avoid, "),
        ("demo", "policy:=none.safetensors", "none.safetensors: no such policy file"),
        ("record", "params_file:=none.yaml", "params_file: there is no file none.yaml"),
        ("demo", "autostart:=perhaps", 'Argument "autostart" provided value "perhaps"'),
        ("policy", "polcy:=x", "policy.launch.py has no argument polcy; did you mean policy?"),
        ("operate", "port:=http", "port: got 'http', expected a whole number"),
        ("operate", "host:=0.0.0.0", "host: other computers reach 0.0.0.0, and the page can"),
        ("policy", "device:=cpu", "missing required argument 'policy'"),
    ],
)
def test_bad_input_is_told_in_a_line_and_ends_everything_with_an_error(
    start_launch: Callable[..., Launch], name: str, argument: str, told: str
) -> None:
    launch = start_launch(name, argument)
    assert launch.end() != 0
    assert told in launch.output
    assert "Traceback" not in launch.output


def test_a_node_that_is_not_required_ends_alone(start_launch: Callable[..., Launch]) -> None:
    launch = start_launch("record", "interface:=none.yaml", "required:=false")
    assert launch.end() == 0
    assert "none.yaml: cannot read the interface file" in launch.output
