"""Parallel reading of bags, on all cores."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2
from tqdm import tqdm

from ebm_policy_ros.bags.read_report import BagError

Result = TypeVar("Result")

# A process takes as long to start as to read some bags.
_FEW = 4


def read_each(
    read: Callable[[Path], Result], bags: Sequence[Path], workers: int | None = None
) -> Iterator[tuple[Path, Result]]:
    """Yield each bag with its result, in order, with a progress bar.

    Args:
        read: A function of a module, or a partial of one; its result is sent to this process.
        bags: Bags to read.
        workers: Number of reading processes; None for one per core, or for few bags none: they are
            read in this process.

    Raises:
        BagError: If a process was ended.
    """
    if not bags:
        return
    if workers is None and len(bags) <= _FEW:
        yield from zip(bags, _with_bar(map(read, bags), len(bags)), strict=True)
        return
    count = min(workers or os.cpu_count() or 1, len(bags))
    # A forked child of a process with threads may deadlock.
    with ProcessPoolExecutor(count, get_context("spawn"), _prepare) as pool:
        try:
            with _interrupts_held():
                results = pool.map(read, bags)
            yield from zip(bags, _with_bar(results, len(bags)), strict=True)
        except BrokenProcessPool:
            raise BagError(
                f"{bags[0].parent}: a process that reads bags was ended; is there enough memory?"
            ) from None
        finally:
            # After an interrupt, do not wait for queued bags.
            pool.shutdown(wait=False, cancel_futures=True)


def _with_bar(results: Iterator[Result], count: int) -> Iterator[Result]:
    """Yield the results of `count` bags, with a progress bar."""
    yield from tqdm(results, "reading", count, unit=" bags", dynamic_ncols=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Block interrupts, so that new processes never receive one, not even before `_prepare`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare() -> None:
    """Initialise a reading process: interrupts are left to the parent, OpenCV uses one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
