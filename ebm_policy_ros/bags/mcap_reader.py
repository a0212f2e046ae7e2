"""mcap reader: reads every readable message of an mcap file, even if the file is damaged.

The format is that of https://mcap.dev/spec: a record is an opcode, a length and a content; a chunk
is a record that contains others, compressed. The readers of the libraries stop at the first error.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import lz4.frame
import zstandard
from mcap import records as mcap_records
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode

from ebm_policy_ros.bags.read_report import BagError, Channel, ReadReport, Record
from ebm_policy_ros.bags.unpacking import unpacked_zstd
from ebm_policy_ros.util import bounds

_MAGIC = b"\x89MCAP0\r\n"
_RECORD = struct.Struct("<BQ")
# Begin of a message: channel, sequence number, log time, publish time.
_MESSAGE = struct.Struct("<HIQQ")
# Begin of a chunk: start time, end time, size and checksum of its content.
_CHUNK = struct.Struct("<QQQI")
_COMPRESSIONS = ("", "lz4", "zstd")
# Records that are parsed between chunks.
_PARSED: dict[int, Any] = {
    Opcode.SCHEMA: mcap_records.Schema,
    Opcode.CHANNEL: mcap_records.Channel,
    Opcode.STATISTICS: mcap_records.Statistics,
    Opcode.MESSAGE_INDEX: mcap_records.MessageIndex,
}
_CANDIDATE = re.compile(b"[%c%c]" % (Opcode.MESSAGE, Opcode.CHUNK))
_UNKNOWN = Channel("", "", "", "", "")


class _Span(NamedTuple):
    """Position of the content of a chunk, or of a message between chunks."""

    opcode: int
    start: int
    end: int
    """May be after the end of the file."""


class _ChunkHead(NamedTuple):
    compression: str
    uncompressed: int
    """Bytes of the decompressed content."""
    checksum: int
    """CRC-32 of the decompressed content; 0 if there is none."""
    size: int
    """Bytes of the head."""
    length: int
    """Bytes of the data after the head."""


_LONGEST_HEAD = _CHUNK.size + 4 + max(map(len, _COMPRESSIONS)) + 8


class McapFile:
    """An mcap file, damaged or not."""

    def __init__(self, path: Path, report: ReadReport) -> None:
        """Scan the file; nothing is decompressed yet.

        Args:
            path: The file.
            report: Report to which found and lost messages are added.

        Raises:
            BagError: If the file is empty.
        """
        self._path, self._report = path, report
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise BagError(f"{path}: an empty file")
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._schemas: dict[int, Any] = {}
        self._channels: dict[int, Any] = {}
        self._told: dict[int, Channel] = {}
        self._spans: list[_Span] = []
        # Number of messages by channel for each chunk, by its start.
        self._indexed: dict[int, Counter[int]] = {}
        self._statistics: Any = None
        self._left = bounds.most_unpacked(len(self._bytes))
        self._survey()

    def records(self, wanted: Callable[[Channel], bool]) -> Iterator[Record]:
        """Messages of the selected channels, in the order in which they were written."""
        for span in self._spans:
            if span.opcode == Opcode.MESSAGE:
                content = self._bytes[span.start - _RECORD.size : span.end]
            else:
                content = self._chunk(span)
            yield from self._messages(content, wanted)
        promised = list(self._indexed.values())
        if self._statistics is not None:
            promised = [self._statistics.channel_message_counts]
            self._report.complete = True
        for counts in promised:
            for number, count in counts.items():
                self._report.promised[self._channel(number).topic] += count

    # Records of the file

    def _survey(self) -> None:
        """Find every chunk, and read the records between them."""
        position, end = len(_MAGIC), len(self._bytes)
        finished = False
        if self._bytes[: len(_MAGIC)] != _MAGIC:
            self._report.note(self._path, "doesn't begin as an mcap file")
            position = 0
        while position + _RECORD.size <= end and not finished:
            after = self._record_end(position)
            if after is None:
                position = self._after_damage(position)
                continue
            opcode = self._bytes[position]
            self._take(opcode, position + _RECORD.size, after)
            position, finished = after, opcode == Opcode.FOOTER
        if not finished:
            self._report.cut_off = True
            self._report.note(self._path, "was not finished by who wrote it")

    def _record_end(self, position: int) -> int | None:
        """End of the record that begins there, judging by its first bytes; None if none does.

        Only a chunk or message may end after the end of the file.
        """
        opcode, length = _RECORD.unpack_from(self._bytes, position)
        start = position + _RECORD.size
        end = int(start + length)
        if opcode == Opcode.CHUNK:
            head = _read_head(self._bytes[start : start + _LONGEST_HEAD])
            fits = head is not None and head.size + head.length == length
        elif opcode == Opcode.MESSAGE:
            fits = length >= _MESSAGE.size
        else:
            known = Opcode.HEADER <= opcode <= Opcode.DATA_END or opcode >= 0x80
            fits = known and end <= len(self._bytes)
        return end if fits else None

    def _take(self, opcode: int, start: int, end: int) -> None:
        if opcode in (Opcode.CHUNK, Opcode.MESSAGE):
            self._spans.append(_Span(opcode, start, end))
            return
        record = self._parse(opcode, self._bytes[start:end], start)
        if opcode == Opcode.STATISTICS:
            self._statistics = record
        elif opcode == Opcode.MESSAGE_INDEX and record is not None and self._spans:
            counts = self._indexed.setdefault(self._spans[-1].start, Counter())
            counts[record.channel_id] += len(record.records)
        else:
            self._learn(record)

    def _parse(self, opcode: int, content: bytes, place: int) -> Any:
        kind = _PARSED.get(opcode)
        try:
            return kind.read(ReadDataStream(BytesIO(content))) if kind else None
        except Exception as error:  # the library may raise anything on damaged bytes
            self._report.note(self._path, f"a record at byte {place} is damaged ({error})")
            return None

    def _learn(self, record: Any) -> None:
        if isinstance(record, mcap_records.Schema):
            self._schemas[record.id] = record
        elif isinstance(record, mcap_records.Channel):
            self._channels[record.id] = record

    def _after_damage(self, position: int) -> int:
        """Find the next record after damaged bytes."""
        for match in _CANDIDATE.finditer(self._bytes, position + 1):
            found = match.start()
            if found + _RECORD.size > len(self._bytes):
                break
            if self._goes_on(found):
                size = found - position
                self._report.note(self._path, f"{size} bytes from byte {position} are damaged")
                return found
        size = len(self._bytes) - position
        self._report.note(self._path, f"nothing can be read of its last {size} bytes")
        return len(self._bytes)

    def _goes_on(self, position: int) -> bool:
        """True if a whole record of a known channel begins there, and another follows."""
        after = self._record_end(position)
        if after is None or after > len(self._bytes):
            return False
        if self._bytes[position] == Opcode.MESSAGE:
            number = _MESSAGE.unpack_from(self._bytes, position + _RECORD.size)[0]
            if number not in self._channels:
                return False
        if len(self._bytes) - after < _RECORD.size:
            return True
        return self._record_end(after) is not None

    # Content of a chunk

    def _chunk(self, span: _Span) -> bytes:
        """Records in a chunk; only the complete ones if the file ends within the chunk."""
        head = _read_head(self._bytes[span.start : span.start + _LONGEST_HEAD])
        assert head is not None  # guaranteed by the scan
        data = self._bytes[span.start + head.size : span.end]
        try:
            self._left -= head.uncompressed
            if head.compression and self._left < 0:
                raise ValueError("the chunks unpack to more than the size of the file allows")
            torn = span.end > len(self._bytes)
            content = _decompressed(head, data, torn)
            if not torn and head.checksum not in (0, zlib.crc32(content)):
                raise ValueError("its checksum is wrong")
            return content
        except Exception as error:  # the libraries may raise anything on damaged bytes
            counts = self._indexed.get(span.start, Counter())
            for number, count in counts.items():
                self._report.lost[self._channel(number).topic] += count
            lost = f"{counts.total()} messages" if counts else "nobody knows how many messages"
            self._report.note(
                self._path, f"a chunk at byte {span.start} is damaged ({error}): {lost} lost"
            )
            return b""

    def _messages(self, content: bytes, wanted: Callable[[Channel], bool]) -> Iterator[Record]:
        position, end = 0, len(content)
        while position < end:
            start = position + _RECORD.size
            opcode, length = _RECORD.unpack_from(content, position) if start <= end else (1, 1)
            position = start + length
            if opcode == 0:  # not a record: zeros, possibly very many
                self._report.note(self._path, "a chunk ends in bytes that are no records")
                self._report.lost[""] += 1
                return
            if position > end:
                self._report.note(self._path, "its last message is cut off")
                self._report.lost[""] += 1
            elif opcode == Opcode.MESSAGE and length < _MESSAGE.size:
                self._report.note(self._path, "a message is too short to be one")
                self._report.lost[""] += 1
            elif opcode == Opcode.MESSAGE:
                number, _, time, _ = _MESSAGE.unpack_from(content, start)
                channel = self._channel(number)
                self._report.read[channel.topic] += 1
                if wanted(channel):
                    yield Record(channel, time, content[start + _MESSAGE.size : position])
            else:
                self._learn(self._parse(opcode, content[start:position], start))

    def _channel(self, number: int) -> Channel:
        """Channel of a number; without a description, a channel with an empty topic."""
        if number not in self._told:
            channel = self._channels.get(number)
            if channel is None:
                return _UNKNOWN
            schema = self._schemas.get(channel.schema_id)
            self._told[number] = Channel(
                channel.topic,
                schema.name if schema else "",
                schema.data.decode(errors="replace") if schema else "",
                schema.encoding if schema else "",
                channel.message_encoding,
            )
        return self._told[number]


def _read_head(content: bytes) -> _ChunkHead | None:
    """Read the fields before the data of a chunk; None if they are invalid."""
    if len(content) < _CHUNK.size + 12:
        return None
    began, ended, uncompressed, checksum = _CHUNK.unpack_from(content)
    named = int.from_bytes(content[_CHUNK.size : _CHUNK.size + 4], "little")
    after = _CHUNK.size + 4 + named
    if named > max(map(len, _COMPRESSIONS)) or len(content) < after + 8:
        return None
    compression = content[_CHUNK.size + 4 : after].decode("ascii", "replace")
    if compression not in _COMPRESSIONS or began > ended or uncompressed > bounds.LARGEST_CHUNK:
        return None
    length = int.from_bytes(content[after : after + 8], "little")
    return _ChunkHead(compression, uncompressed, checksum, after + 8, length)


def _decompressed(head: _ChunkHead, data: bytes, torn: bool) -> bytes:
    """Decompress a chunk, or the beginning of one whose end is missing."""
    if head.compression == "zstd" and torn:
        return bytes(zstandard.ZstdDecompressor().stream_reader(data).read(head.uncompressed))
    if head.compression == "zstd":
        return unpacked_zstd(data, head.uncompressed)
    if head.compression == "lz4":
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data, head.uncompressed))
    return data
