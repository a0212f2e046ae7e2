"""What a container of messages says it has, what was read of it, and what was lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ebm_policy_ros.util.quoting import LONGEST_LINE, cut


class BagError(ValueError):
    """A bag that cannot be used; the text names it and says what it lacks."""


class Channel(NamedTuple):
    """A topic as a container describes it."""

    topic: str
    type: str
    """As in sensor_msgs/msg/Image."""
    definition: str
    """Of the message and those that it needs, as rosbag2 concatenates them; may be empty."""
    format: str
    """Of the definition: ros2msg or ros2idl."""
    encoding: str
    """Of the messages: cdr, for ROS 2."""


class Record(NamedTuple):
    """A message as it was written."""

    channel: Channel
    received_ns: int
    data: bytes


@dataclass
class ReadReport:
    """Counts by topic, and one line for everything that is not as it should be."""

    promised: Counter[str] = field(default_factory=Counter)
    """Messages that the container says it has."""
    complete: bool = False
    """Whether it says so for the whole of it."""
    read: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    """Messages known to be lost; of some the topic isn't known, they count as `""`."""
    notes: list[str] = field(default_factory=list)
    cut_off: bool = False
    """Whether the end of the recording is missing, as far as can be told."""

    def note(self, path: Path, text: str) -> None:
        """Add a line about a file."""
        self.notes.append(f"{cut(path.name)}: {cut(text, LONGEST_LINE)}")

    def differences(self) -> list[str]:
        """Where what was read is not what was promised, one line for each topic."""
        return [
            f"{cut(topic)}: {self.read[topic]} messages read of {count} that the bag says it has"
            for topic, count in sorted(self.promised.items())
            if self.complete and count != self.read[topic]
        ]
