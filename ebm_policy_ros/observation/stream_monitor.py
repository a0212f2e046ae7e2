"""Stream monitor: rate of the samples of one stream, and a check of their stamps."""

from __future__ import annotations

from collections import deque

from ebm_policy_ros.interface import NANOSECONDS, Stream

# Window of the rate measurement: at least this many seconds, and at least this many samples at the
# minimum rate.
_WINDOW = 1.0
_FEWEST = 5
# Share of the minimum rate that is still accepted, because of clock jitter.
_TOLERANCE = 0.9


class StreamMonitor:
    """Counts the samples of one stream and rejects those with stamps in the future."""

    def __init__(self, stream: Stream, period_ns: int) -> None:
        """Take the limits from the stream.

        Args:
            stream: A stream of the interface.
            period_ns: Period of the decisions, nanoseconds; samples of a simulation may be stamped
                this much ahead of the clock.
        """
        window = _WINDOW if stream.min_rate is None else max(_WINDOW, _FEWEST / stream.min_rate)
        self.window_ns = round(window * NANOSECONDS)
        """Time in which the rate is measured, nanoseconds."""
        self._min_rate = stream.min_rate
        self._ahead_ns = round(stream.max_age * NANOSECONDS) + period_ns
        self._stamps: deque[int] = deque()
        self._since: int | None = None
        self.received = 0
        """Number of samples so far."""
        self.refused = 0
        """Number of rejected samples (stamps in the future) so far."""
        self.unstamped = False
        """True if the last stamp was zero; the receive time is used instead."""
        self._refusal = ""

    def accept(self, stamp_ns: int, receive_ns: int) -> bool:
        """Count a sample; return False if its stamp is in the future and it must not be used.

        Args:
            stamp_ns: Stamp of its header, nanoseconds; 0 if there is none.
            receive_ns: Receive time on the same clock, nanoseconds.
        """
        self.received += 1
        self.unstamped = stamp_ns == 0
        ahead = stamp_ns - receive_ns
        if ahead > self._ahead_ns:
            self.refused += 1
            self._refusal = f"stamped {ahead / NANOSECONDS:.3f} s in the future"
            return False
        self._refusal = ""
        stamp = stamp_ns or receive_ns
        if self._since is None:
            self._since = stamp
        if not self._stamps or stamp > self._stamps[-1]:  # a frozen stream repeats its last one
            self._stamps.append(stamp)
        while self._stamps[0] < self._stamps[-1] - self.window_ns:
            self._stamps.popleft()
        return True

    def clear(self) -> None:
        """Delete the samples, for example after the clock was set back; the counters stay."""
        self._stamps.clear()
        self._since = None

    def rate(self, time_ns: int) -> float:
        """Rate of new samples at a time, Hz."""
        if self._since is None:
            return 0.0
        begin = time_ns - self.window_ns
        span = min(self.window_ns, max(time_ns - self._since, 1))
        return sum(stamp > begin for stamp in self._stamps) * NANOSECONDS / span

    def problem(self, time_ns: int) -> str:
        """Problem of the stream other than the age of its samples; empty if there is none."""
        if self._refusal:
            return self._refusal
        if self._min_rate is None or self._since is None:
            return ""
        if time_ns - self._since < self.window_ns:
            return f"its rate is measured for {self.window_ns / NANOSECONDS:.1f} s at first"
        rate = self.rate(time_ns)
        if rate >= _TOLERANCE * self._min_rate:
            return ""
        return f"{rate:.1f} Hz, at least {self._min_rate} Hz expected"
