"""Status of a recorder: one line for users, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ebm_policy_ros.bags.statistics import TopicMetrics


@dataclass(frozen=True)
class RecorderStatus:
    """Status of a recorder at a time."""

    state: str
    """State: idle or recording."""
    episode: str
    """Name of the current episode; empty while idle."""
    kept: Mapping[str, int]
    """Number of kept episodes by outcome since the start, and number of episodes and of successes
    in the folder."""
    elapsed_s: float
    disk_free_bytes: int
    disk_left_s: float | None
    """Time until the disk is full at the current rate, s; None while nothing is recorded."""
    written_bytes: int
    waiting_bytes: int
    topics: Mapping[str, TopicMetrics] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    target: int = 0
    """Number of successes that are wanted; 0 for no number."""
    next: str = ""
    """The operator's next step."""
    folder: str = ""
    """Folder of the episodes, as an absolute path."""

    def json(self) -> str:
        """Status as JSON, for `~/status`."""
        return json.dumps(dataclasses.asdict(self))

    def line(self) -> str:
        """Status as a line for a terminal, the most important part first."""
        success, failure = self.kept["success"], self.kept["failure"]
        disk = f"{self.disk_free_bytes / 2**30:.1f} GiB left"
        if self.disk_left_s is not None:
            disk = f"{duration(self.disk_left_s)} left"
        what = "idle"
        if self.state == "recording":
            what = f"RECORDING {self.episode} {self.elapsed_s:.1f} s"
        told = [f"! {'; '.join(self.warnings)}"] if self.warnings else []
        told += [self.next] if self.next else []
        kept = f"kept {success + failure} ({success} success, {failure} failure)"
        names = zip(_short(list(self.topics)), self.topics.values(), strict=True)
        rates = ", ".join(f"{name} {metrics.rate:.0f} Hz" for name, metrics in names)
        return " | ".join((what, *told, kept, disk, rates))


def duration(seconds: float) -> str:
    """Duration as text in a suitable unit."""
    for name, size in (("days", 86400.0), ("h", 3600.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds / 60:.0f} min"


def episode_lines(topics: Mapping[str, TopicMetrics]) -> list[str]:
    """One line for each topic of a finished episode."""
    return [
        f"{name}: {metrics.count} messages, {metrics.rate:.1f} Hz, longest gap "
        f"{metrics.longest_gap:.3f} s, {metrics.drops} dropped"
        for name, metrics in topics.items()
    ]


def _short(topics: Sequence[str]) -> list[str]:
    """Shortened name of each topic: the first part that follows the common beginning."""
    split = [topic.strip("/").split("/") for topic in topics]
    shared = 0
    while split and all(len(parts) > shared + 1 for parts in split):
        if len({parts[shared] for parts in split}) > 1:
            break
        shared += 1
    return [parts[shared] for parts in split]
