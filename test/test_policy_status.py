"""~/status of policy_node: what an operator's screen shows of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import Robot, parameters
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.nodes.policy.node import PolicyNode

pytestmark = pytest.mark.ros


@pytest.fixture
def node(robot: Robot, policy_file: Callable[..., Path]) -> Iterator[PolicyNode]:
    chosen = {"policy": "ur5e_push", "device": "cpu", "when_unsure": "go", "stop_after": 600.0}
    node = PolicyNode(context=robot.context, parameter_overrides=parameters(**chosen))
    robot.add(node)
    yield node
    node.close()
    node.destroy_node()


def test_the_status_follows_the_node_from_its_start_to_a_stop(
    robot: Robot, node: PolicyNode
) -> None:
    told: list[dict[str, Any]] = []
    robot.node.create_subscription(
        String, "policy_node/status", lambda message: told.append(json.loads(message.data)), 1
    )

    def until(**wanted: Any) -> dict[str, Any]:
        robot.until(lambda: bool(told) and {**told[-1], **wanted} == told[-1])
        return told[-1]

    first = until(lifecycle="unconfigured", state="hold", shadow=False, speed=1.0)
    assert not {"rate", "thresholds", "energy", "distances"} & set(first)
    assert first["counts"] == first["latest_ms"] == {}
    samples = robot.repeat(0.05, robot.tick_now)
    assert robot.call(Trigger, "policy_node/start", Trigger.Request()).success

    def is_deciding() -> bool:
        return told[-1]["state"] == "fresh" and "distances" in told[-1]

    def tells_no_decision() -> bool:
        # Numbers that do not change look as if the policy decided.
        last = told[-1]
        return not {"energy", "distances", "unsure"} & set(last) and last["latest_ms"] == {}

    told_before = {key: first[key] for key in ("policy", "sha256", "hidden")}
    assert told_before["policy"] == "ur5e_push" and len(told_before["sha256"]) == 64
    robot.until(is_deciding)
    moving = told[-1]
    assert {**moving, "lifecycle": "active", "rate": 10.0, **told_before} == moving
    assert set(moving["distances"]) == set(moving["thresholds"]) == {"features", "colours"}
    assert all(distance > 0 for distance in moving["distances"].values())
    # A grey picture is not what was demonstrated.
    assert any("unfamiliar" in text for text in moving["unsure"])
    assert moving["latest_ms"]["decision"] > 0 and moving["counts"]["decisions"] >= 1
    samples.cancel()
    until(lifecycle="active", state="hold")
    robot.until(tells_no_decision)
    samples.reset()
    robot.until(is_deciding)
    assert robot.call(SetBool, "policy_node/shadow", SetBool.Request(data=True)).success
    until(shadow=True)
    assert robot.call(Trigger, "policy_node/stop", Trigger.Request()).success
    until(lifecycle="active", state="stopped", reason="~/stop was called")
    robot.until(tells_no_decision)
    node.trigger_deactivate()
    until(lifecycle="inactive", state="stopped")


def test_a_file_that_takes_long_to_read_has_no_hash_before_a_start(
    robot: Robot, tmp_path: Path
) -> None:
    file = tmp_path / "large.safetensors"
    with file.open("wb") as written:
        written.truncate(1 << 40)
    node = PolicyNode(
        context=robot.context, parameter_overrides=parameters(policy=str(file), device="cpu")
    )
    robot.add(node)
    told: list[dict[str, Any]] = []
    robot.node.create_subscription(
        String, "policy_node/status", lambda message: told.append(json.loads(message.data)), 1
    )
    try:
        robot.until(lambda: bool(told))
        assert (told[0]["policy"], told[0]["sha256"]) == (str(file), "")
    finally:
        node.close()
        node.destroy_node()


@pytest.mark.parametrize("is_hidden", [True, False])
def test_why_a_policy_is_unsure_tells_no_threshold_of_a_hidden_one(
    robot: Robot, unsure_policy_file: Path, is_hidden: bool
) -> None:
    policy = unsure_policy_file
    if is_hidden:
        (blind := policy.parent / "blind").mkdir()
        policy = policy.rename(blind / "trial_0001.safetensors")
    told: list[str] = []
    latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    robot.node.create_subscription(Log, "/rosout", lambda log: told.append(log.msg), latched)
    chosen = {"policy": str(policy), "autostart": True, "device": "cpu", "unsure_for": 0.3}
    chosen |= {"inference.samples": 64, "stop_after": 600.0}
    node = PolicyNode(context=robot.context, parameter_overrides=parameters(**chosen))
    robot.add(node)
    robot.repeat(0.05, robot.tick_now)

    def is_told(begin: str) -> bool:
        told.append(node.safety.reason)
        return any(text.startswith(f"{begin}unfamiliar observation") for text in told)

    robot.until(lambda: is_told("unsure: ") and is_told("slow, unsure: "))
    told_why = [text for text in told if "unsure: " in text]
    assert {"at most 1e-09" in text for text in told_why} == {not is_hidden}
    node.close()
    node.destroy_node()
