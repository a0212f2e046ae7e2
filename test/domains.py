"""ROS domains that nobody else on this machine tests on."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

# Above them Fast DDS's ports meet those that Linux gives away.
_COUNT = 100
_held: dict[int, int] = {}
_place = os.getpid()


def take_domain() -> int:
    """A domain that is this process's until it ends or gives it back.

    Several suites beside each other would hear one another on the same one. It is another one each
    time: who was killed is seen in the old one for a while.
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
    """Let others have a domain."""
    os.close(_held.pop(domain))
