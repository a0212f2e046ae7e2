"""Layout of a LeRobotDataset v3.0.

The format is that of the package lerobot (0.4.4: `lerobot/datasets/lerobot_dataset.py` and
`utils.py`): one row per step in parquet files, images in the rows or in videos, and in `meta/` the
features, statistics, tasks and the location of each episode.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ebm_policy_ros.training.data.dataset import DemonstrationError
from ebm_policy_ros.util.bounds import LONGEST_NAME, check_number, check_whole
from ebm_policy_ros.util.quoting import LONGEST_LINE, cut, quote
from ebm_policy_ros.util.yaml_file import read_json

VERSION = "v3.0"
ACTION = "action"
OBSERVATION, IMAGES = "observation.", "observation.images."
FILE = "chunk-{chunk:03d}/file-{file:03d}"
DATA = "data"
EPISODES = "meta/episodes"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
_NEEDED = ("codebase_version", "features", "fps", "total_frames")
# Columns of the episodes' table that are specific to this package.
NAME, OUTCOME = "ebm_policy_ros/name", "ebm_policy_ros/outcome"

# Counter columns, present in every dataset.
COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def video_path(key: str, chunk: int, file: int) -> str:
    """Path of a video in the dataset's folder."""
    return f"videos/{key}/{FILE.format(chunk=chunk, file=file)}.mp4"


def stream_of(key: str) -> str:
    """Default stream name of a feature: its key without the prefix."""
    prefix = IMAGES if key.startswith(IMAGES) else OBSERVATION
    return re.sub(r"\W", "_", key.removeprefix(prefix))


def key_of(stream: str, picture: bool) -> str:
    """Feature key of a stream.

    Raises:
        DemonstrationError: If the stream's name is not allowed for a feature.
    """
    if not re.fullmatch(r"\w+", stream):
        raise DemonstrationError(
            f"{stream}: a feature's name has letters, digits and _ only; rename the stream with "
            "--streams"
        )
    return f"{IMAGES if picture else OBSERVATION}{stream}"


def read_info(folder: Path) -> dict[str, Any]:
    """Read `meta/info.json`: `features`, `fps` and counts.

    Raises:
        DemonstrationError: If it cannot be read, is incomplete, or is of another version.
    """
    path = folder / INFO
    try:
        info: dict[str, Any] = read_json(path)
        if not isinstance(info, dict):
            raise ValueError(f"got {quote(info)}, expected names and values")
        missing = [key for key in _NEEDED if key not in info]
        if missing:
            raise ValueError(f"it has no {missing[0]}; copy the folder again")
        version, features = info["codebase_version"], info["features"]
        if not str(version).startswith("v3."):
            raise ValueError(
                f"codebase_version {quote(version)}, expected v3.0; convert it with lerobot's "
                "convert_dataset_v21_to_v30"
            )
        check_number("fps", info["fps"], above_zero=True)
        check_whole("total_frames", info["total_frames"], 1)
        if not isinstance(features, dict):
            raise ValueError(f"features: got {quote(features)}, expected names and values")
        for key, feature in features.items():
            _check_feature(key, feature)
    except (OSError, ValueError) as error:
        raise DemonstrationError(f"{path}: {cut(error, LONGEST_LINE)}") from None
    return info


def _check_feature(key: str, feature: Any) -> None:
    """Refuse a feature whose name is not a file name, or that has no dtype."""
    if not re.fullmatch(r"[\w.\-]+", key) or len(key) > LONGEST_NAME:
        raise ValueError(f"feature {quote(key)} has a name that is no file name")
    if not isinstance(feature, dict) or not isinstance(feature.get("dtype"), str):
        raise ValueError(f"features.{key}: got {quote(feature)}, expected a dtype in it")
