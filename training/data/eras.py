"""Tells a clock that was set back for good from messages that are out of order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Messages that wait at most until it is decided what they are.
_MOST_WAITING = 100


@dataclass(frozen=True)
class _Waiting(Generic[Item]):
    """A message of which it is not known whether its clock was set back."""

    topic: str
    time: int | None
    is_back: bool
    item: Item


class Eras(Generic[Item]):
    """Counts how often a clock was set back, in the order in which messages were recorded.

    One message, or those of one of two publishers of a topic, may come late: then the others go
    on as before. After a clock was set back nothing does. So a message that is too far back waits
    until a second topic is too, or anything goes on.
    """

    def __init__(self, tolerance_ns: int) -> None:
        """Begins with the first era.

        Args:
            tolerance_ns: How far a topic may go back without being suspected.
        """
        self._tolerance_ns = tolerance_ns
        self._newest: dict[str, int] = {}
        self._waiting: list[_Waiting[Item]] = []
        self.number = 0
        """How often a clock was set back before what is given back now."""

    def add(self, topic: str, time: int | None, item: Item) -> Iterator[Item]:
        """Take the next message.

        Args:
            topic: Its topic.
            time: On the clock in question, nanoseconds; None if it doesn't tell.
            item: To be given back.

        Yields:
            Whatever is decided by now, in order.
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
        """Messages that still wait."""
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            if message.time is not None:
                newest = self._newest.get(message.topic, message.time)
                self._newest[message.topic] = max(newest, message.time)
            yield message.item

    def _is_back(self, topic: str, time: int) -> bool:
        """Whether a topic would go back, too far, to a time in nanoseconds."""
        return time < self._newest.get(topic, time) - self._tolerance_ns

    def _is_on(self, time: int | None) -> bool:
        """Whether a time goes on from the newest of all."""
        newest = max(self._newest.values(), default=0)
        return time is not None and time >= newest - self._tolerance_ns
