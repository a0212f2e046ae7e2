"""Recorded episode, as a robot would send it now."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ebm_policy_ros.bags.bag import Bag
from ebm_policy_ros.interface import NANOSECONDS
from ebm_policy_ros.messages.streams import stamp_ns

# Messages that are read ahead; camera images are a gigabyte at most.
_AHEAD = 300
# Stamps further from the time of receipt are of another clock.
_SAME_CLOCK_NS = NANOSECONDS


class Played(NamedTuple):
    """Message to be sent."""

    topic: str
    """Name as in the interface."""
    after_ns: int
    """Time after the first message of all."""
    stamp_ns: int
    """Stamp on the same scale; negative if it is earlier."""
    stamped: bool
    content: Any
    data: bytes
    """Content as it was recorded."""


def read_ahead(bag: Path, topics: Mapping[str, str]) -> Iterator[Played]:
    """Yield the messages of a bag in the order of their receipt, read on a thread of its own.

    Args:
        bag: Recorded episode.
        topics: Types by name.

    Raises:
        BagError: If a topic is missing or nothing can be read.
    """
    waiting: queue.Queue[Played | Exception | None] = queue.Queue(_AHEAD)

    def read() -> None:
        try:
            for played in _play(bag, topics):
                waiting.put(played)
            waiting.put(None)
        except Exception as error:  # raised where the messages are taken
            waiting.put(error)

    threading.Thread(target=read, daemon=True).start()
    while (found := waiting.get()) is not None:
        if isinstance(found, Exception):
            raise found
        yield found


def _play(bag: Path, topics: Mapping[str, str]) -> Iterator[Played]:
    begin: int | None = None
    other_clock = 0
    for message in Bag(bag).messages(topics):
        stamp = stamp_ns(message.content)
        if begin is None:
            begin = message.received_ns
            ahead = stamp - begin
            other_clock = ahead if stamp and abs(ahead) > _SAME_CLOCK_NS else 0
        after, stamped_at = message.received_ns - begin, stamp - begin - other_clock
        yield Played(
            message.topic,
            # In a simulation's time what arrives before its clock is received before its stamp.
            max(after, stamped_at) if stamp else after,
            stamped_at,
            stamp != 0,
            message.content,
            message.data,
        )
