"""Bags to episodes, through the same ObservationBuffer as on the robot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.messages.commands import read_command, read_gripper
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.observation import Observation, ObservationBuffer, StaleObservation


class BagError(ValueError):
    """A bag that cannot be used; the text names it and says what it lacks."""


@dataclass(frozen=True)
class StreamFacts:
    """How the messages of one topic came."""

    count: int
    rate: float
    """Messages per second, Hz: one over the median gap; 0 of fewer than two."""
    longest_gap: float
    """Between two messages, s."""
    unstamped: int
    """Messages without a stamp, of which the time of receipt counts."""


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


def find_bags(folder: Path) -> list[Path]:
    """Every finished bag below a folder, in order of name.

    Raises:
        BagError: If there is none.
    """
    if not folder.is_dir():
        raise BagError(f"{folder}: no such folder of demonstrations")
    bags = sorted(
        path.parent for path in folder.rglob("metadata.yaml") if ".partial" not in path.parts
    )
    if not bags:
        raise BagError(f"{folder}: no bags in it; record some with record_demos or recorder_node")
    return bags


def read_episode(bag: Path, interface: Interface) -> Episode:
    """Read one bag as a demonstration.

    Steps are one period apart, from the first command on. The action of a step is the first
    command stamped within its period, and those of the next periods for a longer horizon; a step
    counts only if every stream was fresh.

    Args:
        bag: The bag's folder.
        interface: Names the topics, and fixes rate, ages and sizes.

    Raises:
        BagError: If the bag is damaged, lacks a topic or holds no usable step.
    """
    buffer = ObservationBuffer(interface)
    commands, grips = _Commands(), _Commands()
    samples: list[tuple[int, str, Any, int]] = []
    action, gripper = interface.action, interface.action.gripper
    try:
        for topic, message, received_ns in _messages(bag, interface):
            stamp = stamp_ns(message) or received_ns
            if topic == action.topic:
                commands.add(stamp, read_command(message, action))
            elif gripper is not None and topic == gripper.topic:
                grips.add(stamp, np.array([read_gripper(message, gripper)], np.float32))
            else:
                samples.append((stamp, topic, message, received_ns))
        for found, topic in ((commands, action.topic), (grips, gripper.topic if gripper else "")):
            if topic and not found:
                raise BagError(f"{bag}: no command on {topic}; nothing to learn from it")
        samples.sort(key=lambda sample: sample[0])
        if gripper is not None:
            commands.append_columns(grips, interface.period_ns)
        steps = list(_steps(buffer, samples, commands, interface))
    except MessageError as error:
        raise BagError(f"{bag}: {error}") from None
    if not steps:
        raise BagError(f"{bag}: no step at which every stream was fresh")
    return Episode(
        bag=bag,
        outcome=read_outcome(bag),
        observations={
            name: np.stack([observation[name] for _, observation, _ in steps]) for name in buffer
        },
        actions=np.stack([chunk for _, _, chunk in steps]),
        times_ns=np.array([time for time, _, _ in steps], dtype=np.int64),
    )


class _Commands:
    """Commands by their stamps."""

    def __init__(self) -> None:
        self._values: dict[int, npt.NDArray[np.float32]] = {}
        self._stamps: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._values)

    def add(self, stamp: int, values: npt.NDArray[np.float32]) -> None:
        self._values[stamp] = values

    @property
    def stamps(self) -> list[int]:
        """Rising."""
        if len(self._stamps) != len(self._values):
            self._stamps = sorted(self._values)
        return self._stamps

    def first_in(self, time: int, period: int) -> npt.NDArray[np.float32] | None:
        """The first command stamped within a period from `time` on."""
        index = int(np.searchsorted(self.stamps, time))
        if index == len(self.stamps) or self.stamps[index] >= time + period:
            return None
        return self._values[self.stamps[index]]

    def append_columns(self, other: _Commands, period: int) -> None:
        """Add what `other` commands then: its newest before the period's end, else its first."""
        for stamp, values in self._values.items():
            index = max(0, int(np.searchsorted(other.stamps, stamp + period)) - 1)
            newest = other._values[other.stamps[index]]
            self._values[stamp] = np.concatenate((values, newest))

    def chunk(self, time: int, interface: Interface) -> npt.NDArray[np.float32] | None:
        """The actions of a step, (H, D); None if nobody commanded then.

        After the last command a position is held, and a velocity is zero.
        """
        period = interface.period_ns
        rows: list[npt.NDArray[np.float32]] = []
        for number in range(interface.action.horizon):
            found = self.first_in(time + number * period, period)
            if found is None:
                if not rows:
                    return None
                found = rows[-1].copy()
                if interface.action.is_velocity:
                    found[: len(interface.action.fields)] = 0.0
            rows.append(found)
        return np.stack(rows)


def _steps(
    buffer: ObservationBuffer,
    samples: list[tuple[int, str, Any, int]],
    commands: _Commands,
    interface: Interface,
) -> Iterator[tuple[int, Observation, npt.NDArray[np.float32]]]:
    """(time, observation, actions) of each usable step, in order."""
    streams: dict[str, list[str]] = {}
    for name, stream in interface.observation.items():
        streams.setdefault(stream.topic, []).append(name)
    pending = iter(samples)
    sample = next(pending, None)
    for time in range(commands.stamps[0], commands.stamps[-1] + 1, interface.period_ns):
        while sample is not None and sample[0] <= time:
            _, topic, message, received_ns = sample
            for name in streams[topic]:
                buffer.add(name, message, received_ns)
            sample = next(pending, None)
        chunk = commands.chunk(time, interface)
        if chunk is None:
            continue  # nobody commanded during this step
        try:
            yield time, buffer.observe(time), chunk
        except StaleObservation:
            continue


def _messages(bag: Path, interface: Interface) -> Iterator[tuple[str, Any, int]]:
    """(topic as in the interface, message, receive time) of the interface's topics."""
    wanted = {stream.topic: stream.type for stream in interface.observation.values()}
    for command in (interface.action, interface.action.gripper):
        if command is not None:
            wanted[command.topic] = command.type
    try:
        with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
            found = {
                connection.id: topic
                for connection in reader.connections
                for topic, ros_type in wanted.items()
                if _is_topic(connection.topic, topic) and connection.msgtype == ros_type
            }
            for topic in wanted:
                places = {c.topic for c in reader.connections if found.get(c.id) == topic}
                if len(places) > 1:
                    raise BagError(
                        f"{bag}: {topic} may be {' or '.join(sorted(places))}; name it in full in "
                        "the interface"
                    )
            missing = sorted(set(wanted) - set(found.values()))
            if missing:
                present = ", ".join(sorted(reader.topics)) or "none"
                raise BagError(
                    f"{bag}: no {missing[0]} ({wanted[missing[0]]}) among its topics: {present}"
                )
            chosen = [c for c in reader.connections if c.id in found]
            for connection, received_ns, data in reader.messages(connections=chosen):
                message = reader.deserialize(data, connection.msgtype)
                yield found[connection.id], message, received_ns
    except BagError:
        raise
    except Exception as error:
        # A damaged file shows itself as any of the errors of its decoders.
        raise BagError(f"{bag}: cannot be read ({type(error).__name__}: {error})") from None


def _is_topic(recorded: str, topic: str) -> bool:
    """Whether a recorded topic is the interface's; a relative name may be in any namespace."""
    if topic.startswith("/"):
        return recorded == topic
    return f"/{recorded}".endswith(f"/{topic}")


def read_outcome(bag: Path) -> str:
    """What the recorder noted about the episode: success, failure or unknown."""
    return str(_custom_data(bag).get("outcome", "unknown"))


def read_recorded_interface(bag: Path) -> dict[str, Any]:
    """The interface that the bag was recorded with, as plain values; empty if not noted."""
    values = json.loads(_custom_data(bag).get("interface", "{}"))
    return dict(values)


def _custom_data(bag: Path) -> dict[str, str]:
    try:
        metadata = yaml.safe_load((bag / "metadata.yaml").read_text(encoding="utf-8"))
        return dict(metadata["rosbag2_bagfile_information"].get("custom_data") or {})
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise BagError(f"{bag}: metadata.yaml cannot be read ({error})") from None
