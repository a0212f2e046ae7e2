"""Mistakes in the ROS 2 environment: one line with the cure at start, and no false alarm."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from installing import ROOT

from ebm_policy_ros.util.distributions import dds_profile, this_machine_only
from ebm_policy_ros.util.environment import environment_mistake

PYTHON = f"python3.{sys.version_info.minor}"


def site(prefix: Path) -> str:
    return str(prefix / "lib" / PYTHON / "site-packages")


def rclpy_in(prefix: Path, suffix: str = EXTENSION_SUFFIXES[0]) -> str:
    folder = Path(site(prefix), "rclpy")
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / f"_rclpy_pybind11{suffix}").touch()
    return site(prefix)


def middleware_in(prefix: Path, *names: str) -> None:
    folder = prefix / "share" / "ament_index" / "resource_index" / "rmw_typesupport"
    folder.mkdir(parents=True)
    for name in ("rmw_implementation", *names):
        (folder / name).touch()


def distribution(root: Path, name: str) -> Path:
    """Folders of an installed distribution, as far as they are looked at."""
    hooks = root / name / "share" / "ros_environment" / "environment"
    hooks.mkdir(parents=True)
    (hooks / "1.ros_distro.dsv").write_text(f"set;ROS_DISTRO;{name}\n")
    middleware_in(root / name, "rmw_fastrtps_cpp", "rmw_zenoh_cpp")
    rclpy_in(root / name)
    return root / name


def wheels(root: Path) -> str:
    """Site-packages of a virtual environment with ROS as wheels."""
    path = rclpy_in(root)
    Path(path, "ros_rclpy-7.1.6.dist-info").mkdir()
    middleware_in(root, "rmw_fastrtps_cpp")
    return path


def sourced(*prefixes: Path) -> dict[str, str]:
    return {"AMENT_PREFIX_PATH": os.pathsep.join(map(str, prefixes))}


def mistake(environment: dict[str, str], *path: str) -> str:
    found = environment_mistake(environment, path)
    assert found is not None and "\n" not in found
    return found


@pytest.mark.ros
def test_the_environment_of_the_tests_has_no_mistake() -> None:
    pytest.importorskip("rclpy")
    assert environment_mistake(os.environ, sys.path) is None


def test_a_distribution_sourced_twice_and_a_workspace_over_it_are_right(tmp_path: Path) -> None:
    jazzy, workspace = distribution(tmp_path, "jazzy"), tmp_path / "workspace"
    own = rclpy_in(workspace)
    environment = sourced(workspace, jazzy, jazzy)
    for name in ("rmw_fastrtps_cpp", "rmw_zenoh_cpp", ""):
        environment["RMW_IMPLEMENTATION"] = name
        assert environment_mistake(environment, [own, site(jazzy), site(jazzy)]) is None


def test_wheels_alone_are_right(tmp_path: Path) -> None:
    assert environment_mistake({}, [str(tmp_path), wheels(tmp_path)]) is None


def test_two_distributions_are_named(tmp_path: Path) -> None:
    jazzy, humble = distribution(tmp_path, "jazzy"), distribution(tmp_path, "humble")
    found = mistake(sourced(jazzy, humble), site(jazzy), site(humble))
    assert f"2 ROS 2 distributions, {jazzy} and {humble}, expected one" in found
    assert "open a new terminal" in found


def test_wheels_beside_a_distribution_are_named(tmp_path: Path) -> None:
    jazzy, inside = distribution(tmp_path, "jazzy"), wheels(tmp_path / "venv")
    for path in ((site(jazzy), inside), (inside, site(jazzy))):
        found = mistake(sourced(jazzy), *path)
        assert f"as a wheel in {inside} and of a distribution in {site(jazzy)}" in found
        assert "make clean setup" in found


def test_a_python_of_another_minor_version_than_that_of_rclpy_is_named(tmp_path: Path) -> None:
    path = rclpy_in(tmp_path, ".cpython-39-x86_64-linux-gnu.so")
    found = mistake({}, path)
    assert f"rclpy in {path} is built for Python 3.9, this is Python 3." in found
    assert sys.executable in found


def test_without_rclpy_the_ways_to_it_are_named(tmp_path: Path) -> None:
    found = mistake({}, str(tmp_path))
    assert "finds no rclpy; source a distribution" in found and "make setup" in found


def test_a_middleware_that_is_not_installed_is_named(tmp_path: Path) -> None:
    jazzy = distribution(tmp_path, "jazzy")
    environment = {**sourced(jazzy), "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp rmw_zenoh_cpp"}
    found = mistake(environment, site(jazzy))
    assert "is 'rmw_fastrtps_cpp rmw_zenoh_cpp', which ROS cannot load here" in found
    assert "expected rmw_fastrtps_cpp or rmw_zenoh_cpp" in found
    inside = wheels(tmp_path / "venv")
    found = mistake({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, inside)
    assert "expected rmw_fastrtps_cpp; unset RMW_IMPLEMENTATION" in found


@pytest.mark.parametrize("libraries", [("implementation", "mine"), ("implementation",), ("mine",)])
def test_a_middleware_need_not_be_registered_if_it_can_be_loaded(
    libraries: tuple[str, ...], tmp_path: Path
) -> None:
    jazzy = distribution(tmp_path, "jazzy")
    some = importlib.util.find_spec("numpy.random._common")  # any library that can be loaded
    assert some is not None and some.origin is not None
    for name in libraries:
        (jazzy / "lib" / f"librmw_{name}.so").symlink_to(some.origin)
    (jazzy / "lib" / "librmw_empty.so").touch()
    code = (
        "import os, sys; from ebm_policy_ros.util.environment import environment_mistake; "
        "print(environment_mistake(os.environ, sys.argv[1:]))"
    )
    found = {}
    for name in ("rmw_mine", "rmw_empty"):
        environment = {**os.environ, **sourced(jazzy), "RMW_IMPLEMENTATION": name}
        environment["LD_LIBRARY_PATH"] = str(jazzy / "lib")  # read when a process begins
        command = [sys.executable, "-c", code, site(jazzy)]
        found[name] = subprocess.check_output(
            command, cwd=ROOT, env=environment, text=True, timeout=60
        )
    if len(libraries) == 2:
        assert found["rmw_mine"] == "None\n"
    else:
        assert found["rmw_mine"].startswith("RMW_IMPLEMENTATION is 'rmw_mine', which ROS cannot")
    assert found["rmw_empty"].startswith("RMW_IMPLEMENTATION is 'rmw_empty', which ROS cannot")


def test_numpy_2_before_an_opencv_that_is_compiled_with_numpy_1_is_named(tmp_path: Path) -> None:
    debian = tmp_path / "usr" / "lib" / "python3" / "dist-packages"
    for part in ("cv2.cpython-312-x86_64-linux-gnu.so", "numpy-1.26.4.egg-info"):
        (debian / part).mkdir(parents=True)
    newer, ros = tmp_path / "venv", rclpy_in(tmp_path / "jazzy")
    (newer / "numpy-2.2.6.dist-info").mkdir(parents=True)
    found = mistake({}, ros, str(newer), str(debian))
    assert f"NumPy 2.2.6 in {newer} hides NumPy 1.26.4" in found and "pip uninstall numpy" in found
    assert environment_mistake({}, [ros, str(debian), str(newer)]) is None
    (newer / "cv2").mkdir()  # opencv-python
    assert environment_mistake({}, [ros, str(newer), str(debian)]) is None


@pytest.mark.ros
def test_a_program_that_starts_nodes_says_so_in_one_line_and_ends() -> None:
    pytest.importorskip("rclpy")
    start = (
        "import sys; from ebm_policy_ros.util import executables; "
        "sys.argv = ['{0}']; executables.{0}()"
    )
    environment = {**os.environ, "RMW_IMPLEMENTATION": "rmw_of_nobody"}
    for name in ("policy_node", "evaluate_policy"):
        done = subprocess.run(
            [sys.executable, "-c", start.format(name)],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.startswith(f"{name}: RMW_IMPLEMENTATION is 'rmw_of_nobody'")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("version", "profile", "local"),
    [("3.3.15", "FASTRTPS_DEFAULT_PROFILES_FILE", {"ROS_LOCALHOST_ONLY": "1"}),  # Humble
     ("7.1.6", "FASTRTPS_DEFAULT_PROFILES_FILE", {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}),
     ("9.1.2", "FASTDDS_DEFAULT_PROFILES_FILE", {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}),
     ("10.0.10", "FASTDDS_DEFAULT_PROFILES_FILE", {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"})],
)  # fmt: skip
def test_variables_are_those_that_the_distribution_reads(
    version: str,
    profile: str,
    local: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = tmp_path / f"rclpy-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: rclpy\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert dds_profile() == {profile: str(ROOT / "config" / "fastdds.xml")}
    assert this_machine_only() == local


@pytest.mark.ros
def test_where_rclpy_tells_nothing_about_a_transfer_a_message_comes_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    versions = pytest.importorskip("ebm_policy_ros.nodes.common.versions")
    received: list[tuple[bytes, dict[str, int]]] = []
    receive = versions.with_information(lambda data, info: received.append((data, info)))
    receive(b"a", {"source_timestamp": 5})
    monkeypatch.delattr(versions.Subscription, "CallbackType")  # as on Humble
    versions.with_information(lambda data, info: received.append((data, info)))(b"b")
    assert received == [(b"a", {"source_timestamp": 5}), (b"b", {})]


@pytest.mark.ros
def test_fast_dds_takes_the_shared_memory_of_the_profile() -> None:
    pytest.importorskip("rclpy")
    code = (
        "import rclpy\n"
        "rclpy.init()\n"
        "node = rclpy.create_node('node')\n"
        "maps = [line.split() for line in open('/proc/self/maps') if '/dev/shm/fast' in line]\n"
        "ends = [[int(end, 16) for end in line[0].split('-')] for line in maps]\n"
        "print(max(high - low for low, high in ends))\n"
    )
    command = [sys.executable, "-c", code]
    plain = {name: text for name, text in os.environ.items() if name not in dds_profile()}
    sizes = [
        int(subprocess.check_output(command, env=environment, timeout=60))
        for environment in (plain, plain | dds_profile())
    ]
    assert sizes[0] < 2**20 and sizes[1] > 2**26
