"""sqlite3 writer: writes files as rosbag2 does (schema version 4).

Source: rosbag2_storage_sqlite3/sqlite_storage.cpp of github.com/ros2/rosbag2, branch jazzy.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from ebm_policy_ros.bags.metadata import VERSION, Contents, dump_qos, parse_qos
from ebm_policy_ros.bags.topics import Message, Topic, definition_of

_TABLES = """
CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
CREATE TABLE metadata(
  id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE topics(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
  serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL,
  type_description_hash TEXT NOT NULL);
CREATE TABLE message_definitions(
  id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,
  encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE messages(
  id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
  data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
"""


class SqliteFile:
    """Writes one file; data written by `flush` survives the end of the process."""

    def __init__(self, path: Path, metadata: str) -> None:
        """Open a new file.

        Args:
            path: Path of the file.
            metadata: Metadata of the bag before it is written, as text.

        Raises:
            OSError: If the file exists, or the disk doesn't accept it.
        """
        path.open("xb").close()
        self._path = path
        self._size = 0
        self._topics: dict[str, int] = {}
        try:
            # Opened in one thread and written in another, never at the same time.
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            _make_safe(self._db)
            self._db.executescript(_TABLES)
            distro = os.environ.get("ROS_DISTRO", "")
            self._db.execute("INSERT INTO schema VALUES (4, ?)", (distro,))
            self._db.execute("BEGIN")
            _insert_metadata(self._db, metadata)
        except sqlite3.Error as error:
            raise OSError(f"{path}: {error}") from None

    @property
    def size(self) -> int:
        """Bytes written, without the overhead of the database."""
        return self._size

    def _register(self, topic: Topic) -> int:
        if topic.name not in self._topics:
            definition, type_hash = definition_of(topic.type)
            known = self._db.execute(
                "SELECT 1 FROM message_definitions WHERE topic_type = ?", (topic.type,)
            )
            if known.fetchone() is None:
                self._db.execute(
                    "INSERT INTO message_definitions (topic_type, encoding,"
                    " encoded_message_definition, type_description_hash) VALUES (?, ?, ?, ?)",
                    (topic.type, "ros2msg", definition, type_hash),
                )
            cursor = self._db.execute(
                "INSERT INTO topics (name, type, serialization_format, offered_qos_profiles,"
                " type_description_hash) VALUES (?, ?, 'cdr', ?, ?)",
                (topic.name, topic.type, dump_qos(topic), type_hash),
            )
            self._topics[topic.name] = int(cursor.lastrowid or 0)
        return self._topics[topic.name]

    def write(self, topic: Topic, message: Message) -> None:
        """Append a message.

        Raises:
            OSError: If the disk doesn't accept it.
        """
        try:
            self._db.execute(
                "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
                (self._register(topic), message.log_ns, message.data),
            )
        except sqlite3.Error as error:
            raise OSError(str(error)) from None
        self._size += len(message.data)

    def flush(self) -> None:
        """Pass all messages to the disk.

        Raises:
            OSError: If the disk doesn't accept it.
        """
        try:
            self._db.execute("COMMIT")
            self._db.execute("BEGIN")
        except sqlite3.Error as error:
            raise OSError(str(error)) from None

    def finish(self, topics: Sequence[Topic], describe: Callable[[Contents], str]) -> Contents:
        """End the file, also with topics that have no messages, and close it.

        Args:
            topics: Topics of the bag.
            describe: Function that makes the metadata text for the contents of the file.

        Raises:
            OSError: If the file can't be read any more.
        """
        with closing(self._db):
            # A full disk accepts no more data, but flushed data is complete.
            with suppress(sqlite3.Error):
                for topic in topics:
                    self._register(topic)
                self._db.execute("COMMIT")
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            return _end(self._db, describe)

    def close(self) -> None:
        """Close the file as it is."""
        self._db.close()


def _make_safe(db: sqlite3.Connection) -> None:
    """Use a rollback journal, so that the closed database is one file and a crash can't damage it.

    A write-ahead log as in rosbag2's `resilient` preset is not used: moving its content to the
    database at the end needs space that a full disk doesn't have.
    """
    db.execute("PRAGMA journal_mode=DELETE")
    db.execute("PRAGMA synchronous=NORMAL")


def _insert_metadata(db: sqlite3.Connection, metadata: str) -> None:
    statement = "INSERT INTO metadata (metadata_version, metadata) VALUES (?, ?)"
    db.execute(statement, (VERSION, metadata))


def _end(db: sqlite3.Connection, describe: Callable[[Contents], str]) -> Contents:
    """Write the metadata of the file's contents, if the disk has space for it."""
    try:
        rows = db.execute(
            "SELECT name, type, offered_qos_profiles, count(messages.id), min(timestamp),"
            " max(timestamp) FROM topics LEFT JOIN messages ON topic_id = topics.id"
            " GROUP BY topics.id ORDER BY topics.id"
        ).fetchall()
    except sqlite3.Error as error:
        raise OSError(str(error)) from None
    topics = [Topic(row[0], row[1], parse_qos(row[2])) for row in rows]
    firsts = [row[4] for row in rows if row[4] is not None]
    lasts = [row[5] for row in rows if row[5] is not None]
    contents = Contents(
        topics, {row[0]: row[3] for row in rows}, min(firsts, default=0), max(lasts, default=0)
    )
    with suppress(sqlite3.Error):
        _insert_metadata(db, describe(contents))
    return contents


def repair_sqlite(path: Path, describe: Callable[[Contents], str]) -> Contents:
    """Repair a file whose writer was killed; the incomplete transaction is rolled back.

    Raises:
        OSError: If the file can't be read.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        try:
            db.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            raise OSError(f"{path}: {error}") from None
        return _end(db, describe)
