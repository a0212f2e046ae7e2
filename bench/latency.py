"""Latency from a camera frame to its command: policy_node as a process, over a real DDS.

A 640x480 camera at 30 Hz, joints at 500 Hz and a tool pose at 100 Hz come from this process; the
node decides at 30 Hz with the shipped policy. The node reports the times itself, in /diagnostics.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import Image, JointState

from ebm_policy_ros.interface import interface_from_dict
from ebm_policy_ros.policy.file import load_policy_file, save_policy
from ebm_policy_ros.sim.subprocesses import ros_environment
from ebm_policy_ros.util.resources import policy_path

SECONDS = 60.0
RATE = 30.0
# The node reports the last thousand times, which excludes the start.
TARGETS = {"stamp to command": 40.0, "all but the decision": 8.0}


def policy_at(rate: float, folder: Path) -> Path:
    """The shipped policy with an interface of another rate."""
    content = load_policy_file(policy_path("ur5e_push"))
    assert content.interface is not None
    interface = interface_from_dict({**content.interface.to_dict(), "rate": rate}, "bench")
    path = folder / "policy.safetensors"
    save_policy(path, replace(content, interface=interface))
    return path


class Robot:
    """Publishes the streams of an arm and its camera, and receives commands."""

    def __init__(self) -> None:
        self.node = node = rclpy.create_node("bench")
        self.image = Image(height=480, width=640, encoding="rgb8", step=1920)
        self.image.data = os.urandom(480 * 1920)
        names = [f"{part}_joint" for part in ("shoulder_pan", "shoulder_lift", "elbow")]
        names += [f"wrist_{i}_joint" for i in (1, 2, 3)]
        self.joints = JointState(name=names, position=[0.0] * 6)
        self.tool = PoseStamped()
        self.tool.header.frame_id = "base_link"
        self.tool.pose.position.x = 0.5
        self.commands = 0
        self.diagnostics: dict[str, str] = {}
        for kind, topic, rate, message in (
            (Image, "camera/image_raw", RATE, self.image),
            (JointState, "joint_states", 500.0, self.joints),
            (PoseStamped, "tool_pose", 100.0, self.tool),
        ):
            publisher = node.create_publisher(kind, topic, 1)
            node.create_timer(1 / rate, lambda p=publisher, m=message: self._publish(p, m))
        node.create_subscription(TwistStamped, "servo_node/delta_twist_cmds", self._on_command, 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _publish(self, publisher: Any, message: Any) -> None:
        message.header.stamp = self.node.get_clock().now().to_msg()
        publisher.publish(message)

    def _on_command(self, message: Any) -> None:
        self.commands += 1

    def _on_diagnostics(self, message: Any) -> None:
        self.diagnostics = {pair.key: pair.value for pair in message.status[0].values}


def main() -> None:
    """Run the benchmark, and print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    os.environ.update(ros_environment())
    rclpy.init()
    robot = Robot()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ebm_policy_ros.nodes.policy.node", "--ros-args"]
        values = {"policy": policy_at(RATE, Path(folder)), "autostart": "true", "device": "cpu"}
        # Noise instead of images: the actions do not affect the latency.
        for name, value in {**values, "when_unsure": "go"}.items():
            command += ["-p", f"{name}:={value}"]
        process = subprocess.Popen(command)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and process.poll() is None:
            rclpy.spin_once(robot.node, timeout_sec=0.01)
        process.terminate()
        process.wait(20)
    rclpy.try_shutdown()
    report = {k: v for k, v in robot.diagnostics.items() if "ms" in k or "tick" in k}
    print(f"camera 640x480 and decisions at {RATE:g} Hz, joints at 500 Hz, {SECONDS:g} s")
    for name, value in report.items():
        target = TARGETS.get(name.partition(" p50")[0])
        print(f"{name:<48} {value}" + (f"   (target p99 <= {target:g})" if target else ""))
    print(json.dumps({**report, "commands": robot.commands}))


if __name__ == "__main__":
    main()
