"""Demonstrations of a folder of bags as arrays."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.training.data.bag_folder import BagFolder, read_demonstration
from ebm_policy_ros.training.data.cache import BagMetrics, Cache, KnownBags, look_at
from ebm_policy_ros.training.data.dataset import (
    FAILURE,
    OUTCOMES,
    Dataset,
    NothingToLearn,
    Unusable,
)
from ebm_policy_ros.training.data.episodes import Episode, NothingCorrected
from ebm_policy_ros.training.data.frame_sizes import other_sizes
from ebm_policy_ros.training.data.parallel import read_each


def load_dataset(
    folder: Path,
    interface: Interface,
    *,
    exclude: Path | None = None,
    unusable: Unusable = "refuse",
    cache: Path | None = None,
    workers: int | None = None,
) -> Dataset:
    """Read every successful demonstration below a folder: the one way from bags to episodes.

    An episode holds the usable steps of a bag; of an execution of a policy, those that a person
    commanded. Bags whose outcome is a failure are left out; those without an outcome are used.
    Decoded bags stay in a cache, which is mapped into memory, so that
    a folder may be larger than the memory.

    Args:
        folder: Folder with bags, at any depth.
        interface: Topics, rate, ages and sizes.
        exclude: File with one line for each bag to leave out, relative to the folder.
        unusable: Refuse an unusable bag, or skip it with a note.
        cache: Folder of the cache; None for `.cache` in the folder.
        workers: Number of decoding processes; None for one per core.

    Raises:
        NothingToLearn: If there are only failures, and executions that give nothing.
        BagError: If a bag cannot be used; the text names it.
    """
    opened = BagFolder.open(folder, exclude)
    bags = opened.included
    place = folder / ".cache" if cache is None else cache
    try:
        store, known = Cache(place, interface), KnownBags(place)
        with store.locked():
            metrics, problems = _fill(store, known, bags, interface, workers)
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
    good = [bag for bag in bags if bag in metrics and opened.counts(bag, metrics[bag].outcome)]
    found = {bag: store[metrics[bag].digest] for bag in good}
    used = [bag for bag in good if found[bag].steps]
    untaught = [(str(bag), note) for bag in good if bag not in used for note in found[bag].notes]
    if not used:
        more = "".join(f"; {bag}: {note}" for bag, note in untaught[:1])
        raise NothingToLearn(
            f"{folder}: every demonstration in it is a failure, or left out{more}"
        )
    entries = [found[bag] for bag in used]
    corrections = store.array("corrections", entries)
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
            *untaught,
            *((str(b), note) for b, e in zip(used, entries, strict=True) for note in e.notes),
            *(
                (str(bag), note)
                for bag, notes in zip(used, other_sizes([e.shapes for e in entries]), strict=True)
                for note in notes
            ),
        ),
        times_ns=store.array("times_ns", entries),
        failures=tuple(str(bag) for bag in bags if bag in metrics and bag not in good),
        corrections=corrections if corrections.any() else None,
    )


def _fill(
    store: Cache,
    known: KnownBags,
    bags: list[Path],
    interface: Interface,
    workers: int | None,
) -> tuple[dict[Path, BagMetrics], dict[Path, str]]:
    """Read the bags that are not cached; return metrics by bag, and problems of unusable bags."""
    metrics = {bag: found for bag in bags if (found := known.find(bag)) is not None}
    new = [
        bag
        for bag in bags
        if bag not in metrics
        or (metrics[bag].outcome != FAILURE and metrics[bag].digest not in store)
    ]
    problems: dict[Path, str] = {}
    try:
        read = partial(_read, interface=interface, have=frozenset(store))
        for bag, (found, result) in read_each(read, new, workers):
            if isinstance(result, str):
                problems[bag] = result
                continue
            if isinstance(result, Episode) and found.digest not in store:
                store.add(found.digest, result)
            elif isinstance(result, tuple) and found.digest not in store:
                store.add_untaught(found.digest, result)
            metrics[bag] = found
            known.note(bag, found)
    finally:
        known.save()
    return metrics, problems


def _read(
    bag: Path, interface: Interface, have: frozenset[str]
) -> tuple[BagMetrics, Episode | tuple[str, ...] | str | None]:
    """Return the metrics of a bag, and its episode or a description of the problem.

    In place of the episode there are the notes of an execution that gives nothing, or None if the
    bag is a failure or already cached.
    """
    metrics = BagMetrics("", "unknown")
    try:
        metrics = look_at(bag)
        if metrics.outcome == FAILURE or metrics.digest in have:
            return metrics, None
        episode = read_demonstration(bag, interface)
        notes = [f"recorded with another interface: {text}" for text in episode.differences]
        return metrics, replace(episode, notes=(*notes, *episode.notes))
    except NothingCorrected as nothing:
        return metrics, nothing.notes
    except (BagError, OSError) as error:
        return metrics, str(error)
