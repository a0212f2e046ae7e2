"""Choice of a recipe, a file of settings in config/training/, by what the demonstrations are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ebm_policy_ros.energy.model_config import Kind
from ebm_policy_ros.training.data.mirror import NO_MIRRORS, Mirrors
from ebm_policy_ros.training.learning.coordinates import ActionConfig, choose_coordinates
from ebm_policy_ros.training.loading import TrainingData
from ebm_policy_ros.util.resources import share_directory

# Up to so many coordinates of a single action, and of a chunk, negatives around the demonstrated
# one hit the other answers too. With more, an energy needs a proposal to learn from.
_FEW_VALUES, _FEW_COMPONENTS = 2, 6


def choose_recipe(
    loaded: TrainingData,
    action: ActionConfig,
    kind: Kind = "energy",
    mirrors: Mirrors = NO_MIRRORS,
) -> tuple[Path, list[str]]:
    """Choose the recipe for demonstrations.

    Args:
        loaded: The demonstrations.
        action: Wanted coordinates of the actions.
        kind: Wanted kind of model.
        mirrors: Mirrors whose images of the demonstrations are trained on too.

    Returns:
        The file, and the reasons, a line each.
    """
    shapes = {name: loaded.shapes[name] for name in loaded.streams}
    pictures = any(len(shape) == 4 for shape in shapes.values())
    horizon, size = loaded.dataset.actions.shape[1:]
    chosen = choose_coordinates(action, loaded.dataset, loaded.interface, mirrors)
    coordinates = chosen.components or horizon * size
    few = coordinates <= (_FEW_VALUES if horizon == 1 else _FEW_COMPONENTS)
    name = "pictures" if pictures else "states"
    decided = "decided together"
    if kind == "autoregressive":
        name += "_autoregressive"
        decided = "decided one after another, given those before"
    elif kind == "energy" and not few:
        name += "_proposals"
        decided += ", searched among proposals"
    parts = [f"{name} {' x '.join(map(str, shape))}" for name, shape in shapes.items()]
    seen = ", ".join(parts) or "features"
    relative = f"relative to {' and '.join(chosen.streams)}" if chosen.streams else "absolute"
    values = f"{horizon} x {size} values" if horizon > 1 else f"{size} values"
    basis = f"{coordinates} principal components" if chosen.components else "as they are"
    return share_directory() / "config" / "training" / f"{name}.yaml", [
        _count(loaded),
        f"observation: {seen}, so the recipe for {'pictures' if pictures else 'states'}",
        f"action: {values}, {relative}, {basis}",
        f"{coordinates} coordinates, {decided}",
    ]


def _count(loaded: TrainingData) -> str:
    data = loaded.dataset
    robot = f" of {loaded.interface.name}" if loaded.interface else ""
    lengths = np.bincount(data.episodes)
    middle = int(np.median(lengths[lengths > 0]))
    return (
        f"{len(data.names)} demonstrations{robot}, {len(data.actions):,} decisions, {middle} in "
        "the median"
    )
