"""Metadata of zarr format 2 arrays, and checks of their chunks."""

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

from ebm_policy_ros.training.data.dataset import DemonstrationError
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import cut, quote
from ebm_policy_ros.util.yaml_file import read_json

# Codecs that only transform bytes. Others, such as pickle, could execute code from a file.
_PACKERS = ("blosc", "bz2", "gzip", "lz4", "zlib", "zstd")
_FILTERS = ("delta", "shuffle")
_MOST_AXES = 8
# Bytes that compression may add to a chunk of noise, besides an eighth of its size.
_OVERHEAD = 4096


@dataclass(frozen=True)
class Declared:
    """An array as described by its .zarray."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    """Shape of a chunk."""
    itemsize: int
    """Size of a number in bytes."""
    packer: str
    """Codec of the chunks; empty for none."""

    @property
    def numbers(self) -> int:
        """Number of values in the array."""
        return math.prod(self.shape)

    @property
    def chunk_bytes(self) -> int:
        """Size of an uncompressed chunk in bytes."""
        return math.prod(self.chunks) * self.itemsize

    @property
    def count(self) -> int:
        """Number of chunks."""
        return math.prod(-(-n // size) for n, size in zip(self.shape, self.chunks, strict=True))


def check_array(folder: Path, name: str) -> Declared:
    """Read the metadata of an array, and refuse an array that is unsafe to read.

    Raises:
        FileNotFoundError: If there is no such array.
        DemonstrationError: If it is incomplete, too large, larger than its chunks can hold, or not
            of plain numbers.
    """
    array = _read_declaration(folder, name)
    if array.chunk_bytes > bounds.LARGEST_CHUNK:
        raise DemonstrationError(
            f"{folder}: a chunk of {name} has {array.chunk_bytes:,} bytes, expected at most "
            f"{bounds.LARGEST_CHUNK:,}; write it in smaller chunks"
        )
    files = [f for f in (folder / name).rglob("*") if f.is_file() and f.name[0] != "."]
    # Missing chunks would be read as zeros.
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
    """Refuse a chunk that decompresses to more than the declared size, before zarr reads it."""
    most = array.chunk_bytes
    try:
        # Compressed data is never much larger either.
        if file.stat().st_size > most + most // 8 + _OVERHEAD or _unpacks_to(file, array) > most:
            raise ValueError(f"it has more than the {most:,} bytes of a chunk")
    except Exception as error:  # damaged data can raise any error in the libraries
        raise DemonstrationError(
            f"{folder}: cannot be read ({cut(file.relative_to(folder))}: {cut(error)}); copy the "
            "folder again"
        ) from None


def _unpacks_to(file: Path, array: Declared) -> int:
    """Decompressed size of a chunk in bytes, or one more than the limit."""
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
    # The other codecs store the size in the header.
    if packer == "blosc":
        return int.from_bytes(data[4:8], "little")
    if packer == "lz4":
        return int.from_bytes(data[:4], "little")
    if packer == "zstd":
        import zstandard  # a machine that trains on packed arrays has none

        return int(zstandard.frame_content_size(data))  # -1 if unknown, which zarr refuses
    return len(data)
