"""Repair of an mcap file whose writer was killed: its complete chunks are written anew."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Schema
from mcap.writer import MCAP0_MAGIC

from ebm_policy_ros.bags.mcap_writer import McapFile
from ebm_policy_ros.bags.metadata import Contents, parse_qos
from ebm_policy_ros.bags.topics import Message, Topic
from ebm_policy_ros.bags.unpacking import unpacked_zstd
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import cut, quote

_HEAD = struct.Struct("<BQ")
# Begin of a message: channel, sequence number, log time, publish time.
_MESSAGE = struct.Struct("<HIQQ")
# A killed writer leaves at most one incomplete chunk and allocated space; a longer rest is another
# kind of damage.
_LONGEST_TEAR = 64 << 20


class DamagedFile(ValueError):
    """A file that is damaged before its end; the text gives the place."""


class _Scan:
    """Reads the complete chunks of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._schemas: dict[int, Schema] = {}
        self.topics: dict[int, Topic] = {}
        """Topics by number of their channel."""
        self.end = len(MCAP0_MAGIC)
        """Offset after the last complete chunk or metadata."""
        self.is_finished = False
        """True if the file has its end."""

    def chunks(self) -> Iterator[list[tuple[Topic, Message]]]:
        """Messages of each complete chunk.

        Raises:
            DamagedFile: If a complete record can't be read, which is not the effect of a killed
                writer.
            OSError: If the file can't be read.
        """
        for offset, opcode, length, content in self._records():
            after = offset + _HEAD.size + length
            try:
                if opcode == Opcode.CHUNK:
                    yield list(self._messages(_unpacked(content)))
                elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                    self._learn(opcode, content)
            except (McapError, ValueError, OverflowError, zstandard.ZstdError, struct.error) as e:
                text = f"{self._path}: damaged at byte {offset} ({cut(e)})"
                raise DamagedFile(text) from None
            if opcode in (Opcode.HEADER, Opcode.CHUNK, Opcode.METADATA):
                self.end = after
            elif opcode == Opcode.FOOTER:
                self.is_finished = self._path.stat().st_size == after + len(MCAP0_MAGIC)

    def _records(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(offset, opcode, length, content) of each complete record.

        The content is read for chunks, schemas and channels only; it is empty for other records.
        """
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            if file.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
                raise DamagedFile(f"{self._path}: not an mcap file")
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                opcode, length = _HEAD.unpack(head)
                offset, content = file.tell() - _HEAD.size, b""
                if file.tell() + length > size or opcode == 0:
                    return
                if opcode in (Opcode.CHUNK, Opcode.SCHEMA, Opcode.CHANNEL):
                    if length > bounds.LARGEST_CHUNK:
                        raise DamagedFile(
                            f"{self._path}: damaged at byte {offset} (a chunk of {length:,} "
                            f"bytes, expected at most {bounds.LARGEST_CHUNK:,})"
                        )
                    content = file.read(length)
                else:
                    file.seek(length, os.SEEK_CUR)
                yield offset, opcode, length, content
                if opcode == Opcode.FOOTER:
                    return

    def _messages(self, records: bytes) -> Iterator[tuple[Topic, Message]]:
        """Messages in the records of a chunk."""
        place = 0
        while place < len(records):
            opcode, length = _HEAD.unpack_from(records, place)
            start = place + _HEAD.size
            if opcode == 0 or start + length > len(records):
                raise ValueError(f"no record at byte {place} of the chunk")
            content = records[start : start + length]
            if opcode == Opcode.MESSAGE:
                if length < _MESSAGE.size:
                    raise ValueError(f"a message of {length} bytes")
                number, sequence, log_ns, publish_ns = _MESSAGE.unpack_from(content)
                if number not in self.topics:
                    raise ValueError(f"a message of an unknown channel, {number}")
                data = content[_MESSAGE.size :]
                yield self.topics[number], Message(log_ns, publish_ns, sequence, data)
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                self._learn(opcode, content)
            place = start + length

    def _learn(self, opcode: int, content: bytes) -> None:
        stream = ReadDataStream(io.BytesIO(content))
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream)
            self._schemas[schema.id] = schema
            return
        channel = Channel.read(stream)
        if channel.schema_id not in self._schemas:
            raise ValueError(f"a channel of an unknown schema, {channel.schema_id}")
        qos = parse_qos(channel.metadata.get("offered_qos_profiles", ""))
        name = self._schemas[channel.schema_id].name
        self.topics[channel.id] = Topic(channel.topic, name, qos)


def _unpacked(content: bytes) -> bytes:
    """Records of a chunk, as the recorder writes them; their size must be the one in the chunk."""
    chunk = Chunk.read(ReadDataStream(io.BytesIO(content)))
    size = chunk.uncompressed_size
    if size > bounds.LARGEST_CHUNK:
        raise ValueError(f"unpacks to {size:,} bytes, expected at most {bounds.LARGEST_CHUNK:,}")
    if chunk.compression not in ("", "zstd"):
        raise ValueError(f"packed by {quote(chunk.compression)}, expected zstd")
    records = unpacked_zstd(chunk.data, size) if chunk.compression else chunk.data
    if len(records) != size or zlib.crc32(records) != chunk.uncompressed_crc:
        raise ValueError("its size or checksum is wrong")
    return records


def repair_mcap(path: Path, describe: Callable[[Contents], str]) -> Contents:
    """Replace a file by one with its complete chunks and an end.

    Args:
        path: The file; a file with an end is not changed.
        describe: Function that makes the metadata text for the contents that were found.

    Raises:
        DamagedFile: If the file is damaged before its end; it is not changed then.
        OSError: If it can't be read, or the disk has no space for the new file.
    """
    scan = _Scan(path)
    made = path.with_name(f"{path.name}.repaired")
    made.unlink(missing_ok=True)
    try:
        with closing(McapFile(made, describe(Contents([], {})))) as target:
            for messages in scan.chunks():
                try:
                    for topic, message in messages:
                        target.write(topic, message)
                except ValueError as error:  # a type without a definition
                    raise DamagedFile(f"{path}: {error}") from None
                target.flush()
            rest = path.stat().st_size - scan.end
            if not scan.is_finished and rest > _LONGEST_TEAR:
                text = f"{path}: damaged at byte {scan.end}, {rest} bytes before its end"
                raise DamagedFile(text)
            contents = target.finish(list(scan.topics.values()), describe)
        if not scan.is_finished:
            made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    return contents
