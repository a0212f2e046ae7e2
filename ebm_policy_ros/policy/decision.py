"""What a policy answers to an observation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.policy.out_of_distribution import Confidence


@dataclass(frozen=True)
class Mode:
    """One of several answers."""

    action: npt.NDArray[np.float32]
    """A minimiser of the energy, shape (H, D), in the interface's units."""
    energy: float
    probability: float
    """Share of exp(-E / temperature) around it."""
    spread: npt.NDArray[np.float32]
    """Standard deviation of exp(-E / temperature) around it, shape (H, D)."""


@dataclass(frozen=True, repr=False)
class Decision:
    """The action chosen for an observation, and how sure the search was."""

    action: npt.NDArray[np.float32]
    """Shape (H, D), in the interface's units."""
    energy: float
    """Of the action; 0 for a policy without an energy."""
    candidates: npt.NDArray[np.float32]
    """The last candidates of the search, shape (N, H*D), in the interface's units."""
    energies: npt.NDArray[np.float32]
    """Their energies, shape (N,)."""
    modes: tuple[Mode, ...]
    """The separate minimisers, lowest first, where they were asked for."""
    confidence: Confidence
    """Whether the policy is at home in the observation, and how clear the answer is."""
    complete: bool
    """Whether the search came to its end; False if the budget of time cut it short."""
    timing: dict[str, float]
    """Milliseconds by step: search, which includes the encoder, and modes."""

    def __repr__(self) -> str:
        """Action, energy, number of modes, and what makes the policy unsure."""
        action = np.array2string(self.action, precision=4, separator=", ").replace("\n", "")
        parts = [f"action {action}", f"energy {self.energy:.4g}", f"{len(self.modes)} modes"]
        parts += [f"unsure: {', '.join(self.confidence.unsure)}"] * bool(self.confidence.unsure)
        return f"Decision({', '.join(parts)})"
