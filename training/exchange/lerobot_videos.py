"""Videos of a LeRobotDataset: several episodes in sequence in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.training.data.dataset import DemonstrationError
from ebm_policy_ros.training.exchange import lerobot
from ebm_policy_ros.training.exchange.demonstrations import Size, check_memory

# As in lerobot: every second frame is a key frame, for fast random access.
_OPTIONS = ("-crf", "18", "-g", "2", "-threads", "1")


class VideoFile:
    """Writer of an H.264 video file."""

    def __init__(self, path: Path, height: int, width: int, rate: float) -> None:
        """Open a file for frames of one size at `rate` frames per second.

        Raises:
            DemonstrationError: If a side is odd, which this format does not allow.
        """
        if height % 2 or width % 2:
            raise DemonstrationError(
                f"images of {width}x{height} can't be a video, whose sides must be even; leave "
                "--video out"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._frames, self._rate = path, 0, rate
        self._stream: Any = imageio_ffmpeg.write_frames(
            str(path),
            (width, height),
            fps=rate,
            codec="libx264",
            quality=None,
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=list(_OPTIONS),
        )
        self._stream.send(None)

    @property
    def seconds(self) -> float:
        """Start time of the next frame, s."""
        return self._frames / self._rate

    @property
    def bytes(self) -> int:
        """Number of bytes written; the encoder may still hold frames."""
        return self._path.stat().st_size if self._path.exists() else 0

    def add(self, images: npt.NDArray[np.uint8]) -> None:
        """Append frames, shape (M, H, W, 3) rgb."""
        for image in images:
            self._stream.send(np.ascontiguousarray(image))
        self._frames += len(images)

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()


def read_videos(
    folder: Path,
    key: str,
    episodes: Mapping[str, Any],
    rate: float,
    size: Size | None,
) -> npt.NDArray[np.uint8]:
    """Read all frames of a feature, shape (M, 1, H, W, 3).

    Args:
        folder: Folder of the dataset.
        key: The feature.
        episodes: Columns of the episodes' table.
        rate: Frames per second.
        size: Size of the result; None for that of the videos.

    Raises:
        DemonstrationError: If a file is missing, damaged or too short.
    """
    images: npt.NDArray[np.uint8] | None = None
    for path, those in _files(folder, key, episodes).items():
        rows = _rows(key, episodes, those, rate)
        for number, frame in enumerate(_frames(path)):
            row = rows.pop(number, None)
            if row is None:
                continue
            image = size.fitted(frame) if size else frame
            if images is None:
                steps = sum(episodes["length"])
                check_memory(path, steps * image.nbytes)
                images = np.empty((steps, 1, *image.shape), np.uint8)
            if image.shape != images.shape[2:]:
                raise DemonstrationError(
                    f"{path}: {image.shape[1]}x{image.shape[0]} pixels, other videos have "
                    f"{images.shape[3]}x{images.shape[2]}; name a size with an interface"
                )
            images[row, 0] = image
        if rows:
            raise DemonstrationError(
                f"{path}: {len(rows)} frames are missing, the first is frame {min(rows)}; copy "
                "the file again"
            )
    assert images is not None
    return images


def _rows(
    key: str, episodes: Mapping[str, Any], those: Sequence[int], rate: float
) -> dict[int, int]:
    """Row of each frame of a file that contains the episodes `those`."""
    lengths = np.array(episodes["length"])
    starts = np.cumsum(lengths) - lengths
    found = {}
    for episode in those:
        first = round(float(episodes[f"videos/{key}/from_timestamp"][episode]) * rate)
        found.update({first + i: int(starts[episode]) + i for i in range(lengths[episode])})
    return found


def _files(folder: Path, key: str, episodes: Mapping[str, Any]) -> dict[Path, list[int]]:
    """Episodes in each file."""
    files: dict[Path, list[int]] = {}
    try:
        places = zip(
            episodes[f"videos/{key}/chunk_index"],
            episodes[f"videos/{key}/file_index"],
            strict=True,
        )
        for episode, (chunk, file) in enumerate(places):
            path = folder / lerobot.video_path(key, int(chunk), int(file))
            files.setdefault(path, []).append(episode)
    except (KeyError, TypeError):
        raise DemonstrationError(f"{folder}: its episodes don't say where {key} is") from None
    return files


def _frames(path: Path) -> Any:
    """Yield each frame of a video once, (H, W, 3) rgb, regardless of its timestamp."""
    if not path.is_file():
        raise DemonstrationError(f"{path}: no such video; copy the folder again")
    try:
        stream = imageio_ffmpeg.read_frames(
            str(path), pix_fmt="rgb24", output_params=["-fps_mode", "passthrough"]
        )
        width, height = next(stream)["size"]
        for frame in stream:
            yield np.frombuffer(frame, np.uint8).reshape(height, width, 3)
    except (OSError, RuntimeError, StopIteration) as error:
        problem = str(error).strip().splitlines()
        raise DemonstrationError(
            f"{path}: cannot be decoded ({problem[-1] if problem else 'nothing in it'})"
        ) from None
