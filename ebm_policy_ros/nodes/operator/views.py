"""Pictures for a page: the newest message of each topic that somebody looks at, encoded."""

from __future__ import annotations

import json
import time
from typing import Any

import cv2
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from visualization_msgs.msg import MarkerArray

from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.pictures import picture

TYPES = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
    "visualization_msgs/msg/MarkerArray": MarkerArray,
}
"""Types of topics that can be shown: images, and the candidates of a policy node."""
_LARGEST, _QUALITY = 960, 80
# Time between two drawings of candidates, s: their hundreds of points take longer than an image.
_PAUSE = 0.25


class Pictures:
    """Subscribes to images only while they are watched, and decodes only what is fetched."""

    def __init__(self, node: Node) -> None:
        """Begin without subscriptions.

        Args:
            node: Node that owns the subscriptions.
        """
        self._node = node
        self._subscriptions: dict[str, Any] = {}
        self._types: dict[str, Any] = {}
        self._newest: dict[str, bytes] = {}
        self._drawn = 0.0

    def follow(self, topics: dict[str, str]) -> None:
        """Subscribe to these topics alone; for the thread of ROS.

        Args:
            topics: Types by topic.
        """
        for topic in [topic for topic in self._subscriptions if topic not in topics]:
            self._node.destroy_subscription(self._subscriptions.pop(topic))
            self._newest.pop(topic, None)
        for topic in [topic for topic in topics if topic not in self._subscriptions]:
            # Best effort and raw: a publisher never waits, and a skipped frame costs no decoding.
            newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
            self._types[topic] = TYPES[topics[topic]]
            self._subscriptions[topic] = self._node.create_subscription(
                self._types[topic],
                topic,
                lambda data, topic=topic: self._newest.__setitem__(topic, data),
                newest,
                raw=True,
            )

    def fetch(self, topic: str) -> bytes | None:
        """Newest message for a page; None if it was fetched already.

        An image is a JPEG, at most 960 pixels wide or high; candidates are JSON.

        Raises:
            MessageError: If an image cannot be decoded.
        """
        has_points = self._types.get(topic) is MarkerArray
        if has_points and time.monotonic() - self._drawn < _PAUSE:
            return None
        data = self._newest.pop(topic, None)
        if data is None:
            return None
        message = deserialize_message(data, self._types[topic])
        if not has_points:
            return _jpeg(message)
        self._drawn = time.monotonic()
        return _candidates(message)


def _candidates(message: Any) -> bytes:
    """Candidates of the first arm from above: points x, y with colours, and its command."""
    points, command = message.markers[:2]
    drawn = {
        "points": [_place(point) for point in points.points],
        "colours": [[round(255 * part) for part in (c.r, c.g, c.b)] for c in points.colors],
        "command": [_place(point) for point in command.points],
    }
    return json.dumps(drawn).encode()


def _place(point: Any) -> tuple[float, float]:
    return round(point.x, 4), round(point.y, 4)


def _jpeg(message: Any) -> bytes:
    image = cv2.cvtColor(picture(message, _LARGEST), cv2.COLOR_RGB2BGR)
    done, file = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    if not done:
        raise MessageError("an image cannot be written as JPEG")
    return bytes(file)
