"""Conversion of bags to episodes, with the same ObservationBuffer as on the robot."""

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
from ebm_policy_ros.messages.execution import TYPE
from ebm_policy_ros.messages.image_shapes import ImageShapes
from ebm_policy_ros.training.data.episode_builder import ClockNeeded, EpisodeBuilder, Unordered
from ebm_policy_ros.training.data.execution import Execution, recorded_topic
from ebm_policy_ros.training.data.frame_sizes import Shapes
from ebm_policy_ros.training.data.timeline import (
    CLOCK,
    CLOCK_TYPE,
    StreamMetrics,
    static_topics,
    wanted_topics,
)
from ebm_policy_ros.util.geometry import follow
from ebm_policy_ros.util.quoting import LONGEST_REFUSAL, cut
from ebm_policy_ros.util.yaml_file import parse_json


@dataclass(frozen=True)
class Episode:
    """Demonstration as arrays at the interface's rate; M steps."""

    bag: Path
    outcome: str
    """Outcome: success, failure or unknown."""
    observations: dict[str, npt.NDArray[Any]]
    """Stream name -> (M, T, ...), as from `ObservationBuffer`."""
    actions: npt.NDArray[np.float32]
    """Actions in the interface's units, shape (M, H, D)."""
    times_ns: npt.NDArray[np.int64]
    """Time of each step, nanoseconds, shape (M,)."""
    notes: tuple[str, ...] = ()
    """Problems found in the bag, one line each."""
    jumps: tuple[str, ...] = ()
    """Notes about jumps of the arm, which split the episode."""
    streams: Mapping[str, StreamMetrics] = field(default_factory=dict)
    """Message statistics of each topic of the interface."""
    shapes: Shapes = field(default_factory=dict)
    """Sizes of the frames of each camera."""
    differences: tuple[str, ...] = ()
    """Differences of the interface that it was recorded with, if they were looked for."""
    execution: Execution | None = None
    """Execution of a policy that it is of; None for a demonstration."""

    @property
    def corrections(self) -> npt.NDArray[np.bool_]:
        """True for a step that a person commanded in an execution, shape (M,)."""
        if self.execution is None:
            return np.zeros(len(self.times_ns), np.bool_)
        return self.execution.corrected

    def observation(self, step: int) -> dict[str, npt.NDArray[Any]]:
        """Observation of a step, as `Policy.decide` takes it."""
        return {name: values[step] for name, values in self.observations.items()}

    def pieces(self, period_ns: int) -> list[slice]:
        """Runs of steps without a gap, in order."""
        cuts = np.flatnonzero(np.diff(self.times_ns) != period_ns) + 1
        ends = [0, *cuts.tolist(), len(self.times_ns)]
        return [slice(*pair) for pair in pairwise(ends)]


class NothingCorrected(BagError):
    """An execution of a policy that gives nothing to learn from."""

    def __init__(self, path: Path, reason: str, notes: tuple[str, ...]) -> None:
        """Join a reason and the notes about the bag, which stay available."""
        super().__init__(cut("; ".join([f"{path}: {reason}", *notes]), LONGEST_REFUSAL))
        self.notes = (f"{reason}; left out", *notes)
        """Notes of one line each, the reason first."""


def read_episode(path: Path, interface: Interface, whole: bool = False) -> Episode:
    """Read one bag as a demonstration.

    Steps are one period apart, from the first command on. The action of a step is the command in
    force in the middle of its period; a command holds until the next one or for the interface's
    `hold`. For a trajectory the action is the value at the end of the period. A longer horizon
    adds the actions of the next periods. A step is used only if every stream was fresh. At a clock
    reset or a jump of the arm the bag is split. Of an execution of a policy, the steps that a
    person commanded are used.

    Args:
        path: The bag: a folder or a single file.
        interface: Topics, rate, ages and sizes.
        whole: True to return the policy's steps of an execution too.

    Raises:
        NothingCorrected: If it is an execution in which no step is learned.
        BagError: If nothing in the bag can be used; the text gives the reason.
    """
    shapes = ImageShapes(interface.observation.values())
    bag, reading = _read(path, interface, shapes)
    steps = reading.steps(not bag.report.cut_off, whole)
    notes = (*bag.report.notes, *reading.notes(), *shapes.notes())
    if not steps and (reason := reading.untaught()):
        raise NothingCorrected(path, reason, notes)
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
        streams={
            topic: clock.metrics()
            for topic, clock in reading.clocks.items()
            if topic in wanted_topics(interface).keys() - static_topics(interface)
        },
        shapes=shapes.seen,
        execution=reading.execution(steps),
    )


def _by_the_shorter_way(
    actions: npt.NDArray[np.float32],
    observations: Mapping[str, npt.NDArray[Any]],
    interface: Interface,
) -> npt.NDArray[np.float32]:
    """Unwrap the continuous joints of actions (M, H, D), starting at their measured angles."""
    if not interface.continuous:
        return actions
    result = actions.copy()
    for part in interface.parts:
        action, turning_fields = part.interface.command, part.interface.continuous
        stream = interface.observation.get(action.measured)
        if not turning_fields or not isinstance(stream, JointStream):
            continue
        turning = dict(zip(stream.continuous, stream.turning, strict=True))
        columns = [turning[action.fields[field]] for field in turning_fields]
        places = observations[action.measured][:, -1, columns].astype(np.float64)
        fields = [part.columns.start + field for field in turning_fields]
        # Unwrap over the steps of a chunk, for the steps of all episodes in parallel.
        chunks = actions[:, :, fields].astype(np.float64).transpose(1, 0, 2)
        result[:, :, fields] = follow(chunks, places).transpose(1, 0, 2)
    return result


def _watched(messages: Iterator[Message], shapes: ImageShapes) -> Iterator[Message]:
    for message in messages:
        shapes.add(message.topic, message.content)
        yield message


def _read(path: Path, interface: Interface, shapes: ImageShapes) -> tuple[Bag, EpisodeBuilder]:
    """Read all messages of a bag; start again if they need sorting or /clock."""
    ordered, has_clock = True, None
    while True:
        bag = Bag(path)
        execution = _execution_of(bag)
        reading = EpisodeBuilder(interface, ordered, has_clock, execution)
        topics = {**wanted_topics(interface), execution: TYPE}
        if has_clock:
            topics[CLOCK] = CLOCK_TYPE
        optional = {execution, *static_topics(interface)}
        messages = _watched(bag.messages(topics, optional), shapes)
        if not ordered:
            # Bag converters may write one topic after the other.
            messages = iter(sorted(messages, key=lambda message: message.received_ns))
        try:
            reading.take_all(messages)
            return bag, reading
        except Unordered:
            ordered = False
        except ClockNeeded:
            has_clock = _has_clock(path)


def _execution_of(bag: Bag) -> str:
    """Topic that an execution has in a bag."""
    try:
        return recorded_topic(bag.custom)
    except (ValueError, TypeError) as error:
        raise BagError(
            f"{bag.path}: the execution noted in it cannot be read ({cut(error)})"
        ) from None


def _has_clock(path: Path) -> bool:
    try:
        return next(Bag(path).messages({CLOCK: CLOCK_TYPE}), None) is not None
    except BagError:
        return False


def read_recorded_interface(path: Path) -> dict[str, Any]:
    """Interface that the bag was recorded with, as plain values; empty if not noted.

    Raises:
        BagError: If the noted interface cannot be read.
    """
    text = Bag(path).custom.get("interface", "{}")
    try:
        return dict(parse_json(text))
    except (ValueError, TypeError) as error:
        raise BagError(
            f"{path}: the interface noted in it cannot be read ({cut(error)})"
        ) from None
