"""Work beside the executor, and services that answer when it is done."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")

# Seconds between two looks of a service that waits.
_REST = 0.001


def run_in_background(call: Callable[[], Result], name: str) -> Future[Result]:
    """Call something on a thread of its own, which doesn't keep the process alive.

    Args:
        call: What takes long.
        name: The thread's.
    """
    future: Future[Result] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # for whoever waits
            future.set_exception(error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future


class _Rest:
    """A moment in which the executor does something else.

    rclpy asks a coroutine that waits again and again; without a rest that takes a whole core.
    """

    def __await__(self) -> Generator[None, Any, None]:
        time.sleep(_REST)
        yield


async def result_of(future: Future[Result], seconds: float = math.inf) -> Result:
    """Wait in a service's coroutine while the executor goes on.

    The service needs a reentrant callback group: an exclusive one would wait with it.

    Args:
        future: What is waited for.
        seconds: Longest time.

    Raises:
        TimeoutError: If it is not there by then.
    """
    end = time.monotonic() + seconds
    while not future.done():
        if time.monotonic() > end:
            raise TimeoutError(f"no answer after {seconds:g} s")
        await _Rest()
    return future.result()
