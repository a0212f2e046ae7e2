"""Statistics of the messages of one topic: rate, gaps, drops and age."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass
from itertools import pairwise

from ebm_policy_ros.interface import NANOSECONDS

# Window of the rate measurement: this many seconds, or this many messages of a slow stream.
_WINDOW_NS = 2 * NANOSECONDS
_FEWEST = 5
# A stream whose samples may be old counts as stalled after this time without a message, or after
# this many of its usual gaps.
_SILENCE_NS = NANOSECONDS // 2
_GAPS = 3


@dataclass(frozen=True)
class TopicMetrics:
    """Metrics of the messages of a topic, at a time or over an episode."""

    count: int
    rate: float
    """Rate of the messages, Hz: recent, or over a whole episode."""
    longest_gap: float
    """Longest time between the stamps of two messages (receive times if there are no stamps),
    s."""
    gaps: int
    """Number of gaps longer than the allowed age of a sample."""
    drops: int
    """Number of messages that were published but not received."""
    age: float | None
    """Time since the last message, s; None before the first."""


class TopicStatistics:
    """Counts the messages of one topic; all times are of one clock, nanoseconds."""

    def __init__(self, max_age: float | None) -> None:
        """Begin with zero counts.

        Args:
            max_age: Largest allowed age of a sample, s; None for a topic that may pause.
        """
        self._max_age_ns = None if max_age is None else round(max_age * NANOSECONDS)
        self._received: deque[int] = deque()
        self.clear()

    def clear(self) -> None:
        """Reset the counts; the time of the last message is kept."""
        self.count = 0
        """Number of messages so far."""
        self._gaps = self._missed = self._lost = self._longest = 0
        self._first = 0
        self._stamp: int | None = None
        self._sequence = 0

    def add(self, now: int, stamp: int, sequence: int | None) -> None:
        """Count a message.

        Args:
            now: Receive time, nanoseconds.
            stamp: Stamp of its header, nanoseconds; 0 if there is none.
            sequence: Sequence number of its publisher; None if it is not usable.
        """
        last = self._received[-1] if self._received else now
        if now < last - NANOSECONDS:  # the clock was set back
            self._received.clear()
            self._stamp = None
        else:  # messages of several publishers may overtake each other
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
        # A smaller number than before is from another publisher. After None, the publisher of the
        # next message is unknown.
        self._sequence = sequence or 0

    def lost(self, count: int) -> None:
        """Add lost messages reported by the middleware."""
        self._lost += count

    def silence(self, now: int) -> int | None:
        """Time since the last message, ns; None before the first."""
        return max(0, now - self._received[-1]) if self._received else None

    def stalled(self, now: int) -> bool:
        """True if messages that should arrive don't."""
        if self._max_age_ns is None:
            return False
        silence = self.silence(now)
        if silence is None:
            return True
        gaps = [after - before for before, after in pairwise(self._received)]
        usual = _GAPS * statistics.median(gaps) if gaps else 0
        return silence > min(self._max_age_ns, max(_SILENCE_NS, usual))

    def metrics(self, now: int, whole: bool = False) -> TopicMetrics:
        """Metrics of the messages.

        Args:
            now: Current time, nanoseconds.
            whole: Compute the rate over all counted messages, not over the recent ones.
        """
        silence = self.silence(now)
        return TopicMetrics(
            self.count,
            self._rate(now, whole),
            self._longest / NANOSECONDS,
            self._gaps,
            # The same loss may appear in both counts.
            max(self._missed, self._lost),
            None if silence is None else silence / NANOSECONDS,
        )

    def _rate(self, now: int, whole: bool) -> float:
        """Rate of the messages, Hz.

        `StreamMonitor` counts stamps in a fixed window instead, since its rate decides when a
        slow stream stops the arm, also of a stream of which only a few samples are known.
        """
        count = self.count if whole else len(self._received)
        if count < 2:
            return 0.0
        first, last = (self._first, self._received[-1]) if whole else (self._received[0], now)
        return (count - 1) * NANOSECONDS / (last - first) if last > first else 0.0
