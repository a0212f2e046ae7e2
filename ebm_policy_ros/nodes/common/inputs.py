"""Input topics of a node: subscriptions, samples and health of the streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node

from ebm_policy_ros.interface import NANOSECONDS, Interface, TransformStream
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.topics import (
    STATIC_TRANSFORMS,
    elsewhere,
    mismatch,
    quality_of,
)
from ebm_policy_ros.nodes.common.versions import SubscriptionEventCallbacks
from ebm_policy_ros.observation.buffer import (
    Observation,
    ObservationBuffer,
    Snapshot,
    StaleObservation,
)
from ebm_policy_ros.observation.stream_monitor import StreamMonitor
from ebm_policy_ros.observation.transforms import transform_readers


@dataclass(frozen=True)
class StreamHealth:
    """State of a stream for the diagnostics."""

    name: str
    topic: str
    age: float | None
    """Age of its newest sample, s; None if there is no usable sample."""
    rate: float
    """Rate of new samples, Hz."""
    received: int
    refused: int
    unstamped: bool
    problem: str


class Inputs:
    """Subscribes to streams of an interface; callbacks only store the newest messages."""

    def __init__(
        self,
        node: Node,
        interface: Interface,
        on_sample: Callable[[str], None],
        streams: Iterable[str] | None = None,
    ) -> None:
        """Open the topics.

        Args:
            node: Node that owns the subscriptions and the clock.
            interface: Defines the streams.
            on_sample: Called with a stream's name after each stored sample.
            streams: Names of the needed streams; None for all.
        """
        self._node, self._interface, self._on_sample = node, interface, on_sample
        self.buffer = ObservationBuffer(interface, streams)
        self._monitors = {
            name: StreamMonitor(interface.observation[name], interface.period_ns)
            for name in self.buffer
        }
        self.newest: dict[str, tuple[Any, int]] = {}
        """Newest message of each stream and its receive time, nanoseconds; also one whose stamp
        was rejected."""
        self._mismatches: dict[str, str] = {}
        self._readers = transform_readers(
            {name: interface.observation[name] for name in self.buffer}
        )
        self._subscriptions = [self._subscribe(name) for name in self.buffer]
        self._subscriptions += [self._subscribe_static(name) for name in self._readers]

    def _subscribe_static(self, name: str) -> Any:
        stream = self._interface.observation[name]
        assert isinstance(stream, TransformStream)
        return self._node.create_subscription(
            message_class(stream.type),
            stream.static_topic,
            self._readers[name].add_static,
            STATIC_TRANSFORMS,
        )

    def _subscribe(self, name: str) -> Any:
        stream = self._interface.observation[name]
        return self._node.create_subscription(
            message_class(stream.type),
            stream.topic,
            lambda message: self._on_message(name, message),
            quality_of(stream),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._note_mismatch(name),
                use_default_callbacks=False,
            ),
        )

    def close(self) -> None:
        """Close the topics."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def clear(self) -> None:
        """Delete all samples, for example after the clock was set back."""
        self.buffer.clear()
        for reader in self._readers.values():
            reader.clear()
        for monitor in self._monitors.values():
            monitor.clear()

    def _on_message(self, name: str, message: Any) -> None:
        if name in self._readers:
            message = self._readers[name].add(message)
        if message is not None:
            self._receive(name, message)

    def _receive(self, name: str, message: Any) -> None:
        now = self._node.get_clock().now().nanoseconds
        monitor = self._monitors[name]
        self.newest[name] = message, now
        first = monitor.received == 0
        if not monitor.accept(stamp_ns(message), now):
            return
        self.buffer.add(name, message, now)
        if first and monitor.unstamped:
            self._node.get_logger().warning(
                f"{name} ({self._topic(name)}): stamps are zero; the time of receipt counts"
            )
        self._on_sample(name)

    def _note_mismatch(self, name: str) -> None:
        found = mismatch(self._node, self._interface.observation[name])
        self._mismatches[name] = found
        self._node.get_logger().error(f"{name} ({self._topic(name)}): {found}")

    def _topic(self, name: str) -> str:
        return self._interface.observation[name].topic

    def observe(self, time_ns: int) -> Observation:
        """Observation at a time.

        Raises:
            StaleObservation: If a stream is stale, too slow or stamped in the future.
            MessageError: If a message doesn't match the description of its stream.
        """
        return self.snapshot(time_ns).arrays()

    def snapshot(self, time_ns: int) -> Snapshot:
        """Samples of the observation at a time, not decoded yet.

        Raises:
            StaleObservation: If a stream is stale, too slow or stamped in the future.
        """
        problems = {name: monitor.problem(time_ns) for name, monitor in self._monitors.items()}
        unheard = [name for name in self._monitors if not self._heard(name)]
        problems |= {n: elsewhere(self._node, self._interface.observation[n]) for n in unheard}
        reasons = {name: text for name in self._monitors if (text := self._reason(name))}
        problems |= {n: reasons.pop(n) for n in unheard if n in reasons}
        told = [f"{n} ({self._topic(n)}): {text}" for n, text in problems.items() if text]
        if not told:
            try:
                return self.buffer.snapshot(time_ns)
            except StaleObservation as error:
                told = [str(error)]
        told += [f"{n} ({self._topic(n)}): {text}" for n, text in reasons.items()]
        raise StaleObservation("; ".join(told))

    def _reason(self, name: str) -> str:
        """Reason why a stream gives no new sample, as far as its messages tell."""
        reader = self._readers.get(name)
        return self._mismatches.get(name, "") or ("" if reader is None else reader.problem())

    def _heard(self, name: str) -> bool:
        return self._monitors[name].received > 0

    def gap_ns(self, name: str, time_ns: int) -> int:
        """Time between two samples of a stream by its current rate, nanoseconds; 0 if unknown."""
        rate = self._monitors[name].rate(time_ns)
        return round(NANOSECONDS / rate) if rate > 0 else 0

    def health(self, time_ns: int) -> list[StreamHealth]:
        """State of each stream at a time."""
        stamps = self.buffer.stamps(time_ns)
        return [
            StreamHealth(
                name,
                self._node.resolve_topic_name(self._topic(name)),
                (time_ns - stamps[name]) / NANOSECONDS if name in stamps else None,
                monitor.rate(time_ns),
                monitor.received,
                monitor.refused,
                monitor.unstamped,
                monitor.problem(time_ns) or ("" if name in stamps else self._reason(name)),
            )
            for name, monitor in self._monitors.items()
        ]
