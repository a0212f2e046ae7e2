"""Where a position-controlled arm was told to be, and how a new plan joins the old one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.control.limits import reachable
from ebm_policy_ros.interface import NANOSECONDS

Actions = npt.NDArray[np.float64]

# Over so long the velocity at a moment is measured.
_MOMENT_NS = 1_000_000


class Setpoint:
    """The commanded position over time: points, straight lines between, and rest at both ends."""

    def __init__(self) -> None:
        """Nothing is commanded yet."""
        self.clear()

    def clear(self) -> None:
        """Forget what was commanded."""
        self._times: Actions = np.empty(0)
        self._points: Actions = np.empty((0, 0))

    def at(self, time_ns: int) -> Actions | None:
        """The commanded position at a time, shape (D,); None before the first command."""
        return self._sample(np.array([time_ns]))[0] if len(self._times) else None

    def _sample(self, times: npt.NDArray[np.floating]) -> Actions:
        columns = [np.interp(times, self._times, column) for column in self._points.T]
        return np.stack(columns, axis=-1)

    def shift(self, offset: Actions) -> None:
        """Call every point by another name: the same places after other numbers of turns."""
        self._points = self._points + offset

    def follow(self, points: Actions, times_ns: npt.NDArray[np.int64]) -> None:
        """Remember a command: points, shape (H, D), and when to be there, (H,)."""
        # As floats they are exact to a quarter of a microsecond, which will do.
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
        """A plan that goes on from what is being followed, without a jump.

        The old and the new positions are crossfaded over `blend` seconds, or until the old plan
        ends if that is sooner: that it rests there was planned by nobody, and would hold back a
        plan of few points. Then the way from point to point is limited. Points whose time is past
        are left out.

        Args:
            plan: Positions, shape (H, D).
            times_ns: When to be there, shape (H,), rising.
            now_ns: When the plan goes out.
            blend: Seconds until only the new plan counts, at most; 0 to turn to it at once.
            max_velocity: Of each dimension, unit/s, shape (D,).
            max_acceleration: Of each dimension, unit/s^2; slowing down is not limited.

        Returns:
            Points, the first of them where the arm is told to be now, and their times.
        """
        if not len(self._times):
            raise ValueError("nothing is followed yet; call follow with the measured position")
        ahead = times_ns > now_ns
        times, plan = times_ns[ahead], plan[ahead]
        seconds = (times - now_ns)[:, None] / NANOSECONDS
        fade = min(blend, (self._times[-1] - now_ns) / NANOSECONDS)
        share = np.clip(1 - seconds / fade, 0, 1) if fade > 0 else np.zeros_like(seconds)
        blended = share * self._sample(times.astype(np.float64)) + (1 - share) * plan
        # The velocity that led here: where the old plan ends, the arm is only about to rest.
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
