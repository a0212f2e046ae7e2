"""Journal: what happened, for all pages alike."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ebm_policy_ros.util.quoting import LONGEST_LINE, cut

_KEPT = 200
LEVELS = ("info", "warning", "error")


class Journal:
    """The last entries, of bounded size; any thread may write and read."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        """Begin without entries.

        Args:
            tell: Called with level and text of each entry of the page's own, for the log of ROS.
        """
        self._tell = tell
        self._entries: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()
        self.count = 0
        """Number of entries so far."""

    def write(self, text: str, level: str = "info") -> None:
        """Add an entry of the page's own."""
        self.quote("page", text, level)
        self._tell(level, cut(text, LONGEST_LINE))

    def quote(self, source: str, text: str, level: str) -> None:
        """Add an entry of somebody else, such as a node's log.

        Args:
            source: Name of its author.
            text: Text, which may come from anywhere.
            level: One of LEVELS.
        """
        source, text = cut(source), cut(text, LONGEST_LINE)
        with self._lock:
            self.count += 1
            entry = {"n": self.count, "time": time.time(), "level": level, "source": source}
            self._entries.append({**entry, "text": text})

    def since(self, count: int) -> list[dict[str, Any]]:
        """Entries after the first `count`, as far as they are kept."""
        with self._lock:
            return [entry for entry in self._entries if entry["n"] > count]
