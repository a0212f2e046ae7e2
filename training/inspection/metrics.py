"""What one episode's numbers say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.training.data.episodes import Episode

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

IDLE_SPEED = 0.02
"""Share of a dimension's range of velocities, low to high, up to which the arm stands still; of a
gripper, share of its range per step."""
AT_BOUND = 0.001
"""Share of a dimension's range within which an action is at a bound."""


@dataclass(frozen=True)
class EpisodeMetrics:
    """Plain numbers of one episode; shares are 0 to 1."""

    steps: int
    duration: float
    """From the first usable step to the end of the last, s."""
    gaps: tuple[tuple[float, float], ...]
    """Where steps lack in between: start and length, s from the first step."""
    usable: float
    """Share of the steps from the first to the last that can be learned from."""
    idle: float
    """Share of the steps at which nothing is commanded to move."""
    longest_idle: tuple[float, float]
    """Start and length of the longest idle stretch, s."""
    saturated: tuple[float, ...]
    """Share of the steps at a bound, for each of the D dimensions; a pinned one has none."""
    outside: tuple[float, ...]
    """Share of the steps with an action outside the bounds, for each dimension."""
    jerk: float
    """Root mean square of the second difference of the commanded velocities from step to step, as
    a share of their range."""
    frozen: Mapping[str, float]
    """Stream -> longest time for which it repeats the same numbers although motion is commanded,
    s."""


def episode_facts(episode: Episode, interface: Interface) -> EpisodeMetrics:
    """The numbers of an episode.

    Args:
        episode: Read with the interface.
        interface: Names the bounds and the rate.
    """
    period = 1 / interface.rate
    pieces = episode.pieces(interface.period_ns)
    times = seconds(episode.times_ns, interface)
    actions = episode.actions[:, 0].astype(np.float64)
    velocities = _velocities(actions, interface, pieces)
    idle = _idle(velocities, actions, interface, pieces)
    start, length = _longest_run(idle, pieces)
    low, high = (np.array(bound) for bound in interface.action.bounds)
    margin = AT_BOUND * (high - low)
    at_bound = (actions <= low + margin) | (actions >= high - margin)
    chunks = episode.actions.astype(np.float64)
    duration = float(times[-1]) + period
    return EpisodeMetrics(
        steps=len(times),
        duration=duration,
        gaps=_gaps(times, pieces, period),
        usable=min(1.0, len(times) / max(1, round(duration * interface.rate))),
        idle=float(idle.mean()),
        longest_idle=(float(times[start]), length * period),
        saturated=tuple(np.where(high > low, at_bound.mean(axis=0), 0.0).tolist()),
        # Numbers in messages are of single precision, and so may the bounds be on their way.
        outside=tuple(
            ((chunks < low - 1e-6) | (chunks > high + 1e-6)).any(axis=1).mean(axis=0).tolist()
        ),
        jerk=_jerk(velocities, pieces),
        frozen={
            name: _longest_run(_repeats(values) & ~idle, pieces)[1] * period
            for name, values in episode.observations.items()
        },
    )


def seconds(times_ns: npt.NDArray[np.int64], interface: Interface) -> Array:
    """Times since the first one, s; where a clock was set back, the next step counts as near."""
    since = np.diff(times_ns)
    since[since <= 0] = interface.period_ns
    times: Array = np.concatenate(([0], np.cumsum(since))) / NANOSECONDS
    return times


def _gaps(times: Array, pieces: list[slice], period: float) -> tuple[tuple[float, float], ...]:
    """Start and length of the time that lacks between pieces."""
    gaps = []
    for earlier, later in pairwise(pieces):
        start = float(times[earlier.stop - 1]) + period
        length = float(times[later.start]) - start
        if length > period / 2:  # else a clock was set back, or steps just follow another beat
            gaps.append((start, length))
    return tuple(gaps)


def _velocities(actions: Array, interface: Interface, pieces: list[slice]) -> Array:
    """Commanded velocities of the arm as a share of their range, shape (M, fields)."""
    action = interface.action
    size = len(action.fields)
    if action.is_velocity:
        values, ranges = actions[:, :size], np.subtract(action.high, action.low)
    else:
        values = _changes(actions[:, :size], pieces) * interface.rate
        ranges = 2 * np.array(action.max_velocity)
    shares: Array = values / np.where(ranges > 0, ranges, np.inf)
    return shares


def _changes(values: Array, pieces: list[slice]) -> Array:
    """Change of each step from the one before; a piece's first step has that of its second."""
    changes = np.zeros_like(values)
    for piece in pieces:
        changes[piece][1:] = np.diff(values[piece], axis=0)
        changes[piece][:1] = changes[piece][1:2] if piece.stop - piece.start > 1 else 0.0
    return changes


def _idle(velocities: Array, actions: Array, interface: Interface, pieces: list[slice]) -> Flags:
    """Whether nothing moves at a step, shape (M,)."""
    slow: Flags = abs(velocities) <= IDLE_SPEED
    still: Flags = np.all(slow, axis=1)
    gripper = interface.action.gripper
    if gripper is not None:
        moves = abs(_changes(actions[:, -1:], pieces)) > IDLE_SPEED * (gripper.high - gripper.low)
        still &= ~np.any(moves, axis=1)
    return still


def _jerk(velocities: Array, pieces: list[slice]) -> float:
    second = np.concatenate([np.diff(velocities[piece], n=2, axis=0) for piece in pieces])
    return float(np.sqrt(np.mean(second**2))) if second.size else 0.0


def _repeats(values: npt.NDArray[Any]) -> Flags:
    """Whether a step's newest sample is that of the step before, number by number; (M,)."""
    newest = values[:, -1].reshape(len(values), -1)
    return np.concatenate(([False], (newest[1:] == newest[:-1]).all(axis=1)))


def _longest_run(flags: Flags, pieces: list[slice]) -> tuple[int, int]:
    """First step and length of the longest run of true steps within a piece."""
    best = (0, 0)
    for piece in pieces:
        edges = np.flatnonzero(np.diff(np.concatenate(([0], flags[piece], [0]))))
        for start, end in edges.reshape(-1, 2).tolist():
            if end - start > best[1]:
                best = (piece.start + start, end - start)
    return best
