"""Landscape: the energies of a policy over the first two dimensions of an action, for pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.observation.buffer import Observation
from ebm_policy_ros.policy.decision import Decision
from ebm_policy_ros.policy.policy import Policy

Values = npt.NDArray[np.float32]


class Landscape(NamedTuple):
    """Energies on a grid over the box of actions, within the interface's limits."""

    x: Values
    """Values of the first dimension, in the interface's unit, shape (N,)."""
    y: Values
    """Values of the second dimension, shape (N,)."""
    energies: Values
    """Energies, shape (N, N), a row for each value of the second dimension."""


def landscape(
    policy: Policy, observation: Observation, decision: Decision, count: int
) -> Landscape:
    """Compute the energies around a decision.

    The two values of a point are those of all actions of a chunk. All other dimensions have the
    values of the decision.

    Args:
        policy: A policy with an energy, over two dimensions or more.
        observation: Observation of the decision.
        decision: Decision of the policy.
        count: Number of values of a dimension, N.
    """
    low, high = (corner[:2] for corner in policy.action_box(observation))
    if policy.interface is not None:  # components of chunks reach far beyond its limits
        lowest, highest = (np.array(limit[:2]) for limit in policy.interface.action.bounds)
        if (np.maximum(low, lowest) <= np.minimum(high, highest)).all():
            low, high = np.maximum(low, lowest), np.minimum(high, highest)
    x, y = (np.linspace(low[i], high[i], count, dtype=np.float32) for i in (0, 1))
    actions = np.repeat(decision.action[None], count * count, axis=0)
    actions[:, :, :2] = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 1, 2)
    energies = policy.energies(
        observation, actions.reshape(count * count, -1), intent=decision.intent
    )
    return Landscape(x, y, energies.reshape(count, count))
