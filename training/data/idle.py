"""Leaves out standing still at the ends of episodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.util.geometry import wrap

STILL = 0.01
"""Share of a dimension's range of velocities, low to high, up to which nothing is commanded to
move; of a gripper, share of its range in a step."""
KEPT = 2
"""Steps of standing still that stay at the end: a policy is to learn that it is over there. At the
beginning none stays: what is seen then is what the first motion is to be learned from."""


def trim_idle(data: Dataset, interface: Interface) -> tuple[Dataset, int]:
    """The demonstrations without the steps before their first motion and after their last one.

    An episode in which nothing ever moves stays as it is.

    Args:
        data: Demonstrations; M steps.
        interface: Names the bounds and the rate.

    Returns:
        The rest, and how many steps were left out.
    """
    kept = np.ones(len(data.episodes), dtype=bool)
    edges = np.flatnonzero(np.diff(data.episodes)) + 1
    for steps in np.split(np.arange(len(data.episodes)), edges):
        moving = np.flatnonzero(moves(data.actions[steps, 0], interface))
        if len(moving):
            kept[steps[: moving[0]]] = False
            kept[steps[moving[-1] + 1 + KEPT :]] = False
    if kept.all():
        return data, 0
    trimmed = replace(
        data,
        observations={name: values[kept] for name, values in data.observations.items()},
        actions=data.actions[kept],
        episodes=data.episodes[kept],
    )
    return trimmed, int((~kept).sum())


def moves(actions: npt.NDArray[np.floating], interface: Interface) -> npt.NDArray[np.bool_]:
    """Whether something is commanded to move at each step of an episode, shape (M,).

    Args:
        actions: The first of each step, shape (M, D), in the interface's units.
        interface: Names the bounds and the rate.
    """
    action = interface.action
    values = actions.astype(np.float64)
    # The first step has the change of the second.
    before = 2 * values[:1] - values[1:2] if len(values) > 1 else values
    changes = np.diff(values, axis=0, prepend=before)
    changes[:, interface.continuous] = wrap(changes[:, interface.continuous])
    size = len(action.fields)
    if action.is_velocity:
        arm, least = values[:, :size], STILL * np.subtract(action.high, action.low)
    else:
        arm = changes[:, :size] * interface.rate
        least = STILL * 2 * np.asarray(action.max_velocity)
    found: npt.NDArray[np.bool_] = np.any(abs(arm) > least, axis=1)
    if action.gripper is not None:
        span = action.gripper.high - action.gripper.low
        found |= np.asarray(abs(changes[:, -1]) > STILL * span)
    return found
