"""Unpacks no more than it is asked for."""

from __future__ import annotations

import zstandard


def unpacked_zstd(data: bytes, most: int) -> bytes:
    """Unpack a frame of zstd that has at most so many bytes.

    Raises:
        ValueError: If it says that it has more.
        ZstdError: If it is damaged, or has more.
    """
    if zstandard.frame_content_size(data) > most:
        raise ValueError(f"unpacks to more than {most:,} bytes")
    return bytes(zstandard.ZstdDecompressor().decompress(data, max_output_size=most))
