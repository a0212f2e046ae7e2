"""Memory of the process: reuse of freed memory, and available memory."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path

# Parameter numbers of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Bytes: freed memory that is kept, and the largest block that can be reused. Larger blocks are
# mapped anew each time; glibc allows no higher threshold.
_KEPT, _LARGEST = 2**30, 2**25


@cache
def keep_freed_memory() -> bool:
    """Keep up to 1 GiB of freed memory for later allocations, for the whole process.

    By default glibc returns the memory of each intermediate result to the kernel, which clears it
    page by page when it is allocated again. This takes half of the time of a small network.

    Returns:
        True if the setting is active; False with another C library, where nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT)) and bool(mallopt(_MMAP_THRESHOLD, _LARGEST))


def available_memory() -> int:
    """Bytes that can be allocated without swapping; sys.maxsize if the system reports none."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = dict(line.split(":", maxsplit=1) for line in lines)
        return 1024 * int(sizes["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError):
        return sys.maxsize
