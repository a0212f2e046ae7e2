"""Launch arguments that a launch file doesn't have."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path

# `ros2 launch` has them for every launch file.
_EVERYWHERE = ("launch-prefix", "launch-prefix-filter")


class UnknownArgument(ValueError):
    """An argument that a launch file doesn't have; the text names the nearest that it has."""


def refuse_unknown_arguments(file: str, known: Collection[str], command: Sequence[str]) -> None:
    """Refuse arguments on a command line that a launch file doesn't have.

    Launch sets them all the same, and the node would run with its default: a misspelt `policy`
    would move the arm with another one. Where the command line names another launch file, which
    includes this one, its arguments are that one's.

    Args:
        file: Path of the launch file.
        known: Arguments that it declares.
        command: The process's command line, with arguments as `name:=value`.

    Raises:
        UnknownArgument: For the first one.
    """
    if Path(file).name not in (Path(word).name for word in command):
        return
    names = [name for name, given, _ in (word.partition(":=") for word in command) if given]
    for name in names:
        if name in known or name in _EVERYWHERE:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        cure = f"did you mean {near[0]}?" if near else f"it has: {', '.join(sorted(known))}"
        raise UnknownArgument(f"{Path(file).name} has no argument {name}; {cure}")
