"""The energies of a head with fewer passes over the candidates.

relu(h + c) = max(h, -c) + c, and a layer makes a constant of the constant c. So the biases of all
layers move on to the last one: an activation is a comparison, a layer is a product, and the last
layer of a block adds its product to the sum in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebm_policy_ros.energy.heads import EnergyHead, PreActivationBlock, ResidualBlock


@dataclass(frozen=True)
class Activation:
    floor: Tensor
    """What values become at least, shape (width,)."""
    in_place: bool


@dataclass(frozen=True)
class Product:
    weight: Tensor
    """Shape (width before, width after)."""


@dataclass(frozen=True)
class Sum:
    """What comes in, and the last product of what the other parts make of it."""

    parts: tuple[Part, ...]
    last: Tensor


Part = Activation | Product | Sum


class FoldedHead(nn.Module):
    """A head as it is now: what its weights become later is not seen.

    It stays on the device and in the precision that it was made in, and is not for autocast.
    """

    def __init__(self, head: EnergyHead, precision: torch.dtype | None = None) -> None:
        """Folds the biases of a head.

        Args:
            head: On its device, in evaluation mode.
            precision: Of the body; by default that of the head. The first layer, where the 8 bits
                of bfloat16 would move the candidates, and the last, where they would round away
                what tells them apart, stay as they are.
        """
        super().__init__()
        self.head = head
        with torch.no_grad():
            self._first = head.action_half.weight.clone().T
            self._last = head.output.weight.clone().T
            self._precision = precision or self._first.dtype
            constant = self._first.new_zeros(self._first.shape[1])
            self._parts, constant = _folded(head.body.children(), constant, self._precision)
            self._offset = constant @ self._last + head.output.bias

    def prepare(self, features: Tensor) -> Tensor:
        """The features' half of the first layer, shape (B, width)."""
        return self.head.prepare(features)

    def forward(self, prepared: Tensor, actions: Tensor) -> Tensor:
        """Energies, shape (B, N), of candidates (B, N, A) in the normalised box."""
        if torch.is_grad_enabled() and actions.requires_grad:
            # What is overwritten below has no slopes.
            slow: Tensor = self.head(prepared, actions)
            return slow
        return self._energies(prepared, actions)

    def _energies(self, prepared: Tensor, actions: Tensor) -> Tensor:
        """The same, without slopes."""
        first = self._first.expand(len(actions), -1, -1)
        hidden = torch.baddbmm(prepared[:, None], actions, first).flatten(0, 1)
        hidden = _through(self._parts, hidden.to(self._precision))
        energies = torch.addmm(self._offset, hidden.to(self._last.dtype), self._last)
        return energies.view(actions.shape[:2])


def _folded(
    layers: Iterable[nn.Module], constant: Tensor, precision: torch.dtype
) -> tuple[tuple[Part, ...], Tensor]:
    """What makes of values that which the layers make of values + constant, less a constant.

    Returns:
        The parts, and the constant that is missing from what they give.
    """
    parts: list[Part] = []
    for layer in layers:
        if isinstance(layer, nn.Linear):
            weight = layer.weight
            parts.append(Product(weight.to(precision, copy=True).T))
            constant = functional.linear(constant, weight, layer.bias)
        elif isinstance(layer, nn.ReLU):
            parts.append(Activation(-constant.to(precision), layer.inplace))
        else:
            assert isinstance(layer, (PreActivationBlock, ResidualBlock))
            (*inner, last), added = _folded(layer.layers.children(), constant, precision)
            assert isinstance(last, Product)
            parts.append(Sum(tuple(inner), last.weight))
            constant = constant + added
            if isinstance(layer, ResidualBlock):
                parts.append(Activation(-constant.to(precision), True))
    return tuple(parts), constant


def _through(parts: Iterable[Part], values: Tensor) -> Tensor:
    """What the parts make of values, shape (M, width), which they overwrite."""
    for part in parts:
        if isinstance(part, Activation):
            out = values if part.in_place else None
            values = torch.maximum(values, part.floor, out=out)
        elif isinstance(part, Product):
            values = values @ part.weight
        else:
            values.addmm_(_through(part.parts, values), part.last)
    return values
