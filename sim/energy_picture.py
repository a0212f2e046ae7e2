"""Picture of the energy over a 2-D action at moments of an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from ebm_policy_ros.interface import NANOSECONDS, ImageStream, Interface
from ebm_policy_ros.observation.buffer import Observation
from ebm_policy_ros.policy.decision import Decision
from ebm_policy_ros.policy.landscape import landscape
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.sim.video import FRAMES_PER_SECOND, count_frames, read_video
from ebm_policy_ros.training.data.episodes import Episode

_GRID = 101
# Wells are some units deep and cliffs hundreds high; both have to be seen.
_SCALE = PowerNorm(0.5, vmin=0.0, vmax=60.0, clip=True)
_MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)


def draw_energies(
    policy: Policy, interface: Interface, episode: Episode, video: Path, path: Path
) -> None:
    """Draw the video, the policy's picture and the energy that it minimised, at moments.

    Args:
        policy: A policy with an energy over at least two action dimensions. The picture shows the
            first two of all actions of a chunk; further dimensions are those of the decision.
        interface: Interface of the policy.
        episode: Read with the policy's interface.
        video: File of the episode's video; without it its row is left out, and without a camera
            that the policy observes the row of its pictures.
        path: PNG to write.
    """
    fields, unit = interface.action.names, interface.action.unit
    streams = interface.observation
    cameras = [name for name in policy.shapes if isinstance(streams[name], ImageStream)]
    steps = [round(moment * (len(episode.actions) - 1)) for moment in _MOMENTS]
    # Video and bag end with the episode; the bag may begin a little earlier.
    left = {step: (len(episode.actions) - step) / interface.rate for step in steps}
    filmed = _frames_before_end(video, left)
    rows = bool(filmed) + bool(cameras) + 1
    # Pictures are wide, the box of actions is square and has labels.
    heights = [2.1] * (rows - 1) + [3.4]
    figure = Figure(figsize=(3 * len(steps), sum(heights)), layout="constrained")
    axes = figure.subplots(rows, len(steps), squeeze=False, height_ratios=heights)
    decisions = decide_at(policy, episode, steps)
    for column, step in zip(axes.T, steps, strict=True):
        observation = episode.observation(step)
        if filmed:
            column[0].imshow(filmed[step])
        if cameras:
            column[-2].imshow(observation[cameras[0]][-1])
        for axis in column[:-1]:
            axis.set(xticks=[], yticks=[])
        seconds = (episode.times_ns[step] - episode.times_ns[0]) / NANOSECONDS
        column[0].set(title=f"{seconds:.1f} s")
        chosen = episode.actions[step, 0]
        mesh = _draw_landscape(column[-1], policy, observation, decisions[step], chosen)
        column[-1].set(xlabel=f"{fields[0]} ({unit})")
    if cameras:
        axes[-2, 0].set(ylabel="as the policy sees it")
    axes[-1, 0].set(ylabel=f"{fields[1]} ({unit})")
    handles, labels = axes[-1, 0].get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside lower center", ncols=2, facecolor="0.4", labelcolor="white"
    )
    for handle in legend.legend_handles:
        assert isinstance(handle, PathCollection)
        handle.set(sizes=[40], alpha=1)
    figure.colorbar(mesh, ax=axes[-1, :].tolist(), label="energy above its minimum")
    figure.savefig(path, dpi=100)


def _frames_before_end(video: Path, left: Mapping[int, float]) -> dict[int, npt.NDArray[np.uint8]]:
    """Read the frames so many seconds before the end; empty if there is no such video."""
    count = count_frames(video)
    wanted = {step: max(0, count - round(s * FRAMES_PER_SECOND)) for step, s in left.items()}
    found = {}
    for number, frame in enumerate(read_video(video)):
        found.update({step: frame for step, place in wanted.items() if place == number})
    return found


def decide_at(policy: Policy, episode: Episode, steps: Sequence[int]) -> dict[int, Decision]:
    """Return the decisions at some steps; intents are carried through all steps before."""
    found, intent = {}, None
    for step in range(max(steps) + 1) if policy.has_intents else steps:
        found[step] = policy.decide(episode.observation(step), intent=intent)
        intent = found[step].intent
    return found


def _draw_landscape(
    axes: Axes,
    policy: Policy,
    observation: Observation,
    decision: Decision,
    chosen: npt.NDArray[np.float32],
) -> QuadMesh:
    x, y, energies = landscape(policy, observation, decision, _GRID)
    mesh = axes.pcolormesh(x, y, energies - energies.min(), cmap="viridis", norm=_SCALE)
    candidates = decision.candidates
    axes.scatter(
        candidates[:, 0], candidates[:, 1], s=1, c="white", alpha=0.3, label="last candidates"
    )
    axes.scatter(chosen[0], chosen[1], marker="x", s=70, c="red", label="command sent")
    axes.set(xlim=x[[0, -1]], ylim=y[[0, -1]])
    axes.set_box_aspect(1)
    return mesh
