"""Batched heads: the heads of an autoregressive model, computed together.

If the heads are computed one after the other, the calls of their small layers take more time than
the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ebm_policy_ros.energy.heads import EnergyHead, PreActivationBlock, ResidualBlock


def energies_along(
    heads: Sequence[EnergyHead], prepared: Tensor, actions: Tensor
) -> Callable[[Tensor], Tensor]:
    """Build a function for the conditional energies E_j of all dimensions j together.

    E_j is evaluated for values of dimension j; the values of the dimensions before j are those of
    `actions`.

    Args:
        heads: Exact heads (not folded) with the same settings; head j takes j + 1 values.
        prepared: Part of the first layer that depends on the features, for each head, shape
            (B, D, width).
        actions: Actions in the normalised box, shape (B, D).

    Returns:
        Function from values (B, D, N) to energies (B, D, N).
    """
    size = len(heads)
    first = torch.stack(
        [
            nn.functional.pad(head.action_half.weight, (0, size - j - 1))
            for j, head in enumerate(heads)
        ]
    )
    own = first.diagonal(dim1=0, dim2=2).T
    before = torch.ones_like(first[:, 0]).tril(-1)[:, None] * first
    known = prepared + torch.einsum("bk,jwk->bjw", actions, before)
    bodies = [head.body for head in heads]
    last = torch.stack([head.output.weight for head in heads])
    bias = torch.stack([head.output.bias for head in heads])

    def along(values: Tensor) -> Tensor:
        batch, _, count = values.shape
        # The head is the first dimension, so that the values of a head are contiguous in memory.
        hidden = torch.addcmul(
            known.transpose(0, 1)[:, :, None],
            values.transpose(0, 1)[..., None],
            own[:, None, None],
        )
        hidden = _through(bodies, hidden.flatten(1, 2))
        # In full precision, as in the head: only differences between energies matter.
        with torch.autocast(hidden.device.type, enabled=False):
            energies = torch.baddbmm(bias[:, None], hidden.to(last.dtype), last.transpose(1, 2))
        return energies.view(size, batch, count).transpose(0, 1)

    return along


def _through(layers: Sequence[nn.Module], values: Tensor) -> Tensor:
    """Apply one layer of each head to the values of that head, shape (D, M, width)."""
    one = layers[0]
    if isinstance(one, nn.Linear):
        linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
        weight = torch.stack([layer.weight for layer in linears])
        bias = torch.stack([layer.bias for layer in linears])
        return torch.baddbmm(bias[:, None], values, weight.transpose(1, 2))
    if isinstance(one, nn.Sequential):
        for parts in zip(*(layer.children() for layer in layers), strict=True):
            values = _through(parts, values)
        return values
    if isinstance(one, (PreActivationBlock, ResidualBlock)):
        added = _through([layer.get_submodule("layers") for layer in layers], values).add_(values)
        return added.relu_() if isinstance(one, ResidualBlock) else added
    assert isinstance(one, nn.ReLU)
    activated: Tensor = one(values)
    return activated
