"""A demonstrator for the push tasks that a smooth energy can imitate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_PUSH_SPEED = 0.10
_ORBIT_SPEED = 0.14
_SLOW_WITHIN = 0.03
_CONTACT_RADIUS = 0.036
_CLEARANCE = 0.031
_LATERAL_GAIN = 4.0
_RADIAL_GAIN = 4.0
_BEHIND = (0.25, 1.0)


class PushOracle:
    """Pushes the block from behind, and goes round it to get there.

    The action is a smooth function of where tool, block and goal are: with the angle between the
    tool and the point exactly behind the block, orbiting blends into pushing. An action of
    constant length, or one that switches, would teach an energy its ring or its edge instead of
    the task. Only what an observation cannot tell is drawn, once per oracle and so per episode:
    which of several goals, and which way round when the tool stands right in front.
    """

    def __init__(self, rng: np.random.Generator, goals: int) -> None:
        self.goal = int(rng.integers(goals))
        self._side = float(rng.choice([-1.0, 1.0]))

    def act(self, tool_xy: Array, block_xy: Array, goal_xy: Array) -> Array:
        """Return the tool's velocity in m/s. Shape (2,).

        Args:
            tool_xy: The pusher's tip in base_link, in m. Shape (2,).
            block_xy: The block's centre, in m. Shape (2,).
            goal_xy: The goals' centres, in m. Shape (G, 2).
        """
        to_goal = goal_xy[self.goal] - block_xy
        remaining = float(np.linalg.norm(to_goal))
        forward = to_goal / max(remaining, 1e-6)
        left = np.array([-forward[1], forward[0]])
        offset = tool_xy - block_xy
        lateral = float(offset @ left)
        # From exactly behind the block, positive to the left.
        angle = float(np.arctan2(lateral, -(offset @ forward)))
        blend = _smoothstep(abs(angle), *_BEHIND)
        slow = 0.3 + 0.7 * min(1.0, remaining / _SLOW_WITHIN)
        correction = _ORBIT_SPEED * np.tanh(_LATERAL_GAIN * lateral / _ORBIT_SPEED)
        push = _PUSH_SPEED * slow * forward - correction * left
        action: Array = (1 - blend) * push + blend * self._orbit(offset, angle, blend)
        return action

    def _orbit(self, offset: Array, angle: float, blend: float) -> Array:
        """Circle towards the point behind the block, clear of its corners."""
        radius = float(np.linalg.norm(offset))
        outward = offset / max(radius, 1e-6)
        side = self._side if abs(angle) > 2.9 else np.sign(angle)
        # `angle` grows clockwise as seen from above, so this turn shrinks it.
        tangent = side * np.array([-outward[1], outward[0]])
        error = _CONTACT_RADIUS + _CLEARANCE * blend - radius
        radial = np.clip(_RADIAL_GAIN * error, -_ORBIT_SPEED, _ORBIT_SPEED)
        orbit: Array = _ORBIT_SPEED * tangent + radial * outward
        return orbit


def _smoothstep(value: float, low: float, high: float) -> float:
    x = min(1.0, max(0.0, (value - low) / (high - low)))
    return x * x * (3 - 2 * x)
