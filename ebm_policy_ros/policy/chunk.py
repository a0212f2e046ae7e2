"""Chunk: the actions of one decision, executed one period after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.policy.decision import Decision

Actions = npt.NDArray[np.floating[Any]]


def executed_of(wanted: int, horizon: int) -> int:
    """Number of actions that are executed of each decision, E.

    Args:
        wanted: Number that was asked for; 0 for half of the actions.
        horizon: Number of actions in a decision, H.

    Raises:
        ValueError: If a decision has fewer actions.
    """
    if not 0 <= wanted <= horizon:
        raise ValueError(
            f"execute: got {wanted}, expected at most {horizon}, the horizon of the policy"
        )
    return wanted or max(1, horizon // 2)


@dataclass
class Chunk:
    """Actions of a decision, and how many of them were sent."""

    decision: Decision
    tick: int
    """Time of the tick of the decision, nanoseconds."""
    stamp: int
    """Stamp of its observation, from which a trajectory counts, nanoseconds."""
    sent: int = 0

    def due(self, now: int, period_ns: int) -> int:
        """Number of the action whose turn it is at a time: one for each period."""
        return round((now - self.tick) / period_ns)

    def ahead(self) -> Actions:
        """Actions that were not sent yet, shape (H - sent, D)."""
        return self.decision.action[self.sent :]

    def continued(self) -> Actions:
        """Actions of the next decision if it agreed with this one, shape (H, D).

        The last action stands for those that this decision does not have.
        """
        actions = self.decision.action
        index = np.minimum(np.arange(len(actions)) + self.sent, len(actions) - 1)
        continued: Actions = actions[index]
        return continued
