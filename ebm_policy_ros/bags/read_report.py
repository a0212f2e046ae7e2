"""Read report: messages that a bag should contain, and those that were read or lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ebm_policy_ros.util.quoting import LONGEST_LINE, cut


class BagError(ValueError):
    """A bag that cannot be used; the text names it and the problem."""


class Channel(NamedTuple):
    """A topic as described in a bag."""

    topic: str
    type: str
    """Message type, for example sensor_msgs/msg/Image."""
    definition: str
    """Definition of the message type and its nested types, concatenated as in rosbag2; may be
    empty."""
    format: str
    """Format of the definition: ros2msg or ros2idl."""
    encoding: str
    """Encoding of the messages: cdr for ROS 2."""


class Record(NamedTuple):
    """A serialised message as it was written."""

    channel: Channel
    received_ns: int
    data: bytes


@dataclass
class ReadReport:
    """Message counts by topic, and one line for each problem."""

    promised: Counter[str] = field(default_factory=Counter)
    """Number of messages that the bag should contain."""
    complete: bool = False
    """True if these counts cover the whole bag."""
    read: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    """Number of messages known to be lost; those of unknown topic count as topic `""`."""
    notes: list[str] = field(default_factory=list)
    cut_off: bool = False
    """True if the end of the recording seems to be missing."""

    def note(self, path: Path, text: str) -> None:
        """Add a line about a file."""
        self.notes.append(f"{cut(path.name)}: {cut(text, LONGEST_LINE)}")

    def differences(self) -> list[str]:
        """List the topics with a difference between expected and read messages, one line each."""
        return [
            f"{cut(topic)}: {self.read[topic]} messages read of {count} that the bag says it has"
            for topic, count in sorted(self.promised.items())
            if self.complete and count != self.read[topic]
        ]
