"""policy_node over a real DDS: published commands for given messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import SetParameters
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from robot import PERIOD, TIMEOUT, Robot, parameters, planar
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import MarkerArray

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.energy.convolutions import IMAGE_ENCODERS, ImageEncoderConfig
from ebm_policy_ros.energy.heads import HEAD_LAYERS, HeadConfig
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import Model, build_model
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.nodes.policy import visualization
from ebm_policy_ros.nodes.policy.node import PolicyNode
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.policy.file import PolicyFile, save_policy
from ebm_policy_ros.policy.policy import Policy

pytestmark = pytest.mark.ros


def drive(robot: Robot, steps: range, **options: Any) -> list[list[float]]:
    result = []
    for step in steps:
        robot.tick(step, **options)
        result.append(planar(robot.command_at(step)))
    return result


def test_each_tick_gets_the_decision_of_its_own_samples(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy()
    robot.tick(10)
    commands = drive(robot, range(11, 16))
    assert all(any(values) for values in commands)
    assert all(abs(value) <= 0.2 + 1e-6 for values in commands for value in values)
    assert robot.command_at(12).header.frame_id == "base_link"
    assert len(robot.commands) == len({c.header.stamp.nanosec for c in robot.commands})


def test_same_seed_and_samples_give_the_same_commands(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    first = start_policy()
    robot.tick(10)
    before = drive(robot, range(11, 14))
    count = len(robot.commands)
    first.close()
    robot.until(lambda: len(robot.commands) > count)  # its last command, a stop
    robot.executor.remove_node(first)
    first.destroy_node()
    robot.commands.clear()
    start_policy()
    robot.tick(10)
    assert drive(robot, range(11, 14)) == before


def test_the_method_of_the_search_and_the_choice_are_parameters(
    robot: Robot, start_policy: Callable[..., Any], policy_file: Callable[..., Path]
) -> None:
    """Each setting changes the command to the decision of a policy with this setting."""
    kind = policy_file("autoregressive")
    settings: list[dict[str, Any]] = [
        {},
        {"inference": {"samples": 16}},
        {"inference": {"method": "hybrid", "starts": 4}},
        {"inference": {"method": "langevin", "samples": 16, "iterations": 5, "step_size": 0.01}},
        {"choice": "sample", "temperature": 2.0},
        {"policy": str(kind), "inference": {"samples": 64, "places": 2}},
    ]
    seen: list[list[float]] = []
    for chosen in settings:
        search = {f"inference.{k}": v for k, v in chosen.get("inference", {}).items()}
        plain = {k: v for k, v in chosen.items() if k != "inference"}
        node = start_policy(warm_start=False, **plain, **search)
        decided = Policy.load(
            chosen.get("policy", policy_file()),
            device="cpu",
            inference=chosen.get("inference"),
            choice=chosen.get("choice", "lowest"),
            temperature=chosen.get("temperature", 1.0),
        )
        assert node.control_loop.loaded.policy.inference == decided.inference
        robot.tick(10)
        robot.tick(11)
        sent = planar(robot.command_at(11))
        observation = node.inputs.observe(11 * PERIOD)
        expected = decided.decide(observation).action[0].tolist()
        assert sent == pytest.approx(expected, abs=1e-6)
        seen.append(sent)
        count = len(robot.commands)
        node.close()
        robot.until(lambda: len(robot.commands) > count)  # noqa: B023 - its last one, a stop
        robot.executor.remove_node(node)
        node.destroy_node()
        robot.commands.clear()
    assert len({tuple(values) for values in seen}) == len(settings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inference.method": "autoregressive"}, "but the model has one energy of whole actions"),
        ({"inference.samples": 0}, "inference.samples: got 0, expected an integer >= 2"),
        ({"choice": "best"}, "choice: got 'best', expected lowest or sample"),
        ({"policy": ""}, "policy: none is named; set it to a policy file"),
    ],
)
def test_a_search_that_cannot_work_is_refused(
    values: dict[str, Any], message: str, context: Any, policy_file: Callable[..., Path]
) -> None:
    overrides = parameters(**{"policy": str(policy_file()), "autostart": True, **values})
    with pytest.raises(ValueError, match=message):
        PolicyNode(context=context, parameter_overrides=overrides)


def test_a_policy_of_arrays_is_refused_since_it_names_no_robot(
    context: Any, policy_file: Callable[..., Path]
) -> None:
    overrides = parameters(policy=str(policy_file(interface=None)), autostart=True)
    with pytest.raises(ValueError, match="trained on arrays that name no robot"):
        PolicyNode(context=context, parameter_overrides=overrides)


def test_a_stream_that_falls_silent_stops_the_arm_until_it_is_back(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy(lockstep=False)
    robot.tick(10)
    for step in range(11, 20):
        robot.tick(step, only="joints tool")
        command = planar(robot.command_at(step))
        # The camera's samples are valid for 0.25 s.
        if step >= 13:
            assert command == [0.0, 0.0]
    for step in range(20, 24):
        robot.tick(step)
        command = planar(robot.command_at(step))
    assert any(command)


def test_at_the_edge_of_the_workspace_only_motion_inward_goes_out(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy()
    robot.tick(10, x=0.9)
    assert all(values[0] <= 0.0 for values in drive(robot, range(11, 20), x=0.9))


@pytest.mark.parametrize("transition", ["trigger_deactivate", "trigger_shutdown"])
def test_a_node_that_is_no_longer_active_has_stopped_and_is_silent(
    robot: Robot, start_policy: Callable[..., Any], transition: str
) -> None:
    node = start_policy()
    robot.tick(10)
    drive(robot, range(11, 13))
    count = len(robot.commands)
    getattr(node, transition)()
    robot.until(lambda: len(robot.commands) > count)
    assert planar(robot.commands[-1]) == [0.0, 0.0]
    count = len(robot.commands)
    for step in range(13, 16):
        robot.tick(step)
        for _ in range(5):
            robot.executor.spin_once(timeout_sec=0.02)
    assert len(robot.commands) == count


def test_a_policy_for_another_interface_is_refused_by_name(
    context: Any, policy_file: Callable[..., Path], interface: Interface
) -> None:
    values = interface.to_dict()
    values["rate"] = 5.0
    path = policy_file(interface=interface_from_dict(values, "other"))
    overrides = parameters(policy=str(path), interface="ur5e_push", autostart=True)
    with pytest.raises(ValueError, match=r"another interface than ur5e_push \(rate: 5\.0"):
        PolicyNode(context=context, parameter_overrides=overrides)


# Operators


def trigger(robot: Robot, name: str) -> Any:
    return robot.call(Trigger, f"policy_node/{name}", Trigger.Request())


def change(robot: Robot, name: str, value: Any) -> Any:
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return robot.call(SetParameters, "policy_node/set_parameters", request).results[0]


def listen(robot: Robot, kind: Any, topic: str) -> list[Any]:
    heard: list[Any] = []
    robot.node.create_subscription(kind, topic, heard.append, 10)
    robot.until(lambda: robot.node.count_publishers(topic) > 0)
    return heard


def test_start_configures_and_activates_and_says_what_is_wrong(
    robot: Robot, context: Any, policy_file: Callable[..., Path], tmp_path: Path
) -> None:
    values = {"policy": str(tmp_path / "none.safetensors"), "use_sim_time": True}
    node = PolicyNode(context=context, parameter_overrides=parameters(**values))
    robot.add(node)
    try:
        answer = trigger(robot, "start")
        assert not answer.success and "none.safetensors: no such policy file" in answer.message
        answer = trigger(robot, "reset")
        assert not answer.success and "not stopped" in answer.message
    finally:
        node.close()
        node.destroy_node()


class Gated(nn.Module):
    """Image encoder that is as slow as the test wants."""

    gate = threading.Event()

    def __init__(self, config: ImageEncoderConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.size = 1

    def forward(self, frames: Tensor) -> Tensor:
        """Zeros, shape (B, 1), from frames (B, T, H, W, 3), as soon as the gate is open."""
        assert self.gate.wait(60)
        return torch.zeros(len(frames), 1)


@pytest.fixture
def slow_policy(interface: Interface, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy that does not get warm until `Gated.gate` is opened."""
    monkeypatch.setitem(IMAGE_ENCODERS._parts, "gated", Gated)
    monkeypatch.setattr(Gated, "gate", threading.Event())
    config = ModelConfig(streams=("camera",), image=ImageEncoderConfig(network="gated"))
    shapes = {"camera": interface.shapes["camera"]}
    state = build_model(config, shapes, 2).state_dict()
    path = tmp_path / "slow.safetensors"
    search = {"method": "derivative_free", "samples": 64, "iterations": 2}
    save_policy(path, PolicyFile(state, config.to_dict(), shapes, (1, 2), interface, search, {}))
    return path


def test_while_a_policy_is_loaded_everything_else_is_answered(
    robot: Robot, context: Any, slow_policy: Path
) -> None:
    values = {"policy": str(slow_policy), "use_sim_time": True}
    node = PolicyNode(context=context, parameter_overrides=parameters(**values))
    robot.add(node)
    try:
        client = robot.node.create_client(Trigger, "policy_node/start")
        robot.until(client.service_is_ready)
        started = client.call_async(Trigger.Request())
        robot.until(lambda: node.preparation is not None)
        assert trigger(robot, "start").message == "a policy is being loaded"
        assert trigger(robot, "stop").success
        assert not started.done()
        Gated.gate.set()
        robot.until(started.done)
        # The stop that came meanwhile stays.
        assert started.result().message.startswith("stopped: ~/stop was called")
        assert robot.node.count_publishers("servo_node/delta_twist_cmds") == 0
    finally:
        Gated.gate.set()
        node.close()
        node.destroy_node()


def test_standard_lifecycle_clients_lead_the_node_through_its_states(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    def transition(number: int) -> None:
        request = ChangeState.Request()
        request.transition.id = number
        assert robot.call(ChangeState, "policy_node/change_state", request).success

    def state() -> str:
        answer = robot.call(GetState, "policy_node/get_state", GetState.Request())
        return str(answer.current_state.label)

    start_policy()
    assert state() == "active"
    robot.tick(10)
    drive(robot, range(11, 13))
    count = len(robot.commands)
    transition(4)  # deactivate
    robot.until(lambda: len(robot.commands) > count)
    assert planar(robot.commands[-1]) == [0.0, 0.0] and state() == "inactive"
    transition(2)  # clean up
    assert state() == "unconfigured"
    transition(1)
    transition(3)
    assert state() == "active"
    robot.until(lambda: robot.node.count_publishers("servo_node/delta_twist_cmds") > 0)
    robot.tick(20)
    assert any(any(values) for values in drive(robot, range(21, 24)))


def test_in_shadow_mode_commands_are_proposed_and_nothing_is_commanded(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy(publish_commands=False, autostart=True, lockstep=True, wait=False)
    proposed = listen(robot, TwistStamped, "/policy_node/proposed_command")
    assert robot.node.count_publishers("servo_node/delta_twist_cmds") == 0
    for step in range(10, 14):
        robot.tick(step)
        robot.until(lambda step=step: len(proposed) >= step - 9)  # type: ignore[misc]
    assert any(any(planar(command)) for command in proposed)
    assert robot.commands == []


def test_the_shadow_service_stops_the_arm_and_lets_it_go_on(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy()
    robot.tick(10)
    assert any(any(values) for values in drive(robot, range(11, 13)))
    count = len(robot.commands)
    request = SetBool.Request(data=True)
    assert robot.call(SetBool, "policy_node/shadow", request).success
    robot.until(lambda: len(robot.commands) > count)
    assert planar(robot.commands[-1]) == [0.0, 0.0]
    assert robot.node.count_publishers("servo_node/delta_twist_cmds") == 0
    assert robot.call(SetBool, "policy_node/shadow", SetBool.Request(data=False)).success
    robot.until(lambda: robot.node.count_publishers("servo_node/delta_twist_cmds") > 0)
    robot.tick(20)
    assert any(any(values) for values in drive(robot, range(21, 24)))


def test_another_policy_takes_over_between_two_ticks_and_a_bad_one_does_not(
    robot: Robot,
    start_policy: Callable[..., Any],
    policy_file: Callable[..., Path],
    policy_for: Callable[..., Path],
    interface: Interface,
    tmp_path: Path,
) -> None:
    node = start_policy(warm_start=False)
    robot.tick(10)
    drive(robot, range(11, 13))
    assert "next_policy is empty" in trigger(robot, "load_policy").message
    values = interface.to_dict()
    values["rate"] = 5.0
    slower = interface_from_dict(values, "slower")
    for path, problem in (
        (tmp_path / "none.safetensors", "no such policy file"),
        (policy_for(slower, [-0.1, -0.1], [0.1, 0.1]), "another interface than the one that runs"),
    ):
        assert change(robot, "next_policy", str(path)).successful
        answer = trigger(robot, "load_policy")
        assert not answer.success
        assert problem in answer.message and answer.message.endswith("energy.safetensors goes on")
    assert any(any(values) for values in drive(robot, range(13, 16)))
    for tick, kind in ((20, "explicit"), (21, "flow")):
        other = policy_file(kind)
        assert change(robot, "next_policy", str(other)).successful
        answer = trigger(robot, "load_policy")
        assert answer.success, answer.message
        robot.tick(tick)
        sent = planar(robot.command_at(tick))
        decided = Policy.load(other, device="cpu").decide(node.inputs.observe(tick * PERIOD))
        assert sent == pytest.approx(decided.action[0].tolist(), abs=1e-6)


# Parameters that apply from the next tick on


@pytest.mark.parametrize(
    ("name", "value", "factor"),
    [("speed", 0.5, 0.5), ("speed", 0.0, 0.0)],
)
def test_speed_is_a_factor_on_what_goes_out(
    robot: Robot, start_policy: Callable[..., Any], name: str, value: float, factor: float
) -> None:
    start_policy(warm_start=False)
    robot.tick(10)
    before = drive(robot, range(11, 12))[0]
    assert change(robot, name, value).successful
    after = drive(robot, range(267, 268))[0]  # the same image
    assert after == pytest.approx([factor * x for x in before], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [
        ("limits.high", [0.05, 0.25], 0.05),
        ("limits.workspace_high", [0.5, 0.3], 0.0),  # at the tool's position
        ("limits.max_acceleration", [0.3, 0.3], 0.03),  # from rest, in a tenth of a second
    ],
)
def test_a_limit_counts_from_the_next_tick_on(
    robot: Robot, start_policy: Callable[..., Any], name: str, value: list[float], most: float
) -> None:
    start_policy(interface="ur5e_push")
    robot.tick(10)
    assert drive(robot, range(11, 12))[0][0] > most + 0.01
    assert change(robot, name, value).successful
    assert drive(robot, range(12, 13))[0][0] == pytest.approx(most, abs=1e-6)


def test_another_seed_draws_other_candidates(
    robot: Robot, start_policy: Callable[..., Any], policy_file: Callable[..., Path]
) -> None:
    node = start_policy(seed=5, warm_start=False, **{"inference.samples": 8})
    robot.tick(10)
    sent = drive(robot, range(11, 12))[0]
    observation = node.inputs.observe(11 * PERIOD)
    decided = {
        seed: Policy.load(policy_file(), device="cpu", seed=seed, inference={"samples": 8}).decide(
            observation
        )
        for seed in (0, 5)
    }
    assert sent == pytest.approx(decided[5].action[0].tolist(), abs=1e-6)
    assert sent != pytest.approx(decided[0].action[0].tolist(), abs=1e-3)


def test_without_the_check_commands_go_out_although_nobody_listens(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    node = start_policy()
    robot.node.destroy_subscription(robot.listener)
    robot.until(lambda: robot.node.count_subscribers("servo_node/delta_twist_cmds") == 0)
    robot.tick(10)
    robot.until(lambda: node.statistics.counts["ticks"] > 0)
    assert node.statistics.counts["commands"] == 0
    assert change(robot, "check_command_topic", False).successful
    robot.tick(11)
    robot.until(lambda: node.statistics.counts["commands"] > 0)


def test_the_time_to_recover_and_the_time_to_give_up_are_parameters(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    node = start_policy(lockstep=False, recover_after=0.5, stop_after=1.0)
    for step in range(10, 13):
        robot.tick(step)
        robot.command_at(step)
    for step in range(13, 17):
        robot.tick(step, only="joints tool")
        robot.command_at(step)
    held = []
    for step in range(17, 25):
        robot.tick(step)
        held.append(not any(planar(robot.command_at(step))))
    assert held == [True] * 5 + [False] * 3
    for step in range(25, 38):
        robot.tick(step, only="joints tool")
        robot.command_at(step)
    assert node.safety.reason.startswith("held for 1.0 s: camera")


def test_a_warm_start_begins_the_search_from_the_last_decision(
    robot: Robot, start_policy: Callable[..., Any], policy_file: Callable[..., Path]
) -> None:
    node = start_policy()
    robot.tick(10)
    policy = Policy.load(policy_file(), device="cpu")
    before = None
    for step in range(11, 15):
        robot.tick(step)
        sent = planar(robot.command_at(step))
        decided = policy.decide(node.inputs.observe(step * PERIOD), previous=before)
        assert sent == pytest.approx(decided.action[0].tolist(), abs=1e-6)
        before = decided.action


# Inputs


def test_a_publisher_that_offers_less_than_qos_asks_for_is_named(
    robot: Robot, interface: Interface, context: Any, policy_file: Callable[..., Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    values = interface.to_dict()
    values["observation"]["camera"]["qos"] = {"reliability": "reliable"}
    path = tmp_path / "reliable.yaml"
    path.write_text(yaml.safe_dump(values))
    robot.node.destroy_publisher(robot.camera)
    quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    robot.camera = robot.node.create_publisher(Image, robot.topics["camera"], quality)
    overrides = {"policy": str(policy_file()), "interface": str(path), "autostart": True}
    node = PolicyNode(
        context=context, parameter_overrides=parameters(use_sim_time=True, **overrides)
    )
    robot.add(node)
    try:
        robot.heard(robot.topics["tool"])
        for step in range(10, 14):
            robot.tick(step)
            robot.until(lambda step=step: node.statistics.counts["ticks"] >= step - 9)  # type: ignore[misc]
        assert robot.commands == [], "an arm that was not commanded is left alone"
        expected = "robot offers best_effort, qos.reliability asks for reliable"
        assert f"camera (camera/image_raw): {expected}" in node.safety.reason
    finally:
        node.close()
        node.destroy_node()


def test_joints_of_two_publishers_make_one_observation(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    node = start_policy()
    first = robot.joint_names
    other = robot.node.create_publisher(JointState, robot.topics["joints"], 10)
    robot.joint_names = first[:4]
    robot.tick(10)
    for step in range(11, 14):
        robot.tick(step, only="camera joints tool")
        rest = JointState(name=first[4:], position=[4.0, 5.0])
        rest.header.stamp.sec, rest.header.stamp.nanosec = step // 10, step % 10 * PERIOD
        other.publish(rest)
        robot.until(lambda step=step: node.inputs.buffer.complete(step * PERIOD))  # type: ignore[misc]
    joints = node.inputs.observe(13 * PERIOD)["joints"]
    assert joints[0].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3, 4.0, 5.0])


def test_times_beside_the_decision_are_those_of_the_simulations_clock(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    node = start_policy()
    for step in range(10, 13):
        robot.tick(step)
        robot.command_at(step)
    told = node.statistics.times()
    assert min(told["decision"]) > 0
    # The clock stands while the node decides and sends.
    assert told["stamp to command"] == told["all but the decision"] == (0.0, 0.0, 0.0)


def test_without_simulated_time_a_camera_frame_starts_the_decision(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    """The answer to a frame does not wait for the next tick of the timer."""
    node = start_policy(use_sim_time=False, lockstep=False)

    def publish() -> None:
        robot.tick_now()

    robot.repeat(0.1, publish)
    robot.until(lambda: node.statistics.counts["commands"] >= 10)
    p50, _, _ = node.statistics.times()["all but the decision"]
    # A timer independent of the camera would answer half a period, 50 ms, later.
    assert p50 < 40


# Messages and topics of the node


def test_frames_of_another_aspect_are_told_once(
    robot: Robot, start_policy: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    node = start_policy()
    heard = listen(robot, DiagnosticArray, "/diagnostics")
    wide = Image(height=90, width=160, encoding="rgb8", step=480, data=bytes(480 * 90))
    for step in (11, 12, 13):
        wide.header.stamp = Time(sec=1, nanosec=(step - 10) * PERIOD)
        robot.camera.publish(wide)
        robot.tick(step, only="joints tool")
        robot.command_at(step)
    assert len(node.inputs.buffer.image_shapes.notes()) == 1
    count = len(heard)
    robot.until(lambda: len(heard) > count + 2)
    assert capfd.readouterr().err.count("frames of 160x90 are stretched to 128x96") == 1


def statuses(heard: list[Any]) -> dict[str, Any]:
    return {s.name.removeprefix("/policy_node: "): s for s in heard[-1].status}


def numbered(heard: list[Any], key: str) -> int:
    """A count of the newest diagnostics; 0 before the first one."""
    values = {pair.key: pair.value for pair in statuses(heard)["policy"].values}
    return int(values.get(key, 0))


def test_diagnostics_tell_the_state_the_streams_and_the_policy(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy(lockstep=False, stop_after=1.0)
    heard = listen(robot, DiagnosticArray, "/diagnostics")
    robot.tick(10)
    steps = iter(range(11, 5000))
    for step in steps:
        drive(robot, range(step, step + 1))
        if heard and numbered(heard, "commands"):
            break
    found = statuses(heard)
    assert set(found) == {"policy", "camera", "joints", "tool"}
    policy = {pair.key: pair.value for pair in found["policy"].values}
    assert found["policy"].level == DiagnosticStatus.OK and found["policy"].message == "fresh"
    assert policy["policy"].endswith("energy.safetensors") and len(policy["policy sha256"]) == 64
    assert policy["shadow"] == "false" and int(policy["commands"]) >= 1
    assert "decision p50 / p95 / p99 (ms)" in policy and "skew (s)" in policy
    assert "stamp to command p50 / p95 / p99 (ms)" in policy
    camera = {pair.key: pair.value for pair in found["camera"].values}
    assert camera["topic"] == "/camera/image_raw" and camera["stamped"] == "true"
    assert float(camera["age (s)"]) <= 0.1 and float(camera["rate (Hz)"]) > 0
    seen = next(steps)
    for step in range(seen, seen + 16):
        robot.tick(step, only="joints tool")
        if step < seen + 14:
            robot.command_at(step)
    robot.until(lambda: statuses(heard)["policy"].level == DiagnosticStatus.ERROR)
    found = statuses(heard)
    assert found["policy"].message.startswith("stopped: held for 1.0 s: camera")
    assert found["camera"].level == DiagnosticStatus.ERROR
    assert found["joints"].level == DiagnosticStatus.OK


def test_diagnostics_tell_a_stop_although_the_clock_stands_still(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    """In lock-step a stopped policy stops the clock too; whoever waits must hear of the stop."""
    node = start_policy()
    heard = listen(robot, DiagnosticArray, "/diagnostics")
    robot.tick(10)
    assert robot.call(Trigger, "policy_node/stop", Trigger.Request()).success
    robot.until(node.clock_watch.stands)
    heard.clear()
    robot.until(lambda: len(heard) > 0)
    assert statuses(heard)["policy"].message.startswith("stopped: ")


def next_of_three(model: Model) -> None:
    """Let the policy choose intent 0 without a last one, and otherwise the next of three."""
    commitment = model.encoder.commitment
    assert commitment is not None
    first, middle, last = [layer for layer in commitment.body if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer in (first, middle, last):
            layer.weight.zero_()
            layer.bias.zero_()
        first.weight[:4, -4:] = middle.weight[:4, :4] = torch.eye(4)
        # None, 0, 1 and 2 lead to 0, 1, 2 and 0.
        last.weight[[0, 1, 2, 0], range(4)] = -1.0


def test_the_intent_is_carried_through_a_pause_and_not_past_a_reset(
    robot: Robot, start_policy: Callable[..., Any], policy_file: Callable[..., Path]
) -> None:
    policy = policy_file(intents=3, change=next_of_three)
    node = start_policy(policy=str(policy), lockstep=False)

    def intent() -> int | None:
        found: int | None = node.statistics.decision.intent
        return found

    def after(last: int | None, steps: range) -> int | None:
        """Intent of the first decision within the steps with another one."""
        for step in steps:
            robot.tick(step)
            robot.command_at(step)
            if intent() != last:
                return intent()
        return last

    robot.tick(10)
    for step in range(11, 15):
        drive(robot, range(step, step + 1))
        assert intent() == (step - 11) % 3
    for step in range(15, 20):  # the camera's samples are valid for 0.25 s
        robot.tick(step, only="joints tool")
        command = planar(robot.command_at(step))
    assert command == [0.0, 0.0]
    paused = intent()
    assert paused == 2
    assert after(paused, range(20, 30)) == 0
    assert after(intent(), range(30, 31)) == 1
    assert trigger(robot, "stop").success and trigger(robot, "reset").success
    assert after(1, range(31, 40)) == 0


def test_candidates_and_debug_image_are_there_for_who_looks(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy()
    markers = listen(robot, MarkerArray, "/policy_node/candidates")
    images = listen(robot, Image, "/policy_node/debug_image")
    robot.until(lambda: robot.node.count_subscribers("/policy_node/debug_image") > 0)
    for step in range(10, 40):
        robot.tick(step)
        robot.command_at(step)
        if markers and images:
            break
    robot.until(lambda: bool(markers and images))
    points, command = markers[-1].markers
    assert points.header.frame_id == "base_link" and len(points.points) == len(points.colors) == 64
    # Half a second of at most 0.2 m/s from the tool's position.
    assert all(abs(point.x - 0.5) <= 0.1 + 1e-6 for point in points.points)
    assert len(command.points) == 2
    image = images[-1]
    assert (image.height, image.width, image.encoding) == (360, 480 + 360, "rgb8")
    assert len(set(bytes(image.data[1500::7]))) > 50, "the landscape has colours"


class Cramped(nn.Module):
    """Layers through which a decision fits, and an energy image does not."""

    refused = 0

    def forward(self, values: Tensor) -> Tensor:
        """Return the values, shape (B, N, width), of at most 1000 candidates."""
        if values.shape[1] > 1000:
            Cramped.refused += 1
            raise RuntimeError("out of memory")
        return values


def test_a_debug_image_that_cannot_be_drawn_is_told_once_and_the_arm_is_commanded_without_it(
    robot: Robot,
    interface: Interface,
    start_policy: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(HEAD_LAYERS._parts, "cramped", lambda config: Cramped())
    monkeypatch.setattr(Cramped, "refused", 0)
    monkeypatch.setattr(visualization, "_PAUSE", 0.0)
    config = ModelConfig(streams=("camera",), head=HeadConfig("cramped"))
    shapes = {"camera": interface.shapes["camera"]}
    state = build_model(config, shapes, 2).state_dict()
    path = tmp_path / "cramped.safetensors"
    search = {"method": "derivative_free", "samples": 64, "iterations": 2}
    save_policy(path, PolicyFile(state, config.to_dict(), shapes, (1, 2), interface, search, {}))
    start_policy(policy=str(path))
    told = listen(robot, Log, "/rosout")
    images = listen(robot, Image, "/policy_node/debug_image")
    robot.until(lambda: robot.node.count_subscribers("/policy_node/debug_image") > 0)
    robot.tick(10)
    for step in range(11, 200):
        robot.tick(step)
        assert any(planar(robot.command_at(step)))
        if Cramped.refused > 2:
            break
    assert Cramped.refused > 2
    robot.until(lambda: any(message.level == 40 for message in told))
    (error,) = [message.msg for message in told if message.level == 40]
    assert error.startswith("debug_image cannot be drawn, the node goes on without: ")
    assert "RuntimeError: out of memory" in error and not images


def test_chosen_actions_that_cannot_be_drawn_are_told_once_and_left_out(
    robot: Robot, interface: Interface
) -> None:
    told = listen(robot, Log, "/rosout")
    drawing = visualization.Visualization(robot.node, interface)
    state = RobotState(position={"x": 0.5, "y": 0.0}, velocity={}, tool={})
    actions = np.array([[0.1, 0.0]])
    (drawn,) = drawing.chosen(actions, (state,), 1).values()
    assert [len(line) for line in drawn["lines"]] == [2]
    for _ in range(2):
        assert drawing.chosen(actions[:, :1], (state,), 1) == {}
    drawing.chosen(actions, (), 1)
    robot.node.get_logger().warning("the end")
    robot.until(lambda: any(message.msg == "the end" for message in told))
    error, _ = [message.msg for message in told]
    assert error.startswith("chosen actions cannot be drawn, the node goes on without: IndexError")
    drawing.close()


# Refusals at the start


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trigger": "lidar"}, "trigger: got 'lidar', expected auto, timer or one of camera"),
        ({"limits.high": [0.9, 0.1]}, "limits.high: 0.9 for linear.x is looser than"),
        ({"when_unsure": "panic"}, "when_unsure: got 'panic', expected go or slow or hold"),
    ],
)
def test_a_parameter_that_cannot_be_ends_the_start_with_the_reason(
    values: dict[str, Any], message: str, context: Any, policy_file: Callable[..., Path]
) -> None:
    overrides = parameters(policy=str(policy_file()), autostart=True, **values)
    with pytest.raises(ValueError, match=message):
        PolicyNode(context=context, parameter_overrides=overrides)


def test_a_configuration_that_fails_is_logged_and_can_be_tried_again(
    context: Any, tmp_path: Path, policy_file: Callable[..., Path]
) -> None:
    path = tmp_path / "later.safetensors"
    node = PolicyNode(context=context, parameter_overrides=parameters(policy=str(path)))
    try:
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert "later.safetensors: no such policy file" in node.failure
        policy_file().rename(path)
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    finally:
        node.close()
        node.destroy_node()


def test_an_error_in_a_transition_leaves_the_arm_stopped(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    node = start_policy()
    robot.tick(10)
    drive(robot, range(11, 13))
    count = len(robot.commands)
    node.on_error(None)
    robot.until(lambda: len(robot.commands) > count)
    assert planar(robot.commands[-1]) == [0.0, 0.0]
    assert not node.is_active and node.control_loop is None


def test_a_stop_before_the_start_forbids_it(
    robot: Robot, context: Any, policy_file: Callable[..., Path]
) -> None:
    values = {"policy": str(policy_file()), "use_sim_time": True}
    node = PolicyNode(context=context, parameter_overrides=parameters(**values))
    robot.add(node)
    try:
        assert trigger(robot, "stop").success
        answer = trigger(robot, "start")
        assert not answer.success and "~/stop was called; call ~/reset" in answer.message
        for step in range(10, 13):
            robot.tick(step)
        assert all(not any(planar(command)) for command in robot.commands)
    finally:
        node.close()
        node.destroy_node()


def test_a_stop_is_answered_while_a_decision_runs_whose_result_is_thrown_away(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    node = start_policy()
    robot.tick(10)
    drive(robot, range(11, 13))
    client = robot.node.create_client(Trigger, "policy_node/stop")
    robot.until(client.service_is_ready)
    answer: list[Any] = []

    def ask(*values: Any) -> None:
        # On the thread of the decision, which continues only after the answer to the stop.
        answer.append(client.call_async(Trigger.Request()))
        deadline = time.monotonic() + TIMEOUT
        while node.safety.state is not SafetyState.STOPPED:
            assert time.monotonic() < deadline, "the stop waits for the decision"
            time.sleep(0.001)

    trunk = node.control_loop.loaded.policy._model.encoder.trunk
    hook = trunk.register_forward_hook(ask)
    count = len(robot.commands)
    robot.tick(13)
    robot.until(lambda: len(robot.commands) > count)
    hook.remove()
    robot.until(answer[0].done)
    assert answer[0].result().success
    assert all(not any(planar(command)) for command in robot.commands[count:])
    assert node.statistics.counts["commands"] == 2


def test_a_camera_that_stops_stops_the_arm_on_the_systems_clock_too(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    """With the system clock, camera frames start decisions; the timer replaces missing ones."""
    node = start_policy(use_sim_time=False, lockstep=False)
    robot.repeat(0.05, robot.tick_now)
    robot.until(lambda: any(any(planar(command)) for command in robot.commands))
    robot.camera = None
    robot.until(lambda: node.safety.state is SafetyState.HOLD)
    assert "camera (camera/image_raw): 0." in node.safety.reason
    robot.until(lambda: not any(planar(robot.commands[-1])))
