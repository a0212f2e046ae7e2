"""How the messages of one topic come: rate, gaps, drops and age."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass
from itertools import pairwise

from ebm_policy_ros.interface import NANOSECONDS

# A rate is measured over the last so many seconds, or over so many messages of a slow stream.
_WINDOW_NS = 2 * NANOSECONDS
_FEWEST = 5
# A stream whose samples may be old counts as stalled when it is silent for so long, or for so many
# of its usual gaps.
_SILENCE_NS = NANOSECONDS // 2
_GAPS = 3


@dataclass(frozen=True)
class TopicMetrics:
    """How the messages of a topic came, by now or in all."""

    count: int
    rate: float
    """Messages per second, Hz: of late, or over all of an episode."""
    longest_gap: float
    """Between the stamps of two messages, or between receipts where they have none; s."""
    gaps: int
    """Gaps that were longer than a sample may be old."""
    drops: int
    """Messages that were published but never came."""
    age: float | None
    """Since the last message, s; None before the first."""


class TopicStatistics:
    """Counts the messages of one topic; times are of one clock, nanoseconds."""

    def __init__(self, max_age: float | None) -> None:
        """Counts from nothing.

        Args:
            max_age: How old a sample may be, s; None for a topic that may pause.
        """
        self._max_age_ns = None if max_age is None else round(max_age * NANOSECONDS)
        self._received: deque[int] = deque()
        self.clear()

    def clear(self) -> None:
        """Count from nothing again; the time of the last message stays known."""
        self.count = 0
        """Messages so far."""
        self._gaps = self._missed = self._lost = self._longest = 0
        self._first = 0
        self._stamp: int | None = None
        self._sequence = 0

    def add(self, now: int, stamp: int, sequence: int | None) -> None:
        """Count a message.

        Args:
            now: When it was received.
            stamp: Of its header; 0 if there is none.
            sequence: Its publisher's number for it; None if that tells nothing.
        """
        last = self._received[-1] if self._received else now
        if now < last - NANOSECONDS:  # the clock was set back
            self._received.clear()
            self._stamp = None
        else:  # several publishers' may overtake each other
            now = max(now, last)
        time = stamp or now
        if self._stamp is not None and time > self._stamp:
            gap = time - self._stamp
            self._longest = max(self._longest, gap)
            self._gaps += self._max_age_ns is not None and gap > self._max_age_ns
        self._stamp = time if self._stamp is None else max(time, self._stamp)
        if self.count == 0:
            self._first = now
        self.count += 1
        self._received.append(now)
        while len(self._received) > _FEWEST and self._received[0] < now - _WINDOW_NS:
            self._received.popleft()
        if sequence is not None:
            if 0 < self._sequence < sequence:
                self._missed += sequence - self._sequence - 1
        # Smaller than before: another publisher. None: who knows whose the next one is.
        self._sequence = sequence or 0

    def lost(self, count: int) -> None:
        """The middleware tells that messages were lost."""
        self._lost += count

    def silence(self, now: int) -> int | None:
        """Time since the last message, ns; None before the first."""
        return max(0, now - self._received[-1]) if self._received else None

    def stalled(self, now: int) -> bool:
        """Whether messages that should come don't."""
        if self._max_age_ns is None:
            return False
        silence = self.silence(now)
        if silence is None:
            return True
        gaps = [after - before for before, after in pairwise(self._received)]
        usual = _GAPS * statistics.median(gaps) if gaps else 0
        return silence > min(self._max_age_ns, max(_SILENCE_NS, usual))

    def facts(self, now: int, whole: bool = False) -> TopicMetrics:
        """How the messages come, or came.

        Args:
            now: The time.
            whole: Give the rate over everything that was counted, not of late.
        """
        silence = self.silence(now)
        return TopicMetrics(
            self.count,
            self._mean_rate() if whole else self._rate(now),
            self._longest / NANOSECONDS,
            self._gaps,
            # The same loss may show in both.
            max(self._missed, self._lost),
            None if silence is None else silence / NANOSECONDS,
        )

    def _rate(self, now: int) -> float:
        span = now - self._received[0] if self._received else 0
        return (len(self._received) - 1) * NANOSECONDS / span if span > 0 else 0.0

    def _mean_rate(self) -> float:
        if self.count < 2:
            return 0.0
        span = self._received[-1] - self._first
        return (self.count - 1) * NANOSECONDS / span if span > 0 else 0.0
