"""Untrusted text in the messages of this package: short, printable and in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

LONGEST_QUOTE, LONGEST_LINE = 80, 300
LONGEST_REFUSAL = 2_000
"""Maximum characters of a long message, such as one that lists the content of a bag."""


def cut(text: object, longest: int = LONGEST_QUOTE) -> str:
    """Text in one line of at most `longest` characters; an omitted end becomes `...`."""
    # Only the beginning is processed: a text may have gigabytes.
    line = " ".join(str(text)[: 4 * longest].split())
    line = "".join(sign if sign.isprintable() else "?" for sign in line)
    return line if len(line) <= longest else line[: longest - 3] + "..."


def quote(value: object) -> str:
    """Representation of a value as Python writes it, shortened by `cut`."""
    if isinstance(value, (str, bytes)):
        value = value[: 2 * LONGEST_QUOTE]
    try:
        return cut(repr(value))
    except (RecursionError, ValueError):  # nested too deep, or an integer with too many digits
        return f"a {type(value).__name__} too large to show"


def nearest(name: object, known: Iterable[str]) -> str:
    """Closest known name to a misspelt one; empty if none is close."""
    # Only the beginning is compared: the time grows with the square of the length.
    return next(iter(difflib.get_close_matches(cut(name), known, n=1)), "")


def suggestion(name: object, known: Iterable[str], prefix: str = "") -> str:
    """End of a message that suggests the closest known name; empty if none is close."""
    near = nearest(name, known)
    return f"; did you mean {prefix}{near}?" if near else ""


def any_of(names: Sequence[str]) -> str:
    """Join names as in "a, b or c"."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
