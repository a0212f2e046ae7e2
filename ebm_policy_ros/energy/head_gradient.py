"""Head gradient: the gradient of an energy over the actions, without automatic differentiation.

A search needs it hundreds of times per decision, for small batches. With automatic
differentiation, building and traversing the autograd graph would take most of the time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebm_policy_ros.energy.heads import EnergyHead, PreActivationBlock, ResidualBlock

Backward = Callable[[Tensor], Tensor]
"""Function from the gradient over the output of a layer to the gradient over its input."""


def value_and_slope(head: EnergyHead, prepared: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Compute energies and their gradients over the actions, both detached.

    Args:
        head: Exact head of the energy (not folded).
        prepared: Part of its first layer that depends on the features, shape (B, width).
        actions: Candidates in the normalised box, shape (B, N, A).

    Returns:
        Energies, shape (B, N), and gradients, shape (B, N, A).
    """
    with torch.no_grad():
        # Read once: in training, each access to a spectrally normalised weight changes it.
        first, weight = head.action_half.weight, head.output.weight
        hidden, back = _through(head.body, prepared[:, None] + functional.linear(actions, first))
        # In full precision, as in the head: only differences between energies matter.
        with torch.autocast(hidden.device.type, enabled=False):
            energies = functional.linear(hidden.to(weight.dtype), weight, head.output.bias)
        slope = back(weight[0].to(hidden.dtype).expand_as(hidden)) @ first
        return energies.squeeze(-1), slope.to(actions.dtype)


def _through(layer: nn.Module, values: Tensor) -> tuple[Tensor, Backward]:
    """Apply a layer to values; return its output and its backward function."""
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
    if not isinstance(layer, (PreActivationBlock, ResidualBlock)):
        return _differentiated(layer, values)
    added, inner = _through(layer.layers, values)
    if isinstance(layer, PreActivationBlock):
        return values + added, lambda slope: slope + inner(slope)
    result, outer = _activated(values + added)

    def back_of_both(slope: Tensor) -> Tensor:
        slope = outer(slope)
        return slope + inner(slope)

    return result, back_of_both


def _differentiated(layer: nn.Module, values: Tensor) -> tuple[Tensor, Backward]:
    """Apply a layer from another package, with automatic differentiation."""
    with torch.enable_grad():
        start = values.detach().requires_grad_()
        result = layer(start.clone())  # a leaf can't be overwritten
    return result.detach(), lambda slope: torch.autograd.grad(result, start, slope)[0]


def _activated(values: Tensor) -> tuple[Tensor, Backward]:
    active = values.relu()
    return active, lambda slope: torch.ops.aten.threshold_backward(slope, active, 0)


def _all(backs: list[Backward], slope: Tensor) -> Tensor:
    for back in reversed(backs):
        slope = back(slope)
    return slope
