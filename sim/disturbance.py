"""Disturbance of the arm, which gives a demonstrator something to correct."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_NOISE_INTERVAL = 0.1
_NOISE_TIME = 0.5
_KNOCK_DURATION = (0.3, 0.6)
_KNOCK_SPEED = (0.08, 0.20)


class Disturbance:
    """Deviations of the executed motion from the command, which is recorded as it was given.

    Demonstrations that correct them teach a policy to come back (Laskey et al. 2017, DART).
    Noise is a slow Ornstein-Uhlenbeck process; a knock moves the arm somewhere else altogether,
    such as to the wrong side of the object that it was pushing.

    Args:
        noise: Largest standard deviation of the noise, in metres per 0.1 s. Each episode draws
            its own between 0 and this.
        knocks: Mean number of knocks per second between the end of one and the next.

    Raises:
        ValueError: If either is not a number >= 0.
    """

    def __init__(self, noise: float = 0.0, knocks: float = 0.0) -> None:
        for name, value in (("command_noise", noise), ("knocks", knocks)):
            if not 0 <= value < np.inf:
                raise ValueError(f"{name}: got {value}, expected a number >= 0")
        self._noise = noise
        self._knocks = knocks
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Begin an episode, in which everything random comes from `rng`."""
        self._rng = rng
        self._scale = rng.uniform(0.0, 1.0) * self._noise / _NOISE_INTERVAL
        self._deviation: Array = np.zeros(1)
        self._knock: Array = np.zeros(2)
        self._knock_left = 0.0

    def executed(self, command: Array, duration: float) -> Array:
        """Return the motion for `duration` (s) under `command` (m/s).

        Noise acts along all axes of the command, a knock along the table.

        Args:
            command: Along x, y and, if the tool moves up and down too, z. Shape (2,) or (3,).
            duration: In s.
        """
        kept = np.exp(-duration / _NOISE_TIME)
        kick = self._scale * np.sqrt(1 - kept**2)
        self._deviation = kept * self._deviation + kick * self._rng.standard_normal(len(command))
        if self._knock_left <= 0 and self._rng.random() < self._knocks * duration:
            angle = self._rng.uniform(-np.pi, np.pi)
            speed = self._rng.uniform(*_KNOCK_SPEED)
            self._knock = np.zeros(len(command))
            self._knock[:2] = speed * np.cos(angle), speed * np.sin(angle)
            self._knock_left = self._rng.uniform(*_KNOCK_DURATION)
        motion = self._knock if self._knock_left > 0 else command
        self._knock_left -= duration
        result: Array = motion + self._deviation
        return result
