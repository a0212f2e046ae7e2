"""Demonstrations of Push-T for training: chunks of positions, and what a policy observes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.exchange.demonstrations import with_windows
from ebm_policy_ros.training.exchange.sources import kind_of, read_source
from ebm_policy_ros.training.experiments.tee import SIZE

Sees = Literal["state", "picture"]

HORIZON = 8
PAPERS = 90
"""Number of training episodes of the paper."""
# Number of validation episodes in the paper's code, and the seed of its split.
_VALIDATION, _SPLIT_SEED = 4, 42
# Chunks with a shorter path, pixels, show waiting and are left out.
_IDLE = 10.0
# The task is symmetric to the stem of the goal: the mirror exchanges x and y.
_SWAPPED = {"columns": [1, 0], "signs": [-1.0, -1.0], "offsets": [SIZE, SIZE]}
_STATE = {
    "columns": [1, 0, 3, 2, 4],
    "signs": [-1.0] * 5,
    "offsets": [SIZE, SIZE, SIZE, SIZE, math.pi / 2],
}
_MIRRORS: dict[Sees, dict[str, Any]] = {
    "state": {"state": _STATE, "action": _SWAPPED},
    "picture": {
        "picture": ["rows", "columns", "transpose"], "disc": _SWAPPED, "action": _SWAPPED
    },
}  # fmt: skip
OPTIONS: dict[Sees, dict[str, Any]] = {
    "state": {
        "model.streams": [],
        # The disc in the T's frame: on which of its sides it is.
        "model.features": [
            "state[0:4]", "angle state[4]", "state[0:2] - state[2:4] in state[4]"
        ],
        "action.relative_to": "state",
        "mirror": _MIRRORS["state"],
    },
    "picture": {"action.relative_to": "disc", "mirror": _MIRRORS["picture"]},
}  # fmt: skip
"""Options of train_policy, for each kind of observation."""


def papers_episodes(count: int) -> npt.NDArray[np.int64]:
    """Training episodes of the paper, of `count` in total: 90, drawn as in its code."""
    held = np.random.default_rng(_SPLIT_SEED).choice(count, _VALIDATION, replace=False)
    rest = np.setdiff1d(np.arange(count), held)
    chosen = np.random.default_rng(_SPLIT_SEED).choice(len(rest), PAPERS, replace=False)
    return np.sort(rest[chosen])


def demonstrations(path: Path, everything: bool, sees: Sees = "state") -> Dataset:
    """Demonstrations for training.

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
    chosen = np.arange(len(data.names)) if everything else papers_episodes(len(data.names))
    # The path of a chunk starts at the disc.
    starts = data.observations["state"][:, 0, :2]
    paths = np.abs(np.diff(data.actions, axis=1, prepend=starts[:, None])).sum(axis=(1, 2))
    data = data.select(np.isin(data.episodes, chosen) & (paths > _IDLE))
    data = replace(
        data,
        episodes=np.unique(data.episodes, return_inverse=True)[1],
        names=tuple(data.names[i] for i in chosen),
        outcomes=data.outcomes[chosen],
    )
    images = data.observations["img"][:, 0] if sees == "picture" else None
    seen = observe(data.observations["state"][:, 0], images)
    observations = {name: values[:, None] for name, values in seen.items()}
    return replace(data, observations=observations)


def observe(
    states: npt.NDArray[Any], images: npt.NDArray[np.uint8] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Observation streams: the state (M, 5), or images (M, 96, 96, 3) and the disc (M, 2)."""
    if images is None:
        return {"state": states.astype(np.float32)}
    return {"picture": images, "disc": states[:, :2].astype(np.float32)}
