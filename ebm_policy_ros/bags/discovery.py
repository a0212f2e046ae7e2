"""Discovery of bags in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ebm_policy_ros.bags.read_report import BagError

METADATA = "metadata.yaml"
COMPRESSED = ".zstd"
ENDINGS = (".mcap", ".db3")


def find_bags(folder: Path) -> list[Path]:
    """Find every bag below a folder, sorted by name: a folder of files, or a single file.

    Names that begin with a dot are skipped: they are unfinished episodes and caches.

    Raises:
        BagError: If there is none.
    """
    if not folder.is_dir():
        raise BagError(
            f"{folder}: no such folder of demonstrations; name a folder that contains bags"
        )
    by_folder: dict[Path, list[Path]] = {}
    strange = False
    for path in _walk(folder):
        if ending_of(path) or path.name == METADATA:
            by_folder.setdefault(path.parent, []).append(path)
        strange = strange or path.suffix == ".bag"
    bags: list[Path] = []
    for place, paths in by_folder.items():
        files = [path for path in paths if path.name != METADATA]
        one = len(files) < len(paths) or all(
            _is_part(path, place.resolve().name) for path in files
        )
        bags += [place] if one else files
    if not bags:
        cure = (
            "those of ROS 1 have to be converted with rosbags-convert"
            if strange
            else "record some with record_demos or recorder_node"
        )
        raise BagError(f"{folder}: no bags in it; {cure}")
    return sorted(bags)


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder, also through links, without hidden ones."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        # A link may lead back to one of its parent folders.
        folders[:] = [] if real in seen else sorted(n for n in folders if not n.startswith("."))
        if real not in seen:
            yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))
        seen.add(real)


def is_bag(path: Path) -> bool:
    """True if a path is that of a single bag."""
    if path.is_dir():
        return (path / METADATA).exists() or find_bags(path) == [path]
    return path.is_file() and ending_of(path) != ""


def ending_of(path: Path) -> str:
    """Suffix of a storage file, without that of compression; empty for other files."""
    name = path.name.removesuffix(COMPRESSED)
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def _is_part(path: Path, folder: str) -> bool:
    """True if the file name is one that rosbag2 gives to a part of a bag."""
    stem = path.name.removesuffix(COMPRESSED).removesuffix(ending_of(path))
    return re.fullmatch(re.escape(folder) + r"_\d+", stem) is not None
