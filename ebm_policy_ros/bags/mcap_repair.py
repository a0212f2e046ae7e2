"""Repair of an mcap file whose writer was killed: keep the complete records and write an end."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Schema

from ebm_policy_ros.bags.mcap_index import MAGIC, McapIndex, WrittenChunk
from ebm_policy_ros.bags.metadata import Contents
from ebm_policy_ros.bags.unpacking import unpacked_zstd
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import cut, quote

_HEAD = struct.Struct("<BQ")
# Begin of a message: channel, sequence number, log time; the publish time is not needed.
_MESSAGE = struct.Struct("<HIQ")
_MESSAGE_BYTES = 22
# A killed writer leaves at most one incomplete chunk; a longer rest is another kind of damage.
_LONGEST_TEAR = 64 << 20


class DamagedFile(ValueError):
    """A file that is damaged before its end; the text gives the place."""


@dataclass(frozen=True)
class Scan:
    """Result of a scan of the records of a file."""

    index: McapIndex
    end: int
    """Offset after the last complete part."""
    following: bytes
    """Bytes to write there before the end of the file."""
    is_finished: bool
    """True if the file already has its end."""


def walk(path: Path) -> Iterator[tuple[int, int, int, bytes]]:
    """(offset, opcode, length, content) of each complete record, up to the first incomplete one.

    The content is read for chunks only; it is empty for other records.

    Raises:
        DamagedFile: If the file doesn't begin as an mcap file, or has a chunk that is too large.
        OSError: If it can't be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise DamagedFile(f"{path}: not an mcap file")
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            opcode, length = _HEAD.unpack(head)
            offset = file.tell() - _HEAD.size
            if file.tell() + length > size or opcode == 0:
                return
            content = b""
            if opcode == Opcode.CHUNK:
                if length > bounds.LARGEST_CHUNK:
                    raise DamagedFile(
                        f"{path}: damaged at byte {offset} (a chunk of {length:,} bytes, expected "
                        f"at most {bounds.LARGEST_CHUNK:,})"
                    )
                content = file.read(length)
            else:
                file.seek(length, os.SEEK_CUR)
            yield offset, opcode, length, content
            if opcode == Opcode.FOOTER:
                return


def scan_mcap(path: Path) -> Scan:
    """Index a file by its records, with or without an end.

    Raises:
        DamagedFile: If a complete record can't be read, which is not the effect of a killed
            writer.
        OSError: If the file can't be read.
    """
    index, end, following, finished = McapIndex(), len(MAGIC), b"", False
    for offset, opcode, length, content in walk(path):
        after = offset + _HEAD.size + length
        if opcode == Opcode.CHUNK:
            try:
                chunk = _read_chunk(offset, content, index)
            except (McapError, ValueError, OverflowError, zstandard.ZstdError, struct.error) as e:
                raise DamagedFile(f"{path}: damaged at byte {offset} ({cut(e)})") from None
            end, following = after, index.add_chunk(chunk)
        elif opcode == Opcode.METADATA:
            index.add_metadata(offset, after - offset)
            end = after
        elif opcode == Opcode.HEADER:
            end = after
        elif opcode == Opcode.FOOTER:
            finished = path.stat().st_size == after + len(MAGIC)
    return Scan(index, end, following, finished)


def _read_chunk(offset: int, content: bytes, index: McapIndex) -> WrittenChunk:
    """Check a chunk, and add its schemas and channels to the index."""
    chunk = Chunk.read(ReadDataStream(io.BytesIO(content)))
    records = _unpacked(chunk)
    messages: dict[int, list[tuple[int, int]]] = {}
    place = 0
    while place < len(records):
        opcode, length = _HEAD.unpack_from(records, place)
        start = place + _HEAD.size
        if opcode == 0 or start + length > len(records):
            raise ValueError(f"no record at byte {place} of the chunk")
        if opcode == Opcode.MESSAGE:
            if length < _MESSAGE_BYTES:
                raise ValueError(f"a message of {length} bytes")
            number, _, time = _MESSAGE.unpack_from(records, start)
            if number not in index.channels:
                raise ValueError(f"a message of an unknown channel, {number}")
            messages.setdefault(number, []).append((time, place))
        elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            _learn(opcode, records[start : start + length], index)
        place = start + length
    return WrittenChunk(
        offset,
        _HEAD.size + len(content),
        chunk.compression,
        len(chunk.data),
        chunk.uncompressed_size,
        messages,
    )


def _unpacked(chunk: Chunk) -> bytes:
    """Records of a chunk, as the recorder writes them; their size must be the one in the chunk."""
    size = chunk.uncompressed_size
    if size > bounds.LARGEST_CHUNK:
        raise ValueError(f"unpacks to {size:,} bytes, expected at most {bounds.LARGEST_CHUNK:,}")
    if chunk.compression not in ("", "zstd"):
        raise ValueError(f"packed by {quote(chunk.compression)}, expected zstd")
    records = unpacked_zstd(chunk.data, size) if chunk.compression else chunk.data
    if len(records) != size or zlib.crc32(records) != chunk.uncompressed_crc:
        raise ValueError("its size or checksum is wrong")
    return records


def _learn(opcode: int, content: bytes, index: McapIndex) -> None:
    stream = ReadDataStream(io.BytesIO(content))
    if opcode == Opcode.SCHEMA:
        schema = Schema.read(stream)
        index.schemas[schema.id] = schema
        return
    channel = Channel.read(stream)
    if channel.schema_id not in index.schemas:
        raise ValueError(f"a channel of an unknown schema, {channel.schema_id}")
    index.channels[channel.id] = channel


def repair_mcap(path: Path, describe: Callable[[Contents], str]) -> Contents:
    """Write the missing end of a file; its complete records stay unchanged.

    Args:
        path: The file; a file with an end is not changed.
        describe: Function that makes the metadata text for the contents that were found.

    Raises:
        DamagedFile: If the file is damaged before its end; it is not changed then.
        OSError: If it can't be read or written.
    """
    scan = scan_mcap(path)
    contents = scan.index.contents()
    if scan.is_finished:
        return contents
    if (rest := path.stat().st_size - scan.end) > _LONGEST_TEAR:
        raise DamagedFile(f"{path}: damaged at byte {scan.end}, {rest} bytes before its end")
    with path.open("r+b") as file:
        file.truncate(scan.end)
        file.seek(scan.end)
        file.write(scan.following)
        file.write(scan.index.ending(file.tell(), describe(contents)))
        file.flush()
        os.fsync(file.fileno())
    return contents
