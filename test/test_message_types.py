"""Message types by name, and what is said of those that are not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ebm_policy_ros.messages.types import message_class


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ([], "the package {} is not installed; sudo apt-get install ros-jazzy-{}"),
        (["__init__.py"], "the installed package {} has no such type; sudo apt-get install "
         "ros-jazzy-{}"),
        (["__init__.py", "msg/__init__.py"], "the installed package {} has no such type; sudo "
         "apt-get install ros-jazzy-{}"),
    ],
)  # fmt: skip
def test_a_type_that_is_not_there_is_named(
    files: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = f"lab{len(files)}"  # a name of its own: modules stay in memory
    for file in files:
        (tmp_path / package / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / package / file).touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    with pytest.raises(ValueError) as caught:
        message_class(f"{package}/msg/Pose")
    assert str(caught.value) == f"{package}/msg/Pose: {problem.format(package, package)}"


def test_a_package_that_another_one_needs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab_hand" / "msg").mkdir(parents=True)
    (tmp_path / "lab_hand" / "__init__.py").touch()
    (tmp_path / "lab_hand" / "msg" / "__init__.py").write_text("import lab_finger.msg\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="the package lab_finger is not installed"):
        message_class("lab_hand/msg/Grip")
    assert "lab_hand.msg" not in sys.modules
