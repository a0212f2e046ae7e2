"""Scene status: state of a simulation's scene, for the screen during recording."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from ebm_policy_ros.nodes.common.topics import status_in


class SceneStatus:
    """Status of the simulation, if one runs."""

    def __init__(self, node: Node) -> None:
        """Subscribe to the status.

        Args:
            node: Node that owns the subscription.
        """
        self._state: dict[str, Any] = {}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, "sim_bridge_node/status", self._on_status, latched)

    def _on_status(self, message: Any) -> None:
        self._state = status_in(message) or {}

    @property
    def end(self) -> str:
        """How the scene ended; empty before that, and on a real robot."""
        if self._state.get("state") != "done":
            return ""
        how = "goal reached" if self._state.get("success") else "time is up"
        return f"{how}, scene over"
