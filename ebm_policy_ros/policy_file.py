"""The policy file: weights, model, interface and settings in one safetensors file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ebm_policy_ros.interface import Interface, InterfaceError, interface_from_dict

FORMAT = "ebm_policy_ros"
VERSION = 2
# Tensors of this name are no weights.
_CONFIDENCE = "confidence."
_PARTS = ("model", "shapes", "action_shape", "interface", "optimiser", "training")


class PolicyFileError(ValueError):
    """A policy file that cannot be used; the text names it and says what to do."""


@dataclass(frozen=True)
class PolicyFile:
    """The content of a policy file."""

    state: dict[str, torch.Tensor]
    """Weights and normalisation: the model's state_dict."""
    model: dict[str, Any]
    """The model's configuration, as `ModelConfig` takes it."""
    shapes: dict[str, tuple[int, ...]]
    """Shape of each stream that the model uses."""
    action_shape: tuple[int, int]
    """Actions per decision and dimensions of one, (H, D)."""
    interface: Interface | None
    """The robot and task; None for a policy from arrays that name no robot."""
    optimiser: dict[str, Any]
    """The method, and its settings, that find the action of lowest energy; empty without one."""
    training: dict[str, Any]
    """Free facts about where the policy comes from."""
    confidence: dict[str, Any] = field(default_factory=dict)
    """How familiar observations must be: "thresholds" by measure, and facts about their
    calibration; empty for a policy that was not calibrated."""
    references: dict[str, torch.Tensor] = field(default_factory=dict)
    """What `Familiarity` compares observations with."""


def save_policy(path: str | Path, content: PolicyFile) -> None:
    """Write a policy file, whole or not at all."""
    parts = {
        "model": content.model,
        "shapes": {name: list(shape) for name, shape in content.shapes.items()},
        "action_shape": list(content.action_shape),
        "interface": content.interface.to_dict() if content.interface else None,
        "optimiser": content.optimiser,
        "training": content.training,
        "confidence": content.confidence,
    }
    metadata = {name: json.dumps(part) for name, part in parts.items()}
    metadata |= {"format": FORMAT, "version": str(VERSION)}
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
    """Read a policy file.

    Raises:
        PolicyFileError: If it is missing, truncated, or of another format or version.
    """
    path = Path(path)
    if not path.is_file():
        raise PolicyFileError(f"{path}: no such policy file; train one with train_policy")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _check_version(path, metadata)
            state = {name: file.get_tensor(name) for name in file.keys()}
        parts = {name: json.loads(metadata[name]) for name in _PARTS}
        # Files from before confidence was measured have none.
        confidence = dict(json.loads(metadata.get("confidence", "{}")))
        plain = parts["interface"]
        interface = interface_from_dict(plain, f"{path}: interface") if plain else None
        horizon, size = (int(number) for number in parts["action_shape"])
        shapes = {name: tuple(shape) for name, shape in parts["shapes"].items()}
        _check_finite(path, state)
        references = {
            name.removeprefix(_CONFIDENCE): state.pop(name)
            for name in list(state)
            if name.startswith(_CONFIDENCE)
        }
    except PolicyFileError:
        raise
    except (SafetensorError, OSError) as error:
        raise PolicyFileError(
            f"{path}: not a whole safetensors file ({error}); copy or train it again"
        ) from None
    except InterfaceError as error:
        raise PolicyFileError(str(error)) from None
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise PolicyFileError(
            f"{path}: damaged metadata ({error}); copy or train it again"
        ) from None
    return PolicyFile(
        state,
        parts["model"],
        shapes,
        (horizon, size),
        interface,
        parts["optimiser"],
        parts["training"],
        confidence,
        references,
    )


def _check_finite(path: Path, state: dict[str, torch.Tensor]) -> None:
    bad = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise PolicyFileError(f"{path}: {bad[0]} has a value that is not finite; train it again")


def _check_version(path: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise PolicyFileError(
            f"{path}: a safetensors file, but not a policy of {FORMAT}; train one with "
            "train_policy"
        )
    if metadata.get("version") != str(VERSION):
        raise PolicyFileError(
            f"{path}: policy format version {metadata.get('version')}, this package reads "
            f"{VERSION}; use the package version that wrote it, or train again"
        )
