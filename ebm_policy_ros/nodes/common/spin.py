"""How every node here starts, runs and ends."""

from __future__ import annotations

import difflib
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from ebm_policy_ros.nodes.common.parameters import Setting, help_text, refuse_unknown
from ebm_policy_ros.util.pipes import ends_with_its_reader

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


def answer_options(name: str, about: str, settings: Sequence[Setting], words: list[str]) -> None:
    """Print the help if it is asked for, and end; refuse whatever else is no ROS argument.

    Args:
        name: The executable's.
        about: What the node does.
        settings: Its parameters.
        words: Words of the command line without those for ROS.
    """
    if {"--help", "-h"} & set(words):
        with ends_with_its_reader():
            print(help_text(name, about, settings))
        sys.exit(0)
    if words:
        given = words[0].lstrip("-").partition("=")[0]
        near = difflib.get_close_matches(given, [s.name for s in settings], n=1)
        cure = f"did you mean --ros-args -p {near[0]}:=...? " if near else ""
        print(f"{name}: unknown option {words[0]}; {cure}--help tells more", file=sys.stderr)
        sys.exit(2)


def run_node(
    create: Callable[[], ClosableNode],
    name: str,
    settings: Sequence[Setting],
    args: Sequence[str] | None = None,
    expected: tuple[type[Exception], ...] = (),
) -> None:
    """Create a node and run it until SIGINT, SIGTERM or SIGHUP, then close it.

    A bad option, file or parameter, or another `expected` error on creation, goes to stderr in one
    line, and the exit code is 2.

    Args:
        create: The node's class.
        name: The executable's, for its help.
        settings: The node's parameters, for its help.
        args: Command line without the program's name; None for the process's own.
        expected: Errors on creation that are about the input.
    """
    given = sys.argv[1:] if args is None else list(args)
    answer_options(name, create.__doc__ or "", settings, remove_ros_args(given))
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
