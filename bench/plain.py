"""Baselines of speed and accuracy: plain eager PyTorch, and brute force.

A direct implementation of Florence et al. (2021; algorithm 1, appendices B.2 and B.3): the
observation is encoded once, its features are repeated for every candidate, and one network takes
both. From the package it uses a policy file, its encoder and its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ebm_policy_ros.energy.heads import EnergyHead
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import AutoregressiveModel, EnergyModel, build_model
from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree, JointEnergy
from ebm_policy_ros.inference.methods import InferenceMethod
from ebm_policy_ros.policy.file import load_policy_file

Values = npt.NDArray[Any]
Energy = Callable[[Tensor], Tensor]
"""Maps actions (N, D) of one observation to energies (N,)."""
Energies = Sequence[Energy]
"""One energy, or one for each dimension, of prefixes (N, j+1)."""
Search = Callable[[Energies, Tensor, Tensor], Tensor]
"""Maps energies and the corners of the box to an action, shape (D,)."""
# Initial values of each dimension in brute force, and number of candidates evaluated at a time.
GRID, CHUNK = 501, 2**11


class PlainEnergy(nn.Module):
    """E(features, action) as one network on both; the weights are those of an `EnergyHead`."""

    def __init__(self, head: EnergyHead, kind: str) -> None:
        super().__init__()
        weight = torch.cat((head.feature_half.weight, head.action_half.weight), dim=1)
        self.first = nn.Linear(weight.shape[1], weight.shape[0])
        self.first.weight.data = weight.detach()
        self.first.bias.data = head.feature_half.bias.detach()
        layers = [layer for layer in head.body.modules() if isinstance(layer, nn.Linear)]
        size = {"mlp": 1, "residual": 2, "preactivation": 2, "dense_residual": 3}[kind]
        self.blocks = nn.ModuleList(
            nn.ModuleList(layers[i : i + size]) for i in range(0, len(layers), size)
        )
        self.output = head.output
        self.kind = kind

    def forward(self, features: Tensor, actions: Tensor) -> Tensor:
        """Energies, shape (N,), of actions (N, D) in the box mapped to [-1, 1].

        Args:
            features: Features of each candidate's observation, shape (N, F).
            actions: The candidates.
        """
        hidden = self.first(torch.cat((features, actions), dim=1))
        before = self.kind in ("preactivation", "dense_residual")
        hidden = hidden if before else torch.relu(hidden)
        for block in self.blocks:
            inner = hidden
            for number, layer in enumerate(block.children()):
                inner = layer(torch.relu(inner) if before or number else inner)
            hidden = inner if self.kind == "mlp" else hidden + inner
            hidden = hidden if before else torch.relu(hidden)
        energies: Tensor = self.output(torch.relu(hidden) if before else hidden)
        return energies.squeeze(1)


class PlainPolicy:
    """A policy file's model in eager PyTorch, with a search."""

    def __init__(self, path: Path, search: Search, device: str = "cpu") -> None:
        content = load_policy_file(path)
        horizon, size = content.action_shape
        config = ModelConfig.from_dict(content.model)
        model = build_model(config, content.shapes, horizon * size, content.coordinates)
        assert isinstance(model, (EnergyModel, AutoregressiveModel))
        model.load_state_dict(content.state)
        self.model = model.to(device).eval()
        heads = model.heads if isinstance(model, AutoregressiveModel) else [model.head]
        kind = content.model["head"]["kind"]
        self.parts = [PlainEnergy(head, kind) for head in heads if isinstance(head, EnergyHead)]
        self._shapes, self._search, self._device = content.shapes, search, device
        torch.manual_seed(0)

    def energies(self, observation: Mapping[str, Values]) -> list[Energy]:
        """Energies to search for an observation, of actions (N, D) or prefixes, shape (N,)."""
        features = self.model.encoder(self._batch(observation))
        return [partial(_repeated, part, features) for part in self.parts]

    def _batch(self, observation: Mapping[str, Values]) -> dict[str, Tensor]:
        return {
            name: torch.from_numpy(observation[name])[None].to(self._device)
            for name in self._shapes
        }

    def origin(self, observation: Mapping[str, Values]) -> Tensor | None:
        """Measurement that actions are relative to, (1, H*D); None for absolute actions."""
        return self.model.box.origin(self._batch(observation))

    def whole(self, energies: Energies) -> Energy:
        """Energy of whole actions that corresponds to `energies`."""
        if len(energies) == 1:
            return energies[0]
        parts = [lambda actions, part=part: part(actions[0])[None] for part in energies]
        joint = JointEnergy(parts, *self.model.box.corners())
        return lambda actions: joint(actions[None])[0]

    @torch.no_grad()
    def flop(self, observation: Mapping[str, Values], inference: InferenceMethod) -> float:
        """FLOP of the encoder, and of the head for all candidates of the package's search.

        The features' half of the first layer counts once, a gradient as a second evaluation.
        """
        with FlopCounterMode(display=False) as encoding:
            parts = self.energies(observation)
        total = float(encoding.get_total_flops())

        def counted(number: int, actions: Tensor) -> Tensor:
            nonlocal total
            linears = [m for m in self.parts[number].modules() if isinstance(m, nn.Linear)]
            weights = linears[0].out_features * actions.shape[2]
            weights += sum(layer.weight.numel() for layer in linears[1:])
            total += 2 * weights * actions.shape[1] * (2 if actions.requires_grad else 1)
            return parts[number](actions[0])[None]

        energies: Any = [partial(counted, number) for number in range(len(parts))]
        if not isinstance(inference, AutoregressiveDerivativeFree):
            (energies,) = energies
        inference.minimize(energies, *self.model.box.corners())
        return total

    @torch.no_grad()
    def decide(self, observation: Mapping[str, Values]) -> npt.NDArray[np.float32]:
        """Action in units, shape (H*D,)."""
        box = self.model.box
        action = self._search(self.energies(observation), *box.corners())
        units = box.denormalise(action[None], self.origin(observation))[0]
        found: npt.NDArray[np.float32] = units.cpu().numpy()
        return found


def _repeated(part: PlainEnergy, features: Tensor, actions: Tensor) -> Tensor:
    """Energies (N,) of actions (N, D) for the features of one observation, (1, F)."""
    energies: Tensor = part(features.repeat(len(actions), 1), actions)
    return energies


def derivative_free(
    energies: Energies, low: Tensor, high: Tensor, *, samples: int, evaluations: int
) -> Tensor:
    """Algorithm 1; the action is the lowest of the last evaluated candidates."""
    (energy,), sigma = energies, 0.33
    actions = low + (high - low) * torch.rand(samples, len(low), device=low.device)
    values = energy(actions)
    for _ in range(evaluations - 1):
        chosen = torch.multinomial(torch.softmax(-values, 0), samples, replacement=True)
        actions = actions[chosen] + sigma * torch.randn_like(actions)
        actions = actions.clamp(low, high)
        sigma *= 0.5
        values = energy(actions)
    return actions[values.argmin()]


def autoregressive(
    energies: Energies, low: Tensor, high: Tensor, *, samples: int, iterations: int
) -> Tensor:
    """Appendix B.2: algorithm 1 for one dimension after the other, repeated.

    The action is the candidate with the lowest sum of energies.
    """
    sigma = 0.33
    actions = low + (high - low) * torch.rand(samples, len(low), device=low.device)
    for i in range(iterations):
        for j, energy in enumerate(energies):
            if i:
                moved = actions[:, j] + sigma * torch.randn_like(actions[:, j])
                actions[:, j] = moved.clamp(low[j], high[j])
            weights = torch.softmax(-energy(actions[:, : j + 1]), 0)
            actions = actions[torch.multinomial(weights, samples, replacement=True)]
        sigma = sigma * 0.5 if i else sigma
    parts = [energy(actions[:, : j + 1]) for j, energy in enumerate(energies)]
    return actions[torch.stack(parts).sum(dim=0).argmin()]


def langevin(
    energies: Energies, low: Tensor, high: Tensor, *, samples: int, iterations: int
) -> Tensor:
    """Appendix B.3: steps from 0.1 to 1e-5 as a square, noise 1, changes clipped at 0.1."""
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


@torch.no_grad()
def optimum(
    policy: PlainPolicy, observation: Mapping[str, Values], grid: int = GRID
) -> Tensor | None:
    """Action of lowest energy by brute force, shape (2,); None in other dimensions.

    The search starts with `grid` values of each dimension.
    """
    energies = policy.energies(observation)
    low, _ = policy.model.box.corners()
    if len(low) != 2:
        return None
    axis = torch.linspace(-1, 1, grid, device=low.device)
    if len(energies) == 1:
        pairs = torch.cartesian_prod(axis, axis).split(CHUNK)  # type: ignore[no-untyped-call]
        values = torch.cat([energies[0](part) for part in pairs]).reshape(grid, grid)
    else:
        values = joint_grid(energies, axis)
    return lowest_near(policy.whole(energies), values, axis)


@torch.no_grad()
def errors(
    policy: PlainPolicy, observation: Mapping[str, Values], actions: Tensor, best: Tensor | None
) -> Tensor:
    """Distances of actions from the lowest one of them and `best`.

    Args:
        policy: Policy whose energy is used.
        observation: Observation of the actions.
        actions: Shape (N, D), in units.
        best: Known minimiser in the box mapped to [-1, 1], shape (D,), or None.

    Returns:
        Distances in the worst dimension as shares of the box's width, and energies above the
        lowest, shape (2, N).
    """
    box = policy.model.box
    places = box.normalise(actions.to(box.low), policy.origin(observation))
    if best is not None:
        places = torch.cat((places, best[None]))
    values = policy.whole(policy.energies(observation))(places)
    distances = (places - places[values.argmin()]).abs().amax(dim=1) / 2
    return torch.stack((distances, values - values.min()))[:, : len(actions)]


def lowest_near(energy: Energy, values: Tensor, axis: Tensor) -> Tensor:
    """Minimise on increasingly fine grids, of 7 x 7, around the lowest minima of a coarse one.

    Args:
        energy: Actions (N, 2) to energies (N,).
        values: Energies of all pairs of values of `axis`, shape (K, K), the first value by row.
        axis: Values of the grid in each dimension, shape (K,), evenly spread.

    Returns:
        An action, shape (2,).
    """
    around = -nn.functional.max_pool2d(-values[None], 3, 1, 1)[0]
    minima = values.masked_fill(values > around, float("inf")).flatten()
    index = minima.topk(8, largest=False).indices
    places = torch.stack((axis[index // len(axis)], axis[index % len(axis)]), dim=1)
    reach = float(axis[1] - axis[0])
    side = torch.linspace(-1, 1, 7, device=axis.device)
    offsets = torch.cartesian_prod(side, side)
    for _ in range(6):
        near = (places[:, None] + reach * offsets).clamp(axis[0], axis[-1])
        found = energy(near.flatten(0, 1)).reshape(len(places), -1)
        lowest, index = found.min(dim=1)
        places = near[torch.arange(len(places), device=axis.device), index]
        reach /= 3
    return places[lowest.argmin()]


def joint_grid(energies: Energies, axis: Tensor) -> Tensor:
    """Values of a two-dimensional `JointEnergy` on all pairs of values of `axis`, shape (K, K).

    A sum over the dimensions of -log p(own value | prefix), normalised over the same 128 points.
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
