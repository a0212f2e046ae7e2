"""The messages of control_msgs and tf2_msgs that the package knows, on top of the wheels of Jazzy.

There are wheels of neither, but of everything that builds them: the tests of grippers with an
action and of streams from tf run here too, with a C compiler and cmake.

    python test/message_packages.py SOURCES FOLDER
    source FOLDER/setup.sh
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from installing import ROOT

# For each package: its folder in the sources, the files that are built, and what they need.
PACKAGES = {
    "control_msgs": (
        "control_msgs/control_msgs",
        "msg/JointJog.msg msg/GripperCommand.msg action/GripperCommand.action "
        "action/ParallelGripperCommand.action",
        "action_msgs builtin_interfaces sensor_msgs service_msgs std_msgs unique_identifier_msgs",
    ),
    "tf2_msgs": (
        "geometry2/tf2_msgs", "msg/TFMessage.msg", "builtin_interfaces geometry_msgs std_msgs"
    ),
}  # fmt: skip
URLS = {
    "control_msgs": "https://github.com/ros-controls/control_msgs",
    "tf2_msgs": "https://github.com/ros2/geometry2",
}
# The wheels of the generators name few of the wheels that they need.
GENERATORS = [
    *(f"ament-cmake{name}" for name in (
        "", "-core", "-export-definitions", "-export-dependencies",
        "-export-include-directories", "-export-interfaces", "-export-libraries",
        "-export-link-flags", "-export-targets", "-gen-version-h", "-gmock", "-gtest",
        "-include-directories", "-libraries", "-pytest", "-python", "-ros",
        "-target-dependencies", "-test", "-vendor-package", "-version",
    )),
    "ament-package", "domain-coordinator", "fastrtps-cmake-module", "gmock-vendor",
    "gtest-vendor", "python-cmake-module", "rpyutils",
    *(f"rosidl-{name}" for name in (
        "core-generators", "core-runtime", "default-generators", "generator-c", "generator-cpp",
        "generator-py", "generator-type-description", "runtime-cpp", "typesupport-cpp",
        "typesupport-introspection-cpp",
    )),
]  # fmt: skip
PYTHON_PARTS = ["catkin-pkg", "empy==3.3.4", "lark", "numpy<2.3"]
# Where Python was when the wheels were built.
BUILT_WITH = f"/opt/python/cp3{sys.version_info.minor}-cp3{sys.version_info.minor}"
PROJECT = """\
cmake_minimum_required(VERSION 3.12)
project({name})
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
foreach(needed {needed})
  find_package(${{needed}} REQUIRED)
endforeach()
rosidl_generate_interfaces({name} {files} DEPENDENCIES {needed})
ament_package()
"""
SETUP = """\
export PYTHONPATH="{library}${{PYTHONPATH:+:$PYTHONPATH}}"
export LD_LIBRARY_PATH="{folder}/lib:{prefix}/lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
"""


def make_tools(folder: Path) -> Path:
    """Create a virtual environment with the generators, and return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    wheels = ROOT / "requirements-ros-jazzy.txt"
    messages = [line for line in wheels.read_text().splitlines() if line.startswith("ros-")]
    command = [str(python), "-m", "pip", "install", "-qq", *messages, *PYTHON_PARTS]
    command += [f"ros-jazzy-{name}" for name in GENERATORS]
    subprocess.run(command, check=True)
    for file in (folder / "share").rglob("*.cmake"):
        text = file.read_text(encoding="utf-8")
        if BUILT_WITH in text:
            file.write_text(text.replace(BUILT_WITH, sys.base_prefix), encoding="utf-8")
    return python


def build(name: str, source: Path, folder: Path, python: Path) -> None:
    """Build the chosen messages of a package and install them below `folder`."""
    _, files, needed = PACKAGES[name]
    place = folder / "build" / name
    for file in files.split():
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / file, place / file)
    shutil.copy(source / "package.xml", place)
    (place / "CMakeLists.txt").write_text(PROJECT.format(name=name, files=files, needed=needed))
    prefix = str(python.parents[1])
    environment = {
        **os.environ,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "AMENT_PREFIX_PATH": prefix,
        "CMAKE_PREFIX_PATH": prefix,
        "PYTHONPATH": "",
    }
    options = ["-DBUILD_TESTING=OFF", f"-DCMAKE_INSTALL_PREFIX={folder}", "-Wno-dev"]
    options += [f"-D{key}_EXECUTABLE={python}" for key in ("Python3", "PYTHON")]
    for command in (
        ["cmake", "-S", ".", "-B", "made", *options],
        ["cmake", "--build", "made"],
        ["cmake", "--install", "made"],
    ):
        subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "sources", type=Path, help=f"folder with checkouts of {' and '.join(URLS.values())}"
    )
    parser.add_argument("folder", type=Path, help="new folder outside the repository")
    given = parser.parse_args()
    folder = given.folder.resolve()
    sources = {name: given.sources.resolve() / PACKAGES[name][0] for name in PACKAGES}
    for name, source in sources.items():
        if not (source / "package.xml").is_file():
            sys.exit(f"{source}: there is no package.xml, expected a checkout of {URLS[name]}")
    if folder.exists() or folder.is_relative_to(ROOT):
        sys.exit(f"{folder}: got a folder that exists or is in the repository, expected a new one")
    python = make_tools(folder / "tools")
    for name, source in sources.items():
        build(name, source, folder, python)
    library = sysconfig.get_path("purelib", vars={"base": str(folder)})
    text = SETUP.format(library=library, folder=folder, prefix=sys.prefix)
    (folder / "setup.sh").write_text(text)
    print(f"source {folder}/setup.sh")


if __name__ == "__main__":
    main()
