"""Exclusive ROS domains for test processes on one machine."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

# Above these, the ports of Fast DDS overlap the ephemeral ports of Linux.
_COUNT = 100
_held: dict[int, int] = {}
_place = os.getpid()


def take_domain() -> int:
    """Reserve a domain for this process, until it ends or gives the domain back.

    Test suites on the same domain would receive each other's messages. A new domain is used each
    time, since a killed process stays visible in its old one for a while.
    """
    global _place  # noqa: PLW0603
    folder = Path(tempfile.gettempdir()) / f"ebm_policy_ros_domains_{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for _ in range(_COUNT):
        _place += 1
        domain = 1 + _place % _COUNT
        lock = os.open(folder / str(domain), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        _held[domain] = lock
        return domain
    raise RuntimeError(f"all {_COUNT} domains of {folder} are taken")


def give_back(domain: int) -> None:
    """Release a domain."""
    os.close(_held.pop(domain))
