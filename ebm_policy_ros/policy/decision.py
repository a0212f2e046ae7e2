"""Decision: the result of a policy for one observation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.policy.out_of_distribution import Confidence


@dataclass(frozen=True)
class Mode:
    """One of several local minima of the energy."""

    action: npt.NDArray[np.float32]
    """Minimiser of the energy, shape (H, D), in the interface's units."""
    energy: float
    probability: float
    """Share of the distribution exp(-E / temperature) around the action."""
    spread: npt.NDArray[np.float32]
    """Standard deviation of exp(-E / temperature) around the action, shape (H, D)."""


@dataclass(frozen=True, repr=False)
class Decision:
    """The action chosen for an observation, with candidates and confidence."""

    action: npt.NDArray[np.float32]
    """Chosen action, shape (H, D), in the interface's units."""
    energy: float
    """Energy of the action; 0 for a policy without an energy."""
    candidates: npt.NDArray[np.float32]
    """Last candidates of the search, shape (N, H*D), in the interface's units."""
    energies: npt.NDArray[np.float32]
    """Energies of the candidates, shape (N,)."""
    modes: tuple[Mode, ...]
    """Separate minimisers, lowest energy first, if they were requested."""
    confidence: Confidence
    """Familiarity of the observation and clarity of the minimum."""
    complete: bool
    """True if the search was completed; False if the time budget stopped it early."""
    timing: dict[str, float]
    """Durations of the steps, milliseconds: search (with the encoder) and modes."""
    intent: int | None = None
    """Intent of the action, for the next decision; None for a policy without intents."""

    def __repr__(self) -> str:
        """Action, energy, number of modes, and the measures beyond their thresholds."""
        action = np.array2string(self.action, precision=4, separator=", ").replace("\n", "")
        parts = [f"action {action}", f"energy {self.energy:.4g}", f"{len(self.modes)} modes"]
        parts += [f"intent {self.intent}"] * (self.intent is not None)
        parts += [f"unsure: {', '.join(self.confidence.unsure)}"] * bool(self.confidence.unsure)
        return f"Decision({', '.join(parts)})"
