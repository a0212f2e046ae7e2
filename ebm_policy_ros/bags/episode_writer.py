"""Episode writer: records one episode in its own thread; no callback waits for the disk."""

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
from ebm_policy_ros.bags.topics import Message, Topic

UNFINISHED = "unfinished"
NOTE = "recording.json"


@dataclass(frozen=True)
class Place:
    """Folders of an episode: during the recording and after it."""

    partial: Path
    final: Path
    lock: IO[str]
    """Open note file. It tells the recovery at the next start what was recorded if the recording
    did not end; its lock shows that the recording is running."""

    def release(self, folder: Path) -> None:
        """Delete the note of an episode that is finished in a folder, and release the lock."""
        (folder / NOTE).unlink(missing_ok=True)
        self.lock.close()

    def remove(self) -> None:
        """Delete the episode and release the lock."""
        shutil.rmtree(self.partial)
        self.lock.close()
        with suppress(OSError):  # the folder has other episodes
            self.partial.parent.rmdir()


class EpisodeWriter:
    """Writes the messages of one episode into its folder."""

    def __init__(
        self,
        place: Place,
        custom: Mapping[str, str],
        min_free: int = 0,
        queue_bytes: int = 256 << 20,
        flush_period: float = 0.25,
    ) -> None:
        """Open the storage file and start the thread.

        Args:
            place: Place from `EpisodeFolder.open`.
            custom: Information known before the episode begins, for `custom_data`.
            min_free: Bytes that must stay free on the disk.
            queue_bytes: Largest size of the messages waiting for the disk, bytes; further messages
                are dropped and counted.
            flush_period: Messages older than this, in s, have been passed to the operating system
                and survive the death of the process.

        Raises:
            OSError: If the disk doesn't accept it.
        """
        self.place = place
        self.problem = ""
        """Reason why writing stopped; empty if there is no problem."""
        self._custom = dict(custom)
        self._min_free, self._queue_bytes = min_free, queue_bytes
        self._flush_period = flush_period
        path = place.partial / f"{place.partial.name}_0{metadata.SUFFIX}"
        before = metadata.describe(path, Contents([], {}), {**custom, "outcome": UNFINISHED})
        self._path = path
        self._file = McapFile(path, metadata.dump(before))
        self._queue: queue.SimpleQueue[tuple[Topic, Message] | None] = queue.SimpleQueue()
        # Each counter is changed by one thread only, so that no lock is needed.
        self._added = self._taken = 0
        self._refused: Counter[str] = Counter()
        self._unwritten: Counter[str] = Counter()
        self._abandoned = False
        self._thread = threading.Thread(target=self._write, name="episode writer")
        self._thread.start()

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._file.size

    @property
    def waiting(self) -> int:
        """Bytes waiting for the disk."""
        return self._added - self._taken

    @property
    def dropped(self) -> Counter[str]:
        """Messages by topic that were not written because the disk was too slow or full."""
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
            except Exception as problem:  # reported by the node, in its own thread
                self.problem = f"{self._path}: {problem}"

    def _next(self) -> tuple[tuple[Topic, Message], ...] | None:
        """Items to write next, possibly none; None at the end."""
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
            OSError: If the disk doesn't accept it. The note stays, so that the next start repairs
                the file.
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
        """Finish the episode and move it to its final folder.

        Args:
            topics: Topics of the bag, also those without messages.
            custom: Values for `custom_data`, with the outcome.

        Returns:
            The final folder.

        Raises:
            OSError: If something could not be written; the text names the folder of the rest.
        """
        partial, final = self.place.partial, self.place.final
        self._end(topics, custom)
        if self.problem or final.exists():
            self.place.release(partial)
            raise OSError(f"{self.problem or f'{final} exists'}; the episode stays in {partial}")
        partial.rename(final)
        sync_folder(final.parent)
        self.place.release(final)
        with suppress(OSError):  # the folder has other episodes
            partial.parent.rmdir()
        return final

    def leave(self, topics: Sequence[Topic], custom: Mapping[str, str]) -> Path:
        """Finish the episode without moving it, for a later decision, and return its folder."""
        with suppress(OSError):  # reported by `problem`; the next start repairs it
            self._end(topics, custom)
            self.place.release(self.place.partial)
        return self.place.partial

    def discard(self) -> None:
        """Delete the episode."""
        self._abandoned = True
        self._finish()
        self._file.close()
        self._path.unlink(missing_ok=True)  # before the note, which must exist as long as the file
        self.place.remove()


def free_bytes(folder: Path) -> int:
    """Bytes that are free on the disk of a folder, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_free(folder: Path, min_free: int) -> None:
    """Check that enough bytes are free.

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
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
