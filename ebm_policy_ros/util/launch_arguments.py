"""Check for launch arguments that a launch file does not declare."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ebm_policy_ros.util.quoting import nearest

# Arguments that `ros2 launch` accepts for every launch file.
_EVERYWHERE = ("launch-prefix", "launch-prefix-filter")


class UnknownArgument(ValueError):
    """Undeclared argument of a launch file; the message names the closest declared argument."""


def refuse_unknown_arguments(file: str, known: Collection[str], command: Sequence[str]) -> None:
    """Refuse command line arguments that a launch file does not declare.

    ROS 2 launch accepts them, and the node would then run with its default: a misspelt `policy`
    would move the arm with another policy. If the command line names another launch file that
    includes this one, the arguments belong to that file and are not checked here.

    Args:
        file: Path of the launch file.
        known: Arguments that the launch file declares.
        command: Command line of the process, with arguments as `name:=value`.

    Raises:
        UnknownArgument: If there is an undeclared argument; the message names the first one.
    """
    if Path(file).name not in (Path(word).name for word in command):
        return
    names = [name for name, given, _ in (word.partition(":=") for word in command) if given]
    for name in names:
        if name in known or name in _EVERYWHERE:
            continue
        near = nearest(name, known)
        cure = f"did you mean {near}?" if near else f"it has: {', '.join(sorted(known))}"
        raise UnknownArgument(f"{Path(file).name} has no argument {name}; {cure}")
