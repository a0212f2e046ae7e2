"""Observation buffer: stamped messages in, the observation at a given time out.

The robot and the readers of bags use the same code.
"""

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
"""Arrays by stream name: (T, H, W, 3) uint8 or (T, K) float32, oldest sample first, SI units."""

# A message whose stamp is this much older than the newest means that the clock was set back; it is
# not a late message.
_CLOCK_JUMP_NS = NANOSECONDS


class StaleObservation(Exception):
    """No sample of a stream is fresh enough; the text names each such stream and its age."""


@dataclass(frozen=True)
class _Message:
    """A message, its stamp, and the parts of the stream (for example joints) that it contains."""

    stamp: int
    content: Any
    parts: frozenset[str]


class _Sample:
    """One or more messages that together contain every part; decoded at first use."""

    def __init__(self, messages: list[tuple[_Message, frozenset[str]]]) -> None:
        self.stamp = min(message.stamp for message, _ in messages)
        self._messages = messages
        self._array: npt.NDArray[Any] | None = None

    @property
    def message(self) -> Any:
        """The newest of these messages."""
        return self._messages[0][0].content

    @property
    def identity(self) -> tuple[int, ...]:
        return tuple(id(message) for message, _ in self._messages)

    def array(self, stream: Stream) -> npt.NDArray[Any]:
        if self._array is None:
            self._array = decode(stream, [(m.content, tuple(n)) for m, n in self._messages])
        return self._array


class _StreamBuffer:
    """Messages of one stream that an observation may still need, oldest first."""

    def __init__(self, stream: Stream, period_ns: int) -> None:
        self.stream = stream
        self._max_age_ns = round(stream.max_age * NANOSECONDS)
        self._offsets = [i * period_ns for i in reversed(range(stream.history))]
        # One more period, so that a sample is still available when a tick is late.
        self._span_ns = self._offsets[0] + self._max_age_ns + period_ns
        self._messages: deque[_Message] = deque()
        self._samples: dict[tuple[int, ...], _Sample] = {}
        self._foreign: tuple[str, ...] = ()

    def add(self, message: Any, receive_ns: int) -> None:
        parts = parts_of(self.stream, message)
        if self.stream.parts and not parts:
            self._foreign = tuple(message.name)
            return  # from another device
        new = _Message(stamp_ns(message) or receive_ns, message, parts)
        newest = self.newest_ns()
        if newest is not None and newest - new.stamp >= _CLOCK_JUMP_NS:
            self.clear()
        # Messages may arrive out of order, from several publishers or over the network.
        overtaken = 0
        while overtaken < len(self._messages) and (
            self._messages[-1 - overtaken].stamp > new.stamp
        ):
            overtaken += 1
        # A frozen stream repeats its last message; of messages with equal stamps only the last is
        # kept.
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
        """Samples valid at `time_ns` and at the earlier steps; otherwise the reason for none."""
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
        # Decoded arrays are kept as long as their samples are in use.
        self._samples = {sample.identity: sample for sample in chosen}
        return chosen

    def _newest(self, time_ns: int) -> _Sample | str:
        """Newest message at a time; for a stream of several parts, the newest one of each part."""
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
    """Samples (T, ...) with continuous joints within half a turn and without jumps."""
    if not isinstance(stream, JointStream) or not stream.continuous:
        return samples
    angles = samples[:, stream.turning]
    # Unwrap from the newest sample backwards: it alone defines the angle.
    samples[:, stream.turning] = follow(angles[::-1], wrap(angles[-1]))[::-1]
    return samples.astype(np.float32)


class Snapshot:
    """Samples of one point in time; they are decoded on request.

    Creating a snapshot is fast for any message size: the decoding, for example of a large image,
    can be done later and in another thread.
    """

    def __init__(
        self,
        samples: Mapping[str, list[_Sample]],
        streams: Mapping[str, Stream],
        shapes: ImageShapes,
    ) -> None:
        """Keep the samples of each stream, oldest first; `shapes` records the shapes of frames."""
        self._samples, self._streams, self._shapes = samples, streams, shapes
        self.stamps = {name: found[-1].stamp for name, found in samples.items()}
        """Stamp of the newest sample by stream, nanoseconds."""

    def arrays(self) -> Observation:
        """Observation of all streams.

        Raises:
            MessageError: If a message doesn't match the description of its stream.
        """
        return {name: _unwrapped(self._streams[name], self._raw(name)) for name in self._samples}

    def measured(self, names: Iterable[str]) -> Observation:
        """Numeric streams as they were sent; continuous joints keep their number of turns.

        Raises:
            MessageError: If a message doesn't match the description of its stream.
        """
        return {name: self._raw(name) for name in names}

    def _raw(self, name: str) -> npt.NDArray[Any]:
        stream, samples = self._streams[name], self._samples[name]
        arrays = np.stack([sample.array(stream) for sample in samples])
        self._shapes.add(stream.topic, samples[-1].message)
        return arrays

    def outdated(self, time_ns: int, slack_ns: int) -> str:
        """List the streams that are too old at a later time; empty if there are none.

        Args:
            time_ns: The later time, nanoseconds.
            slack_ns: Age beyond the stream's `max_age` that is still accepted at that time,
                nanoseconds.
        """
        old = []
        for name, stamp in self.stamps.items():
            stream = self._streams[name]
            age = time_ns - stamp
            if age > round(stream.max_age * NANOSECONDS) + slack_ns:
                old.append(f"{name} ({stream.topic}): {age / NANOSECONDS:.3f} s old when sent")
        return "; ".join(old)


class ObservationBuffer:
    """Keeps the newest messages of each stream and builds the observation at a given time.

    The time of a sample is its header stamp, or the receive time if the stamp is zero. For each
    stream, the observation at time t contains the newest sample with a stamp of t or earlier, if
    its age is at most the stream's `max_age`. With a history of T it also contains the earlier
    samples, one period apart. Joints may come from several publishers: for each joint the newest
    value is used, and the oldest of these values defines the age.
    """

    def __init__(self, interface: Interface, streams: Iterable[str] | None = None) -> None:
        """Buffer the named streams of the interface, or all of them."""
        self._max_skew = interface.max_skew
        names = tuple(interface.observation if streams is None else streams)
        self.image_shapes = ImageShapes(interface.observation[name] for name in names)
        """Shapes of the frames so far; its notes describe anything unusual."""
        self._buffers = {
            name: _StreamBuffer(interface.observation[name], interface.period_ns) for name in names
        }

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the streams."""
        return iter(self._buffers)

    def add(self, stream: str, message: Any, receive_ns: int) -> None:
        """Store a message; it is decoded only when it is needed.

        Args:
            stream: Name of the stream.
            message: Any object with the fields of the stream's message type.
            receive_ns: Receive time, nanoseconds; used if the stamp is zero.
        """
        self._buffers[stream].add(message, receive_ns)

    def clear(self) -> None:
        """Delete all messages, for example after the clock was set back."""
        for buffer in self._buffers.values():
            buffer.clear()

    def stamps(self, time_ns: int) -> dict[str, int]:
        """Stamp of each stream's newest sample for `time_ns`, nanoseconds.

        Streams without an observation at that time are left out.
        """
        found = {name: buffer.at(time_ns) for name, buffer in self._buffers.items()}
        return {name: s[-1].stamp for name, s in found.items() if not isinstance(s, str)}

    def complete(self, time_ns: int) -> bool:
        """True if each stream has a sample stamped `time_ns` or later."""
        newest = [buffer.newest_ns() for buffer in self._buffers.values()]
        return all(stamp is not None and stamp >= time_ns for stamp in newest)

    def observe(self, time_ns: int) -> Observation:
        """Observation at `time_ns`.

        Raises:
            StaleObservation: If a stream has no sample that is fresh enough.
            MessageError: If a message doesn't match the description of its stream.
        """
        return self.snapshot(time_ns).arrays()

    def snapshot(self, time_ns: int) -> Snapshot:
        """Samples of the observation at `time_ns`, not decoded yet.

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
        """List the streams whose samples are too far apart in time, if any."""
        if not stamps:
            return []
        oldest, newest = min(stamps, key=stamps.__getitem__), max(stamps, key=stamps.__getitem__)
        skew = (stamps[newest] - stamps[oldest]) / NANOSECONDS
        if self._max_skew is None or skew <= self._max_skew:
            return []
        topic = self._buffers[oldest].stream.topic
        limit = self._max_skew
        return [f"{oldest} ({topic}): {skew:.3f} s behind {newest}, at most {limit} s allowed"]
