"""Untrusted files: YAML, arrays and bags that need too much memory are refused."""

from __future__ import annotations

import resource
import sqlite3
import struct
import sys
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pytest
import zstandard
from demonstration import demonstration, write_bag, write_mcap
from mcap.writer import CompressionType
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from ebm_policy_ros.bags.metadata import read_custom_data
from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import Interface, InterfaceError, interface_from_dict, load_interface
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.training import train
from ebm_policy_ros.training.data.arrays import load_arrays
from ebm_policy_ros.training.data.dataset import DemonstrationError
from ebm_policy_ros.training.data.episodes import read_episode, read_recorded_interface
from ebm_policy_ros.util.quoting import cut, quote
from ebm_policy_ros.util.yaml_file import UnreadableFile, parse_json, parse_yaml

NAMES = "abcdefghij"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise(NAMES)
)
BOMBS = {
    "laughs": (LAUGHS, "more than 200,000 values"),
    "many": (f"[{'a,' * 300_000}]", "more than 200,000 values"),
    "deep list": ("[" * 100_000, "nested more than 64 levels"),
    "deep block": ("- " * 100_000, "nested more than 64 levels"),
    "itself": ("&a [*a]", "alias"),
    "huge": ("x" * (5 << 20), "larger than"),
    "digits": ("1" * 100_000, "a number of 100000 characters"),
    "sexagesimal": ("!!int 1" + ":59" * 1_000_000, "a number of 3000001 characters"),
    "object": ("!!python/object/apply:os.getcwd []", "not a YAML file"),
    "timestamp": ("!!timestamp x", "not a YAML file"),
    "key": ("{[a]: b}", "unhashable key"),
    "zero": ("\0", "not a YAML file"),
}


# YAML and JSON


@pytest.mark.parametrize("name", BOMBS)
def test_a_yaml_bomb_is_refused_in_one_short_line(name: str) -> None:
    text, message = BOMBS[name]
    with pytest.raises(UnreadableFile, match=message) as refusal:
        parse_yaml(text)
    assert len(str(refusal.value)) <= 300 and "\n" not in str(refusal.value)


def test_floats_are_those_of_yaml_1_2() -> None:
    assert parse_yaml("[15e-2, 1e3, -.5E+1, 1., '1e3', e1, 1e, 10, 2.5]") == [
        0.15, 1000.0, -5.0, 1.0, "1e3", "e1", "1e", 10, 2.5,
    ]  # fmt: skip


def test_aliases_that_stay_small_are_taken() -> None:
    assert parse_yaml("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}") == {
        "a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2},
    }  # fmt: skip


def test_json_that_is_nested_deep_is_refused() -> None:
    assert parse_json('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    for text in ("[" * 100_000, "[" * 70 + "]" * 70, "{", "1" * 5000):
        with pytest.raises(UnreadableFile):
            parse_json(text)


def test_what_is_quoted_of_a_stranger_is_short_and_in_one_line() -> None:
    assert cut("a\n b\x1b[31m\ud800") == "a b?[31m?"
    assert len(cut("x" * 10**6)) == 80 and cut("x" * 81).endswith("...")
    assert quote("x") == "'x'" and len(quote("x" * 10**6)) == 80
    assert quote(10**5000) == "a int too large to show"


@pytest.mark.parametrize("name", BOMBS)
def test_an_interface_file_that_is_a_bomb_is_refused_by_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "robot.yaml"
    path.write_text(BOMBS[name][0])
    with pytest.raises(InterfaceError, match=r"robot\.yaml: ") as refusal:
        load_interface(path)
    assert len(str(refusal.value)) <= 300 + len(str(path))


NASTY: list[Any] = [
    None, [], {}, "", 0, -1, 1e9, 10**30, 10**400, float("inf"), float("nan"), True, 1e-300,
    "x" * 100_000, "\ud800\n", [[]], [[1]], [None], {"a": []}, {1: 2, "a": 3}, ["a"] * 10_000,
    {"type": []}, "tool", "camera", 30_000,
]  # fmt: skip


def places(values: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of keys to every value of nested ones."""
    keys = values if isinstance(values, dict) else range(len(values))
    inner = [
        place
        for key in keys
        if isinstance(values[key], (dict, list))
        for place in places(values[key], (*above, key))
    ]
    return [(*above, key) for key in keys] + inner


def test_no_value_anywhere_in_an_interface_gives_more_than_a_refusal(interface: Interface) -> None:
    for place in places(interface.to_dict()):
        for nasty in NASTY:
            values = interface.to_dict()
            inner = values
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = nasty
            try:
                interface_from_dict(values, "robot.yaml").period_ns  # noqa: B018
            except InterfaceError as error:
                assert len(str(error)) <= 320 and "\n" not in str(error)
                assert str(error).startswith("robot.yaml: ")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("type", [], r"observation\.tool\.type: got \[\], expected one of"),
        ("topic", {}, r"observation\.tool\.topic: got \{\}, expected a name"),
        ("frame_id", 5, r"observation\.tool\.frame_id: got 5, expected a name"),
        ("history", 10**9, r"observation\.tool, numbers in a sample: got 2000000000, expected at"),
        ("max_age", 1e300, r"observation\.tool\.max_age: got 1e\+300, expected at most 86400"),
    ],
)
def test_wrong_types_and_sizes_are_named_with_their_key(
    interface: Interface, key: str, value: Any, message: str
) -> None:
    values = interface.to_dict()
    values["observation"]["tool"][key] = value
    with pytest.raises(InterfaceError, match=message):
        interface_from_dict(values, "robot.yaml")


@pytest.mark.parametrize("name", ["laughs", "deep list", "itself"])
def test_a_configuration_that_is_a_bomb_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(BOMBS[name][0])
    with pytest.raises(SystemExit):
        train.main([f"--data={tmp_path}", f"--out={tmp_path / 'run'}", f"--config={path}"])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert BOMBS[name][1] in line


# Arrays


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


ARRAYS = {
    "observation/tool": np.zeros((30, 2)),
    "actions": np.zeros((30, 2)),
    "episode_ends": np.array([30]),
}
HEADER = "{'descr': '%s', 'fortran_order': False, 'shape': %s}"


@pytest.mark.parametrize(
    "actions",
    [
        npy(HEADER % ("<f8", "(30, 1000000000000)")),
        npy(HEADER % ("<f8", "(-1, 2)")),
        npy(HEADER % ("<f8", "(10**9, 2)")),
        npy(HEADER % ("|O", "(30, 2)"), b"x"),
        npy("{'descr': '<f8', 'shape': (30, 2"),
        npy("[" * 3000),
        b"hello",
        b"",
    ],
)
def test_arrays_whose_header_lies_are_refused(actions: bytes, tmp_path: Path) -> None:
    path = tmp_path / "demos.npz"
    np.savez_compressed(path, **{n: v for n, v in ARRAYS.items() if n != "actions"})  # type: ignore[arg-type]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("actions.npy", actions)
    with pytest.raises(DemonstrationError, match=r"demos\.npz: not a whole") as refusal:
        load_arrays(path)
    assert len(str(refusal.value)) <= 300 + len(str(path)) and "\n" not in str(refusal.value)


def test_an_archive_that_grows_too_much_is_refused_and_flat_pictures_are_taken(
    tmp_path: Path,
) -> None:
    path = tmp_path / "demos.npz"
    black = np.zeros((30, 1, 1000, 1000, 3), np.uint8)
    np.savez_compressed(path, **ARRAYS, **{"observation/camera": black})  # type: ignore[arg-type]
    with pytest.raises(DemonstrationError, match=r"its arrays have 90,00.* at most 67,108,864"):
        load_arrays(path)
    flat = np.zeros((30, 1, 1000, 1000, 3), np.uint8)
    flat[:, :, ::2, ::128] = np.random.default_rng(0).integers(256, size=(30, 1, 500, 8, 3))
    np.savez_compressed(path, **ARRAYS, **{"observation/camera": flat})  # type: ignore[arg-type]
    assert 90_000_000 / path.stat().st_size > 60
    assert load_arrays(path).observations["camera"].shape == flat.shape


def test_an_action_that_is_no_number_is_named_with_its_step(tmp_path: Path) -> None:
    actions = ARRAYS["actions"].copy()
    actions[7, 1] = np.nan
    np.savez(tmp_path / "demos.npz", **{**ARRAYS, "actions": actions})  # type: ignore[arg-type]
    with pytest.raises(DemonstrationError, match="actions is not a finite number in 1 steps, the"):
        load_arrays(tmp_path / "demos.npz")


# Bags


def test_what_is_no_bag_is_refused_by_name(interface: Interface, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.mcap").mkdir()
    (tmp_path / "text.mcap").write_text("hello")
    (tmp_path / "text.db3").write_text("hello")
    for name, message in (
        ("notes.txt", "not a bag; expected a folder, or a file that ends in .mcap or .db3"),
        ("nowhere", "no such bag"),
        ("nowhere.mcap", "no such bag"),
        ("empty", "no file of messages in it"),
        ("folder.mcap", "no file of messages in it"),
        (".", "no command|no .* among its topics|not an sqlite3 file"),
        ("text.mcap", "among its topics: none"),
        ("text.db3", "not an sqlite3 file"),
    ):
        with pytest.raises(BagError, match=message):
            read_episode(tmp_path / name, interface)


@pytest.mark.parametrize("name", BOMBS)
def test_metadata_that_is_a_bomb_is_told_and_the_messages_are_read(
    name: str, interface: Interface, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "bag", demonstration(interface))
    (bag / "metadata.yaml").write_text(BOMBS[name][0])
    episode = read_episode(bag, interface)
    (note,) = [note for note in episode.notes if "metadata.yaml: cannot be read" in note]
    assert len(note) <= 320
    assert read_custom_data(bag) == {}


def test_metadata_of_strange_types_is_passed_over(interface: Interface, tmp_path: Path) -> None:
    custom = {"interface": "[" * 100_000, "outcome": "x"}
    bag = write_bag(tmp_path / "bag", demonstration(interface), custom=custom)
    with pytest.raises(BagError, match="the interface noted in it cannot be read"):
        read_recorded_interface(bag)
    (bag / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n  topics_with_message_count:\n"
        "  - {topic_metadata: {name: []}, message_count: .inf}\n"
        "  - {topic_metadata: {name: {}}, message_count: 3}\n  relative_file_paths: [{}, [], 5]\n"
    )
    assert len(read_episode(bag, interface).times_ns) == 20


def test_a_compressed_file_that_is_a_bomb_is_refused(interface: Interface, tmp_path: Path) -> None:
    bag = write_bag(
        tmp_path / "bag", demonstration(interface), StoragePlugin.SQLITE3, CompressionMode.FILE
    )
    (path,) = bag.glob("*.zstd")
    compressor = zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as file:
        file.write(compressor.compress(b"SQLite format 3\0"))
        for _ in range(80):
            file.write(compressor.compress(bytes(1 << 20)))
        file.write(compressor.flush())
    assert path.stat().st_size < 100_000
    with pytest.raises(BagError, match="unpacks to more than 67,108,864 bytes"):
        read_episode(bag, interface)


def chunk_bomb(compression: str, pack: Callable[[bytes], bytes], said: int) -> bytes:
    """An mcap file with a chunk of 80 million zeros and a wrong size in its header."""
    name, data = compression.encode(), pack(bytes(80_000_000))
    content = struct.pack("<QQQII", 0, 1, said, 0, len(name)) + name
    content += struct.pack("<Q", len(data)) + data
    magic = b"\x89MCAP0\r\n"
    return magic + struct.pack("<BQ", 6, len(content)) + content + struct.pack("<BQ", 2, 20)


@pytest.mark.parametrize("said", [1000, 80_000_000])
@pytest.mark.parametrize(
    ("compression", "pack"), [("zstd", zstandard.compress), ("lz4", lz4.frame.compress)]
)
def test_a_chunk_that_is_a_bomb_is_not_unpacked(
    compression: str, pack: Callable[[bytes], bytes], said: int, interface: Interface,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "x.mcap"
    data = chunk_bomb(compression, pack, said)
    path.write_bytes(data)
    with pytest.raises(BagError, match="among its topics: none") as refusal:
        read_episode(path, interface)
    assert len(str(refusal.value)) < 2100
    # The same with an incomplete chunk.
    path.write_bytes(data[:-60])
    with pytest.raises(BagError, match="among its topics: none"):
        read_episode(path, interface)


def test_a_message_that_says_it_unpacks_to_gigabytes_is_counted_as_damaged(
    interface: Interface, tmp_path: Path
) -> None:
    messages = demonstration(interface)
    bomb = zstandard.compress(bytes(300 << 20))
    large = [m._replace(data=bomb) if m.topic.endswith("joint_states") else m for m in messages]
    path = write_mcap(tmp_path / "x.mcap", large, compression=CompressionType.NONE)
    with pytest.raises(BagError, match="20 messages are damaged, lost"):
        read_episode(path, interface)


def test_long_names_and_encodings_are_cut(interface: Interface, tmp_path: Path) -> None:
    messages = demonstration(interface)
    bag = write_bag(tmp_path / "bag", messages, StoragePlugin.SQLITE3)
    (path,) = bag.glob("*.db3")
    for change in ("serialization_format", "type", "name"):
        with sqlite3.connect(path) as database:
            kept = database.execute(f"SELECT id, {change} FROM topics").fetchall()
            database.execute(f"UPDATE topics SET {change} = ?", ("x" * 100_000,))
        database.close()
        with pytest.raises(BagError) as refusal:
            read_episode(bag, interface)
        assert len(str(refusal.value)) <= 2100
        with sqlite3.connect(path) as database:
            for number, value in kept:
                database.execute(f"UPDATE topics SET {change} = ? WHERE id = ?", (value, number))
        database.close()


def test_a_database_with_a_view_in_place_of_its_messages_is_refused(
    interface: Interface, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "bag", demonstration(interface), StoragePlugin.SQLITE3)
    (path,) = bag.glob("*.db3")
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE messages RENAME TO other")
        database.execute(
            "CREATE VIEW messages AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 "
            "FROM n) SELECT id, 1 AS topic_id, 1 AS timestamp, x'00' AS data FROM n"
        )
    database.close()
    with pytest.raises(BagError, match="it has a view"):
        read_episode(bag, interface)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="sqlite3 limits no lengths before")
def test_a_column_that_a_database_computes_takes_no_more_than_the_file(
    interface: Interface, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "bag", demonstration(interface), StoragePlugin.SQLITE3)
    (path,) = bag.glob("*.db3")
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE messages RENAME TO other")
        database.execute(
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, "
            "data BLOB GENERATED ALWAYS AS (zeroblob(250000000)) VIRTUAL)"
        )
        database.execute(
            "INSERT INTO messages(id, topic_id, timestamp) "
            "SELECT id, topic_id, timestamp FROM other"
        )
    database.close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BagError):
        read_episode(bag, interface)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


def test_what_a_message_says_of_itself_is_cut_in_an_error() -> None:
    assert len(str(MessageError("frame " + "x" * 100_000))) == 2_000
