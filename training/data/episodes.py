"""Bags to episodes, through the same ObservationBuffer as on the robot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.bags.bag import Bag, Message
from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import Interface, JointStream
from ebm_policy_ros.messages.image_shapes import ImageShapes
from ebm_policy_ros.training.data.episode_builder import ClockNeeded, EpisodeBuilder, Unordered
from ebm_policy_ros.training.data.frame_sizes import Shapes
from ebm_policy_ros.training.data.timeline import CLOCK, CLOCK_TYPE, StreamMetrics, wanted_topics
from ebm_policy_ros.util.geometry import follow
from ebm_policy_ros.util.quoting import LONGEST_REFUSAL, cut
from ebm_policy_ros.util.yaml_file import parse_json


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
    jumps: tuple[str, ...] = ()
    """Those of the notes that tell of a jump of the arm, which cuts the episode."""
    streams: Mapping[str, StreamMetrics] = field(default_factory=dict)
    """What the bag has of each topic of the interface."""
    shapes: Shapes = field(default_factory=dict)
    """What the frames of each camera are."""

    def pieces(self, period_ns: int) -> list[slice]:
        """The runs of steps without a gap between them, in order."""
        cuts = np.flatnonzero(np.diff(self.times_ns) != period_ns) + 1
        ends = [0, *cuts.tolist(), len(self.times_ns)]
        return [slice(*pair) for pair in pairwise(ends)]


def read_episode(path: Path, interface: Interface) -> Episode:
    """Read one bag as a demonstration.

    Steps are one period apart, from the first command on. The action of a step is the command in
    force in the middle of its period, which holds until the next one or for the interface's
    `hold`; of a trajectory, where to be at the end of the period. A longer horizon has those of
    the next periods. A step counts only if every stream was fresh. Where a clock was set back or
    the arm jumps, the bag is read in pieces.

    Args:
        path: The bag: a folder or a single file.
        interface: Names the topics, and fixes rate, ages and sizes.

    Raises:
        BagError: If nothing in the bag can be used; the text says why.
    """
    shapes = ImageShapes(interface.observation.values())
    bag, reading = _read(path, interface, shapes)
    steps = reading.steps(not bag.account.cut_off)
    notes = (*bag.account.notes, *reading.notes(), *shapes.notes())
    if not steps:
        refusal = "; ".join([f"{path}: {reading.problem()}", *notes])
        raise BagError(cut(refusal, LONGEST_REFUSAL))
    observations = {
        name: np.stack([step.observation[name] for step in steps])
        for name in interface.observation
    }
    actions = np.stack([step.actions for step in steps])
    return Episode(
        bag=path,
        outcome=bag.custom.get("outcome", "unknown"),
        observations=observations,
        actions=_by_the_shorter_way(actions, observations, interface),
        times_ns=np.array([step.time_ns for step in steps], dtype=np.int64),
        notes=notes,
        jumps=reading.jumps(),
        streams={topic: clock.facts() for topic, clock in reading.clocks.items()},
        shapes=shapes.seen,
    )


def _by_the_shorter_way(
    actions: npt.NDArray[np.float32],
    observations: Mapping[str, npt.NDArray[Any]],
    interface: Interface,
) -> npt.NDArray[np.float32]:
    """Actions (M, H, D) whose continuous joints go on from where they are measured."""
    fields = interface.continuous
    if not fields:
        return actions
    stream = interface.observation[interface.action.measured]
    assert isinstance(stream, JointStream)
    wanted = [interface.action.fields[field] for field in fields]
    turning = dict(zip(stream.continuous, stream.turning, strict=True))
    columns = [turning[name] for name in wanted]
    places = observations[interface.action.measured][:, -1, columns].astype(np.float64)
    result = actions.copy()
    # Over the steps of a chunk; all episodes' steps beside each other.
    chunks = actions[:, :, fields].astype(np.float64).transpose(1, 0, 2)
    result[:, :, fields] = follow(chunks, places).transpose(1, 0, 2)
    return result


def _watched(messages: Iterator[Message], shapes: ImageShapes) -> Iterator[Message]:
    for message in messages:
        shapes.add(message.topic, message.content)
        yield message


def _read(path: Path, interface: Interface, shapes: ImageShapes) -> tuple[Bag, EpisodeBuilder]:
    """All messages of a bag; what they need to be put in order shows only on the way."""
    ordered, has_clock = True, None
    while True:
        bag, reading = Bag(path), EpisodeBuilder(interface, ordered, has_clock)
        topics = wanted_topics(interface)
        if has_clock:
            topics[CLOCK] = CLOCK_TYPE
        messages = _watched(bag.messages(topics), shapes)
        if not ordered:
            # As who converts bags may write them: one topic after the other.
            messages = iter(sorted(messages, key=lambda message: message.received_ns))
        try:
            reading.take_all(messages)
            return bag, reading
        except Unordered:
            ordered = False
        except ClockNeeded:
            has_clock = _has_clock(path)


def _has_clock(path: Path) -> bool:
    try:
        return next(Bag(path).messages({CLOCK: CLOCK_TYPE}), None) is not None
    except BagError:
        return False


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
