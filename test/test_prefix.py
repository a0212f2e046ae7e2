"""Prefix of an arm in the interface, and error messages if no name matches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from messages import joints

from ebm_policy_ros.interface import Interface, InterfaceError, interface_from_dict, load_interface
from ebm_policy_ros.observation.buffer import ObservationBuffer, StaleObservation
from ebm_policy_ros.util.resources import interface_path


def values_of(name: str) -> Any:
    return yaml.safe_load(Path(interface_path(name)).read_text(encoding="utf-8"))


def prefixed(name: str, prefix: str = "left_") -> Interface:
    return interface_from_dict({**values_of(name), "prefix": prefix}, name)


def test_a_prefix_comes_before_joints_and_frames_and_before_nothing_else() -> None:
    plain, left = load_interface(interface_path("ur5e_trajectory")), prefixed("ur5e_trajectory")
    assert left.command.fields == tuple(f"left_{name}" for name in plain.command.fields)
    assert [s.topic for s in left.observation.values()] == [
        s.topic for s in plain.observation.values()
    ]
    frames = [getattr(s, "frame_id", "") for s in left.observation.values()]
    assert frames[-1] == "left_base"
    twist = prefixed("ur5e_push")
    assert twist.command.fields == ("linear.x", "linear.y")
    assert twist.command.frame_id == "left_base_link"


def test_a_shared_frame_keeps_its_name() -> None:
    values = values_of("ur5e_push")
    values["observation"]["tool"]["frame_id"] = values["action"]["frame_id"] = "world"
    del values["observation"]["camera"]["projection"]
    values["prefix"] = "left_"
    assert interface_from_dict(values, "x").command.frame_id == "world"


@pytest.mark.parametrize("name", ["ur5e_push", "ur5e_trajectory", "fr3_pose", "xarm6_trajectory"])
def test_what_is_written_reads_as_it_was(name: str) -> None:
    left = prefixed(name)
    assert left.to_dict()["prefix"] == "left_"
    assert interface_from_dict(left.to_dict(), "again") == left


def test_a_policy_of_one_arm_fits_the_other() -> None:
    plain = load_interface(interface_path("ur5e_trajectory"))
    assert plain.differences(prefixed("ur5e_trajectory")) == []
    assert prefixed("ur5e_trajectory").differences(prefixed("ur5e_trajectory", "r_")) == []


def test_a_prefix_is_text() -> None:
    with pytest.raises(InterfaceError, match="prefix: got 3, expected text such as left_"):
        interface_from_dict({**values_of("ur5e_push"), "prefix": 3}, "x")


def test_the_names_of_other_joints_are_told() -> None:
    interface = load_interface(interface_path("ur5e_trajectory"))
    buffer = ObservationBuffer(interface, ["joints"])
    buffer.add("joints", joints(["left_elbow_joint", "left_wrist_1_joint"], [0.0] * 2, 1), 1)
    with pytest.raises(StaleObservation) as told:
        buffer.observe(2)
    assert "its messages have the joints left_elbow_joint, left_wrist_1_joint, none" in str(
        told.value
    )
    assert "see names and prefix in the interface" in str(told.value)


@pytest.mark.ros
def test_a_topic_of_the_same_type_is_told(
    robot: Any, interface: Interface, policy_file: Callable[..., Path]
) -> None:
    from robot import parameters

    from ebm_policy_ros.nodes.policy.node import PolicyNode

    values = interface.to_dict()
    values["observation"]["camera"]["topic"] = "front/image_raw"
    path = policy_file().with_name("other.yaml")
    path.write_text(yaml.safe_dump(values))
    chosen = {"policy": str(policy_file()), "interface": str(path), "use_sim_time": True}
    node = PolicyNode(
        context=robot.context,
        parameter_overrides=parameters(**chosen, autostart=True, device="cpu"),
    )
    robot.add(node)
    wanted = "nobody publishes on /front/image_raw; sensor_msgs/msg/Image comes on "
    step = [10]

    def told() -> bool:
        step[0] += 1
        robot.tick(step[0])
        robot.executor.spin_once(timeout_sec=0.05)
        return wanted in node.safety.reason

    try:
        robot.until(told)
        assert "/camera/image_raw" in node.safety.reason
    finally:
        node.close()
        node.destroy_node()
