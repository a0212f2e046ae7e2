"""Shared parts of the experiments: training from arrays, and results as table and JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.learning.trainer import CHECKPOINT
from ebm_policy_ros.training.train import main
from ebm_policy_ros.training.train_config import POLICY
from ebm_policy_ros.util.cli import flags_of
from ebm_policy_ros.util.quoting import quote


def check_methods(names: Collection[str], known: Collection[str]) -> None:
    """Refuse a method that an experiment does not have.

    Raises:
        ValueError: With the names of those that it has.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"methods: got {unknown[0]!r}, expected some of {', '.join(known)}")


def dataset(
    observations: Mapping[str, npt.NDArray[Any]],
    actions: npt.NDArray[np.float32],
    episodes: npt.NDArray[np.int64] | None = None,
) -> Dataset:
    """Build demonstrations for `Trainer` from observations (M, ...) and actions (M, D).

    Args:
        observations: Observations of one frame each.
        actions: One action per decision.
        episodes: Episode of each frame; by default each frame is its own episode.
    """
    episodes = np.arange(len(actions)) if episodes is None else episodes
    count = int(episodes[-1]) + 1
    return Dataset(
        observations={name: values[:, None] for name, values in observations.items()},
        actions=actions[:, None],
        episodes=episodes,
        names=tuple(str(i) for i in range(count)),
        outcomes=np.ones(count),
    )


def train_policy(folder: Path, options: Mapping[str, Any]) -> Path:
    """Train by the command `train_policy`; an interrupted run continues, a complete one is kept.

    Args:
        folder: Folder of the run.
        options: Further options of the command by name; without `config` it chooses a recipe.

    Returns:
        The policy file.

    Raises:
        ValueError: If the folder holds a run with other options.
    """
    plain = {name: str(v) if isinstance(v, Path) else v for name, v in options.items()}
    noted = {"training": plain}
    # Beside the folder: a run begins in an empty one.
    kept_result(folder.with_name(f"{folder.name}.options.json"), noted, lambda: noted)
    policy = folder / POLICY
    if not policy.exists():
        flags = flags_of({"out": folder, **options})
        main([*flags, "--resume"] if (folder / CHECKPOINT).exists() else flags)
    return policy


def kept_result(
    path: Path, depends_on: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]] | None
) -> dict[str, Any] | None:
    """Read a result, after computing and keeping it if it is missing.

    Args:
        path: JSON file of the result.
        depends_on: Parts of the result that tell how it was obtained, as plain values.
        compute: Function that returns the result; None to compute nothing.

    Returns:
        The result; None if it is missing and nothing computes it.

    Raises:
        ValueError: If the kept result was obtained in another way.
    """
    if not path.exists():
        if compute is None:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, compute())
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    refuse_others(path, {name: result.get(name) for name in depends_on}, depends_on)
    return result


def write_whole(path: Path, content: Mapping[str, Any], indent: int | None = None) -> None:
    """Write a JSON file; an interruption leaves no half of it."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=indent), encoding="utf-8")
    partial.replace(path)


def refuse_others(path: Path, kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compare the values that a kept file was made with to the wanted ones, as JSON has them.

    Raises:
        ValueError: If one differs; the message names it.
    """
    plain = json.loads(json.dumps(wanted))
    for name in sorted({*plain, *kept}):
        if kept.get(name) != plain.get(name):
            raise ValueError(
                f"{path}: of another {name}, {quote(kept.get(name))}; choose another --out"
            )


def write_results(
    folder: Path, columns: Sequence[str], rows: Sequence[Sequence[str]], content: Mapping[str, Any]
) -> None:
    """Print a table and write it to table.md, and everything to result.json."""
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    table = "\n".join([line(columns), rule, *[line(row) for row in rows]])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(table + "\n", encoding="utf-8")
    machine = {
        "machine": f"{platform.machine()}, {platform.platform()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    content = {**machine, **content}
    (folder / "result.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    print(table)
    print(f"\nall results are in {folder}")
