"""Bias folding: the energies of a head with fewer passes over the candidates.

relu(h + c) = max(h, -c) + c, and a linear layer maps the constant c to another constant. So the
biases of all layers are moved to the last layer. An activation becomes a maximum, a layer becomes
a matrix product, and the last layer of a block adds its product to the sum in place.
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
    """Maximum of the values and a lower bound."""

    floor: Tensor
    """Lower bound of the values, shape (width,)."""
    in_place: bool
    """True if the result overwrites the values."""


@dataclass(frozen=True)
class Product:
    """Matrix product with the weight of a layer."""

    weight: Tensor
    """Transposed weight, shape (width before, width after)."""


@dataclass(frozen=True)
class Sum:
    """Residual block: the input plus the output of its parts and its last product."""

    parts: tuple[Part, ...]
    """Parts before the last product."""
    last: Tensor
    """Weight of the last product, shape (width before, width after)."""


Part = Activation | Product | Sum


class FoldedHead(nn.Module):
    """Copy of a head with folded biases; later changes of the head's weights have no effect.

    It stays on the device and in the precision in which it was created. Do not use it in autocast.
    """

    def __init__(self, head: EnergyHead, precision: torch.dtype | None = None) -> None:
        """Fold the biases of a head.

        Args:
            head: Head on its device, in evaluation mode.
            precision: Precision of the body; by default that of the head. The first and the last
                layer keep the precision of the head: the 8 bits of bfloat16 would move the
                candidates in the first layer, and round away their differences in the last.
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
        """Compute the part of the first layer that depends on the features, shape (B, width)."""
        return self.head.prepare(features)

    def forward(self, prepared: Tensor, actions: Tensor) -> Tensor:
        """Compute energies, shape (B, N), of candidates (B, N, A) in the normalised box."""
        if torch.is_grad_enabled() and actions.requires_grad:
            # The in-place operations of the folded head do not support gradients.
            slow: Tensor = self.head(prepared, actions)
            return slow
        return self._energies(prepared, actions)

    def _energies(self, prepared: Tensor, actions: Tensor) -> Tensor:
        """Compute the same energies without support for gradients."""
        first = self._first.expand(len(actions), -1, -1)
        hidden = torch.baddbmm(prepared[:, None], actions, first).flatten(0, 1)
        hidden = _through(self._parts, hidden.to(self._precision))
        energies = torch.addmm(self._offset, hidden.to(self._last.dtype), self._last)
        return energies.view(actions.shape[:2])


def _folded(
    layers: Iterable[nn.Module], constant: Tensor, precision: torch.dtype
) -> tuple[tuple[Part, ...], Tensor]:
    """Fold layers whose input is values + `constant`.

    The layers applied to values + `constant` equal the parts applied to the values, plus the
    returned constant.

    Returns:
        The parts, and the constant to add to their output.
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
    """Apply the parts to values, shape (M, width); the values are overwritten."""
    for part in parts:
        if isinstance(part, Activation):
            out = values if part.in_place else None
            values = torch.maximum(values, part.floor, out=out)
        elif isinstance(part, Product):
            values = values @ part.weight
        else:
            values.addmm_(_through(part.parts, values), part.last)
    return values
