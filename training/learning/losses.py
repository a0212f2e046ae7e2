"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ebm_policy_ros.inference.candidates import Energy
from ebm_policy_ros.util.plugins import Registry

LOSSES: Registry[Callable[[Tensor, Tensor, float, Tensor | None], Tensor]] = Registry("loss")
"""From the energies of demonstrated actions (B,), of negatives (B, N), the temperature and the
negatives that don't count, (B, N) or None, to a scalar."""


@LOSSES.register("info_nce")
def info_nce(
    positive: Tensor, negatives: Tensor, temperature: float = 1.0, masked: Tensor | None = None
) -> Tensor:
    """How badly the demonstrated action is told from counter-examples (Oord et al. 2018).

    The cross-entropy of picking the positive by softmax(-E / temperature), averaged over the
    batch: log(N + 1) for energies that know nothing, 0 for ones that know everything.

    Args:
        positive: Energies of the demonstrated actions, shape (B,).
        negatives: Energies of the counter-examples, shape (B, N).
        temperature: Divides the energies.
        masked: Counter-examples that don't count, shape (B, N).

    Returns:
        A scalar.
    """
    logits = -torch.cat((positive[:, None], negatives), dim=1) / temperature
    if masked is not None:
        logits = logits.masked_fill(functional.pad(masked, (1, 0)), -float("inf"))
    return functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def gradient_penalty(
    energy: Energy, actions: Tensor, margin: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Keeps an energy from having cliffs (Florence et al. 2021, appendix B.3.1).

    The mean of max(0, ||dE/da||_inf - margin)^2. A chain that follows a steeper slope jumps.

    Args:
        energy: Differentiable; actions (B, N, A) to energies (B, N).
        actions: Where to look, shape (B, N, A).
        margin: Steepest slope that costs nothing.

    Returns:
        The penalty, a scalar, and the fraction of actions at which it is not 0.
    """
    with torch.enable_grad():
        leaf = actions.detach().requires_grad_()
        (slope,) = torch.autograd.grad(energy(leaf).sum(), leaf, create_graph=True)
    excess = torch.relu(slope.abs().amax(dim=2) - margin)
    return excess.square().mean(), (excess > 0).float().mean()
