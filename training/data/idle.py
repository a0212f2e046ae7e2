"""Removal of idle steps at the ends of episodes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.util.geometry import wrap

STILL = 0.01
"""Share of a dimension's velocity range, low to high, below which a command is idle; for a
gripper, share of its range in one step."""
KEPT = 2
"""Number of idle steps kept at the end, so that a policy learns to stop. None is kept at the
beginning: those observations should lead to the first motion."""


def trim_idle(data: Dataset, interface: Interface) -> tuple[Dataset, int]:
    """Remove the steps before the first motion and after the last one of each episode.

    An episode without any motion stays as it is.

    Args:
        data: Demonstrations; M steps.
        interface: Bounds and rate.

    Returns:
        The remaining demonstrations, and the number of removed steps.
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
    return data.select(kept), int((~kept).sum())


def moves(actions: npt.NDArray[np.floating], interface: Interface) -> npt.NDArray[np.bool_]:
    """True where motion is commanded at a step of an episode, shape (M,).

    Args:
        actions: First action of each step, shape (M, D), in the interface's units.
        interface: Bounds and rate.
    """
    parts = [_moves(actions[:, part.columns], part.interface) for part in interface.parts]
    found: npt.NDArray[np.bool_] = np.any(parts, axis=0)
    return found


def _moves(actions: npt.NDArray[np.floating], interface: Interface) -> npt.NDArray[np.bool_]:
    action = interface.command
    values = actions.astype(np.float64)
    # The first step takes the change of the second.
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
