"""Checkpoints: all that a run needs to continue, in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ebm_policy_ros.device.malloc import available_memory
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import cut, quote
from ebm_policy_ros.util.yaml_file import parse_json

_VERSION = 1


class CheckpointError(ValueError):
    """Error for a run folder or checkpoint that cannot be continued; the text gives the reason."""


def save_checkpoint(
    path: Path, parts: Mapping[str, Mapping[str, Tensor]], progress: Mapping[str, Any]
) -> None:
    """Write a checkpoint atomically: a crash leaves the previous one.

    Args:
        path: The file.
        parts: Tensors by part and name.
        progress: Metadata that JSON can represent.

    Raises:
        OSError: If the disk is full or not writable.
    """
    # Copies: safetensors refuses tensors that share memory.
    tensors = {
        f"{part}/{name}": value.detach().cpu().clone().contiguous()
        for part, values in parts.items()
        for name, value in values.items()
    }
    metadata = {"version": str(_VERSION), "facts": json.dumps(progress)}
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Written here, since the errors of safetensors do not distinguish a full disk.
        with partial.open("wb") as file:
            file.write(save(tensors, metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read the parts and metadata of a checkpoint.

    Raises:
        CheckpointError: If it is missing, damaged, too large, or of another version.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; start the run without --resume")
    try:
        _check_size(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            version = cut(metadata.get("version"))
            if version != str(_VERSION):
                raise CheckpointError(
                    f"{path}: checkpoint version {version}, expected {_VERSION}; "
                    "continue with the package version that wrote it"
                )
            parts: dict[str, dict[str, Tensor]] = {}
            for key in file.keys():
                part, name = key.split("/", maxsplit=1)
                parts.setdefault(part, {})[name] = file.get_tensor(key)
        progress = parse_json(metadata["facts"])
        if not isinstance(progress, dict):
            raise ValueError(f"facts: got {quote(progress)}, expected names and values")
        return parts, progress
    except CheckpointError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise damaged(path, error) from None


def damaged(path: Path, error: Exception) -> CheckpointError:
    """Build the error for a damaged checkpoint."""
    reason = f"no {error}" if isinstance(error, KeyError) else error
    return CheckpointError(f"{path}: damaged ({cut(reason, 160)}); start a new run")


def _check_size(path: Path) -> None:
    """Refuse a file larger than any real checkpoint, before it is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    for name, got, most in (
        ("it", size, min(bounds.LARGEST_CHECKPOINT, available_memory())),
        ("its header", min(header, size), bounds.LARGEST_HEADER),
    ):
        if got > most:
            raise CheckpointError(
                f"{path}: {name} has {got:,} bytes, expected at most {most:,}; start a new run"
            )


def refuse_other_run(path: Path, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Compare the settings of a run with those in a checkpoint.

    Raises:
        CheckpointError: Naming the first difference.
    """
    # Converted through JSON like the checkpoint's settings, since JSON has no tuples.
    difference = _first_difference(json.loads(json.dumps(mine)), theirs, "")
    if difference:
        raise CheckpointError(f"{path}: another run: {difference}; choose another --out")


def _first_difference(mine: object, theirs: object, key: str) -> str | None:
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        for name in sorted(mine.keys() | theirs.keys()):
            path = f"{key}.{name}" if key else str(name)
            found = _first_difference(mine.get(name), theirs.get(name), path)
            if found:
                return found
        return None
    return (
        None
        if mine == theirs
        else f"{key} is {quote(mine)} here, {quote(theirs)} in the checkpoint"
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and step counts of the optimizer, named "index/quantity"."""
    state = optimizer.state_dict()["state"]
    return {f"{i}/{name}": value for i, parts in state.items() for name, value in parts.items()}


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Restore the tensors of `optimizer_tensors`.

    Raises:
        ValueError: If they do not match the weights.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, quantity = name.split("/")
        # torch checks the shapes only at the next step.
        shape = () if quantity == "step" else weights[int(index)].shape
        if value.shape != shape:
            raise ValueError(f"{cut(name)} has shape {cut(tuple(value.shape))}")
        state.setdefault(int(index), {})[quantity] = value
    if any(parts.keys() != {"step", "exp_avg", "exp_avg_sq"} for parts in state.values()):
        raise ValueError("moments of the inference are missing")
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
