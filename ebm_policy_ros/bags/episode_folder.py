"""The folder of episodes: names, what is not a demonstration, and what a crash left behind."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from ebm_policy_ros.bags import metadata
from ebm_policy_ros.bags.episode_writer import NOTE, UNFINISHED, Place, sync_folder
from ebm_policy_ros.bags.mcap_repair import DamagedFile, repair_mcap
from ebm_policy_ros.bags.metadata import Contents
from ebm_policy_ros.bags.sqlite_writer import repair_sqlite
from ebm_policy_ros.interface import NANOSECONDS
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.yaml_file import parse_json

PARTIAL = ".partial"
"""What is in it is no demonstration: unfinished, recovered or set aside."""


class EpisodeFolder:
    """A folder with one bag per episode; nothing in it is ever overwritten."""

    def __init__(self, path: Path, prefix: str) -> None:
        """Makes the folder.

        Args:
            path: Its place.
            prefix: Beginning of the names of new episodes.

        Raises:
            OSError: If it can't be made.
            ValueError: If the prefix can't begin the name of a bag in it.
        """
        if not prefix or prefix.startswith(".") or set(prefix) & set("/\\\0"):
            raise ValueError(
                f"prefix: got {prefix!r}, expected the beginning of a file's name, without / and "
                "without a dot in front"
            )
        self.path, self._prefix = path, prefix
        path.mkdir(parents=True, exist_ok=True)

    @property
    def partial(self) -> Path:
        """Where unfinished episodes are, and those that were set aside."""
        return self.path / PARTIAL

    def count(self) -> int:
        """Finished episodes, whoever recorded them."""
        return sum(1 for _ in self.path.glob(f"*/{metadata.FILE}"))

    def count_partial(self) -> int:
        """Episodes that somebody should decide about; not those that are being recorded."""
        folders = [path for path in self.partial.glob("*") if path.is_dir()]
        return sum(1 for folder in folders if not _is_recorded(folder / NOTE))

    def open(self, note: Mapping[str, str]) -> Place:
        """A place for a new episode.

        Args:
            note: What the next start is to know of it if this process dies.

        Raises:
            OSError: If the disk refuses it.
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
        """Move a kept episode to where training doesn't look, and return its new place.

        Raises:
            OSError: If there is one of its name already.
        """
        self.partial.mkdir(exist_ok=True)
        aside = self.partial / episode.name
        if aside.exists():
            raise OSError(f"{aside} exists")
        episode.rename(aside)
        sync_folder(self.path)
        return aside

    def recover(self) -> list[str]:
        """Finish what recorders that died have left; a line for each such episode."""
        notes = sorted(self.partial.glob(f"*/{NOTE}"))
        return [line for note in notes if (line := _recover(note))]


def _is_recorded(note: Path) -> bool:
    """Whether a recorder, this or another, is at an episode."""
    if not note.exists():
        return False
    with note.open("r+", encoding="utf-8") as file:
        return not _lock(file)


def _lock(file: TextIO) -> bool:
    """Take an episode's note; false if the recorder that made it still has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _recover(note: Path) -> str:
    """Finish one episode; empty if somebody still records it."""
    folder = note.parent
    with note.open("r+", encoding="utf-8") as file:
        if not _lock(file):
            return ""
        if not _storage_files(folder):
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
    """Move an episode that was kept and finished, when the recorder died just before."""
    final = folder.parent.parent / folder.name
    if final.exists():
        raise OSError(f"{final} exists")
    folder.rename(final)
    sync_folder(final.parent)
    (final / NOTE).unlink()
    return f"{final} was kept, and is in its place now"


def _repair(folder: Path, note: str) -> Contents:
    files = _storage_files(folder)
    if len(files) != 1:
        raise DamagedFile(f"{len(files)} storage files in it")
    file = files[0]
    try:
        custom = {str(key): str(value) for key, value in parse_json(note or "{}").items()}
    except (ValueError, AttributeError):
        custom = {}  # the process was killed before it had written its note
    custom |= {"outcome": UNFINISHED, "problem": "the recorder ended without finishing it"}

    def describe(contents: Contents) -> Mapping[str, object]:
        return metadata.describe(file, contents, custom)

    repair = repair_mcap if file.suffix == ".mcap" else repair_sqlite
    contents = repair(file, lambda found: metadata.dump(describe(found)))
    metadata.write(folder, describe(contents))
    return contents


def _storage_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix in metadata.SUFFIXES]
