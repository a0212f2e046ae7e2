"""How topics are subscribed to."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from ebm_policy_ros.interface import Stream
from ebm_policy_ros.util.quoting import cut


def quality_of(stream: Stream) -> QoSProfile:
    """How a stream is subscribed to: the newest messages only."""
    return QoSProfile(
        # Of several publishers of joints none may push out the others' messages.
        depth=10 if stream.parts else 1,
        reliability=ReliabilityPolicy[stream.qos.reliability.upper()],
        durability=DurabilityPolicy[stream.qos.durability.upper()],
    )


def mismatch(node: Node, stream: Stream) -> str:
    """Which publisher of a stream offers less than its `qos` asks for; empty if none does."""
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
    """Topics on which a stream's type comes instead, if nobody publishes on its topic."""
    topic = node.resolve_topic_name(stream.topic)
    if node.count_publishers(topic) > 0:
        return ""
    others = [
        name
        for name, types in node.get_topic_names_and_types()
        if name != topic and stream.type in types and node.count_publishers(name) > 0
    ]
    if not others:
        return f"nobody publishes on {topic}"
    return f"nobody publishes on {topic}; {stream.type} comes on {cut(', '.join(others))}"
