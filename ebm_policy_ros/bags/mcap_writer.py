"""mcap writer: writes files as rosbag2 does, one chunk at a time.

Each chunk is passed to the operating system as soon as it is complete. The `mcap` package
serialises the records (https://mcap.dev/spec). Its own writer has no control of the end of a chunk
and of the compression level.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.records import Channel, Chunk, Header, Metadata, Schema
from mcap.records import Message as MessageRecord

from ebm_policy_ros.bags.mcap_index import MAGIC, METADATA, McapIndex, WrittenChunk, encode
from ebm_policy_ros.bags.metadata import Contents, dump_qos
from ebm_policy_ros.bags.topics import Message, Topic, definition_of

# Same value as in the writers of the mcap libraries.
_CHUNK_BYTES = 1 << 20
# For frames with sensor noise, higher levels save little, and some take five times as long.
_LEVEL = 1


class McapFile:
    """Writes one file; data written by `flush` survives the end of the process."""

    def __init__(self, path: Path, metadata: str) -> None:
        """Open a new file.

        Args:
            path: Path of the file.
            metadata: Metadata of the bag before it is written, as text.

        Raises:
            OSError: If the file exists, or the disk doesn't accept it.
        """
        # Unbuffered, so that a failed write leaves no data that a later flush would write again.
        self._file = path.open("xb", buffering=0)
        self._index = McapIndex()
        self._channels: dict[str, int] = {}
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._size = 0
        self._start_chunk()
        self._append(MAGIC + encode([Header(profile="ros2", library="ebm_policy_ros")]))
        record = encode([Metadata(METADATA, {"serialized_metadata": metadata})])
        self._index.add_metadata(self._size, len(record))
        self._append(record)

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._size

    def _start_chunk(self) -> None:
        self._chunk = RecordBuilder()
        self._messages: dict[int, list[tuple[int, int]]] = {}

    def _append(self, data: bytes) -> None:
        """Append data to the file, completely or not at all."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(self._size)
            self._file.seek(self._size)
            raise
        self._size += len(data)

    def _register(self, topic: Topic) -> int:
        """Number of a topic's channel; its records are written before its first message."""
        if topic.name in self._channels:
            return self._channels[topic.name]
        definition, type_hash = definition_of(topic.type)
        known = {schema.name: schema for schema in self._index.schemas.values()}
        schema = known.get(topic.type)
        if schema is None:
            number = len(known) + 1
            schema = Schema(number, definition.encode(), "ros2msg", topic.type)
            self._index.schemas[number] = schema
            schema.write(self._chunk)
        number = len(self._channels) + 1
        noted = {"offered_qos_profiles": dump_qos(topic), "topic_type_hash": type_hash}
        channel = Channel(number, topic.name, "cdr", noted, schema.id)
        channel.write(self._chunk)
        self._index.channels[number] = channel
        self._channels[topic.name] = number
        return number

    def write(self, topic: Topic, message: Message) -> None:
        """Append a message.

        Raises:
            OSError: If the disk doesn't accept a chunk.
        """
        channel = self._register(topic)
        places = self._messages.setdefault(channel, [])
        places.append((message.log_ns, self._chunk.count))
        MessageRecord(
            channel_id=channel,
            sequence=message.sequence % (1 << 32),
            log_time=message.log_ns,
            publish_time=message.publish_ns,
            data=message.data,
        ).write(self._chunk)
        if self._chunk.count >= _CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """End the chunk and pass it to the operating system.

        Raises:
            OSError: If the disk doesn't accept it; the file is then unchanged.
        """
        data: bytes = self._chunk.end()  # type: ignore[no-untyped-call]
        messages = self._messages
        if not data:
            return
        self._start_chunk()
        times = [time for places in messages.values() for time, _ in places]
        chunk = Chunk(
            compression="zstd",
            data=self._compressor.compress(data),
            message_end_time=max(times, default=0),
            message_start_time=min(times, default=0),
            uncompressed_crc=zlib.crc32(data),
            uncompressed_size=len(data),
        )
        record = encode([chunk])
        written = WrittenChunk(
            self._size, len(record), "zstd", len(chunk.data), len(data), messages
        )
        following = self._index.add_chunk(written)
        try:
            self._append(record + following)
        except OSError:
            self._index.drop_chunk()
            raise

    def finish(self, topics: Sequence[Topic], describe: Callable[[Contents], str]) -> Contents:
        """End the file, also with topics that have no messages, and close it.

        On a full disk the last chunks are dropped to make room for the summary.

        Args:
            topics: Topics of the bag.
            describe: Function that makes the metadata text for the contents of the file.

        Raises:
            OSError: If the disk doesn't accept even that; the file can still be repaired.
        """
        try:
            for topic in topics:
                self._register(topic)
            with suppress(OSError):  # a full disk; the summary lists the channels
                self.flush()
            while True:
                contents = self._index.contents()
                try:
                    self._append(self._index.ending(self._size, describe(contents)))
                    break
                except OSError:
                    if not self._give_up_chunk():
                        raise
            os.fsync(self._file.fileno())
        finally:
            self._file.close()
        return contents

    def _give_up_chunk(self) -> bool:
        start = self._index.drop_chunk()
        if start is None:
            return False
        self._file.truncate(start)
        self._file.seek(start)
        self._size = start
        return True

    def close(self) -> None:
        """Close the file as it is."""
        self._file.close()
