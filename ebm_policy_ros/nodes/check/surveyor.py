"""Surveyor: looks at all topics of a running robot for a moment."""

from __future__ import annotations

import statistics
import time
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from ebm_policy_ros.check.commands import is_onlooker
from ebm_policy_ros.check.survey import SURVEYED, Commandable, Sensor, Survey, commandables
from ebm_policy_ros.check.urdf import parse_urdf
from ebm_policy_ros.interface import COMMAND_TYPES, NANOSECONDS
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.check.description import Description
from ebm_policy_ros.nodes.check.running import follow_clock, spin
from ebm_policy_ros.nodes.common.topics import published
from ebm_policy_ros.util.yaml_file import UnreadableFile

# Discovery ends when nothing new has come for a while, at the latest after some time, s.
_QUIET, _DISCOVERY = 1.0, 8.0
# Topics and joints that are looked at: any number may be on a network.
_MOST_TOPICS, _MOST_JOINTS = 128, 256
_NEWEST = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class _Heard:
    """Messages of one topic so far."""

    def __init__(self) -> None:
        self.message: Any = None
        self.times: list[int] = []
        self.delays: list[float] = []
        self.joints: dict[str, None] = {}

    def add(self, message: Any, now: int) -> None:
        self.message = message
        self.times.append(now)
        stamp = stamp_ns(message)
        self.delays.append((now - stamp) / NANOSECONDS if stamp else 0.0)
        if len(self.joints) < _MOST_JOINTS:
            self.joints.update(dict.fromkeys(getattr(message, "name", ())))

    def sensor(self, topic: str, ros_type: str) -> Sensor | None:
        """Sensor; None if there is no rate yet."""
        if len(self.times) < 2 or self.times[-1] <= self.times[0]:
            return None
        rate = (len(self.times) - 1) * NANOSECONDS / (self.times[-1] - self.times[0])
        delay = statistics.median(self.delays)
        return Sensor(topic, ros_type, rate, delay, self.message, tuple(self.joints))


class Surveyor:
    """Looks at what is published, and at who listens for commands."""

    def __init__(self, node: Node, executor: Any) -> None:
        """Prepare.

        Args:
            node: Node that subscribes.
            executor: Executor of the node, which this spins.
        """
        self._node, self._executor = node, executor
        self._description = Description(node)
        self._heard: dict[tuple[str, str], _Heard] = {}

    def _discover(self) -> list[tuple[str, str]]:
        """Wait until nothing new appears; return the topics that may be streams, with types."""
        end = time.monotonic() + _DISCOVERY
        seen: list[tuple[str, int, int]] = []
        streams: list[tuple[str, str]] = []
        while time.monotonic() < end:
            spin(self._executor, _QUIET)
            names = [name for name, _ in self._node.get_topic_names_and_types()]
            counted = (self._node.count_publishers, self._node.count_subscribers)
            found = [(name, *(count(name) for count in counted)) for name in names]
            streams = [(t, kind) for kind in SURVEYED for t in published(self._node, kind)]
            if streams and found == seen:
                break
            seen = found
        return streams[:_MOST_TOPICS]

    def survey(self, seconds: float) -> Survey:
        """Listen to all topics for some seconds of real time."""
        topics = self._discover()
        follow_clock(self._node, self._executor)
        subscriptions = [self._subscribe(*found) for found in topics]
        spin(self._executor, seconds)
        for subscription in subscriptions:
            self._node.destroy_subscription(subscription)
        found = [
            heard.sensor(topic.removeprefix("/"), kind)
            for (topic, kind), heard in self._heard.items()
        ]
        described = {}
        if self._description.text:
            try:
                described = parse_urdf(self._description.text)
            except UnreadableFile as error:
                self._node.get_logger().warning(f"robot_description: {error}")
        return Survey(tuple(s for s in found if s is not None), self._commands(), described)

    def _subscribe(self, topic: str, kind: str) -> Any:
        heard = self._heard[topic, kind] = _Heard()
        clock = self._node.get_clock()
        return self._node.create_subscription(
            message_class(kind), topic, lambda m: heard.add(m, clock.now().nanoseconds), _NEWEST
        )

    def _commands(self) -> tuple[Commandable, ...]:
        """Topics on which somebody listens for a type of command; the likely ones first."""
        found: list[Commandable] = []
        for topic, types in sorted(self._node.get_topic_names_and_types()):
            for kind in types:
                if kind not in COMMAND_TYPES or not self._node.count_subscribers(topic):
                    continue
                infos = self._node.get_subscriptions_info_by_topic(topic)
                names = {i.node_name for i in infos if not is_onlooker(i.node_name)}
                if not names:
                    continue
                listeners = tuple(sorted(names))
                is_published = self._node.count_publishers(topic) > 0
                name = topic.removeprefix("/")
                found += commandables(name, kind, listeners, is_published)
        order = list(COMMAND_TYPES)
        return tuple(sorted(found, key=lambda c: (c.is_published, order.index(c.type))))
