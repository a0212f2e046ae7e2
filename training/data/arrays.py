"""Demonstrations from a NumPy archive, for data that was not recorded as bags."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.device.malloc import available_memory
from ebm_policy_ros.training.data.dataset import Dataset, DemonstrationError
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import cut

OBSERVATION = "observation/"
_ENDING = ".npy"


def load_arrays(path: Path) -> Dataset:
    """Read demonstrations from an .npz file; M steps, E episodes.

    It holds these arrays:

    - `observation/STREAM`: (M, K) or (M, T, K) numbers, or (M, H, W, 3) or (M, T, H, W, 3) uint8
      rgb; T frames, oldest first;
    - `actions`: (M, D) or (M, H, D), H actions per decision;
    - `episode_ends`: (E,), one past the last step of each episode, increasing, the last one M;
    - `outcomes`, optional: (E,), quality of each episode, higher is better;
    - `names`, optional: (E,), source of each episode, as text;
    - `intents`, optional: (M,), a number for what the demonstrator is at, such as the phase;
    - `corrections`, optional: (M,), true for steps that a person commanded in an execution of a
      policy.

    Raises:
        DemonstrationError: Naming the file, the array and what was expected.
    """
    arrays = _read(path)
    for name in ("actions", "episode_ends"):
        if name not in arrays:
            raise DemonstrationError(
                f"{path}: no array {name!r}, only {cut(', '.join(sorted(arrays))) or 'none'}"
            )
    streams = {
        name.removeprefix(OBSERVATION): values
        for name, values in arrays.items()
        if name.startswith(OBSERVATION)
    }
    if not streams:
        raise DemonstrationError(f"{path}: no array {OBSERVATION}NAME; nothing to look at")
    actions = _with_time(path, "actions", arrays["actions"])
    observations = {
        name: _with_time(path, OBSERVATION + name, values) for name, values in streams.items()
    }
    for name, values in observations.items():
        if len(values) != len(actions):
            raise DemonstrationError(
                f"{path}: {OBSERVATION}{name} has {len(values)} steps, actions has "
                f"{len(actions)}; give both one row a step"
            )
    ends = _ends(path, arrays["episode_ends"], len(actions))
    usual = np.array([f"{path.name}[{i}]" for i in range(len(ends))])
    outcomes = _of_episodes(path, "outcomes", arrays.get("outcomes", np.ones(len(ends))), ends)
    names = _of_episodes(path, "names", arrays.get("names", usual), ends)
    lengths = np.diff(ends, prepend=0)
    return Dataset(
        observations=observations,
        actions=actions,
        episodes=np.repeat(np.arange(len(ends)), lengths),
        names=tuple(names.tolist()),
        outcomes=outcomes.astype(np.float64),
        intents=_intents(path, arrays.get("intents"), len(actions)),
        corrections=_corrections(path, arrays.get("corrections"), len(actions)),
    )


def save_arrays(path: Path, data: Dataset) -> None:
    """Write demonstrations in the format of `load_arrays`."""
    np.savez_compressed(
        path,
        allow_pickle=False,
        actions=data.actions,
        episode_ends=np.cumsum(np.bincount(data.episodes)),
        outcomes=data.outcomes,
        names=np.array(data.names),
        **({} if data.intents is None else {"intents": data.intents}),
        **({} if data.corrections is None else {"corrections": data.corrections}),
        **{OBSERVATION + name: values for name, values in data.observations.items()},
    )


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as archive:
            names = [name for name in archive.files if name + _ENDING in archive.zip.namelist()]
            return {name: archive[name] for name in names}
    except DemonstrationError:
        raise
    except OSError as error:
        raise DemonstrationError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (
        ValueError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        AttributeError,
        # From members with a password or an unknown compression, and from headers that are not
        # valid Python.
        RuntimeError,
        SyntaxError,
        MemoryError,
    ) as error:
        raise DemonstrationError(
            f"{path}: not a whole .npz file of plain arrays ({cut(error)}); write it with "
            "numpy.savez"
        ) from None


def _check_sizes(path: Path) -> None:
    """Refuse an archive that unpacks to more than its headers, its size or the memory allow.

    Raises:
        DemonstrationError: Naming the file and the size.
    """
    total = 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(_ENDING):
                continue
            size, there = _declared(archive, member)
            if size != there:
                raise ValueError(f"{cut(member.filename)} doesn't have the size that it says")
            total += size
    most = min(bounds.most_unpacked(path.stat().st_size), available_memory())
    if total > most:
        raise DemonstrationError(
            f"{path}: its arrays have {total:,} bytes, expected at most {most:,} of a file of "
            "this size in the memory that is free"
        )


def _declared(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, int]:
    """Size of an array in bytes, by its own header and by the archive's."""
    with archive.open(member) as file:
        try:
            major, _ = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
            read = (
                np.lib.format.read_array_header_1_0
                if major == 1
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(file)  # type: ignore[no-untyped-call]
        except Exception as error:  # a header is Python text and can fail in any way
            raise ValueError(f"{cut(member.filename)}: {cut(error)}") from None
        if dtype.hasobject:
            raise ValueError(f"{cut(member.filename)} holds Python objects")
        return math.prod(shape) * dtype.itemsize, member.file_size - file.tell()


def _with_time(path: Path, name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Add an axis of frames (or of actions in a decision) after the axis of steps, if missing."""
    name, picture = cut(name), values.dtype == np.uint8 and values.ndim >= 4
    single, several = (4, 5) if picture else (2, 3)
    if values.ndim not in (single, several) or (picture and values.shape[-1] != 3):
        raise DemonstrationError(
            f"{path}: {name} has shape {values.shape} of {values.dtype}, expected (steps, size) "
            "or (steps, frames, size) of numbers, or the same with (height, width, 3) of uint8"
        )
    if not picture and (values.dtype.kind not in "fiu" or values.dtype == np.uint8):
        raise DemonstrationError(
            f"{path}: {name} holds {values.dtype}, expected numbers (uint8 is for pictures, whose "
            "last axis is 3: rgb)"
        )
    if 0 in values.shape[1:]:
        raise DemonstrationError(f"{path}: {name} has shape {values.shape}, with nothing in it")
    if values.ndim == single:
        values = values[:, None]
    return values if picture else finite_numbers(path, name, values)


def finite_numbers(path: Path, name: str, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Convert values of M steps, shape (M, ...), to float32.

    Raises:
        DemonstrationError: Naming the source, the array and the first step that is not finite.
    """
    with np.errstate(over="ignore"):  # values that are too large become infinite
        numbers = values.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=tuple(range(1, numbers.ndim))))
    if len(bad):
        raise DemonstrationError(
            f"{path}: {name} is not a finite number in {len(bad)} steps, the first {bad[0]}"
        )
    return numbers


def _ends(path: Path, ends: npt.NDArray[Any], steps: int) -> npt.NDArray[np.int64]:
    valid = ends.ndim == 1 and len(ends) > 0 and ends.dtype.kind in "iu"
    if not valid or (np.diff(ends, prepend=0) <= 0).any() or ends[-1] != steps:
        raise DemonstrationError(
            f"{path}: episode_ends is {np.array2string(ends, threshold=6)}, expected rising whole "
            f"numbers, the last of them {steps}, the number of steps"
        )
    return ends.astype(np.int64)


def _intents(
    path: Path, labels: npt.NDArray[Any] | None, steps: int
) -> npt.NDArray[np.int64] | None:
    if labels is None:
        return None
    fits = labels.shape == (steps,) and labels.dtype.kind in "iu"
    if not fits or labels.min() < 0 or labels.max() >= bounds.MOST_INTENTS:
        raise DemonstrationError(
            f"{path}: intents has shape {labels.shape} of {labels.dtype}, expected ({steps},) "
            f"whole numbers, one for each step, from 0 to {bounds.MOST_INTENTS - 1}"
        )
    return labels.astype(np.int64)


def _corrections(
    path: Path, marks: npt.NDArray[Any] | None, steps: int
) -> npt.NDArray[np.bool_] | None:
    if marks is None:
        return None
    if marks.shape != (steps,) or marks.dtype.kind != "b":
        raise DemonstrationError(
            f"{path}: corrections has shape {marks.shape} of {marks.dtype}, expected ({steps},) "
            "of bool, true or false for each step"
        )
    return np.asarray(marks, np.bool_)


def _of_episodes(
    path: Path, name: str, values: npt.NDArray[Any], ends: npt.NDArray[np.int64]
) -> npt.NDArray[Any]:
    """Check the array of one value per episode: texts for names, numbers otherwise."""
    texts = name == "names"
    fits = values.dtype.kind in ("U" if texts else "fiub") and values.shape == ends.shape
    if not fits or not (texts or np.isfinite(values).all()):
        raise DemonstrationError(
            f"{path}: {name} has shape {values.shape} of {values.dtype}, expected {ends.shape} "
            f"{'texts' if texts else 'finite numbers'}, one for each episode"
        )
    return values
