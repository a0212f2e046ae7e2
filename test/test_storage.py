"""Bags of all formats, complete and damaged: recovered messages and read reports."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zstandard
from demonstration import (
    GRIPPER,
    LATENCY,
    SECOND,
    START,
    Sent,
    demonstration,
    header,
    joints,
    message,
    sent,
    twist,
    write_bag,
    write_mcap,
)
from mcap.writer import CompressionType
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from ebm_policy_ros.bags.bag import Bag
from ebm_policy_ros.bags.discovery import find_bags
from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.bags.topics import restamped
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.training.data.episodes import (
    Episode,
    read_episode,
    read_recorded_interface,
)
from ebm_policy_ros.training.data.timeline import wanted_topics

STEPS = 20


def steps_of(episode: Episode) -> list[int]:
    """Step numbers, from the commands."""
    return [round(1000 * float(x)) for x in episode.actions[:, 0, 0]]


def check_whole(episode: Episode) -> None:
    assert steps_of(episode) == list(range(STEPS))
    assert episode.observations["camera"][:, 0, 0, 0, 0].tolist() == list(range(STEPS))
    assert episode.observations["tool"][:, 0, 0].tolist() == list(range(STEPS))


def count(path: Path, interface: Interface) -> tuple[int, Bag]:
    """Number of messages read, and the bag with its read report."""
    bag = Bag(path)
    return len(list(bag.messages(wanted_topics(interface)))), bag


def damage(path: Path, place: int, size: int) -> None:
    """Overwrite some bytes."""
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes((37 * i + 11) % 256 for i in range(size)))


def chunks(path: Path) -> list[tuple[int, int]]:
    """Start and length of the chunks of an mcap file."""
    data, place, found = path.read_bytes(), 8, []
    while place < len(data) - 8:
        opcode, length = struct.unpack_from("<BQ", data, place)
        if opcode == 6:
            found.append((place, 9 + length))
        place += 9 + length
    return found


# Complete bags


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("mode", list(CompressionMode))
def test_every_storage_and_compression_gives_the_same_episode(
    storage: StoragePlugin, mode: CompressionMode, interface: Interface, tmp_path: Path
) -> None:
    if storage is StoragePlugin.SQLITE3 and mode is CompressionMode.STORAGE:
        pytest.skip("sqlite3 has no compression of its own")
    bag = write_bag(tmp_path / "bag", demonstration(interface), storage, mode)
    episode = read_episode(bag, interface)
    check_whole(episode)
    assert episode.notes == ()


@pytest.mark.parametrize("compression", list(CompressionType))
def test_mcap_files_without_metadata_of_every_compression_are_read(
    compression: CompressionType, interface: Interface, tmp_path: Path
) -> None:
    path = write_mcap(tmp_path / "x.mcap", demonstration(interface), compression=compression)
    episode = read_episode(path, interface)
    check_whole(episode)
    assert episode.notes == ()
    assert (episode.bag, episode.outcome) == (path, "unknown")


def test_an_mcap_file_without_chunks_or_index_is_read(
    interface: Interface, tmp_path: Path
) -> None:
    path = write_mcap(
        tmp_path / "x.mcap", demonstration(interface), use_chunking=False, use_statistics=False
    )
    check_whole(read_episode(path, interface))


def test_what_the_recorder_noted_is_read(interface: Interface, tmp_path: Path) -> None:
    custom = {"outcome": "success", "interface": '{"name": "x"}'}
    bag = write_bag(tmp_path / "bag", demonstration(interface), custom=custom)
    assert Bag(bag).custom["outcome"] == "success"
    assert read_recorded_interface(bag) == {"name": "x"}


def test_metadata_that_is_lost_or_nonsense_is_told_and_the_messages_are_read(
    interface: Interface, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "bag", demonstration(interface))
    for content in ("nonsense", ": [", "rosbag2_bagfile_information: 3", None):
        if content is None:
            (bag / "metadata.yaml").unlink()
        else:
            (bag / "metadata.yaml").write_text(content)
        episode = read_episode(bag, interface)
        check_whole(episode)
        assert "metadata.yaml" in episode.notes[0]


def split(folder: Path, interface: Interface) -> list[Path]:
    messages = demonstration(interface)
    return [
        write_mcap(folder / f"{folder.name}_{i}.mcap", messages[8 * i : 8 * i + 8])
        for i in range(10)
    ]


def test_a_split_bag_is_one_episode_in_the_order_of_its_numbers(
    interface: Interface, tmp_path: Path
) -> None:
    messages = demonstration(interface, 24)
    folder = tmp_path / "demos" / "one"
    for i in range(12):  # 10 comes after 9
        write_mcap(folder / f"one_{i}.mcap", messages[8 * i : 8 * i + 8])
    assert find_bags(tmp_path / "demos") == [folder]
    assert steps_of(read_episode(folder, interface)) == list(range(24))


def test_a_part_that_is_missing_is_told_with_what_it_held(
    interface: Interface, tmp_path: Path
) -> None:
    folder = tmp_path / "bag"
    files = split(folder, interface)
    counts = [
        {"topic_metadata": {"name": f"/{topic}"}, "message_count": STEPS}
        for topic in wanted_topics(interface)
    ]
    information = {
        "relative_file_paths": [path.name for path in files],
        "topics_with_message_count": counts,
    }
    (folder / "metadata.yaml").write_text(
        yaml.safe_dump({"rosbag2_bagfile_information": information})
    )
    assert read_episode(folder, interface).notes == ()
    files[4].unlink()
    notes = "\n".join(read_episode(folder, interface).notes)
    assert "bag_4.mcap: named in metadata.yaml, but missing" in notes
    assert "/camera/image_raw: 18 messages read, metadata.yaml says 20" in notes


def test_files_that_the_metadata_does_not_name_are_read_too(
    interface: Interface, tmp_path: Path
) -> None:
    messages = demonstration(interface)
    bag = write_bag(tmp_path / "bag", messages[:40])
    write_mcap(bag / "more.mcap", messages[40:])
    episode = read_episode(bag, interface)
    check_whole(episode)
    assert "metadata.yaml: doesn't name more.mcap; read too" in episode.notes


def test_loose_files_are_bags_of_their_own_and_hidden_folders_are_passed_over(
    interface: Interface, tmp_path: Path
) -> None:
    messages = demonstration(interface, 3)
    write_mcap(tmp_path / "a" / "one.mcap", messages)
    write_mcap(tmp_path / "a" / "two.mcap", messages)
    write_bag(tmp_path / "b", messages)
    write_bag(tmp_path / ".partial" / "c", messages)
    found = [str(path.relative_to(tmp_path)) for path in find_bags(tmp_path)]
    assert found == ["a/one.mcap", "a/two.mcap", "b"]


def test_a_folder_without_bags_or_with_those_of_ros_1_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="no bags in it; record some"):
        find_bags(tmp_path)
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(BagError, match="rosbags-convert"):
        find_bags(tmp_path)
    with pytest.raises(BagError, match="no such folder"):
        find_bags(tmp_path / "nowhere")


# Types and topics


def test_types_are_those_of_the_bag_and_not_those_of_today(
    interface: Interface, tmp_path: Path
) -> None:
    """A JointState with an additional first field, as another distribution might define it."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    kind = "sensor_msgs/msg/JointState"
    store = get_typestore(Stores.ROS2_JAZZY)
    usual = store.generate_msgdef(kind, ros_version=2)[0]
    text = "int32 extra\n" + usual
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(text, kind))
    messages = []
    for entry in demonstration(interface):
        if entry.type == kind:
            old = joints(entry.received_ns - LATENCY, ["x"], [0.0])
            names = interface.observation["joints"].parts
            fields = {
                "header": header(entry.received_ns - LATENCY),
                "name": list(names),
                "position": np.arange(6.0),
                "velocity": old.velocity,
                "effort": old.effort,
            }
            made: Any = store.types[kind](extra=5, **fields)
            messages.append(entry._replace(data=bytes(store.serialize_cdr(made, kind))))
        else:
            messages.append(entry)
    path = write_mcap(tmp_path / "x.mcap", messages, definitions={kind: text})
    episode = read_episode(path, interface)
    assert episode.observations["joints"][0, 0].tolist() == list(range(6))


def test_a_bag_without_definitions_is_read_with_those_of_ros_2(
    interface: Interface, tmp_path: Path
) -> None:
    """As rosbag2 of Humble writes sqlite3 files."""
    bag = write_bag(tmp_path / "bag", demonstration(interface), StoragePlugin.SQLITE3)
    with sqlite3.connect(next(bag.glob("*.db3"))) as database:
        database.execute("DROP TABLE message_definitions")
    check_whole(read_episode(bag, interface))


def test_service_events_and_types_that_nobody_knows_do_not_disturb(
    interface: Interface, tmp_path: Path
) -> None:
    strange = Sent("/x/_service_event", "my_msgs/srv/Do_Event", START, b"\0\1\0\0strange")
    path = write_mcap(
        tmp_path / "x.mcap",
        [strange, *demonstration(interface)],
        definitions={"my_msgs/srv/Do_Event": "not a definition ["},
    )
    episode = read_episode(path, interface)
    check_whole(episode)
    assert episode.notes == ()


def test_a_missing_topic_is_named_with_those_that_are_there(
    interface: Interface, tmp_path: Path
) -> None:
    messages = [m for m in demonstration(interface) if "camera" not in m.topic]
    bag = write_bag(tmp_path / "bag", messages)
    with pytest.raises(BagError, match=r"bag: no camera/image_raw \(.*Image\) among"):
        read_episode(bag, interface)


def test_a_relative_topic_may_be_in_any_namespace_but_not_in_two(
    interface: Interface, tmp_path: Path
) -> None:
    messages = [m._replace(topic=f"/left{m.topic}") for m in demonstration(interface)]
    check_whole(read_episode(write_bag(tmp_path / "one", messages), interface))
    both = messages + [m._replace(topic=f"/right{m.topic}") for m in demonstration(interface)]
    with pytest.raises(BagError, match=r"may be /left/.* or /right/.*; name it in full"):
        read_episode(write_bag(tmp_path / "two", both), interface)


def test_messages_of_another_encoding_are_refused(interface: Interface, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", demonstration(interface), StoragePlugin.SQLITE3)
    with sqlite3.connect(next(bag.glob("*.db3"))) as database:
        database.execute("UPDATE topics SET serialization_format = 'ros1'")
    with pytest.raises(BagError, match="encoded as 'ros1', expected 'cdr'"):
        read_episode(bag, interface)


# Damage


@pytest.mark.parametrize("compression", list(CompressionType))
def test_a_file_that_was_never_finished_gives_every_message(
    compression: CompressionType, interface: Interface, tmp_path: Path
) -> None:
    path = write_mcap(
        tmp_path / "x.mcap", demonstration(interface), compression=compression, finish=False
    )
    episode = read_episode(path, interface)
    check_whole(episode)
    assert episode.notes == ("x.mcap: was not finished by who wrote it",)


@pytest.mark.parametrize("compression", list(CompressionType))
def test_cut_anywhere_a_file_gives_every_message_before_the_cut(
    compression: CompressionType, interface: Interface, tmp_path: Path
) -> None:
    path = tmp_path / "x.mcap"
    write_mcap(path, demonstration(interface), compression=compression)
    whole = path.read_bytes()
    begins = [place for place, _ in chunks(path)]
    before = 0
    for size in range(begins[0] + 200, len(whole), 997):
        path.write_bytes(whole[:size])
        try:
            found, bag = count(path, interface)
        except BagError:  # not every topic has been seen by then
            continue
        assert found >= before
        before = found
        assert bag.report.notes
    assert before == 4 * STEPS


def noisy(messages: list[Sent]) -> list[Sent]:
    """Replace the images by ones that hardly compress."""
    generator = np.random.default_rng(0)
    return [
        m._replace(data=m.data[:-2000] + generator.bytes(2000)) if "camera" in m.topic else m
        for m in messages
    ]


def test_what_is_whole_of_a_chunk_that_is_cut_is_read(
    interface: Interface, tmp_path: Path
) -> None:
    messages = noisy(demonstration(interface, 200))
    for compression in CompressionType:
        path = write_mcap(
            tmp_path / "x.mcap", messages, chunk_size=1 << 30, compression=compression
        )
        place, length = chunks(path)[0]
        os.truncate(path, place + length * 2 // 3)
        found, bag = count(path, interface)
        assert 400 < found < 600
        assert "was not finished" in " ".join(bag.report.notes)


def test_a_damaged_chunk_costs_its_own_messages_which_are_counted(
    interface: Interface, tmp_path: Path
) -> None:
    for compression in CompressionType:
        path = write_mcap(tmp_path / "x.mcap", demonstration(interface), compression=compression)
        place, length = chunks(path)[3]
        damage(path, place + length - 60, 20)
        found, bag = count(path, interface)
        lost = 4 * STEPS - found
        assert 0 < lost < 20
        assert bag.report.lost.total() == lost
        assert any(
            "is damaged" in note and f"{lost} messages lost" in note for note in bag.report.notes
        )
        told = [note for note in bag.report.notes if "messages read of 20" in note]
        assert told


def test_a_chunk_whose_length_is_damaged_is_stepped_over(
    interface: Interface, tmp_path: Path
) -> None:
    path = write_mcap(tmp_path / "x.mcap", demonstration(interface))
    damage(path, chunks(path)[3][0], 30)
    found, bag = count(path, interface)
    assert 60 <= found < 4 * STEPS
    notes = " ".join(bag.report.notes)
    assert "are damaged" in notes
    assert "messages read of 20 that the bag says it has" in notes


def test_messages_between_chunks_are_found_again_after_damage(
    interface: Interface, tmp_path: Path
) -> None:
    path = write_mcap(tmp_path / "x.mcap", demonstration(interface), use_chunking=False)
    damage(path, path.stat().st_size // 2, 3000)
    found, bag = count(path, interface)
    assert 70 <= found < 4 * STEPS
    assert "messages read of 20 that the bag says it has" in " ".join(bag.report.notes)


def test_damage_anywhere_never_ends_the_reading_with_anything_but_a_bag_error(
    interface: Interface, tmp_path: Path
) -> None:
    path = tmp_path / "x.mcap"
    write_mcap(path, demonstration(interface, 10))
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole)
        for place in generator.integers(0, len(data), 3):
            data[place] = generator.integers(256)
        path.write_bytes(data)
        try:
            found, bag = count(path, interface)
        except BagError:
            continue
        assert found == 40 or bag.report.notes


def test_a_file_of_zeros_or_nothing_is_refused_by_name(
    interface: Interface, tmp_path: Path
) -> None:
    path = tmp_path / "x.mcap"
    for content, text in ((b"", "an empty file"), (bytes(10_000), "nothing can be read of its")):
        path.write_bytes(content)
        with pytest.raises(BagError, match=f"x.mcap: .*{text}"):
            read_episode(path, interface)


def test_a_truncated_database_gives_the_messages_before_the_cut(
    interface: Interface, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "bag", demonstration(interface), StoragePlugin.SQLITE3)
    path = next(bag.glob("*.db3"))
    os.truncate(path, path.stat().st_size // 8192 * 4096)
    found, read = count(bag, interface)
    assert 20 <= found < 4 * STEPS
    notes = " ".join(read.report.notes)
    assert "is damaged" in notes
    assert "metadata.yaml says 20" in notes


def test_a_damaged_page_of_a_database_costs_the_messages_on_it(
    interface: Interface, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "bag", demonstration(interface), StoragePlugin.SQLITE3)
    path = next(bag.glob("*.db3"))
    damage(path, path.stat().st_size // 2 // 4096 * 4096, 4096)
    found, read = count(bag, interface)
    assert 40 <= found < 4 * STEPS
    assert "messages lost of which the topic is not known" in " ".join(read.report.notes)


def test_what_is_still_in_the_log_of_a_database_is_read(
    interface: Interface, tmp_path: Path
) -> None:
    """As after a recorder with a write-ahead log is killed."""
    bag = write_bag(tmp_path / "bag", demonstration(interface), StoragePlugin.SQLITE3)
    path = next(bag.glob("*.db3"))
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    extra = sent("/servo_node/delta_twist_cmds", twist(START, 0.5), START)
    (topic,) = database.execute("SELECT id FROM topics WHERE name = ?", (extra.topic,)).fetchone()
    database.execute(
        "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
        (topic, extra.received_ns, extra.data),
    )
    database.commit()
    killed = tmp_path / "killed"
    shutil.copytree(bag, killed)
    database.close()
    before = {p.name: p.stat().st_mtime_ns for p in killed.iterdir()}
    found, _ = count(killed, interface)
    assert found == 4 * STEPS + 1
    assert {p.name: p.stat().st_mtime_ns for p in killed.iterdir()} == before


def test_a_compressed_file_that_is_cut_gives_what_is_before(
    interface: Interface, tmp_path: Path
) -> None:
    messages = noisy(demonstration(interface, 200))
    bag = write_bag(tmp_path / "bag", messages, StoragePlugin.MCAP, CompressionMode.FILE)
    path = next(bag.glob("*.zstd"))
    os.truncate(path, path.stat().st_size * 3 // 4)
    found, read = count(bag, interface)
    assert 400 < found < 800
    assert "its compression is cut off" in " ".join(read.report.notes)


def test_a_message_that_cannot_be_decoded_is_counted(interface: Interface, tmp_path: Path) -> None:
    messages = demonstration(interface)
    messages[4] = messages[4]._replace(data=messages[4].data[:30])
    bag = write_bag(tmp_path / "bag", messages)
    found, read = count(bag, interface)
    assert found == 4 * STEPS - 1
    assert "/camera/image_raw: 1 messages are damaged, lost" in read.report.notes


# Stamps and gaps


def test_messages_without_stamps_count_from_their_receipt_and_that_is_told(
    interface: Interface, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "bag", demonstration(interface, stamp=lambda time: 0))
    episode = read_episode(bag, interface)
    assert steps_of(episode) == list(range(STEPS))
    assert episode.times_ns[0] == START + LATENCY
    assert (
        "camera/image_raw: 20 of 20 messages have no stamp; the time of receipt counts"
        in episode.notes
    )
    assert episode.streams["camera/image_raw"].unstamped == STEPS


HALF = START + 10 * SECOND // 10


def later(shift: int) -> Callable[[int], int]:
    """Time that is shifted from the tenth step on."""
    return lambda time: time if time < HALF else time + shift


def with_horizon(interface: Interface, horizon: int, history: int = 1) -> Interface:
    values = interface.to_dict()
    values["action"]["horizon"] = horizon
    values["observation"]["camera"]["history"] = history
    return interface_from_dict(values, "test")


@pytest.mark.parametrize("seconds", [0.3, 0.5, 1.45, 30.0])
def test_a_clock_that_is_set_back_cuts_the_episode_and_mixes_nothing(
    seconds: float, interface: Interface, tmp_path: Path
) -> None:
    back = later(-round(seconds * SECOND))
    messages = demonstration(interface, stamp=back, receipt=lambda time: back(time) + LATENCY)
    episode = read_episode(write_mcap(tmp_path / "x.mcap", messages), interface)
    check_whole(episode)
    assert [(p.start, p.stop) for p in episode.pieces(interface.period_ns)] == [(0, 10), (10, 20)]
    assert "a clock was set back; read in 2 pieces" in episode.notes
    rich = with_horizon(interface, 4, history=2)
    episode = read_episode(tmp_path / "x.mcap", rich)
    # Neither a chunk nor a history spans both pieces.
    assert steps_of(episode) == [*range(1, 7), *range(11, 20)]
    seen = episode.observations["camera"][:, :, 0, 0, 0]
    assert (np.diff(seen.astype(int), axis=1) == 1).all()


@pytest.mark.parametrize("seconds", [-30.0, -1.45, -0.5, 5.0])
def test_stamps_that_no_longer_are_of_this_time_are_left_out_as_on_the_robot(
    seconds: float, interface: Interface, tmp_path: Path
) -> None:
    messages = demonstration(interface, stamp=later(round(seconds * SECOND)))
    episode = read_episode(write_mcap(tmp_path / "x.mcap", messages), interface)
    assert steps_of(episode)[:10] == list(range(10))
    assert episode.observations["camera"][:10, 0, 0, 0, 0].tolist() == list(range(10))
    assert len(steps_of(episode)) <= 12
    what = "are stamped in the future" if seconds > 0 else "came too long after their stamp"
    told = [note for note in episode.notes if note.startswith("camera/image_raw: 10 of 20")]
    assert what in told[0]


def test_a_simulation_that_begins_anew_cuts_the_episode(
    interface: Interface, tmp_path: Path
) -> None:
    """Stamped by the simulation's clock, received by the system clock."""
    messages = demonstration(
        interface,
        stamp=lambda time: time - START + 8 * SECOND if time < HALF else time - HALF + SECOND,
    )
    episode = read_episode(write_mcap(tmp_path / "x.mcap", messages), interface)
    check_whole(episode)
    assert len(episode.pieces(interface.period_ns)) == 2


def test_a_clock_that_jumps_ahead_cuts_the_episode(interface: Interface, tmp_path: Path) -> None:
    ahead = later(5 * SECOND)
    messages = demonstration(interface, stamp=ahead, receipt=lambda time: ahead(time) + LATENCY)
    episode = read_episode(write_bag(tmp_path / "bag", messages), interface)
    # As if all were silent: the last command still holds while the last samples are fresh.
    assert steps_of(episode) == [*range(10), 9, *range(10, 20)]
    assert len(episode.pieces(interface.period_ns)) == 2
    assert episode.streams["camera/image_raw"].longest_gap == pytest.approx(5.1)


def test_one_message_with_a_strange_stamp_costs_itself(
    interface: Interface, tmp_path: Path
) -> None:
    messages = demonstration(interface)
    for place, topic in ((12, "camera"), (25, "joint"), (34, "tool"), (43, "servo")):
        assert topic in messages[place].topic
        strange = restamped(messages[place].data, START + 50 * SECOND)
        messages[place] = messages[place]._replace(data=strange)
    episode = read_episode(write_mcap(tmp_path / "x.mcap", messages), interface)
    assert steps_of(episode) == [9 if i == 10 else i for i in range(STEPS)], "9 holds"
    assert len([note for note in episode.notes if "are stamped in the future" in note]) == 4


def test_a_stream_that_always_comes_late_is_not_taken_for_fresh(
    interface: Interface, tmp_path: Path
) -> None:
    messages = [
        m._replace(received_ns=m.received_ns + 800_000_000) if "camera" in m.topic else m
        for m in demonstration(interface)
    ]
    messages.sort(key=lambda m: m.received_ns)
    with pytest.raises(BagError, match="camera/image_raw: 20 of 20 messages came too long after"):
        read_episode(write_mcap(tmp_path / "x.mcap", messages), interface)


def test_messages_without_a_stamp_in_simulated_time_are_left_out(
    interface: Interface, tmp_path: Path
) -> None:
    messages = demonstration(interface, stamp=lambda time: time - START)  # the first are zero
    episode = read_episode(write_mcap(tmp_path / "x.mcap", messages), interface)
    assert steps_of(episode) == list(range(1, STEPS))


def test_a_bag_that_was_written_topic_by_topic_is_sorted(
    interface: Interface, tmp_path: Path
) -> None:
    messages = sorted(demonstration(interface, 60), key=lambda m: m.topic)
    for path in (
        write_mcap(tmp_path / "x.mcap", messages),
        write_bag(tmp_path / "bag", messages, StoragePlugin.SQLITE3),
    ):
        episode = read_episode(path, interface)
        assert steps_of(episode) == list(range(60))
        assert episode.observations["tool"][:, 0, 0].tolist() == list(range(60))
        assert "its messages are not in the order of their receipt; sorted" in episode.notes


def test_only_a_bag_with_its_end_tells_that_the_demonstration_was_over(
    interface: Interface, tmp_path: Path
) -> None:
    rich, messages = with_horizon(interface, 4), demonstration(interface)
    whole = read_episode(write_mcap(tmp_path / "x.mcap", messages), rich)
    assert steps_of(whole) == list(range(STEPS))
    cut = read_episode(write_mcap(tmp_path / "y.mcap", messages, finish=False), rich)
    assert steps_of(cut) == list(range(STEPS - 3))


def test_before_its_first_command_nobody_knows_what_the_gripper_did(
    interface: Interface, tmp_path: Path
) -> None:
    values = interface.to_dict()
    values["action"]["gripper"] = GRIPPER
    messages = demonstration(interface)
    stamp = START + 6 * interface.period_ns
    messages.insert(24, sent("/gripper", joints(stamp, ["finger"], [1.0]), stamp + LATENCY))
    path = write_mcap(tmp_path / "x.mcap", messages)
    episode = read_episode(path, interface_from_dict(values, "gripper"))
    assert steps_of(episode) == list(range(6, STEPS))
    assert (episode.actions[:, 0, 2] == 1.0).all()
    assert "6 steps left out: the gripper had not been commanded yet" in episode.notes


def test_two_commands_with_one_stamp_and_streams_that_go_on_are_told(
    interface: Interface, tmp_path: Path
) -> None:
    messages = []
    for i, m in enumerate(demonstration(interface, 50)):
        if "servo" not in m.topic or i // 4 < 20:
            messages.append(m)
        if "servo" in m.topic and i // 4 < 20:
            stamp = START + i // 4 * interface.period_ns
            messages.append(sent(m.topic, twist(stamp, 0.2), m.received_ns))
    notes = read_episode(write_mcap(tmp_path / "x.mcap", messages), interface).notes
    assert (
        "servo_node/delta_twist_cmds: 20 commands had the stamp of a later one, which counts"
        in notes
    )
    assert "the streams go on for 3.0 s after the last command" in notes


def test_a_gap_in_a_stream_leaves_its_steps_out_and_cuts(
    interface: Interface, tmp_path: Path
) -> None:
    def camera_of(step: int) -> bool:
        return not 6 <= step < 12

    messages = [
        m
        for i, m in enumerate(demonstration(interface))
        if "camera" not in m.topic or camera_of(i // 4)
    ]
    episode = read_episode(write_bag(tmp_path / "bag", messages), interface)
    # A frame may be 0.25 s old: two steps use the last one.
    assert steps_of(episode) == [*range(8), *range(12, 20)]
    assert len(episode.pieces(interface.period_ns)) == 2
    assert any(
        note.startswith("4 steps left out: no fresh observation, the first: camera")
        for note in episode.notes
    )


def test_a_horizon_never_reaches_over_a_gap_in_the_commands(
    interface: Interface, tmp_path: Path
) -> None:
    messages = [
        m
        for i, m in enumerate(demonstration(interface))
        if "servo" not in m.topic or i // 4 not in range(9, 14)
    ]
    episode = read_episode(write_bag(tmp_path / "bag", messages), with_horizon(interface, 4))
    # The last command before the gap, 8, holds for 0.25 s: there is no command at 11, 12 and 13,
    # and from 8 on a chunk of four would need them. At the end of all commands the demonstration
    # was over, so the velocity is zero.
    assert steps_of(episode) == [*range(8), *range(14, 20)]
    assert np.round(1000 * episode.actions[7, :, 0]).tolist() == [7, 8, 8, 8]
    assert np.round(1000 * episode.actions[-2, :, 0]).tolist() == [18, 19, 0, 0]
    assert "3 steps left out: their actions reach over a gap in the commands" in episode.notes
    assert "3 steps left out: nobody commanded then" in episode.notes


def test_of_commands_that_come_early_or_late_each_step_has_the_one_in_force_in_its_middle(
    interface: Interface, tmp_path: Path
) -> None:
    shifts = itertools.cycle([0, 20_000_000, -30_000_000, 40_000_000, -45_000_000])
    messages = []
    for m in demonstration(interface):
        if "servo" in m.topic:
            step = (m.received_ns - START) // interface.period_ns
            stamp = START + step * interface.period_ns + next(shifts)
            messages.append(sent(m.topic, twist(stamp, step / 1000), stamp))
        else:
            messages.append(m)
    episode = read_episode(write_bag(tmp_path / "bag", messages), interface)
    assert steps_of(episode) == list(range(STEPS))


def test_messages_out_of_order_give_the_same_episode(interface: Interface, tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    late = [
        m._replace(received_ns=m.received_ns + int(generator.integers(0, 140_000_000)))
        for m in demonstration(interface)
    ]
    late.sort(key=lambda m: m.received_ns)
    episode = read_episode(write_mcap(tmp_path / "x.mcap", late), interface)
    check_whole(episode)


def test_bags_behind_links_are_found_and_links_in_a_circle_do_no_harm(
    interface: Interface, tmp_path: Path
) -> None:
    elsewhere = write_bag(tmp_path / "elsewhere" / "one", demonstration(interface, 3))
    demos = tmp_path / "demos"
    demos.mkdir()
    (demos / "linked").symlink_to(elsewhere)
    (demos / "circle").symlink_to(demos)
    assert find_bags(demos) == [demos / "linked"]


def test_a_compressed_file_of_several_frames_is_read_whole(
    interface: Interface, tmp_path: Path
) -> None:
    data = write_mcap(tmp_path / "x.mcap", demonstration(interface)).read_bytes()
    halves = (data[: len(data) // 2], data[len(data) // 2 :])
    path = tmp_path / "y.mcap.zstd"
    path.write_bytes(b"".join(map(zstandard.compress, halves)))
    episode = read_episode(path, interface)
    check_whole(episode)
    assert episode.notes == ()


def test_a_file_that_is_there_twice_is_read_once(interface: Interface, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", demonstration(interface))
    path = next(bag.glob("*.mcap"))
    path.with_name(path.name + ".zstd").write_bytes(zstandard.compress(path.read_bytes()))
    episode = read_episode(bag, interface)
    check_whole(episode)
    assert episode.notes == ("bag.mcap.zstd: there without compression too; left out",)


def test_messages_of_another_type_on_a_topic_are_told(
    interface: Interface, tmp_path: Path
) -> None:
    messages = demonstration(interface)
    other = sent("/tool_pose", twist(START, 0.0), START)
    episode = read_episode(write_mcap(tmp_path / "x.mcap", [other, *messages]), interface)
    check_whole(episode)
    assert episode.notes == (
        "/tool_pose: its messages of type geometry_msgs/msg/TwistStamped are left out",
    )


def test_one_bad_frame_costs_its_own_step_and_over_a_bad_command_the_last_one_holds(
    interface: Interface, tmp_path: Path
) -> None:
    messages = demonstration(interface)
    camera = message(
        "sensor_msgs/msg/Image",
        header=header(START + 3 * interface.period_ns),
        height=24,
        width=32,
        encoding="strange",
        is_bigendian=0,
        step=96,
        data=np.zeros(10, np.uint8),
    )
    messages[12] = sent("/camera/image_raw", camera, messages[12].received_ns)
    stamp = START + 5 * interface.period_ns
    messages[23] = sent(messages[23].topic, twist(stamp, float("nan")), messages[23].received_ns)
    episode = read_episode(write_bag(tmp_path / "bag", messages), interface)
    assert steps_of(episode) == [4 if i == 5 else i for i in range(STEPS) if i != 3], "4 holds"
    notes = " ".join(episode.notes)
    assert "1 commands can't be used, the first since: a value on servo_node" in notes
    assert "1 steps left out: no fresh observation, the first: camera/image_raw: encoding" in notes


def test_a_bag_without_commands_is_refused(interface: Interface, tmp_path: Path) -> None:
    messages = demonstration(interface)
    nan = [
        sent(m.topic, twist(m.received_ns - LATENCY, float("nan")), m.received_ns)
        if "servo" in m.topic
        else m
        for m in messages
    ]
    with pytest.raises(BagError, match="a value on servo_node/delta_twist_cmds is not a finite"):
        read_episode(write_bag(tmp_path / "bag", nan), interface)


def test_rates_and_gaps_are_told_by_topic(interface: Interface, tmp_path: Path) -> None:
    messages = [m for i, m in enumerate(demonstration(interface)) if i not in (20, 24)]
    facts = read_episode(write_bag(tmp_path / "bag", messages), interface).streams
    assert facts["camera/image_raw"].count == 18
    assert facts["camera/image_raw"].rate == pytest.approx(10.0)
    assert facts["camera/image_raw"].longest_gap == pytest.approx(0.3)
    assert facts["tool_pose"].longest_gap == pytest.approx(0.1)
