"""Counter-examples: the actions whose energy training raises."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(batch: int, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Counter-examples drawn evenly from the box mapped to [-1, 1].

    Returns:
        Shape (batch, count, size), on the generator's device.
    """
    shape = (batch, count, size)
    return torch.rand(shape, generator=generator, device=generator.device) * 2 - 1
