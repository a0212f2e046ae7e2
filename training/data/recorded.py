"""Interfaces that bags were recorded with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ebm_policy_ros.bags.discovery import find_bags
from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.interface.command_types import find_command_type
from ebm_policy_ros.training.data.episodes import read_recorded_interface
from ebm_policy_ros.training.data.exclusion import read_exclusions


def recorded_interfaces(bags: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """Interface noted in each bag that has one, as plain values."""
    recorded = {}
    for bag in bags:
        try:
            values = read_recorded_interface(bag)
        except ValueError:
            continue  # problems of the bag are reported when it is read
        if values:
            recorded[bag] = values
    return recorded


def usual_interface(folder: Path, recorded: Mapping[Path, dict[str, Any]]) -> Interface:
    """Interface that most bags of a folder were recorded with.

    Raises:
        BagError: If no bag notes one.
        InterfaceError: If it is not valid.
    """
    if not recorded:
        raise BagError(f"{folder}: no bag notes its interface; name one with --interface")
    texts = {bag: json.dumps(values, sort_keys=True) for bag, values in recorded.items()}
    usual, _ = Counter(texts.values()).most_common(1)[0]
    first = next(bag for bag, text in texts.items() if text == usual)
    return interface_from_dict(recorded[first], f"{first}: interface")


def recorded_interface(folder: Path, exclude: Path | None = None) -> Interface:
    """Interface that most bags of a folder were recorded with, without the excluded ones."""
    bags = find_bags(folder)
    excluded = read_exclusions(exclude, folder, bags) if exclude else ()
    return usual_interface(folder, recorded_interfaces([b for b in bags if b not in excluded]))


def interface_differences(recorded: Mapping[str, Any], interface: Interface) -> list[str]:
    """Differences of the interface noted in a bag from another one, one line each.

    Args:
        recorded: As from `read_recorded_interface`.
        interface: The other interface.
    """
    if not recorded:
        return []
    for command in (interface.action, interface.action.gripper):
        if command is not None:  # a type that the other interface has may also be in the bag's
            find_command_type(command.type)
    try:
        return interface_from_dict(recorded, "its interface").differences(interface)
    except ValueError as error:
        return [str(error)]
