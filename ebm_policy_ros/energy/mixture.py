"""Mixture of Gaussians over actions, for each observation (Bishop 1994)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

# Units of each layer of a network.
_WIDTH = 256


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
    def of(cls, numbers: Tensor, high: Tensor) -> Mixture:
        """Create the mixtures that a network describes.

        Args:
            numbers: Output of the network, shape (B, `numbers_of(K, A)`).
            high: Upper corner of the box, shape (A,). A coordinate whose bound is 0 has no width:
                it has the same density in every Gaussian.
        """
        size = len(high)
        count = numbers.shape[1] // numbers_of(1, size)
        weights, means, log_std = numbers.float().tensor_split((count, count * (1 + size)), dim=1)
        means, log_std = (part.reshape(-1, count, size) * high for part in (means, log_std))
        return cls(weights.log_softmax(dim=1), means, log_std)

    def log_density(self, actions: Tensor) -> Tensor:
        """Compute logarithms of the density, shape (B, N), at actions (B, N, A)."""
        return torch.logsumexp(self._joint(self._standard(actions)), dim=1)

    def loss(self, actions: Tensor) -> Tensor:
        """Negative log-likelihood of actions (B, A), a scalar, with another gradient of the means.

        By its own gradient a Gaussian that is far off becomes wide and then hardly moves. So it is
        multiplied by the variance: each mean learns by its share of the mean squared error
        (Seitzer et al. 2022, On the pitfalls of heteroscedastic uncertainty estimation, beta = 1).
        """
        variance = (2 * self.log_std.detach()).exp()
        means = self.means.detach() + variance * (self.means - self.means.detach())
        return -replace(self, means=means).log_density(actions[:, None]).mean()

    def energy_and_slope(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Compute -log density, shape (B, N), and its gradient over the actions, (B, N, A)."""
        standard = self._standard(actions)
        joint = self._joint(standard)
        pull = joint.softmax(dim=1)[..., None] * standard * (-self.log_std[:, :, None]).exp()
        return -torch.logsumexp(joint, dim=1), pull.sum(dim=1)

    def _standard(self, actions: Tensor) -> Tensor:
        """Offsets of actions from each mean in standard deviations, shape (B, K, N, A)."""
        return (actions[:, None] - self.means[:, :, None]) * (-self.log_std[:, :, None]).exp()

    def _joint(self, standard: Tensor) -> Tensor:
        """Logarithms of weight times density of each Gaussian, shape (B, K, N)."""
        constant = self.means.shape[2] * math.log(2 * math.pi) / 2
        heights = self.log_weights - self.log_std.sum(dim=2) - constant
        return heights[..., None] - standard.square().sum(dim=3) / 2

    def evened(self) -> Mixture:
        """Return the mixture with weights halfway to equal ones."""
        equal = torch.full_like(self.log_weights, -math.log(self.log_weights.shape[1]))
        weights = torch.logaddexp(self.log_weights, equal) - math.log(2)
        return replace(self, log_weights=weights)

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


class MixtureNetwork(nn.Module):
    """Network of a proposal, beside the trunk of its energy.

    In layers that both share the gradient of the energy prevails, as that of weights and widths
    does over that of the means. The last layers see the inputs too: exact measurements are part of
    many exact actions.
    """

    def __init__(self, inputs: int, components: int, size: int) -> None:
        """Create a network from `inputs` values to the numbers of Gaussians over `size` values."""
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(inputs, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH), nn.ReLU()
        )
        self._components = components
        self.means = self._head(inputs, components * size)
        self.rest = self._head(inputs, components + components * size)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the numbers that `Mixture.of` takes, (B, numbers), from inputs (B, inputs)."""
        seen = torch.cat((self.trunk(inputs), inputs), dim=1)
        weights, log_std = self.rest(seen).tensor_split((self._components,), dim=1)
        return torch.cat((weights, self.means(seen), log_std), dim=1)

    @staticmethod
    def _head(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(_WIDTH + inputs, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, outputs)
        )
