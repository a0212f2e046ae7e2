"""Folder of bags: which of them count, and the interface that reads them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ebm_policy_ros.bags.discovery import find_bags
from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import Interface, interface_from_dict, load_interface
from ebm_policy_ros.interface.command_types import find_command_type
from ebm_policy_ros.training.data.dataset import FAILURE
from ebm_policy_ros.training.data.episodes import (
    Episode,
    read_episode,
    read_recorded_interface,
)
from ebm_policy_ros.training.data.exclusion import read_exclusions
from ebm_policy_ros.util.resources import interface_path


@dataclass(frozen=True)
class BagFolder:
    """Bags of a folder, at any depth."""

    path: Path
    bags: tuple[Path, ...]
    """Every bag, sorted."""
    excluded: frozenset[Path]
    """Bags that the exclude list names."""

    @classmethod
    def open(cls, path: Path, exclude: Path | None = None) -> BagFolder:
        """Find the bags of a folder.

        Args:
            path: The folder.
            exclude: File with one line for each bag to leave out, relative to the folder.

        Raises:
            BagError: If there is no bag, or the list cannot be used.
        """
        bags = find_bags(path)
        excluded = read_exclusions(exclude, path, bags) if exclude else frozenset[Path]()
        return cls(path, tuple(bags), excluded)

    @property
    def included(self) -> list[Path]:
        """Bags that are not excluded, sorted."""
        return [bag for bag in self.bags if bag not in self.excluded]

    def counts(self, bag: Path, outcome: str) -> bool:
        """True if a bag with this outcome is a demonstration to learn from."""
        return bag not in self.excluded and outcome != FAILURE

    def interface(self, name: str = "") -> Interface:
        """Load the interface that is named, otherwise the one that most included bags note.

        Raises:
            BagError: If no bag notes one.
            InterfaceError: If it is not valid.
        """
        if name:
            return load_interface(interface_path(name))
        noted: dict[str, Path] = {}
        counts: Counter[str] = Counter()
        for bag in self.included:
            try:
                values = read_recorded_interface(bag)
            except ValueError:
                continue  # problems of the bag are reported when it is read
            if values:
                text = json.dumps(values, sort_keys=True)
                noted.setdefault(text, bag)
                counts[text] += 1
        if not noted:
            raise BagError(f"{self.path}: no bag notes its interface; name one with --interface")
        text, _ = counts.most_common(1)[0]
        return interface_from_dict(json.loads(text), f"{noted[text]}: interface")


def read_demonstration(bag: Path, interface: Interface, whole: bool = False) -> Episode:
    """Read an episode, and compare the interface that it was recorded with.

    Args:
        bag: The bag.
        interface: Topics, rate, ages and sizes.
        whole: True to return the policy's steps of an execution too.

    Raises:
        NothingCorrected: If it is an execution in which no step is learned.
        BagError: If nothing in the bag can be used, or the interface noted in it cannot be read.
    """
    episode = read_episode(bag, interface, whole)
    differences = interface_differences(read_recorded_interface(bag), interface)
    return replace(episode, differences=tuple(differences))


def interface_differences(recorded: Mapping[str, Any], interface: Interface) -> list[str]:
    """Differences of the interface noted in a bag from another one, one line each.

    Args:
        recorded: As from `read_recorded_interface`.
        interface: The other interface.
    """
    if not recorded:
        return []
    for command in interface.commands:  # a type that this has may also be in the bag's
        find_command_type(command.type)
    try:
        return interface_from_dict(recorded, "its interface").differences(interface)
    except ValueError as error:
        return [str(error)]
