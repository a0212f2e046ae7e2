"""Screen of a terminal, as far as the nodes' output needs one."""

from __future__ import annotations

import re

_PIECE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|([^\x1b]+)")


class TextScreen:
    """Lines that a person would read, after everything that was written to the terminal."""

    def __init__(self) -> None:
        self.lines: dict[int, str] = {}
        self.is_open = False
        self._row = 1
        self._begun = ""

    def feed(self, text: str) -> None:
        self._begun += text
        end = 0
        for piece in _PIECE.finditer(self._begun):
            assert piece.start() == end, f"unexpected {self._begun[end:]!r}"
            end = piece.end()
            self._take(*piece.groups())
        self._begun = self._begun[end:]

    def _take(self, values: str | None, command: str | None, text: str | None) -> None:
        if text is not None:
            self.lines[self._row] = self.lines.get(self._row, "") + text
        elif command == "H":
            self._row = int(values or 1)
            self.lines[self._row] = ""
        elif command == "J":
            self.lines = {}
        elif values == "?1049":
            self.is_open = command == "h"
        else:
            assert command is not None and command in "mKhl", f"unexpected {values}{command}"

    @property
    def text(self) -> str:
        return "\n".join(self.lines[row].rstrip() for row in sorted(self.lines))
