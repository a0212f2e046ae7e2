"""Environment with the `ros2` command on top of the wheels of ROS 2.

There are wheels of rclpy, but not of launch, launch_ros and ros2cli. They are pure Python, so
their sources give the real `ros2 launch`, `run`, `lifecycle`, `node`, `param`, `pkg`, `topic`,
`service`, `action`, `interface` and `doctor`. `ros2 bag` and `ros2 component` need C++.

    python test/ros2_environment.py SOURCES FOLDER
    source FOLDER/setup.sh
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from installing import ROOT, install

# Packages of each repository at https://github.com/ros2.
PACKAGES = {
    "launch": ["launch", "launch_xml", "launch_yaml"],
    "launch_ros": ["launch_ros", "ros2launch"],
    "ros2cli": [
        "ros2action", "ros2cli", "ros2doctor", "ros2interface", "ros2lifecycle", "ros2node",
        "ros2param", "ros2pkg", "ros2run", "ros2service", "ros2topic",
    ],
    "rosidl_runtime_py": ["."],
}  # fmt: skip
# From PyPI. rosdistro is what `ros2 doctor` needs, catkin-pkg is what it and `ros2 pkg` need.
REQUIREMENTS = ["osrf-pycommon", "catkin-pkg", "rosdistro"]
# launch_ros imports these messages for components in C++, and there is no wheel of them.
COMPOSITION = "class LoadNode:\n    class Request:\n        pass\n"
SETUP = """\
export PATH="{folder}/bin:{scripts}:$PATH"
export PYTHONPATH="{project}/lib/site-packages:{library}${{PYTHONPATH:+:$PYTHONPATH}}"
export AMENT_PREFIX_PATH="{project}:{folder}:{prefix}${{AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}}"
"""


def sources_of(folder: Path) -> list[Path]:
    """Folders of the packages below `folder`, which holds a checkout of each repository."""
    for name, packages in PACKAGES.items():
        for package in packages:
            if not (folder / name / package / "setup.py").is_file():
                url = f"https://github.com/ros2/{name}"
                sys.exit(
                    f"{folder / name / package}: there is no setup.py, expected a checkout of "
                    f"{url}; git clone --depth 1 --branch jazzy {url} {folder / name}"
                )
    return [folder / name / package for name in PACKAGES for package in PACKAGES[name]]


def build(sources: Path, folder: Path) -> None:
    """Install the packages and this project below `folder`, and write `folder`/setup.sh."""
    packages = sources_of(sources)
    if folder.exists():
        sys.exit(f"{folder}: it is there already; remove it, or name another folder")
    if folder.is_relative_to(ROOT):
        sys.exit(f"{folder}: got a folder in the repository, expected one outside")
    with tempfile.TemporaryDirectory() as writable:
        # setuptools writes beside setup.py, and the sources stay as they are.
        copies = [Path(writable) / package.resolve().name for package in packages]
        for package, copy in zip(packages, copies, strict=True):
            shutil.copytree(package, copy, ignore=shutil.ignore_patterns(".git"))
        command = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps"]
        command += ["--no-build-isolation", "--prefix", str(folder), *map(str, copies)]
        subprocess.run([*command, *REQUIREMENTS], check=True)
    library = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    stub = library / "composition_interfaces"
    stub.mkdir()
    (stub / "__init__.py").touch()
    (stub / "srv.py").write_text(COMPOSITION)
    install(folder / "ebm_policy_ros")
    text = SETUP.format(
        folder=folder,
        project=folder / "ebm_policy_ros",
        scripts=Path(sys.executable).parent,
        library=library,
        prefix=sys.prefix,
    )
    (folder / "setup.sh").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "sources", type=Path, help="folder with checkouts of " + ", ".join(PACKAGES)
    )
    parser.add_argument("folder", type=Path, help="new folder outside the repository")
    given = parser.parse_args()
    folder = given.folder.resolve()
    build(given.sources.resolve(), folder)
    print(f"source {folder}/setup.sh")


if __name__ == "__main__":
    main()
