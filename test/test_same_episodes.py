"""Training, conversion and inspection take the same episodes from a folder of bags."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from demonstration import START, demonstration, write_bag

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.training.calibrate import CalibrateArgs
from ebm_policy_ros.training.convert import ConvertConfig, convert
from ebm_policy_ros.training.data.arrays import load_arrays
from ebm_policy_ros.training.data.bag_folder import BagFolder
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.data.options import EpisodeOptions
from ebm_policy_ros.training.exchange.lerobot_reader import read_lerobot
from ebm_policy_ros.training.inspect_demos import InspectArgs, inspect_demos
from ebm_policy_ros.training.inspection.metrics import seconds
from ebm_policy_ros.training.inspection.reading import Recording, read_recordings
from ebm_policy_ros.training.inspection.report import make_report
from ebm_policy_ros.training.loading import load_training_data
from ebm_policy_ros.training.train_config import TrainConfig

# As paths are sorted, which is not the order of the texts: a folder counts before its - twin.
USED = ("day/1", "day/2", "day-2/1")


@pytest.fixture
def demos(interface: Interface, tmp_path: Path) -> Path:
    """Two whole bags and one of two segments; a failure, an excluded and a damaged one."""
    folder = tmp_path / "demos"
    since = START + 9 * interface.period_ns
    gap = range(since, since + 4 * interface.period_ns)
    torn = [sent for sent in demonstration(interface, 20) if sent.received_ns not in gap]
    note = json.dumps(interface.to_dict())
    other = json.dumps({**interface.to_dict(), "name": "other"})
    for name, messages, outcome, noted in (
        ("day/1", demonstration(interface, 12), "success", note),
        ("day/2", torn, "", note),
        ("day/3", demonstration(interface, 10), "failure", note),
        ("day-2/1", demonstration(interface, 14), "success", note),
        *((f"out/{i}", demonstration(interface, 11), "success", other) for i in range(5)),
    ):
        custom = {"interface": noted, "outcome": outcome}
        write_bag(folder / name, messages, custom=custom)
    (folder / "damaged.mcap").write_bytes(b"nonsense" * 100)
    (tmp_path / "exclude.txt").write_text("".join(f"out/{i}\n" for i in range(5)))
    return folder


def trained(demos: Path, **options: object) -> Dataset:
    """Dataset of train_policy; that of calibrate_policy must equal it."""
    chosen = {"exclude": demos.parent / "exclude.txt", "unusable": "skip", **options}
    config = TrainConfig(demos, demos.parent / "run", **chosen)  # type: ignore[arg-type]
    args = CalibrateArgs("policy", demos, demos.parent / "new", **chosen)  # type: ignore[arg-type]
    found, other = (load_training_data(demos, one).dataset for one in (config, args))
    assert_equal(found, other)
    return found


def converted(demos: Path, out: Path, **options: object) -> Path:
    chosen = {"exclude": demos.parent / "exclude.txt", "unusable": "skip", **options}
    convert(ConvertConfig(demos, out, **chosen))  # type: ignore[arg-type]
    return out


def assert_equal(one: Dataset, other: Dataset) -> None:
    assert one.names == other.names and one.outcomes.tolist() == other.outcomes.tolist()
    assert_rows_equal(one, other)
    assert np.array_equal(one.episodes, other.episodes)


def assert_rows_equal(one: Dataset, other: Dataset) -> None:
    assert one.observations.keys() == other.observations.keys()
    assert np.array_equal(one.actions, other.actions)
    for name, values in one.observations.items():
        assert values.dtype == other.observations[name].dtype
        assert np.array_equal(values, other.observations[name])


@pytest.mark.parametrize(
    "options",
    [{"trim_idle": False}, {}, {"keep": 0.6}, {"keep": 0.3, "keep_by": "outcome"}],
    ids=["all", "default", "shortest", "best"],
)
def test_training_and_conversion_give_the_same_episodes(
    options: dict[str, object], demos: Path
) -> None:
    data = trained(demos, **options)
    assert_equal(data, load_arrays(converted(demos, demos.parent / "a.npz", **options)))
    rows = read_lerobot(converted(demos, demos.parent / "lerobot", **options)).dataset
    assert_rows_equal(data, rows)  # in one row for each step, a gap ends an episode
    assert {name.partition("[")[0] for name in rows.names} == set(data.names)


def test_inspection_has_the_episodes_of_training_and_the_reasons_against_the_others(
    demos: Path, interface: Interface
) -> None:
    data = trained(demos, trim_idle=False)
    folder = BagFolder.open(demos, demos.parent / "exclude.txt")
    assert folder.interface() == interface  # also where most bags, all excluded, note another
    found = read_recordings(folder, folder.interface())
    excluded = frozenset(bag.relative_to(demos).as_posix() for bag in folder.excluded)
    report = make_report(found, interface, excluded)
    names = tuple(entry.name for entry in report.used)
    assert names == USED and data.names == tuple(str(demos / name) for name in USED)
    recordings = {one.name: one for one in found if isinstance(one, Recording)}
    assert data.times_ns is not None
    for number, name in enumerate(USED):
        steps, recording = data.episodes == number, recordings[name]
        assert np.array_equal(recording.actions, data.actions[steps][:, 0])
        assert np.array_equal(recording.times, seconds(data.times_ns[steps], interface))
        for stream, values in recording.states.items():
            assert np.array_equal(values, data.observations[stream][steps][:, -1])
    assert len(recordings["day/2"].pieces) == 2
    left = {entry.name: entry for entry in report.entries if not entry.is_used}
    assert {name for name, entry in left.items() if entry.excluded} == excluded
    assert [name for name in left if name not in excluded] == ["damaged.mcap", "day/3"]
    failure = left["day/3"].recording
    assert failure is not None and failure.outcome == "failure"
    assert data.failures == (str(demos / "day/3"),)
    ((bag, told),) = (note for note in data.notes if "left out" in note[1] and "mcap" in note[0])
    (issue,) = left["damaged.mcap"].issues
    assert issue.kind == "unusable" and told == f"{bag}: {issue.words}; left out"


def test_a_bag_whose_noted_interface_is_garbage_is_refused_by_all(
    interface: Interface, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos = tmp_path / "demos"
    for name, note in (("1", json.dumps(interface.to_dict())), ("2", "[")):
        write_bag(demos / name, demonstration(interface, 12), custom={"interface": note})
    for command in (
        lambda: load_training_data(demos, EpisodeOptions()),
        lambda: convert(ConvertConfig(demos, tmp_path / "out.npz")),
    ):
        with pytest.raises(ValueError, match="the interface noted in it cannot be read"):
            command()
    inspect_demos(InspectArgs(demos))
    assert "Training can use 1 of 2 episodes. Cannot be read: 1." in capsys.readouterr().out
