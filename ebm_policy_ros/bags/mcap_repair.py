"""An mcap file whose writer was killed: everything up to the tear, and an end for it."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import get_chunk_data_stream

from ebm_policy_ros.bags.mcap_index import MAGIC, McapIndex, WrittenChunk
from ebm_policy_ros.bags.metadata import Contents

_HEAD = struct.Struct("<BQ")
# A writer that is killed tears one chunk; a longer rest is a damage of another kind.
_LONGEST_TEAR = 64 << 20


class DamagedFile(ValueError):
    """A file with a damage before its end; the text says where."""


@dataclass(frozen=True)
class Scan:
    """What a walk over the records of a file found."""

    index: McapIndex
    end: int
    """Where what is whole ends."""
    following: bytes
    """What belongs after it, before the end of the file is written."""
    is_finished: bool
    """Whether the file has its end already."""


def walk(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(offset, opcode, content) of each whole record of a file, up to the first that is torn.

    Raises:
        DamagedFile: If the file doesn't begin as one.
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
            yield offset, opcode, file.read(length)
            if opcode == Opcode.FOOTER:
                return


def scan_mcap(path: Path) -> Scan:
    """Index a file by its records, whether it has an end or not.

    Raises:
        DamagedFile: If a whole record can't be read, which no killed writer leaves.
        OSError: If the file can't be read.
    """
    index, end, following, finished = McapIndex(), len(MAGIC), b"", False
    for offset, opcode, content in walk(path):
        after = offset + _HEAD.size + len(content)
        try:
            if opcode == Opcode.CHUNK:
                chunk = _read_chunk(offset, content, index)
                end, following = after, index.add_chunk(chunk)
            elif opcode == Opcode.METADATA:
                index.add_metadata(offset, after - offset)
                end = after
            elif opcode == Opcode.HEADER:
                end = after
        except (McapError, ValueError, zstandard.ZstdError, struct.error, KeyError) as error:
            raise DamagedFile(f"{path}: damaged at byte {offset} ({error})") from None
        if opcode == Opcode.FOOTER:
            finished = path.stat().st_size == after + len(MAGIC)
    return Scan(index, end, following, finished)


def _read_chunk(offset: int, content: bytes, index: McapIndex) -> WrittenChunk:
    """Check a chunk, and note its schemas and channels."""
    chunk = Chunk.read(ReadDataStream(io.BytesIO(content)))
    stream, size = get_chunk_data_stream(chunk, validate_crc=True)
    messages: dict[int, list[tuple[int, int]]] = {}
    while stream.count < size:
        place = stream.count
        opcode, length = _HEAD.unpack(stream.read(_HEAD.size))
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream)
            index.schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(stream)
            index.channels[channel.id] = channel
        elif opcode == Opcode.MESSAGE:
            message = Message.read(stream, length)
            messages.setdefault(message.channel_id, []).append((message.log_time, place))
        else:
            stream.read(length)
    return WrittenChunk(
        offset,
        _HEAD.size + len(content),
        chunk.compression,
        len(chunk.data),
        chunk.uncompressed_size,
        messages,
    )


def repair_mcap(path: Path, describe: Callable[[Contents], str]) -> Contents:
    """Give a file that was torn off its end; what is whole in it stays where it is.

    Args:
        path: The file; one with an end is left as it is.
        describe: The metadata, for what turned out to be in the file.

    Raises:
        DamagedFile: If it is damaged before its end; it is left as it is then.
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
