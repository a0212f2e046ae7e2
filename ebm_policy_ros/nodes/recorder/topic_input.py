"""Input of a recorder: the serialised messages of one topic, with QoS to fit its publishers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from ebm_policy_ros.bags.statistics import TopicStatistics
from ebm_policy_ros.bags.topics import Message, Topic, has_header, serialised_stamp_ns
from ebm_policy_ros.interface import (
    NANOSECONDS,
    ImageStream,
    JointStream,
    Stream,
    TransformStream,
)
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.topics import mismatch
from ebm_policy_ros.nodes.common.versions import SubscriptionEventCallbacks, with_information
from ebm_policy_ros.observation.buffer import ObservationBuffer
from ebm_policy_ros.observation.stream_monitor import StreamMonitor
from ebm_policy_ros.observation.transforms import StaticMessages, TransformReader

# Queue depth while this process is busy: more than three seconds of a camera at 30 Hz (90 MB of
# 640x480) and of joints at 500 Hz.
_IMAGE_DEPTH, _DEPTH = 100, 2000
# Real time without a message after which a stream counts as silent, s; independent of the ROS
# clock.
_SILENCE = 1.0
# Stamps older than this can't be explained by a clock that is set wrong.
_YEAR_NS = 365 * 86400 * NANOSECONDS
OnMessage = Callable[[Topic, Message], None]


class TopicInput:
    """One topic, with its streams; no streams for commands and for an optional topic."""

    def __init__(
        self,
        node: Node,
        name: str,
        ros_type: str,
        streams: dict[str, Stream],
        period_ns: int,
        on_message: OnMessage,
        is_optional: bool = False,
    ) -> None:
        self.name, self._is_optional = name, is_optional
        self.newest = b""
        self._node, self._type, self._streams = node, ros_type, streams
        self._class = message_class(ros_type)  # or tell at the start what is not installed
        self._on_message = on_message
        ages = [stream.max_age for stream in streams.values()]
        self.statistics = TopicStatistics(min(ages, default=None))
        self._monitors = [StreamMonitor(stream, period_ns) for stream in streams.values()]
        spans = [s.history * period_ns + round(s.max_age * NANOSECONDS) for s in streams.values()]
        self._span_ns = max(spans, default=0) + period_ns
        # Recent messages that an observation may need.
        self._recent: deque[tuple[int, bytes]] = deque()
        self._has_header = has_header(ros_type)
        self._is_simulated = bool(node.get_parameter("use_sim_time").value)
        self._subscription: Any = None
        self._publishers: list[Any] = []
        self._topic: Topic | None = None
        self._heard = float("-inf")
        self._now = self._stamp = 0

    def search(self, recording: bool) -> None:
        self._publishers = self._node.get_publishers_info_by_topic(self.name)
        # Command topics are subscribed to before a publisher appears, so that the first commands
        # are not missed.
        if not self._suitable() and (self._streams or self._subscription is not None):
            return
        if self._subscription is not None:
            # Messages are lost between two subscriptions.
            if self._asked() == self._offered() or (recording and self.statistics.count > 0):
                return
            self._node.destroy_subscription(self._subscription)
        self._subscription = self._node.create_subscription(
            self._class,
            self.name,
            with_information(self._receive),
            self._quality(),
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(
                message_lost=lambda event: self.statistics.lost(event.total_count_change),
                use_default_callbacks=False,
            ),
        )

    def _suitable(self) -> list[Any]:
        return [p for p in self._publishers if p.topic_type == self._type]

    def _offered(self) -> tuple[bool, bool]:
        """Two flags: every publisher is reliable; every publisher is transient local."""
        offers = [publisher.qos_profile for publisher in self._suitable()]
        return (
            all(o.reliability == ReliabilityPolicy.RELIABLE for o in offers),
            {o.durability for o in offers} == {DurabilityPolicy.TRANSIENT_LOCAL},
        )

    def _asked(self) -> tuple[bool, bool]:
        """The same flags for the subscription; a publisher that offers less is not received."""
        profile = self._subscription.qos_profile
        return (
            profile.reliability == ReliabilityPolicy.RELIABLE,
            profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        )

    def _quality(self) -> QoSProfile:
        """QoS profile as reliable and durable as all publishers allow."""
        reliable, latched = self._offered()
        return QoSProfile(
            depth=_IMAGE_DEPTH if self._type in ImageStream.ROS_TYPES else _DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=(
                DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
            ),
        )

    @property
    def counts(self) -> bool:
        """True for a topic of the episode: an optional one needs a message."""
        return not self._is_optional or self.statistics.count > 0

    def begin(self) -> None:
        self.statistics.clear()
        self._topic = None

    def has_come(self) -> bool:
        return not self._streams or self.statistics.count > 0

    def topic(self) -> Topic:
        """Topic with the QoS that its publishers offer at its first message."""
        if self._topic is None:
            self._publishers = self._node.get_publishers_info_by_topic(self.name)
            profiles = tuple(_dump(p.qos_profile) for p in self._suitable())
            self._topic = Topic(self.name, self._type, profiles)
        return self._topic

    def _receive(self, data: bytes, info: Mapping[str, int]) -> None:
        self._heard, self.newest = time.monotonic(), data
        now = self._node.get_clock().now().nanoseconds
        if now < self._now:  # the clock was set back
            self._recent.clear()
            for monitor in self._monitors:
                monitor.clear()
        self._now = now
        self._stamp = stamp = serialised_stamp_ns(data) if self._has_header else 0
        # Sequence numbers are separate for each publisher.
        alone = len(self._publishers) == 1
        number = info.get("publication_sequence_number") if alone else None
        received, sent = now, now
        if not self._is_simulated:  # the middleware's times are from the system's clock
            received = info.get("received_timestamp") or now
            sent = info.get("source_timestamp") or received
        self.statistics.add(received, stamp, number)
        for monitor in self._monitors:
            monitor.accept(stamp, now)
        if self._streams:
            self._recent.append((now, data))
            while self._recent[0][0] < now - self._span_ns:
                self._recent.popleft()
        self._on_message(self.topic(), Message(received, sent, number or 0, data))

    def problems(self, now: int) -> list[str]:
        if self._is_optional:
            return []
        if text := self._others():
            return [text]
        if not self._streams:
            return []
        for stream in self._streams.values():
            if text := mismatch(self._node, stream):
                return [text]
        if time.monotonic() - self._heard > _SILENCE:
            return ["nothing arrives; start what publishes it"]
        if self._stamp and now - self._stamp > _YEAR_NS:
            return ["the stamps are a simulation's: use_sim_time:=true"]
        return [text for monitor in self._monitors if (text := monitor.problem(now))]

    def _others(self) -> str:
        """Publishers of another type; empty if there are none."""
        others = {p.topic_type for p in self._publishers} - {self._type}
        names = ", ".join(p.node_name for p in self._publishers if p.topic_type in others)
        kinds = ", ".join(sorted(others))
        return f"{names} publishes {kinds}, expected {self._type}" if others else ""

    def remarks(self) -> list[str]:
        found = [text for text in (self._others(),) if text and self._is_optional]
        count = len(self._suitable())
        if not self._streams and not count and not self._is_optional:
            found.append(f"nobody commands {'any more' if self.statistics.count else 'yet'}")
        several = (JointStream, TransformStream)
        alone = not any(isinstance(stream, several) for stream in self._streams.values())
        if alone and count > 1:
            names = ", ".join(publisher.node_name for publisher in self._suitable())
            found.append(f"{count} publishers ({names}); is one too many?")
        pairs = zip(self._asked(), self._offered(), strict=True) if self._subscription else ()
        if any(asked and not offered for asked, offered in pairs):
            found.append("a new publisher offers a lower quality of service; it is not heard")
        return found

    def replay(self, buffer: ObservationBuffer, readers: Mapping[str, TransformReader]) -> None:
        """Add recent messages to a buffer, for each stream of the topic.

        Args:
            buffer: Buffer of all streams.
            readers: Readers of the streams from tf, by name.
        """
        for received, data in self._recent:
            message = deserialize_message(data, self._class)
            for name in self._streams:
                found = readers[name].add(message) if name in readers else message
                if found is not None:
                    buffer.add(name, found, received)


class StaticTransforms(TopicInput):
    """Topic of static transforms: what came once belongs to every episode."""

    def __init__(self, node: Node, name: str, period_ns: int, on_message: OnMessage) -> None:
        kind = TransformStream.ROS_TYPES[0]
        super().__init__(node, name, kind, {}, period_ns, on_message, is_optional=True)
        self._kept: StaticMessages[bytes] = StaticMessages()

    def _offered(self) -> tuple[bool, bool]:
        return True, True  # as tf2 asks for

    def _receive(self, data: bytes, info: Mapping[str, int]) -> None:
        self._kept.add(deserialize_message(data, self._class), data)
        super()._receive(data, info)

    def begin(self) -> None:
        super().begin()
        for data in self._kept:
            super()._receive(data, {})

    def remarks(self) -> list[str]:
        return []

    def replay(self, buffer: ObservationBuffer, readers: Mapping[str, TransformReader]) -> None:
        for data in self._kept:
            message = deserialize_message(data, self._class)
            for reader in readers.values():
                reader.add_static(message)


def _dump(quality: QoSProfile) -> dict[str, Any]:
    """QoS profile in the format of rosbag2."""

    def plain(duration: Duration) -> dict[str, int]:
        sec, nsec = divmod(duration.nanoseconds, NANOSECONDS)
        return {"sec": sec, "nsec": nsec}

    return {
        "history": quality.history.name.lower(),
        "depth": quality.depth,
        "reliability": quality.reliability.name.lower(),
        "durability": quality.durability.name.lower(),
        "deadline": plain(quality.deadline),
        "lifespan": plain(quality.lifespan),
        "liveliness": quality.liveliness.name.lower(),
        "liveliness_lease_duration": plain(quality.liveliness_lease_duration),
        "avoid_ros_namespace_conventions": quality.avoid_ros_namespace_conventions,
    }
