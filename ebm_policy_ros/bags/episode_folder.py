"""Episode folder: names of episodes, episodes not for training, and recovery after a crash."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from ebm_policy_ros.bags import metadata
from ebm_policy_ros.bags.discovery import METADATA
from ebm_policy_ros.bags.episode_writer import NOTE, UNFINISHED, Place, sync_folder
from ebm_policy_ros.bags.mcap_repair import DamagedFile, repair_mcap
from ebm_policy_ros.bags.metadata import Contents
from ebm_policy_ros.interface import NANOSECONDS
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.yaml_file import parse_json

PARTIAL = ".partial"
"""Name of the folder of episodes that are not demonstrations: unfinished, recovered or set
aside."""


class EpisodeFolder:
    """A folder with one bag per episode; existing episodes are never overwritten."""

    def __init__(self, path: Path, prefix: str) -> None:
        """Create the folder.

        Args:
            path: Path of the folder.
            prefix: Prefix of the names of new episodes.

        Raises:
            OSError: If the folder can't be created.
            ValueError: If the prefix is not valid in a bag's name.
        """
        if not prefix or prefix.startswith(".") or set(prefix) & set("/\\\0"):
            raise ValueError(
                f"prefix: got {prefix!r}, expected the beginning of a file's name, without / and "
                "without a dot in front"
            )
        self.path, self._prefix = path, prefix
        self._outcomes: dict[str, str] = {}
        path.mkdir(parents=True, exist_ok=True)

    @property
    def partial(self) -> Path:
        """Folder of unfinished episodes and of those that were set aside."""
        return self.path / PARTIAL

    def outcomes(self) -> Counter[str]:
        """Numbers of finished episodes by outcome, from any recorder.

        An episode's file is read once. Another call lists the names in the folder and looks for
        the files of new ones alone: 4 ms for 5,000 episodes. A folder that somebody has removed
        has none; the next episode creates it anew.
        """
        try:
            names = {name for name in os.listdir(self.path) if not name.startswith(".")}
        except (FileNotFoundError, NotADirectoryError):
            names = set()
        for name in self._outcomes.keys() - names:
            del self._outcomes[name]
        for name in names - self._outcomes.keys():
            if (self.path / name / METADATA).exists():
                custom = metadata.read_custom_data(self.path / name)
                self._outcomes[name] = custom.get("outcome", UNFINISHED)
        return Counter(self._outcomes.values())

    def count_partial(self) -> int:
        """Number of episodes that need a decision, without those being recorded now."""
        folders = [path for path in self.partial.glob("*") if path.is_dir()]
        return sum(1 for folder in folders if not _is_recorded(folder / NOTE))

    def open(self, note: Mapping[str, str]) -> Place:
        """Create the place of a new episode.

        Args:
            note: Information for the recovery at the next start if this process dies.

        Raises:
            OSError: If the disk doesn't accept it.
        """
        self.partial.mkdir(parents=True, exist_ok=True)
        name = self._next_name()
        partial = self.partial / name
        partial.mkdir()
        file = (partial / NOTE).open("x", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(dict(note), file)
        file.flush()
        return Place(partial, self.path / name, file)

    def _next_name(self) -> str:
        folders = (self.path, self.partial)
        taken = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
        number = 0
        while f"{self._prefix}_{number:04d}" in taken:
            number += 1
        return f"{self._prefix}_{number:04d}"

    def set_aside(self, episode: Path) -> Path:
        """Move a kept episode to the folder that training ignores, and return its new path.

        Raises:
            OSError: If an episode of this name exists there.
        """
        self.partial.mkdir(exist_ok=True)
        aside = self.partial / episode.name
        if aside.exists():
            raise OSError(f"{aside} exists; move it to another folder, or delete it")
        episode.rename(aside)
        sync_folder(self.path)
        return aside

    def recover(self) -> list[str]:
        """Finish the episodes of recorders that died; return a line for each of them."""
        notes = sorted(self.partial.glob(f"*/{NOTE}"))
        return [line for note in notes if (line := _recover(note))]


def _is_recorded(note: Path) -> bool:
    """True if this or another recorder is recording the episode."""
    if not note.exists():
        return False
    with note.open("r+", encoding="utf-8") as file:
        return not _lock(file)


def _lock(file: TextIO) -> bool:
    """Lock an episode's note; False if the recorder that created it still holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _recover(note: Path) -> str:
    """Finish one episode and return a line about it; empty if it is still being recorded."""
    folder = note.parent
    with note.open("r+", encoding="utf-8") as file:
        if not _lock(file):
            return ""
        if list(folder.iterdir()) == [note]:
            shutil.rmtree(folder)
            return f"{folder} was begun, but nothing was recorded: removed"
        try:
            if metadata.read_custom_data(folder).get("outcome", UNFINISHED) != UNFINISHED:
                return _move(folder)
            contents = _repair(folder, file.read(bounds.LARGEST_YAML))
        except (OSError, ValueError) as error:
            return f"{folder} was not finished and can't be repaired; it stays there: {error}"
        note.unlink()
    seconds = (contents.last_ns - contents.first_ns) / NANOSECONDS
    return (
        f"{folder} was not finished: recovered {contents.count} messages, {seconds:.1f} s; it "
        f"stays there with the outcome {UNFINISHED}"
    )


def _move(folder: Path) -> str:
    """Move a kept and finished episode whose recorder died just before the move."""
    final = folder.parent.parent / folder.name
    if final.exists():
        raise OSError(f"{final} exists; move it to another folder, or delete it")
    folder.rename(final)
    sync_folder(final.parent)
    (final / NOTE).unlink()
    return f"{final} was kept, and is in its place now"


def _repair(folder: Path, note: str) -> Contents:
    files = [path for path in folder.iterdir() if path.suffix == metadata.SUFFIX]
    if len(files) != 1:
        raise DamagedFile(f"{len(files)} {metadata.SUFFIX} files in it, expected 1")
    file = files[0]
    try:
        custom = {str(key): str(value) for key, value in parse_json(note or "{}").items()}
    except (ValueError, AttributeError):
        custom = {}  # the process was killed before it wrote its note
    custom |= {"outcome": UNFINISHED, "problem": "the recorder ended without finishing it"}

    def describe(contents: Contents) -> Mapping[str, object]:
        return metadata.describe(file, contents, custom)

    contents = repair_mcap(file, lambda found: metadata.dump(describe(found)))
    metadata.write(folder, describe(contents))
    return contents
