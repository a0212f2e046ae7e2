"""Reader of LeRobotDataset v3.0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.images import decode_image_file
from ebm_policy_ros.training.data.arrays import finite_numbers
from ebm_policy_ros.training.data.dataset import Dataset, DemonstrationError
from ebm_policy_ros.training.exchange import lerobot
from ebm_policy_ros.training.exchange.demonstrations import (
    Recorded,
    Size,
    Sizes,
    check_memory,
    needed_module,
)
from ebm_policy_ros.training.exchange.lerobot_videos import read_videos
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import LONGEST_LINE, cut, quote

Numbers = npt.NDArray[Any]
# Largest difference of a timestamp from its nominal time, s; the value of lerobot.
_TOLERANCE = 1e-4


def read_lerobot(
    folder: Path,
    streams: Mapping[str, str] | None = None,
    sizes: Sizes | None = None,
) -> Recorded:
    """Read the folder of a LeRobotDataset v3.0.

    Args:
        folder: Folder with `meta`, `data` and optionally `videos`.
        streams: Stream to feature, as in {"tool": "observation.state"}; by default every feature
            `observation.NAME` or `observation.images.NAME` is the stream NAME.
        sizes: Target sizes of images, where they are to be resized.

    Raises:
        DemonstrationError: Naming the file or feature and what was expected.
    """
    info = lerobot.read_info(folder)
    features, rate = info["features"], float(info["fps"])
    streams = _chosen(folder, features, streams)
    kinds = {key: features[key]["dtype"] for key in (*streams.values(), lerobot.ACTION)}
    plain = [key for key, kind in kinds.items() if kind not in ("video", "image")]
    columns = _columns(folder, [*lerobot.COUNTERS, *plain])
    episodes = _episodes(folder)
    _check_steps(folder, columns, episodes, rate)
    observations: dict[str, Numbers] = {}
    for stream, key in streams.items():
        size = (sizes or {}).get(stream)
        if kinds[key] == "video":
            observations[stream] = read_videos(folder, key, episodes, rate, size)
        elif kinds[key] == "image":
            observations[stream] = _pictures(folder, key, sum(episodes["length"]), size)
        else:
            observations[stream] = _measured(folder, key, columns[key])
    tasks = _tasks(folder)
    first = columns["task_index"][columns["frame_index"] == 0]
    usual = [f"{folder.name}[{i}]" for i in range(len(first))]
    return Recorded(
        Dataset(
            observations=observations,
            actions=_measured(folder, lerobot.ACTION, columns[lerobot.ACTION]),
            episodes=columns["episode_index"].astype(np.int64),
            names=tuple(episodes.get(lerobot.NAME, usual)),
            outcomes=np.array(episodes.get(lerobot.OUTCOME, np.ones(len(first))), np.float64),
        ),
        rate=rate,
        tasks=tuple(tasks.get(int(index), "") for index in first),
        robot=cut(info.get("robot_type") or ""),
        dimensions=_dimensions({**streams, lerobot.ACTION: lerobot.ACTION}, features),
    )


def _chosen(
    folder: Path, features: Mapping[str, Any], streams: Mapping[str, str] | None
) -> dict[str, str]:
    """Map from stream to feature."""
    chosen = (
        {lerobot.stream_of(k): k for k in features if k.startswith(lerobot.OBSERVATION)}
        if streams is None
        else dict(streams)
    )
    there = cut(", ".join(features), LONGEST_LINE)
    for key in (lerobot.ACTION, *chosen.values()):
        if key not in features:
            raise DemonstrationError(f"{folder}: no feature {quote(key)}, only {there}")
    if not chosen:
        raise DemonstrationError(
            f"{folder}: no feature observation.NAME among {there}; name the streams"
        )
    return chosen


def _tables(folder: Path, below: str, columns: Sequence[str] | None) -> Iterator[Any]:
    """Yield the parquet files of a folder in order, with those columns that they have.

    None selects all columns except statistics.
    """
    parquet = needed_module("pyarrow.parquet", f"{folder}: the LeRobot format")
    paths = sorted((folder / below).glob("*/*.parquet"))
    if not paths:
        raise DemonstrationError(f"{folder / below}: no parquet files in it; copy it again")
    for path in paths:
        try:
            facts = parquet.read_metadata(path)
            present = facts.schema.to_arrow_schema().names
            chosen = [
                name
                for name in present
                if (name in columns if columns is not None else not name.startswith("stats/"))
            ]
            _check_size(path, facts, chosen)
            yield parquet.read_table(path, columns=chosen)
        except DemonstrationError:
            raise
        except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
            raise DemonstrationError(f"{path}: cannot be read ({cut(error)})") from None


def _check_size(path: Path, facts: Any, columns: Sequence[str]) -> None:
    """Refuse a table whose declared size exceeds what its file's size or the memory allows.

    Args:
        path: The file.
        facts: Metadata of the file, as read by pyarrow.
        columns: Columns to be read.
    """
    parts = [facts.row_group(i) for i in range(facts.num_row_groups)]
    told = [part.column(i) for part in parts for i in range(part.num_columns)]
    told = [column for column in told if column.path_in_schema.split(".")[0] in columns]
    size = sum(column.total_uncompressed_size for column in told)
    most = bounds.most_unpacked(path.stat().st_size)
    if size > most:
        raise DemonstrationError(
            f"{path}: it says it has {size:,} bytes, expected at most {most:,} of a file of this "
            "size"
        )
    # Equal values compress to almost nothing, but take eight bytes each in memory.
    check_memory(path, size + 8 * sum(column.num_values for column in told))


def _columns(folder: Path, names: list[str]) -> dict[str, Numbers]:
    """Columns of numbers, shape (M,) or (M, K) each."""
    parts: dict[str, list[Numbers]] = {name: [] for name in names}
    for table in _tables(folder, lerobot.DATA, names):
        missing = [name for name in names if name not in table.column_names]
        if missing:
            raise DemonstrationError(f"{folder}: a file in data has no column {missing[0]!r}")
        for name in names:
            parts[name].append(_array(folder, name, table.column(name)))
    try:
        return {name: np.concatenate(found) for name, found in parts.items()}
    except ValueError as error:
        raise DemonstrationError(f"{folder}: files of other shapes ({error})") from None


def _array(folder: Path, name: str, column: Any) -> Numbers:
    """Convert a column of numbers, or of (nested) lists of equal length, to an array."""
    values = column.combine_chunks()
    while True:
        values = getattr(values, "storage", values)  # extension types of the package datasets
        if values.null_count:
            raise DemonstrationError(f"{folder}: {name} has steps without a value")
        if not hasattr(values, "value_lengths"):
            break
        if len(np.unique(values.value_lengths().to_numpy(zero_copy_only=False))) > 1:
            raise DemonstrationError(f"{folder}: {name} doesn't have the same size in every step")
        values = values.flatten()
    flat: Numbers = values.to_numpy(zero_copy_only=False)
    if flat.dtype.kind not in "fiub":
        raise DemonstrationError(f"{folder}: {name} holds {values.type}, expected numbers")
    return flat.reshape(len(column), -1) if len(flat) > len(column) else flat


def _pictures(folder: Path, key: str, steps: int, size: Size | None) -> npt.NDArray[np.uint8]:
    """Images stored in the rows, shape (M, 1, H, W, 3)."""
    images: npt.NDArray[np.uint8] | None = None
    row = 0
    for table in _tables(folder, lerobot.DATA, [key]):
        for cell in table.column(key):
            image = _picture(folder, key, row, cell.as_py(), size)
            if images is None:
                check_memory(folder, steps * image.nbytes)
                images = np.empty((steps, 1, *image.shape), np.uint8)
            if image.shape != images.shape[2:]:
                raise DemonstrationError(
                    f"{folder}: {key} has another size in row {row}; name one with an interface"
                )
            images[row, 0] = image
            row += 1
    assert images is not None
    return images


def _picture(
    folder: Path, key: str, row: int, cell: Any, size: Size | None
) -> npt.NDArray[np.uint8]:
    data = cell.get("bytes") if isinstance(cell, dict) else None
    try:
        image = decode_image_file(data or b"")
        return size.fitted(image) if size else image
    except MessageError as error:
        raise DemonstrationError(f"{folder}: {key} in row {row}: {error}") from None


def _measured(folder: Path, name: str, values: Numbers) -> npt.NDArray[np.float32]:
    """Values as finite float32, shape (M, 1, K)."""
    return finite_numbers(folder, name, values.reshape(len(values), 1, -1))


def _episodes(folder: Path) -> dict[str, list[Any]]:
    """Columns of the episodes' table in order of the episodes, without statistics."""
    columns: dict[str, list[Any]] = {}
    for table in _tables(folder, lerobot.EPISODES, None):
        for name in table.column_names:
            columns.setdefault(name, []).extend(table.column(name).to_pylist())
    for name in ("episode_index", "length"):
        whole = all(isinstance(value, int) and value >= 0 for value in columns.get(name, [None]))
        if not whole:
            raise DemonstrationError(
                f"{folder / lerobot.EPISODES}: no column {name!r} of whole numbers"
            )
    if columns["episode_index"] != list(range(len(columns["episode_index"]))):
        raise DemonstrationError(f"{folder / lerobot.EPISODES}: episodes are missing or doubled")
    return columns


def _check_steps(
    folder: Path, columns: Mapping[str, Numbers], episodes: Mapping[str, Any], rate: float
) -> None:
    """Refuse rows that are missing, out of order, or not one period apart."""
    for name in lerobot.COUNTERS:
        if columns[name].ndim != 1:
            raise DemonstrationError(f"{folder}: {name} has several values a row, expected one")
    rows, told = len(columns["index"]), sum(episodes["length"])
    if rows != told:
        raise DemonstrationError(
            f"{folder}: data has {rows} rows, its episodes {cut(told)}; copy the folder again"
        )
    lengths = np.array(episodes["length"])
    place = np.concatenate([np.arange(length) for length in lengths])
    expected = {
        "index": np.arange(len(place)),
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "frame_index": place,
    }
    for name, right in expected.items():
        wrong = np.flatnonzero(columns[name] != right)
        if len(wrong):
            row = int(wrong[0])
            raise DemonstrationError(
                f"{folder}: row {row} has {name} {columns[name][row]}, expected {right[row]}"
            )
    # The resolution of float32 decreases with the time.
    allowed = _TOLERANCE + np.spacing((place / rate).astype(np.float32))
    late = np.flatnonzero(~(np.abs(columns["timestamp"] - place / rate) <= allowed))
    if len(late):
        row = int(late[0])
        raise DemonstrationError(
            f"{folder}: step {place[row]} of episode {expected['episode_index'][row]} is at "
            f"{columns['timestamp'][row]:.4f} s, expected {place[row] / rate:.4f} s at {rate:g} Hz"
        )


def _tasks(folder: Path) -> dict[int, str]:
    """Task description by index."""
    parquet = needed_module("pyarrow.parquet", f"{folder}: the LeRobot format")
    path = folder / lerobot.TASKS
    try:
        facts = parquet.read_metadata(path)
        _check_size(path, facts, facts.schema.to_arrow_schema().names)
        table = parquet.read_table(path)
        (text,) = [name for name in table.column_names if name != "task_index"]
        numbers, texts = table.column("task_index").to_pylist(), table.column(text).to_pylist()
    except DemonstrationError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise DemonstrationError(f"{path}: cannot be read ({cut(error)})") from None
    return dict(zip(numbers, map(str, texts), strict=True))


def _dimensions(
    keys: Mapping[str, str], features: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    """Names of the dimensions of measurements and actions, where the features have them."""
    found = {}
    for name, key in keys.items():
        names = features[key].get("names")
        if isinstance(names, dict):  # {"motors": [...]}
            names = next(iter(names.values()), None)
        if isinstance(names, list) and features[key]["dtype"] not in ("video", "image"):
            found[name] = tuple(map(str, names))
    return found
