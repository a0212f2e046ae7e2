"""An episode while it is recorded: written by a thread of its own, so that no callback waits."""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ebm_policy_ros.bags import metadata
from ebm_policy_ros.bags.mcap_writer import McapFile
from ebm_policy_ros.bags.metadata import Contents
from ebm_policy_ros.bags.sqlite_writer import SqliteFile
from ebm_policy_ros.bags.topics import Message, Topic

STORAGES: dict[str, type[McapFile] | type[SqliteFile]] = {"mcap": McapFile, "sqlite3": SqliteFile}
UNFINISHED = "unfinished"
NOTE = "recording.json"


@dataclass(frozen=True)
class Place:
    """Where an episode is while it is recorded, and where it belongs."""

    partial: Path
    final: Path
    lock: IO[str]
    """The open note, which tells the next start what was being recorded if there is no end to it;
    its lock says that somebody still records."""

    def release(self, folder: Path) -> None:
        """The episode has an end in a folder, and needs no note."""
        (folder / NOTE).unlink(missing_ok=True)
        self.lock.close()

    def remove(self) -> None:
        """There is no episode."""
        shutil.rmtree(self.partial)
        self.lock.close()
        with suppress(OSError):  # other episodes are in it
            self.partial.parent.rmdir()


class EpisodeWriter:
    """Writes the messages of one episode into its place, which is a folder of its own."""

    def __init__(
        self,
        place: Place,
        storage: str,
        custom: Mapping[str, str],
        min_free: int = 0,
        queue_bytes: int = 256 << 20,
        flush_period: float = 0.25,
    ) -> None:
        """Opens the storage file and starts the thread.

        Args:
            place: From `EpisodeFolder.open`.
            storage: mcap or sqlite3.
            custom: What is known of the episode before it begins, for `custom_data`.
            min_free: Bytes that must stay free on the disk.
            queue_bytes: Of messages that may wait for the disk; more are dropped and counted.
            flush_period: What is older, in s, has been handed to the operating system, and is not
                lost with the process.

        Raises:
            OSError: If the disk refuses it.
        """
        self.place = place
        self.problem = ""
        """Why nothing more is written; empty if all is well."""
        self._custom = dict(custom)
        self._min_free, self._queue_bytes = min_free, queue_bytes
        self._flush_period = flush_period
        suffix = {name: suffix for suffix, name in metadata.SUFFIXES.items()}[storage]
        path = place.partial / f"{place.partial.name}_0{suffix}"
        before = metadata.describe(path, Contents([], {}), {**custom, "outcome": UNFINISHED})
        self._path = path
        self._file = STORAGES[storage](path, metadata.dump(before))
        self._queue: queue.SimpleQueue[tuple[Topic, Message] | None] = queue.SimpleQueue()
        # Each is changed by one thread only, so that neither needs a lock.
        self._added = self._taken = 0
        self._refused: Counter[str] = Counter()
        self._unwritten: Counter[str] = Counter()
        self._abandoned = False
        self._thread = threading.Thread(target=self._write, name="episode writer")
        self._thread.start()

    @property
    def size(self) -> int:
        """Bytes that are in the file."""
        return self._file.size

    @property
    def waiting(self) -> int:
        """Bytes that wait for the disk."""
        return self._added - self._taken

    @property
    def dropped(self) -> Counter[str]:
        """Messages by topic that were not written, since the disk was too slow or full."""
        return self._refused + Counter(dict(self._unwritten))

    def add(self, topic: Topic, message: Message) -> None:
        """Append a message, or count it as dropped."""
        if self.problem or self.waiting > self._queue_bytes:
            self._refused[topic.name] += 1
            return
        self._added += len(message.data)
        self._queue.put((topic, message))

    def _write(self) -> None:
        flushed = time.monotonic()
        while (items := self._next()) is not None:
            try:
                for item in items:
                    self._take(*item)
                if time.monotonic() - flushed >= self._flush_period and not self.problem:
                    flushed = time.monotonic()
                    check_free(self._path.parent, self._min_free)
                    self._file.flush()
            except Exception as problem:  # told by the node, on its own thread
                self.problem = f"{self._path}: {problem}"

    def _next(self) -> tuple[tuple[Topic, Message], ...] | None:
        """What is to be written next, if anything; None at the end."""
        try:
            item = self._queue.get(timeout=self._flush_period)
        except queue.Empty:
            return ()
        return None if item is None else (item,)

    def _take(self, topic: Topic, message: Message) -> None:
        self._taken += len(message.data)
        if self.problem or self._abandoned:
            self._unwritten[topic.name] += 1
            return
        self._file.write(topic, message)

    def _finish(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _end(self, topics: Sequence[Topic], custom: Mapping[str, str]) -> None:
        """End the storage file and write metadata.yaml.

        Raises:
            OSError: If the disk refuses it. The note stays, so that the next start repairs it.
        """
        self._finish()
        self._custom |= custom
        if self.problem:
            self._custom |= {"outcome": UNFINISHED, "problem": self.problem}
        try:
            found = self._file.finish(topics, lambda found: metadata.dump(self._describe(found)))
            metadata.write(self.place.partial, self._describe(found))
        except OSError as error:
            self.problem = self.problem or f"{self._path}: {error}"
            self.place.lock.close()
            raise

    def _describe(self, contents: Contents) -> Mapping[str, Any]:
        return metadata.describe(self._path, contents, self._custom)

    def keep(self, topics: Sequence[Topic], custom: Mapping[str, str]) -> Path:
        """Finish the episode and move it to its place.

        Args:
            topics: That the bag is to have, with or without messages.
            custom: For `custom_data`, with the outcome.

        Returns:
            The folder.

        Raises:
            OSError: If something could not be written; the text says where the rest is.
        """
        partial, final = self.place.partial, self.place.final
        self._end(topics, custom)
        if self.problem or final.exists():
            self.place.release(partial)
            raise OSError(f"{self.problem or f'{final} exists'}; the episode stays in {partial}")
        partial.rename(final)
        sync_folder(final.parent)
        self.place.release(final)
        with suppress(OSError):  # other episodes are in it
            partial.parent.rmdir()
        return final

    def leave(self, topics: Sequence[Topic], custom: Mapping[str, str]) -> Path:
        """Finish the episode where it is, for somebody to decide about, and return its folder."""
        with suppress(OSError):  # told by `problem`; the note stays, and the next start repairs it
            self._end(topics, custom)
            self.place.release(self.place.partial)
        return self.place.partial

    def discard(self) -> None:
        """Delete the episode."""
        self._abandoned = True
        self._finish()
        self._file.close()
        self._path.unlink(missing_ok=True)  # first, so that the note is there as long as it is
        self.place.remove()


def free_bytes(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_free(folder: Path, min_free: int) -> None:
    """See that so many bytes are free.

    Raises:
        OSError: If they are not.
    """
    free = free_bytes(folder)
    if free < min_free:
        raise OSError(
            f"the disk is full: {free / 2**30:.2f} GiB are free, {min_free / 2**30:.2f} GiB must "
            "stay so (min_free)"
        )


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
