"""Simulation of the particle, its scripted demonstrations, and rollouts of a policy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.experiments.common import dataset

Vectors = npt.NDArray[np.float64]

STEPS = 50
DEMONSTRATIONS = 2000
_REACH = 0.05
TURN, HELD = 0.02, 8
_STIFFNESS, _DAMPING = 10.0, 5.0
_SUBSTEP, _SUBSTEPS = 0.005, 10


class Particles:
    """Simulation of many particles in parallel.

    An episode succeeds if the particle comes within 0.05 of the first goal, and after that of the
    second.
    """

    def __init__(self, size: int, seeds: range) -> None:
        """Place particle and goals uniformly in the unit cube of `size` dimensions."""
        draws = np.stack([np.random.default_rng(seed).random((3, size)) for seed in seeds])
        self.position = draws[:, 0].copy()
        self.first, self.second = draws[:, 1], draws[:, 2]
        self.velocity = np.zeros_like(self.position)
        self.met_first = np.zeros(len(draws), dtype=bool)
        self.met_second = np.zeros(len(draws), dtype=bool)
        self._look()

    def step(self, target: Vectors) -> None:
        """Pull each particle towards its target, shape (M, N), for 0.05 s."""
        for _ in range(_SUBSTEPS):
            pull = _STIFFNESS * (target - self.position) - _DAMPING * self.velocity
            self.position = self.position + self.velocity * _SUBSTEP
            self.velocity = self.velocity + pull * _SUBSTEP
        self._look()

    def observe(self) -> npt.NDArray[np.float32]:
        """Position, velocity and both goals, shape (M, 4N)."""
        parts = (self.position, self.velocity, self.first, self.second)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def distance(self, goal: Vectors) -> Vectors:
        """Distance of each particle from a goal, shape (M,)."""
        return np.asarray(np.linalg.norm(self.position - goal, axis=1))

    def _look(self) -> None:
        self.met_second |= self.met_first & (self.distance(self.second) < _REACH)
        self.met_first |= self.distance(self.first) < _REACH


def demonstrate(size: int, seeds: range, random: np.random.Generator) -> Dataset:
    """Scripted demonstrations: to the first goal until close to it, then to the second.

    The script switches at a distance of 0.02, well within the 0.05 of the task, so that a policy
    may switch slightly early. In half the demonstrations the particle is held at the first goal
    for up to eight more steps, while the demonstrated action is already the second goal: a policy
    that arrives there must continue.
    """
    particles = Particles(size, seeds)
    turned = np.zeros(len(seeds), dtype=bool)
    held = random.integers(1, HELD + 1, len(seeds)) * random.integers(0, 2, len(seeds))
    left = np.full(len(seeds), 5)  # steps that are recorded after the success
    frames: list[tuple[npt.NDArray[np.float32], Vectors, npt.NDArray[np.bool_]]] = []
    for _ in range(STEPS + 10):
        turned |= particles.distance(particles.first) < TURN
        action = np.where(turned[:, None], particles.second, particles.first)
        frames.append((particles.observe(), action, left > 0))
        particles.step(np.where((turned & (held > 0))[:, None], particles.first, action))
        held -= turned
        left -= particles.met_second
    seen, actions, counts = (np.stack(column, axis=1) for column in zip(*frames, strict=True))
    episodes = np.repeat(np.arange(len(seeds)), counts.sum(axis=1))
    return dataset({"state": seen[counts]}, actions[counts].astype(np.float32), episodes)


def rollout(
    size: int, seeds: range, policy: Policy, draws: np.random.Generator | None = None
) -> Particles:
    """Run an episode for each seed, until the particle succeeds.

    Args:
        size: Number of dimensions.
        seeds: Seeds of the episodes.
        policy: Policy that chooses the actions.
        draws: Source of randomness to draw from exp(-E) among the final candidates of a search;
            None for the chosen action. The candidates concentrate where the energy is low, so the
            result is between a sample of the whole distribution and the minimum.

    Returns:
        The particles at the end.
    """
    particles = Particles(size, seeds)
    for _ in range(STEPS):
        seen, target = particles.observe()[:, None], particles.position.copy()
        for i in np.flatnonzero(~particles.met_second):
            decision = policy.decide({"state": seen[i]})
            target[i] = decision.action[0]
            if draws is not None:
                weights = np.exp(decision.energies.min() - decision.energies.astype(float))
                target[i] = draws.choice(decision.candidates, p=weights / weights.sum())
        particles.step(target)
    return particles
