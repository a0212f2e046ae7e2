"""What training minimises."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(positive: Tensor, negatives: Tensor, temperature: float = 1.0) -> Tensor:
    """How badly the demonstrated action is told from counter-examples (Oord et al. 2018).

    The cross-entropy of picking the positive by softmax(-E / temperature), averaged over the
    batch: log(N + 1) for energies that know nothing, 0 for ones that know everything.

    Args:
        positive: Energies of the demonstrated actions, shape (B,).
        negatives: Energies of the counter-examples, shape (B, N).
        temperature: Divides the energies.

    Returns:
        A scalar.
    """
    logits = -torch.cat((positive[:, None], negatives), dim=1) / temperature
    return functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of actions, shape (B, A) both, over the batch and the dimensions."""
    return functional.mse_loss(prediction, target)
