"""Landscape: the energies of a policy over the first two dimensions of an action, for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.observation.buffer import Observation
from ebm_policy_ros.policy.decision import Decision
from ebm_policy_ros.policy.policy import Policy

Values = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

# Range of energies above the lowest, from dark blue to yellow.
_RANGE = 20.0


class Landscape(NamedTuple):
    """Energies on a grid over the box of actions, within the interface's limits."""

    x: Values
    """Values of the first dimension, in the interface's unit, shape (N,)."""
    y: Values
    """Values of the second dimension, shape (N,)."""
    energies: Values
    """Energies, shape (N, N), a row for each value of the second dimension."""


def landscape(
    policy: Policy, observation: Observation, decision: Decision, count: int
) -> Landscape:
    """Compute the energies around a decision.

    The two values of a point are those of all actions of a chunk. All other dimensions have the
    values of the decision.

    Args:
        policy: A policy with an energy, over two dimensions or more.
        observation: Observation of the decision.
        decision: Decision of the policy.
        count: Number of values of a dimension, N.
    """
    low, high = (corner[:2] for corner in policy.action_box(observation))
    if policy.interface is not None:  # components of chunks reach far beyond its limits
        lowest, highest = (np.array(limit[:2]) for limit in policy.interface.action.bounds)
        if (np.maximum(low, lowest) <= np.minimum(high, highest)).all():
            low, high = np.maximum(low, lowest), np.minimum(high, highest)
    x, y = (np.linspace(low[i], high[i], count, dtype=np.float32) for i in (0, 1))
    actions = np.repeat(decision.action[None], count * count, axis=0)
    actions[:, :, :2] = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 1, 2)
    energies = policy.energies(
        observation, actions.reshape(count * count, -1), intent=decision.intent
    )
    return Landscape(x, y, energies.reshape(count, count))


def draw_landscape(
    drawn: Landscape, height: int, marks: Sequence[tuple[npt.NDArray[np.floating], Colour]]
) -> Picture:
    """Draw a landscape: the first dimension to the right, the second upwards.

    Args:
        drawn: Landscape to draw.
        height: Height and width of the picture, pixels.
        marks: Actions to mark by rings, shape (2,) or longer, and their colours, rgb.

    Returns:
        RGB, shape (height, height, 3).
    """
    picture = colours_of(drawn.energies - drawn.energies.min())[::-1]
    picture = fit(picture, height)
    low = np.array([drawn.x[0], drawn.y[0]])
    size = np.maximum([drawn.x[-1], drawn.y[-1]] - low, 1e-9)
    for values, colour in marks:
        part = (np.asarray(values)[:2] - low) / size
        centre = (int(part[0] * (height - 1)), int((1 - part[1]) * (height - 1)))
        cv2.circle(picture, centre, max(3, height // 60), colour, 2, cv2.LINE_AA)
    return picture


def colours_of(energies: npt.NDArray[np.floating]) -> Picture:
    """Energies above the lowest, shape (...), as rgb; one-dimensional ones as a column."""
    part = np.sqrt(np.clip(energies / _RANGE, 0, 1))
    coloured = cv2.applyColorMap((255 * part).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    return np.asarray(coloured[..., ::-1], dtype=np.uint8)


def fit(image: Picture, height: int) -> Picture:
    """Resize an image to a height, without smoothing."""
    width = round(image.shape[1] * height / image.shape[0])
    image = np.ascontiguousarray(image)
    fitted = cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(fitted, dtype=np.uint8)


def write(picture: Picture, text: str, place: tuple[int, int], scale: float = 0.42) -> None:
    """Write white text with a black edge, readable on every colour, at a place in pixels."""
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(picture, text, place, font, scale, colour, width, cv2.LINE_AA)
