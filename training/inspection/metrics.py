"""Metrics of one episode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.training.data.episodes import Episode
from ebm_policy_ros.training.data.measured_parts import measured_parts

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

IDLE_SPEED = 0.02
"""Share of a dimension's velocity range, low to high, up to which the arm is idle; for a gripper,
share of its range per step."""
AT_BOUND = 0.001
"""Distance from a bound, as a share of the range, within which an action is at the bound."""


@dataclass(frozen=True)
class EpisodeMetrics:
    """Metrics of one episode; shares are 0 to 1."""

    steps: int
    duration: float
    """Time from the first usable step to the end of the last, s."""
    gaps: tuple[tuple[float, float], ...]
    """Start and length of each gap between steps, s from the first step."""
    usable: float
    """Usable share of the steps from the first to the last."""
    idle: float
    """Share of the steps without commanded motion."""
    longest_idle: tuple[float, float]
    """Start and length of the longest idle time, s."""
    saturated: tuple[float, ...]
    """Share of the steps at a bound, for each of the D dimensions; 0 for a fixed one."""
    outside: tuple[float, ...]
    """Share of the steps with an action outside the bounds, for each dimension."""
    jerk: float
    """Root mean square of the second difference of the commanded velocities from step to step, as
    a share of their range."""
    frozen: Mapping[str, float]
    """Stream -> longest time for which it repeats the same numbers during commanded motion, s; for
    a stream that measures some parts of the action, the motion of those parts."""


def episode_metrics(episode: Episode, interface: Interface) -> EpisodeMetrics:
    """Compute the metrics of an episode.

    Args:
        episode: Episode read with the interface.
        interface: Bounds and rate.
    """
    period = 1 / interface.rate
    pieces = episode.pieces(interface.period_ns)
    times = seconds(episode.times_ns, interface)
    actions = episode.actions[:, 0].astype(np.float64)
    parts = [(actions[:, part.columns], part.interface) for part in interface.parts]
    of_parts = [_velocities(values, one, pieces) for values, one in parts]
    velocities = np.concatenate(of_parts, axis=1)
    still = {
        part.name: _idle(v, values, one, pieces)
        for part, v, (values, one) in zip(interface.parts, of_parts, parts, strict=True)
    }
    idle: Flags = np.all(list(still.values()), axis=0)
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
        # Numbers in messages, and possibly the bounds, are of single precision.
        outside=tuple(
            ((chunks < low - 1e-6) | (chunks > high + 1e-6)).any(axis=1).mean(axis=0).tolist()
        ),
        jerk=_jerk(velocities, pieces),
        frozen={
            name: _longest_run(_repeats(values) & ~_idle_for(name, still, interface), pieces)[1]
            * period
            for name, values in episode.observations.items()
        },
    )


def seconds(times_ns: npt.NDArray[np.int64], interface: Interface) -> Array:
    """Times since the first step, s; after a clock reset the next step follows directly."""
    since = np.diff(times_ns)
    since[since <= 0] = interface.period_ns
    times: Array = np.concatenate(([0], np.cumsum(since))) / NANOSECONDS
    return times


def _gaps(times: Array, pieces: list[slice], period: float) -> tuple[tuple[float, float], ...]:
    """Start and length of the gaps between pieces."""
    gaps = []
    for earlier, later in pairwise(pieces):
        start = float(times[earlier.stop - 1]) + period
        length = float(times[later.start]) - start
        if length > period / 2:  # otherwise a clock was reset, or the phase of the steps changed
            gaps.append((start, length))
    return tuple(gaps)


def _velocities(actions: Array, interface: Interface, pieces: list[slice]) -> Array:
    """Commanded velocities of the arm as a share of their range, shape (M, fields)."""
    action = interface.command
    size = len(action.fields)
    if action.is_velocity:
        values, ranges = actions[:, :size], np.subtract(action.high, action.low)
    else:
        values = _changes(actions[:, :size], pieces) * interface.rate
        ranges = 2 * np.array(action.max_velocity)
    shares: Array = values / np.where(ranges > 0, ranges, np.inf)
    return shares


def _changes(values: Array, pieces: list[slice]) -> Array:
    """Change from the previous step; the first step of a piece takes the change of its second."""
    changes = np.zeros_like(values)
    for piece in pieces:
        changes[piece][1:] = np.diff(values[piece], axis=0)
        changes[piece][:1] = changes[piece][1:2] if piece.stop - piece.start > 1 else 0.0
    return changes


def _idle(velocities: Array, actions: Array, interface: Interface, pieces: list[slice]) -> Flags:
    """True where nothing moves at a step, shape (M,)."""
    slow: Flags = abs(velocities) <= IDLE_SPEED
    still: Flags = np.all(slow, axis=1)
    gripper = interface.command.gripper
    if gripper is not None:
        moves = abs(_changes(actions[:, -1:], pieces)) > IDLE_SPEED * (gripper.high - gripper.low)
        still &= ~np.any(moves, axis=1)
    return still


def _idle_for(stream: str, still: Mapping[str, Flags], interface: Interface) -> Flags:
    """True where a stream may repeat itself, shape (M,): the parts it measures stand still."""
    parts = measured_parts(stream, interface) or interface.parts
    idle: Flags = np.all([still[part.name] for part in parts], axis=0)
    return idle


def _jerk(velocities: Array, pieces: list[slice]) -> float:
    second = np.concatenate([np.diff(velocities[piece], n=2, axis=0) for piece in pieces])
    return float(np.sqrt(np.mean(second**2))) if second.size else 0.0


def _repeats(values: npt.NDArray[Any]) -> Flags:
    """True where a step's newest sample equals that of the previous step, shape (M,)."""
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
