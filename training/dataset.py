"""All demonstrations of a folder as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.training.bags import (
    Episode,
    read_episode,
    read_recorded_interface,
)
from ebm_policy_ros.training.cache import BagFacts, Cache, KnownBags, look_at
from ebm_policy_ros.training.exclusion import read_exclusions
from ebm_policy_ros.training.parallel import read_each
from ebm_policy_ros.training.recorded import interface_differences
from ebm_policy_ros.training.storage.account import BagError
from ebm_policy_ros.training.storage.finding import find_bags

KeepBy = Literal["length", "outcome"]
Unusable = Literal["refuse", "skip"]
FAILURE = "failure"
OUTCOMES = {"success": 1.0, "unknown": 0.5, FAILURE: 0.0}
"""How good each outcome of a bag is."""


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
    notes: tuple[tuple[str, str], ...] = ()
    """What was lost or is odd: where, and what in one line."""

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
            notes=self.notes,
        )


def load_dataset(
    folder: Path,
    interface: Interface,
    *,
    exclude: Path | None = None,
    unusable: Unusable = "refuse",
    cache: Path | None = None,
    workers: int | None = None,
) -> Dataset:
    """Read every successful demonstration below a folder.

    Bags whose outcome is a failure are left out; those without a noted outcome count. What was
    read stays in a cache, from which it is mapped into memory the next time.

    Args:
        folder: Holds bags, at any depth.
        interface: Names the topics, and fixes rate, ages and sizes.
        exclude: A file with a line for each bag to leave out, as it is called below the folder.
        unusable: Whether a bag that can't be used is refused, or left out with a note.
        cache: Folder of the cache; None for `.cache` in the folder.
        workers: Processes that decode; None for one on each core.

    Raises:
        BagError: If a bag cannot be used; the text names it.
    """
    bags = find_bags(folder)
    if exclude is not None:
        excluded = read_exclusions(exclude, folder, bags)
        bags = [bag for bag in bags if bag not in excluded]
    place = folder / ".cache" if cache is None else cache
    try:
        store, known = Cache(place, interface), KnownBags(place)
        with store.locked():
            facts, problems = _fill(store, known, bags, interface, workers)
    except OSError as error:
        raise BagError(
            f"{error.filename or place}: the cache can't be used ({error.strerror or error}); "
            "give another folder with --cache"
        ) from None
    if problems and unusable == "refuse":
        raise BagError(
            f"{next(iter(problems.values()))}; {len(problems)} of {len(bags)} bags can't be used: "
            "leave them out with --unusable skip, or by name with --exclude"
        )
    used = [bag for bag in bags if bag in facts and facts[bag].outcome != FAILURE]
    if not used:
        raise BagError(f"{folder}: every demonstration in it is a failure, or left out")
    entries = [store[facts[bag].digest] for bag in used]
    return Dataset(
        observations={
            name: store.array(f"observation.{name}", entries) for name in interface.observation
        },
        actions=store.array("actions", entries),
        episodes=np.repeat(np.arange(len(entries)), [entry.steps for entry in entries]),
        names=tuple(str(bag) for bag in used),
        outcomes=np.array([OUTCOMES.get(entry.outcome, 0.5) for entry in entries]),
        notes=(
            *((str(bag), f"{text}; left out") for bag, text in problems.items()),
            *((str(b), note) for b, e in zip(used, entries, strict=True) for note in e.notes),
        ),
    )


def _fill(
    store: Cache,
    known: KnownBags,
    bags: list[Path],
    interface: Interface,
    workers: int | None,
) -> tuple[dict[Path, BagFacts], dict[Path, str]]:
    """Read what is not in the cache yet: the facts of each bag, and why some can't be used."""
    facts = {bag: found for bag in bags if (found := known.find(bag)) is not None}
    new = [
        bag
        for bag in bags
        if bag not in facts or (facts[bag].outcome != FAILURE and facts[bag].digest not in store)
    ]
    problems: dict[Path, str] = {}
    try:
        read = partial(_read, interface=interface, have=frozenset(store))
        for bag, (found, result) in read_each(read, new, workers):
            if isinstance(result, str):
                problems[bag] = result
                continue
            if result is not None and found.digest not in store:
                store.add(found.digest, result)
            facts[bag] = found
            known.note(bag, found)
    finally:
        known.save()
    return facts, problems


def _read(
    bag: Path, interface: Interface, have: frozenset[str]
) -> tuple[BagFacts, Episode | str | None]:
    """The facts of a bag, and its episode, or why there is none.

    None stands for a failure, or an episode that the cache has.
    """
    facts = BagFacts("", "unknown")
    try:
        facts = look_at(bag)
        if facts.outcome == FAILURE or facts.digest in have:
            return facts, None
        episode = read_episode(bag, interface)
        others = interface_differences(read_recorded_interface(bag), interface)
        notes = [f"recorded with another interface: {text}" for text in others]
        return facts, replace(episode, notes=(*notes, *episode.notes))
    except (BagError, OSError) as error:
        return facts, str(error)
