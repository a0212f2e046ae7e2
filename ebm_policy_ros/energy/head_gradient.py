"""The slope of an energy over the actions, without automatic differentiation.

Searches ask for it hundreds of times a decision, of small batches, where building and walking the
tape takes most of the time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebm_policy_ros.energy.heads import EnergyHead, PreActivationBlock, ResidualBlock

Backward = Callable[[Tensor], Tensor]
"""From the gradient over an output to that over the input."""


def value_and_slope(head: EnergyHead, prepared: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Energies and their gradients over the actions, both detached.

    Args:
        head: Of the energy; an exact one.
        prepared: The features' half of its first layer, shape (B, width).
        actions: Candidates, shape (B, N, A), in the normalised box.

    Returns:
        Shapes (B, N) and (B, N, A).
    """
    with torch.no_grad():
        # Read once: a normalised weight changes a little each time that training asks for it.
        first, weight = head.action_half.weight, head.output.weight
        hidden, back = _through(head.body, prepared[:, None] + functional.linear(actions, first))
        # As in the head, differences between energies decide.
        with torch.autocast(hidden.device.type, enabled=False):
            energies = functional.linear(hidden.to(weight.dtype), weight, head.output.bias)
        slope = back(weight[0].to(hidden.dtype).expand_as(hidden)) @ first
        return energies.squeeze(-1), slope.to(actions.dtype)


def _through(layer: nn.Module, values: Tensor) -> tuple[Tensor, Backward]:
    """What a layer makes of values, and the way back."""
    if isinstance(layer, nn.Linear):
        weight = layer.weight
        return functional.linear(values, weight, layer.bias), lambda slope: slope @ weight
    if isinstance(layer, nn.ReLU):
        return _activated(values)
    if isinstance(layer, nn.Sequential):
        backs = []
        for part in layer:
            values, back = _through(part, values)
            backs.append(back)
        return values, lambda slope: _all(backs, slope)
    assert isinstance(layer, (PreActivationBlock, ResidualBlock))
    added, inner = _through(layer.layers, values)
    if isinstance(layer, PreActivationBlock):
        return values + added, lambda slope: slope + inner(slope)
    result, outer = _activated(values + added)

    def back_of_both(slope: Tensor) -> Tensor:
        slope = outer(slope)
        return slope + inner(slope)

    return result, back_of_both


def _activated(values: Tensor) -> tuple[Tensor, Backward]:
    active = values.relu()
    return active, lambda slope: torch.ops.aten.threshold_backward(slope, active, 0)


def _all(backs: list[Backward], slope: Tensor) -> Tensor:
    for back in reversed(backs):
        slope = back(slope)
    return slope
