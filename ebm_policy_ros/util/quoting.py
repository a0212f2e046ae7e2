"""Text of strangers in messages of ours: short, and in one line."""

from __future__ import annotations

LONGEST_QUOTE, LONGEST_LINE = 80, 300
LONGEST_REFUSAL = 2_000
"""Characters of a line that lists all that is known of a bag."""


def cut(text: object, longest: int = LONGEST_QUOTE) -> str:
    """A text in one line of at most so many characters; what is left out becomes `...`."""
    # Only the beginning is looked at: a text may have gigabytes.
    line = " ".join(str(text)[: 4 * longest].split())
    line = "".join(sign if sign.isprintable() else "?" for sign in line)
    return line if len(line) <= longest else line[: longest - 3] + "..."


def quote(value: object) -> str:
    """A value as Python writes it, cut."""
    if isinstance(value, (str, bytes)):
        value = value[: 2 * LONGEST_QUOTE]
    try:
        return cut(repr(value))
    except (RecursionError, ValueError):  # too deep, or an integer of too many digits
        return f"a {type(value).__name__} too large to show"
