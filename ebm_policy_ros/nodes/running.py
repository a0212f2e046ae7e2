"""How every node here starts, runs and ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions

from ebm_policy_ros.nodes.parameters import refuse_unknown

RCLError = rclpy_implementation.RCLError


class TaskNode(Protocol):
    """A node of rclpy that has something to do, and ends with it."""

    def run(self) -> None:
        """Do it."""

    def destroy_node(self) -> None:
        """As rclpy's nodes have it."""


class ClosableNode(Protocol):
    """A node of rclpy that has something to do before it ends."""

    def close(self) -> None:
        """Leave everything safe; messages can still be published."""

    def destroy_node(self) -> None:
        """As rclpy's nodes have it."""


def run_node(
    create: Callable[[], ClosableNode],
    args: Sequence[str] | None = None,
    expected: tuple[type[Exception], ...] = (),
) -> None:
    """Create a node and run it until SIGINT, SIGTERM or SIGHUP, then close it.

    A bad file or parameter, or another `expected` error on creation, goes to stderr in one line,
    and the exit code is 2.
    """
    bad_input = (ValueError, OSError, ParameterException, RCLError, *expected)
    stopping = False

    def request_stop(signum: int, frame: Any) -> None:
        nonlocal stopping
        # A launch passes on the Ctrl-C that its nodes have heard already: twice is as once.
        stopping = True

    node = None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup lets a node live on after its terminal was closed.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, request_stop)
    try:
        # rclpy's own handlers would close the context before a node could send its last command.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = create()
        refuse_unknown(node)
    except bad_input as error:
        if node is not None:
            node.close()
        rclpy.try_shutdown()
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stopping:
            # Signals are seen between two calls.
            executor.spin_once(timeout_sec=0.1)
    finally:
        node.close()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()


def run_to_end(
    create: Callable[[], TaskNode],
    args: Sequence[str] | None = None,
    expected: tuple[type[Exception], ...] = (),
) -> None:
    """Create a node and let it do what it is for.

    An `expected` error goes to stderr in one line, and the exit code is 1; after an interrupt it
    is 130.
    """
    rclpy.init(args=args)
    node = create()
    try:
        node.run()
    except expected as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, ExternalShutdownException):
        sys.exit(130)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
