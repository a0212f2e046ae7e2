"""Conversion of demonstrations from and to other formats: accuracy and refusals."""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstration import START, demonstration, write_bag

from ebm_policy_ros.interface import Interface, interface_from_dict

pa = pytest.importorskip("pyarrow", reason="the extra `exchange`")
zarr = pytest.importorskip("zarr", reason="the extra `exchange`")
import numcodecs  # noqa: E402
from pyarrow import parquet  # noqa: E402

from ebm_policy_ros.training.convert import ConvertConfig, convert, main  # noqa: E402
from ebm_policy_ros.training.data.arrays import load_arrays, save_arrays  # noqa: E402
from ebm_policy_ros.training.data.dataset import Dataset, DemonstrationError  # noqa: E402
from ebm_policy_ros.training.data.options import EpisodeOptions  # noqa: E402
from ebm_policy_ros.training.exchange import demonstrations, lerobot_writer  # noqa: E402
from ebm_policy_ros.training.exchange.demonstrations import Size, with_windows  # noqa: E402
from ebm_policy_ros.training.exchange.lerobot_reader import read_lerobot  # noqa: E402
from ebm_policy_ros.training.exchange.replay_buffer import read_replay_buffer  # noqa: E402
from ebm_policy_ros.training.exchange.sources import read_source  # noqa: E402
from ebm_policy_ros.training.loading import load_training_data  # noqa: E402

# Written by the package lerobot 0.4.4 (create, add_frame, save_episode): 4 steps of "push", 6 of
# "pull"; in step i of episode e: state (e + 0.1, i / 3), force i^2, action (i, -e), images of
# colour (100 e + 10 i, 200, 50), `front` as a video (AV1), `wrist` as PNG files in the rows.
THEIRS = Path(__file__).parent / "data" / "lerobot"
LENGTHS = (5, 15, 10)
STEPS = sum(LENGTHS)


def dataset() -> Dataset:
    random = np.random.default_rng(0)
    ramp = np.arange(16) * 8
    picture = np.stack([np.add.outer(ramp, ramp), *2 * [np.tile(ramp, (16, 1))]], axis=-1)
    return Dataset(
        observations={
            "tool": random.normal(size=(STEPS, 1, 3)).astype(np.float32),
            "grip": random.normal(size=(STEPS, 1, 1)).astype(np.float32),
            "camera": np.stack([picture + i for i in range(STEPS)])[:, None].astype(np.uint8),
        },
        # Includes numbers that a decimal text would not keep exactly.
        actions=np.ldexp(random.normal(size=(STEPS, 1, 2)), -130).astype(np.float32),
        episodes=np.repeat(np.arange(3), LENGTHS),
        names=("monday/1", "monday/2", "tuesday/ä"),
        outcomes=np.array([1.0, 0.5, 0.0]),
    )


def write_arrays(folder: Path, data: Dataset) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_arrays(folder / "demos.npz", data)
    return folder / "demos.npz"


def exported(folder: Path, data: Dataset | None = None, **settings: Any) -> Path:
    source = write_arrays(folder / "source", data or dataset())
    convert(ConvertConfig(source, folder / "lerobot", fps=10.0, **settings))
    return folder / "lerobot"


def assert_equal(one: Dataset, other: Dataset) -> None:
    assert one.observations.keys() == other.observations.keys()
    pairs = [(one.observations[name], other.observations[name]) for name in one.observations]
    for mine, theirs in [*pairs, (one.actions, other.actions), (one.episodes, other.episodes)]:
        assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs)
    assert one.names == other.names and one.outcomes.tolist() == other.outcomes.tolist()


def test_what_goes_to_lerobot_and_back_is_equal_to_the_last_bit(tmp_path: Path) -> None:
    there = exported(tmp_path, task="stack", robot="arm")
    convert(ConvertConfig(there, tmp_path / "back.npz"))
    assert_equal(load_arrays(tmp_path / "back.npz"), dataset())
    recorded = read_lerobot(there)
    assert recorded.rate == 10.0 and recorded.robot == "arm"
    assert recorded.tasks == ("stack",) * 3
    assert not list(tmp_path.glob(".lerobot*"))


def test_an_export_has_the_rows_and_the_facts_of_the_format(tmp_path: Path) -> None:
    there, data = exported(tmp_path), dataset()
    rows = parquet.read_table(there / "data/chunk-000/file-000.parquet").to_pydict()
    assert rows["index"] == list(range(STEPS))
    assert rows["frame_index"] == [i for length in LENGTHS for i in range(length)]
    assert rows["timestamp"] == [float(np.float32(i / 10)) for i in rows["frame_index"]]
    assert rows["observation.grip"] == data.observations["grip"].ravel().tolist()
    episodes = parquet.read_table(there / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert episodes["length"] == list(LENGTHS)
    assert episodes["dataset_to_index"] == np.cumsum(LENGTHS).tolist()
    tool = data.observations["tool"][:5, 0].astype(float)
    assert episodes["stats/observation.tool/min"][0] == tool.min(axis=0).tolist()
    info = json.loads((there / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["fps"]) == (3, STEPS, 10)
    assert info["features"]["observation.images.camera"]["shape"] == [16, 16, 3]
    stats = json.loads((there / "meta/stats.json").read_text())
    assert np.shape(stats["observation.images.camera"]["mean"]) == (3, 1, 1)
    blue = data.observations["camera"][..., 2].mean() / 255
    assert stats["observation.images.camera"]["mean"][2][0][0] == pytest.approx(blue)


def test_a_video_keeps_every_frame_in_its_place_but_not_every_value(tmp_path: Path) -> None:
    there, data = exported(tmp_path, video=True), dataset()
    assert (there / "videos/observation.images.camera/chunk-000/file-000.mp4").is_file()
    found = read_lerobot(there).dataset.observations["camera"].astype(int)
    expected = data.observations["camera"].astype(int)
    assert not np.array_equal(found, expected)
    # Frame i + 1 is one grey level brighter than frame i.
    off = (found - expected).mean(axis=(1, 2, 3, 4))
    assert found.shape == expected.shape and np.abs(off).max() < 2.5
    assert np.diff(found.mean(axis=(1, 2, 3, 4))).mean() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("video", [False, True])
def test_a_large_dataset_is_spread_over_files(
    video: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_lerobot(exported(tmp_path / "whole", video=video)).dataset
    monkeypatch.setattr(lerobot_writer, "_DATA_MEGABYTES", 0)
    monkeypatch.setattr(lerobot_writer, "_FILES", 2)
    there = exported(tmp_path / "spread", video=video)
    files = sorted(str(p.relative_to(there / "data")) for p in there.glob("data/*/*"))
    assert files == [
        "chunk-000/file-000.parquet", "chunk-000/file-001.parquet", "chunk-001/file-000.parquet",
    ]  # fmt: skip
    assert len(list(there.glob("videos/*/*/*.mp4"))) == 3 * video
    found = read_lerobot(there).dataset
    assert found.names == whole.names and np.array_equal(found.actions, whole.actions)
    # Each file is encoded separately, so frames may differ slightly.
    pairs = (data.observations["camera"].astype(int) for data in (found, whole))
    assert np.abs(np.subtract(*pairs)).mean() <= (2.0 if video else 0.0)


def test_what_the_package_lerobot_wrote_is_read() -> None:
    recorded = read_lerobot(THEIRS)
    data = recorded.dataset
    episode = np.repeat([0, 1], [4, 6])
    step = np.array([0, 1, 2, 3, 0, 1, 2, 3, 4, 5])
    assert data.episodes.tolist() == episode.tolist()
    state = np.stack([episode + 0.1, step / 3], axis=1).astype(np.float32)
    assert np.array_equal(data.observations["state"][:, 0], state)
    assert data.observations["force"].ravel().tolist() == (step**2).tolist()
    assert np.array_equal(data.actions[:, 0], np.stack([step, -episode], axis=1))
    colour = np.stack([100 * episode + 10 * step, *np.full((2, 10), [[200], [50]])], axis=1)
    wrist, front = data.observations["wrist"], data.observations["front"]
    assert wrist.shape == (10, 1, 8, 12, 3) and front.shape == (10, 1, 32, 48, 3)
    assert (wrist == colour[:, None, None, None]).all()
    assert np.abs(front.astype(int) - colour[:, None, None, None]).max() <= 3
    assert recorded.rate == 10.0 and recorded.tasks == ("push", "pull")
    assert recorded.dimensions == {"state": ("shoulder", "elbow"), "action": ("x", "y")}


def test_streams_are_chosen_renamed_and_resized(tmp_path: Path) -> None:
    streams = {"joints": "observation.state", "eye": "observation.images.front"}
    data = read_lerobot(THEIRS, streams, {"eye": Size((4, 6))}).dataset
    assert list(data.observations) == ["joints", "eye"]
    assert data.observations["eye"].shape == (10, 1, 4, 6, 3)
    there = exported(tmp_path, streams={"hand": "tool"})
    assert list(read_lerobot(there).dataset.observations) == ["hand"]


def test_chunks_and_history_are_put_together_within_their_episode() -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(6, 1, 1)
    data = Dataset(
        {"s": numbers}, numbers + 10, np.array([0, 0, 0, 0, 1, 1]), ("a", "b"), np.ones(2)
    )
    several = with_windows(data, {"s": 2}, 3)
    assert several.observations["s"][..., 0].tolist() == [
        [0, 0], [0, 1], [1, 2], [2, 3], [4, 4], [4, 5],
    ]  # fmt: skip
    held = [[10, 11, 12], [11, 12, 13], [12, 13, 13], [13, 13, 13], [14, 15, 15], [15, 15, 15]]
    assert several.actions[..., 0].tolist() == held
    stopped = with_windows(data, {}, 3, velocities=[0]).actions[..., 0]
    assert stopped.tolist()[2:] == [[12, 13, 0], [13, 0, 0], [14, 15, 0], [15, 0, 0]]


def test_a_chunk_of_actions_is_exported_as_its_first_and_comes_back(tmp_path: Path) -> None:
    data = with_windows(dataset(), {"tool": 2}, 4)
    there = exported(tmp_path, data)
    assert read_lerobot(there).dataset.actions.shape == (STEPS, 1, 2)
    convert(ConvertConfig(there, tmp_path / "back.npz", history=2, horizon=4))
    back = load_arrays(tmp_path / "back.npz")
    assert np.array_equal(back.actions, data.actions)
    assert np.array_equal(back.observations["tool"], data.observations["tool"])


def test_training_takes_a_lerobot_folder_itself() -> None:
    loaded = load_training_data(THEIRS, EpisodeOptions(), ("state", "wrist"))
    assert loaded.shapes["wrist"] == (1, 8, 12, 3) and loaded.interface is None


# --- bad LeRobot folders


def edit_info(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "meta/info.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def drop_info(key: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "meta/info.json"
        values = json.loads(path.read_text())
        del values[key]
        path.write_text(json.dumps(values))

    return edit


def write_info(text: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / "meta/info.json").write_text(text)

    return edit


def edit_column(name: str, row: int, value: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "data/chunk-000/file-000.parquet"
        table = parquet.read_table(path)
        values = table.column(name).to_pylist()
        values[row] = value
        place = table.column_names.index(name)
        column = pa.array(values, table.schema.field(name).type)
        parquet.write_table(table.set_column(place, table.schema.field(name), column), path)

    return edit


def nest(name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "data/chunk-000/file-000.parquet"
        table = parquet.read_table(path)
        place = table.column_names.index(name)
        parquet.write_table(table.set_column(place, name, pa.array([[1, 2]] * 10)), path)

    return edit


def cut_rows(folder: Path) -> None:
    path = folder / "data/chunk-000/file-000.parquet"
    parquet.write_table(parquet.read_table(path).slice(0, 9), path)


def damage(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:-200])

    return cut


VIDEO = "videos/observation.images.front/chunk-000/file-000.mp4"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (edit_info(codebase_version="v2.1"), "codebase_version 'v2.1', expected v3.0; convert"),
        (
            edit_info(features={"action": {"dtype": "float32"}}),
            "no feature observation.NAME among",
        ),
        (edit_info(features={"../action": {"dtype": "float32"}}), "a name that is no file name"),
        (edit_info(fps=0), "fps: got 0, expected a number > 0"),
        (edit_info(fps="x" * 10_000), "fps: got xxx"),
        (edit_info(fps=10**400), "fps: got 1000"),
        (edit_info(total_frames=0), "total_frames: got 0, expected an integer >= 1"),
        (edit_info(total_frames=[]), r"total_frames: got \[\]"),
        (edit_info(codebase_version=["x" * 10_000]), "codebase_version .* expected v3.0"),
        (edit_info(features={"action": "float32"}), "features.action: got 'float32', expected a"),
        (edit_info(features={"action": {"dtype": []}}), "features.action: got {'dtype': "),
        (edit_info(features={"a" * 1000: {"dtype": "float32"}}), "a name that is no file name"),
        (drop_info("fps"), "it has no fps"),
        (drop_info("features"), "it has no features"),
        (write_info("[" * 100_000), "nested too deep"),
        (write_info("[3]"), r"got \[3\], expected names and values"),
        (write_info("{"), "not JSON"),
        (write_info(" " * (5 << 20)), "larger than 4,194,304 bytes"),
        (edit_info(fps=20), r"step 1 of episode 0 is at 0.1000 s, expected 0.0500 s at 20 Hz"),
        (edit_info(features=[]), r"info.json: features: got \[\], expected names and values"),
        (cut_rows, "data has 9 rows, its episodes 10; copy the folder again"),
        (edit_column("frame_index", 3, 7), "row 3 has frame_index 7, expected 3"),
        (nest("index"), "index has several values a row, expected one"),
        (edit_column("index", 9, 3), "row 9 has index 3, expected 9"),
        (edit_column("timestamp", 5, 0.3), "step 1 of episode 1 is at 0.3000 s"),
        (edit_column("action", 2, [0.0, np.nan]), "action is not a finite number in 1 steps"),
        (edit_column("observation.force", 2, None), "observation.force has steps without a value"),
        (
            edit_column("observation.images.wrist", 1, {"bytes": b"no picture", "path": None}),
            "observation.images.wrist in row 1: 10 bytes that are no whole JPEG or PNG",
        ),
        (damage("data/chunk-000/file-000.parquet"), "file-000.parquet: cannot be read"),
        (damage("meta/tasks.parquet"), "tasks.parquet: cannot be read"),
        (lambda folder: shutil.rmtree(folder / "data"), "no parquet files in it"),
        (lambda folder: (folder / VIDEO).unlink(), "no such video"),
        (
            lambda folder: (folder / VIDEO).write_bytes(b"x" * 500),
            "file-000.mp4: cannot be decoded",
        ),
    ],
)
def test_a_lerobot_folder_that_is_not_whole_is_refused_by_name(
    spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    shutil.copytree(THEIRS, tmp_path / "demos")
    spoil(tmp_path / "demos")
    with pytest.raises(DemonstrationError, match=message) as refusal:
        read_lerobot(tmp_path / "demos")
    assert str(tmp_path / "demos") in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400 + len(str(tmp_path))


def test_a_table_that_grows_too_much_is_refused(tmp_path: Path) -> None:
    for name, column, message in (
        ("zeros", pa.array(np.zeros(20_000_000)), "it says it has 160,0.* at most 67,108,864"),
        ("equal", pa.array(np.zeros(20_000_000)), "reading it takes 160,0"),
    ):
        folder = tmp_path / name
        shutil.copytree(THEIRS, folder)
        path = folder / "data/chunk-000/file-000.parquet"
        packed = name == "equal"
        parquet.write_table(
            pa.table({"action": column}), path, compression="zstd", use_dictionary=packed
        )
        assert path.stat().st_size < 200_000
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(demonstrations, "available_memory", lambda: 100_000_000)
            with pytest.raises(DemonstrationError, match=message):
                read_lerobot(folder)


def test_episodes_that_say_they_are_endless_are_refused(tmp_path: Path) -> None:
    shutil.copytree(THEIRS, tmp_path / "demos")
    path = tmp_path / "demos/meta/episodes/chunk-000/file-000.parquet"
    table = parquet.read_table(path)
    place = table.column_names.index("length")
    parquet.write_table(table.set_column(place, "length", pa.array([10**15, 6])), path)
    with pytest.raises(
        DemonstrationError, match="data has 10 rows, its episodes 1000000000000006"
    ):
        read_lerobot(tmp_path / "demos")


# --- the zarr layout of Diffusion Policy


def write_zarr(path: Path, **changes: Any) -> Path:
    arrays: dict[str, Any] = {
        "data/action": np.arange(60, dtype=np.float32).reshape(30, 2),
        "data/state": np.arange(150, dtype=np.float32).reshape(30, 5),
        "data/keypoint": np.arange(180, dtype=np.float64).reshape(30, 3, 2),
        "data/img": np.arange(30.0)[:, None, None, None] + np.full((30, 4, 6, 3), [5.0, 6, 7]),
        "meta/episode_ends": np.cumsum(LENGTHS),
    }
    root = zarr.open_group(str(path), mode="w")
    for name, values in {
        **arrays,
        **{k.replace("__", "/"): v for k, v in changes.items()},
    }.items():
        if values is not None:
            root.create_dataset(name, data=values, chunks=(7, *values.shape[1:]))
    return path


def test_a_replay_buffer_becomes_streams_of_numbers_and_pictures(tmp_path: Path) -> None:
    data = read_replay_buffer(write_zarr(tmp_path / "d.zarr")).dataset
    assert np.bincount(data.episodes).tolist() == list(LENGTHS)
    assert data.actions.ravel().tolist() == list(range(60))
    assert data.observations["keypoint"].shape == (30, 1, 6)
    assert data.observations["state"][29, 0].tolist() == [145, 146, 147, 148, 149]
    image = data.observations["img"]
    assert image.shape == (30, 1, 4, 6, 3) and image.dtype == np.uint8
    assert image[29, 0, 0, 0].tolist() == [34, 35, 36]


def test_named_arrays_alone_are_read_from_a_replay_buffer(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "d.zarr", data__img=np.full((30, 4, 6, 3), np.nan))
    convert(ConvertConfig(path, tmp_path / "d.npz", streams={"agent": "data/state"}, horizon=2))
    data = load_arrays(tmp_path / "d.npz")
    assert list(data.observations) == ["agent"] and data.actions.shape == (30, 2, 2)
    assert data.actions[4].tolist() == [[8, 9], [8, 9]]  # the last step of its episode


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__action": None}, "no array data/action, only data/img, data/keypoint, data/state"),
        ({"meta__episode_ends": None}, "no array meta/episode_ends"),
        (
            {"meta__episode_ends": np.array([5, 20])},
            r"is \[ 5 20\], expected rising whole numbers",
        ),
        ({"meta__episode_ends": np.array([20, 5, 30])}, r"is \[20  5 30\], expected rising"),
        ({"data__state": np.zeros((29, 5))}, "data/state has 29 steps, data/action has 30"),
        (
            {"data__state": np.full((30, 5), np.inf)},
            "not a finite number in 30 steps, the first 0",
        ),
        ({"data__state": np.zeros(30)}, r"data/state has shape \(30,\), expected"),
        ({"data__state": np.full((30, 2), "x")}, "data/state holds <U1, expected plain numbers"),
        ({"data__img": np.full((30, 4, 6, 3), 256.0)}, "outside 0 to 255 from step 0 on"),
        ({"data__img": np.full((30, 4, 6, 3), np.nan)}, "outside 0 to 255 from step 0 on"),
        ({"data__img": np.full((30, 4, 6, 3), 0.5)}, "goes from 0 to 1, expected rgb"),
    ],
)
def test_arrays_of_a_replay_buffer_that_do_not_fit_are_refused_by_name(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DemonstrationError, match=message) as refusal:
        read_replay_buffer(write_zarr(tmp_path / "d.zarr", **changes))
    assert "d.zarr" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_chunk_that_is_missing_is_not_read_as_zeros(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "d.zarr")
    (path / "data/state/2.0").unlink()
    with pytest.raises(DemonstrationError, match="data/state has 4 of its 5 chunks"):
        read_replay_buffer(path)
    (path / "data/state/2.0").write_bytes(b"damaged")
    with pytest.raises(DemonstrationError, match=r"d\.zarr: cannot be read"):
        read_replay_buffer(path)


@pytest.mark.parametrize("where", ["compressor", "filters"])
def test_a_codec_that_could_run_what_a_file_says_is_refused(where: str, tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "d.zarr")
    facts = json.loads((path / "data/state/.zarray").read_text())
    facts[where] = {"id": "pickle"} if where == "compressor" else [{"id": "pickle"}]
    (path / "data/state/.zarray").write_text(json.dumps(facts))
    with pytest.raises(DemonstrationError, match="data/state is packed by 'pickle'"):
        read_replay_buffer(path)


def lie(name: str = "data/state", **changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / name / ".zarray"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lie(shape=[30, 10**12], chunks=[7, 10**12]), r"a chunk of data/state has 28,000,000,0"),
        (lie(shape=[10**12, 5], chunks=[7, 5]), "data/state has 5 of its 142857142858 chunks"),
        (lie(shape=[35_000_000, 5], chunks=[7_000_000, 5]), "data/state has 700,000,000 bytes"),
        (lie("meta/episode_ends", shape=[10**9], chunks=[10**9]), "a chunk of meta/episode_ends"),
        (lie(shape=[-30, 5]), r"shape: got \[-30, 5\], expected 1 to 8 whole numbers"),
        (lie(shape=[1] * 1000), "shape: got .* expected 1 to 8"),
        (lie(shape=[30, 5.0]), "shape: got"),
        (lie(shape="x" * 10_000), "shape: got"),
        (lie(shape=[30]), r"shape is \(30,\), but chunks \(7, 5\)"),
        (lie(chunks=[0, 5]), "but chunks"),
        (lie(chunks=None), "chunks: got None"),
        (lie(dtype=[["a", "<f4"]]), "dtype: got"),
        (lie(dtype="(1000000000,)f8"), "dtype: got"),
        (lie(dtype="<V9999999"), "dtype: got"),
        (lie(compressor="x"), "cannot be read"),
        (lie(filters=[{"id": "zlib"}]), "data/state is packed by 'zlib', expected one of delta"),
        (lie(filters=[[]]), "cannot be read"),
        (lie(order="X" * 10_000), "cannot be read"),
        (lie(zarr_format=9), "cannot be read"),
        (lambda folder: (folder / "data/state/.zarray").write_text("{}"), "has no 'shape'"),
        (lambda folder: (folder / "data/state/.zarray").write_text("[" * 10**5), "too deep"),
        (lambda folder: (folder / "data/state/.zarray").write_text(" " * (5 << 20)), "larger"),
        (lambda folder: (folder / ".zgroup").write_text("[" * 10**5), "too deep"),
    ],
)
def test_an_array_that_says_it_is_larger_than_its_chunks_is_refused(
    spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    path = write_zarr(tmp_path / "d.zarr")
    spoil(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DemonstrationError, match=message) as refusal:
        read_replay_buffer(path)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400 + len(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


@pytest.mark.parametrize("codec", ["blosc", "bz2", "gzip", "lz4", "zlib", "zstd"])
def test_chunks_of_every_codec_are_read_but_no_bombs(codec: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(256, size=(30, 5), dtype=np.uint8)
    path, packer = write_zarr(tmp_path / "d.zarr"), numcodecs.get_codec({"id": codec})
    zarr.open_group(str(path), mode="a").create_dataset(
        "data/state", data=random, chunks=(7, 5), overwrite=True, compressor=packer,
        filters=[numcodecs.Delta("u1")],
    )  # fmt: skip
    found = read_replay_buffer(path, {"state": "data/state"}).dataset.observations["state"]
    assert np.array_equal(found[:, 0], random)
    bomb = bytes(packer.encode(bytes(1 << 20)))
    assert len(bomb) < 10_000
    (path / "data/state/2.0").write_bytes(bomb)
    with pytest.raises(DemonstrationError, match=r"cannot be read \(data/state/2.0: it has more"):
        read_replay_buffer(path, {"state": "data/state"})


# --- bags


def test_bags_become_rows_with_the_facts_of_their_interface(
    interface: Interface, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = demonstration(interface, 8)
    # No messages arrive during steps 3 to 5.
    since = START + 3 * interface.period_ns
    gap = range(since, since + 3 * interface.period_ns)
    with_gap = [sent for sent in demonstration(interface, 12) if sent.received_ns not in gap]
    custom = {"interface": json.dumps(interface.to_dict())}
    for name, messages, outcome in (
        ("1", whole, "success"), ("2", with_gap, ""), ("3", whole, "failure"),
    ):  # fmt: skip
        write_bag(tmp_path / "demos" / name, messages, custom={**custom, "outcome": outcome})
    convert(ConvertConfig(tmp_path / "demos", tmp_path / "lerobot", trim_idle=False))
    recorded = read_lerobot(tmp_path / "lerobot")
    data = recorded.dataset
    # The x of the tool is the step number.
    places = data.observations["tool"][:, -1, 0]
    found = [places[data.episodes == number].tolist() for number in range(3)]
    # In the gap the last command holds, and the last observation is fresh, for one step.
    assert found == [list(range(8)), [0, 1, 2, 2], list(range(6, 12))]
    bags = tmp_path / "demos"
    assert data.names == (f"{bags}/1", f"{bags}/2[0]", f"{bags}/2[1]")
    assert data.outcomes.tolist() == [1.0, 0.5, 0.5]
    assert (data.actions[:, 0, 0] == (places / 1000).astype(np.float32)).all()
    grey = data.observations["camera"].reshape(len(places), -1)
    assert (grey == places[:, None]).all()
    assert recorded.rate == interface.rate and recorded.robot == interface.name
    assert recorded.dimensions["action"] == interface.action.names
    told = capsys.readouterr().err
    assert "demos/2: has gaps; became 2 episodes" in told
    assert "demos/3: a failure, left out" in told


# --- images of another shape


@pytest.mark.parametrize("kind", ["PNG", "video", "zarr"])
def test_pictures_of_another_shape_become_what_the_interface_says(
    kind: str, interface: Interface, tmp_path: Path
) -> None:
    """Images twice as wide as high, in columns of four greys, for a camera of 16 x 16."""
    wide = np.repeat([40, 80, 120, 160], 8).astype(np.uint8)[None, :, None].repeat(16, 0)
    pictures = np.broadcast_to(wide.repeat(3, 2), (STEPS, 16, 32, 3))
    if kind == "zarr":
        path = write_zarr(tmp_path / "d.zarr", data__camera=pictures, data__img=None)
    else:
        data = dataset()
        data.observations["camera"] = np.ascontiguousarray(pictures[:, None])
        path = exported(tmp_path, data, video=kind == "video")
    expected = {
        "stretch": np.repeat([40, 80, 120, 160], 4)[None].repeat(16, 0),
        "crop": np.repeat([80, 120], 8)[None].repeat(16, 0),
        "letterbox": np.pad(np.repeat([40, 80, 120, 160], 4)[None].repeat(8, 0), ((4, 4), (0, 0))),
    }
    for resize, grey in expected.items():
        values = interface.to_dict()
        values["observation"]["camera"] |= {"size": [16, 16], "resize": resize}
        wanted = interface_from_dict(values, resize)
        found = read_source(path, wanted).dataset.observations["camera"]
        assert found.shape == (STEPS, 1, 16, 16, 3)
        off = abs(found[0, 0].astype(int) - grey[..., None])
        # H.264 does not keep edges exactly.
        assert np.median(off) <= 2 if kind == "video" else off.max() == 0


# --- the command


def test_nothing_is_overwritten_and_nothing_half_done_stays(tmp_path: Path) -> None:
    source = write_arrays(tmp_path, dataset())
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DemonstrationError, match="out: is there already; choose another"):
        convert(ConvertConfig(source, out, fps=10.0))
    out.rmdir()
    odd = dataset()
    odd.observations["camera"] = odd.observations["camera"][:, :, :15]
    with pytest.raises(DemonstrationError, match="16x15 can't be a video"):
        convert(ConvertConfig(write_arrays(tmp_path / "odd", odd), out, fps=10.0, video=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demos.npz", "odd"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out=x"], "doesn't say how many steps a second it has; give --fps"),
        (["--out=x.zarr"], "zarr is only read"),
        (["--out=x", "--fps=0"], "fps: got 0.0, expected a number above 0"),
        (["--out=x", "--fps=10", "--streams={a: b}"], "no stream 'b', only tool, grip, camera"),
        (["--out=x", "--fps=10", "--streams={a-b: tool}"], "a-b: a feature's name has letters"),
        (["--out=x.npz", "--interface=ur5e_push"], "has shape"),
        (
            ["--out=x", "--source=nowhere"],
            "no such folder of demonstrations; name a folder",
        ),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write_arrays(tmp_path, dataset())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([f"--source={source}", *arguments])
    told = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and message in told
    assert told.startswith("convert_demos: ") and "\n" not in told
    assert [p.name for p in tmp_path.iterdir()] == ["demos.npz"]


def test_the_rate_of_the_data_and_of_the_interface_must_agree(tmp_path: Path) -> None:
    with pytest.raises(DemonstrationError, match=r"fps: got 5, but .* has 10 steps per second"):
        convert(ConvertConfig(THEIRS, tmp_path / "x", fps=5.0))


def test_without_the_extra_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(
        DemonstrationError, match=r"needs the package pyarrow; .* pip install pyarrow"
    ):
        read_lerobot(THEIRS)


def test_names_of_episodes_must_be_one_each(tmp_path: Path) -> None:
    path = write_arrays(tmp_path, dataclasses.replace(dataset(), names=("a", "b")))
    with pytest.raises(
        DemonstrationError, match=r"names has shape \(2,\) of <U1, expected \(3,\)"
    ):
        load_arrays(path)
