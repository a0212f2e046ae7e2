"""oracle_node: a scripted teleoperator, on the command topic that a person's commands use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseArray, PoseStamped, TwistStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.messages.commands import fill_command
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.nodes.common.parameters import Setting, declare_all
from ebm_policy_ros.nodes.common.spin import run_node
from ebm_policy_ros.nodes.common.ticks import ClockWatch
from ebm_policy_ros.sim.oracles.push import PushOracle
from ebm_policy_ros.util.resources import interface_path

SETTINGS = (
    Setting("interface", "ur5e_push", "Interface file, or a shipped one's name."),
    Setting("bridge", "sim_bridge_node", "Name of the simulation's node."),
)


class OracleNode(Node):
    """Answers each new scene of the simulation with the demonstrator's command."""

    def __init__(self, **options: Any) -> None:
        """Subscribes to the simulation's true scene and the tool pose.

        Args:
            **options: As rclpy's nodes take them.
        """
        super().__init__("oracle_node", **options)
        ClockWatch(self, log=True)
        values = declare_all(self, SETTINGS)
        self._interface = load_interface(interface_path(values["interface"]))
        bridge: str = values["bridge"]
        poses = [s for s in self._interface.observation.values() if s.type.endswith("PoseStamped")]
        self._oracle: PushOracle | None = None
        self._seed: int | None = None
        self._scene: Any = None
        self._tool: Any = None
        action = self._interface.action
        self._publisher = self.create_publisher(TwistStamped, action.topic, 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, f"{bridge}/status", self._on_status, latched)
        self.create_subscription(PoseArray, f"{bridge}/scene", self._on_scene, 1)
        self.create_subscription(PoseStamped, poses[0].topic, self._on_tool, 1)

    def _on_status(self, message: Any) -> None:
        status = json.loads(message.data)
        if status["state"] == "running":
            self._seed = status["seed"]
            self._oracle = None
            # It acts on what comes from now on: the simulation sends samples after a start.
            self._scene = self._tool = None
        else:
            self._seed = None

    def _on_scene(self, message: Any) -> None:
        self._scene = message
        self._act()

    def _on_tool(self, message: Any) -> None:
        self._tool = message
        self._act()

    def _act(self) -> None:
        """Command once both halves of a scene are there."""
        if self._seed is None or self._scene is None or self._tool is None:
            return
        time_ns = stamp_ns(self._scene)
        if stamp_ns(self._tool) != time_ns:
            return
        block, *goals = [np.array([p.position.x, p.position.y]) for p in self._scene.poses]
        if self._oracle is None:
            self._oracle = PushOracle(np.random.default_rng(self._seed), len(goals))
        position = self._tool.pose.position
        velocity = self._oracle.act(np.array([position.x, position.y]), block, np.array(goals))
        message = fill_command(TwistStamped(), self._interface.action, velocity, time_ns)
        self._publisher.publish(message)

    def close(self) -> None:
        """Nothing is left to do."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(OracleNode, "oracle_node", SETTINGS, args)


if __name__ == "__main__":
    main()
