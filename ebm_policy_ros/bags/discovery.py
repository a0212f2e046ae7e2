"""Which files are bags."""

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
    """Every bag below a folder, in order of name: a folder of files, or a file alone.

    Names that begin with a dot are passed over: unfinished episodes and caches are there.

    Raises:
        BagError: If there is none.
    """
    if not folder.is_dir():
        raise BagError(f"{folder}: no such folder of demonstrations")
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
    """The files below a folder, also behind links, without hidden ones."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        # A link may lead back to where it is.
        folders[:] = [] if real in seen else sorted(n for n in folders if not n.startswith("."))
        if real not in seen:
            yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))
        seen.add(real)


def is_bag(path: Path) -> bool:
    """Whether a path is that of a single bag."""
    if path.is_dir():
        return (path / METADATA).exists() or find_bags(path) == [path]
    return path.is_file() and ending_of(path) != ""


def ending_of(path: Path) -> str:
    """The ending of a file of messages, without that of compression; empty for other files."""
    name = path.name.removesuffix(COMPRESSED)
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def _is_part(path: Path, folder: str) -> bool:
    """Whether rosbag2 would call the first or a further file of a bag so."""
    stem = path.name.removesuffix(COMPRESSED).removesuffix(ending_of(path))
    return re.fullmatch(re.escape(folder) + r"_\d+", stem) is not None
