"""Background work beside the executor, and coroutines of services that wait for it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")

# Time between two checks of a waiting service, s.
_REST = 0.001


def run_in_background(call: Callable[[], Result], name: str) -> Future[Result]:
    """Run a function in its own daemon thread, which doesn't keep the process alive.

    Args:
        call: The long-running function.
        name: Name of the thread.
    """
    future: Future[Result] = Future()
    threading.Thread(target=fulfil, args=(future, call), name=name, daemon=True).start()
    return future


def fulfil(future: Future[Result], call: Callable[[], Result]) -> None:
    """Call something, and give a future its result or its error."""
    try:
        future.set_result(call())
    except BaseException as error:  # passed to the waiting caller
        future.set_exception(error)


class _Rest:
    """An awaitable that lets the executor do other work for a moment.

    rclpy polls a waiting coroutine continuously; without a pause this uses a whole core.
    """

    def __await__(self) -> Generator[None, Any, None]:
        time.sleep(_REST)
        yield


async def result_of(future: Future[Result], seconds: float = math.inf) -> Result:
    """Wait in a service's coroutine while the executor continues.

    The service needs a reentrant callback group: an exclusive one would block as well.

    Args:
        future: Future to wait for.
        seconds: Longest waiting time, s.

    Raises:
        TimeoutError: If there is no result by then.
    """
    end = time.monotonic() + seconds
    await until(lambda: future.done() or time.monotonic() > end)
    if not future.done():
        raise TimeoutError(f"no answer after {seconds:g} s")
    return future.result()


async def until(condition: Callable[[], bool]) -> None:
    """Wait in a service's coroutine for a condition; see `result_of`."""
    while not condition():
        await _Rest()
