"""~/execution of policy_node: the record of each tick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from robot import PERIOD, Robot
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.messages.streams import stamp_ns

pytestmark = pytest.mark.ros
KEYS = [
    "commander",
    "publishes",
    "state",
    "reason",
    "policy",
    "sha256",
    "unsure",
    "features",
    "colours",
]
KEYS += ["energy"]


class Record:
    """Messages of ~/execution, by the number of their tick."""

    def __init__(self, robot: Robot) -> None:
        self._robot, self.count = robot, 0
        self.ticks: dict[int, dict[str, str]] = {}
        self.levels: dict[int, bytes] = {}
        topic = "policy_node/execution"
        robot.node.create_subscription(DiagnosticArray, topic, self._take, 100)
        robot.until(lambda: robot.node.count_publishers(topic) > 0)

    def _take(self, message: DiagnosticArray) -> None:
        (status,) = message.status
        assert status.name == "/policy_node: execution"
        values = {pair.key: pair.value for pair in status.values}
        assert list(values) == KEYS and values["commander"] == status.message
        tick = round(stamp_ns(message) / PERIOD)
        self.ticks[tick], self.levels[tick] = values, status.level
        self.count += 1

    def at(self, tick: int) -> dict[str, str]:
        self._robot.until(lambda: tick in self.ticks)
        return self.ticks[tick]


def test_each_tick_is_recorded_once_with_who_commanded_and_how_sure_the_policy_was(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    node = start_policy(policy="ur5e_push", when_unsure="go")
    record = Record(robot)
    robot.tick(10)
    for tick in range(11, 15):
        robot.tick(tick)
        robot.command_at(tick)
        told, confidence = record.at(tick), node.statistics.decision.confidence
        assert (told["commander"], told["state"], told["reason"]) == ("policy", "fresh", "")
        assert told["publishes"] == "true"
        assert told["policy"] == "ur5e_push" and len(told["sha256"]) == 64
        # A grey picture is not what was demonstrated.
        assert told["unsure"] == ", ".join(confidence.unsure) and confidence.unsure
        for key in ("features", "colours", "energy"):
            assert float(told[key]) == pytest.approx(getattr(confidence, key), rel=1e-5)
        assert record.levels[tick] == DiagnosticStatus.OK
    assert sorted(record.ticks)[-4:] == [11, 12, 13, 14] and record.count == len(record.ticks)


def test_the_ticks_tell_that_somebody_else_may_command(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    """In shadow mode, and when a stopped node has closed its topics."""
    node = start_policy()
    record = Record(robot)
    robot.tick(10)
    robot.tick(11)
    assert record.at(11)["publishes"] == "true"
    assert robot.call(SetBool, "policy_node/shadow", SetBool.Request(data=True)).success
    robot.tick(12)
    shadow = record.at(12)
    assert (shadow["commander"], shadow["publishes"]) == ("policy", "false")
    assert robot.call(SetBool, "policy_node/shadow", SetBool.Request(data=False)).success
    robot.tick(13)
    assert record.at(13)["publishes"] == "true"
    assert robot.call(Trigger, "policy_node/stop", Trigger.Request()).success
    robot.tick(14)
    stopped = record.at(14)  # it stands still, before it closes its topics
    assert (stopped["commander"], stopped["publishes"]) == ("nobody", "true")
    step = 14
    while node.control_loop.arms.is_open:
        step += 1
        robot.tick(step)
        record.at(step)
    closed = record.at(step)
    assert (closed["commander"], closed["publishes"]) == ("nobody", "false")


def test_the_end_is_told_when_the_node_closes_its_topics(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    node = start_policy()
    record = Record(robot)
    robot.tick(10)
    robot.tick(11)
    assert record.at(11)["commander"] == "policy"
    node.trigger_deactivate()
    robot.until(lambda: record.ticks[11]["commander"] == "nobody")
    assert record.ticks[11]["publishes"] == "false" and record.count == len(record.ticks) + 1


def test_nobody_commands_at_the_ticks_of_a_hold_and_of_a_stop(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy(check_command_topic=True)
    record = Record(robot)
    robot.tick(10)
    robot.tick(11)
    assert record.at(11)["commander"] == "policy"
    assert record.at(11)["features"] == "", "the policy is not calibrated"
    robot.node.destroy_subscription(robot.listener)
    robot.until(lambda: robot.node.count_subscribers("servo_node/delta_twist_cmds") == 0)
    robot.tick(12)
    held = record.at(12)
    assert (held["commander"], held["state"]) == ("nobody", "hold")
    assert "nobody listens" in held["reason"] and held["energy"] == ""
    assert robot.call(Trigger, "policy_node/stop", Trigger.Request()).success
    robot.tick(13)
    stopped = record.at(13)
    assert (stopped["commander"], stopped["state"]) == ("nobody", "stopped")
    assert stopped["reason"] == "~/stop was called"
    assert record.levels[13] == DiagnosticStatus.ERROR
