"""Reader of demonstrations in the zarr layout of Diffusion Policy (Chi et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.training.data.arrays import finite_numbers
from ebm_policy_ros.training.data.dataset import Dataset, DemonstrationError
from ebm_policy_ros.training.exchange.demonstrations import (
    Recorded,
    Size,
    Sizes,
    check_memory,
    needed_module,
)
from ebm_policy_ros.training.exchange.zarr_chunks import Declared, check_array
from ebm_policy_ros.util.quoting import LONGEST_LINE, cut
from ebm_policy_ros.util.yaml_file import read_json

ACTION = "data/action"
_ENDS = "meta/episode_ends"


def read_replay_buffer(
    folder: Path,
    streams: Mapping[str, str] | None = None,
    sizes: Sizes | None = None,
) -> Recorded:
    """Read a folder in zarr format 2: arrays `data/NAME` of M steps, and `meta/episode_ends`.

    An array (M, H, W, 3) holds images, also if its values from 0 to 255 are floats; any other
    array holds K numbers per step, whatever its shape. The format does not contain the rate.

    Args:
        folder: The .zarr folder.
        streams: Stream to array, as in {"state": "data/state"}; by default every array except the
            action is a stream with its own name.
        sizes: Target sizes of images, where they are to be resized.

    Raises:
        DemonstrationError: Naming the array and what was expected.
    """
    zarr = needed_module("zarr", f"{folder}: the zarr format")
    present = sorted(p.parent.name for p in folder.glob("data/*/.zarray"))
    if not present:
        raise DemonstrationError(f"{folder}: no arrays data/NAME of zarr format 2 in it")
    if streams is None:
        streams = {name: f"data/{name}" for name in present if f"data/{name}" != ACTION}
    names = dict.fromkeys((ACTION, _ENDS, *streams.values()))
    declared = {name: _checked(folder, name, present) for name in names}
    wanted = {source: (sizes or {}).get(stream) for stream, source in streams.items()}
    check_memory(folder, sum(_memory(a, wanted.get(n)) for n, a in declared.items()))
    try:
        if (folder / ".zgroup").exists():
            read_json(folder / ".zgroup")  # limits the size, which zarr does not
        root = zarr.open_group(str(folder), mode="r")
        ends = np.asarray(root[_ENDS][:])
        actions = _numbers(folder, ACTION, root[ACTION])
        _check_ends(folder, ends, len(actions))
        observations = {
            stream: _stream(folder, name, root[name], len(actions), (sizes or {}).get(stream))
            for stream, name in streams.items()
        }
    except DemonstrationError:
        raise
    except Exception as error:  # damaged data can raise any error in the library
        raise DemonstrationError(f"{folder}: cannot be read ({cut(error, 160)})") from None
    lengths = np.diff(ends, prepend=0)
    return Recorded(
        Dataset(
            observations=observations,
            actions=actions,
            episodes=np.repeat(np.arange(len(ends)), lengths),
            names=tuple(f"{folder.name}[{i}]" for i in range(len(ends))),
            outcomes=np.ones(len(ends)),
        )
    )


def _checked(folder: Path, name: str, present: list[str]) -> Declared:
    try:
        return check_array(folder, name)
    except FileNotFoundError:
        there = cut(", ".join(f"data/{n}" for n in present), LONGEST_LINE)
        raise DemonstrationError(f"{folder}: no array {cut(name)}, only {there}") from None


def _is_pictures(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[-1] == 3


def _memory(array: Declared, size: Size | None) -> int:
    """Bytes needed to read an array: images become uint8, other values float32."""
    if not _is_pictures(array.shape):
        return array.numbers * (array.itemsize + 4)
    steps, *pixels = array.shape
    height, width = size.shape if size else pixels[:2]
    part = min(steps, array.chunks[0]) * math.prod(pixels)
    return 3 * steps * height * width + part * (3 * array.itemsize + 1)


def _stream(
    folder: Path, name: str, array: Any, steps: int, size: Size | None
) -> npt.NDArray[Any]:
    """Read a stream, shape (M, 1, H, W, 3) or (M, 1, K)."""
    if array.shape[:1] != (steps,):
        raise DemonstrationError(
            f"{folder}: {name} has {array.shape[0]} steps, {ACTION} has {steps}"
        )
    if _is_pictures(array.shape):
        return _images(folder, name, array, size)
    return _numbers(folder, name, array)


def _check_ends(folder: Path, ends: npt.NDArray[Any], steps: int) -> None:
    rising = ends.ndim == 1 and len(ends) > 0 and (np.diff(ends, prepend=0) > 0).all()
    if not rising or ends.dtype.kind not in "iu" or ends[-1] != steps:
        raise DemonstrationError(
            f"{folder}: {_ENDS} is {np.array2string(ends, threshold=6)}, expected rising whole "
            f"numbers, the last of them {steps}, the steps of {ACTION}"
        )


def _numbers(folder: Path, name: str, array: Any) -> npt.NDArray[np.float32]:
    """Read an array of numbers, shape (M, 1, K)."""
    if len(array.shape) < 2 or 0 in array.shape:
        raise DemonstrationError(
            f"{folder}: {name} has shape {tuple(array.shape)}, expected (steps, numbers)"
        )
    values: npt.NDArray[Any] = array[:]
    return finite_numbers(folder, name, values.reshape(len(values), 1, -1))


def _images(folder: Path, name: str, array: Any, size: Size | None) -> npt.NDArray[np.uint8]:
    """Read an array of images, shape (M, 1, H, W, 3)."""
    steps, height, width, _ = array.shape
    images = np.empty((steps, 1, *(size.shape if size else (height, width)), 3), np.uint8)
    brightest = 0.0
    for start, values in _parts(array):
        if not ((values >= 0) & (values <= 255)).all():  # also refuses NaN
            raise DemonstrationError(
                f"{folder}: {name} has values outside 0 to 255 from step {start} on, expected rgb"
            )
        brightest = max(brightest, float(values.max()))
        for i, image in enumerate(np.rint(values).astype(np.uint8)):
            images[start + i, 0] = size.fitted(image) if size else image
    if brightest <= 1 and array.dtype.kind == "f":
        raise DemonstrationError(f"{folder}: {name} goes from 0 to 1, expected rgb from 0 to 255")
    return images


def _parts(array: Any) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield the array chunk by chunk, since images as floats may not fit into memory."""
    for start in range(0, array.shape[0], array.chunks[0]):
        yield start, array[start : start + array.chunks[0]]
