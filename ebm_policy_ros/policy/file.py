"""Policy file: weights, model, interface and settings in one safetensors file."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ebm_policy_ros.energy.action_space import ActionSpaceConfig
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.outline import fits, outline
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.plugins import PluginNeeded
from ebm_policy_ros.util.quoting import LONGEST_LINE, cut, quote
from ebm_policy_ros.util.yaml_file import UnreadableFile, parse_json

FORMAT = "ebm_policy_ros"
# Version 2 has no coordinates: a reader of it would take relative actions as absolute ones.
VERSIONS = ("2", "3")
# Tensors with this prefix are not weights of the model.
_CONFIDENCE = "confidence."
# Earlier files without confidence have no such entry; files of version 0.1 call the search
# "optimiser".
_FORMER_CONTENT = {"confidence": "{}", "coordinates": "{}"}
_FORMER_NAMES = {"inference": "optimiser"}
_PARTS = (
    "model", "shapes", "action_shape", "interface", "inference", "training", "confidence",
    "coordinates",
)  # fmt: skip
_TYPES = ("F16", "BF16", "F32", "F64")


class PolicyFileError(ValueError):
    """A policy file that cannot be used; the text names it and gives a solution."""


@dataclass(frozen=True)
class PolicyFile:
    """Content of a policy file."""

    state: dict[str, torch.Tensor]
    """Weights and normalisation: the model's state_dict."""
    model: dict[str, Any]
    """Model configuration, the input of `ModelConfig`."""
    shapes: dict[str, tuple[int, ...]]
    """Shape of each stream that the model uses."""
    action_shape: tuple[int, int]
    """Number of actions per decision and dimensions of each, (H, D)."""
    interface: Interface | None
    """Robot and task; None for a policy from arrays that name no robot."""
    inference: dict[str, Any]
    """Name and settings of the inference method; empty for a policy without an energy."""
    training: dict[str, Any]
    """Information about the training, free form."""
    confidence: dict[str, Any] = field(default_factory=dict)
    """Familiarity thresholds ("thresholds", by measure) and metadata of their calibration; empty
    for a policy that was not calibrated."""
    references: dict[str, torch.Tensor] = field(default_factory=dict)
    """Reference tensors to which `OutOfDistributionDetector` compares observations."""
    coordinates: ActionSpaceConfig = field(default_factory=ActionSpaceConfig)
    """Coordinates of the actions that are searched."""


def save_policy(path: str | Path, content: PolicyFile) -> None:
    """Write a policy file atomically."""
    parts = {
        "model": content.model,
        "shapes": {name: list(shape) for name, shape in content.shapes.items()},
        "action_shape": list(content.action_shape),
        "interface": content.interface.to_dict() if content.interface else None,
        "inference": content.inference,
        "training": content.training,
        "confidence": content.confidence,
        "coordinates": dataclasses.asdict(content.coordinates),
    }
    metadata = {name: json.dumps(part) for name, part in parts.items()}
    version = VERSIONS[content.coordinates != ActionSpaceConfig()]
    metadata |= {"format": FORMAT, "version": version}
    named = content.state | {_CONFIDENCE + n: value for n, value in content.references.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in named.items()}
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(save(tensors, metadata))
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)


def load_policy_file(path: str | Path) -> PolicyFile:
    """Read a policy file; large parts are read only after all sizes and shapes were checked.

    Raises:
        PolicyFileError: If the file is missing, damaged, of another format or version, or larger
            than `bounds` allows.
    """
    path = Path(path)
    if not path.is_file():
        raise PolicyFileError(f"{path}: no such policy file; train one with train_policy")
    try:
        _check_size(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _check_version(path, metadata)
            content = _read_settings(metadata)
            _check_weights(content, {name: file.get_slice(name) for name in file.keys()})
            state = {name: file.get_tensor(name) for name in file.keys()}
    except PolicyFileError:
        raise
    except (SafetensorError, OSError) as error:
        raise PolicyFileError(
            f"{path}: not a whole safetensors file ({cut(error)}); copy or train it again"
        ) from None
    except PluginNeeded as error:
        raise PolicyFileError(f"{path}: {cut(error, LONGEST_LINE)}") from None
    except (ValueError, TypeError, RuntimeError) as error:
        raise PolicyFileError(
            f"{path}: {cut(error, LONGEST_LINE)}; copy or train it again"
        ) from None
    _check_finite(path, state)
    references = {
        name.removeprefix(_CONFIDENCE): state.pop(name)
        for name in list(state)
        if name.startswith(_CONFIDENCE)
    }
    return dataclasses.replace(content, state=state, references=references)


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    for name, got, most in (
        ("the file", size, bounds.LARGEST_POLICY), ("its header", header, bounds.LARGEST_HEADER)
    ):  # fmt: skip
        if got > most and got <= size:
            raise PolicyFileError(
                f"{path}: {name} has {got:,} bytes, a policy has at most {most:,}"
            )


def _read_settings(metadata: Mapping[str, str]) -> PolicyFile:
    """Read everything but the tensors.

    Raises:
        ValueError: If a part is missing, damaged or out of bounds.
    """
    parts = {}
    for name in _PARTS:
        text = metadata.get(_FORMER_NAMES.get(name, name), _FORMER_CONTENT.get(name, ""))
        text = metadata.get(name, text)
        try:
            parts[name] = parse_json(text)
        except UnreadableFile as error:
            raise ValueError(f"damaged metadata ({name}: {error})") from None
    for name in ("model", "shapes", "inference", "training", "confidence", "coordinates"):
        if not isinstance(parts[name], dict):
            raise ValueError(
                f"damaged metadata ({name}: got {quote(parts[name])}, expected names and values)"
            )
    plain = parts["interface"]
    content = PolicyFile(
        state={},
        model=parts["model"],
        shapes=_shapes(parts["shapes"]),
        action_shape=_action_shape(parts["action_shape"]),
        interface=None if plain is None else interface_from_dict(plain, "interface"),
        inference=parts["inference"],
        training=parts["training"],
        confidence=parts["confidence"],
        coordinates=_coordinates(parts["coordinates"], _action_shape(parts["action_shape"])[1]),
    )
    if content.interface:
        _check_interface(content, content.interface)
    return content


def _sizes(name: str, values: object, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Shape with one of the given numbers of dimensions, each greater than 0."""
    valid = isinstance(values, list) and len(values) in lengths
    if not valid or not all(type(n) is int and n > 0 for n in values):  # type: ignore[attr-defined]
        raise ValueError(
            f"damaged metadata ({name}: got {quote(values)}, expected "
            f"{' or '.join(map(str, lengths))} whole numbers above 0)"
        )
    return tuple(values)  # type: ignore[arg-type]


def _shapes(values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    bounds.check_whole("shapes, their number", len(values), 1, bounds.MOST_STREAMS)
    shapes = {name: _sizes(f"shapes.{cut(name)}", values[name], (2, 4)) for name in values}
    for name, shape in shapes.items():
        if len(shape) == 4 and shape[3] != 3:
            raise ValueError(f"shapes.{cut(name)}: got {shape}, expected (T, H, W, 3)")
    numbers = sum(math.prod(shape) for shape in shapes.values())
    bounds.check_whole("shapes, numbers in all", numbers, 1, bounds.MOST_NUMBERS)
    return shapes


def _action_shape(values: object) -> tuple[int, int]:
    horizon, size = _sizes("action_shape", values, (2,))
    bounds.check_whole("action_shape, H*D", horizon * size, 1, bounds.MOST_ACTION_VALUES)
    return horizon, size


def _coordinates(values: Mapping[str, Any], size: int) -> ActionSpaceConfig:
    columns = values.get("columns", [])
    if not isinstance(columns, list) or len(columns) not in (0, size):
        raise ValueError(
            f"damaged metadata (coordinates.columns: got {quote(columns)}, expected none or "
            f"{size})"
        )
    relative_to = values.get("relative_to", "")
    if isinstance(relative_to, list):  # a stream for each dimension
        relative_to = tuple(relative_to)
    return ActionSpaceConfig(**{**values, "columns": tuple(columns), "relative_to": relative_to})


def _check_interface(content: PolicyFile, interface: Interface) -> None:
    """Reject a file whose streams and action don't match its interface."""
    action = interface.action
    pairs = [(f"shapes.{cut(n)}", s, interface.shapes.get(n)) for n, s in content.shapes.items()]
    expected = (action.horizon, len(action.names))
    for name, got, wanted in [*pairs, ("action_shape", content.action_shape, expected)]:
        if got != wanted:
            raise ValueError(f"{name}: got {got}, but its interface says {wanted}")


def _check_weights(content: PolicyFile, found: Mapping[str, Any]) -> None:
    """Compare the tensors in the file's header with those that the model needs.

    Raises:
        ValueError: With the first tensor that is missing, not needed, or of another shape or type.
    """
    config = ModelConfig.from_dict(content.model)
    needed = outline(config, content.shapes, math.prod(content.action_shape), content.coordinates)
    weights = {name: part for name, part in found.items() if not name.startswith(_CONFIDENCE)}
    for name, shape in needed.items():
        if name not in weights:
            raise ValueError(f"no weights {name}, which the model of its settings needs")
        got = tuple(weights[name].get_shape())
        if not fits(shape, got, config):
            raise ValueError(f"{name}: got weights of shape {got}, its settings need {shape}")
    if config.kind == "nearest_neighbour":
        keys, actions = (weights[name].get_shape()[0] for name in ("keys", "actions"))
        if keys != actions:
            raise ValueError(f"{keys} keys, but {actions} actions of neighbours")
    strange = [name for name in weights if name not in needed]
    if strange:
        raise ValueError(
            f"weights {cut(strange[0])}, which the model of its settings doesn't have"
        )
    for name, part in found.items():
        if part.get_dtype() not in _TYPES:
            raise ValueError(f"{cut(name)}: got {part.get_dtype()}, expected one of {_TYPES}")


def _check_finite(path: Path, state: dict[str, torch.Tensor]) -> None:
    bad = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise PolicyFileError(
            f"{path}: {cut(bad[0])} has a value that is not finite; train it again"
        )


def _check_version(path: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise PolicyFileError(
            f"{path}: a safetensors file, but not a policy of {FORMAT}; train one with "
            "train_policy"
        )
    if metadata.get("version") not in VERSIONS:
        raise PolicyFileError(
            f"{path}: policy format version {cut(metadata.get('version'))}, this package reads "
            f"{' and '.join(VERSIONS)}; use the package version that wrote it, or train again"
        )
