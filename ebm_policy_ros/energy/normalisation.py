"""Normalisation of a model's input and output: measurements, and actions in the box [-1, 1]."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Normalisation = Literal["standard", "min_max"]

# Smallest scale of a signal (0.1 mm, 0.1 mrad in SI units). A smaller one is noise of a constant.
SMALLEST = 1e-4
# Smallest range of a signal, as a fraction of its value. A smaller one is rounding of a constant.
ROUNDING = 1e-6


class Normalise(nn.Module):
    """Normalisation of measurements, fitted to demonstrations: (values - centre) / scale.

    standard: zero mean and unit variance; min_max: from -1 to 1. A constant value is only shifted.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, size: int, kind: Normalisation = "standard") -> None:
        """Create the identity for vectors of `size` values; `fit` changes it."""
        super().__init__()
        self._kind = kind
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def fit(self, values: Tensor) -> None:
        """Fit centre and scale to `values`, shape (M, K)."""
        values = values.double()
        if self._kind == "standard":
            centre, scale = values.mean(dim=0), values.std(dim=0, correction=0)
        else:
            low, high = values.amin(dim=0), values.amax(dim=0)
            centre, scale = (low + high) / 2, (high - low) / 2
        self.centre.copy_(centre)
        self.scale.copy_(torch.where(scale < SMALLEST, torch.ones_like(scale), scale))

    def forward(self, values: Tensor) -> Tensor:
        """Normalise values, shape (B, K)."""
        return (values - self.centre) / self.scale


class ActionBox(nn.Module):
    """Box of the actions that a policy may choose, mapped to [-1, 1] in each dimension.

    Candidates and negatives are drawn from this box. It is wider than the demonstrations by 5 % of
    their range on each side (Florence et al. 2021, appendix B). A dimension that is constant in
    the demonstrations keeps its value.
    """

    MARGIN = 0.05

    low: Tensor
    high: Tensor

    def __init__(self, size: int) -> None:
        """Create the box [-1, 1] for actions of `size` values; `fit` changes it."""
        super().__init__()
        self.register_buffer("low", -torch.ones(size))
        self.register_buffer("high", torch.ones(size))

    def fit(self, actions: Tensor) -> None:
        """Fit the box to demonstrated `actions`, shape (M, H*D), in the interface's units."""
        low, high = actions.double().amin(dim=0), actions.double().amax(dim=0)
        margin = self.MARGIN * (high - low)
        constant = high - low <= ROUNDING * torch.maximum(low.abs(), high.abs())
        self.low.copy_(torch.where(constant, low, low - margin))
        self.high.copy_(torch.where(constant, low, high + margin))

    def corners(self) -> tuple[Tensor, Tensor]:
        """Corners of the normalised box: -1 and 1, or 0 and 0 for a dimension without width."""
        open_ = (self.high > self.low).to(self.low.dtype)
        return -open_, open_

    def normalise(self, actions: Tensor) -> Tensor:
        """Map actions, shape (..., H*D), from the interface's units to the box [-1, 1]."""
        half = (self.high - self.low) / 2
        centred = actions - (self.low + self.high) / 2
        # A constant dimension has no width; its only value is the centre.
        return torch.where(half > 0, centred / half.where(half > 0, torch.ones_like(half)), 0.0)

    def denormalise(self, actions: Tensor) -> Tensor:
        """Map actions, shape (..., H*D), from the box [-1, 1] to the interface's units."""
        return (self.low + self.high) / 2 + actions * (self.high - self.low) / 2
