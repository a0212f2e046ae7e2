"""Plan of a comparison: which policy runs when, from which start."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ebm_policy_ros.trials.files import draft_of, write_whole
from ebm_policy_ros.util.quoting import quote

COMPARISON = "comparison.json"
_DIGITS = 12


@dataclass(frozen=True)
class NamedFile:
    """A policy or a start, known by the hash of its file."""

    name: str
    sha256: str

    def __str__(self) -> str:
        """Name and the beginning of the hash, for users."""
        return f"{self.name} ({self.sha256[:_DIGITS]})"


@dataclass(frozen=True)
class Planned:
    """A trial that is to be run."""

    number: int
    """Number of the trial from 1, those included that did not count."""
    block: int
    """Number of the block from 0."""
    policy: int
    """Number of the policy, as in the comparison."""
    start: str
    """Name of the start: a picture's, or the seed of a scene."""


@dataclass(frozen=True)
class Comparison:
    """Everything that makes two comparisons the same one."""

    policies: tuple[NamedFile, ...]
    starts: tuple[NamedFile, ...]
    """Starts, used one after the other and then anew; none: scenes of a simulation by their seeds,
    or places that the operator numbers."""
    seed: int
    """Seed of the order, and of the first scene of a simulation."""
    alpha: float
    """Probability of naming a difference where there is none."""
    setting: Mapping[str, Any] = field(default_factory=dict)
    """Task, interface and parameters."""

    def __post_init__(self) -> None:
        """Check that the policies differ.

        Raises:
            ValueError: If they do not; the text is one line.
        """
        if len(self.policies) < 2:
            raise ValueError(f"policies: got {len(self.policies)}, expected at least two")
        for index, policy in enumerate(self.policies):
            for other in self.policies[:index]:
                if policy.sha256 == other.sha256:
                    raise ValueError(
                        f"policies: got {other.name} and {policy.name}, which are the same file "
                        f"({policy.sha256[:_DIGITS]}), expected different ones"
                    )
                if policy.name == other.name:
                    raise ValueError(
                        f"policies: got two named {policy.name}, expected each name once; rename "
                        "a file"
                    )
        if self.seed < 0:
            raise ValueError(f"seed: got {self.seed}, expected an integer >= 0")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha: got {self.alpha:g}, expected a number between 0 and 1")

    def order(self, block: int) -> tuple[int, ...]:
        """Order of the policies in a block; it depends on the seed and the block alone.

        Each block's order is drawn by itself: the orders of other blocks tell nothing about it, to
        the operator or to the test. So of two policies that are equally good either is as likely
        to win a block, also if the first trial of a block is the easier one.
        """
        generator = random.Random(f"{self.seed} {block}")
        drawn = [generator.random() for _ in self.policies]
        return tuple(sorted(range(len(drawn)), key=drawn.__getitem__))

    def start(self, block: int) -> str:
        """Name of the start that all policies of a block share."""
        if self.starts:
            return self.starts[block % len(self.starts)].name
        return str(self.seed + block if "task" in self.setting else block + 1)

    def planned(self, counted: int, number: int) -> Planned:
        """Trial that follows.

        Args:
            counted: Number of the trials that count so far.
            number: Number of the trial, from 1.
        """
        block, place = divmod(counted, len(self.policies))
        return Planned(number, block, self.order(block)[place], self.start(block))

    def to_dict(self) -> dict[str, Any]:
        """Comparison as in its file."""
        return {
            "policies": [vars(policy) for policy in self.policies],
            "starts": [vars(start) for start in self.starts],
            "seed": self.seed,
            "alpha": self.alpha,
            "setting": json.loads(json.dumps(self.setting)),
        }


def comparison_from_dict(content: Any) -> Comparison:
    """Comparison from its file.

    Raises:
        ValueError: If something is missing or of another kind.
    """
    try:
        return Comparison(
            policies=_named(content["policies"]),
            starts=_named(content["starts"]),
            seed=int(content["seed"]),
            alpha=float(content["alpha"]),
            setting=dict(content["setting"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a comparison of this version ({error!r})") from None


def _named(entries: Sequence[Mapping[str, Any]]) -> tuple[NamedFile, ...]:
    return tuple(NamedFile(str(entry["name"]), str(entry["sha256"])) for entry in entries)


def read_comparison(out: Path) -> Comparison:
    """Comparison of a folder.

    Raises:
        ValueError: If the folder has none that can be read.
    """
    path = out / COMPARISON
    try:
        return comparison_from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def order_seed(out: Path) -> int:
    """Seed of the order that a folder has noted; for a new comparison it is drawn by chance.

    Raises:
        ValueError: If the folder has a comparison that cannot be read.
    """
    return read_comparison(out).seed if is_claimed(out) else secrets.randbelow(2**32)


def is_claimed(out: Path) -> bool:
    """Return True if a folder has a comparison, False if it has room for one.

    Raises:
        ValueError: If it holds something else.
    """
    path = out / COMPARISON
    if path.exists():
        return True
    if out.exists() and any(file != draft_of(path) for file in out.iterdir()):
        raise ValueError(f"{out} is not empty and has no {COMPARISON}; choose another folder")
    return False


def claim_folder(out: Path, comparison: Comparison) -> None:
    """Note a comparison in its folder, so that two never mix.

    Raises:
        ValueError: If the folder holds something else; the text says what differs.
    """
    path = out / COMPARISON
    if is_claimed(out):
        if problem := _difference(read_comparison(out), comparison):
            raise ValueError(f"{out} holds trials {problem}; choose another folder")
        return
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(comparison.to_dict(), indent=2).encode())


def _difference(noted: Comparison, wanted: Comparison) -> str:
    """First difference between two comparisons, as the end of a sentence; empty if none."""
    for key, there, here in (
        ("policies", noted.policies, wanted.policies),
        ("starts", noted.starts, wanted.starts),
    ):
        if there != here:
            return f"of other {key}: {_listed(there)}, not {_listed(here)}"
    for key in ("seed", "alpha"):
        there, here = getattr(noted, key), getattr(wanted, key)
        if there != here:
            return f"of another {key}: {there}, not {here}"
    there, here = noted.to_dict()["setting"], wanted.to_dict()["setting"]
    for key in sorted({*there, *here}):
        if there.get(key) != here.get(key):
            return f"of another {key}: {quote(there.get(key))}, not {quote(here.get(key))}"
    return ""


def _listed(files: Sequence[NamedFile]) -> str:
    return ", ".join(map(str, files)) or "none"
