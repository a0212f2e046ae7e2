"""What speed and exactness are compared with: plain eager PyTorch, and brute force.

Written as a careful reader of Florence et al. (2021; algorithm 1 and appendices B.2 and B.3) would:
the observation is encoded once, its features are repeated for every candidate, and one network
takes both. Of the package it uses a policy file, its encoder and its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ebm_policy_ros.energy.heads import EnergyHead
from ebm_policy_ros.energy.models import AutoregressiveModel, EnergyModel, ModelConfig, build_model
from ebm_policy_ros.policy_file import load_policy_file

Values = npt.NDArray[Any]
Search = Callable[[Sequence[Callable[[Tensor], Tensor]], Tensor, Tensor], Tensor]
"""Energies (one, or one for each dimension) and the box to an action, shape (D,)."""


class PlainEnergy(nn.Module):
    """E(features, action) as one network on both; the weights are those of an `EnergyHead`."""

    def __init__(self, head: EnergyHead) -> None:
        super().__init__()
        weight = torch.cat((head.feature_half.weight, head.action_half.weight), dim=1)
        first = nn.Linear(weight.shape[1], weight.shape[0])
        first.weight.data, first.bias.data = weight.detach(), head.feature_half.bias.detach()
        self.layers = nn.Sequential(first, head.body, head.output)

    def forward(self, features: Tensor, actions: Tensor) -> Tensor:
        """Energies, shape (N,), of actions (N, D) in the box mapped to [-1, 1].

        Args:
            features: Of one observation, shape (1, F).
            actions: The candidates.
        """
        repeated = features.repeat(len(actions), 1)
        energies: Tensor = self.layers(torch.cat((repeated, actions), dim=1))
        return energies.squeeze(1)


class PlainPolicy:
    """A policy file's model in eager PyTorch, and a search."""

    def __init__(self, path: Path, search: Search, device: str = "cpu") -> None:
        content = load_policy_file(path)
        horizon, size = content.action_shape
        model = build_model(ModelConfig.from_dict(content.model), content.shapes, horizon * size)
        assert isinstance(model, (EnergyModel, AutoregressiveModel))
        model.load_state_dict(content.state)
        self.model = model.to(device).eval()
        heads = model.heads if isinstance(model, AutoregressiveModel) else [model.head]
        self.parts = [PlainEnergy(head) for head in heads if isinstance(head, EnergyHead)]
        self._shapes, self._search, self._device = content.shapes, search, device
        torch.manual_seed(0)

    def energies(self, observation: Mapping[str, Values]) -> list[Callable[[Tensor], Tensor]]:
        """What is searched for an observation: actions (N, D), or prefixes, to energies (N,)."""
        batch = {
            name: torch.from_numpy(observation[name])[None].to(self._device)
            for name in self._shapes
        }
        features = self.model.encoder(batch)
        return [lambda actions, part=part: part(features, actions) for part in self.parts]

    @torch.no_grad()
    def decide(self, observation: Mapping[str, Values]) -> npt.NDArray[np.float32]:
        """The action, shape (H*D,), in units."""
        box = self.model.box
        action = self._search(self.energies(observation), *box.corners())
        units: npt.NDArray[np.float32] = box.denormalise(action).cpu().numpy()
        return units


def derivative_free(samples: int, evaluations: int, noise: float = 0.33) -> Search:
    """Algorithm 1, but the action is the lowest of the last evaluated candidates."""

    def search(energies: Any, low: Tensor, high: Tensor) -> Tensor:
        (energy,), sigma = energies, noise
        actions = low + (high - low) * torch.rand(samples, len(low), device=low.device)
        values = energy(actions)
        for _ in range(evaluations - 1):
            chosen = torch.multinomial(torch.softmax(-values, 0), samples, replacement=True)
            actions = actions[chosen] + sigma * torch.randn_like(actions)
            actions = actions.clamp(low, high)
            sigma *= 0.5
            values = energy(actions)
        return actions[values.argmin()]

    return search


def autoregressive(samples: int, iterations: int, noise: float = 0.33) -> Search:
    """Appendix B.2: algorithm 1 for one dimension after the other, again and again.

    The action is the candidate whose energies have the lowest sum.
    """

    def search(energies: Any, low: Tensor, high: Tensor) -> Tensor:
        sigma = noise
        actions = low + (high - low) * torch.rand(samples, len(low), device=low.device)
        for i in range(iterations):
            for j, energy in enumerate(energies):
                if i:
                    moved = actions[:, j] + sigma * torch.randn_like(actions[:, j])
                    actions[:, j] = moved.clamp(low[j], high[j])
                values = energy(actions[:, : j + 1])
                weights = torch.softmax(-values, 0)
                actions = actions[torch.multinomial(weights, samples, replacement=True)]
            sigma = sigma * 0.5 if i else sigma
        total = sum(energy(actions[:, : j + 1]) for j, energy in enumerate(energies))
        return actions[total.argmin()]

    return search


def langevin(samples: int, iterations: int) -> Search:
    """Appendix B.3: steps from 0.1 to 1e-5 as a square, noise 1, changes clipped at 0.1."""

    def search(energies: Any, low: Tensor, high: Tensor) -> Tensor:
        (energy,) = energies
        actions = low + (high - low) * torch.rand(samples, len(low), device=low.device)
        for k in range(iterations):
            step = (0.1 - 1e-5) * (1 - k / (iterations - 1)) ** 2 + 1e-5
            actions.requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(energy(actions).sum(), actions)
            change = step * (gradient / 2 + torch.randn_like(actions))
            actions = (actions.detach() - change.clamp(-0.1, 0.1)).clamp(low, high)
        return actions[energy(actions).argmin()]

    return search


def brute_force(
    energy: Callable[[Tensor], Tensor],
    grid_energies: Tensor,
    axis: Tensor,
    minima: int = 8,
    rounds: int = 6,
) -> tuple[Tensor, float]:
    """The minimiser in two dimensions: a grid, then ever finer grids around its lowest minima.

    Args:
        energy: Actions (N, 2) to energies (N,).
        grid_energies: Of all pairs of values of `axis`, shape (K, K), the first value by row.
        axis: The grid's values in each dimension, shape (K,), evenly spread.
        minima: How many of the grid's local minima are looked into.
        rounds: Grids of 7 x 7, each a third as wide as the one before.

    Returns:
        The action, shape (2,), and its energy.
    """
    around = -nn.functional.max_pool2d(-grid_energies[None], 3, 1, 1)[0]
    lowest = grid_energies.masked_fill(grid_energies > around, float("inf")).flatten()
    index = lowest.topk(minima, largest=False).indices
    places = torch.stack((axis[index // len(axis)], axis[index % len(axis)]), dim=1)
    reach = float(axis[1] - axis[0])
    side = torch.linspace(-1, 1, 7, device=axis.device)
    offsets = torch.cartesian_prod(side, side)
    for _ in range(rounds):
        near = (places[:, None] + reach * offsets).clamp(axis[0], axis[-1])
        values = energy(near.flatten(0, 1)).reshape(minima, -1)
        places = near[torch.arange(minima), values.argmin(dim=1)]
        reach /= 3
    values = values.amin(dim=1)
    return places[values.argmin()], float(values.min())


def joint_grid(energies: Sequence[Callable[[Tensor], Tensor]], axis: Tensor) -> Tensor:
    """What `joint_energy` of two dimensions is on all pairs of values of `axis`, shape (K, K).

    As a sum over the dimensions of -log p(own value | prefix), normalised over the same 128 points.
    """
    even = (2 * torch.arange(128, device=axis.device) + 1) / 128 - 1
    both = torch.cat((axis, even))

    def information(values: Tensor) -> Tensor:
        own, others = values[..., : len(axis)], values[..., len(axis) :]
        return own + torch.logaddexp(-own, torch.logsumexp(-others, -1, keepdim=True))

    first = information(energies[0](both[:, None]))
    second = torch.stack(
        [
            information(energies[1](torch.stack((value.expand(len(both)), both), dim=1)))
            for value in axis
        ]
    )
    return first[:, None] + second - 2 * float(np.log(129))
