"""Bags written by the recorder: reading by other libraries, and recovery after faults."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zstandard
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Chunk
from mcap.stream_reader import StreamReader
from rosbags.highlevel import AnyReader
from rosbags.rosbag2.metadata import parse_qos
from rosbags.typesys import Stores, get_typestore

from ebm_policy_ros.bags import metadata
from ebm_policy_ros.bags.episode_folder import EpisodeFolder
from ebm_policy_ros.bags.episode_writer import EpisodeWriter, check_free
from ebm_policy_ros.bags.mcap_repair import DamagedFile, repair_mcap
from ebm_policy_ros.bags.mcap_writer import McapFile
from ebm_policy_ros.bags.statistics import TopicStatistics
from ebm_policy_ros.bags.topics import Message, Topic, serialised_stamp_ns
from ebm_policy_ros.nodes.recorder.screen import RecorderStatus

STORE = get_typestore(Stores.ROS2_JAZZY)
SECOND = 1_000_000_000
INFINITE = {"sec": 9223372036, "nsec": 854775807}
QOS = {
    "history": "keep_last",
    "depth": 10,
    "reliability": "best_effort",
    "durability": "volatile",
    "deadline": INFINITE,
    "lifespan": INFINITE,
    "liveliness": "automatic",
    "liveliness_lease_duration": INFINITE,
    "avoid_ros_namespace_conventions": False,
}
JOINTS = Topic("/joint_states", "sensor_msgs/msg/JointState", (QOS,))
TOOL = Topic("/tool_pose", "geometry_msgs/msg/PoseStamped", (QOS, {**QOS, "depth": 3}))
COMMAND = Topic("/commands", "std_msgs/msg/Float64MultiArray")
TIMEOUT = 20.0


def joint_state(number: int, joints: int = 6) -> bytes:
    types = STORE.types
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=number // 100, nanosec=number % 100),
        frame_id=str(number),
    )
    random = np.random.default_rng(number)
    values = [random.normal(size=joints) for _ in range(3)]
    message = types[JOINTS.type](header, [f"joint_{i}" for i in range(joints)], *values)
    return bytes(STORE.serialize_cdr(message, JOINTS.type))


def message(number: int, joints: int = 6) -> Message:
    time = SECOND + number * 1_000_000
    return Message(time, time - 1000, number + 1, joint_state(number, joints))


def begin(folder: Path, **options: Any) -> EpisodeWriter:
    place = EpisodeFolder(folder, "episode").open({"interface": "{}"})
    return EpisodeWriter(place, {"interface": "{}", "note": "first"}, **options)


def numbers(bag: Path) -> list[int]:
    """Numbers of the messages in a bag, in order."""
    with AnyReader([bag]) as reader:
        return [
            int(reader.deserialize(data, connection.msgtype).header.frame_id)
            for connection, _, data in reader.messages()
        ]


def test_a_folder_that_was_removed_has_no_episodes(tmp_path: Path) -> None:
    folder = EpisodeFolder(tmp_path / "demos", "episode")
    begin(folder.path).keep([JOINTS], {"outcome": "success"})
    assert folder.outcomes() == {"success": 1}
    shutil.rmtree(folder.path)
    assert folder.outcomes() == {} and folder.count_partial() == 0
    begin(folder.path).keep([JOINTS], {"outcome": "failure"})
    assert folder.outcomes() == {"failure": 1}


def test_an_episode_is_a_bag_with_the_bytes_that_came(tmp_path: Path) -> None:
    episode = begin(tmp_path / "demos")
    sent = [message(number) for number in range(300)]
    for each in sent:
        episode.add(JOINTS, each)
    custom = {"outcome": "success", "note": "a: 'quoted'\nnote"}
    bag = episode.keep([JOINTS, TOOL, COMMAND], custom)
    assert bag == tmp_path / "demos" / "episode_0000"
    assert sorted(p.name for p in bag.iterdir()) == ["episode_0000_0.mcap", "metadata.yaml"]
    assert not (tmp_path / "demos" / ".partial").exists()
    with AnyReader([bag]) as reader:
        found = {c.topic: c for c in reader.connections}
        assert {t: (c.msgtype, c.msgcount) for t, c in found.items()} == {
            "/joint_states": (JOINTS.type, 300),
            "/tool_pose": (TOOL.type, 0),
            "/commands": (COMMAND.type, 0),
        }
        assert found["/tool_pose"].ext.offered_qos_profiles == parse_qos(list(TOOL.qos))
        read = [(time, data) for _, time, data in reader.messages()]
    assert read == [(each.log_ns, each.data) for each in sent]
    told = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert (told["version"], told["storage_identifier"]) == (9, "mcap")
    assert told["message_count"] == told["files"][0]["message_count"] == 300
    assert told["starting_time"]["nanoseconds_since_epoch"] == SECOND
    assert told["duration"]["nanoseconds"] == 299_000_000
    assert told["custom_data"] == {"interface": "{}", **custom}
    first = told["topics_with_message_count"][0]["topic_metadata"]
    assert first["offered_qos_profiles"] == [QOS]
    assert first["type_description_hash"] == STORE.hash_rihs01(JOINTS.type)


def test_an_mcap_file_has_what_the_format_asks_for(tmp_path: Path) -> None:
    episode = begin(tmp_path)
    for number in range(300):
        episode.add(JOINTS, message(number))
    path = episode.keep([JOINTS, COMMAND], {"outcome": "success"}) / "episode_0000_0.mcap"
    with path.open("rb") as file:
        for _ in StreamReader(file, validate_crcs=True).records:
            pass
    with path.open("rb") as file:
        written = [r for r in StreamReader(file, emit_chunks=True).records if isinstance(r, Chunk)]
    # Higher levels take several times as long on frames with noise.
    assert all(
        chunk.data == zstandard.compress(zstandard.decompress(chunk.data), level=1)
        for chunk in written
    )
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert summary is not None and summary.statistics is not None
        assert summary.statistics.message_count == 300
        assert summary.statistics.chunk_count == len(summary.chunk_indexes) > 0
        assert all(index.message_index_length > 0 for index in summary.chunk_indexes)
        assert {index.compression for index in summary.chunk_indexes} == {"zstd"}
        schema, channel, first = next(iter(reader.iter_messages()))
        assert schema is not None and schema.encoding == "ros2msg"
        assert "MSG: builtin_interfaces/Time" in schema.data.decode()
        assert yaml.safe_load(channel.metadata["offered_qos_profiles"]) == [QOS]
        assert (first.sequence, first.publish_time) == (1, SECOND - 1000)
        noted = [record.metadata for record in reader.iter_metadata()]
    told = yaml.safe_load(noted[-1]["serialized_metadata"])
    assert told["message_count"] == 300 and told["custom_data"]["outcome"] == "success"


def torn_file(path: Path, chunks: int = 8) -> list[int]:
    """Write an mcap file without its end; return the end positions of its chunks."""
    file = McapFile(path, "{}")
    ends = []
    for number in range(5 * chunks):
        file.write(JOINTS if number % 2 else TOOL, message(number))
        if number % 5 == 4:
            file.flush()
            ends.append(file.size)
    file.close()
    return ends


def describe(contents: metadata.Contents) -> str:
    return f"count: {contents.count}"


def test_a_file_that_was_torn_anywhere_keeps_every_chunk_before_the_tear(tmp_path: Path) -> None:
    whole = tmp_path / "whole.mcap"
    ends = torn_file(whole)
    data = whole.read_bytes()
    for cut in range(ends[0] - 40, len(data) + 1, 37):
        path = tmp_path / "torn.mcap"
        path.write_bytes(data[:cut])
        contents = repair_mcap(path, describe)
        with path.open("rb") as file:
            reader = make_reader(file, validate_crcs=True)
            found = [m.sequence - 1 for _, _, m in reader.iter_messages()]
        # A chunk counts even if its index is missing.
        least, most = 5 * sum(end <= cut for end in ends), contents.count
        assert found == list(range(most)) and least <= most <= least + 5
        assert repair_mcap(path, describe) == contents  # a second repair changes nothing


def test_a_damage_that_is_no_tear_leaves_the_file_untouched(tmp_path: Path) -> None:
    path = tmp_path / "damaged.mcap"
    ends = torn_file(path)
    data = bytearray(path.read_bytes())
    data[ends[2] + 200] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DamagedFile, match=rf"damaged\.mcap: damaged at byte {ends[2]}"):
        repair_mcap(path, describe)
    assert path.read_bytes() == data
    torn_file(tmp_path / "zeros.mcap")
    with (tmp_path / "zeros.mcap").open("r+b") as file:
        file.truncate(100 << 20)  # as after a loss of power
    with pytest.raises(DamagedFile, match=r"zeros\.mcap: damaged at byte"):
        repair_mcap(tmp_path / "zeros.mcap", describe)
    assert (tmp_path / "zeros.mcap").stat().st_size == 100 << 20


def record(opcode: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<BQ", opcode, len(content) if length is None else length) + content


def chunk(records: bytes, compression: bytes = b"", **lies: Any) -> bytes:
    """A chunk of an mcap file, possibly with a wrong size of its content."""
    packed = zstandard.compress(records) if compression == b"zstd" else records
    head = struct.pack(
        "<QQQII", 0, 1, lies.get("size", len(records)), zlib.crc32(records), len(compression)
    )
    data = struct.pack("<Q", lies.get("packed", len(packed))) + packed
    return record(Opcode.CHUNK, head + compression + data)


TEXT = struct.pack("<I", 1) + b"x"
CHANNEL = struct.pack("<HH", 1, 7) + TEXT + TEXT + struct.pack("<I", 0)
LIES: dict[str, tuple[bytes, str]] = {
    "huge chunk": (record(Opcode.CHUNK, b"", 1 << 32), r"a chunk of 4,294,967,296 bytes, exp"),
    "huge content": (chunk(b"", size=1 << 40), r"unpacks to 1,099,511,627,776 bytes, expected"),
    "huge data": (chunk(b"x", packed=1 << 63), "damaged at byte"),
    "bomb": (chunk(bytes(1 << 20), b"zstd", size=1000), "unpacks to more than 1,000 bytes"),
    "less": (chunk(record(9, b"x"), b"zstd", size=1000), "its size or checksum is wrong"),
    "other": (chunk(b"", b"lz4"), "packed by 'lz4', expected zstd"),
    "long": (chunk(record(Opcode.MESSAGE, b"", 1 << 63)), "no record at byte 0 of the chunk"),
    "cut": (chunk(b"\x05\x00"), "damaged at byte"),
    "zeros": (chunk(bytes(90)), "no record at byte 0 of the chunk"),
    "short": (chunk(record(Opcode.MESSAGE, b"x")), "a message of 1 bytes"),
    "unknown": (chunk(record(Opcode.MESSAGE, bytes(22))), "a message of an unknown channel, 0"),
    "channel": (chunk(record(Opcode.CHANNEL, CHANNEL)), "a channel of an unknown schema, 7"),
    "empty": (chunk(record(Opcode.SCHEMA, b"")), "damaged at byte"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_file_that_lies_about_its_sizes_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / "lies.mcap"
    lie, message = LIES[name]
    path.write_bytes(b"\x89MCAP0\r\n" + lie)
    os.truncate(path, 1 << 33)  # a sparse file, which takes no space on the disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedFile, match=message) as refusal:
        repair_mcap(path, describe)
    assert str(refusal.value).startswith(f"{path}: damaged at byte 8")
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 300 + len(str(path))
    assert path.stat().st_size == 1 << 33
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


def test_a_large_record_that_is_no_chunk_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "torn.mcap"
    torn_file(path)
    with path.open("ab") as file:
        file.write(record(Opcode.ATTACHMENT, b"", 1 << 30))
    size = path.stat().st_size
    os.truncate(path, size + (1 << 30))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedFile, match=r"damaged at byte .* bytes before its end"):
        repair_mcap(path, describe)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


WRITE_UNTIL_KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {test!r})
from test_recording import JOINTS, begin, message
episode = begin(Path({folder!r}))
number = 0
while True:
    # What waits is told apart from what is written.
    print(number, time.monotonic(), flush=True)
    episode.add(JOINTS, message(number))
    number += 1
    time.sleep(0.001)
"""


def test_a_process_that_is_killed_loses_at_most_the_last_second(tmp_path: Path) -> None:
    test = str(Path(__file__).parent)
    code = WRITE_UNTIL_KILLED.format(test=test, folder=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(test).parent
    )
    assert process.stdout is not None
    added: list[tuple[int, float]] = []
    folder = EpisodeFolder(tmp_path, "episode")
    # Many from before the last second, also on a busy machine.
    while len(added) < 150 or added[150 - 1][1] > added[-1][1] - 1.0:
        number, time = process.stdout.readline().split()
        added.append((int(number), float(time)))
    assert folder.recover() == []  # the episode is still being recorded
    process.send_signal(signal.SIGKILL)
    for line in process.stdout.read().splitlines():
        with suppress(ValueError):  # the last line may be incomplete
            added.append((int(line.split()[0]), float(line.split()[1])))
    process.wait(TIMEOUT)
    (line,) = folder.recover()
    bag = tmp_path / ".partial" / "episode_0000"
    found = numbers(bag)
    assert found == list(range(len(found)))
    assert len(found) >= sum(time < added[-1][1] - 1.0 for _, time in added) > 100
    assert f"{bag} was not finished: recovered {len(found)} messages" in line
    custom = metadata.read_custom_data(bag)
    assert custom["outcome"] == "unfinished" and custom["interface"] == "{}"
    assert folder.recover() == []
    assert not list(bag.glob("*journal*"))


@contextmanager
def size_limit(folder: Path, size: int = 3_000_000) -> Iterator[Path]:
    """Limit the size of files, bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of 3 MB, if this process may."""
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this process may not mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("disk", [size_limit, small_disk])
def test_a_full_disk_ends_an_episode_and_keeps_what_is_there(
    disk: Callable[[Path], Any], tmp_path: Path
) -> None:
    with disk(tmp_path) as folder:
        episode = begin(folder, flush_period=0.01)
        number = 0
        while not episode.problem and number < 20_000:
            size = episode.size
            for _ in range(10):
                episode.add(JOINTS, message(number, joints=40))
                number += 1
            # A full disk accepts or refuses one flush as a whole.
            deadline = time.monotonic() + 20.0
            while episode.size == size and not episode.problem:
                assert time.monotonic() < deadline, "nothing was flushed"
                time.sleep(0.001)
        with pytest.raises(OSError, match=r"the episode stays in .*\.partial.episode_0000"):
            episode.keep([JOINTS], {"outcome": "success"})
        bag = folder / ".partial" / "episode_0000"
        found = numbers(bag)
        assert found == list(range(len(found)))
        assert sum(path.stat().st_size for path in bag.iterdir()) > 1_000_000
        custom = metadata.read_custom_data(bag)
        assert custom["outcome"] == "unfinished" and str(bag) in custom["problem"]
        assert EpisodeFolder(folder, "episode").recover() == []


def test_a_write_that_fails_leaves_every_chunk_before_it(tmp_path: Path) -> None:
    path = tmp_path / "failed.mcap"
    file = McapFile(path, "{}")
    for number in range(20):
        file.write(JOINTS, message(number))
    file.flush()
    size = file.size
    # The disk refuses space that was allocated, as on a fault of the device.
    with size_limit(tmp_path, size + 100):
        file.write(JOINTS, message(20))
        with pytest.raises(OSError):
            file.flush()
        with pytest.raises(OSError, match="the next start repairs the file"):
            file.finish([JOINTS], describe)
    assert path.stat().st_size == size
    assert repair_mcap(path, describe).count == 20


def test_a_repair_that_the_disk_has_no_space_for_leaves_the_file_untouched(tmp_path: Path) -> None:
    path = tmp_path / "torn.mcap"
    torn_file(path)
    before = path.read_bytes()
    with size_limit(tmp_path, 100_000), pytest.raises(OSError):
        repair_mcap(path, describe)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    assert repair_mcap(path, describe).count == 40


def test_less_than_the_least_that_must_stay_free_ends_an_episode(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"the disk is full: .* GiB are free, .* \(min_free\)"):
        check_free(tmp_path / "not" / "there", 1 << 60)
    episode = begin(tmp_path, min_free=1 << 60)
    episode.add(JOINTS, message(0))
    number = 1
    while not episode.problem:
        episode.add(JOINTS, message(number))
        number += 1
    bag = episode.leave([JOINTS], {"outcome": "unfinished"})
    assert "min_free" in metadata.read_custom_data(bag)["problem"]
    assert len(numbers(bag)) + episode.dropped["/joint_states"] == number


def test_what_a_slow_disk_leaves_no_room_for_is_counted(tmp_path: Path) -> None:
    episode = begin(tmp_path, queue_bytes=-1)
    for number in range(7):
        episode.add(JOINTS, message(number))
    assert dict(episode.dropped) == {"/joint_states": 7}
    assert numbers(episode.keep([JOINTS], {"outcome": "success"})) == []


def test_what_was_kept_when_the_recorder_died_is_moved_to_its_place(tmp_path: Path) -> None:
    episode = begin(tmp_path)
    episode.add(JOINTS, message(0))
    bag = episode.keep([JOINTS], {"outcome": "failure"})
    # The state a moment earlier.
    (tmp_path / ".partial").mkdir()
    partial = bag.rename(tmp_path / ".partial" / bag.name)
    (partial / "recording.json").write_text("{}")
    folder = EpisodeFolder(tmp_path, "episode")
    assert folder.recover() == [f"{bag} was kept, and is in its place now"]
    assert metadata.read_custom_data(bag)["outcome"] == "failure" and numbers(bag) == [0]
    assert folder.recover() == [] and sum(folder.outcomes().values()) == 1


def test_episodes_that_others_add_remove_or_move_are_counted(tmp_path: Path) -> None:
    def add(name: str, outcome: str) -> None:
        metadata.write(tmp_path / name, {"custom_data": {"outcome": outcome}})

    folder = EpisodeFolder(tmp_path, "episode")
    assert folder.outcomes() == {}
    for name in ("episode_0000", "episode_0001", "others", ".copied"):
        (tmp_path / name).mkdir()
    add("episode_0000", "success")
    add(".copied", "success")
    assert folder.outcomes() == {"success": 1}, "not what is no episode, or not yet one"
    add("episode_0001", "failure")
    assert folder.outcomes() == {"success": 1, "failure": 1}
    (tmp_path / ".copied").rename(tmp_path / "episode_0002")
    assert folder.outcomes() == {"success": 2, "failure": 1}
    shutil.rmtree(tmp_path / "episode_0000")
    folder.set_aside(tmp_path / "episode_0001")
    assert folder.outcomes() == {"success": 1}


@pytest.mark.parametrize("prefix", ["", "../evil", "a/b", ".hidden"])
def test_a_prefix_that_leads_out_of_the_folder_or_hides_bags_is_refused(
    tmp_path: Path, prefix: str
) -> None:
    with pytest.raises(ValueError, match="expected the beginning of a file's name"):
        EpisodeFolder(tmp_path / "demos", prefix)
    assert list(tmp_path.iterdir()) == []


def test_an_episode_that_is_being_recorded_is_not_to_be_decided_about(tmp_path: Path) -> None:
    folder = EpisodeFolder(tmp_path, "episode")
    place = folder.open({})
    (folder.partial / "aside").mkdir()
    assert folder.count_partial() == 1
    place.remove()
    assert folder.count_partial() == 1


@pytest.mark.parametrize(
    ("topics", "shown"),
    [
        (("/camera/image_raw", "/joint_states"), "camera 0 Hz, joint_states 0 Hz"),
        (("/robot1/camera/image_raw", "/robot1/joint_states"), "camera 0 Hz, joint_states 0 Hz"),
        (("/robot1/joint_states",), "joint_states 0 Hz"),
        ((), ""),
    ],
)
def test_the_screen_names_topics_by_what_tells_them_apart(
    topics: tuple[str, ...], shown: str
) -> None:
    facts = TopicStatistics(None).metrics(0)
    kept = {"success": 0, "failure": 0}
    status = RecorderStatus("idle", "", kept, 0.0, 0, None, 0, 0, dict.fromkeys(topics, facts))
    assert status.line().rpartition(" | ")[2] == shown


def test_what_was_begun_and_has_nothing_in_it_is_removed(tmp_path: Path) -> None:
    folder = EpisodeFolder(tmp_path, "episode")
    folder.open({}).lock.close()
    (line,) = folder.recover()
    assert "nothing was recorded" in line and list((tmp_path / ".partial").iterdir()) == []


def test_what_the_recorder_did_not_write_is_not_removed(tmp_path: Path) -> None:
    folder = EpisodeFolder(tmp_path, "episode")
    place = folder.open({})
    place.lock.close()
    (place.partial / "episode_0000_0.db3").write_bytes(b"of an earlier version")
    (line,) = folder.recover()
    assert "0 .mcap files in it, expected 1" in line and "it stays there" in line
    assert (place.partial / "episode_0000_0.db3").exists()


def test_an_episode_that_is_set_aside_keeps_its_name_to_itself(tmp_path: Path) -> None:
    folder = EpisodeFolder(tmp_path, "episode")
    bag = begin(tmp_path).keep([JOINTS], {"outcome": "success"})
    aside = folder.set_aside(bag)
    assert aside == tmp_path / ".partial" / "episode_0000" and aside.is_dir()
    again = begin(tmp_path).keep([JOINTS], {"outcome": "success"})
    assert again.name == "episode_0001"
    os.rename(again, bag)
    with pytest.raises(OSError, match="episode_0000 exists; move it to another folder"):
        folder.set_aside(bag)


def test_the_stamp_is_read_from_the_bytes_of_either_order() -> None:
    assert serialised_stamp_ns(joint_state(1234)) == 12 * SECOND + 34
    big = bytes.fromhex("00000000" + "0000000c" + "00000022")
    assert serialised_stamp_ns(big) == 12 * SECOND + 34


def feed(statistics: TopicStatistics, *times: float, step: int = 1) -> None:
    for number, at in enumerate(times):
        statistics.add(round(at * SECOND), 0, 1 + number * step)


def test_a_tally_tells_rate_gaps_drops_and_age() -> None:
    statistics = TopicStatistics(max_age=0.25)
    feed(statistics, 0.0, 0.1, 0.2, 0.3, 0.7, step=2)
    facts = statistics.metrics(round(0.9 * SECOND), whole=True)
    assert (facts.count, facts.gaps, facts.drops) == (5, 1, 4)
    assert facts.longest_gap == pytest.approx(0.4)
    assert facts.rate == pytest.approx(4 / 0.7)
    assert facts.age == pytest.approx(0.2)
    statistics.add(SECOND, 0, 1)  # its publisher was restarted
    assert statistics.metrics(SECOND).drops == 4
    statistics.lost(9)
    assert statistics.metrics(SECOND).drops == 9
    statistics.clear()
    facts = statistics.metrics(SECOND)
    assert (facts.count, facts.drops, facts.longest_gap) == (0, 0, 0.0)


def test_numbers_of_different_publishers_tell_of_no_drops() -> None:
    statistics = TopicStatistics(max_age=None)
    # A second publisher starts, numbers are ambiguous, and the first one ends.
    for number in (9, 10, None, 1000, 1001, 1003):
        statistics.add(SECOND, 0, number)
    assert statistics.metrics(SECOND).drops == 1


def test_a_clock_that_is_set_back_is_no_gap() -> None:
    statistics = TopicStatistics(max_age=0.25)
    feed(statistics, 100.0, 100.1, 100.2, 5.0, 5.1, 5.2)
    facts = statistics.metrics(round(5.3 * SECOND))
    assert facts.longest_gap == pytest.approx(0.1)
    assert (facts.count, facts.gaps) == (6, 0)
    assert facts.age == pytest.approx(0.1)


def test_gaps_are_of_the_stamps_where_there_are_stamps() -> None:
    statistics = TopicStatistics(max_age=0.25)
    for number in range(3):
        statistics.add(SECOND + number, (5 + number) * SECOND, None)
    assert statistics.metrics(SECOND).longest_gap == 1.0


@pytest.mark.parametrize(
    ("max_age", "period", "silence", "stalled"),
    [
        (0.25, 0.033, 0.2, False),
        (0.25, 0.033, 0.3, True),
        (3.0, 0.033, 0.4, False),
        (3.0, 0.033, 0.6, True),  # well before a sample is too old
        (5.0, 1.0, 2.0, False),  # slow, but not stalled
        (5.0, 1.0, 3.5, True),
        (None, 0.1, 60.0, False),  # commands may pause
    ],
)
def test_a_stream_stalls_when_it_is_silent_for_longer_than_it_should(
    max_age: float | None, period: float, silence: float, stalled: bool
) -> None:
    statistics = TopicStatistics(max_age)
    times = [period * number for number in range(40)]
    feed(statistics, *times)
    assert statistics.stalled(round((times[-1] + silence) * SECOND)) is stalled


def test_the_note_of_a_killed_recorder_may_be_torn_too(tmp_path: Path) -> None:
    folder = EpisodeFolder(tmp_path, "episode")
    place = folder.open({"interface": "{}"})
    torn_file(place.partial / "episode_0000_0.mcap")
    (place.partial / "recording.json").write_text(json.dumps({"interface": "{}"})[:5])
    place.lock.close()
    (line,) = folder.recover()
    assert "recovered 40 messages" in line
