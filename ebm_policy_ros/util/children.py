"""Child processes that do not outlive their parent."""

from __future__ import annotations

import ctypes
import signal

# From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
# Looked up before a process forks: a child must not.
_prctl = ctypes.CDLL(None).prctl


def end_with_parent() -> None:
    """Ask Linux to end this process when its parent dies, also by SIGKILL.

    For `preexec_fn` of subprocess: it calls nothing but prctl, so threads of the parent do no
    harm. Linux takes the thread that started the child for its parent.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
