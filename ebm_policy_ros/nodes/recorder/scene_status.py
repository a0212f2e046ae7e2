"""What a simulation says of its scene, for the screens of people who record in it."""

from __future__ import annotations

import json
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String


class SceneStatus:
    """The status of the simulation, where one runs."""

    def __init__(self, node: Node, simulation: str = "sim_bridge_node") -> None:
        """Subscribes.

        Args:
            node: Whose subscription it is.
            simulation: Name of the simulation's node.
        """
        self._state: dict[str, Any] = {}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, f"{simulation}/status", self._on_status, latched)

    def _on_status(self, message: Any) -> None:
        self._state = json.loads(message.data)

    def remarks(self) -> list[str]:
        """A line once the scene is over; none while it goes on, and on a robot."""
        if self._state.get("state") != "done":
            return []
        how = "goal reached" if self._state.get("success") else "time is up"
        return [f"{how}, scene over"]
