"""Starts on an arm: a folder of pictures of where everything stands before a trial."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.images import decode_image_file, encode_png
from ebm_policy_ros.trials.files import write_whole
from ebm_policy_ros.trials.plan import NamedFile
from ebm_policy_ros.util.digest import sha256_of

Picture = npt.NDArray[np.uint8]
_ENDINGS = (".png", ".jpg", ".jpeg")
_MOST = 10_000


def find_starts(folder: Path) -> list[Path]:
    """Pictures of a folder in the order of their names; none if there is no such folder.

    Raises:
        ValueError: If two differ in the ending of their names alone, or there are too many.
    """
    if not folder.is_dir():
        return []
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() in _ENDINGS)
    found = [file for file in found if not file.name.startswith(".")]
    if len(found) > _MOST:
        raise ValueError(f"starts: {folder} has {len(found)} pictures, expected at most {_MOST}")
    names = [file.stem for file in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"starts: {folder} has two pictures named {name}; rename one")
    return found


def named_starts(folder: Path) -> tuple[NamedFile, ...]:
    """Starts of a folder, by the names and hashes of its pictures.

    Raises:
        ValueError: If a file is no picture; each is decoded, so that it does not end the trials.
    """
    starts = find_starts(folder)
    for file in starts:
        read_start(file)
    return tuple(NamedFile(file.stem, sha256_of(file)) for file in starts)


def read_start(path: Path) -> Picture:
    """Picture of a start, shape (H, W, 3), rgb.

    Raises:
        ValueError: If the file is no picture.
    """
    try:
        return decode_image_file(path.read_bytes())
    except MessageError as error:
        raise ValueError(f"{path}: {error}") from None


def add_start(folder: Path, picture: Picture) -> Path:
    """Write a picture as the last start of a folder, and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1 + len(find_starts(folder))
    while (path := folder / f"start_{number:03d}.png").exists():
        number += 1
    write_picture(path, picture)
    return path


def write_picture(path: Path, picture: Picture) -> None:
    """Write a picture as PNG, in place of the last one of this name."""
    write_whole(path, encode_png(picture))


def overlay(live: Picture, wanted: Picture) -> Picture:
    """Blend a wanted scene with the live picture, half and half; shape of the live one."""
    size = live.shape[1], live.shape[0]
    fitted = cv2.resize(wanted, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.addWeighted(live, 0.5, fitted, 0.5, 0.0), np.uint8)
