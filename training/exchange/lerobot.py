"""What a LeRobotDataset v3.0 is made of.

The format is that of the package lerobot (0.4.4: `lerobot/datasets/lerobot_dataset.py` and
`utils.py`): one row a step in parquet files, images in them or in videos, and in `meta/` the
features, statistics, tasks, and where each episode is.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ebm_policy_ros.training.data.batches import DemonstrationError

VERSION = "v3.0"
ACTION = "action"
OBSERVATION, IMAGES = "observation.", "observation.images."
FILE = "chunk-{chunk:03d}/file-{file:03d}"
DATA = "data"
EPISODES = "meta/episodes"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
# Columns of the episodes' table that are this package's own.
NAME, OUTCOME = "ebm_policy_ros/name", "ebm_policy_ros/outcome"

# Columns that count, in every dataset.
COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def video_path(key: str, chunk: int, file: int) -> str:
    """Of a video in the dataset's folder."""
    return f"videos/{key}/{FILE.format(chunk=chunk, file=file)}.mp4"


def stream_of(key: str) -> str:
    """What a stream is called if nobody says it: the feature without its prefix."""
    prefix = IMAGES if key.startswith(IMAGES) else OBSERVATION
    return re.sub(r"\W", "_", key.removeprefix(prefix))


def key_of(stream: str, picture: bool) -> str:
    """What a stream's feature is called.

    Raises:
        DemonstrationError: If the stream has a name that no feature may have.
    """
    if not re.fullmatch(r"\w+", stream):
        raise DemonstrationError(
            f"{stream}: a feature's name has letters, digits and _ only; rename the stream with "
            "--streams"
        )
    return f"{IMAGES if picture else OBSERVATION}{stream}"


def read_info(folder: Path) -> dict[str, Any]:
    """What `meta/info.json` says: `features`, `fps` and counts.

    Raises:
        DemonstrationError: If it can't be read, or is of another version.
    """
    path = folder / INFO
    try:
        info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version, features, fps = info["codebase_version"], info["features"], info["fps"]
        valid = all(isinstance(feature["dtype"], str) for feature in features.values())
        valid = valid and float(fps) > 0 and int(info["total_frames"]) > 0
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DemonstrationError(f"{path}: cannot be read ({error!r})") from None
    if not str(version).startswith("v3."):
        raise DemonstrationError(
            f"{path}: codebase_version {version!r}, expected v3.0; convert it with lerobot's "
            "convert_dataset_v21_to_v30"
        )
    if not valid:
        raise DemonstrationError(f"{path}: fps and total_frames must be above 0")
    strange = [key for key in features if not re.fullmatch(r"[\w.\-]+", key)]
    if strange:
        raise DemonstrationError(f"{path}: feature {strange[0]!r} has a name that is no file name")
    return info
