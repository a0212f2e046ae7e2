"""Timestamps of a bag's messages, by the clock that stamped them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebm_policy_ros.bags.bag import Message
from ebm_policy_ros.interface import NANOSECONDS, Interface, TransformStream
from ebm_policy_ros.messages.streams import stamp_ns

CLOCK = "/clock"
CLOCK_TYPE = "rosgraph_msgs/msg/Clock"
# Largest difference of stamp and receipt on one clock. If it is larger, the stamps are of another
# clock, such as a simulation's.
_SAME_CLOCK_NS = NANOSECONDS
# Number of stamped messages that show that the clock is one, or that there are two: the first may
# be received on a clock that was not set back yet, by a simulation that began anew. And maximum
# number of messages read to find them.
_SHOW_ONE, _SHOW_TWO, _LOOKED_AT = 20, 100, 200
UNSTAMPED = "have no stamp; the time of receipt counts"
BY_CLOCK = "have no stamp; /clock tells when they were received"
NO_CLOCK = "have no stamp, and the other topics use another clock than the recorder; left out"
NO_TIME = "were received before the first /clock; left out"
LATE = "came too long after their stamp to be fresh, as on the robot; left out"
EARLY = "are stamped in the future; left out"
BACKWARDS = "are stamped before one that came earlier"


def wanted_topics(interface: Interface) -> dict[str, str]:
    """Message type of each topic that an interface names."""
    wanted = {stream.topic: stream.type for stream in interface.observation.values()}
    wanted |= dict.fromkeys(static_topics(interface), TransformStream.ROS_TYPES[0])
    wanted |= {command.topic: command.command_type.ROS_TYPE for command in interface.commands}
    return wanted


def static_topics(interface: Interface) -> set[str]:
    """Topics of the transforms that never change, for the streams of an interface from tf."""
    streams = interface.observation.values()
    return {stream.static_topic for stream in streams if isinstance(stream, TransformStream)}


@dataclass(frozen=True)
class StreamMetrics:
    """Message statistics of one topic."""

    count: int
    rate: float
    """Messages per second, Hz: the inverse of the median gap; 0 if there are fewer than two
    messages."""
    longest_gap: float
    """Longest gap between two messages, s."""
    unstamped: int
    """Number of messages without a stamp, for which the time of receipt is used."""


class TopicClock:
    """Stamps of one topic, in the order of their receipt."""

    def __init__(self, latest_ns: int, earliest_ns: int) -> None:
        """Set how much later and earlier than its stamp a message may be received, nanoseconds."""
        self._latest_ns, self._earliest_ns = latest_ns, earliest_ns
        self.stamps: list[int] = []
        self.counts: Counter[str] = Counter()
        """Number of irregular messages, by problem."""
        self.total = 0
        self._newest = 0

    def set_back(self) -> None:
        """Start again after a clock reset."""
        self._newest = 0

    def stamp(self, message: Any, received_ns: int, same: bool, clock_ns: int) -> int | None:
        """Return the timestamp of a message, nanoseconds; None if the message is left out.

        Args:
            message: The message.
            received_ns: Time of receipt by the recorder's clock.
            same: True if stamps and times of receipt are of one clock.
            clock_ns: Time of receipt by the clock of the stamps, if that is another one; 0 if
                unknown.
        """
        self.total += 1
        stamp = stamp_ns(message)
        if stamp == 0:
            stamp = received_ns if same else clock_ns
            if stamp == 0:
                self.counts[NO_TIME if same else NO_CLOCK] += 1
                return None
            self.counts[UNSTAMPED if same else BY_CLOCK] += hasattr(message, "header")
        elif same and received_ns and not self._is_timely(received_ns - stamp):
            self.counts[LATE if stamp < received_ns else EARLY] += 1
            return None
        self.counts[BACKWARDS] += stamp < self._newest
        self._newest = max(self._newest, stamp)
        self.stamps.append(stamp)
        return stamp

    def _is_timely(self, age_ns: int) -> bool:
        return -self._earliest_ns <= age_ns <= self._latest_ns

    def metrics(self) -> StreamMetrics:
        gaps = np.abs(np.diff(np.array(self.stamps, dtype=np.int64))) / NANOSECONDS
        usual = float(np.median(gaps)) if len(gaps) else 0.0
        return StreamMetrics(
            count=len(self.stamps),
            rate=1.0 / usual if usual > 0 else 0.0,
            longest_gap=float(gaps.max()) if len(gaps) else 0.0,
            unstamped=self.counts[UNSTAMPED],
        )


def clock_ns(message: Message) -> int:
    """Time in a message of /clock, nanoseconds; 0 for any other message."""
    if message.topic != CLOCK:
        return 0
    return int(message.content.clock.sec) * NANOSECONDS + int(message.content.clock.nanosec)


def is_same_clock(messages: Iterator[Message]) -> tuple[bool, list[Message]]:
    """True if stamps and times of receipt are of one clock, according to the first messages.

    Args:
        messages: Messages of a bag, from its beginning.

    Returns:
        The answer, and the messages that were consumed.
    """
    begun: list[Message] = []
    ahead: list[int] = []
    for message in messages:
        begun.append(message)
        stamp = stamp_ns(message.content)
        if stamp and message.received_ns:  # zero before the first /clock
            ahead.append(abs(message.received_ns - stamp))
        enough = len(ahead) == _SHOW_ONE and np.median(ahead) <= _SAME_CLOCK_NS
        if enough or len(ahead) == _SHOW_TWO or len(begun) >= _LOOKED_AT:
            break
    return not ahead or float(np.median(ahead)) <= _SAME_CLOCK_NS, begun
