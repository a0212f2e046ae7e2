"""Limits of joints in a robot description (URDF), which may be untrusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import cut
from ebm_policy_ros.util.yaml_file import UnreadableFile

_MOVING = ("revolute", "continuous", "prismatic")


@dataclass(frozen=True)
class JointLimits:
    """Limits of one joint, in rad or m; infinite where the description gives none."""

    lower: float
    upper: float
    velocity: float
    is_continuous: bool
    is_length: bool = False
    """True for a joint that slides, whose limits are in m."""


class _Builder(ElementTree.TreeBuilder):
    """Builder that refuses a document type: only one can define entities, which may grow."""

    def doctype(self, name: str, pubid: Any, system: Any) -> None:
        raise UnreadableFile("it has a DOCTYPE, which a robot description does not need")


def read_urdf(path: Path) -> dict[str, JointLimits]:
    """Read the limits of the joints that move from a file.

    Raises:
        ValueError: If the file is too large or not a robot description. The message names it.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(bounds.LARGEST_URDF + 1)
    try:
        return parse_urdf(data)
    except UnreadableFile as error:
        raise UnreadableFile(f"{path}: {error}") from None


def parse_urdf(text: str | bytes) -> dict[str, JointLimits]:
    """Limits of the joints that move, by name.

    Raises:
        UnreadableFile: If the text is too large, not XML or not a robot description.
    """
    if len(text) > bounds.LARGEST_URDF:
        raise UnreadableFile(f"larger than {bounds.LARGEST_URDF:,} bytes")
    parser = ElementTree.XMLParser(target=_Builder())
    try:
        parser.feed(text)
        robot = parser.close()
    except UnreadableFile:
        raise
    # An encoding that nobody knows, or characters that have none.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UnreadableFile(f"not XML ({cut(error)}); run xacro on a .xacro first") from None
    if robot.tag != "robot":
        raise UnreadableFile(f"got <{cut(robot.tag)}>, expected <robot>, a URDF")
    found = {}
    for joint in robot.findall("joint"):
        if joint.get("type") in _MOVING:
            found[joint.get("name", "")] = _limits(joint)
    return found


def _limits(joint: Any) -> JointLimits:
    limit = joint.find("limit")
    given = {} if limit is None else limit.attrib
    is_continuous = joint.get("type") == "continuous"
    lower, upper = -math.inf, math.inf
    if not is_continuous:
        # The URDF standard has 0 where a bound of a joint with bounds is left out.
        lower, upper = _number(given, "lower", 0.0), _number(given, "upper", 0.0)
    is_length = joint.get("type") == "prismatic"
    velocity = _number(given, "velocity", math.inf)
    return JointLimits(lower, upper, velocity, is_continuous, is_length)


def _number(given: Any, key: str, default: float) -> float:
    text = given.get(key)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise UnreadableFile(f"limit {key}: got {cut(text)!r}, expected a number")
    return value
