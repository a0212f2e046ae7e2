"""Statuses and names of topics that other nodes tell."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from robot import Robot
from std_msgs.msg import String

from ebm_policy_ros.nodes.common.topics import status_in
from ebm_policy_ros.nodes.operator.robot_link import RobotLink
from ebm_policy_ros.operator.journal import Journal


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"state": "idle", "age": 0.5}', {"state": "idle", "age": 0.5}),
        ("[1]", None),
        ("no JSON", None),
        ('{"age": NaN}', None),
        ('{"age": -Infinity}', None),
        ('{"age": 1e999}', None),
        ("[" * 100_000, None),
    ],
)
def test_a_status_is_an_object_that_a_browser_can_read(text: str, status: Any) -> None:
    assert status_in(String(data=text)) == status


@pytest.mark.ros
def test_names_that_are_no_topics_end_no_operators_page(robot: Robot) -> None:
    node = robot.node
    link = RobotLink(node, "policy_node", "recorder_node", {}, Journal(lambda level, text: None))
    stream = DiagnosticStatus(
        name="/policy_node: camera", values=[KeyValue(key="topic", value="/x//y")]
    )
    statuses = [DiagnosticStatus(name="/policy_node: policy"), stream]
    publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    robot.repeat(0.1, lambda: publisher.publish(DiagnosticArray(status=statuses)))
    robot.until(lambda: len(link.state()["policy"]["streams"]) == 1)
    link.search()
    assert "/x//y" not in link.state()["pictures"]
