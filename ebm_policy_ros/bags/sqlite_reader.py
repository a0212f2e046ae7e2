"""sqlite3 reader: reads every readable message of a rosbag2 db3 file, even if it is damaged."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ebm_policy_ros.bags.read_report import BagError, Channel, ReadReport, Record
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import cut

_MAGIC = b"SQLite format 3\0"
# A damaged length may request any amount of memory.
_FAULTS = (sqlite3.DatabaseError, MemoryError)
# Unreadable rows are skipped in steps that double up to this size.
_LARGEST_STEP = 1 << 20


class SqliteFile:
    """A db3 file, damaged or not."""

    def __init__(self, path: Path, report: ReadReport) -> None:
        """Read the list of topics.

        Args:
            path: The file.
            report: Report to which found and lost messages are added.

        Raises:
            BagError: If it is not such a file, or its list of topics is damaged.
        """
        self._path, self._report = path, report
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise BagError(f"{path}: not an sqlite3 file, or its beginning is lost")
        self._copy: TemporaryDirectory[str] | None = None
        self._channels = self._read_channels()

    def records(self, wanted: Callable[[Channel], bool]) -> Iterator[Record]:
        """Messages of the selected channels, in the order in which they were written."""
        with closing(self._open()) as database:
            last: int | None = None
            for number, topic_id, time, data in self._rows(database):
                if last is not None:
                    self._report.lost[""] += number - last - 1
                last = number
                channel = self._channels.get(topic_id)
                if channel is None:
                    self._report.lost[""] += 1
                    continue
                self._report.read[channel.topic] += 1
                if wanted(channel):
                    yield Record(channel, time, data)

    def _open(self) -> sqlite3.Connection:
        path = self._path
        if path.with_name(path.name + "-wal").exists():
            # The messages in the log are needed too. Reading the log writes files beside the
            # database, so a copy is used.
            if self._copy is None:
                self._copy = TemporaryDirectory()
                for name in (path.name, path.name + "-wal"):
                    shutil.copy(path.with_name(name), self._copy.name)
            path = Path(self._copy.name) / path.name
            mode = "mode=rw"
        else:
            mode = "mode=ro&immutable=1"
        database = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)
        self._limit(database)
        # Without this setting SQLite rejects the whole file if its end is missing.
        database.execute("PRAGMA writable_schema=ON")
        database.text_factory = lambda text: text.decode(errors="replace")
        return database

    def _read_channels(self) -> dict[int, Channel]:
        try:
            with closing(self._open()) as database:
                self._refuse_views(database)
                definitions: dict[str, tuple[str, str]] = {}
                with suppress(*_FAULTS):  # rosbag2 of Humble has no such table
                    rows = database.execute(
                        "SELECT topic_type, encoding, encoded_message_definition "
                        "FROM message_definitions"
                    )
                    definitions = {name: (text, kind) for name, kind, text in rows}
                rows = database.execute("SELECT id, name, type, serialization_format FROM topics")
                return {
                    number: Channel(
                        *map(str, (topic, kind, *definitions.get(kind, ("", "")), encoding))
                    )
                    for number, topic, kind, encoding in rows
                }
        except _FAULTS as error:
            raise BagError(
                f"{self._path}: its list of topics cannot be read ({cut(error)})"
            ) from None

    def _limit(self, database: sqlite3.Connection) -> None:
        """Reject values that are longer than the file; a column may be computed."""
        if sys.version_info >= (3, 11):
            most = min(bounds.LARGEST_MESSAGE, max(self._size(), 1 << 20))
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, most)

    def _size(self) -> int:
        """Bytes of the database and its log."""
        logs = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(path.stat().st_size for path in logs if path.exists())

    def _refuse_views(self, database: sqlite3.Connection) -> None:
        """Reject a view in place of a table: its computation may never end."""
        if database.execute("SELECT 1 FROM sqlite_master WHERE type = 'view'").fetchone():
            raise BagError(f"{self._path}: it has a view, which no bag has")

    def _rows(self, database: sqlite3.Connection) -> Iterator[tuple[int, int, int, bytes]]:
        """Rows in order of their number; unreadable rows are skipped."""
        after, step, problem = 0, 1, ""
        most = self._size()  # a row takes more than one byte
        while True:
            try:
                for row in database.execute(
                    "SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id",
                    (after,),
                ):
                    if not isinstance(row[0], int) or not after < row[0] < most:
                        raise sqlite3.DatabaseError("rows are out of order")
                    if all(isinstance(value, int) for value in row[1:3]) and row[3] is not None:
                        yield row
                    after, step = row[0], 1
                break
            except _FAULTS as error:
                problem = str(error) or "out of memory"
                if step > _LARGEST_STEP:
                    break
                after, step = after + step, step * 2
        if problem:
            self._report.cut_off = True
            self._report.note(self._path, f"is damaged ({problem})")
        else:
            self._count(database)

    def _count(self, database: sqlite3.Connection) -> None:
        """Read the expected number of rows."""
        with suppress(*_FAULTS):
            counts: list[Any] = list(
                database.execute("SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id")
            )
            for number, count in counts:
                channel = self._channels.get(number)
                self._report.promised[channel.topic if channel else ""] += count
            self._report.complete = True
