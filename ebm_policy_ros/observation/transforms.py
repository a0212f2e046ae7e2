"""Poses from tf: of one frame in another, from the messages of /tf and /tf_static.

As tf2 does, a pose is that of the newest time at which every moving transform between the two
frames is known: between two samples it is interpolated, beyond them nothing is guessed, and
neither in a gap that is longer than a sample may be old.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Stream, TransformStream
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.geometry import conjugate, interpolate, multiply, rotate
from ebm_policy_ros.util.quoting import cut, quote

Vector = npt.NDArray[np.float64]
Kept = TypeVar("Kept")

# Time for which samples are kept, nanoseconds: transforms of one chain lag less behind another.
_KEPT_NS = 2 * NANOSECONDS
# Samples that are kept of one transform, whatever their stamps: twice those of 1 kHz.
_MOST_SAMPLES = 4000
# Messages of static transforms that are kept: each publisher sends one, or one for each frame.
_MOST_STATIC = 1000
# A stamp that is this much older than the newest means that the clock was set back.
_CLOCK_JUMP_NS = NANOSECONDS
# Largest difference of a quaternion's length from 1.
_UNIT = 0.01


class _Sample(NamedTuple):
    """Place of a frame in its parent."""

    stamp: int
    position: Vector
    quaternion: Vector


@dataclass
class _Link:
    """Transform from a frame to its parent, over time; the newest sample is the last."""

    parent: str
    is_static: bool
    samples: deque[_Sample] = field(default_factory=lambda: deque(maxlen=_MOST_SAMPLES))

    def add(self, sample: _Sample) -> None:
        """Add a sample; one that is older than the newest, or repeats it, is dropped."""
        if self.is_static:
            self.samples.clear()
        elif self.samples and sample.stamp <= self.samples[-1].stamp:
            if self.samples[-1].stamp - sample.stamp < _CLOCK_JUMP_NS:
                return
            self.samples.clear()
        self.samples.append(sample)
        while self.samples[0].stamp < sample.stamp - _KEPT_NS:
            self.samples.popleft()

    def at(self, stamp: int, longest_ns: int) -> _Sample | None:
        """Sample at a time, which is not after the newest.

        None before the oldest, and between two that are more than `longest_ns` apart.
        """
        if self.is_static:
            return self.samples[-1]
        after = self.samples[-1]
        for sample in reversed(self.samples):
            if sample.stamp <= stamp:
                share = (stamp - sample.stamp) / max(after.stamp - sample.stamp, 1)
                if share == 0:
                    return sample
                if after.stamp - sample.stamp > longest_ns:
                    return None
                return _Sample(
                    stamp,
                    sample.position + share * (after.position - sample.position),
                    interpolate(sample.quaternion, after.quaternion, share),
                )
            after = sample
        return None


class StaticMessages(Generic[Kept]):
    """Messages of static transforms that still count, oldest first.

    A message replaces those whose frames it places all. Beyond a number no others are kept, so
    that a publisher that names ever new frames displaces nobody's.
    """

    def __init__(self) -> None:
        """Begin without a message."""
        self._kept: dict[frozenset[str], Kept] = {}

    def __iter__(self) -> Iterator[Kept]:
        """Iterate over what was kept of each message."""
        return iter(self._kept.values())

    def add(self, message: Any, kept: Kept) -> None:
        """Add a message.

        Args:
            message: Any object with the fields of tf2_msgs/msg/TFMessage.
            kept: Form in which it is kept, such as its bytes.
        """
        placed = frozenset(_name(one.child_frame_id) for one in message.transforms)
        self._kept = {names: old for names, old in self._kept.items() if not names <= placed}
        if len(self._kept) < _MOST_STATIC:
            self._kept[placed] = kept


class TransformReader:
    """Makes the poses of a stream from the messages of all transforms."""

    def __init__(self, stream: TransformStream) -> None:
        """Begin without a transform."""
        self._stream = stream
        self._max_age_ns = round(stream.max_age * NANOSECONDS)
        self._links: dict[str, _Link] = {}  # by the frame that a link places in its parent
        # Links from the moving frame, and from the fixed one, to the frame that both hang from.
        self._chain: tuple[list[_Link], list[_Link]] | None = None
        self._used: set[str] = set()
        self._last: int | None = None
        self._problem, self._refused = "", ""

    def add(self, message: Any) -> Any:
        """Add a message of /tf.

        Args:
            message: Any object with the fields of tf2_msgs/msg/TFMessage.

        Returns:
            The new pose, with the fields of a geometry_msgs/msg/PoseStamped; None if there is
            none. Its stamp is that of the oldest of the newest moving transforms.
        """
        self._store(message, is_static=False)
        return self._pose()

    def add_static(self, message: Any) -> None:
        """Add a message of /tf_static; its transforms hold at every time."""
        self._store(message, is_static=True)

    def clear(self) -> None:
        """Delete what moves, for example after the clock was set back."""
        self._links = {name: link for name, link in self._links.items() if link.is_static}
        self._chain = self._last = None

    def problem(self) -> str:
        """Reason why the last message gave no pose; empty if it gave one."""
        return "; ".join(filter(None, (self._problem, self._refused))) if self._problem else ""

    def _store(self, message: Any, is_static: bool) -> None:
        self._refused = ""
        for transform in message.transforms:
            child = _name(transform.child_frame_id)
            if self._chain is not None and not is_static and child not in self._used:
                continue  # most of a robot's frames have no part in the pose
            parent = _name(transform.header.frame_id)
            sample = _sample(transform)
            if refusal := _refusal(parent, child, sample, is_static):
                self._refused = refusal
                continue
            # Rotations multiply and turn by quaternions as if their length were exactly 1.
            length = np.linalg.norm(sample.quaternion)
            sample = sample._replace(quaternion=sample.quaternion / length)
            link = self._links.get(child)
            if link is None and len(self._links) >= bounds.MOST_FRAMES:
                self._refused = f"more than {bounds.MOST_FRAMES} frames"
                continue
            if link is None or (link.parent, link.is_static) != (parent, is_static):
                link = self._links[child] = _Link(parent, is_static)
                self._chain = None
            link.add(sample)

    def _pose(self) -> Any:
        if self._chain is None and not self._connect():
            return None
        assert self._chain is not None
        moving = [link for links in self._chain for link in links if not link.is_static]
        own, fixed = self._stream.child_frame_id, self._stream.frame_id
        if not moving:
            self._problem = (
                f"{quote(own)} never moves in {quote(fixed)}: all transforms between them are "
                "static"
            )
            return None
        stamp = min(link.samples[-1].stamp for link in moving)
        self._problem = ""
        if stamp == self._last:
            return None
        placed = [[link.at(stamp, self._max_age_ns) for link in links] for links in self._chain]
        if any(sample is None for samples in placed for sample in samples):
            self._problem = (
                f"the transforms from {quote(fixed)} to {quote(own)} have no time in common; "
                "nothing is extrapolated, or interpolated over more than "
                f"{self._stream.max_age} s (max_age)"
            )
            return None
        self._last = stamp
        position, turn = _place(placed[0])
        origin, base = _place(placed[1])
        back = conjugate(base)
        return _pose_message(
            stamp, self._stream.frame_id, rotate(back, position - origin), multiply(back, turn)
        )

    def _connect(self) -> bool:
        """Find the links between the two frames; tell why there are none."""
        own, fixed = _name(self._stream.child_frame_id), _name(self._stream.frame_id)
        known = {*self._links, *(link.parent for link in self._links.values())}
        for name in (own, fixed):
            if name not in known:
                come = cut(", ".join(sorted(known)), 160)
                self._problem = f"no frame {quote(name)} in tf; it has {come or 'none'}"
                return False
        moving, still = self._ancestors(own), self._ancestors(fixed)
        common = next((name for name in moving if name in still), None)
        if common is None:
            self._problem = (
                f"{quote(own)} and {quote(fixed)} are not connected in tf: they hang from "
                f"{quote(moving[-1])} and from {quote(still[-1])}"
            )
            return False
        up, down = moving[: moving.index(common)], still[: still.index(common)]
        self._chain = [self._links[name] for name in up], [self._links[name] for name in down]
        self._used = {*up, *down}
        return True

    def _ancestors(self, name: str) -> list[str]:
        """Frame, its parent, and so on; a loop ends where it closes."""
        found = [name]
        while (link := self._links.get(found[-1])) is not None and link.parent not in found:
            found.append(link.parent)
        return found


def _name(frame: Any) -> str:
    """Name of a frame, without the leading slash of ROS 1."""
    return str(frame).removeprefix("/")


def _sample(transform: Any) -> _Sample:
    stamp, moved = transform.header.stamp, transform.transform
    at, turn = moved.translation, moved.rotation
    return _Sample(
        int(stamp.sec) * NANOSECONDS + int(stamp.nanosec),
        np.array([at.x, at.y, at.z]),
        np.array([turn.x, turn.y, turn.z, turn.w]),
    )


def _refusal(parent: str, child: str, sample: _Sample, is_static: bool) -> str:
    """Reason why a transform cannot be used; empty if it can."""
    length = math.hypot(*sample.quaternion.tolist())
    finite = all(map(math.isfinite, sample.position.tolist()))
    if not parent or not child or parent == child:
        reason = "does not name two frames"
    elif max(len(parent), len(child)) > bounds.LONGEST_NAME:
        reason = f"names a frame with more than {bounds.LONGEST_NAME} characters"
    elif not finite or not abs(length - 1.0) <= _UNIT:
        reason = f"is no transform: got {sample.position} m, a quaternion of length {length:g}"
    elif sample.stamp <= 0 and not is_static:
        reason = "has no stamp"
    else:
        return ""
    return f"the transform from {quote(parent)} to {quote(child)} {reason}"


def _place(samples: list[_Sample | None]) -> tuple[Vector, Vector]:
    """Position and orientation of the first frame in the last one's parent."""
    position: Vector = np.zeros(3)
    turn: Vector = np.array([0.0, 0.0, 0.0, 1.0])
    for sample in samples:
        assert sample is not None
        position = sample.position + rotate(sample.quaternion, position)
        turn = multiply(sample.quaternion, turn)
    return position, turn


def _pose_message(stamp: int, frame: str, position: Vector, turn: Vector) -> Any:
    sec, nanosec = divmod(stamp, NANOSECONDS)
    x, y, z, w = (turn / np.linalg.norm(turn)).tolist()
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=frame),
        pose=SimpleNamespace(
            position=SimpleNamespace(**dict(zip("xyz", position.tolist(), strict=True))),
            orientation=SimpleNamespace(x=x, y=y, z=z, w=w),
        ),
    )


def transform_readers(streams: Mapping[str, Stream]) -> dict[str, TransformReader]:
    """Reader of each stream that comes from tf, by its name.

    Args:
        streams: Streams by name.
    """
    return {
        name: TransformReader(stream)
        for name, stream in streams.items()
        if isinstance(stream, TransformStream)
    }
