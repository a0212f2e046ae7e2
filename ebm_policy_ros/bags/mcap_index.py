"""Index of an mcap file, from which the end of the file is written."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mcap.data_stream import RecordBuilder
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    McapRecord,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
)

from ebm_policy_ros.bags.metadata import Contents, parse_qos
from ebm_policy_ros.bags.topics import Topic

MAGIC = b"\x89MCAP0\r\n"
METADATA = "rosbag2"
_FOOTER_BYTES = 29


def encode(records: Iterable[McapRecord]) -> bytes:
    """Serialise records as they are in a file."""
    builder = RecordBuilder()
    for record in records:
        record.write(builder)
    data: bytes = builder.end()  # type: ignore[no-untyped-call]
    return data


@dataclass(frozen=True)
class WrittenChunk:
    """A chunk that is complete in the file."""

    offset: int
    length: int
    compression: str
    compressed_size: int
    uncompressed_size: int
    messages: dict[int, list[tuple[int, int]]]
    """For each channel, (time, offset in the chunk) of its messages; times in nanoseconds."""

    def message_indexes(self) -> list[MessageIndex]:
        """Index records that follow the chunk."""
        return [MessageIndex(channel, records) for channel, records in self.messages.items()]

    @property
    def end(self) -> int:
        """Offset after the chunk, where its index records begin."""
        return self.offset + self.length

    @property
    def times(self) -> list[int]:
        """Times of its messages, nanoseconds."""
        return [time for records in self.messages.values() for time, _ in records]


class McapIndex:
    """Schemas, channels and chunks of a file."""

    def __init__(self) -> None:
        """Begin with an empty file."""
        self.schemas: dict[int, Schema] = {}
        self.channels: dict[int, Channel] = {}
        self._chunks: list[ChunkIndex] = []
        self._counts: list[Counter[int]] = []
        self._metadata: list[MetadataIndex] = []

    def add_chunk(self, chunk: WrittenChunk) -> bytes:
        """Add a chunk to the index; return the records that must follow it in the file."""
        indexes = chunk.message_indexes()
        places, offset, parts = {}, chunk.end, []
        for index in indexes:
            places[index.channel_id] = offset
            parts.append(encode([index]))
            offset += len(parts[-1])
        times = chunk.times
        self._chunks.append(
            ChunkIndex(
                chunk_length=chunk.length,
                chunk_start_offset=chunk.offset,
                compression=chunk.compression,
                compressed_size=chunk.compressed_size,
                message_end_time=max(times, default=0),
                message_index_length=offset - chunk.end,
                message_index_offsets=places,
                message_start_time=min(times, default=0),
                uncompressed_size=chunk.uncompressed_size,
            )
        )
        self._counts.append(Counter({i.channel_id: len(i.records) for i in indexes}))
        return b"".join(parts)

    def drop_chunk(self) -> int | None:
        """Remove the last chunk from the index; return its offset, or None if there is none."""
        if not self._chunks:
            return None
        self._counts.pop()
        return int(self._chunks.pop().chunk_start_offset)

    def contents(self) -> Contents:
        """Contents of the file; topics in order of their appearance."""
        topics, counts = [], self._count()
        for channel in self.channels.values():
            profiles = parse_qos(channel.metadata.get("offered_qos_profiles", ""))
            name = self.schemas[channel.schema_id].name
            topics.append(Topic(channel.topic, name, profiles))
        by_topic = {channel.topic: counts[channel.id] for channel in self.channels.values()}
        return Contents(topics, by_topic, *self._span())

    def ending(self, offset: int, metadata: str) -> bytes:
        """Serialise everything after the last chunk.

        Args:
            offset: Offset in the file at which it begins.
            metadata: Metadata of the bag, as text.
        """
        record = Metadata(METADATA, {"serialized_metadata": metadata})
        data = encode([record])
        index = MetadataIndex(offset=offset, length=len(data), name=METADATA)
        data += encode([DataEnd(0)])
        summary = encode([*self._summary(), *self._metadata, index])
        start = offset + len(data)
        footer = Footer(summary_start=start, summary_offset_start=0, summary_crc=0)
        # The checksum covers everything before itself.
        before = encode([footer])[: _FOOTER_BYTES - 4]
        footer.summary_crc = zlib.crc32(before, zlib.crc32(summary))
        return data + summary + encode([footer]) + MAGIC

    def add_metadata(self, offset: int, length: int) -> None:
        """Add a metadata record to the index."""
        self._metadata.append(MetadataIndex(offset=offset, length=length, name=METADATA))

    def _count(self) -> Counter[int]:
        total: Counter[int] = Counter()
        for counts in self._counts:
            total.update(counts)
        return total

    def _span(self) -> tuple[int, int]:
        starts = [chunk.message_start_time for chunk in self._chunks]
        ends = [chunk.message_end_time for chunk in self._chunks]
        return min(starts, default=0), max(ends, default=0)

    def _summary(self) -> Sequence[McapRecord]:
        counts = self._count()
        first, last = self._span()
        statistics = Statistics(
            attachment_count=0,
            channel_count=len(self.channels),
            channel_message_counts=dict(counts),
            chunk_count=len(self._chunks),
            message_count=counts.total(),
            message_end_time=last,
            message_start_time=first,
            metadata_count=len(self._metadata) + 1,
            schema_count=len(self.schemas),
        )
        named = (*self.schemas.values(), *self.channels.values())
        return (*named, statistics, *self._chunks)
