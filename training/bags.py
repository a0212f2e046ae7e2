"""Bags to episodes, through the same ObservationBuffer as on the robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.quoting import LONGEST_REFUSAL, cut
from ebm_policy_ros.training.clocks import Reading, StreamFacts, Unordered, wanted_topics
from ebm_policy_ros.training.storage.account import BagError
from ebm_policy_ros.training.storage.bag import Bag
from ebm_policy_ros.yaml_file import parse_json


@dataclass(frozen=True)
class Episode:
    """A demonstration as arrays at the interface's rate; M steps."""

    bag: Path
    outcome: str
    """success, failure or unknown."""
    observations: dict[str, npt.NDArray[Any]]
    """Stream name -> (M, T, ...), as `ObservationBuffer` gives them."""
    actions: npt.NDArray[np.float32]
    """Shape (M, H, D), in the interface's units."""
    times_ns: npt.NDArray[np.int64]
    """Shape (M,), time of each step."""
    notes: tuple[str, ...] = ()
    """What was lost or is odd about the bag, one line each."""
    streams: Mapping[str, StreamFacts] = field(default_factory=dict)
    """What the bag has of each topic of the interface."""

    def pieces(self, period_ns: int) -> list[slice]:
        """The runs of steps without a gap between them, in order."""
        cuts = np.flatnonzero(np.diff(self.times_ns) != period_ns) + 1
        ends = [0, *cuts.tolist(), len(self.times_ns)]
        return [slice(*pair) for pair in pairwise(ends)]


def read_episode(path: Path, interface: Interface) -> Episode:
    """Read one bag as a demonstration.

    Steps are one period apart, from the first command on. The action of a step is the command
    stamped nearest to it, within half a period, and those of the next periods for a longer
    horizon; a step counts only if every stream was fresh. Where a clock was set back, the bag is
    read in pieces.

    Args:
        path: The bag: a folder or a single file.
        interface: Names the topics, and fixes rate, ages and sizes.

    Raises:
        BagError: If nothing in the bag can be used; the text says why.
    """
    try:
        bag, reading = Bag(path), Reading(interface)
        reading.take_all(bag.messages(wanted_topics(interface)))
    except Unordered:
        # As who converts bags may write them: one topic after the other.
        bag, reading = Bag(path), Reading(interface, ordered=False)
        messages = bag.messages(wanted_topics(interface))
        reading.take_all(iter(sorted(messages, key=lambda message: message.received_ns)))
    steps = reading.steps(not bag.account.cut_off)
    notes = (*bag.account.notes, *reading.notes())
    if not steps:
        refusal = "; ".join([f"{path}: {reading.problem()}", *notes])
        raise BagError(cut(refusal, LONGEST_REFUSAL))
    return Episode(
        bag=path,
        outcome=bag.custom.get("outcome", "unknown"),
        observations={
            name: np.stack([step.observation[name] for step in steps])
            for name in interface.observation
        },
        actions=np.stack([step.actions for step in steps]),
        times_ns=np.array([step.time_ns for step in steps], dtype=np.int64),
        notes=notes,
        streams={topic: clock.facts() for topic, clock in reading.clocks.items()},
    )


def read_outcome(path: Path) -> str:
    """What the recorder noted about the episode: success, failure or unknown."""
    return Bag(path).custom.get("outcome", "unknown")


def read_recorded_interface(path: Path) -> dict[str, Any]:
    """The interface that the bag was recorded with, as plain values; empty if not noted.

    Raises:
        BagError: If what is noted is none.
    """
    text = Bag(path).custom.get("interface", "{}")
    try:
        return dict(parse_json(text))
    except (ValueError, TypeError) as error:
        raise BagError(
            f"{path}: the interface noted in it cannot be read ({cut(error)})"
        ) from None
