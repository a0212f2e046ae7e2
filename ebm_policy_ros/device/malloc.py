"""Memory that is used again and again stays with the process."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Larger blocks than the second are mapped anew each time; glibc allows no more.
_KEPT, _LARGEST = 2**30, 2**25


@cache
def keep_freed_memory() -> bool:
    """Keep up to 1 GiB of freed memory for what comes next, for the whole process.

    By default glibc gives the memory of each intermediate result back to the kernel, which clears
    it page by page when it is asked for again: half of the time of a small network.

    Returns:
        Whether it is so from now on; False with another C library, where nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT)) and bool(mallopt(_MMAP_THRESHOLD, _LARGEST))


def available_memory() -> int:
    """Bytes that can be had without swapping; without bound where the system doesn't tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        facts = dict(line.split(":", maxsplit=1) for line in lines)
        return 1024 * int(facts["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError):
        return sys.maxsize
