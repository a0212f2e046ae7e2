"""Exclude lists: text files of bags that training leaves out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ebm_policy_ros.bags.read_report import BagError

_COMMENT = re.compile(r"(^|\s)#.*")


def read_exclusions(path: Path, folder: Path, bags: Sequence[Path]) -> frozenset[Path]:
    """Read the bags that a list names.

    Args:
        path: The list: one bag per line, relative to the folder. A # at the beginning of a line or
            after a space starts a comment.
        folder: Folder of the demonstrations.
        bags: Bags in the folder.

    Raises:
        BagError: If the list cannot be read, or names a bag that does not exist: a typing error
            must not keep a bag in the training.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise BagError(f"{path}: cannot read the exclude list ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BagError(f"{path}: not a text file; expected a bag on each line") from None
    excluded = set()
    for number, line in enumerate(lines, 1):
        name = _COMMENT.sub("", line).strip()
        if name and folder / name not in bags:
            raise BagError(
                f"{path}, line {number}: there is no bag {name!r} in {folder}; expected one as "
                f"{bags[0].relative_to(folder)}"
            )
        if name:
            excluded.add(folder / name)
    return frozenset(excluded)
