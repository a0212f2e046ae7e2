"""Writer of LeRobotDataset v3.0."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ebm_policy_ros.messages.images import encode_png
from ebm_policy_ros.training.exchange import lerobot
from ebm_policy_ros.training.exchange.demonstrations import Recorded, needed_module
from ebm_policy_ros.training.exchange.lerobot_videos import VideoFile
from ebm_policy_ros.training.exchange.statistics import statistics_of

Columns = dict[str, npt.NDArray[Any]]

# Size limit of a file, and number of files in a folder, as in lerobot.
_DATA_MEGABYTES, _VIDEO_MEGABYTES, _FILES = 100, 200, 1000
_MEGABYTE = 2**20


def write_lerobot(folder: Path, recorded: Recorded, rate: float, video: bool) -> None:
    """Write the folder of a LeRobotDataset v3.0.

    A row holds one sample of each stream and one action: the newest sample and the first action.
    The others are in the rows before and after.

    Args:
        folder: Empty or missing folder.
        recorded: Demonstrations to write.
        rate: Steps per second, Hz.
        video: True for videos (H.264, lossy), False for PNG files in the rows (exact).

    Raises:
        DemonstrationError: If pyarrow is missing, or images have odd sides for a video.
    """
    _Writer(folder, recorded, rate, video).write()


class _Writer:
    def __init__(self, folder: Path, recorded: Recorded, rate: float, video: bool) -> None:
        what = f"{folder}: the LeRobot format"
        self._pa: Any = needed_module("pyarrow", what)
        self._parquet: Any = needed_module("pyarrow.parquet", what)
        self._folder, self._recorded, self._rate = folder, recorded, rate
        data = recorded.dataset
        self._columns: Columns = {lerobot.ACTION: data.actions[:, 0]}
        for name, values in data.observations.items():
            self._columns[lerobot.key_of(name, values.ndim == 5)] = values[:, -1]
        self._pictures = {key for key, v in self._columns.items() if v.ndim == 4}
        self._videos = self._pictures if video else set()
        # In order of first use.
        self._tasks = list(dict.fromkeys(recorded.tasks or [""]))
        self._file = 0
        self._table: Any = None
        self._open: dict[str, VideoFile] = {}

    def write(self) -> None:
        lengths = np.bincount(self._recorded.dataset.episodes)
        ends = np.cumsum(lengths)
        episodes = []
        try:
            for i in tqdm(range(len(ends)), "writing", unit=" episodes", dynamic_ncols=True):
                episodes.append(self._write_episode(i, slice(ends[i] - lengths[i], ends[i])))
        finally:
            self._close()
        self._write_episodes_table(episodes)
        self._write_tasks()
        everything = {**self._columns, **self._counters(slice(0, int(ends[-1])))}
        self._write_json(lerobot.STATS, {k: statistics_of(v) for k, v in everything.items()})
        self._write_json(lerobot.INFO, self._info(len(ends), int(ends[-1])))

    def _counters(self, rows: slice) -> Columns:
        """Counter columns of `rows`, which start and end at episode boundaries."""
        data = self._recorded.dataset
        lengths = np.bincount(data.episodes)
        starts = np.cumsum(lengths) - lengths
        index = np.arange(rows.start, rows.stop)
        episode = data.episodes[rows]
        place = index - starts[episode]
        tasks = np.array(
            [self._tasks.index(t) for t in self._recorded.tasks or [""] * len(starts)]
        )
        return {
            "timestamp": (place / self._rate).astype(np.float32),
            "frame_index": place,
            "episode_index": episode,
            "index": index,
            "task_index": tasks[episode],
        }

    def _write_episode(self, number: int, rows: slice) -> dict[str, Any]:
        """Append an episode to the current files.

        Returns:
            Its row in the episodes' table.
        """
        columns = {key: values[rows] for key, values in self._columns.items()}
        columns.update(self._counters(rows))
        self._begin_files(columns)
        at = {"chunk_index": self._file // _FILES, "file_index": self._file % _FILES}
        facts: dict[str, Any] = {
            "episode_index": number,
            "tasks": [self._tasks[int(columns["task_index"][0])]],
            "length": rows.stop - rows.start,
            lerobot.NAME: self._recorded.dataset.names[number],
            lerobot.OUTCOME: float(self._recorded.dataset.outcomes[number]),
            "dataset_from_index": int(rows.start),
            "dataset_to_index": int(rows.stop),
            **{f"data/{k}": v for k, v in at.items()},
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        for key, video in self._open.items():
            start = video.seconds
            video.add(columns[key])
            facts.update({f"videos/{key}/{k}": v for k, v in at.items()})
            facts[f"videos/{key}/from_timestamp"] = start
            facts[f"videos/{key}/to_timestamp"] = video.seconds
        self._table.write_table(self._arrow(columns))
        for key, values in columns.items():
            facts.update({f"stats/{key}/{k}": v for k, v in statistics_of(values).items()})
        return facts

    def _begin_files(self, columns: Columns) -> None:
        """Open new files if there are none, or the current ones are full."""
        if self._table is not None:
            full = self._path("data", "parquet").stat().st_size > _DATA_MEGABYTES * _MEGABYTE
            full |= any(v.bytes > _VIDEO_MEGABYTES * _MEGABYTE for v in self._open.values())
            if not full:
                return
            self._close()
            self._file += 1
        path = self._path("data", "parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        schema = self._arrow({key: values[:1] for key, values in columns.items()}).schema
        self._table = self._parquet.ParquetWriter(path, schema)
        for key in sorted(self._videos):
            height, width = columns[key].shape[1:3]
            video = self._path(f"videos/{key}", "mp4")
            self._open[key] = VideoFile(video, height, width, self._rate)

    def _path(self, below: str, suffix: str) -> Path:
        chunk, file = divmod(self._file, _FILES)
        return self._folder / below / f"{lerobot.FILE.format(chunk=chunk, file=file)}.{suffix}"

    def _close(self) -> None:
        for video in self._open.values():
            video.close()
        if self._table is not None:
            self._table.close()
        self._open, self._table = {}, None

    def _arrow(self, columns: Columns) -> Any:
        """Table of all columns except videos."""
        pa = self._pa
        arrays = {}
        for key, values in columns.items():
            if key in self._videos:
                continue
            if key in self._pictures:
                kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
                cells = [{"bytes": encode_png(image), "path": None} for image in values]
                arrays[key] = pa.array(cells, kind)
            elif values.ndim == 1 or values.shape[1] == 1:  # a single number is stored as a scalar
                arrays[key] = pa.array(values.reshape(-1))
            else:
                flat = pa.array(values.reshape(-1))
                arrays[key] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        return pa.table(arrays)

    def _write_episodes_table(self, episodes: Sequence[Mapping[str, Any]]) -> None:
        path = self._folder / lerobot.EPISODES / f"{lerobot.FILE.format(chunk=0, file=0)}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {key: [episode[key] for episode in episodes] for key in episodes[0]}
        self._parquet.write_table(self._pa.table(columns), path)

    def _write_tasks(self) -> None:
        text = "__index_level_0__"
        table = self._pa.table({"task_index": range(len(self._tasks)), text: self._tasks})
        # lerobot looks up a task in the index of a pandas table; this metadata marks the index.
        number = {"name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
        task = {"name": None, "pandas_type": "unicode", "numpy_type": "object"}
        marks = {
            "index_columns": [text],
            "column_indexes": [],
            "columns": [
                {**number, "field_name": "task_index", "metadata": None},
                {**task, "field_name": text, "metadata": None},
            ],
        }
        table = table.replace_schema_metadata({"pandas": json.dumps(marks)})
        self._parquet.write_table(table, self._folder / lerobot.TASKS)

    def _info(self, episodes: int, steps: int) -> dict[str, Any]:
        return {
            "codebase_version": lerobot.VERSION,
            "robot_type": self._recorded.robot or None,
            "total_episodes": episodes,
            "total_frames": steps,
            "total_tasks": len(self._tasks),
            "chunks_size": _FILES,
            "data_files_size_in_mb": _DATA_MEGABYTES,
            "video_files_size_in_mb": _VIDEO_MEGABYTES,
            "fps": int(self._rate) if self._rate == int(self._rate) else self._rate,
            "splits": {"train": f"0:{episodes}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
            if self._videos
            else None,
            "features": {
                **{key: self._feature(key) for key in self._columns},
                **{
                    key: {"dtype": kind, "shape": [1], "names": None}
                    for key, kind in lerobot.COUNTERS.items()
                },
            },
        }

    def _feature(self, key: str) -> dict[str, Any]:
        shape = list(self._columns[key].shape[1:])
        if key not in self._pictures:
            name = key if key == lerobot.ACTION else lerobot.stream_of(key)
            names = self._recorded.dimensions.get(name)
            return {"dtype": "float32", "shape": shape, "names": list(names) if names else None}
        kind = "video" if key in self._videos else "image"
        feature = {"dtype": kind, "shape": shape, "names": ["height", "width", "channels"]}
        if kind == "image":
            return feature
        facts = {
            "video.height": shape[0],
            "video.width": shape[1],
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": self._rate,
            "video.channels": 3,
            "has_audio": False,
        }
        return {**feature, "info": facts}

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=4, ensure_ascii=False), encoding="utf-8")
