"""The terminal that a node was started from: single keys, and a line of status."""

from __future__ import annotations

import os
import re
import select
import termios
import time
import tty
from contextlib import suppress

# What terminals send for keys without a character of their own (ECMA-48, xterm).
_SEQUENCES = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[5~": "page_up",
    b"\x1b[6~": "page_down",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b" ": "space",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "backspace",
    b"\x1b": "escape",
}
# A key is a character or a whole sequence, also one that has no name here: of Ctrl+Down, ESC[1;5B,
# nothing may be left over that is a key of its own. ESC ESC is Alt with a key; ESC[[ is Linux's.
_KEY = re.compile(rb"\x1b+(?:\[\[.|\[[0-?]*[ -/]*[@-~]?|O.|.)?|.", re.DOTALL)
_INCOMPLETE = re.compile(rb"\x1b+(?:\[\[|\[[0-?]*[ -/]*|O)?\Z")
# The rest of a sequence comes within so many seconds; else escape was pressed alone.
_PATIENCE = 0.05
_TERMINAL = "/dev/tty"


class Terminal:
    """Keys as they are pressed, without enter and without echo, until it is closed.

    It speaks to the controlling terminal and not to stdin, which `ros2 launch` keeps from its
    nodes.
    """

    def __init__(self, path: str = _TERMINAL) -> None:
        """Opens the terminal.

        Raises:
            OSError: If there is none, or this process is in its background.
        """
        # A window that takes nothing, or a line that hangs, must not stop whoever writes.
        self._file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            if path == _TERMINAL and os.tcgetpgrp(self._file) != os.getpgrp():
                raise OSError("the process is in the background of its terminal")
            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)
            self._disarm()
        except (OSError, termios.error) as error:
            os.close(self._file)
            raise OSError(str(error)) from None
        self._status = ""
        self._begun, self._read_at = b"", 0.0

    def _disarm(self) -> None:
        """No key but Ctrl-C stops the process, or what it prints, without its saying so."""
        settings = termios.tcgetattr(self._file)
        settings[0] &= ~termios.IXON
        for key in (termios.VSUSP, termios.VQUIT):
            settings[6][key] = b"\x00"
        termios.tcsetattr(self._file, termios.TCSANOW, settings)

    def keys(self) -> list[str]:
        """The keys pressed since the last call: a character, or up, space, enter and so on."""
        data = b""
        while select.select([self._file], [], [], 0.0)[0]:
            with suppress(OSError):
                read = os.read(self._file, 1024)
                data += read
                if read:
                    continue
            break  # the terminal is gone
        now = time.monotonic()
        if data:
            self._read_at = now
        data = self._begun + data
        begun = _INCOMPLETE.search(data)
        waits = begun is not None and now - self._read_at < _PATIENCE
        self._begun = begun.group() if begun is not None and waits else b""
        return _names(data.removesuffix(self._begun))

    def say(self, text: str) -> None:
        """Print a line above the status."""
        self._write(f"\r\x1b[K{text}\n{self._status}")

    def show(self, status: str) -> None:
        """Replace the line of status, cut to the terminal's width."""
        with suppress(OSError):
            # Some terminals don't tell their size and say 0.
            status = status[: max(0, os.get_terminal_size(self._file).columns - 1) or None]
        if status != self._status:
            self._status = status
            self._write(f"\r\x1b[K{status}")

    def close(self) -> None:
        """Give the terminal back as it was; twice is as once."""
        if self._file < 0:
            return
        if self._status:
            self._write("\n")
        with suppress(termios.error):
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
        os.close(self._file)
        self._file = -1

    def _write(self, text: str) -> None:
        with suppress(OSError):  # a window that was closed must not end the node
            os.write(self._file, text.encode())


def open_terminal() -> Terminal | None:
    """The terminal, if there is one and this process is in its foreground."""
    try:
        return Terminal()
    except OSError:
        return None


def _names(data: bytes) -> list[str]:
    keys = []
    for key in _KEY.findall(data):
        if name := _SEQUENCES.get(key):
            keys.append(name)
        elif key.isascii() and key.decode().isprintable():
            keys.append(key.decode())
    return keys
