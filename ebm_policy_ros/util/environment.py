"""Mistakes in the ROS 2 environment of a process, found before ROS is imported.

Without a check they end in a traceback of the loader, far from their cause.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path


def refuse_wrong_environment(name: str) -> None:
    """Exit with code 2, after one line with the cure, if ROS cannot work in this process.

    Args:
        name: Name of the executable.
    """
    if (mistake := environment_mistake(os.environ, sys.path)) is not None:
        print(f"{name}: {mistake}", file=sys.stderr)
        sys.exit(2)


def environment_mistake(environment: Mapping[str, str], path: Sequence[str]) -> str | None:
    """Line about the first mistake: what, where, what was expected, what to do; None without one.

    Args:
        environment: Environment variables of the process.
        path: Folders in which it searches for modules, as in sys.path.
    """
    listed = environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    prefixes = [Path(prefix) for prefix in listed if prefix]
    folders = list(dict.fromkeys(Path(entry).resolve() for entry in path))
    # Path.is_file would raise an error for a folder that may not be read.
    places = [folder for folder in folders if os.path.isfile(folder / "rclpy" / "__init__.py")]
    return (
        _two_distributions(prefixes)
        or _wheels_and_distribution(places)
        or _no_rclpy(places)
        or _other_python(places)
        or _missing_middleware(environment.get("RMW_IMPLEMENTATION", ""), prefixes, places)
        or _newer_numpy(folders)
    )


def _two_distributions(prefixes: Sequence[Path]) -> str | None:
    found: dict[str, Path] = {}
    for prefix in prefixes:
        # Package ros_environment, which sets ROS_DISTRO: "set;ROS_DISTRO;jazzy".
        hook = prefix / "share" / "ros_environment" / "environment" / "1.ros_distro.dsv"
        if os.path.isfile(hook):
            found.setdefault(hook.read_text(encoding="utf-8").strip().split(";")[-1], prefix)
    if len(found) < 2:
        return None
    return (
        f"AMENT_PREFIX_PATH has {len(found)} ROS 2 distributions, "
        f"{' and '.join(map(str, found.values()))}, expected one; open a new terminal and source "
        "one setup.bash only (look into ~/.bashrc, too)"
    )


def _wheels_and_distribution(places: Sequence[Path]) -> str | None:
    wheels = [place for place in places if any(place.glob("ros_rclpy-*.dist-info"))]
    others = [place for place in places if place not in wheels]
    if not wheels or not others:
        return None
    return (
        f"rclpy is found twice, as a wheel in {wheels[0]} and of a distribution in {others[0]}, "
        "expected one of them; open a terminal in which no distribution is sourced, or stay in "
        "this one and renew the environment: make clean setup"
    )


def _no_rclpy(places: Sequence[Path]) -> str | None:
    if places:
        return None
    return (
        f"{sys.executable} finds no rclpy; source a distribution, as in "
        "`source /opt/ros/jazzy/setup.bash`, or activate the environment of `make setup`"
    )


def _other_python(places: Sequence[Path]) -> str | None:
    files = (places[0] / "rclpy").glob("_rclpy_pybind11*.so")
    suffixes = [file.name.removeprefix("_rclpy_pybind11") for file in files]
    if not suffixes or set(suffixes) & set(EXTENSION_SUFFIXES):
        return None
    built = re.search(r"cpython-3(\d+)", suffixes[0])
    version = f"3.{built[1]}" if built else "another version"
    return (
        f"rclpy in {places[0]} is built for Python {version}, this is Python "
        f"{sys.version_info.major}.{sys.version_info.minor} ({sys.executable}); use that version, "
        "or create the virtual environment anew with it"
    )


def _missing_middleware(name: str, prefixes: Sequence[Path], places: Sequence[Path]) -> str | None:
    index = "share/ament_index/resource_index/rmw_typesupport/*"
    # Wheels have theirs in the virtual environment: rclpy is in its lib/python3.x/site-packages.
    roots = [*prefixes, *list(places[0].parents)[2:3]]
    found = {entry.name for root in roots for entry in root.glob(index)}
    installed = sorted(found - {"rmw_implementation"})
    if not name or not installed or name in installed:
        return None
    # librmw_implementation loads the library of that name, registered or not. It does not exist
    # where it was built with one middleware alone, as for the wheels: rcl is linked to that one,
    # and ends the process at any other name.
    if _is_loadable("rmw_implementation") and _is_loadable(name):
        return None
    return (
        f"RMW_IMPLEMENTATION is {name!r}, which ROS cannot load here, expected "
        f"{' or '.join(installed)}; unset RMW_IMPLEMENTATION, or install that package"
    )


def _is_loadable(library: str) -> bool:
    try:
        ctypes.CDLL(f"lib{library}.so")
    except OSError:
        return False
    return True


def _newer_numpy(folders: Sequence[Path]) -> str | None:
    versions = {folder: version for folder in folders if (version := _numpy_version(folder))}
    if not versions:
        return None
    used, version = next(iter(versions.items()))
    opencv = next((folder for folder in folders if any(folder.glob("cv2*"))), None)
    # Only Debian's own packages are in lib/python3/; they are compiled with the NumPy beside them.
    if opencv is None or opencv.parts[-3:] != ("lib", "python3", "dist-packages"):
        return None
    compiled = versions.get(opencv)
    if compiled is None or int(compiled.split(".")[0]) >= 2 or int(version.split(".")[0]) < 2:
        return None
    return (
        f"NumPy {version} in {used} hides NumPy {compiled}, with which OpenCV in {opencv} is "
        "compiled; remove it: pip uninstall numpy; or install OpenCV beside it: pip install "
        "opencv-python"
    )


def _numpy_version(folder: Path) -> str | None:
    """Version of the NumPy that is installed in a folder."""
    info = next(folder.glob("numpy-[0-9]*-info"), None)
    found = info and re.match(r"numpy-(\d[\d.]*\d)", info.name)
    return found[1] if found else None
