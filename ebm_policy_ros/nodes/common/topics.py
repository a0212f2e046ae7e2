"""Subscription settings of topics, checks of their publishers, and status messages."""

from __future__ import annotations

import json
import math
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from ebm_policy_ros.interface import Stream, TransformStream
from ebm_policy_ros.util.quoting import cut

# Reliable, so that no letting go is lost; what comes late is refused by its stamp.
TAKEOVER_QUALITY = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""QoS profile of a person's commands to a policy node."""


STATIC_TRANSFORMS = QoSProfile(
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""QoS profile of a subscription to the transforms that each publisher sends once."""


def quality_of(stream: Stream) -> QoSProfile:
    """QoS profile of a stream's subscription: only the newest messages are kept."""
    # Joints and tf have several publishers; messages of one must not displace those of another.
    many = 100 if isinstance(stream, TransformStream) else 10 if stream.parts else 1
    return QoSProfile(
        depth=many,
        reliability=ReliabilityPolicy[stream.qos.reliability.upper()],
        durability=DurabilityPolicy[stream.qos.durability.upper()],
    )


def mismatch(node: Node, stream: Stream) -> str:
    """Publisher of a stream that offers less than its `qos` requires; empty if there is none."""
    wanted = quality_of(stream)
    for publisher in node.get_publishers_info_by_topic(node.resolve_topic_name(stream.topic)):
        offered = publisher.qos_profile
        for key, strong in (
            ("reliability", ReliabilityPolicy.RELIABLE),
            ("durability", DurabilityPolicy.TRANSIENT_LOCAL),
        ):
            if getattr(wanted, key) == strong != getattr(offered, key):
                return (
                    f"{publisher.node_name} offers {getattr(offered, key).name.lower()}, qos."
                    f"{key} asks for {strong.name.lower()}"
                )
    return ""


def elsewhere(node: Node, stream: Stream) -> str:
    """Other topics with the stream's type, if its own topic has no publisher; otherwise empty."""
    topic = node.resolve_topic_name(stream.topic)
    if node.count_publishers(topic) > 0:
        return ""
    others = [name for name in published(node, stream.type) if name != topic]
    if not others:
        return f"nobody publishes on {topic}"
    return f"nobody publishes on {topic}; {stream.type} comes on {cut(', '.join(others))}"


def published(node: Node, ros_type: str) -> list[str]:
    """Topics on which a type is published."""
    found = node.get_topic_names_and_types()
    return [n for n, types in found if ros_type in types and node.count_publishers(n) > 0]


def status_in(message: Any) -> dict[str, Any] | None:
    """Status in a String of JSON; None if it is no JSON object, or has what is no number."""
    try:
        status = json.loads(message.data, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return None
    return status if isinstance(status, dict) else None


def _finite(text: str) -> float:
    """Return a number; a browser reads neither NaN nor infinity."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"got {text}, expected a finite number")
    return number
