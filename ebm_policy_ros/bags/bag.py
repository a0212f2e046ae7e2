"""Bag: one or more files of messages, with or without a metadata.yaml."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import zstandard

from ebm_policy_ros.bags.cdr import DefinitionError, check, decode, message_type
from ebm_policy_ros.bags.discovery import COMPRESSED, METADATA, ending_of
from ebm_policy_ros.bags.mcap_reader import McapFile
from ebm_policy_ros.bags.metadata import INFORMATION
from ebm_policy_ros.bags.read_report import BagError, Channel, ReadReport
from ebm_policy_ros.bags.sqlite_reader import SqliteFile
from ebm_policy_ros.bags.unpacking import unpacked_zstd
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import LONGEST_LINE, LONGEST_REFUSAL, cut, quote
from ebm_policy_ros.util.yaml_file import read_yaml

_FORMATS: dict[str, type[McapFile] | type[SqliteFile]] = {".mcap": McapFile, ".db3": SqliteFile}
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Bytes of a compressed file that are unpacked in one step, to at most 128 MB.
_PACKED_STEP = 4096


class Message(NamedTuple):
    """A decoded message."""

    topic: str
    """Topic name as it was requested."""
    content: Any
    received_ns: int
    data: bytes
    """Serialised content as it was recorded."""


class Bag:
    """The messages of a bag, and a report about reading them."""

    def __init__(self, path: Path) -> None:
        """Read the metadata, if there is any.

        Args:
            path: A folder or a single file.

        Raises:
            BagError: If there is nothing to read.
        """
        self.path = path
        if not path.exists():
            raise BagError(f"{path}: no such bag")
        if not path.is_dir() and not ending_of(path):
            raise BagError(
                f"{path}: not a bag; expected a folder, or a file that ends in "
                f"{' or '.join(_FORMATS)}"
            )
        self.report = ReadReport()
        self._metadata = self._read_metadata() if path.is_dir() else {}
        self.files = self._find_files() if path.is_dir() else [path]

    @property
    def custom(self) -> dict[str, str]:
        """Custom data of the recorder: outcome, interface and others."""
        custom = self._metadata.get("custom_data")
        return {str(k): str(v) for k, v in custom.items()} if isinstance(custom, dict) else {}

    def messages(
        self, wanted: Mapping[str, str], optional: Collection[str] = ()
    ) -> Iterator[Message]:
        """Messages of some topics, in the order in which they were written.

        After the last message, `report` is complete.

        Args:
            wanted: Message type for each topic; a topic without a leading slash may be in any
                namespace.
            optional: Those of them that may be missing.

        Raises:
            BagError: If a topic is missing or ambiguous, or nothing can be read.
        """
        finder = _Finder(self.path, wanted)
        undecoded: Counter[str] = Counter()
        for path in self.files:
            with TemporaryDirectory() as folder:
                try:
                    file = self._open(path, Path(folder))
                except BagError as error:
                    if len(self.files) == 1:
                        raise
                    self.report.notes.append(f"{error}; left out")
                    continue
                yield from self._decoded(file, finder, undecoded)
        for topic, count in undecoded.items():
            self.report.lost[topic] += count
            self.report.notes.append(f"{cut(topic)}: {count} messages are damaged, lost")
        self._compare()
        self.report.notes += [
            f"{cut(c.topic)}: its messages of type {cut(c.type)} are left out"
            for c in finder.others
        ]
        finder.refuse_missing(self.report.notes, optional)

    def _decoded(
        self, file: McapFile | SqliteFile, finder: _Finder, undecoded: Counter[str]
    ) -> Iterator[Message]:
        for record in file.records(lambda channel: bool(finder.topic_of(channel))):
            try:
                data = _plain(record.data)
                content = decode(record.channel, data)
            except Exception:  # bytes that are not such a message raise errors of many kinds
                undecoded[record.channel.topic] += 1
                continue
            yield Message(finder.topic_of(record.channel), content, record.received_ns, data)

    def _open(self, path: Path, folder: Path) -> McapFile | SqliteFile:
        plain = path
        if path.name.endswith(COMPRESSED):
            plain = folder / path.name.removesuffix(COMPRESSED)
            self._decompress(path, plain)
        return _FORMATS[ending_of(path)](plain, self.report)

    def _decompress(self, path: Path, plain: Path) -> None:
        """Decompress as much of a file as possible; it may have several frames.

        Raises:
            BagError: If the result is larger than the file's size allows, or than the free disk
                space.
        """
        frame = zstandard.ZstdDecompressor().decompressobj()
        problem = ""
        left = most = bounds.most_unpacked(path.stat().st_size)
        left = min(left, shutil.disk_usage(plain.parent).free)
        with path.open("rb") as source, plain.open("wb") as target:
            try:
                while data := source.read(_PACKED_STEP):
                    while data:
                        if frame.eof:
                            frame = zstandard.ZstdDecompressor().decompressobj()
                        left -= target.write(frame.decompress(data))
                        if left < 0:
                            raise BagError(
                                f"{path}: unpacks to more than {most:,} bytes, or than the disk "
                                "has room for"
                            )
                        data = frame.unused_data if frame.eof else b""
            except zstandard.ZstdError as error:
                problem = f"damaged ({error})"
        if problem or not frame.eof:
            self.report.cut_off = True
            self.report.note(path, f"its compression is {problem or 'cut off'}")

    def _read_metadata(self) -> dict[str, Any]:
        path = self.path / METADATA
        try:
            if not path.exists():
                self.report.note(path, "missing")
                return {}
            return dict(read_yaml(path)[INFORMATION])
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.report.note(path, f"cannot be read ({cut(error, LONGEST_LINE)})")
            return {}

    def _find_files(self) -> list[Path]:
        """Files named in the metadata, in its order, then the other files."""
        files = [path for path in self.path.iterdir() if ending_of(path) and path.is_file()]
        present = sorted(files, key=_natural)
        for path in [p for p in present if p.name.endswith(COMPRESSED)]:
            if path.with_name(path.name.removesuffix(COMPRESSED)) in present:
                present.remove(path)
                self.report.note(path, "there without compression too; left out")
        named = [self.path / Path(str(name)).name for name in self._listed("relative_file_paths")]
        for path in named:
            if path not in present:
                self.report.note(path, f"named in {METADATA}, but missing")
        extra = [path for path in present if path not in named]
        if named and extra:
            names = ", ".join(path.name for path in extra)
            self.report.note(self.path / METADATA, f"doesn't name {names}; read too")
        files = [path for path in named if path in present] + extra
        if not files:
            raise BagError(f"{self.path}: no file of messages in it, {' or '.join(_FORMATS)}")
        return files

    def _listed(self, key: str) -> list[Any]:
        values = self._metadata.get(key)
        return values if isinstance(values, list) else []

    def _compare(self) -> None:
        """Note differences between the messages read and the counts in the bag."""
        report = self.report
        report.notes += report.differences()
        if unknown := report.lost[""] + report.read[""]:
            report.notes.append(f"{unknown} messages lost of which the topic is not known")
        for entry in self._listed("topics_with_message_count"):
            try:
                topic, count = str(entry["topic_metadata"]["name"]), int(entry["message_count"])
            except (KeyError, TypeError, ValueError, OverflowError):
                continue
            if count != report.read[topic]:
                report.notes.append(
                    f"{cut(topic)}: {report.read[topic]} messages read, {METADATA} says "
                    f"{quote(count)}"
                )


class _Finder:
    """Maps channels to the requested topics."""

    def __init__(self, path: Path, wanted: Mapping[str, str]) -> None:
        self._path, self._wanted = path, wanted
        self._present: dict[str, str] = {}
        self._found: dict[Channel, str] = {}
        self._places: dict[str, str] = {}
        self.others: list[Channel] = []
        """Channels of a requested topic with another type."""

    def topic_of(self, channel: Channel) -> str:
        """Topic name as it was requested; empty if the channel was not requested."""
        if channel not in self._found:
            self._found[channel] = self._search(channel)
        return self._found[channel]

    def _search(self, channel: Channel) -> str:
        self._present[channel.topic] = message_type(channel.type)
        for topic, kind in self._wanted.items():
            if not _is_topic(channel.topic, topic):
                continue
            if message_type(channel.type) != kind:
                self.others.append(channel)
                continue
            place = self._places.setdefault(topic, channel.topic)
            if place != channel.topic:
                raise BagError(
                    f"{self._path}: {topic} may be "
                    f"{' or '.join(map(cut, sorted((place, channel.topic))))}; "
                    "name it in full in the interface"
                )
            try:
                check(channel)
            except DefinitionError as error:
                raise BagError(f"{self._path}: {error}") from None
            return topic
        return ""

    def refuse_missing(self, notes: list[str], optional: Collection[str]) -> None:
        """Raise a BagError, with the topics and notes of the bag, if a topic was not found."""
        missing = sorted(set(self._wanted) - set(self._places) - set(optional))
        if missing:
            present = (
                f"{cut(topic)} ({cut(kind)})" for topic, kind in sorted(self._present.items())
            )
            text = (
                f"{self._path}: no {missing[0]} ({self._wanted[missing[0]]}) among its topics: "
                f"{', '.join(present) or 'none'}"
            )
            raise BagError(cut("; ".join([text, *notes]), LONGEST_REFUSAL))


def _is_topic(recorded: str, topic: str) -> bool:
    """True if a recorded topic is the interface's; a relative name matches any namespace."""
    if topic.startswith("/"):
        return recorded == topic
    return f"/{recorded}".endswith(f"/{topic}")


def _plain(data: bytes) -> bytes:
    """Decompress a message if it is compressed; a plain CDR message begins with a zero byte."""
    if data[:4] != _ZSTD_MAGIC:
        return data
    most = min(bounds.LARGEST_MESSAGE, bounds.most_unpacked(len(data)))
    return unpacked_zstd(data, most)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts name_10 after name_9."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
