"""Detection of sudden jumps of the arm, as from a scene reset while recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Interface, Part
from ebm_policy_ros.interface.streams import JointStream, PoseStream
from ebm_policy_ros.observation.buffer import Observation
from ebm_policy_ros.training.data.measured_parts import measured_parts
from ebm_policy_ros.util.geometry import near

Array = npt.NDArray[np.float64]

# A jump exceeds the distance that the limits allow by the first factor, and the usual distance per
# step of the episode by the second: limits that are too low for an arm do not cause jumps.
_ALLOWED, _USUAL = 2.0, 5.0
_MOST = 0.75
_AXES = ("x", "y", "z")


class Jump(NamedTuple):
    """A change of the arm's position that is too large for the time since the step before."""

    step: int
    """Last step before the jump."""
    words: str
    """Description of what jumps, and by how much."""


class _Track(NamedTuple):
    """A quantity over the steps, and its allowed rate of change."""

    name: str
    distances: Array
    """Change from each step to the next, shape (M - 1,)."""
    speed: float
    """Largest allowed speed, unit/s."""
    max_age: float
    """Maximum age of its samples, s: an old sample may be followed by a new one."""
    unit: str


def find_jumps(
    times_ns: Sequence[int], observations: Sequence[Observation], interface: Interface
) -> list[Jump]:
    """Find jumps of the tool or a joint that the interface's limits do not allow.

    Args:
        times_ns: Times of the steps, nanoseconds, shape (M,).
        observations: Observations of the steps; the newest sample of each is used.
        interface: Limits: the bounds of a velocity, `max_velocity` of a position.

    Returns:
        At most one jump for each pair of steps, in order. If steps are missing in between, the
        allowed distance grows with the time.
    """
    if len(observations) < 2:
        return []
    passed = np.diff(np.asarray(times_ns, dtype=np.int64)) / NANOSECONDS
    found: dict[int, Jump] = {}
    for track in _all_tracks(observations, interface):
        usual = float(np.quantile(track.distances / passed, _MOST, method="lower"))
        allowed = track.speed * (passed + track.max_age)
        limits = np.maximum(_ALLOWED * allowed, _USUAL * usual * passed)
        for step in np.flatnonzero(track.distances > limits).tolist():
            seconds = (times_ns[step] - times_ns[0]) / NANOSECONDS
            words = (
                f"{track.name} jumps by {track.distances[step]:.3g} {track.unit} after "
                f"{seconds:.1f} s, further than the arm can move in {passed[step]:.3g} s; "
                "cut there"
            )
            found.setdefault(step, Jump(step, words))
    return [found[step] for step in sorted(found)]


def _all_tracks(observations: Sequence[Observation], interface: Interface) -> Iterable[_Track]:
    """Tracks of all parts; a pose that several may have moved counts for the fastest."""
    found: dict[str, _Track] = {}
    for part in interface.parts:
        poses = [
            name
            for name, stream in interface.observation.items()
            if isinstance(stream, PoseStream) and part in _movers(name, stream, interface)
        ]
        for track in _tracks(observations, part.interface, poses):
            other = found.get(track.name)
            if other is None or other.speed < track.speed:
                found[track.name] = track
    return found.values()


def _movers(name: str, stream: PoseStream, interface: Interface) -> Sequence[Part]:
    """Parts that may move a pose: those it measures, else those in its frame, else all.

    Nothing if one of them commands joints, whose limits do not tell how fast a tool may be.
    """
    parts = interface.parts
    framed = [part for part in parts if part.interface.command.frame_id == stream.frame_id]
    found = measured_parts(name, interface) or framed or parts
    return () if any(part.interface.command.is_joints for part in found) else found


def _tracks(
    observations: Sequence[Observation], interface: Interface, poses: Sequence[str]
) -> Iterator[_Track]:
    """Tracks of one part: the joints that it commands, and the poses that it may move."""
    action = interface.command
    speeds = dict(zip(action.fields, _speeds(interface), strict=True))
    for name, stream in interface.observation.items():
        if isinstance(stream, JointStream) and "position" in stream.fields and action.is_joints:
            begin = stream.fields.index("position") * len(stream.names)
            for index, joint in enumerate(stream.names):
                if joint in speeds:
                    changes = _changes(observations, name, [begin + index])[:, 0]
                    # A whole turn is not a jump: angles may wrap between -pi and pi.
                    distances: Array = np.abs(near(changes, np.zeros_like(changes)))
                    yield _Track(f"joint {joint}", distances, speeds[joint], stream.max_age, "rad")
        if isinstance(stream, PoseStream) and name in poses:
            linear = [speeds[f] for f in speeds if f.removeprefix("linear.") in _AXES]
            columns = [i for i, field in enumerate(stream.fields) if field in _AXES]
            if linear and columns:
                distances = np.linalg.norm(_changes(observations, name, columns), axis=1)
                speed = float(np.linalg.norm(linear))
                yield _Track(name, distances, speed, stream.max_age, "m")


def _speeds(interface: Interface) -> Array:
    """Largest speed of each field, unit/s."""
    action = interface.command
    if action.is_velocity:
        bounds: Array = np.maximum(np.abs(action.low), np.abs(action.high))
        return bounds
    limits: Array = np.asarray(action.max_velocity, dtype=np.float64)
    return limits


def _changes(observations: Sequence[Observation], name: str, columns: list[int]) -> Array:
    """Differences of the newest samples from step to step, shape (M - 1, columns)."""
    values = np.stack([one[name][-1, columns] for one in observations]).astype(np.float64)
    changes: Array = np.diff(values, axis=0)
    return changes
