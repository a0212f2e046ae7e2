"""Camera of the interface for people: the live picture, and the wanted scene over it."""

from __future__ import annotations

import time
from pathlib import Path

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from ebm_policy_ros.interface import ImageStream
from ebm_policy_ros.messages.images import encode_png
from ebm_policy_ros.messages.pictures import picture
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.pictures import picture_message
from ebm_policy_ros.nodes.common.topics import elsewhere, quality_of
from ebm_policy_ros.trials.files import draft_of
from ebm_policy_ros.trials.starts import Picture, overlay

_LARGEST = 1280
# A picture older than this is not live, s.
_LIVE = 2.0
# Period of the published overlay and of its file, s.
_PUBLISHED, _WRITTEN = 0.2, 1.0
OVERLAY = "start_overlay.png"


class Camera:
    """Newest picture of a camera; it is decoded only when it is asked for."""

    def __init__(self, node: Node, stream: ImageStream) -> None:
        """Subscribe to the topic.

        Args:
            node: Node that owns the subscription.
            stream: Stream of the interface.
        """
        self._node, self._stream = node, stream
        self._type = message_class(stream.type)
        self._data, self._heard = b"", 0.0
        node.create_subscription(
            self._type, stream.topic, self._on_image, quality_of(stream), raw=True
        )

    def _on_image(self, data: bytes) -> None:
        self._data, self._heard = data, time.monotonic()

    @property
    def problem(self) -> str:
        """Reason why there is no live picture; empty if there is one."""
        if time.monotonic() - self._heard <= _LIVE:
            return ""
        topic = self._node.resolve_topic_name(self._stream.topic)
        return elsewhere(self._node, self._stream) or f"no picture on {topic}"

    def picture(self) -> Picture | None:
        """Live picture, shape (H, W, 3), rgb; None if there is none.

        Raises:
            MessageError: If it cannot be decoded.
        """
        if self.problem:
            return None
        return picture(deserialize_message(self._data, self._type), _LARGEST)


class StartOverlay:
    """The wanted scene over the live picture, on `~/start_overlay` and in a file."""

    def __init__(self, node: Node, camera: Camera, out: Path) -> None:
        """Open the topic.

        Args:
            node: Node that owns the publisher.
            camera: Camera whose picture is below.
            out: Folder of the file `start_overlay.png`.
        """
        self._camera, self._path = camera, out / OVERLAY
        self._node = node
        self._publisher = node.create_publisher(Image, "~/start_overlay", QoSProfile(depth=1))
        self._published = self._written = 0.0

    def show(self, wanted: Picture) -> str:
        """Publish and write what is due; nothing without a live picture.

        The wanted scene alone would look like perfect agreement, as would an old file.

        Returns:
            Reason why there is no live picture; empty if there is one.

        Raises:
            MessageError: If the camera's picture cannot be decoded.
            OSError: If the file cannot be written.
        """
        now = time.monotonic()
        if now - self._published < _PUBLISHED:
            return self._camera.problem
        self._published = now
        live = self._camera.picture()
        if live is None:
            self._path.unlink(missing_ok=True)
            return self._camera.problem
        shown = overlay(live, wanted)
        stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(picture_message(shown, stamp))
        if now - self._written >= _WRITTEN:
            self._written = now
            # The operator's answers wait meanwhile: no need to have it on the disk.
            draft = draft_of(self._path)
            draft.write_bytes(encode_png(shown))
            draft.replace(self._path)
        return ""
