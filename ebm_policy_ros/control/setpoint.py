"""Setpoint: commanded trajectory of a position-controlled arm, and smooth changes of plan."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.control.limits import reachable
from ebm_policy_ros.interface import NANOSECONDS

Actions = npt.NDArray[np.float64]

# Time step for the numerical velocity.
_MOMENT_NS = 1_000_000


class Setpoint:
    """Commanded position over time: linear between its points, constant before and after them."""

    def __init__(self) -> None:
        """Begin without a command."""
        self.clear()

    def clear(self) -> None:
        """Delete the commanded points."""
        self._times: Actions = np.empty(0)
        self._points: Actions = np.empty((0, 0))

    @property
    def last_ns(self) -> int | None:
        """Time of the last commanded point, nanoseconds; None before the first command."""
        return int(self._times[-1]) if len(self._times) else None

    def at(self, time_ns: int) -> Actions | None:
        """Commanded position at a time, shape (D,); None before the first command."""
        return self._sample(np.array([time_ns]))[0] if len(self._times) else None

    def _sample(self, times: npt.NDArray[np.floating]) -> Actions:
        columns = [np.interp(times, self._times, column) for column in self._points.T]
        return np.stack(columns, axis=-1)

    def shift(self, offset: Actions) -> None:
        """Add an offset of whole turns to every point; the positions stay the same."""
        self._points = self._points + offset

    def follow(self, points: Actions, times_ns: npt.NDArray[np.int64]) -> None:
        """Store a command: points, shape (H, D), and their times, nanoseconds, shape (H,)."""
        # As floats the times are exact to a quarter of a microsecond, which is sufficient.
        self._times, self._points = times_ns.astype(np.float64), points

    def join(
        self,
        plan: Actions,
        times_ns: npt.NDArray[np.int64],
        now_ns: int,
        blend: float,
        max_velocity: npt.NDArray[np.floating],
        max_acceleration: npt.NDArray[np.floating],
    ) -> tuple[Actions, npt.NDArray[np.int64]]:
        """Plan that continues the current trajectory without a jump.

        The old and new positions are crossfaded over `blend` seconds, or until the old plan ends
        if that is sooner. The constant end of the old plan was not planned by the policy and would
        hold back a plan of few points. Then velocity and acceleration from point to point are
        limited. Points in the past are left out.

        Args:
            plan: Positions, shape (H, D).
            times_ns: Times of the positions, nanoseconds, shape (H,), rising.
            now_ns: Time at which the plan is sent, nanoseconds.
            blend: Longest crossfade, s; 0 to change to the new plan at once.
            max_velocity: Limit for each dimension, unit/s, shape (D,).
            max_acceleration: Limit for each dimension, unit/s^2, shape (D,); deceleration is not
                limited.

        Returns:
            Points, the first of which is the current setpoint, and their times, nanoseconds.
        """
        if not len(self._times):
            raise ValueError("nothing is followed yet; call follow with the measured position")
        ahead = times_ns > now_ns
        times, plan = times_ns[ahead], plan[ahead]
        seconds = (times - now_ns)[:, None] / NANOSECONDS
        fade = min(blend, (self._times[-1] - now_ns) / NANOSECONDS)
        share = np.clip(1 - seconds / fade, 0, 1) if fade > 0 else np.zeros_like(seconds)
        blended = share * self._sample(times.astype(np.float64)) + (1 - share) * plan
        # Velocity just before now: if the old plan ends here, the arm has not come to rest yet.
        before, here = self._sample(np.array([now_ns - _MOMENT_NS, now_ns], dtype=np.float64))
        velocity = (here - before) * NANOSECONDS / _MOMENT_NS
        points = [here]
        for row, step in zip(blended, np.diff(seconds[:, 0], prepend=0.0), strict=True):
            velocity = np.clip(
                (row - points[-1]) / step, *reachable(velocity, max_acceleration * step)
            )
            velocity = np.clip(velocity, -max_velocity, max_velocity)
            points.append(points[-1] + velocity * step)
        return np.stack(points), np.concatenate(([now_ns], times))
