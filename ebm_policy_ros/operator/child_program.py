"""Child program: a command of this package that runs beside the page's server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from ebm_policy_ros.util.children import end_with_parent
from ebm_policy_ros.util.quoting import LONGEST_LINE

LEAST = 15
"""Niceness of a program that may take long."""
_KEPT = 16
# Bytes read at once; a line that is longer is cut.
_CHUNK = 4096
# Time for the program to end after each signal, s.
_PATIENCE = 1.5
# Period of the look for its end, s.
_LOOK = 0.1
# Progress bar of tqdm: count, total, and the part in brackets.
_BAR = re.compile(r"(\d+)/(\d+) \[([\d:?]+)(?:<([\d:?]+))?,? ?(.*)\]$")


def _begin() -> None:
    """Let the program take a Ctrl-C, and end with this process.

    A shell starts what runs in its background without Ctrl-C, and programs hand that down: Cancel
    would not stop the arm.
    """
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Progress:
    """Progress as the program's last bar tells it."""

    done: int
    total: int
    elapsed: str
    """Time so far, as text."""
    left: str
    """Time that is left, as text; empty if the bar does not tell it."""
    detail: str
    """Rest of the bar, such as a loss."""


class ChildProgram:
    """A program, usually with little priority, that ends, at the latest, with this process."""

    def __init__(self, module: str, options: Sequence[str], nice: int = LEAST) -> None:
        """Prepare a program.

        Args:
            module: Module to run, relative to this package.
            options: Its command line.
            nice: Its niceness; 0 for one that an arm waits for.
        """
        name = f"ebm_policy_ros.{module}"
        self._arguments = ["nice", "-n", str(nice), sys.executable, "-m", name, *options]
        self._process: asyncio.subprocess.Process | None = None
        self.lines: deque[str] = deque(maxlen=_KEPT)
        """Last lines of its output, without progress bars."""
        self.progress: Progress | None = None
        """Newest state of its progress bar; None without one."""
        self.is_interrupted = False
        """True if it was asked to end."""

    async def run(self) -> int:
        """Run the program to its end, and return its exit code.

        Call it in a thread that lives as long as the program may.

        Raises:
            OSError: If it cannot be started.
        """
        # Without a buffer, so that the lines come when they are written.
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TQDM_MININTERVAL": "0.5"}
        environment.pop("TQDM_DISABLE", None)
        self._process = process = await asyncio.create_subprocess_exec(
            *self._arguments,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C in the terminal is for the server, which then ends the program.
            start_new_session=True,
            preexec_fn=_begin,
        )
        reading = asyncio.create_task(self._read(process))
        # asyncio's wait() ends only when nobody holds the output any more, also none of those that
        # the program has started, and left behind when it was killed.
        while process.returncode is None:
            await asyncio.sleep(_LOOK)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await reading
        return process.returncode

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Take the output to its end."""
        assert process.stdout is not None
        rest = b""
        while data := await process.stdout.read(_CHUNK):
            *lines, rest = re.split(rb"[\r\n]", rest + data)
            for line in lines:
                self._take(line)
            rest = rest[:_CHUNK]
        self._take(rest)

    def _take(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()[:LONGEST_LINE]
        if bar := _BAR.search(text):
            done, total, elapsed, left, detail = bar.groups("")
            self.progress = Progress(int(done), int(total), elapsed, left, detail)
        elif text:
            self.lines.append("".join(sign if sign.isprintable() else "?" for sign in text))

    def interrupt(self) -> None:
        """Ask the program to end, as Ctrl-C does."""
        self.is_interrupted = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)

    async def end(self) -> None:
        """End the program and what it has started, in a few seconds."""
        process = self._process
        if process is None:
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                if number is signal.SIGKILL:
                    os.killpg(process.pid, number)
                else:
                    process.send_signal(number)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), _PATIENCE)
