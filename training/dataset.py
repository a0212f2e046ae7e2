"""All demonstrations of a folder as arrays."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.training.bags import Episode, read_episode, read_outcome
from ebm_policy_ros.training.storage.account import BagError
from ebm_policy_ros.training.storage.bag import find_bags

KeepBy = Literal["length", "outcome"]
_OUTCOMES = {"success": 1.0, "unknown": 0.5, "failure": 0.0}


@dataclass(frozen=True)
class Dataset:
    """Every step of every demonstration; M steps of E episodes in all."""

    observations: dict[str, npt.NDArray[Any]]
    """Stream name -> (M, T, H, W, 3) uint8 or (M, T, K) float32."""
    actions: npt.NDArray[np.float32]
    """Shape (M, H, D), in the interface's units."""
    episodes: npt.NDArray[np.int64]
    """Shape (M,), which episode a step is from, 0 to E-1."""
    names: tuple[str, ...]
    """Where each episode is from."""
    outcomes: npt.NDArray[np.float64]
    """Shape (E,), how good each episode was; higher is better."""

    def best(self, fraction: float, by: KeepBy) -> Dataset:
        """The best episodes, in their old order.

        Implicit models gain from that, since they copy everything that was shown (Florence et
        al. 2021, section 5).

        Args:
            fraction: Of the episodes, 0 to 1; at least one stays.
            by: length, the shortest; outcome, the best, and of equally good ones the shortest.
        """
        lengths = np.bincount(self.episodes, minlength=len(self.names))
        goodness = self.outcomes if by == "outcome" else np.zeros(len(self.names))
        order = np.lexsort((lengths, -goodness))
        kept = np.sort(order[: max(1, round(fraction * len(order)))])
        steps = np.isin(self.episodes, kept)
        return Dataset(
            observations={name: values[steps] for name, values in self.observations.items()},
            actions=self.actions[steps],
            episodes=np.searchsorted(kept, self.episodes[steps]),
            names=tuple(self.names[i] for i in kept),
            outcomes=self.outcomes[kept],
        )


def load_dataset(folder: Path, interface: Interface, workers: int = 2) -> Dataset:
    """Read every successful demonstration below a folder.

    Bags whose outcome is a failure are left out; those without a noted outcome count.

    Args:
        folder: Holds bag folders, at any depth.
        interface: Names the topics, and fixes rate, ages and sizes.
        workers: Processes that decode.

    Raises:
        BagError: If a bag cannot be used; the text names it.
    """
    bags = [bag for bag in find_bags(folder) if read_outcome(bag) != "failure"]
    if not bags:
        raise BagError(f"{folder}: every demonstration in it is marked as a failure")
    read = partial(read_episode, interface=interface)
    # A forked child of a process with threads may hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        episodes: list[Episode] = list(
            tqdm(pool.map(read, bags), "reading", len(bags), unit=" bags", dynamic_ncols=True)
        )
    return Dataset(
        observations={
            name: np.concatenate([episode.observations[name] for episode in episodes])
            for name in interface.observation
        },
        actions=np.concatenate([episode.actions for episode in episodes]),
        episodes=np.repeat(
            np.arange(len(episodes)), [len(episode.actions) for episode in episodes]
        ),
        names=tuple(str(bag) for bag in bags),
        outcomes=np.array([_OUTCOMES.get(e.outcome, 0.5) for e in episodes]),
    )
