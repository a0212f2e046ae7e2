"""Distinction between a clock reset and messages that are out of order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Maximum number of messages held back until the case is decided.
_MOST_WAITING = 100


@dataclass(frozen=True)
class _Waiting(Generic[Item]):
    """A message that may or may not follow a clock reset."""

    topic: str
    time: int | None
    is_back: bool
    item: Item


class Eras(Generic[Item]):
    """Counter of clock resets, over messages in the order of their recording.

    A single message, or the messages of one of two publishers of a topic, may come late; the other
    topics then continue. After a clock reset no topic continues. So a message that goes back too
    far is held until a second topic goes back too, or any topic continues.
    """

    def __init__(self, tolerance_ns: int) -> None:
        """Start with the first era.

        Args:
            tolerance_ns: Largest step back of a topic that is ignored, nanoseconds.
        """
        self._tolerance_ns = tolerance_ns
        self._newest: dict[str, int] = {}
        self._waiting: list[_Waiting[Item]] = []
        self.number = 0
        """Number of clock resets before the items that are returned now."""

    def add(self, topic: str, time: int | None, item: Item) -> Iterator[Item]:
        """Add the next message.

        Args:
            topic: Topic of the message.
            time: Time on the clock in question, nanoseconds; None if unknown.
            item: Item to be returned.

        Yields:
            All items that are decided by now, in order.
        """
        is_back = time is not None and self._is_back(topic, time)
        self._waiting.append(_Waiting(topic, time, is_back, item))
        goes_on = self._is_on(time)
        back = {waiting.topic for waiting in self._waiting if waiting.is_back}
        if len(back) > 1:
            self.number += 1
            self._newest.clear()
        elif back and not goes_on and len(self._waiting) < _MOST_WAITING:
            return
        yield from self.rest()

    def rest(self) -> Iterator[Item]:
        """Return the messages that are still held."""
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            if message.time is not None:
                newest = self._newest.get(message.topic, message.time)
                self._newest[message.topic] = max(newest, message.time)
            yield message.item

    def _is_back(self, topic: str, time: int) -> bool:
        """True if the time, in nanoseconds, is too far before the topic's newest."""
        return time < self._newest.get(topic, time) - self._tolerance_ns

    def _is_on(self, time: int | None) -> bool:
        """True if the time continues from the newest of all topics."""
        newest = max(self._newest.values(), default=0)
        return time is not None and time >= newest - self._tolerance_ns
