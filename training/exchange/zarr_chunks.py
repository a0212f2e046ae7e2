"""What arrays of zarr format 2 say of themselves, and whether their chunks keep to it."""

from __future__ import annotations

import bz2
import gzip
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from ebm_policy_ros.training.data.batches import DemonstrationError
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import cut, quote
from ebm_policy_ros.util.yaml_file import read_json

# Codecs that only turn bytes into bytes. Others, pickle above all, could run what a file says.
_PACKERS = ("blosc", "bz2", "gzip", "lz4", "zlib", "zstd")
_FILTERS = ("delta", "shuffle")
_MOST_AXES = 8
# Bytes that packing may add to a chunk of noise, besides an eighth.
_OVERHEAD = 4096


@dataclass(frozen=True)
class Declared:
    """An array as its .zarray describes it."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    """Shape of a chunk."""
    itemsize: int
    """Bytes of a number."""
    packer: str
    """The codec of the chunks; empty for none."""

    @property
    def numbers(self) -> int:
        """How many there are in the array."""
        return math.prod(self.shape)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of an unpacked chunk."""
        return math.prod(self.chunks) * self.itemsize

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return math.prod(-(-n // size) for n, size in zip(self.shape, self.chunks, strict=True))


def check_array(folder: Path, name: str) -> Declared:
    """Read what an array says of itself, and refuse what reading it should not be tried of.

    Raises:
        FileNotFoundError: If there is no such array.
        DemonstrationError: If it is incomplete, too large, larger than its chunks can hold, or of
            something else than plain numbers.
    """
    array = _read_declaration(folder, name)
    if array.chunk_bytes > bounds.LARGEST_CHUNK:
        raise DemonstrationError(
            f"{folder}: a chunk of {name} has {array.chunk_bytes:,} bytes, expected at most "
            f"{bounds.LARGEST_CHUNK:,}; write it in smaller chunks"
        )
    files = [f for f in (folder / name).rglob("*") if f.is_file() and f.name[0] != "."]
    # What is missing would be read as zeros.
    if len(files) < array.count:
        raise DemonstrationError(
            f"{folder}: {name} has {len(files)} of its {array.count} chunks; copy the folder again"
        )
    packed = sum(file.stat().st_size for file in files)
    size, most = array.numbers * array.itemsize, bounds.most_unpacked(packed)
    if size > most:
        raise DemonstrationError(
            f"{folder}: {name} has {size:,} bytes, expected at most {most:,} of chunks of this "
            "size"
        )
    for file in files:
        _check_chunk(folder, file, array)
    return array


def _read_declaration(folder: Path, name: str) -> Declared:
    try:
        facts = read_json(folder / name / ".zarray")
        shape, chunks = (_sizes(facts, key) for key in ("shape", "chunks"))
        if len(shape) != len(chunks) or 0 in chunks:
            raise ValueError(f"shape is {cut(shape)}, but chunks {cut(chunks)}")
        if not re.fullmatch(r"[<>|][a-zA-Z]\d{0,6}", str(facts["dtype"])):
            raise ValueError(f"dtype: got {quote(facts['dtype'])}, expected one like '<f4'")
        dtype = np.dtype(facts["dtype"])
        packer = facts["compressor"]["id"] if facts["compressor"] else ""
        filters = [one["id"] for one in facts["filters"] or ()]
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(name) from None
    except KeyError as error:
        raise DemonstrationError(
            f"{folder}: {name}/.zarray cannot be read (it has no {cut(error)})"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise DemonstrationError(
            f"{folder}: {name}/.zarray cannot be read ({cut(error, 160)})"
        ) from None
    if dtype.kind not in "fiub":
        raise DemonstrationError(f"{folder}: {name} holds {dtype}, expected plain numbers")
    for codec, known in ((packer, ("", *_PACKERS)), *((f, _FILTERS) for f in filters)):
        if codec not in known:
            raise DemonstrationError(
                f"{folder}: {name} is packed by {quote(codec)}, expected one of "
                f"{', '.join(filter(None, known))}"
            )
    return Declared(shape, chunks, dtype.itemsize, packer)


def _sizes(facts: Any, key: str) -> tuple[int, ...]:
    values = facts[key]
    valid = isinstance(values, list) and 0 < len(values) <= _MOST_AXES
    if not valid or not all(type(n) is int and 0 <= n <= bounds.LARGEST_WHOLE for n in values):
        raise ValueError(
            f"{key}: got {quote(values)}, expected 1 to {_MOST_AXES} whole numbers from 0 on"
        )
    return tuple(values)


def _check_chunk(folder: Path, file: Path, array: Declared) -> None:
    """Refuse a chunk that unpacks to more than it is told to have, before zarr unpacks it."""
    most = array.chunk_bytes
    try:
        # Not even what is packed needs much more.
        if file.stat().st_size > most + most // 8 + _OVERHEAD or _unpacks_to(file, array) > most:
            raise ValueError(f"it has more than the {most:,} bytes of a chunk")
    except Exception as error:  # whatever the libraries meet in damaged bytes
        raise DemonstrationError(
            f"{folder}: cannot be read ({cut(file.relative_to(folder))}: {cut(error)}); copy the "
            "folder again"
        ) from None


def _unpacks_to(file: Path, array: Declared) -> int:
    """Bytes that a chunk unpacks to, or one more than it may have."""
    packer, most = array.packer, array.chunk_bytes
    if packer == "gzip":
        with gzip.open(file) as stream:
            return len(stream.read(most + 1))
    if packer == "bz2":
        with bz2.open(file) as stream:
            return len(stream.read(most + 1))
    data = file.read_bytes()
    if packer == "zlib":
        return len(zlib.decompressobj().decompress(data, most + 1))
    # The others say it in front.
    if packer == "blosc":
        return int.from_bytes(data[4:8], "little")
    if packer == "lz4":
        return int.from_bytes(data[:4], "little")
    if packer == "zstd":
        return int(zstandard.frame_content_size(data))  # -1 if unknown, which zarr refuses
    return len(data)
