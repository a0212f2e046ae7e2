"""Options of every command that takes episodes from a folder of demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ebm_policy_ros.inference.settings import one_of
from ebm_policy_ros.training.data.dataset import KeepBy, Unusable


@dataclass(frozen=True, kw_only=True)
class EpisodeOptions:
    """Choice of episodes and steps; with equal options every command takes the same ones."""

    interface: str = ""
    """Interface file of the robot and task, or the bare name of a shipped one; the data must match
    it. Empty: the one noted in most of the bags; arrays need none, but policy_node does."""
    exclude: Path | None = None
    """File of bags to exclude, one per line, relative to the folder; inspect_demos writes it."""
    unusable: Unusable = "refuse"
    """Handling of unusable bags: refuse to go on, or skip them with a note."""
    trim_idle: bool = True
    """Remove idle steps at the beginning and the end of demonstrations, except two steps at the
    end; needs an interface. A policy trained to wait at its initial position may never start."""
    cache: Path | None = None
    """Folder for the cache of decoded bags. Default: .cache in the folder."""
    keep: float = 1.0
    """Fraction of the demonstrations to use: the best ones."""
    keep_by: KeepBy = "length"
    """Order of the demonstrations for `keep`: length, the shortest first; or outcome, the best
    first, then the shortest."""

    def __post_init__(self) -> None:
        one_of(self, "keep_by", get_args(KeepBy))
        one_of(self, "unusable", get_args(Unusable))
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep: got {self.keep}, expected a fraction above 0, at most 1")
