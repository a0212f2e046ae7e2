"""Decompression with a limit on the size of the result."""

from __future__ import annotations

import zstandard


def unpacked_zstd(data: bytes, most: int) -> bytes:
    """Decompress a zstd frame of at most `most` bytes.

    Raises:
        ValueError: If the frame declares a larger size.
        ZstdError: If it is damaged, or larger.
    """
    if zstandard.frame_content_size(data) > most:
        raise ValueError(f"unpacks to more than {most:,} bytes")
    return bytes(zstandard.ZstdDecompressor().decompress(data, max_output_size=most))
