"""Where the package's launch and config files are, however it was installed."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = "ebm_policy_ros"


def share_directory() -> Path:
    """The folder with `config/` and `launch/`.

    A checkout and `pip install -e` have them beside the package; `pip install` and `colcon build`
    under a prefix.
    """
    package = Path(__file__).resolve().parent
    prefixes = [parent / "share" / _PACKAGE for parent in package.parents]
    prefixes.append(Path(sys.prefix) / "share" / _PACKAGE)
    for folder in (package.parent, *prefixes):
        if (folder / "config" / "interfaces").is_dir():
            return folder
    raise FileNotFoundError(f"no share/{_PACKAGE} above {package}; install the package again")
