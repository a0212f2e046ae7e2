"""A node of a command: created, spun by the command itself, and destroyed at its end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions


@contextmanager
def running_node(name: str, words: Sequence[str] | None = None) -> Iterator[tuple[Node, Any]]:
    """Node and its executor; signals end the block as exceptions, so that it can clean up.

    Args:
        name: Name of the node.
        words: Command line, whose ROS arguments count; None for that of the process.
    """
    # rclpy's own handlers would close the context before the last command is sent.
    rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
    signal.signal(signal.SIGHUP, lambda number, frame: sys.exit(128 + number))
    node = rclpy.create_node(name)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        yield node, executor
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
