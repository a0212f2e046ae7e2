"""Exclusive ROS domains for tests on one machine."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

# Above these, the ports of Fast DDS overlap the ephemeral ports of Linux.
_COUNT = 100
_held: dict[int, int] = {}


def take_domain() -> int:
    """Reserve a domain for this process, until it ends or gives the domain back.

    Tests on the same domain would receive each other's messages. A killed process stays visible in
    its old one for a while, so the domain that was unused for longest is taken.
    """
    folder = Path(tempfile.gettempdir()) / f"ebm_policy_ros_domains_{os.getuid()}"
    folder.mkdir(exist_ok=True)
    used = {int(file.name): file.stat().st_mtime_ns for file in folder.iterdir()}
    for domain in sorted(range(1, 1 + _COUNT), key=lambda domain: used.get(domain, 0)):
        lock = os.open(folder / str(domain), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        os.utime(lock)
        _held[domain] = lock
        return domain
    raise RuntimeError(f"all {_COUNT} domains of {folder} are taken")


def give_back(domain: int) -> None:
    """Release a domain."""
    lock = _held.pop(domain)
    os.utime(lock)
    os.close(lock)
