"""Output to a pipe whose reader may exit early."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ends_with_its_reader() -> Iterator[None]:
    """End the process silently if the reader of its output has exited, as in `| head -1`.

    For help output only. A command at work continues, and reports the closed pipe in one line when
    it prints.
    """
    previous = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        yield
    finally:
        sys.stdout.flush()
        signal.signal(signal.SIGPIPE, previous)
