"""Mixture of Gaussians over actions, for each observation (Bishop 1994)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def numbers_of(components: int, size: int) -> int:
    """Number of values that describe a mixture of `components` Gaussians over `size` values."""
    return components * (1 + 2 * size)


@dataclass(frozen=True)
class Mixture:
    """Mixture for each of B observations: K Gaussians, whose coordinates are independent."""

    log_weights: Tensor
    """Logarithms of the weights, shape (B, K)."""
    means: Tensor
    """Means in the box mapped to [-1, 1], shape (B, K, A)."""
    log_std: Tensor
    """Logarithms of the standard deviations, in half-widths of the box, shape (B, K, A)."""

    @classmethod
    def of(cls, numbers: Tensor, size: int) -> Mixture:
        """Create the mixtures that a network describes.

        Args:
            numbers: Output of the network, shape (B, `numbers_of(K, size)`).
            size: Number of coordinates A.
        """
        count = numbers.shape[1] // numbers_of(1, size)
        weights, means, log_std = numbers.float().tensor_split((count, count * (1 + size)), dim=1)
        shape = (len(numbers), count, size)
        return cls(weights.log_softmax(dim=1), means.reshape(shape), log_std.reshape(shape))

    def log_density(self, actions: Tensor) -> Tensor:
        """Compute logarithms of the density, shape (B, N), at actions (B, N, A)."""
        logs = [
            self.log_weights[:, k, None]
            - (
                ((actions - self.means[:, k, None]) * (-self.log_std[:, k, None]).exp()).square()
                / 2
                + self.log_std[:, k, None]
            ).sum(dim=2)
            for k in range(self.means.shape[1])
        ]
        constant = actions.shape[2] * math.log(2 * math.pi) / 2
        return torch.logsumexp(torch.stack(logs), dim=0) - constant

    def sample(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Draw actions, shape (B, count, A), on the device of the mixture."""
        shape = (len(self.means), count, self.means.shape[1])
        # The Gumbel-max trick does not wait for the device.
        uniform = torch.rand(shape, generator=generator, device=self.means.device)
        index = (self.log_weights[:, None] - (-uniform.log()).log()).argmax(dim=2)
        index = index[..., None].expand(-1, -1, self.means.shape[2])
        means, std = self.means.gather(1, index), self.log_std.exp().gather(1, index)
        draws = torch.randn(means.shape, generator=generator, device=means.device)
        return means + std * draws
