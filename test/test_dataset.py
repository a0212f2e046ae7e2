"""Folders of bags as arrays, through a memory-mapped cache."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstration import demonstration, write_bag, write_mcap

from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.training.data.bag_dataset import load_dataset
from ebm_policy_ros.training.data.cache import Cache
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.data.episodes import read_episode


def record(folder: Path, name: str, interface: Interface, steps: int, outcome: str = "") -> Path:
    custom = {"outcome": outcome} if outcome else {}
    return write_bag(folder / name, demonstration(interface, steps), custom=custom)


@pytest.fixture
def demos(interface: Interface, tmp_path: Path) -> Path:
    folder = tmp_path / "demos"
    folder.mkdir()
    for number, outcome in enumerate(("success", "failure", "", "success")):
        record(folder, f"episode_{number:04d}", interface, 5 + number, outcome)
    return folder


def same(one: Dataset, other: Dataset) -> bool:
    arrays: list[tuple[Any, Any]] = [
        (one.actions, other.actions),
        (one.episodes, other.episodes),
        *((one.observations[name], other.observations[name]) for name in one.observations),
    ]
    return all(np.array_equal(*pair) for pair in arrays)


def is_mapped(values: Any) -> bool:
    while values is not None and not isinstance(values, np.memmap):
        values = values.base
    return values is not None


def untouched(folder: Path) -> dict[str, int]:
    """Data files of the caches, with their modification times."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.bin")}


def test_it_holds_what_the_bags_give_one_by_one_without_failures(
    demos: Path, interface: Interface
) -> None:
    data = load_dataset(demos, interface)
    bags = [demos / f"episode_{number:04d}" for number in (0, 2, 3)]
    episodes = [read_episode(bag, interface) for bag in bags]
    assert data.names == tuple(map(str, bags))
    assert data.outcomes.tolist() == [1.0, 0.5, 1.0]
    assert data.episodes.tolist() == [0] * 5 + [1] * 7 + [2] * 8
    assert np.array_equal(data.actions, np.concatenate([e.actions for e in episodes]))
    for name in interface.observation:
        expected = np.concatenate([e.observations[name] for e in episodes])
        assert np.array_equal(data.observations[name], expected)
        assert data.observations[name].dtype == expected.dtype


def test_the_second_time_it_is_mapped_and_nothing_is_read(
    demos: Path, interface: Interface
) -> None:
    first = load_dataset(demos, interface)
    before = untouched(demos / ".cache")
    second = load_dataset(demos, interface)
    assert same(first, second)
    assert untouched(demos / ".cache") == before
    for values in (second.actions, *second.observations.values()):
        assert is_mapped(values)


def test_new_and_changed_bags_are_read_and_no_others(demos: Path, interface: Interface) -> None:
    load_dataset(demos, interface)
    (cache,) = (path.parent for path in (demos / ".cache").rglob("index.jsonl"))
    size = (cache / "actions.bin").stat().st_size
    record(demos, "episode_0009", interface, 4)
    shutil.rmtree(demos / "episode_0002")
    record(demos, "episode_0002", interface, 6)
    data = load_dataset(demos, interface)
    assert np.bincount(data.episodes).tolist() == [5, 6, 8, 4]
    assert (cache / "actions.bin").stat().st_size == size + 10 * 2 * 4
    fresh = load_dataset(demos, interface, cache=demos.parent / "other")
    assert same(data, fresh)


def test_a_folder_that_is_moved_keeps_its_cache(demos: Path, interface: Interface) -> None:
    first = load_dataset(demos, interface)
    moved = demos.rename(demos.parent / "moved")
    before = untouched(moved / ".cache")
    assert same(load_dataset(moved, interface), first)
    assert untouched(moved / ".cache") == before


def test_another_interface_has_a_cache_of_its_own(demos: Path, interface: Interface) -> None:
    values = interface.to_dict()
    values["observation"]["camera"]["size"] = [12, 16]
    small = interface_from_dict(values, "small")
    assert load_dataset(demos, interface).observations["camera"].shape[2:4] == (96, 128)
    assert load_dataset(demos, small).observations["camera"].shape[2:4] == (12, 16)
    assert load_dataset(demos, interface).observations["camera"].shape[2:4] == (96, 128)


def test_what_an_interrupt_left_is_cut_off_and_read_again(
    demos: Path, interface: Interface
) -> None:
    whole = load_dataset(demos, interface)
    (cache,) = (path.parent for path in (demos / ".cache").rglob("index.jsonl"))
    sizes = {path: path.stat().st_size for path in cache.glob("*.bin")}
    index = (cache / "index.jsonl").read_text()
    # While an episode was being appended: some of its data, and half a line.
    with (cache / "actions.bin").open("ab") as file:
        file.write(b"half of")
    (cache / "index.jsonl").write_text(index[:-20])
    assert same(load_dataset(demos, interface), whole)
    assert {path: path.stat().st_size for path in sizes} == sizes
    # The data of the last line was not written to disk.
    os.truncate(cache / "observation.camera.bin", sizes[cache / "observation.camera.bin"] - 1)
    assert same(load_dataset(demos, interface), whole)
    assert {path: path.stat().st_size for path in sizes} == sizes


@pytest.mark.parametrize("content", [b"3", b"[1]", b"{", b"\xff\xfe", b'{"x": 3}'])
def test_a_cache_that_somebody_damaged_is_made_anew(
    content: bytes, demos: Path, interface: Interface
) -> None:
    whole = load_dataset(demos, interface)
    (demos / ".cache" / "bags.json").write_bytes(content)
    (index,) = (demos / ".cache").rglob("index.jsonl")
    index.write_bytes(content + b"\n" + index.read_bytes())
    assert same(load_dataset(demos, interface), whole)


LIES: list[dict[str, Any]] = [
    {"start": -1}, {"start": 6}, {"start": 1e400}, {"start": True}, {"steps": -5}, {"steps": 0},
    {"steps": 10**15}, {"steps": None}, {"notes": 3},
]  # fmt: skip


def test_an_index_that_lies_about_its_episodes_counts_up_to_the_lie(
    demos: Path, interface: Interface
) -> None:
    load_dataset(demos, interface)
    (index,) = (demos / ".cache").rglob("index.jsonl")
    lines = index.read_text().splitlines()
    folder = shutil.copytree(demos / ".cache", demos / "copy")
    for lie in LIES:
        shutil.copytree(folder, demos / ".cache", dirs_exist_ok=True)
        index.write_text("\n".join([lines[0], json.dumps({**json.loads(lines[1]), **lie})]))
        store = Cache(demos / ".cache", interface)
        with store.locked():
            assert list(store) == [json.loads(lines[0])["digest"]], lie
        assert index.read_text() == lines[0] + "\n"


@pytest.mark.parametrize("content", [b"[" * 100_000, b" " * (1 << 27)], ids=["deep", "large"])
def test_a_cache_that_is_deep_or_large_is_made_anew(
    content: bytes, demos: Path, interface: Interface
) -> None:
    whole = load_dataset(demos, interface)
    (index,) = (demos / ".cache").rglob("index.jsonl")
    for path in (demos / ".cache" / "bags.json", index):
        path.write_bytes(content)
    assert same(load_dataset(demos, interface), whole)
    assert index.stat().st_size < 10_000


@pytest.mark.parametrize("name", ["lock", "actions.bin", "index.jsonl", "interface.json"])
def test_a_cache_with_a_link_in_it_is_refused_and_what_is_behind_stays(
    name: str, interface: Interface, tmp_path: Path
) -> None:
    Cache(tmp_path, interface)
    (path,) = tmp_path.glob("*/interface.json")
    mine = tmp_path / "mine"
    mine.write_text("mine")
    path.with_name(name).unlink(missing_ok=True)
    path.with_name(name).symlink_to(mine)
    with pytest.raises(OSError, match="a link, expected a file of its own"):
        Cache(tmp_path, interface)
    assert mine.read_text() == "mine"


def test_content_that_changes_is_seen_also_with_the_old_size_and_time(
    demos: Path, interface: Interface
) -> None:
    before = load_dataset(demos, interface).actions.copy()
    path = next((demos / "episode_0000").glob("*.mcap"))
    found = path.stat()
    data = path.read_bytes()
    was, is_now = struct.pack("<d", 0.003), struct.pack("<d", 0.123)
    assert data.count(was) == 1
    path.write_bytes(data.replace(was, is_now))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    after = load_dataset(demos, interface).actions
    assert after.shape == before.shape and not np.array_equal(after, before)


READ = """
import sys
from pathlib import Path
from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.training.data.bag_dataset import load_dataset
if __name__ == "__main__":
    folder, interface = map(Path, sys.argv[1:])
    load_dataset(folder, load_interface(interface), workers=1)
"""


def test_a_reading_that_is_killed_goes_on_where_it_was(
    demos: Path, interface: Interface, tmp_path: Path
) -> None:
    for number in range(10, 40):
        record(demos, f"episode_{number:04d}", interface, 40)
    script = tmp_path / "read.py"
    script.write_text(READ)
    interface_file = Path(__file__).parents[1] / "config" / "interfaces" / "ur5e_push.yaml"
    process = subprocess.Popen(
        [sys.executable, str(script), str(demos), str(interface_file)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not any((demos / ".cache").rglob("index.jsonl")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    store = Cache(demos / ".cache", interface)
    with store.locked():
        kept = {digest: store[digest] for digest in store}
    data = load_dataset(demos, interface)
    with store.locked():
        assert {digest: store[digest] for digest in kept} == kept
    assert same(data, load_dataset(demos, interface, cache=tmp_path / "other"))


def test_bags_that_a_file_names_are_left_out(
    demos: Path, interface: Interface, tmp_path: Path
) -> None:
    path = tmp_path / "exclude.txt"
    path.write_text("# looked bad\nepisode_0002  # idle\n\n")
    data = load_dataset(demos, interface, exclude=path)
    assert [Path(name).name for name in data.names] == ["episode_0000", "episode_0003"]
    path.write_text("episode_0000\nepisode_0020\n")
    with pytest.raises(BagError, match=r"exclude.txt, line 2: there is no bag 'episode_0020'"):
        load_dataset(demos, interface, exclude=path)
    path.write_text("episode_0000\nepisode_0002\nepisode_0003\n")
    with pytest.raises(BagError, match="every demonstration in it is a failure, or left out"):
        load_dataset(demos, interface, exclude=path)


def test_a_bag_that_cannot_be_used_is_refused_or_left_out_and_named(
    demos: Path, interface: Interface
) -> None:
    (demos / "broken.mcap").write_bytes(b"nonsense" * 100)
    with pytest.raises(BagError, match=r"broken.mcap: .*1 of 5 bags can't be used.*--unusable"):
        load_dataset(demos, interface)
    data = load_dataset(demos, interface, unusable="skip")
    assert len(data.names) == 3
    ((where, what),) = data.notes
    assert where.endswith("broken.mcap") and what.endswith("left out")


def test_what_was_lost_is_told_also_when_it_comes_from_the_cache(
    interface: Interface, tmp_path: Path
) -> None:
    write_mcap(tmp_path / "demos" / "x.mcap", demonstration(interface), finish=False)
    for _ in range(2):
        notes = load_dataset(tmp_path / "demos", interface).notes
        assert [what for _, what in notes] == ["x.mcap: was not finished by who wrote it"]


def test_a_bag_that_was_recorded_with_another_interface_is_told(
    interface: Interface, tmp_path: Path
) -> None:
    other = interface.to_dict()
    other["action"]["high"] = [0.1, 0.1]
    custom = {"interface": json.dumps(other)}
    write_bag(tmp_path / "demos" / "one", demonstration(interface), custom=custom)
    ((_, what),) = load_dataset(tmp_path / "demos", interface).notes
    assert what == (
        "recorded with another interface: action.high: [0.1, 0.1] here, [0.25, 0.25] there"
    )


def test_a_bag_that_is_there_twice_counts_twice(demos: Path, interface: Interface) -> None:
    shutil.copytree(demos / "episode_0000", demos / "episode_0007")
    data = load_dataset(demos, interface)
    assert np.bincount(data.episodes).tolist() == [5, 7, 8, 5]
    assert np.array_equal(data.actions[:5], data.actions[-5:])


def test_a_cache_that_cannot_be_written_is_told_with_the_cure(
    demos: Path, interface: Interface, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((BagError, OSError), match="file"):
        load_dataset(demos, interface, cache=tmp_path / "file")
