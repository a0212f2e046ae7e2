"""Pauses of a process: stopped by a signal, suspended with its machine, or starved."""

from __future__ import annotations

import threading
import time

# Seconds between two beats, and between two that count as a pause: a busy machine takes tenths.
_BEAT, _PAUSE = 0.05, 0.5


def boot_time() -> float:
    """Seconds of a clock that nobody sets and that goes on while the machine is suspended."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class PauseWatch:
    """Notices that this process did not run for a while.

    After a pause what waits in its queues is old, a simulation's clock with it: what looks fresh
    by that clock need not be.
    """

    def __init__(self) -> None:
        """Begins to watch, on a thread that `close` ends."""
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
        """The last pause, if it ended less than `seconds` ago; empty if not."""
        if self._look() - self._resumed >= seconds:
            return ""
        return f"this process stood still for {self._length:.1f} s"

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
