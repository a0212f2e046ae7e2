"""Installation and package metadata."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from installing import ROOT, install
from modules import PACKAGE, PACKAGES

import ebm_policy_ros

pytest.importorskip("setuptools", reason="setup.py needs setuptools")

TIMEOUT = 60.0

# As colcon reads it.
READ_SETUP = """
import json, setuptools
from distutils.core import run_setup
d = run_setup("setup.py", stop_after="init")
m = d.metadata
print(json.dumps({
    "name": m.name, "version": m.version, "license": m.license,
    "maintainer": m.maintainer, "email": m.maintainer_email,
    "packages": d.packages, "scripts": d.entry_points["console_scripts"],
    "test": d.extras_require["test"], "needs": d.install_requires,
}))
"""


def python(code: str, environment: dict[str, str] | None = None, cwd: Path = ROOT) -> Any:
    """JSON value of the last line that a program prints."""
    command = [sys.executable, "-c", code]
    output = subprocess.run(
        command, env=environment, cwd=cwd, check=True, stdout=subprocess.PIPE, timeout=TIMEOUT
    ).stdout
    return json.loads(output.splitlines()[-1])


def dependencies() -> set[str]:
    """Names of the dependencies in package.xml."""
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    return {str(element.text) for element in manifest if element.tag.endswith("depend")}


@pytest.fixture(scope="module")
def setup() -> dict[str, Any]:
    return dict(python(READ_SETUP))


def test_setup_py_and_package_xml_say_the_same(setup: dict[str, Any]) -> None:
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    for field in ("name", "version", "license", "maintainer"):
        assert manifest.findtext(field) == setup[field]
    assert setup["version"] == ebm_policy_ros.__version__
    maintainer = manifest.find("maintainer")
    assert maintainer is not None
    assert maintainer.get("email") == setup["email"]
    assert manifest.findtext("export/build_type") == "ament_python"


def test_colcon_finds_out_that_the_tests_need_pytest(setup: dict[str, Any]) -> None:
    assert "pytest" in setup["test"]


def test_rosdep_knows_every_dependency_of_package_xml() -> None:
    lines = (ROOT / "test" / "data" / "rosdep.txt").read_text(encoding="utf-8").splitlines()
    assert dependencies() <= {line for line in lines if not line.startswith("#")}


def test_pip_installs_what_rosdep_does_not(setup: dict[str, Any]) -> None:
    """Least versions on a robot, pinned ones for `make setup`."""
    other_names = {"opencv": "opencv-python", "yaml": "pyyaml"}
    by_rosdep = {key.removeprefix("python3-") for key in dependencies()}
    by_rosdep = {other_names.get(name, name) for name in by_rosdep}
    needed = {re.split("[<>=]", requirement)[0]: requirement for requirement in setup["needs"]}
    lines = (ROOT / "requirements-robot.txt").read_text(encoding="utf-8").splitlines()
    listed = {line for line in lines if not line.startswith("#")}
    assert listed == {needed[name] for name in needed.keys() - by_rosdep}
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8").lower()
    assert needed.keys() <= set(re.findall("^([a-z0-9-]+)==", pinned, re.MULTILINE))


def test_every_folder_of_modules_is_installed_and_only_below_the_package(
    setup: dict[str, Any],
) -> None:
    assert sorted(setup["packages"]) == PACKAGES


def test_every_executable_has_something_to_run(setup: dict[str, Any]) -> None:
    for script in setup["scripts"]:
        module, _, function = script.partition(" = ")[2].partition(":")
        spec = find_spec(module)
        assert spec is not None and spec.origin is not None, script
        body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
        assert function in [part.name for part in body if isinstance(part, ast.FunctionDef)]


@pytest.mark.slow
def test_an_installation_has_its_executables_and_finds_its_shared_files(
    setup: dict[str, Any], tmp_path: Path
) -> None:
    environment = install(tmp_path / "prefix")
    scripts = {path.name for path in (tmp_path / "prefix" / "lib" / PACKAGE).iterdir()}
    assert scripts == {script.split(" ")[0] for script in setup["scripts"]}
    for path in (tmp_path / "prefix" / "lib" / PACKAGE).iterdir():
        # For the Python of a virtual environment, which differs from colcon's own.
        assert path.read_text().startswith("#!/usr/bin/env python3\n")
    code = (
        "import json; from ebm_policy_ros.util import resources as share; "
        "print(json.dumps([share.__file__, str(share.share_directory())]))"
    )
    module, found = python(code, environment, cwd=tmp_path)
    assert Path(module).is_relative_to(tmp_path)
    share = tmp_path / "prefix" / "share"
    assert Path(found) == share / PACKAGE
    assert (share / "ament_index" / "resource_index" / "packages" / PACKAGE).is_file()
    shared = {path.relative_to(found) for path in Path(found).rglob("*") if path.is_file()}
    sources = [ROOT / "package.xml", *ROOT.glob("launch/*.launch.py"), *ROOT.glob("config/**/*")]
    assert shared == {path.relative_to(ROOT) for path in sources if path.is_file()}
