"""Terminal of a node: single keys as input, and a status line or a whole screen."""

from __future__ import annotations

import os
import re
import select
import termios
import time
import tty
from collections.abc import Sequence
from contextlib import suppress

# Escape sequences of keys without a character of their own (ECMA-48, xterm).
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
# A key is a character or a whole sequence, also a sequence without a name here: for Ctrl+Down,
# ESC[1;5B, no part may remain that is a key itself. ESC ESC is Alt with a key; ESC[[ is the Linux
# console.
_KEY = re.compile(rb"\x1b+(?:\[\[.|\[[0-?]*[ -/]*[@-~]?|O.|.)?|.", re.DOTALL)
_INCOMPLETE = re.compile(rb"\x1b+(?:\[\[|\[[0-?]*[ -/]*|O)?\Z")
# Longest time until the rest of a sequence, s; otherwise the escape key was pressed alone.
_PATIENCE = 0.05
_TERMINAL = "/dev/tty"
# Private modes of xterm: the other screen without cursor and line wrapping, and back.
_OPEN_SCREEN, _CLOSE_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
# Time until everything is drawn again, s: something else may have written to the terminal.
_REDRAW = 1.0
_USUAL_SIZE = (80, 24)


class Terminal:
    """Reads keys as they are pressed, without enter and without echo, until it is closed.

    It uses the controlling terminal and not stdin, because `ros2 launch` doesn't connect stdin to
    its nodes.
    """

    def __init__(self, path: str = _TERMINAL) -> None:
        """Open the terminal.

        Raises:
            OSError: If there is none, or this process is in its background.
        """
        # A window that accepts no data, or a connection that hangs, must not block the writer.
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
        self._drawn: dict[int, str] = {}
        self._is_open, self._redrawn_at = False, 0.0

    def _disarm(self) -> None:
        """Disable the keys, other than Ctrl-C, that stop the process or its output."""
        settings = termios.tcgetattr(self._file)
        settings[0] &= ~termios.IXON
        for key in (termios.VSUSP, termios.VQUIT):
            settings[6][key] = b"\x00"
        termios.tcsetattr(self._file, termios.TCSANOW, settings)

    def keys(self) -> list[str]:
        """Keys pressed since the last call: a character, or a name such as up, space or enter."""
        data = b""
        while select.select([self._file], [], [], 0.0)[0]:
            with suppress(OSError):
                read = os.read(self._file, 1024)
                data += read
                if read:
                    continue
            break  # the terminal is closed
        now = time.monotonic()
        if data:
            self._read_at = now
        data = self._begun + data
        begun = _INCOMPLETE.search(data)
        waits = begun is not None and now - self._read_at < _PATIENCE
        self._begun = begun.group() if begun is not None and waits else b""
        return _names(data.removesuffix(self._begun))

    def say(self, text: str) -> None:
        """Print a line above the status line."""
        self._write(f"\r\x1b[K{text}\n{self._status}")

    def show(self, status: str) -> None:
        """Replace the status line, cut to the terminal's width."""
        with suppress(OSError):
            # Some terminals report a size of 0.
            status = status[: max(0, os.get_terminal_size(self._file).columns - 1) or None]
        if status != self._status:
            self._status = status
            self._write(f"\r\x1b[K{status}")

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows; 80 and 24 if the terminal does not know them."""
        with suppress(OSError):
            size = os.get_terminal_size(self._file)
            if size.columns > 0 and size.lines > 0:
                return size.columns, size.lines
        return _USUAL_SIZE

    def draw(self, lines: Sequence[str]) -> None:
        """Show lines on a screen of their own, from its top; the first call opens it.

        Only lines that changed are written. What a slow connection does not take now is written
        with the next call.

        Args:
            lines: One for each row, with their styles.
        """
        now = time.monotonic()
        text = ""
        if len(lines) != len(self._drawn):
            text = "\x1b[2J" if self._is_open else _OPEN_SCREEN
        if text or now - self._redrawn_at > _REDRAW:
            self._drawn, self._redrawn_at = {}, now
        for row, line in enumerate(lines):
            if self._drawn.get(row) != line:
                text += f"\x1b[{row + 1}H\x1b[K{line}"
                self._drawn[row] = line
        if text and self._write(text):
            self._is_open = True
        elif text:
            self._drawn = {}

    def close(self) -> None:
        """Restore the terminal; a second call has no effect."""
        if self._file < 0:
            return
        if self._redrawn_at:
            self._write(_CLOSE_SCREEN)
        if self._status:
            self._write("\n")
        with suppress(termios.error):
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
        os.close(self._file)
        self._file = -1

    def _write(self, text: str) -> bool:
        """Write what the terminal takes without waiting; True if that is everything."""
        data = text.encode(errors="replace")
        with suppress(OSError):  # a closed window must not end the node
            return os.write(self._file, data) == len(data)
        return False


def open_terminal() -> Terminal | None:
    """Terminal, if there is one and this process is in its foreground; otherwise None."""
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
