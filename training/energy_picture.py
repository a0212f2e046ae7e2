"""A picture of the energy over a 2-D action at moments of an episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from ebm_policy_ros.interface import ImageStream
from ebm_policy_ros.observation import Observation
from ebm_policy_ros.policy import Policy
from ebm_policy_ros.training.bags import Episode

_GRID = 101
_MOMENTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def draw_energies(policy: Policy, episode: Episode, path: Path) -> None:
    """Draw what the policy saw, and the energy that it minimised, at moments of an episode.

    Args:
        policy: An energy policy with two action dimensions.
        episode: Read with the policy's interface.
        path: The PNG to write.

    Raises:
        ValueError: If the action doesn't have two dimensions.
    """
    fields = policy.interface.action.fields
    if len(fields) != 2:
        raise ValueError(f"got actions of {len(fields)} dimensions, expected 2 for a picture")
    cameras = [n for n, s in policy.interface.observation.items() if isinstance(s, ImageStream)]
    steps = [round(moment * (len(episode.actions) - 1)) for moment in _MOMENTS]
    figure = Figure(figsize=(3.2 * len(steps), 6), layout="constrained")
    axes = figure.subplots(2, len(steps), squeeze=False)
    for (top, bottom), step in zip(axes.T, steps, strict=True):
        observation = {name: values[step] for name, values in episode.observations.items()}
        top.imshow(observation[cameras[0]][-1])
        seconds = (episode.times_ns[step] - episode.times_ns[0]) / 1e9
        top.set(title=f"{seconds:.1f} s", xticks=[], yticks=[])
        mesh = _draw_landscape(bottom, policy, observation, episode.actions[step, 0])
        bottom.set(xlabel=f"{fields[0]} ({policy.interface.action.unit})")
    axes[1, 0].set(ylabel=f"{fields[1]} ({policy.interface.action.unit})")
    axes[1, 0].legend(loc="lower left", fontsize="small")
    figure.colorbar(mesh, ax=axes[1, :].tolist(), label="energy above its minimum")
    figure.savefig(path, dpi=110)


def _draw_landscape(
    axes: Axes, policy: Policy, observation: Observation, chosen: npt.NDArray[np.float32]
) -> QuadMesh:
    low, high = policy.action_box()
    xs, ys = (np.linspace(low[i], high[i], _GRID, dtype=np.float32) for i in range(2))
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    energies = policy.energies(observation, grid).reshape(_GRID, _GRID)
    mesh = axes.pcolormesh(
        xs, ys, energies - energies.min(), cmap="viridis", vmax=12.0, vmin=0.0, rasterized=True
    )
    candidates = policy.decide(observation).candidates
    axes.scatter(
        candidates[:, 0], candidates[:, 1], s=2, c="white", alpha=0.5, label="last candidates"
    )
    axes.scatter(chosen[0], chosen[1], marker="x", s=70, c="red", label="command sent")
    axes.set_aspect("equal")
    return mesh
