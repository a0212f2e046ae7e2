"""Names of ROS 2 that the package imports: those that differ stand in one place."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from ros_names import lacking, used_names


def test_the_installed_rclpy_has_every_name_but_those_of_humble() -> None:
    pytest.importorskip("rclpy")
    spec = importlib.util.find_spec("rclpy")
    assert spec is not None and spec.origin is not None
    names = {module: found for module, found in used_names().items() if module[:5] == "rclpy"}
    assert len(names) > 15
    # nodes/common/versions.py takes them from there only where rclpy.event_handler is missing.
    older = ["rclpy.qos_event.SubscriptionEventCallbacks"]
    assert lacking(names, [Path(spec.origin).parents[1]]) == older


def test_a_name_that_sources_lack_is_told(tmp_path: Path) -> None:
    package = tmp_path / "rclpy"
    (package / "action").mkdir(parents=True)
    (package / "__init__.py").write_text("from rclpy.other import Node\nVERSION: int = 1\n")
    (package / "action" / "__init__.py").write_text("def server(): pass\n")
    names = {
        "rclpy": {"Node", "VERSION", "Gone"},
        "rclpy.action": {"server", "client"},
        "rclpy.none": {"any"},
        "launch": {"not looked for"},
    }
    expected = ["rclpy.Gone", "rclpy.action.client", "rclpy.none.any"]
    assert lacking(names, [tmp_path]) == expected
