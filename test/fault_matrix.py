"""Fault matrix of policy_node, one fault after the other: `make faults` prints the table.

Each fault is injected while policy_node moves the simulated arm with the shipped policy, over a
real DDS. Times are simulated: from the last good sample, or from the fault, to the stamp of the
first safe command.
"""

from __future__ import annotations

import argparse
import copy
import gc
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    import conftest  # noqa: F401 - a ROS domain of its own

import numpy as np
import pytest
import torch
import yaml
from open_page import OpenPage
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from scene import SECOND, Scene
from sensor_msgs.msg import Joy
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.messages.takeover import PersonCommand, takeover_message
from ebm_policy_ros.nodes.common.topics import TAKEOVER_QUALITY
from ebm_policy_ros.policy.file import load_policy_file, save_policy
from ebm_policy_ros.util.resources import interface_path, policy_path

PERIOD = 0.1
CAMERA_AGE, JOINTS_AGE = 0.25, 0.15
# Values of policy.yaml.
STOP_AFTER, RECOVER_AFTER = 3.0, 0.2
# Allowed silence of a person, s.
TAKEOVER = 1.0
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    fault: str
    wire: str
    """Commands that were sent."""
    seconds: float | None = None
    """Time until the first safe command, s."""
    allowed: float | None = None


Case = Callable[[Scene, Path], Row]


def check_safe(scene: Scene, since_ns: int, allowed: float) -> float:
    """Seconds from `since_ns` to the first safe command; all later ones must be safe too."""
    after = [sent for sent in scene.sent if sent.stamp > since_ns]
    safe = next((index for index, sent in enumerate(after) if sent.is_safe), None)
    assert safe is not None, "no safe command"
    assert all(sent.is_safe for sent in after[safe:]), "it moves again"
    seconds = (after[safe].stamp - since_ns) / SECOND
    assert seconds <= allowed + 1e-6, f"safe after {seconds:.3f} s, allowed {allowed:.3f} s"
    return seconds


def check_still(scene: Scene) -> None:
    """Check that the arm does not move."""
    way = max(scene.tool[-3:]) - min(scene.tool[-3:])
    assert way < 1e-3, f"the tool moved by {way:.4f} m"


# Messages


@dataclass(frozen=True)
class Fault:
    """A fault of the messages of one stream."""

    name: str
    stream: str
    spoil: Callable[[Any, Any], Iterable[Any]]
    """Maps (message, last good message) to the messages that are received instead."""
    within: float | None
    """Allowed time to the safe command from the last good stamp, s; None if commands continue."""
    told: str = ""
    """Expected text in the reason of the hold."""


def nothing(message: Any, last: Any) -> Iterable[Any]:
    return ()


def frozen(message: Any, last: Any) -> Iterable[Any]:
    return (last,)


def edited(**changes: Any) -> Callable[[Any, Any], Iterable[Any]]:
    """Replace fields of the message by the results of functions."""

    def edit(message: Any, last: Any) -> Iterable[Any]:
        new = copy.deepcopy(message)
        for field, change in changes.items():
            setattr(new, field, change(new))
        return (new,)

    return edit


def restamped(change: Callable[[int], int]) -> Callable[[Any, Any], Iterable[Any]]:
    """Replace the stamp of the message, nanoseconds."""

    def header(message: Any) -> Any:
        stamp = message.header.stamp
        stamp.sec, stamp.nanosec = divmod(change(stamp.sec * SECOND + stamp.nanosec), SECOND)
        return message.header

    return edited(header=header)


def in_another_frame(message: Any) -> Any:
    message.header.frame_id = "map"
    return message.header


def larger(message: Any, last: Any) -> Iterable[Any]:
    """Double the height and width of an image, as after a change of the driver's settings."""
    new = copy.deepcopy(message)
    new.height, new.width, new.step = 2 * message.height, 2 * message.width, 2 * message.step
    data, doubled = bytes(message.data), bytearray()
    for top in range(0, len(data), message.step):
        row = data[top : top + message.step]
        doubled += b"".join(row[i : i + 3] * 2 for i in range(0, len(row), 3)) * 2
    new.data = bytes(doubled)
    return (new,)


_COLUMNS = ("name", "position", "velocity", "effort")


def columns(change: Callable[[list[Any]], list[Any]]) -> Callable[[Any, Any], Iterable[Any]]:
    """Change every column of a joint state in the same way."""
    return edited(**{c: lambda message, c=c: change(list(getattr(message, c))) for c in _COLUMNS})


FAULTS = (
    Fault("camera stops", "camera", nothing, CAMERA_AGE + PERIOD,
          "camera (camera/image_raw): "),
    Fault("camera freezes", "camera", frozen, CAMERA_AGE + PERIOD, "s old, at most 0.25"),
    Fault("image half-sent", "camera", edited(data=lambda m: m.data[: len(m.data) // 2]), PERIOD,
          "camera/image_raw: 115200 bytes for 320x240 rgb8"),
    Fault("wrong encoding", "camera", edited(encoding=lambda m: "h264"), PERIOD,
          "camera/image_raw: encoding 'h264', expected one of rgb8"),
    Fault("image of another size", "camera", larger, None),
    Fault("joints stop", "joints", nothing, JOINTS_AGE + PERIOD, "joints (joint_states): "),
    Fault("a joint missing", "joints", columns(lambda c: c[1:]), JOINTS_AGE + PERIOD,
          "joints (joint_states): "),
    Fault("joints in another order", "joints", columns(lambda c: c[::-1]), None),
    Fault("a joint is not a number", "joints",
          edited(position=lambda m: [math.nan, *list(m.position)[1:]]), PERIOD,
          "a value on joint_states is not a finite number"),
    Fault("fewer positions than joints", "joints", edited(position=lambda m: m.position[1:]),
          PERIOD, "joint_states: 5 values of position for 6 joints"),
    Fault("tool pose stops", "tool", nothing, JOINTS_AGE + PERIOD, "tool (tool_pose): "),
    Fault("tool pose in another frame", "tool", edited(header=in_another_frame), PERIOD,
          "tool_pose: frame 'map', expected 'base_link'"),
    Fault("stamps of zero", "camera", restamped(lambda t: 0), None),
    Fault("stamps a second old", "camera", restamped(lambda t: t - SECOND), CAMERA_AGE + PERIOD,
          "camera (camera/image_raw): "),
    Fault("stamps from the future", "camera", restamped(lambda t: t + 10 * SECOND), PERIOD,
          "s in the future"),
)  # fmt: skip


def strike(scene: Scene, fault: Fault) -> Row:
    """Inject the fault while the arm moves, check the commands, then end the fault."""
    node = scene.start()
    scene.until_moving()
    last, begun = scene.last[fault.stream], scene.time

    def spoil(name: str, message: Any) -> Iterable[Any]:
        return fault.spoil(message, last) if name == fault.stream else (message,)

    scene.spoil = spoil
    scene.run(1.0)
    if fault.within is None:
        assert not any(sent.is_safe for sent in scene.sent if sent.stamp > begun)
        return Row(fault.name, "commands go on")
    seconds = check_safe(scene, begun, fault.within)
    assert node.safety.state is SafetyState.HOLD
    assert fault.told in node.safety.reason, node.safety.reason
    check_still(scene)
    scene.mend()
    scene.until_moving()
    return Row(fault.name, "zero until it is over", seconds, fault.within)


# Time


def clock_set_back(scene: Scene, folder: Path) -> Row:
    """Set all clocks back by an hour: HOLD, then commands again with samples of the new time."""
    scene.shift += 3600 * SECOND
    scene.start()
    scene.until_moving()
    begun = len(scene.sent)
    scene.shift -= 3600 * SECOND
    scene.step()
    scene.run(1.0)
    after = scene.sent[begun:]
    assert after[0].is_safe
    resumed = next(i for i, sent in enumerate(after) if not sent.is_safe)
    assert all(not sent.is_safe for sent in after[resumed:])
    seconds = (after[resumed].stamp - after[0].stamp) / SECOND
    # One tick until samples of the new time arrive, one more until they have been good long
    # enough.
    allowed = RECOVER_AFTER + 2 * PERIOD
    assert seconds <= allowed + 1e-6
    return Row("clock goes back by an hour", "zero at once, then on", 0.0, PERIOD)


def streams_apart(scene: Scene, folder: Path) -> Row:
    """Camera 0.2 s behind the joints, where 0.08 s are allowed."""
    scene.start(interface=str(interface_with(folder, max_skew=0.08)))
    scene.until_moving()
    begun = scene.time

    def spoil(name: str, message: Any) -> Iterable[Any]:
        return (
            restamped(lambda t: t - SECOND // 5)(message, None) if name == "camera" else (message,)
        )

    scene.spoil = spoil
    scene.run(1.0)
    seconds = check_safe(scene, begun, CAMERA_AGE + PERIOD)
    reason = scene.policies[0].safety.reason
    assert "camera (camera/image_raw): 0.2" in reason and "s behind " in reason, reason
    return Row("streams 0.2 s apart", "zero while it lasts", seconds, CAMERA_AGE + PERIOD)


def interface_with(folder: Path, **changes: Any) -> Path:
    values = load_interface(interface_path("ur5e_push")).to_dict() | changes
    path = folder / "interface.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


# Decisions


def policy_with(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """Write the shipped policy with other weights."""
    content = load_policy_file(policy_path("ur5e_push"))
    state = {name: value.clone() for name, value in content.state.items()}
    change(state)
    path = folder / "changed.safetensors"
    save_policy(path, replace(content, state=state))
    return path


def policy_not_a_number(scene: Scene, folder: Path) -> Row:
    """Energies that overflow because of large weights: no motion, then STOPPED."""

    def change(state: dict[str, torch.Tensor]) -> None:
        state["head.output.weight"] *= 1e38
        state["head.body.1.layers.2.weight"] *= 1e38

    node = scene.start(policy=str(policy_with(folder, change)))
    scene.until(lambda: node.safety.state is SafetyState.STOPPED)
    assert not scene.sent, "an arm that was not commanded is left alone"
    assert "guard: not finite: the action" in node.safety.reason
    assert node.statistics.counts["ticks"] * PERIOD <= STOP_AFTER + RECOVER_AFTER + 1.0
    return Row("policy yields no number", "nothing, then stopped for good", 0.0, PERIOD)


def policy_out_of_bounds(scene: Scene, folder: Path) -> Row:
    """A policy with twenty times larger actions: the commands stay within the guard's bounds."""

    def change(state: dict[str, torch.Tensor]) -> None:
        for corner in ("box.low", "box.high"):
            state[corner] *= 20

    node = scene.start(policy=str(policy_with(folder, change)), when_unsure="go")
    scene.until_moving()
    scene.run(1.0)
    high = scene.interface.command.high[0]
    assert all(abs(value) <= high + 1e-6 for sent in scene.sent for value in sent.values)
    assert node.statistics.interventions["bounds: linear.x"] > 0
    return Row("policy outside its bounds", "cut to the bounds")


def decision_over_budget(scene: Scene, folder: Path) -> Row:
    """A search of ten times its budget ends early with its best result."""
    search: dict[str, Any] = {"inference.samples": 256, "inference.iterations": 1000}
    node = scene.start(**search)
    scene.until_moving()
    assert node.statistics.counts["decisions cut short"] > 0
    assert node.statistics.counts["late decisions"] == 0
    return Row("search takes ten times its budget", "the best action so far")


def trunk_of(node: Any) -> torch.nn.Module:
    """Trunk of the policy's encoder; hooks make its computation fail."""
    trunk: torch.nn.Module = node.control_loop.loaded.policy._model.encoder.trunk
    return trunk


def decision_never_ends(scene: Scene, folder: Path) -> Row:
    """Hanging computation: safe after one period of real time, while the decision still runs."""
    node = scene.start()
    scene.until_moving()
    never = threading.Event()
    trunk_of(node).register_forward_hook(lambda *values: never.wait())
    begun = scene.time
    scene.run(STOP_AFTER + 1.0)
    seconds = check_safe(scene, begun, PERIOD)
    assert node.safety.state is SafetyState.STOPPED
    assert "the last decision still runs" in node.safety.reason
    answer = scene.call(Trigger, "policy_node/reset", Trigger.Request())
    assert not answer.success and "the last decision still runs" in answer.message
    never.set()
    return Row("decision never ends", "zero, then stopped for good", seconds, PERIOD)


def decision_fails(scene: Scene, folder: Path) -> Row:
    """A lost GPU: STOPPED, silent, and no reset while it is missing."""
    node = scene.start()
    scene.until_moving()

    def lost(*values: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    hook = trunk_of(node).register_forward_hook(lost)
    begun = scene.time
    scene.run(2.0)
    seconds = check_safe(scene, begun, PERIOD)
    assert node.safety.state is SafetyState.STOPPED
    assert "RuntimeError: CUDA error" in node.safety.reason
    assert scene.time - scene.sent[-1].stamp > SECOND, "it speaks on"
    answer = scene.call(Trigger, "policy_node/reset", Trigger.Request())
    assert not answer.success and "CUDA error" in answer.message
    hook.remove()
    assert scene.call(Trigger, "policy_node/reset", Trigger.Request()).success
    scene.until_moving()
    return Row("GPU lost, or any exception", "zero for 0.5 s, then silence", seconds, PERIOD)


def camera_covered(scene: Scene, folder: Path) -> Row:
    """Hand over the camera: the observation is unfamiliar, and the policy is set to hold."""
    node = scene.start(when_unsure="hold")
    scene.until_moving()
    begun = scene.time
    scene.spoil = lambda name, message: covered(message) if name == "camera" else (message,)
    scene.run(1.0)
    seconds = check_safe(scene, begun, PERIOD)
    assert "unsure: unfamiliar" in node.safety.reason, node.safety.reason
    check_still(scene)
    scene.mend()
    scene.until_moving()
    return Row("camera covered, when_unsure: hold", "zero until it is over", seconds, PERIOD)


def camera_covered_slow(scene: Scene, folder: Path) -> Row:
    """The same with `when_unsure: slow`."""
    node = scene.start(when_unsure="slow", unsure_speed=0.25, unsure_for=0.5)
    scene.until_moving()
    begun = scene.time
    scene.spoil = lambda name, message: covered(message) if name == "camera" else (message,)
    scene.run(1.5)
    after = [sent for sent in scene.sent if sent.stamp > begun]
    fastest = 0.25 * scene.interface.command.high[0]
    assert all(abs(value) <= fastest + 1e-6 for sent in after for value in sent.values)
    assert not after[0].is_safe
    assert all(sent.is_safe for sent in after if sent.stamp > begun + 0.6 * SECOND)
    assert "unsure: unfamiliar" in node.safety.reason
    return Row("camera covered, when_unsure: slow", "a quarter, zero after 0.5 s", 0.6, 0.6)


def covered(message: Any) -> Iterable[Any]:
    """Cover most of the image with the colour of skin."""
    new = copy.deepcopy(message)
    pixels = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, -1, 3).copy()
    pixels[:, : int(0.9 * message.width)] = (180, 120, 100)
    new.data = pixels.tobytes()
    return (new,)


# The command topic


def listener_vanishes(scene: Scene, folder: Path) -> Row:
    """A controller that has crashed and comes back receives only safe commands."""
    node = scene.start()
    scene.until_moving()
    scene.be_deaf()
    scene.until(lambda: node.safety.state is SafetyState.HOLD)
    assert "nobody listens on /servo_node/delta_twist_cmds" in node.safety.reason
    scene.until(lambda: node.safety.state is SafetyState.STOPPED)
    begun = len(scene.sent)
    scene.listen()
    scene.run(1.0)
    assert all(sent.is_safe for sent in scene.sent[begun:])
    return Row("nobody listens any more", "nothing but zero; stopped after 3 s")


def two_policies(scene: Scene, folder: Path) -> Row:
    """Two policies on one topic: neither moves the arm until one is gone."""
    first = scene.start()
    scene.until_moving()
    second = scene.start("other_policy")
    scene.wait(lambda: scene.node.count_publishers(scene.interface.command.topic) == 2)
    scene.settle()
    begun = scene.time
    scene.run(1.0)
    seconds = check_safe(scene, begun, PERIOD)
    assert "other_policy may command on" in first.safety.reason
    assert "policy_node may command on" in second.safety.reason
    # Zero commands for a moment from the moving policy, then silence for other publishers.
    assert scene.sent[-1].stamp - begun <= 0.8 * SECOND
    check_still(scene)
    second.trigger_deactivate()
    scene.until_moving()
    # The policy that moves the arm now must send a safe command, although it was silent before.
    moving = scene.time
    assert scene.call(Trigger, "policy_node/stop", Trigger.Request()).success
    scene.settle()
    assert scene.sent[-1].is_safe and scene.sent[-1].stamp == moving
    return Row("two policies on one topic", "zero for 0.5 s, then nothing", seconds, PERIOD)


def killed(scene: Scene, folder: Path) -> Row:
    """Kill the process (-9) while moving: silence, and the servo stops by itself."""
    process = scene.start_process()
    try:
        scene.until_moving()
        process.kill()
        scene.settle()
        begun = scene.time
        scene.run(1.0)
        assert all(sent.time <= begun for sent in scene.sent), "who speaks?"
        check_still(scene)
    finally:
        process.kill()
    return Row("kill -9 while moving", "silence; the servo stops by itself")


def told_to_end(number: signal.Signals) -> Case:
    def case(scene: Scene, folder: Path) -> Row:
        process = scene.start_process()
        try:
            scene.until_moving()
            process.send_signal(number)
            scene.wait(lambda: process.poll() is not None)
            scene.settle()
            assert process.returncode == 0
            begun = scene.time
            assert scene.sent[-1].is_safe, "the last command moves the arm"
            scene.run(1.0)
            assert all(sent.time <= begun for sent in scene.sent)
            check_still(scene)
        finally:
            process.kill()
        return Row(number.name, "zero, then silence")

    case.__name__ = number.name.lower()
    return case


# Operators


def parameters_in_motion(scene: Scene, folder: Path) -> Row:
    """A tightened limit applies at the next tick; an invalid one is refused."""
    scene.start()
    scene.until_moving()
    topic = scene.interface.command.topic
    assert max(max(map(abs, sent.values)) for sent in scene.sent[-3:]) > 0.02, topic

    def change(name: str, value: Any) -> Any:
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        return scene.call(SetParameters, "policy_node/set_parameters", request).results[0]

    assert change("limits.high", [0.02, 0.02]).successful
    assert change("limits.low", [-0.02, -0.02]).successful
    begun = scene.time
    scene.run(1.0)
    after = [sent for sent in scene.sent if sent.stamp > begun]
    assert after and all(max(map(abs, sent.values)) <= 0.02 + 1e-9 for sent in after)
    for name, value, why in (
        ("limits.high", [0.9, 0.02], "limits.high: 0.9 for linear.x is looser than"),
        ("limits.high", [-0.1, 0.02], "limits.low: -0.02 for linear.x is above"),
        ("when_unsure", "panic", "when_unsure: got 'panic', expected go or slow or hold"),
        ("speed", 2.0, "speed"),
        ("policy", "other", "read-only"),
    ):
        result = change(name, value)
        assert not result.successful and why in result.reason, result.reason
    return Row("parameters changed in motion", "the new limit at the next tick", PERIOD, PERIOD)


def stop_is_latched(scene: Scene, folder: Path) -> Row:
    """~/stop: zero before the answer, then silence; only ~/reset with fresh input restarts."""
    node = scene.start()
    scene.until_moving()
    begun = scene.time
    assert scene.call(Trigger, "policy_node/stop", Trigger.Request()).success
    scene.settle()
    assert scene.sent[-1].is_safe and scene.sent[-1].stamp == begun
    scene.run(1.5)
    assert scene.sent[-1].time <= begun + SECOND, "it speaks on"
    count = len(scene.sent)
    assert scene.call(Trigger, "policy_node/stop", Trigger.Request()).success
    assert scene.node.count_publishers(scene.interface.command.topic) == 0
    for restart in (node.trigger_deactivate, node.trigger_activate):
        restart()
    scene.run(0.5)
    assert node.safety.state is SafetyState.STOPPED and len(scene.sent) == count
    answer = scene.call(Trigger, "policy_node/start", Trigger.Request())
    assert not answer.success and "call ~/reset" in answer.message
    scene.spoil = lambda name, message: () if name == "camera" else (message,)
    scene.run(0.5)
    answer = scene.call(Trigger, "policy_node/reset", Trigger.Request())
    assert not answer.success and "camera (camera/image_raw)" in answer.message
    scene.mend()
    scene.run(0.3)
    assert scene.call(Trigger, "policy_node/reset", Trigger.Request()).success
    scene.until_moving()
    return Row("~/stop", "zero at once, then silence", 0.0, PERIOD)


def held_for_long(scene: Scene, folder: Path) -> Row:
    """A stream that stays away: STOPPED, and silent so that another node can command."""
    node = scene.start()
    scene.until_moving()
    begun = scene.time
    scene.spoil = lambda name, message: () if name == "tool" else (message,)
    scene.run(STOP_AFTER + 1.5)
    check_safe(scene, begun, JOINTS_AGE + PERIOD)
    assert node.safety.state is SafetyState.STOPPED
    last = (scene.sent[-1].stamp - begun) / SECOND
    assert last <= JOINTS_AGE + STOP_AFTER + 0.5 + 2 * PERIOD
    scene.mend()
    count = len(scene.sent)
    scene.run(1.0)
    assert len(scene.sent) == count, "it goes on by itself"
    return Row("a stream stays away", "zero for 3.5 s, then silence until reset")


# A person who has taken over


class Takeover:
    """A person who has taken over by a gamepad at teleop_node, a process, and moves the arm."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        # A busy machine gives the process a moment at least at every tenth tick.
        self.node: Any = scene.start(when_unsure="go", takeover_timeout=TAKEOVER)
        scene.until_moving()
        self._stick = scene.node.create_publisher(Joy, "joy", 10)
        command = [sys.executable, "-m", "ebm_policy_ros.nodes.teleop.node", "--ros-args"]
        values = {"source": "gamepad", "takeover": "policy_node", "use_sim_time": "true"}
        for name, value in {**values, "message_timeout": "2.0"}.items():
            command += ["-p", f"{name}:={value}"]
        # A session of its own has no terminal, which a killed process would not restore.
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "ROS_DOMAIN_ID": str(scene.domain)},
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Takeover:
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _take(self) -> None:
        scene = self._scene
        scene.wait(lambda: self._stick.get_subscription_count() > 0)
        tries = 0
        while not self._moves():
            tries += 1
            assert tries < 300, "nobody takes over"
            # It must be seen released first, and once more after a hold of a busy process.
            self._send(is_held=tries % 20 > 3)
            scene.step()

    def _moves(self) -> bool:
        """True if the person moves the arm at the speed of the stick."""
        sent = self._scene.sent[-1].values
        return bool(self.node.control_loop.person) and sent == pytest.approx((0.1, 0.0))

    def __exit__(self, *problem: object) -> None:
        self.process.kill()
        self.process.wait()

    def _send(self, is_held: bool) -> None:
        axes = [0.0, float(is_held), *[0.0] * 6]
        self._stick.publish(Joy(axes=axes, buttons=[int(is_held and n == 4) for n in range(11)]))
        self._scene.settle()

    def until(self, condition: Callable[[], bool]) -> None:
        """Go on holding and moving until a condition holds."""

        def holds() -> bool:
            self._send(is_held=True)
            return condition()

        self._scene.until(holds)

    def run(self, seconds: float) -> None:
        """Go on holding and moving for some simulated seconds."""
        end = self._scene.time + round(seconds * SECOND)
        self.until(lambda: self._scene.time >= end)

    def check_stop(self, begun: int, allowed: float) -> float:
        """Seconds from `begun` until the arm is safe; in the silence the node stops for good."""
        self._scene.run(TAKEOVER + 0.5)
        assert self.node.safety.state is SafetyState.STOPPED
        assert "did not let go" in self.node.safety.reason, self.node.safety.reason
        check_still(self._scene)
        return check_safe(self._scene, begun - 1, allowed)


def unplugged_while_held(scene: Scene, folder: Path) -> Row:
    """A device that falls silent: zero while the policy node still waits, then STOPPED."""
    with Takeover(scene) as held:
        scene.wait(lambda: scene.sent[-1].is_safe)
        assert held.node.control_loop.person, "no simulated time has passed"
        seconds = held.check_stop(scene.time, PERIOD)
    return Row(
        "gamepad unplugged while held", "zero after message_timeout, stopped", seconds, PERIOD
    )


def teleop_killed(scene: Scene, folder: Path) -> Row:
    """Kill teleop_node (-9) while the person holds: the policy node stops by itself."""
    with Takeover(scene) as held:
        held.process.kill()
        held.process.wait()
        seconds = held.check_stop(scene.time, TAKEOVER + PERIOD)
    return Row(
        "kill -9 of teleop_node while held", "zero, then stopped", seconds, TAKEOVER + PERIOD
    )


def teleop_interrupted(scene: Scene, folder: Path) -> Row:
    """Ctrl-C at teleop_node while the person holds: zero at once, then STOPPED."""
    with Takeover(scene) as held:
        held.process.send_signal(signal.SIGINT)
        scene.wait(lambda: held.process.poll() is not None)
        assert held.process.returncode == 0
        scene.wait(lambda: scene.sent[-1].is_safe)
        assert held.node.control_loop.person, "no simulated time has passed"
        seconds = held.check_stop(scene.time, PERIOD)
    return Row("SIGINT to teleop_node while held", "zero at once, then stopped", seconds, PERIOD)


def second_person(scene: Scene, folder: Path) -> Row:
    """Commands of a second person are ignored, and the first one commands on."""
    with Takeover(scene) as held:
        topic, first = "policy_node/takeover", held.node.control_loop.person
        publisher = scene.node.create_publisher(JointTrajectory, topic, TAKEOVER_QUALITY)
        scene.wait(lambda: publisher.get_subscription_count() > 0)
        scene.forget()
        command = PersonCommand((np.array([[-0.1, 0.1]]),), (False,))
        for _ in range(5):
            publisher.publish(takeover_message("/other", scene.time, scene.interface, command))
            held.run(PERIOD)
        assert held.node.control_loop.person == first
        assert held.node.control_loop.person_ignored[0] == "/other"
        assert all(sent.values == pytest.approx((0.1, 0.0)) for sent in scene.sent)
    return Row("a second person commands", "the first one's commands go on")


def camera_lost_while_held(scene: Scene, folder: Path) -> Row:
    """A person is held as the policy is, and goes on when the camera is back."""
    with Takeover(scene) as held:
        begun = scene.time
        scene.spoil = lambda name, message: () if name == "camera" else (message,)
        held.run(1.0)
        seconds = check_safe(scene, begun, CAMERA_AGE + PERIOD)
        assert held.node.safety.state is SafetyState.HOLD
        scene.mend()
        held.until(lambda: scene.sent[-1].values == pytest.approx((0.1, 0.0)))
    return Row("camera stops while held", "zero until it is over", seconds, CAMERA_AGE + PERIOD)


def stop_while_held(scene: Scene, folder: Path) -> Row:
    """~/stop wins over a person who goes on holding."""
    with Takeover(scene) as held:
        begun = scene.time
        assert scene.call(Trigger, "policy_node/stop", Trigger.Request()).success
        scene.settle()
        assert scene.sent[-1].is_safe and scene.sent[-1].stamp == begun
        held.run(1.0)
        assert all(sent.is_safe for sent in scene.sent if sent.stamp > begun)
        check_still(scene)
    return Row("~/stop while held", "zero at once, then silence", 0.0, PERIOD)


# Long runs


def memory() -> float:
    """Memory of this process, MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MEBIBYTE


def many_activations(scene: Scene, folder: Path, cycles: int = 1000) -> Row:
    """Activate and deactivate repeatedly."""
    node = scene.start()
    early = 0.0
    for cycle in range(cycles):
        if cycle == cycles // 5:
            early = memory()
        node.trigger_deactivate()
        node.trigger_activate()
        if cycle % 10 == 0:
            scene.settle()
    grown = memory() - early
    assert grown < 10, f"{grown:.1f} MiB more after {cycles} cycles"
    scene.until_moving()
    return Row(f"{cycles:,} activations", f"as before; {max(grown, 0):.1f} MiB more")


def many_ticks(scene: Scene, folder: Path, seconds: int = 3600) -> Row:
    """Decide and command for a long time."""
    search: dict[str, Any] = {"inference.samples": 64, "when_unsure": "go"}
    node = scene.start(**search)
    scene.until_moving()
    early, parts = 0.0, 10
    for part in range(parts):
        if part == 2:
            early = memory()
        scene.run(seconds / parts)
        scene.forget()
    grown = memory() - early
    count = node.statistics.counts["commands"]
    assert grown < 10, f"{grown:.1f} MiB more after {count} commands"
    return Row(f"{seconds} s of ticks", f"{count:,} commands; {max(grown, 0):.1f} MiB more")


def stream_fault(fault: Fault) -> Case:
    def case(scene: Scene, folder: Path) -> Row:
        return strike(scene, fault)

    case.__name__ = fault.name.replace(" ", "_")
    return case


CASES: tuple[Case, ...] = (
    *map(stream_fault, FAULTS),
    clock_set_back,
    streams_apart,
    policy_not_a_number,
    policy_out_of_bounds,
    decision_over_budget,
    decision_never_ends,
    decision_fails,
    camera_covered,
    camera_covered_slow,
    listener_vanishes,
    two_policies,
    killed,
    told_to_end(signal.SIGINT),
    told_to_end(signal.SIGTERM),
    parameters_in_motion,
    stop_is_latched,
    held_for_long,
    unplugged_while_held,
    teleop_killed,
    teleop_interrupted,
    second_person,
    camera_lost_while_held,
    stop_while_held,
)
LONG_CASES: tuple[Case, ...] = (many_activations, many_ticks)


def watched(case: Case) -> Case:
    """Case of the fault matrix that runs with a page, which gets pictures to its end."""

    def run(scene: Scene, folder: Path) -> Row:
        page = OpenPage(scene)
        try:
            row = case(scene, folder)
            states = page.states
            scene.wait(lambda: page.states > states and "/camera/image_raw" in page.pictures)
            return row
        finally:
            page.close()

    run.__name__ = case.__name__
    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--page", action="store_true", help="with an operator's page that shows all pictures"
    )
    cases: tuple[Case, ...] = (*CASES, *LONG_CASES)
    if parser.parse_args().page:
        cases = tuple(map(watched, cases))
    print(f"{'fault':<34} {'on the wire':<42} {'safe within':>11} {'allowed':>8}")
    failed = 0
    for case in cases:
        scene = Scene()
        try:
            with tempfile.TemporaryDirectory() as folder:
                row = case(scene, Path(folder))
            taken, allowed = (
                "" if value is None else f"{value:.2f} s" for value in (row.seconds, row.allowed)
            )
            print(f"{row.fault:<34} {row.wire:<42} {taken:>11} {allowed:>8}", flush=True)
        except AssertionError as problem:
            failed += 1
            print(f"{case.__name__:<34} FAILED: {problem}", flush=True)
        finally:
            scene.close()
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
