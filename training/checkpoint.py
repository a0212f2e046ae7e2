"""Checkpoints: all that a run needs to continue, in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

_VERSION = 1


class CheckpointError(ValueError):
    """A run folder or checkpoint that can't be continued; the text names it and the reason."""


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all: a crash leaves the previous one.

    Args:
        path: The file.
        tensors: By name; a name may have parts, "part/name".
        facts: What JSON can hold.
    """
    # Copies: tensors that share memory are refused by safetensors.
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    metadata = {"version": str(_VERSION), "facts": json.dumps(facts)}
    partial = path.with_name(path.name + ".partial")
    save_file(copies, partial, metadata)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and facts of a checkpoint.

    Raises:
        CheckpointError: If it is missing, damaged, or of another version.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; start the run without --resume")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("version") != str(_VERSION):
                raise CheckpointError(
                    f"{path}: checkpoint version {metadata.get('version')}, expected {_VERSION}; "
                    "continue with the package version that wrote it"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(metadata["facts"])
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); start a new run") from None


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors named "prefix/name", by name."""
    start = prefix + "/"
    return {n.removeprefix(start): v for n, v in tensors.items() if n.startswith(start)}


def first_difference(mine: object, theirs: object, key: str = "") -> str | None:
    """The first setting in which two runs differ, for a message; None if they are the same.

    Args:
        mine: Plain values (nested) of this run.
        theirs: Those of the checkpoint.
        key: Name of these values in the message.
    """
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        for name in sorted(mine.keys() | theirs.keys()):
            path = f"{key}.{name}" if key else name
            found = first_difference(mine.get(name), theirs.get(name), path)
            if found:
                return found
        return None
    return None if mine == theirs else f"{key} is {mine!r} here, {theirs!r} in the checkpoint"


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's moments and step counts, named "index/quantity"."""
    state = optimizer.state_dict()["state"]
    return {f"{i}/{name}": value for i, parts in state.items() for name, value in parts.items()}


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, quantity = name.split("/")
        state.setdefault(int(index), {})[quantity] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
