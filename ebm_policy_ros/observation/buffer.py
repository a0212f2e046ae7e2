"""From stamped messages to the observation at a time: the same code on the robot and on bags."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Interface, JointStream, Stream
from ebm_policy_ros.messages.image_shapes import ImageShapes
from ebm_policy_ros.messages.streams import decode, parts_of, stamp_ns
from ebm_policy_ros.util.geometry import follow, wrap
from ebm_policy_ros.util.quoting import cut

Observation = dict[str, npt.NDArray[Any]]
"""Stream name -> (T, H, W, 3) uint8 or (T, K) float32, oldest sample first, SI units."""

# A stamp this much older than the newest is a clock that was set back, not a late message.
_CLOCK_JUMP_NS = NANOSECONDS


class StaleObservation(Exception):
    """A stream has no sample that is fresh enough; the text names each such stream and its age."""


@dataclass(frozen=True)
class _Message:
    """A message with its stamp, and those of the stream's parts that it has."""

    stamp: int
    content: Any
    parts: frozenset[str]


class _Sample:
    """One or several messages that together have every part, decoded when first needed."""

    def __init__(self, messages: list[tuple[_Message, frozenset[str]]]) -> None:
        self.stamp = min(message.stamp for message, _ in messages)
        self._messages = messages
        self._array: npt.NDArray[Any] | None = None

    @property
    def message(self) -> Any:
        """The newest of them."""
        return self._messages[0][0].content

    @property
    def identity(self) -> tuple[int, ...]:
        return tuple(id(message) for message, _ in self._messages)

    def array(self, stream: Stream) -> npt.NDArray[Any]:
        if self._array is None:
            self._array = decode(stream, [(m.content, tuple(n)) for m, n in self._messages])
        return self._array


class _StreamBuffer:
    """The messages of one stream that an observation may still need, oldest first."""

    def __init__(self, stream: Stream, period_ns: int) -> None:
        self.stream = stream
        self._max_age_ns = round(stream.max_age * NANOSECONDS)
        self._offsets = [i * period_ns for i in reversed(range(stream.history))]
        # One period more, so that a sample is still there when a tick comes late.
        self._span_ns = self._offsets[0] + self._max_age_ns + period_ns
        self._messages: deque[_Message] = deque()
        self._samples: dict[tuple[int, ...], _Sample] = {}
        self._foreign: tuple[str, ...] = ()

    def add(self, message: Any, receive_ns: int) -> None:
        parts = parts_of(self.stream, message)
        if self.stream.parts and not parts:
            self._foreign = tuple(message.name)
            return  # of another device
        new = _Message(stamp_ns(message) or receive_ns, message, parts)
        newest = self.newest_ns()
        if newest is not None and newest - new.stamp >= _CLOCK_JUMP_NS:
            self.clear()
        # Several publishers, or the network, may send out of order.
        overtaken = 0
        while overtaken < len(self._messages) and (
            self._messages[-1 - overtaken].stamp > new.stamp
        ):
            overtaken += 1
        # A stream that is frozen repeats itself: the last of equal messages is enough.
        for place in range(len(self._messages) - 1 - overtaken, -1, -1):
            old = self._messages[place]
            if old.stamp < new.stamp:
                break
            if old.parts == new.parts:
                del self._messages[place]
                break
        self._messages.insert(len(self._messages) - overtaken, new)
        oldest = self._messages[-1].stamp - self._span_ns
        while self._messages[0].stamp < oldest:
            self._messages.popleft()

    def clear(self) -> None:
        self._messages.clear()
        self._samples.clear()

    def newest_ns(self) -> int | None:
        return self._messages[-1].stamp if self._messages else None

    def at(self, time_ns: int) -> list[_Sample] | str:
        """The samples in force at `time_ns` and at the steps before; else why there are none."""
        chosen = []
        for offset in self._offsets:
            wanted = time_ns - offset
            found = self._newest(wanted)
            if isinstance(found, str):
                return found
            age = wanted - found.stamp
            if age > self._max_age_ns:
                limit = self.stream.max_age
                return f"{age / NANOSECONDS:.3f} s old, at most {limit} s allowed"
            chosen.append(found)
        # What was decoded stays so for as long as it is used.
        self._samples = {sample.identity: sample for sample in chosen}
        return chosen

    def _newest(self, time_ns: int) -> _Sample | str:
        """The newest message by then; of several parts the newest of each."""
        missing = frozenset(self.stream.parts)
        messages: list[tuple[_Message, frozenset[str]]] = []
        for message in reversed(self._messages):
            useful = message.parts & missing
            if message.stamp > time_ns or (self.stream.parts and not useful):
                continue
            messages.append((message, useful))
            missing -= useful
            if not missing:
                sample = _Sample(messages)
                return self._samples.get(sample.identity, sample)
        if not self._messages:
            if not self._foreign:
                return "nothing received"
            came = cut(", ".join(self._foreign))
            return (
                f"its messages have the joints {came}, none of {', '.join(self.stream.parts)}; "
                "see names and prefix in the interface"
            )
        if not messages:
            return "nothing received by then"
        names = [name for name in self.stream.parts if name in missing]
        return f"no joint {names[0]!r} within {self._span_ns / NANOSECONDS:.3f} s"


def _unwrapped(stream: Stream, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Samples (T, ...) with continuous joints within half a turn, and without jumps in between."""
    if not isinstance(stream, JointStream) or not stream.continuous:
        return samples
    angles = samples[:, stream.turning]
    # From the newest back: it alone says where the joint is.
    samples[:, stream.turning] = follow(angles[::-1], wrap(angles[-1]))[::-1]
    return samples.astype(np.float32)


class Snapshot:
    """The samples in force at one time; they are decoded when they are asked for.

    Taking one is quick, whatever the messages hold: a large image is decoded by whoever has time.
    """

    def __init__(
        self,
        samples: Mapping[str, list[_Sample]],
        streams: Mapping[str, Stream],
        shapes: ImageShapes,
    ) -> None:
        """Keeps the samples of each stream, oldest first; `shapes` notes those of frames."""
        self._samples, self._streams, self._shapes = samples, streams, shapes
        self.stamps = {name: found[-1].stamp for name, found in samples.items()}
        """Stamp of the newest sample by stream, nanoseconds."""

    def arrays(self, names: Iterable[str] | None = None) -> Observation:
        """The observation, of all streams or of those named.

        Raises:
            MessageError: If a message doesn't hold what its stream promises.
        """
        chosen = self._samples if names is None else names
        return {name: _unwrapped(self._streams[name], self._raw(name)) for name in chosen}

    def measured(self, names: Iterable[str]) -> Observation:
        """Streams of numbers as they were sent: continuous joints after however many turns.

        Raises:
            MessageError: If a message doesn't hold what its stream promises.
        """
        return {name: self._raw(name) for name in names}

    def _raw(self, name: str) -> npt.NDArray[Any]:
        stream, samples = self._streams[name], self._samples[name]
        arrays = np.stack([sample.array(stream) for sample in samples])
        self._shapes.add(stream.topic, samples[-1].message)
        return arrays

    def outdated(self, time_ns: int, slack_ns: int) -> str:
        """The streams that are too old by a later time; empty if none is.

        Args:
            time_ns: The later time.
            slack_ns: How much older than its `max_age` a sample may be then.
        """
        old = []
        for name, stamp in self.stamps.items():
            stream = self._streams[name]
            age = time_ns - stamp
            if age > round(stream.max_age * NANOSECONDS) + slack_ns:
                old.append(f"{name} ({stream.topic}): {age / NANOSECONDS:.3f} s old when sent")
        return "; ".join(old)


class ObservationBuffer:
    """Holds the newest messages of each stream and makes the observation at a time.

    A sample counts from the time of its header stamp (receive time where the stamp is zero).
    The observation at t has, of each stream, the newest sample stamped t or before, if that is
    not older than the stream's `max_age`; with a history of T also those one period apart
    before it. Joints may come from several publishers: of each joint the newest value counts,
    and the oldest of them tells the age.
    """

    def __init__(self, interface: Interface, streams: Iterable[str] | None = None) -> None:
        """Buffers `streams` of the interface, or all of them."""
        self._max_skew = interface.max_skew
        names = tuple(interface.observation if streams is None else streams)
        self.image_shapes = ImageShapes(interface.observation[name] for name in names)
        """Shapes of the frames so far; its notes tell what is odd about them."""
        self._buffers = {
            name: _StreamBuffer(interface.observation[name], interface.period_ns) for name in names
        }

    def __iter__(self) -> Iterator[str]:
        """The names of the streams."""
        return iter(self._buffers)

    def add(self, stream: str, message: Any, receive_ns: int) -> None:
        """Store a message; it is not decoded before it is needed.

        Args:
            stream: The stream's name.
            message: Anything with the fields of the stream's type.
            receive_ns: When it was received, nanoseconds; counts where the stamp is zero.
        """
        self._buffers[stream].add(message, receive_ns)

    def clear(self) -> None:
        """Forget every message, as after a clock was set back."""
        for buffer in self._buffers.values():
            buffer.clear()

    def stamps(self, time_ns: int) -> dict[str, int]:
        """Of each stream that has an observation at `time_ns`, the stamp of its newest sample."""
        found = {name: buffer.at(time_ns) for name, buffer in self._buffers.items()}
        return {name: s[-1].stamp for name, s in found.items() if not isinstance(s, str)}

    def complete(self, time_ns: int) -> bool:
        """Whether each stream has a sample stamped `time_ns` or later."""
        newest = [buffer.newest_ns() for buffer in self._buffers.values()]
        return all(stamp is not None and stamp >= time_ns for stamp in newest)

    def observe(self, time_ns: int) -> Observation:
        """The observation at `time_ns`.

        Raises:
            StaleObservation: If a stream has no sample that is fresh enough.
            MessageError: If a message doesn't hold what its stream promises.
        """
        return self.snapshot(time_ns).arrays()

    def snapshot(self, time_ns: int) -> Snapshot:
        """The samples that make the observation at `time_ns`, not decoded yet.

        Raises:
            StaleObservation: If a stream has no sample that is fresh enough.
        """
        samples: dict[str, list[_Sample]] = {}
        stale = []
        for name, buffer in self._buffers.items():
            found = buffer.at(time_ns)
            if isinstance(found, str):
                stale.append(f"{name} ({buffer.stream.topic}): {found}")
            else:
                samples[name] = found
        if not stale:
            stale = self._skewed({name: found[-1].stamp for name, found in samples.items()})
        if stale:
            raise StaleObservation("; ".join(stale))
        streams = {name: buffer.stream for name, buffer in self._buffers.items()}
        return Snapshot(samples, streams, self.image_shapes)

    def _skewed(self, stamps: dict[str, int]) -> list[str]:
        """The streams whose samples are too far apart, if any are."""
        if not stamps:
            return []
        oldest, newest = min(stamps, key=stamps.__getitem__), max(stamps, key=stamps.__getitem__)
        skew = (stamps[newest] - stamps[oldest]) / NANOSECONDS
        if self._max_skew is None or skew <= self._max_skew:
            return []
        topic = self._buffers[oldest].stream.topic
        limit = self._max_skew
        return [f"{oldest} ({topic}): {skew:.3f} s behind {newest}, at most {limit} s allowed"]
