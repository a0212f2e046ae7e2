"""Normalisation of measurements."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Normalisation = Literal["standard", "min_max"]

# Smallest scale of a signal (0.1 mm, 0.1 mrad in SI units). A smaller one is noise of a constant.
SMALLEST = 1e-4


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
