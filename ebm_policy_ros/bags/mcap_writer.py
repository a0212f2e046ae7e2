"""mcap writer: writes files as rosbag2 does, with the writer of the `mcap` package."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mcap.writer
import zstandard

from ebm_policy_ros.bags.metadata import Contents, dump_qos
from ebm_policy_ros.bags.topics import Message, Topic, definition_of

_METADATA = "rosbag2"
# The library's writer has no argument for the level and takes zstd's default, 3. On frames with
# sensor noise that takes two to eight times as long: two cameras would need a core of their own.
_LEVEL_1 = SimpleNamespace(compress=partial(zstandard.compress, level=1))
mcap.writer.zstandard = _LEVEL_1  # type: ignore[assignment, attr-defined]

# Same value as in the writers of the mcap libraries.
_CHUNK_BYTES = 1 << 20
# Step in which space on the disk is allocated.
_STEP = 1 << 20
# Space for the definitions of the topics and the metadata, twice each, and for metadata.yaml.
_END_BYTES = 512 << 10


class McapFile:
    """Writes one file; data written by `flush` survives the end of the process.

    The library's writer can't go on after a failed write. Therefore the space of a message, its
    index and the end of the file is allocated before the writer gets the message: a full disk
    refuses the message, and the file can still be finished.
    """

    def __init__(self, path: Path, metadata: str) -> None:
        """Open a new file.

        Args:
            path: Path of the file.
            metadata: Metadata of the bag before it is written, as text.

        Raises:
            OSError: If the file exists, or the disk doesn't accept it.
        """
        self._path, self._file = path, path.open("xb")
        self.size = 0
        """Bytes in the file, without the allocated space after them."""
        self._allocated = self._pending = 0
        self._end_bytes = _END_BYTES
        self._topics: dict[str, tuple[int, Topic]] = {}
        self._schemas: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._first = self._last = 0
        # `flush` alone ends chunks.
        self._writer: Any = mcap.writer.Writer(self._file, chunk_size=sys.maxsize)
        self._allocate()
        self._writer.start(profile="ros2", library="ebm_policy_ros")
        self._writer.add_metadata(_METADATA, {"serialized_metadata": metadata})
        self.flush()

    @property
    def contents(self) -> Contents:
        """Contents of the file; topics in order of their appearance."""
        topics = [topic for _, topic in self._topics.values()]
        counts = {topic.name: self._counts[topic.name] for topic in topics}
        return Contents(topics, counts, self._first, self._last)

    def _allocate(self, more: int = 0) -> None:
        """Allocate space on the disk for `more` bytes and all that is still to be written."""
        self._refuse_closed()
        needed = self.size + self._pending + more + self._end_bytes
        if needed > self._allocated:
            size = needed + _STEP
            os.posix_fallocate(self._file.fileno(), self._allocated, size - self._allocated)
            self._allocated = size

    def register(self, topic: Topic) -> int:
        """Number of a topic's channel; it is registered if it is new."""
        if topic.name not in self._topics:
            definition, type_hash = definition_of(topic.type)
            if topic.type not in self._schemas:
                self._schemas[topic.type] = self._writer.register_schema(
                    topic.type, "ros2msg", definition.encode()
                )
            noted = {"offered_qos_profiles": dump_qos(topic), "topic_type_hash": type_hash}
            channel = self._writer.register_channel(
                topic.name, "cdr", self._schemas[topic.type], noted
            )
            self._topics[topic.name] = (channel, topic)
        return self._topics[topic.name][0]

    def write(self, topic: Topic, message: Message) -> None:
        """Append a message.

        Raises:
            OSError: If the disk has no space for it.
        """
        channel = self.register(topic)
        # zstd adds at most 1/255; a message has 31 bytes before its data, and 16 in the index.
        size = len(message.data) + len(message.data) // 255 + 100
        self._allocate(size)
        self._pending += size
        self._writer.add_message(
            channel, message.log_ns, message.data, message.publish_ns, message.sequence % (1 << 32)
        )
        self._first = min(self._first, message.log_ns) if self._counts else message.log_ns
        self._last = max(self._last, message.log_ns)
        self._counts[topic.name] += 1
        if self._pending >= _CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """End the chunk and pass it to the operating system.

        Raises:
            OSError: If the disk doesn't accept it; the file is then closed, and can be repaired.
        """
        try:
            self._writer.flush()
        except OSError:
            self.close()
            raise
        self.size = self._file.tell()
        self._pending = 0
        # Bytes of a chunk in the index at the end of the file.
        self._end_bytes += 100 + 10 * len(self._topics)

    def finish(self, topics: Sequence[Topic], describe: Callable[[Contents], str]) -> Contents:
        """End the file, also with topics that have no messages, and close it.

        Args:
            topics: Topics of the bag.
            describe: Function that makes the metadata text for the contents of the file.

        Raises:
            OSError: If the disk doesn't accept it; the file can still be repaired.
        """
        self._refuse_closed()
        try:
            for topic in topics:
                self.register(topic)
            self.flush()
            metadata = describe(self.contents)
            self._writer.add_metadata(_METADATA, {"serialized_metadata": metadata})
            self._writer.finish()
            self._file.flush()
            self.size = self._file.tell()
            self._file.truncate()
            os.fsync(self._file.fileno())
        finally:
            self.close()
        return self.contents

    def _refuse_closed(self) -> None:
        if self._file.closed:
            raise OSError(f"{self._path}: a write failed, the next start repairs the file")

    def close(self) -> None:
        """Close the file as it is, without the allocated space at its end."""
        if self._file.closed:
            return
        with suppress(OSError):  # the rest of a failed write
            self._file.close()
        os.truncate(self._path, self.size)
