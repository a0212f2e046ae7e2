"""Losses of the training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ebm_policy_ros.inference.candidates import Energy
from ebm_policy_ros.util.plugins import Registry

LOSSES: Registry[Callable[[Tensor, Tensor, float, Tensor | None], Tensor]] = Registry("loss")
"""Losses by name: from the energies of demonstrated actions (B,) and of negatives (B, N), the
temperature and a mask of ignored negatives, (B, N) or None, to a scalar."""


@LOSSES.register("info_nce")
def info_nce(
    positive: Tensor, negatives: Tensor, temperature: float = 1.0, masked: Tensor | None = None
) -> Tensor:
    """InfoNCE loss of the demonstrated action against negatives (Oord et al. 2018).

    The cross-entropy of selecting the positive by softmax(-E / temperature), averaged over the
    batch: log(N + 1) for uninformative energies, 0 for perfect ones.

    Args:
        positive: Energies of the demonstrated actions, shape (B,).
        negatives: Energies of the negatives, shape (B, N).
        temperature: Divides the energies.
        masked: Negatives that are ignored, shape (B, N).

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
    """Penalty on steep gradients of an energy (Florence et al. 2021, appendix B.3.1).

    The mean of max(0, ||dE/da||_inf - margin)^2. A chain that follows a steeper gradient jumps.

    Args:
        energy: Differentiable; actions (B, N, A) to energies (B, N).
        actions: Actions at which the gradient is computed, shape (B, N, A).
        margin: Largest gradient without penalty.

    Returns:
        The penalty, a scalar, and the fraction of actions at which it is not 0.
    """
    with torch.enable_grad():
        leaf = actions.detach().requires_grad_()
        (slope,) = torch.autograd.grad(energy(leaf).sum(), leaf, create_graph=True)
    excess = torch.relu(slope.abs().amax(dim=2) - margin)
    return excess.square().mean(), (excess > 0).float().mean()
