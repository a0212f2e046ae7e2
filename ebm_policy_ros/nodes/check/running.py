"""A node of a command: created, spun by the command itself, and destroyed at its end."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

CLOCK = "/clock"
_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
# Time for the discovery of who publishes /clock, and then for its first message, s.
_SETTLING, _FIRST = 0.5, 2.0
_SPIN = 0.02


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


def spin(executor: Any, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    """Let a node work until a condition holds, or for some seconds of real time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        executor.spin_once(timeout_sec=_SPIN)


def follow_clock(node: Node, executor: Any, simulated: bool | None = None) -> None:
    """Let a node use the clock that the nodes of this robot have to use.

    Args:
        node: Node with the parameter use_sim_time.
        executor: Executor of the node.
        simulated: True for the clock of a simulation; None: if its time is published.
    """
    if simulated is None:
        heard: list[Any] = []
        subscription = node.create_subscription(Clock, CLOCK, heard.append, _NEWEST)
        spin(executor, _SETTLING, lambda: bool(heard))
        if node.count_publishers(CLOCK) > 0:
            spin(executor, _FIRST, lambda: bool(heard))
        node.destroy_subscription(subscription)
        simulated = bool(heard)
    node.set_parameters([Parameter("use_sim_time", value=simulated)])
    spin(executor, _FIRST, lambda: node.get_clock().now().nanoseconds > 0)
