"""What is printed to somebody who may stop reading."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ends_with_its_reader() -> Iterator[None]:
    """End the process without a word if what it prints is no longer read, as in `| head -1`.

    For help only: a command that works goes on, and is told in one line when it prints.
    """
    previous = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        yield
    finally:
        sys.stdout.flush()
        signal.signal(signal.SIGPIPE, previous)
