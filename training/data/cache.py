"""Cache of decoded demonstrations, in memory-mapped files.

A folder for each interface holds one file for each stream, to which episodes are appended, and an
index with one line for each episode. A line is written after its episode, so an interrupt loses
only the unfinished episode. The folder can be deleted at any time.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.bags.bag import Bag
from ebm_policy_ros.interface import ImageStream, Interface
from ebm_policy_ros.training.data.episodes import Episode
from ebm_policy_ros.training.data.frame_sizes import Shapes
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.bounds import check_whole
from ebm_policy_ros.util.yaml_file import parse_json, read_json

# To be incremented whenever the same bag would give a different episode.
_VERSION = 6
# Outcome of an entry without steps.
_UNTAUGHT = "untaught"
_INDEX = "index.jsonl"
_INTERFACE = "interface.json"
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class CachedEpisode:
    """Location of an episode in the cache, and its metadata."""

    digest: str
    """Digest of the bag's content."""
    start: int
    """First step of the episode, counted over all episodes of the cache."""
    steps: int
    """Number of steps; 0 for an execution that gives nothing with this interface."""
    outcome: str
    notes: tuple[str, ...]
    shapes: Shapes


@dataclass(frozen=True)
class BagMetrics:
    """Metadata of a bag that needs no reading of messages."""

    digest: str
    """Digest of the content of its files."""
    outcome: str


class KnownBags:
    """Metrics of bags whose files have not changed, according to size and time."""

    def __init__(self, folder: Path) -> None:
        """Read the stored metrics; a file that cannot be read counts as empty.

        Args:
            folder: Folder of the caches.
        """
        self._path = folder / "bags.json"
        self._known: dict[str, Any] = {}
        if self._path.exists():
            with suppress(OSError, ValueError, TypeError):
                self._known = dict(read_json(self._path, bounds.LARGEST_INDEX))

    def find(self, bag: Path) -> BagMetrics | None:
        """Return the stored metrics of a bag; None if it has changed."""
        known = self._known.get(str(bag.resolve()))
        if not isinstance(known, dict) or known.get("files") != _signature(bag):
            return None
        return BagMetrics(str(known.get("digest")), str(known.get("outcome")))

    def note(self, bag: Path, metrics: BagMetrics) -> None:
        """Store the metrics of a bag; `save` writes them to disk."""
        self._known[str(bag.resolve())] = {"files": _signature(bag), **asdict(metrics)}

    def save(self) -> None:
        """Write the stored metrics atomically."""
        written = self._path.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps(self._known), encoding="utf-8")
        written.replace(self._path)


def look_at(bag: Path) -> BagMetrics:
    """Read the metrics of a bag from its files.

    Raises:
        BagError: If there is nothing to read.
    """
    total = hashlib.sha256()
    for path in _files(bag):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
        total.update(path.name.encode())
    return BagMetrics(total.hexdigest(), Bag(bag).custom.get("outcome", "unknown"))


def _files(bag: Path) -> list[Path]:
    return sorted(p for p in bag.iterdir() if p.is_file()) if bag.is_dir() else [bag]


def _signature(bag: Path) -> list[list[Any]]:
    stats = [(path.name, path.stat()) for path in _files(bag)]
    # The change time also reveals a modification time that was set back.
    return [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for name, s in stats]


class Cache:
    """Decoded episodes of one interface."""

    def __init__(self, folder: Path, interface: Interface) -> None:
        """Open the cache, or create it.

        Args:
            folder: Folder of the caches of all interfaces.
            interface: Interface that the bags are read with.
        """
        content = json.dumps({"version": _VERSION, **interface.to_dict()}, sort_keys=True)
        self._folder = folder / hashlib.sha256(content.encode()).hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        # Refuse links: the file behind a link would be truncated or overwritten.
        for path in (self._folder, *self._folder.iterdir()):
            if path.is_symlink():
                raise OSError(errno.ELOOP, "a link, expected a file of its own", str(path))
        (self._folder / _INTERFACE).write_text(content, encoding="utf-8")
        horizon, size = interface.action.horizon, len(interface.action.names)
        self._rows: dict[str, tuple[tuple[int, ...], str]] = {
            "actions": ((horizon, size), "<f4"),
            "times_ns": ((), "<i8"),
            "corrections": ((), "|b1"),
        }
        for name, stream in interface.observation.items():
            kind = "u1" if isinstance(stream, ImageStream) else "<f4"
            self._rows[f"observation.{name}"] = (stream.shape, kind)
        self._entries: dict[str, CachedEpisode] = {}

    def __iter__(self) -> Iterator[str]:
        """Digests of the cached bags."""
        return iter(self._entries)

    def __getitem__(self, digest: str) -> CachedEpisode:
        """Return the episode with this digest."""
        return self._entries[digest]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the cache, with the index read again after taking it."""
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{self._folder}: another process is writing; waiting", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            self._read_index()
            yield

    def add_untaught(self, digest: str, notes: tuple[str, ...]) -> None:
        """Note that an execution gives nothing with this interface; only while locked."""
        self._append(CachedEpisode(digest, self._steps, 0, _UNTAUGHT, notes, {}))

    def add(self, digest: str, episode: Episode) -> None:
        """Append an episode; only while locked."""
        entry = CachedEpisode(
            digest,
            self._steps,
            len(episode.actions),
            episode.outcome,
            episode.notes,
            dict(episode.shapes),
        )
        for name, (_, kind) in self._rows.items():
            with self._file(name).open("ab") as file:
                file.write(np.ascontiguousarray(_values(episode, name), dtype=kind).data)
        self._append(entry)

    def _append(self, entry: CachedEpisode) -> None:
        with (self._folder / _INDEX).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
        self._entries[entry.digest] = entry

    def array(self, name: str, entries: Sequence[CachedEpisode]) -> Array:
        """Return the rows of some episodes, one after the other.

        They are mapped if they are stored in this order without a gap, as after the first build;
        otherwise they are copied.

        Args:
            name: "actions", "times_ns", "corrections", or "observation." and the name of a stream.
            entries: Episodes, at least one.
        """
        shape, kind = self._rows[name]
        mapped = np.memmap(self._file(name), kind, "r", shape=(self._steps, *shape))
        ends = [entry.start + entry.steps for entry in entries]
        if all(e.start == end for e, end in zip(entries[1:], ends, strict=False)):
            return np.asarray(mapped[entries[0].start : ends[-1]])
        return np.concatenate([mapped[e.start : e.start + e.steps] for e in entries])

    @property
    def _steps(self) -> int:
        return max((e.start + e.steps for e in self._entries.values()), default=0)

    def _file(self, name: str) -> Path:
        return self._folder / f"{quote(name, safe='')}.bin"

    def _read_index(self) -> None:
        """Read all complete entries, and truncate data of an interrupted write."""
        path = self._folder / _INDEX
        text = path.read_bytes() if _is_small(path) else b""
        lines = text.decode(errors="replace").splitlines()
        self._entries = {}
        for line in lines:
            try:
                values = parse_json(line)
                check_whole("start", values["start"], self._steps, self._steps)
                check_whole("steps", values["steps"], int(values["outcome"] != _UNTAUGHT))
                entry = CachedEpisode(
                    str(values["digest"]),
                    values["start"],
                    values["steps"],
                    str(values["outcome"]),
                    tuple(map(str, values["notes"])),
                    {t: [(int(h), int(w)) for h, w in s] for t, s in values["shapes"].items()},
                )
            except (ValueError, TypeError, KeyError, AttributeError):
                break  # an incomplete line, or one of another program
            end = entry.start + entry.steps
            if any(end * self._row_bytes(n) > size for n, size in self._sizes().items()):
                break  # its data was not written to disk
            self._entries[entry.digest] = entry
        for name, size in self._sizes().items():
            if size > (whole := self._steps * self._row_bytes(name)):
                os.truncate(self._file(name), whole)
        if len(self._entries) < len(lines) or not _is_small(path):
            kept = "".join(json.dumps(asdict(e)) + "\n" for e in self._entries.values())
            path.write_text(kept, encoding="utf-8")

    def _row_bytes(self, name: str) -> int:
        shape, kind = self._rows[name]
        return int(np.prod(shape)) * np.dtype(kind).itemsize

    def _sizes(self) -> dict[str, int]:
        """Size of each file in bytes."""
        paths = {name: self._file(name) for name in self._rows}
        return {n: path.stat().st_size if path.exists() else 0 for n, path in paths.items()}


def _is_small(path: Path) -> bool:
    return path.exists() and path.stat().st_size <= bounds.LARGEST_INDEX


def _values(episode: Episode, name: str) -> Array:
    stream = name.partition(".")[2]
    values: Array = episode.observations[stream] if stream else getattr(episode, name)
    return values
