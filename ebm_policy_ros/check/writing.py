"""Text of an interface file, with comments, from what was chosen."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ebm_policy_ros.check.draft import ActionDraft
from ebm_policy_ros.check.survey import Sensor
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.messages.image_shapes import image_shape
from ebm_policy_ros.util.yaml_file import parse_yaml

# Height of the pictures that a policy sees, and the unit of their width, pixels.
_HEIGHT, _UNIT = 96, 8
_DEPTH = [0.2, 2.0]
# Periods of a stream that its samples may be old, and the unit of that age, s.
_PERIODS, _AGE = 3.0, 0.05
# Text that needs no quotes in YAML.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.-]*")
# Column of the comments, and the longest line.
_WIDTH, _LONGEST = 33, 90


def write_interface(path: Path, text: str) -> Interface:
    """Write a new file, after a check that it is a valid interface.

    Raises:
        FileExistsError: If there is such a file; nothing is overwritten.
        ValueError: If the text is no valid interface.
    """
    interface = interface_from_dict(parse_yaml(text), str(path))
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    return interface


def interface_text(
    name: str, rate: float, cameras: Sequence[Sensor], numeric: Sequence[Sensor],
    action: ActionDraft, continuous: Sequence[str],
) -> str:  # fmt: skip
    """Interface file.

    Args:
        name: Name of the robot and task.
        rate: Rate of decisions, Hz.
        cameras: Chosen cameras.
        numeric: Chosen joints, poses and wrenches.
        action: Action.
        continuous: Joints that turn without end.
    """
    names = _named(cameras, numeric)
    lines = [
        "# Made by make_interface from the topics of a running robot; correct what was guessed.",
        "# docs/reference/interface.md explains every key, and check_robot compares the two.",
        _line(0, "name", name),
        _line(0, "rate", rate, "decisions per second, Hz"),
        "",
        "observation:",
    ]
    for key, sensor in names.items():
        lines += [f"  {_dump(key)}:", *_stream(sensor, continuous)]
    lines += ["", "action:", *_action(action, names)]
    box = action.workspace
    if box is not None and action.tool is not None:
        lines += [
            "",
            f"{'workspace:':<{_WIDTH - 1}} # box that the tool must not leave, m; measure yours",
            _line(2, "stream", _key(names, action.tool)),
            _line(2, "fields", ["x", "y", "z"]),
            _line(2, "low", list(box[0])),
            _line(2, "high", list(box[1])),
        ]
    return "\n".join(lines) + "\n"


def _named(cameras: Iterable[Sensor], numeric: Iterable[Sensor]) -> dict[str, Sensor]:
    """Streams by name: camera, joints, tool, wrench, with a number from the second one on."""
    found: dict[str, Sensor] = {}
    for sensor in (*cameras, *numeric):
        kind = "camera" if sensor.is_camera else "wrench"
        kind = "joints" if sensor.is_joints else "tool" if sensor.is_pose else kind
        count = sum(name.partition("_")[0] == kind for name in found)
        found[f"{kind}_{count + 1}" if count else kind] = sensor
    return found


def _key(names: dict[str, Sensor], wanted: Sensor) -> str:
    return next(name for name, sensor in names.items() if sensor is wanted)


def _stream(sensor: Sensor, continuous: Sequence[str]) -> list[str]:
    lines = [_line(4, "topic", sensor.topic), _line(4, "type", sensor.type)]
    if sensor.is_camera:
        height, width = image_shape(sensor.message) or (3, 4)
        seen = max(_UNIT, round(_HEIGHT * width / height / _UNIT) * _UNIT)
        about = f"height, width as the policy sees it; it sends {width}x{height}"
        lines.append(_line(4, "size", [_HEIGHT, seen], about))
        if sensor.is_depth:
            lines.append(_line(4, "depth", _DEPTH, "nearest and farthest distance, m"))
    elif sensor.is_joints:
        lines.append(_line(4, "names", list(sensor.joints), "all that came; leave out any"))
        lines.append(_line(4, "fields", ["position"], "rad; also velocity, effort"))
        if endless := [name for name in sensor.joints if name in continuous]:
            lines.append(_line(4, "continuous", endless))
    else:
        lines.append(_line(4, "frame_id", sensor.message.header.frame_id))
        if sensor.is_pose:
            fields = ["x", "y", "z", "qx", "qy", "qz", "qw"]
            lines.append(_line(4, "fields", fields, "m"))
    age = max(2, math.ceil((_PERIODS / sensor.rate + max(0.0, sensor.delay)) / _AGE)) * _AGE
    lines.append(_line(4, "max_age", round(age, 3), "oldest sample that may be used, s"))
    about = f"half of the {sensor.rate:.1f} Hz that came, or less"
    lines.append(_line(4, "min_rate", _rounded_down(sensor.rate / 2), about))
    return lines


def _rounded_down(rate: float) -> float:
    """Rate with two digits, and not above it."""
    unit: float = 10.0 ** (math.floor(math.log10(rate)) - 1)
    return round(math.floor(rate / unit + 1e-9) * unit, 6)


def _action(action: ActionDraft, names: dict[str, Sensor]) -> list[str]:
    command = action.command
    listeners = ", ".join(command.listeners)
    lines = [
        _line(2, "topic", command.topic, f"{_plain(listeners)} listens"),
        _line(2, "type", command.type),
    ]
    if command.quantity:
        about = "GUESSED: the controller has to take it (its parameter interface_name)"
        lines.append(_line(2, "quantity", command.quantity, about))
    if action.frame_id:
        guess = "guessed; the controller's" if action.measured is None else "of the measured tool"
        lines.append(_line(2, "frame_id", action.frame_id, guess))
    order = ""
    if not command.names_joints:
        order = "ORDER GUESSED: a command has no names; take that of the controller (joints)"
    lines.append(_line(2, "fields", list(action.fields), order))
    if action.fixed:
        about = "orientation when this file was made"
        lines.append(_line(2, "fixed", action.fixed, about))
    lines += [
        _line(2, "unit", action.unit, "of each field" if "," in action.unit else ""),
        _line(2, "low", list(action.low), action.reason),
        _line(2, "high", list(action.high)),
    ]
    if action.max_velocity is not None:
        lines.append(_line(2, "max_velocity", list(action.max_velocity), "unit/s"))
        lines.append(_line(2, "lag", 0.0, "s behind a command; measure yours"))
    if action.max_acceleration is not None:
        lines.append(_line(2, "max_acceleration", list(action.max_acceleration)))
    if action.measured is not None:
        lines.append(_line(2, "measured", _key(names, action.measured)))
    else:
        lines.append(
            "  # measured: no pose of the tool is published; without it no acceleration is"
        )
        lines.append("  # limited, there is no workspace, and check_robot --move measures nothing")
    return lines


def _line(indent: int, key: str, value: Any, comment: str = "") -> str:
    """Line of a key, or one line for each value of a long list."""
    blank = " " * indent
    text = f"{blank}{key}: {_dump(value)}"
    if isinstance(value, list) and len(text) > _LONGEST:
        items = "".join(f"\n{blank}  - {_dump(item)}" for item in value)
        head = f"{blank}{key}:"
        return (f"{head:<{_WIDTH - 1}} # {comment}" if comment else head) + items
    return f"{text:<{_WIDTH - 1}} # {comment}" if comment else text


def _dump(value: Any) -> str:
    """Value in one line of YAML; names of topics and joints come from the network."""
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and parse_yaml(value) == value
        return value if is_plain else json.dumps(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_dump, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_dump(k)}: {_dump(v)}' for k, v in value.items())}}}"
    return repr(value)


def _plain(text: str) -> str:
    """Text for a comment."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
