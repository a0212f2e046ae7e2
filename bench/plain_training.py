"""Baseline of training: plain eager PyTorch, in fp32.

A direct implementation of Florence et al. (2021; section 3, appendix B): features are repeated for
every negative, one network takes both, and chains get their gradient from autograd. From the
package it uses a model's encoder and layers.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from plain import PlainEnergy
from torch import Tensor, nn

from ebm_policy_ros.energy.models import EnergyModel
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.learning.config import LearningConfig


class PlainTraining:
    """Training with the same task, batch and negatives as a `Trainer`, step by step."""

    def __init__(
        self, model: EnergyModel, kind: str, data: Dataset, config: LearningConfig, device: str
    ) -> None:
        """Take over the model's layers; `kind` is that of its head."""
        self._config, self._device = config, device
        self._data = {name: torch.from_numpy(v) for name, v in data.observations.items()}
        self._actions = torch.from_numpy(data.actions).flatten(1)
        low, high = self._actions.amin(dim=0), self._actions.amax(dim=0)
        self._middle, self._half = (low + high) / 2, 1.1 * (high - low) / 2
        model.encoder.fit({n: v for n, v in self._data.items() if n in model.encoder.measurements})
        self._encoder = model.encoder.to(device)
        self._energy = PlainEnergy(model.head, kind).to(device)  # type: ignore[arg-type]
        self._both = nn.ModuleList((self._encoder, self._energy))
        self._average = copy.deepcopy(self._both)
        self._optimizer = torch.optim.AdamW(self._both.parameters(), config.learning_rate)
        self._random = np.random.default_rng(0)

    def update(self) -> float:
        """Run one step and return the loss."""
        size, count = self._config.batch_size, self._config.negatives.count
        rows = torch.from_numpy(self._random.integers(0, len(self._actions), size))
        seen = {name: values[rows].to(self._device) for name, values in self._data.items()}
        if self._config.image_shift:
            seen = {name: self._shifted(v) if v.ndim == 5 else v for name, v in seen.items()}
        positive = ((self._actions[rows] - self._middle) / self._half).to(self._device)
        features = self._encoder(seen)
        dimension = positive.shape[1]
        negatives = 2 * torch.rand(size, count, dimension, device=self._device) - 1
        if self._config.negatives.source == "chain":
            negatives = self._chains(features.detach(), negatives)
        candidates = torch.cat((positive[:, None], negatives), dim=1)
        energies = self._energies(features, candidates)
        labels = torch.zeros(size, dtype=torch.long, device=self._device)
        loss = nn.functional.cross_entropy(-energies, labels)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._both.parameters(), self._config.gradient_clip)
        self._optimizer.step()
        with torch.no_grad():
            pairs = zip(self._average.parameters(), self._both.parameters(), strict=True)
            for mean, weight in pairs:
                mean.lerp_(weight, 1 - self._config.average_decay)
        return loss.item()

    def _energies(self, features: Tensor, actions: Tensor) -> Tensor:
        """Energies, shape (B, N), of actions (B, N, D)."""
        rows, count, _ = actions.shape
        repeated = features.repeat_interleave(count, dim=0)
        energies: Tensor = self._energy(repeated, actions.flatten(0, 1))
        return energies.reshape(rows, count)

    def _chains(self, features: Tensor, actions: Tensor) -> Tensor:
        """Appendix B.3; see `plain.langevin`."""
        count = self._config.negatives.chain.iterations
        for k in range(count):
            step = (0.1 - 1e-5) * (1 - k / (count - 1)) ** 2 + 1e-5
            actions.requires_grad_()
            energies = self._energies(features, actions)
            (gradient,) = torch.autograd.grad(energies.sum(), actions)
            change = step * (gradient / 2 + torch.randn_like(actions))
            actions = (actions.detach() - change.clamp(-0.1, 0.1)).clamp(-1, 1)
        return actions

    def _shifted(self, frames: Tensor) -> Tensor:
        """Shift each row of frames (B, T, H, W, 3) at random, by padding and cropping."""
        pixels = self._config.image_shift
        height, width = frames.shape[2:4]
        padded = nn.functional.pad(
            frames.flatten(0, 1).permute(0, 3, 1, 2).float(), [pixels] * 4, mode="replicate"
        ).unflatten(0, frames.shape[:2])
        starts = self._random.integers(0, 2 * pixels + 1, (len(frames), 2))
        cut = [
            row[..., y : y + height, x : x + width]
            for row, (y, x) in zip(padded, starts.tolist(), strict=True)
        ]
        return torch.stack(cut).permute(0, 1, 3, 4, 2).to(torch.uint8)
