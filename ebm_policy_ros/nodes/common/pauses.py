"""Detection of pauses of the process: by a signal, by suspension or by CPU starvation."""

from __future__ import annotations

import threading
import time

# Time between two checks, and time between checks that counts as a pause, s. On a busy computer a
# check may be late by tenths of a second.
_BEAT, _PAUSE = 0.05, 0.5


def boot_time() -> float:
    """Time of a clock that is never set and that runs while the computer is suspended, s."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class PauseWatch:
    """Detects that this process did not run for a while.

    After a pause the messages in its queues are old, also /clock of a simulation: data that is
    fresh by that clock may be old.
    """

    def __init__(self) -> None:
        """Start the watch, in a thread that `close` ends."""
        self._last, self._resumed, self._length = boot_time(), -1e9, 0.0
        self._lock, self._closed = threading.Lock(), threading.Event()
        threading.Thread(target=self._beat, name="pauses", daemon=True).start()

    def _beat(self) -> None:
        while not self._closed.wait(_BEAT):
            self._look()

    def _look(self) -> float:
        with self._lock:
            now = boot_time()
            if now - self._last > _PAUSE:
                self._length, self._resumed = now - self._last, now
            self._last = now
            return now

    def problem(self, seconds: float) -> str:
        """Description of the last pause, if it ended less than `seconds` ago; otherwise empty."""
        if self._look() - self._resumed >= seconds:
            return ""
        return f"this process stood still for {self._length:.1f} s"

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
