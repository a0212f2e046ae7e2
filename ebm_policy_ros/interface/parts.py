"""Action with parts: several commands, as of two arms, that one policy decides together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from ebm_policy_ros.interface.action import Action, Workspace
from ebm_policy_ros.interface.checks import require

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class PartAction(Action):
    """Command of one part, and the box for its tool."""

    workspace: Workspace | None = None

    @property
    def tool_streams(self) -> set[str]:
        """Streams that tell where the tool of this part is."""
        measured = set() if self.is_joints else {self.measured}
        box = set() if self.workspace is None else {self.workspace.stream}
        return (measured | box) - {""}


@dataclass(frozen=True, kw_only=True)
class CombinedAction:
    """Action of several commands. Its dimensions are those of its parts, one after the other."""

    parts: Mapping[str, PartAction]
    """Commands by the name of the part, in alphabetical order: keys have no other order."""
    horizon: int = 1
    """Number of actions per decision, one period of the rate apart; the same for all parts."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", dict(sorted(self.parts.items())))
        expected = "at least two; a single command is written without parts"
        require(len(self.parts) > 1, "parts", list(self.parts), expected)
        valid = isinstance(self.horizon, int) and self.horizon >= 1
        require(valid, "horizon", self.horizon, ">= 1")
        commands = [c for part in self.parts.values() for c in (part, part.gripper) if c]
        topics = [command.topic.lstrip("/") for command in commands]
        twice = next((topic for topic in topics if topics.count(topic) > 1), "")
        require(not twice, "parts", f"the topic {twice} twice", "a topic for each command")
        self._check_apart()

    def _check_apart(self) -> None:
        """Refuse two parts that are the same arm, which one of them would guard wrongly."""
        parts = self.parts.values()
        joints = [name for part in parts if part.is_joints for name in part.fields]
        twice = next((name for name in joints if joints.count(name) > 1), "")
        require(not twice, "parts", f"the joint {twice} twice", "each joint in one part")
        streams = [name for part in parts for name in part.tool_streams]
        twice = next((name for name in streams if streams.count(name) > 1), "")
        expected = "a stream of its own tool for each part"
        require(not twice, "parts", f"the stream {twice} twice", expected)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the D dimensions: the part's name, a dot, and the name within the part."""
        named = ([f"{name}.{n}" for n in part.names] for name, part in self.parts.items())
        return tuple(chain.from_iterable(named))

    @property
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Minimum and maximum of each of the D dimensions."""
        lows, highs = zip(*(part.bounds for part in self.parts.values()), strict=True)
        return tuple(chain.from_iterable(lows)), tuple(chain.from_iterable(highs))

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each of the D dimensions; empty for a gripper."""
        return tuple(chain.from_iterable(part.units for part in self.parts.values()))

    @property
    def unit(self) -> str:
        """Unit of all parts, or their units."""
        return ", ".join(dict.fromkeys(part.unit for part in self.parts.values()))


def check_part_name(name: object) -> None:
    """Refuse a name that cannot be part of a topic's name."""
    fits = isinstance(name, str) and len(name) < 64 and _NAME.fullmatch(name)
    require(bool(fits), "action.parts", name, "names such as left: letters, digits and _")
    # The proposed commands of a part's gripper have this ending.
    ends = str(name).endswith("_gripper")
    require(not ends, "action.parts", name, "names that don't end in _gripper")
