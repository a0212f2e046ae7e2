"""Start, execution and end of every node of this package."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn, Protocol

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from ebm_policy_ros.nodes.common.parameters import Setting, help_text, refuse_unknown
from ebm_policy_ros.util.pipes import ends_with_its_reader
from ebm_policy_ros.util.quoting import nearest

RCLError = rclpy_implementation.RCLError
_BAD_INPUT = (ValueError, OSError, ParameterException, RCLError)


class TaskNode(Protocol):
    """A node of rclpy that performs one task and then ends."""

    def run(self) -> None:
        """Perform the task."""

    def destroy_node(self) -> None:
        """Destroy the node; provided by rclpy."""


class CoroutineNode(Protocol):
    """A node of rclpy with one task that waits for other nodes."""

    async def run(self) -> None:
        """Perform the task."""

    def close(self) -> None:
        """Release what is no part of ROS."""

    def destroy_node(self) -> None:
        """Destroy the node; provided by rclpy."""


class ClosableNode(Protocol):
    """A node of rclpy with work to do before its end."""

    def close(self) -> None:
        """Leave everything in a safe state; messages can still be published."""

    def destroy_node(self) -> None:
        """Destroy the node; provided by rclpy."""


def answer_options(name: str, about: str, settings: Sequence[Setting], words: list[str]) -> None:
    """Print the help and exit if requested; reject any other argument that is not for ROS.

    Args:
        name: Name of the executable.
        about: Description of the node.
        settings: Parameters of the node.
        words: Arguments of the command line without those for ROS.
    """
    if {"--help", "-h"} & set(words):
        with ends_with_its_reader():
            print(help_text(name, about, settings))
        sys.exit(0)
    if words:
        given = words[0].lstrip("-").partition("=")[0]
        near = nearest(given, [s.name for s in settings])
        cure = f"did you mean --ros-args -p {near}:=...? " if near else ""
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

    For a bad option, file or parameter, or another `expected` error on creation, print one line to
    stderr and exit with code 2.

    Args:
        create: Class of the node.
        name: Name of the executable, for its help.
        settings: Parameters of the node, for its help.
        args: Command line without the program's name; None for that of the process.
        expected: Errors on creation that are caused by the input.
    """
    given = sys.argv[1:] if args is None else list(args)
    answer_options(name, create.__doc__ or "", settings, remove_ros_args(given))
    stopping = False
    node = None

    def request_stop(signum: int, frame: Any) -> None:
        nonlocal stopping
        # A launch forwards a Ctrl-C that its nodes already received: the second one has no effect.
        stopping = True
        if node is None:  # it has commanded nothing yet
            sys.exit()

    # With nohup, a node continues after its terminal was closed.
    handled = [signal.SIGINT, signal.SIGTERM]
    handled += [signal.SIGHUP] * (signal.getsignal(signal.SIGHUP) != signal.SIG_IGN)
    for number in handled:
        signal.signal(number, request_stop)
    try:
        # rclpy's own handlers would close the context before the node could send its last command.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = create()
        refuse_unknown(node)
    except (*_BAD_INPUT, *expected) as error:
        if node is not None:
            node.close()
        _exit_refused(error)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stopping:
            # Signals are processed between two calls.
            executor.spin_once(timeout_sec=0.1)
    finally:
        node.close()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
        for number in handled:
            # The interpreter's end takes tenths of a second. A Ctrl-C that a launch forwards
            # meanwhile would kill the process, as if it had crashed.
            signal.signal(number, signal.SIG_IGN)


def run_to_end(
    create: Callable[[], TaskNode],
    name: str,
    settings: Sequence[Setting],
    args: Sequence[str] | None = None,
    expected: tuple[type[Exception], ...] = (),
) -> None:
    """Create a node and run its task.

    For bad input on creation, print one line to stderr and exit with code 2, and for an `expected`
    error of the task with code 1; after an interrupt the exit code is 130. Arguments: see
    `run_node`.
    """
    given = sys.argv[1:] if args is None else list(args)
    answer_options(name, create.__doc__ or "", settings, remove_ros_args(given))
    try:
        rclpy.init(args=args)
        node = create()
        refuse_unknown(node)
    except _BAD_INPUT as error:
        _exit_refused(error)
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


def run_coroutine(
    create: Callable[[], CoroutineNode],
    name: str,
    settings: Sequence[Setting],
    args: Sequence[str] | None = None,
    expected: tuple[type[Exception], ...] = (),
) -> None:
    """Create a node, spin it in a thread, and run its coroutine in this one.

    SIGINT, SIGTERM and SIGHUP cancel the coroutine, which may still call services; the exit code
    is then 130. For bad input on creation it is 2, for an `expected` error of the coroutine 1,
    each with one line. Arguments: see `run_node`.
    """
    given = sys.argv[1:] if args is None else list(args)
    answer_options(name, create.__doc__ or "", settings, remove_ros_args(given))
    node = None
    try:
        # rclpy's own handlers would close the context before the node could stop an arm.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = create()
        refuse_unknown(node)
    except (*_BAD_INPUT, *expected) as error:
        if node is not None:
            node.close()
        _exit_refused(error)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinning = threading.Thread(target=executor.spin)
    spinning.start()
    try:
        asyncio.run(_until_signal(node.run()))
    except asyncio.CancelledError:
        sys.exit(130)
    except expected as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)
    finally:
        node.close()
        executor.shutdown()
        spinning.join()
        node.destroy_node()
        rclpy.try_shutdown()


async def _until_signal(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine until a signal cancels it; further signals have no effect."""
    task = asyncio.ensure_future(coroutine)
    loop = asyncio.get_running_loop()
    handled = [signal.SIGINT, signal.SIGTERM]
    handled += [signal.SIGHUP] * (signal.getsignal(signal.SIGHUP) != signal.SIG_IGN)

    def cancel() -> None:
        for number in handled:
            # A terminal sends a Ctrl-C to all its processes, and a parent may send another one.
            loop.add_signal_handler(number, lambda: None)
        task.cancel()

    for number in handled:
        loop.add_signal_handler(number, cancel)
    await task


def _exit_refused(error: Exception) -> NoReturn:
    """Shut ROS down, print the error in one line, and exit with code 2."""
    rclpy.try_shutdown()
    print(" ".join(str(error).split()), file=sys.stderr)
    sys.exit(2)
