"""Units in and out of a model: normalised measurements, actions in a box of [-1, 1]."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Normalisation = Literal["standard", "min_max"]

# Spreads below this (0.1 mm, 0.1 mrad in SI units) are noise of a constant, not a signal.
SMALLEST = 1e-4
# Ranges below this fraction of the value are rounding of a constant.
ROUNDING = 1e-6


class Normalise(nn.Module):
    """Measurements as fitted to the demonstrations: (values - centre) / scale.

    standard: zero mean and unit variance; min_max: from -1 to 1. A constant is only shifted.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, size: int, kind: Normalisation = "standard") -> None:
        """The identity for vectors of `size` values until `fit` is called."""
        super().__init__()
        self._kind = kind
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def fit(self, values: Tensor) -> None:
        """Take the statistics of `values`, shape (M, K)."""
        values = values.double()
        if self._kind == "standard":
            centre, scale = values.mean(dim=0), values.std(dim=0, correction=0)
        else:
            low, high = values.amin(dim=0), values.amax(dim=0)
            centre, scale = (low + high) / 2, (high - low) / 2
        self.centre.copy_(centre)
        self.scale.copy_(torch.where(scale < SMALLEST, torch.ones_like(scale), scale))

    def forward(self, values: Tensor) -> Tensor:
        """Normalised values, shape (B, K) as the input."""
        return (values - self.centre) / self.scale


class ActionBox(nn.Module):
    """The box of actions that a policy may choose from, mapped to [-1, 1] in each dimension.

    Candidates and counter-examples are drawn from this box, so it is a little wider than the
    demonstrations: 5 % of their range on each side (Florence et al. 2021, appendix B). A
    dimension that never changed in the demonstrations keeps its value.
    """

    MARGIN = 0.05

    low: Tensor
    high: Tensor

    def __init__(self, size: int) -> None:
        """The box [-1, 1] for actions of `size` values until `fit` is called."""
        super().__init__()
        self.register_buffer("low", -torch.ones(size))
        self.register_buffer("high", torch.ones(size))

    def fit(self, actions: Tensor) -> None:
        """Enclose the demonstrated `actions`, shape (M, H*D), in the interface's units."""
        low, high = actions.double().amin(dim=0), actions.double().amax(dim=0)
        margin = self.MARGIN * (high - low)
        constant = high - low <= ROUNDING * torch.maximum(low.abs(), high.abs())
        self.low.copy_(torch.where(constant, low, low - margin))
        self.high.copy_(torch.where(constant, low, high + margin))

    def corners(self) -> tuple[Tensor, Tensor]:
        """The box as a model sees it: -1 and 1, or 0 twice for a dimension without width."""
        open_ = (self.high > self.low).to(self.low.dtype)
        return -open_, open_

    def normalise(self, actions: Tensor) -> Tensor:
        """Actions in the interface's units, shape (..., H*D), as fractions of the box."""
        half = (self.high - self.low) / 2
        centred = actions - (self.low + self.high) / 2
        # A constant dimension has no width; its only value is the middle.
        return torch.where(half > 0, centred / half.where(half > 0, torch.ones_like(half)), 0.0)

    def denormalise(self, actions: Tensor) -> Tensor:
        """Fractions of the box, shape (..., H*D), as actions in the interface's units."""
        return (self.low + self.high) / 2 + actions * (self.high - self.low) / 2
