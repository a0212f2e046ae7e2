"""Whether a stream is alive: how fast its samples come, and how they are stamped."""

from __future__ import annotations

from collections import deque

from ebm_policy_ros.interface import NANOSECONDS, Stream

# A rate is measured over so long, or over so many samples at the least rate.
_WINDOW = 1.0
_FEWEST = 5
# Of the least rate, what a jittering clock may take away.
_TOLERANCE = 0.9


class StreamMonitor:
    """Counts the samples of one stream, and refuses those of the future."""

    def __init__(self, stream: Stream, period_ns: int) -> None:
        """Takes the limits from the stream.

        Args:
            stream: Of the interface.
            period_ns: Of the decisions; a simulation's samples come so long before their time.
        """
        window = _WINDOW if stream.min_rate is None else max(_WINDOW, _FEWEST / stream.min_rate)
        self._window_ns = round(window * NANOSECONDS)
        self._min_rate = stream.min_rate
        self._ahead_ns = round(stream.max_age * NANOSECONDS) + period_ns
        self._stamps: deque[int] = deque()
        self._since: int | None = None
        self.received = 0
        """Samples so far."""
        self.refused = 0
        """Samples from the future so far."""
        self.unstamped = False
        """Whether the stamp is zero, so that the time of receipt counts."""
        self._refusal = ""

    def accept(self, stamp_ns: int, receive_ns: int) -> bool:
        """Count a sample; false if it is from the future and must not be used.

        Args:
            stamp_ns: Of its header; 0 if there is none.
            receive_ns: When it was received, on the same clock.
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
        while self._stamps[0] < self._stamps[-1] - self._window_ns:
            self._stamps.popleft()
        return True

    def clear(self) -> None:
        """Forget the samples, as after a clock was set back; the counts stay."""
        self._stamps.clear()
        self._since = None

    def rate(self, time_ns: int) -> float:
        """New samples per second by now, Hz."""
        if self._since is None:
            return 0.0
        begin = time_ns - self._window_ns
        span = min(self._window_ns, max(time_ns - self._since, 1))
        return sum(stamp > begin for stamp in self._stamps) * NANOSECONDS / span

    def problem(self, time_ns: int) -> str:
        """What is wrong with the stream, besides the age of its samples; empty if nothing."""
        if self._refusal:
            return self._refusal
        if self._min_rate is None or self._since is None:
            return ""
        if time_ns - self._since < self._window_ns:
            return f"its rate is measured for {self._window_ns / NANOSECONDS:.1f} s at first"
        rate = self.rate(time_ns)
        if rate >= _TOLERANCE * self._min_rate:
            return ""
        return f"{rate:.1f} Hz, at least {self._min_rate} Hz expected"
