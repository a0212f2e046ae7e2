"""Names of rclpy, launch and launch_ros that the package imports, and those that sources lack.

    python test/ros_names.py ~/rclpy/rclpy ~/launch/launch ~/launch_ros/launch_ros

Nothing of the sources is executed: they may be of a distribution for another Python.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from installing import ROOT

PACKAGES = ("rclpy", "launch", "launch_ros")


def used_names() -> dict[str, set[str]]:
    """Imported names by their module."""
    found: dict[str, set[str]] = {}
    folders = (ROOT / "ebm_policy_ros", ROOT / "sim", ROOT / "launch")
    for file in sorted(file for folder in folders for file in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
                assert node.module is not None
                found.setdefault(node.module, set()).update(alias.name for alias in node.names)
    return found


def defined_names(file: Path) -> Iterator[str]:
    """Names that a module defines or imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def lacking(names: Mapping[str, Iterable[str]], folders: Iterable[Path]) -> list[str]:
    """Names that the packages in some folders do not have, one line each.

    Args:
        names: Names by their module; modules of packages that are in none of the folders are left
            out.
        folders: Folders that contain the packages.
    """
    found = []
    for module, wanted in sorted(names.items()):
        package, *rest = module.split(".")
        for folder in (folder for folder in folders if (folder / package).is_dir()):
            place = (folder / package).joinpath(*rest)
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            known = set(defined_names(file)) if file.is_file() else set()
            known |= {path.stem for path in place.glob("*")}
            found += [f"{module}.{name}" for name in sorted(set(wanted) - known)]
    return found


def main() -> None:
    missing = lacking(used_names(), [Path(folder).expanduser() for folder in sys.argv[1:]])
    print("\n".join(missing) or "nothing is missing")
    sys.exit(bool(missing))


if __name__ == "__main__":
    main()
