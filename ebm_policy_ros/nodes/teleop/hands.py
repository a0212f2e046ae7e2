"""Hands: the input of the operator for each part of an action."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rclpy.node import Node

from ebm_policy_ros.interface import Interface, Part
from ebm_policy_ros.nodes.teleop.devices import (
    InputDevice,
    JoyDevice,
    KeyboardDevice,
    LeaderDevice,
)
from ebm_policy_ros.teleop.keyboard import Key, Keyboard, key_table
from ebm_policy_ros.teleop.mapping import TeleopMapping


class Hand(NamedTuple):
    """Input of the operator for one part of the action."""

    part: Part
    mapping: TeleopMapping
    keys: Sequence[Key]
    keyboard: Keyboard
    source: InputDevice


def chosen_part(interface: Interface, name: str) -> Interface:
    """Interface of the part that is commanded alone; the whole one if none is named.

    Raises:
        ValueError: If there is no such part.
    """
    if not name:
        return interface
    parts = {part.name: part.interface for part in interface.parts if part.name}
    if name not in parts:
        expected = f"one of {', '.join(parts)} or nothing" if parts else "nothing"
        raise ValueError(
            f"part: got {name!r}, expected {expected}: the parts of {interface.name}'s action"
        )
    return parts[name]


def open_hands(
    node: Node,
    interface: Interface,
    values: Mapping[str, Any],
    on_event: Callable[[str], None],
    on_rest: Callable[[Part], None],
) -> list[Hand]:
    """Open the input device for each part.

    Args:
        node: Node that owns the subscriptions.
        interface: Defines the actions.
        values: Parameters of teleop_node.
        on_event: Called with the event of a button.
        on_rest: Called when the motion of a part ends.

    Raises:
        ValueError: If a parameter is invalid.
    """
    begins = tuple(part.field("") for part in interface.parts)
    if strange := [n for n in values["invert"] or () if not n.startswith(begins)]:
        raise ValueError(
            f"invert: got {strange[0]!r}, expected names that begin with {' or '.join(begins)}"
        )
    hands = []
    for part in interface.parts:
        wanted = [name for name in values["invert"] or () if name.startswith(part.field(""))]
        inverted = [name.removeprefix(part.field("")) for name in wanted]
        keys = key_table(part.interface.command, values["source"], len(interface.parts) > 1)
        keyboard = Keyboard(keys, values["key_timeout"])
        mapping = TeleopMapping(part.interface, values["speed"], inverted)
        source = _open_source(node, part, values, keyboard, on_event, on_rest)
        hands.append(Hand(part, mapping, keys, keyboard, source))
    return hands


def _open_source(
    node: Node,
    part: Part,
    values: Mapping[str, Any],
    keyboard: Keyboard,
    on_event: Callable[[str], None],
    on_rest: Callable[[Part], None],
) -> InputDevice:
    if values["source"] == "keyboard":
        return KeyboardDevice(keyboard, values["key_hold"])
    if values["source"] == "leader":
        return LeaderDevice(node, values, part.interface)

    # The devices of all parts get the same messages; only that of the first part acts on the
    # buttons, whichever part is active, so that each press is one event.
    is_first = part.columns.start == 0
    return JoyDevice(
        node,
        values,
        part.interface.command,
        lambda event: on_event(event) if is_first else None,
        lambda: on_rest(part),
    )
