"""Topics on which the simulated arm, its cameras and its clock are heard."""

from __future__ import annotations

import time
from typing import Any

from ebm_policy_ros.interface import ImageStream, Interface
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.sim.sensors import camera_info, pose_message, stamp
from ebm_policy_ros.sim.world import World

_DEPTH = 10


class Publishers:
    """Publishers of the streams, the camera's intrinsics, the true scene and the time."""

    def __init__(self, node: Any, interface: Interface) -> None:
        """Opens the topics.

        Args:
            node: A node of rclpy.
            interface: Names the streams.
        """
        streams = interface.observation

        def publisher(kind: str, topic: str) -> Any:
            return node.create_publisher(message_class(kind), topic, _DEPTH)

        self._topics = {name: stream.topic for name, stream in streams.items()}
        kinds = {stream.topic: stream.type for stream in streams.values()}
        self._streams = {topic: publisher(kind, topic) for topic, kind in kinds.items()}
        cameras = [s.topic for s in streams.values() if isinstance(s, ImageStream)]
        self._infos: Any = None
        if cameras:
            topic = cameras[0].removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
            self._infos = publisher("sensor_msgs/msg/CameraInfo", topic)
        self._clocks = publisher("rosgraph_msgs/msg/Clock", "/clock")
        self._scenes = publisher("geometry_msgs/msg/PoseArray", "~/scene")
        self._node = node
        self.published = 0.0
        """Time of the last whole moment, s of the performance counter."""

    def contested(self) -> str:
        """Topic of a stream, or the clock, that another node publishes too; empty if none."""
        own = (publisher.topic_name for publisher in (*self._streams.values(), self._clocks))
        return next((topic for topic in own if self._node.count_publishers(topic) > 1), "")

    def moment(self, samples: dict[str, Any], world: World, time_ns: int) -> None:
        """Publish every stream's sample, the camera's intrinsics and the true scene."""
        scene = message_class("geometry_msgs/msg/PoseArray")()
        scene.header.stamp = stamp(time_ns)
        scene.header.frame_id = world.frame
        scene.poses = [pose_message(values) for values in world.poses]
        self.published = time.perf_counter()
        self.samples(samples)
        if self._infos is not None:
            self._infos.publish(camera_info(world, time_ns))
        self._scenes.publish(scene)

    def samples(self, samples: dict[str, Any]) -> None:
        """Publish samples, by the names of their streams; one for those that share a topic."""
        for topic, message in {self._topics[n]: sample for n, sample in samples.items()}.items():
            self._streams[topic].publish(message)

    def time(self, time_ns: int) -> None:
        """Publish the time, for whoever acts on it: after what was sampled then."""
        self._clocks.publish(message_class("rosgraph_msgs/msg/Clock")(clock=stamp(time_ns)))
