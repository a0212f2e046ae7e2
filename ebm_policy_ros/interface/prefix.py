"""Prefix of an arm: it distinguishes joints and frames of several arms of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ebm_policy_ros.interface.command_types import find_command_type

# Frames common to all arms: they get no prefix.
_SHARED = ("", "world", "map")
_OF_FRAMES = ("frame_id", "child_frame_id")
_OF_JOINTS = ("names", "continuous")


def with_prefix(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Add a prefix to the joints and frames in the plain values of an interface."""
    return _renamed(values, lambda name: prefix + name)


def without_prefix(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Remove a prefix from the joints and frames: the inverse of `with_prefix`."""
    return _renamed(values, lambda name: name.removeprefix(prefix))


def _renamed(values: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    found = dict(values)
    streams = found.get("observation")
    if isinstance(streams, Mapping):
        found["observation"] = {name: _stream(s, rename) for name, s in streams.items()}
    action = found.get("action")
    if isinstance(action, Mapping) and isinstance(action.get("parts"), Mapping):
        renamed = {
            name: _action(part, rename) if isinstance(part, Mapping) else part
            for name, part in action["parts"].items()
        }
        found["action"] = {**action, "parts": renamed}
    elif isinstance(action, Mapping):
        found["action"] = _action(action, rename)
    return found


def _stream(values: Any, rename: Callable[[str], str]) -> Any:
    if not isinstance(values, Mapping):
        return values
    renamed = {key: _all(values[key], rename) for key in _OF_JOINTS if key in values}
    projection = values.get("projection")
    if isinstance(projection, Mapping) and isinstance(projection.get("matrix"), Mapping):
        matrix = {_in_frame(frame, rename): m for frame, m in projection["matrix"].items()}
        renamed["projection"] = {**projection, "matrix": matrix}
    return {**values, **renamed, **_frame(values, rename)}


def _action(values: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    found = {**values, **_frame(values, rename)}
    if "fields" in values and _names_joints(values.get("type")):
        found["fields"] = _all(values["fields"], rename)
    gripper = values.get("gripper")
    if isinstance(gripper, Mapping) and isinstance(gripper.get("name"), str):
        found["gripper"] = {**gripper, "name": rename(gripper["name"])}
    return found


def _names_joints(command_type: Any) -> bool:
    """True if the fields of an action are joints; an unknown type is refused by the checks."""
    try:
        return not find_command_type(command_type).FIELDS
    except ValueError:
        return False


def _frame(values: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    return {key: _in_frame(values[key], rename) for key in _OF_FRAMES if key in values}


def _in_frame(name: Any, rename: Callable[[str], str]) -> Any:
    """Rename a frame, unless all arms share it."""
    return name if not isinstance(name, str) or name in _SHARED else rename(name)


def _all(names: Any, rename: Callable[[str], str]) -> Any:
    """Rename the names in a list; other values stay as they are, and the checks refuse them."""
    if not isinstance(names, (list, tuple)):
        return names
    return [rename(name) if isinstance(name, str) else name for name in names]
