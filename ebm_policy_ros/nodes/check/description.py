"""Robot description of a running robot, in the namespace of the node or at the root."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""QoS profile of a robot description."""


class Description:
    """Listens for the description of a robot."""

    def __init__(self, node: Node) -> None:
        """Subscribe.

        Args:
            node: Node that owns the subscriptions; the topic in its namespace comes first.
        """
        self._texts: dict[str, str] = {}
        own = node.resolve_topic_name("robot_description")
        for topic in dict.fromkeys((own, "/robot_description")):
            self._texts[topic] = ""
            node.create_subscription(String, topic, self._keeper(topic), LATCHED)

    def _keeper(self, topic: str) -> Any:
        def keep(message: Any) -> None:
            self._texts[topic] = str(message.data)

        return keep

    @property
    def text(self) -> str:
        """Description; empty if nobody publishes it."""
        return next(filter(None, self._texts.values()), "")
