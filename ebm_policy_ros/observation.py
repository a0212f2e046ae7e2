"""From stamped messages to the observation at a time: the same code on the robot and on bags."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Interface, Stream
from ebm_policy_ros.messages.streams import concerns, decode, stamp_ns

Observation = dict[str, npt.NDArray[Any]]
"""Stream name -> (T, H, W, 3) uint8 or (T, K) float32, oldest sample first, SI units."""

# A stamp this much older than the newest is a clock that was set back, not a late message.
_CLOCK_JUMP_NS = NANOSECONDS


class StaleObservation(Exception):
    """A stream has no sample that is fresh enough; the text names each such stream and its age."""


class _Sample:
    """A message with its stamp, decoded once, when it is first needed."""

    def __init__(self, stamp: int, message: Any) -> None:
        self.stamp = stamp
        self._message = message
        self._array: npt.NDArray[Any] | None = None

    def array(self, stream: Stream) -> npt.NDArray[Any]:
        if self._array is None:
            self._array = decode(stream, self._message)
            self._message = None
        return self._array


class _StreamBuffer:
    """The samples of one stream that an observation may still need, oldest first."""

    def __init__(self, stream: Stream, period_ns: int) -> None:
        self.stream = stream
        self._max_age_ns = round(stream.max_age * NANOSECONDS)
        self._offsets = [i * period_ns for i in reversed(range(stream.history))]
        # One period more, so that a sample is still there when a tick comes late.
        self._span_ns = self._offsets[0] + self._max_age_ns + period_ns
        self._samples: deque[_Sample] = deque()

    def add(self, message: Any, receive_ns: int) -> None:
        if not concerns(self.stream, message):
            return
        stamp = stamp_ns(message) or receive_ns
        if self._samples and stamp < self._samples[-1].stamp:
            if self._samples[-1].stamp - stamp < _CLOCK_JUMP_NS:
                return  # overtaken on the way by a newer one
            self._samples.clear()
        self._samples.append(_Sample(stamp, message))
        while self._samples[0].stamp < stamp - self._span_ns:
            self._samples.popleft()

    def newest_ns(self) -> int | None:
        return self._samples[-1].stamp if self._samples else None

    def at(self, time_ns: int) -> list[_Sample] | str:
        """The samples in force at `time_ns` and at the steps before; else why there are none."""
        chosen = []
        for offset in self._offsets:
            wanted = time_ns - offset
            sample = next((s for s in reversed(self._samples) if s.stamp <= wanted), None)
            if sample is None:
                return "nothing received" if not self._samples else "nothing received by then"
            age = wanted - sample.stamp
            if age > self._max_age_ns:
                limit = self.stream.max_age
                return f"{age / NANOSECONDS:.3f} s old, at most {limit} s allowed"
            chosen.append(sample)
        return chosen


class ObservationBuffer:
    """Holds the newest messages of each stream and makes the observation at a time.

    A sample counts from the time of its header stamp (receive time where the stamp is zero).
    The observation at t has, of each stream, the newest sample stamped t or before, if that is
    not older than the stream's `max_age`; with a history of T also those one period apart
    before it.
    """

    def __init__(self, interface: Interface, streams: Iterable[str] | None = None) -> None:
        """Buffers `streams` of the interface, or all of them."""
        names = interface.observation if streams is None else streams
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
        samples: dict[str, list[_Sample]] = {}
        stale = []
        for name, buffer in self._buffers.items():
            found = buffer.at(time_ns)
            if isinstance(found, str):
                stale.append(f"{name} ({buffer.stream.topic}): {found}")
            else:
                samples[name] = found
        if stale:
            raise StaleObservation("; ".join(stale))
        return {
            name: np.stack([sample.array(self._buffers[name].stream) for sample in found])
            for name, found in samples.items()
        }
