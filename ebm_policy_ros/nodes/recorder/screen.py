"""What a recorder shows of itself: a line for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ebm_policy_ros.bags.statistics import TopicMetrics


@dataclass(frozen=True)
class RecorderStatus:
    """A recorder at a time."""

    state: str
    """idle or recording."""
    episode: str
    """The one that is recorded, or was last."""
    kept: Mapping[str, int]
    """Episodes by outcome since the start, and in the folder."""
    elapsed_s: float
    disk_free_bytes: int
    disk_left_s: float | None
    """Until the disk is full at the present rate; None while nothing is recorded."""
    written_bytes: int
    waiting_bytes: int
    topics: Mapping[str, TopicMetrics] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    def json(self) -> str:
        """For `~/status`."""
        return json.dumps(dataclasses.asdict(self))

    def line(self) -> str:
        """For a terminal, what matters most first."""
        success, failure = self.kept["success"], self.kept["failure"]
        disk = f"{self.disk_free_bytes / 2**30:.1f} GiB left"
        if self.disk_left_s is not None:
            disk = f"{duration(self.disk_left_s)} left"
        what = "idle"
        if self.state == "recording":
            what = f"RECORDING {self.episode} {self.elapsed_s:.1f} s"
        told = [f"! {'; '.join(self.warnings)}"] if self.warnings else []
        kept = f"kept {success + failure} ({success} success, {failure} failure)"
        names = zip(_short(list(self.topics)), self.topics.values(), strict=True)
        rates = ", ".join(f"{name} {facts.rate:.0f} Hz" for name, facts in names)
        return " | ".join((what, *told, kept, disk, rates))


def duration(seconds: float) -> str:
    """A time in the unit that people would say it in."""
    for name, size in (("days", 86400.0), ("h", 3600.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds / 60:.0f} min"


def episode_lines(topics: Mapping[str, TopicMetrics]) -> list[str]:
    """A line for each topic of an episode that is over."""
    return [
        f"{name}: {facts.count} messages, {facts.rate:.1f} Hz, longest gap "
        f"{facts.longest_gap:.3f} s, {facts.drops} dropped"
        for name, facts in topics.items()
    ]


def _short(topics: Sequence[str]) -> list[str]:
    """The part of each topic's name that tells it from the others: behind what all begin with."""
    split = [topic.strip("/").split("/") for topic in topics]
    shared = 0
    while split and all(len(parts) > shared + 1 for parts in split):
        if len({parts[shared] for parts in split}) > 1:
            break
        shared += 1
    return [parts[shared] for parts in split]
