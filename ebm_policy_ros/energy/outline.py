"""Outline of a model: the shapes of its weights, known before memory is allocated for them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ebm_policy_ros.energy.action_space import ActionSpaceConfig
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import build_model
from ebm_policy_ros.util.bounds import MOST_PARAMETERS

Shape = tuple[int, ...]
_IN_PLACE = re.compile(r"[a-z]\w*[a-z]_|__i(add|mul|sub)__|__setitem__")


class _Unfilled(TorchFunctionMode):
    """Mode in which weights take the memory of one number and are not initialised.

    The meta device of torch has the same purpose, but its import takes seconds.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        values = kwargs or {}
        if func is torch.empty:
            return torch.zeros(()).expand(*args)
        if func is torch.empty_like:
            return args[0]
        if getattr(func, "__module__", None) == "torch.nn.init":
            return values["tensor"] if "tensor" in values else args[0]
        if _IN_PLACE.fullmatch(getattr(func, "__name__", "")):
            return args[0]
        return func(*args, **values)


def outline(
    config: ModelConfig,
    shapes: Mapping[str, Shape],
    action_size: int,
    coordinates: ActionSpaceConfig | None = None,
) -> dict[str, Shape]:
    """Return the shape of each weight of the model that `build_model` makes, by its name.

    Raises:
        ValueError: If the model would have too many weights or cannot be built.
    """
    # spectral_norm changes values, and names, which `_normalised` adds.
    head = dataclasses.replace(config.head, spectral_norm=False)
    with _Unfilled():
        model = build_model(
            dataclasses.replace(config, head=head), shapes, action_size, coordinates
        )
    found = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if config.head.spectral_norm:
        found = {new: shape for name in found for new, shape in _normalised(name, found[name])}
    count = sum(torch.Size(shape).numel() for shape in found.values())
    if count > MOST_PARAMETERS:
        raise ValueError(
            f"model: {count:,} weights, expected at most {MOST_PARAMETERS:,}; choose "
            "smaller widths or depths"
        )
    return found


def fits(needed: Shape, got: Shape, config: ModelConfig) -> bool:
    """Return True if weights have the shape that the outline gives.

    The number of stored demonstrations of a nearest-neighbour model is 0 in the outline and may be
    any positive number in the weights.
    """
    if config.kind == "nearest_neighbour" and needed[:1] == (0,):
        return len(got) == 2 and got[0] > 0 and got[1:] == needed[1:]
    return got == needed


def _normalised(name: str, shape: Shape) -> list[tuple[str, Shape]]:
    """Names and shapes that replace a head's weight under spectral norm; other tensors stay."""
    layer = name.removesuffix(".weight")
    if layer == name or not name.startswith(("head.", "heads.")):
        return [(name, shape)]
    new = f"{layer}.parametrizations.weight"
    return [(f"{new}.original", shape), (f"{new}.0._u", shape[:1]), (f"{new}.0._v", shape[1:])]
