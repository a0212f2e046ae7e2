"""Environment of the Push-T experiment.

A disc must push a T onto its goal (Chi et al. 2023). States are (disc x, y, T x, y, T's angle),
pixels and radians, shape (M, 5).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.training.exchange.demonstrations import needed_module

Numbers = npt.NDArray[np.float64]

SIZE = 512.0
STEPS = 300


class Tees:
    """Parallel environments; each runs until its goal is covered."""

    def __init__(self, count: int) -> None:
        """Create the environments; `reset` places the objects."""
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        environment = needed_module("gym_pusht.envs", "the Push-T experiment").PushTEnv
        self._environments = [environment() for _ in range(count)]
        self.states = np.zeros((count, 5))
        self.scores = np.zeros(count)
        """Largest min(coverage / 0.95, 1) so far."""

    def reset(self, seeds: Sequence[int], published: bool = False) -> None:
        """Place disc and T at random, by the seeds.

        Args:
            seeds: One seed for each environment.
            published: True to draw as the environment of the paper, False as gym-pusht.
        """
        for i, (environment, seed) in enumerate(zip(self._environments, seeds, strict=True)):
            options = {"reset_to_state": published_state(seed)} if published else None
            self.states[i], _ = environment.reset(seed=seed, options=options)
        self.scores[:] = 0.0

    def place(self, states: npt.NDArray[Any]) -> None:
        """Set disc and T exactly to `states`, at rest."""
        for i, (environment, state) in enumerate(zip(self._environments, states, strict=True)):
            environment.reset(seed=0)
            agent, block = environment.agent, environment.block
            agent.position, agent.velocity = tuple(map(float, state[:2])), (0.0, 0.0)
            # The angle first: it rotates the T about its centre of mass, which moves its origin.
            block.angle = float(state[4])
            block.position, block.velocity = tuple(map(float, state[2:4])), (0.0, 0.0)
            block.angular_velocity = 0.0
            for body in (agent, block):
                environment.space.reindex_shapes_for_body(body)
            self.states[i] = environment.get_obs()
        self.scores[:] = 0.0

    def pictures(self) -> npt.NDArray[np.uint8]:
        """Image of each environment from the demonstrations' camera, (M, 96, 96, 3) rgb."""
        frames = []
        for environment in self._environments:
            environment.obs_type = "pixels"
            frames.append(environment.get_obs())
            environment.obs_type = "state"
        return np.stack(frames)

    def step(self, targets: npt.NDArray[Any]) -> None:
        """Pull each disc towards its target, shape (M, 2), for 0.1 s."""
        for i, environment in enumerate(self._environments):
            if self.scores[i] < 1.0:
                target = np.clip(targets[i], 0.0, SIZE).astype(np.float64)
                self.states[i], reward, *_ = environment.step(target)
                self.scores[i] = max(self.scores[i], reward)


def published_state(seed: int) -> Numbers:
    """Initial state of a seed in the paper's environment (its `PushTEnv.reset`)."""
    random = np.random.RandomState(seed)
    places = [random.randint(50, 450) for _ in range(2)]
    places += [random.randint(100, 400) for _ in range(2)]
    return np.array([*places, random.randn() * 2 * np.pi - np.pi])
