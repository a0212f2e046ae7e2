"""Demonstrations of Push-T for training: relative chunks of positions in a linear basis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.exchange.demonstrations import with_windows
from ebm_policy_ros.training.exchange.sources import kind_of, read_source
from ebm_policy_ros.training.experiments.common import dataset
from ebm_policy_ros.training.experiments.tee import mirror, mirror_pictures, see

Numbers = npt.NDArray[Any]
Sees = Literal["state", "picture"]

HORIZON, COMPONENTS = 8, 4
PAPERS = 90
"""Number of training episodes of the paper."""
# Number of validation episodes in the paper's code, and the seed of its split.
_VALIDATION, _SPLIT_SEED = 4, 42
# Chunks with a shorter path, pixels, show waiting and are left out.
_IDLE = 10.0


@dataclass(frozen=True)
class Basis:
    """Linear basis of position chunks, (M, H, 2), with coefficients of unit variance."""

    components: Numbers
    """Principal components, shape (K, 2 H)."""
    scale: Numbers
    """Standard deviation of each coefficient, shape (K,), pixels."""

    @classmethod
    def fit(cls, chunks: Numbers, count: int) -> Basis:
        """Fit the `count` principal components of chunks about zero, which is no motion."""
        flat = chunks.reshape(len(chunks), -1)
        _, spreads, components = np.linalg.svd(flat, full_matrices=False)
        return cls(components[:count], spreads[:count] / np.sqrt(len(flat)))

    def encode(self, chunks: Numbers) -> npt.NDArray[np.float32]:
        """Coefficients of chunks, shape (M, K)."""
        flat = chunks.reshape(len(chunks), -1)
        return (flat @ self.components.T / self.scale).astype(np.float32)

    def decode(self, numbers: Numbers) -> Numbers:
        """Chunks of coefficients, shape (M, H, 2)."""
        chunks: Numbers = (numbers * self.scale) @ self.components
        return chunks.reshape(len(numbers), -1, 2)


def papers_episodes(count: int) -> Numbers:
    """Training episodes of the paper, of `count` in total: 90, drawn as in its code."""
    held = np.random.default_rng(_SPLIT_SEED).choice(count, _VALIDATION, replace=False)
    rest = np.setdiff1d(np.arange(count), held)
    chosen = np.random.default_rng(_SPLIT_SEED).choice(len(rest), PAPERS, replace=False)
    return np.sort(rest[chosen])


def demonstrations(path: Path, everything: bool, sees: Sees = "state") -> tuple[Dataset, Basis]:
    """Demonstrations for training, and the basis of their actions.

    Args:
        path: The zarr folder of the demonstrations, or an .npz file with the streams `state` and,
            for images, `img`.
        everything: True for every episode, False for the paper's 90.
        sees: Observation of the policy: the state, or an image and the disc's position.
    """
    names = ("state",) if sees == "state" else ("state", "img")
    inside = "data/" if kind_of(path) == "zarr" else ""
    data = read_source(path, streams={name: inside + name for name in names}).dataset
    data = with_windows(data, {}, HORIZON)
    count = len(data.names)
    chosen = np.arange(count) if everything else papers_episodes(count)
    steps = np.isin(data.episodes, chosen)
    states = data.observations["state"][steps, 0].astype(np.float64)
    targets = data.actions[steps].astype(np.float64)
    # Data augmentation: the task is symmetric, so mirrored demonstrations are valid.
    mirrored = mirror(targets.reshape(-1, 2)).reshape(targets.shape)
    chunks = np.concatenate([targets, mirrored])
    states = np.concatenate([states, mirror(states)])
    chunks -= states[:, None, :2]
    path_lengths = np.abs(np.diff(chunks, axis=1, prepend=0)).sum(axis=(1, 2))
    moving = path_lengths > _IDLE
    basis = Basis.fit(chunks[moving], COMPONENTS)
    if sees == "state":
        seen = observe(states[moving])
    else:
        pictures = data.observations["img"][steps, 0]
        seen = observe(states, np.concatenate([pictures, mirror_pictures(pictures)]))
        seen = {name: values[moving] for name, values in seen.items()}
    return dataset(seen, basis.encode(chunks[moving])), basis


def observe(states: Numbers, pictures: Numbers | None = None) -> dict[str, Numbers]:
    """Observation streams: the state (M, 10), or images (M, 96, 96, 3) and the disc (M, 2)."""
    if pictures is None:
        return {"state": see(states)}
    return {"picture": pictures, "disc": states[:, :2].astype(np.float32)}
