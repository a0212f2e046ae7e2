"""How every node here starts, runs and ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions


class ClosableNode(Protocol):
    """A node that has something to do before it ends."""

    def close(self) -> None:
        """Leave everything safe; messages can still be published."""

    def destroy_node(self) -> None:
        """As rclpy's nodes have it."""


def run_node(
    create: Callable[[], ClosableNode],
    args: Sequence[str] | None = None,
    expected: tuple[type[Exception], ...] = (ValueError,),
) -> None:
    """Create a node and run it until SIGINT or SIGTERM, then close it.

    An `expected` error on creation (a bad file or parameter) goes to stderr in one line, and the
    exit code is 2.
    """
    stopping = False

    def request_stop(signum: int, frame: Any) -> None:
        nonlocal stopping
        stopping = True

    # rclpy's own handlers would close the context before a node could send its last command.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, request_stop)
    try:
        node = create()
    except expected as error:
        rclpy.try_shutdown()
        print(error, file=sys.stderr)
        sys.exit(2)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stopping:
            # Signals are seen between two calls.
            executor.spin_once(timeout_sec=0.1)
    finally:
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()
