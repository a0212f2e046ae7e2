from pathlib import Path
from typing import Any

import pytest
import yaml

from ebm_policy_ros.interface import Interface, InterfaceError, interface_from_dict, load_interface


def change(interface: Interface, path: str, value: Any) -> dict[str, Any]:
    values = interface.to_dict()
    *parents, last = path.split(".")
    place = values
    for name in parents:
        place = place[name]
    place[last] = value
    return values


def test_plain_values_give_the_same_interface_again(interface: Interface) -> None:
    assert interface_from_dict(interface.to_dict(), "again") == interface
    assert interface_from_dict(yaml.safe_load(yaml.safe_dump(interface.to_dict())), "x") == (
        interface
    )


def test_shapes_follow_history_size_and_fields(interface: Interface) -> None:
    assert interface.shapes == {"camera": (1, 96, 128, 3), "joints": (1, 6), "tool": (1, 2)}
    two_frames = interface_from_dict(change(interface, "observation.camera.history", 2), "x")
    assert two_frames.shapes["camera"] == (2, 96, 128, 3)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("rate", 0, "rate: got 0, expected Hz > 0"),
        ("speed", 1, "unknown key 'speed'"),
        ("observation.camera.size", [96], "observation.camera.size: got [96]"),
        ("observation.camera.max_age", -1.0, "observation.camera.max_age: got -1.0"),
        ("observation.camera.type", "std_msgs/msg/Empty", "observation.camera.type: got 'std_"),
        ("observation.joints.names", [], "observation.joints.names"),
        ("observation.tool.fields", ["x", "roll"], "observation.tool.fields: got 'roll'"),
        ("action.low", [0.3, -0.25], "action.low: got [0.3, -0.25], expected at most high"),
        ("action.high", [0.25], "action.high: got [0.25], expected one number for each of"),
        ("action.fields", "linear.x", "action.fields: got 'linear.x', expected a list"),
        (
            "action.frame_id",
            "tool0",
            "action.measured: got 'tool', expected a pose stream in frame",
        ),
        ("action.topic", 5, "action.topic: got 5, expected a name of at most"),
        ("rate", float("inf"), "rate: got inf"),
        ("workspace.stream", "camera", "workspace.stream: got 'camera', expected a pose stream"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_is_allowed(
    interface: Interface, path: str, value: Any, message: str
) -> None:
    with pytest.raises(InterfaceError) as caught:
        interface_from_dict(change(interface, path, value), "robot.yaml")
    assert str(caught.value).startswith("robot.yaml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(interface: Interface) -> None:
    values = interface.to_dict()
    del values["action"]["unit"]
    with pytest.raises(InterfaceError, match="action: the key 'unit' is missing"):
        interface_from_dict(values, "robot.yaml")


def test_a_missing_or_broken_file_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InterfaceError, match=r"nowhere\.yaml: cannot read"):
        load_interface(tmp_path / "nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("rate: [1")
    with pytest.raises(InterfaceError, match=r"broken\.yaml: not a YAML file") as caught:
        load_interface(broken)
    assert "\n" not in str(caught.value)


def test_topics_and_ages_may_differ_between_robots_but_not_meanings(interface: Interface) -> None:
    def differences(path: str, value: Any) -> list[str]:
        return interface.differences(interface_from_dict(change(interface, path, value), "x"))

    assert differences("observation.camera.topic", "wrist/image_raw") == []
    assert differences("observation.camera.max_age", 1.0) == []
    assert differences("action.horizon", 8) == []
    assert differences("observation.camera.size", [48, 64]) == [
        "observation.camera.size: [96, 128] here, [48, 64] there"
    ]
    assert len(differences("action.unit", "mm/s")) == 1


SHIPPED = sorted((Path(__file__).parents[1] / "config" / "interfaces").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_interface_is_valid_and_called_as_its_file(path: Path) -> None:
    loaded = load_interface(path)
    assert loaded.name == path.stem
    assert interface_from_dict(loaded.to_dict(), "again") == loaded
    # An arm commanded by positions needs a velocity limit and a measured position.
    for action in (part.interface.command for part in loaded.parts):
        if not action.is_velocity and action.unit != "px":
            assert max(action.max_velocity or (9.0,)) < 1.0 and action.measured


def shipped(name: str, path: str, value: Any) -> dict[str, Any]:
    (file,) = (path for path in SHIPPED if path.stem == name)
    return change(load_interface(file), path, value)


GRIPPER = {
    "topic": "g", "type": "std_msgs/msg/Float64MultiArray", "name": "f", "low": 0.0, "high": 1.0
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        ("ur5e_trajectory", "action.max_velocity", None, "action.max_velocity: got None"),
        ("ur5e_trajectory", "action.max_velocity", [0.1], "one number for each of"),
        ("ur5e_trajectory", "action.max_acceleration", [-1.0] * 6, "expected numbers >= 0"),
        ("ur5e_trajectory", "action.measured", "camera", "expected a stream of the positions of"),
        ("ur5e_trajectory", "action.frame_id", "base", "frame_id: got 'base', expected none"),
        ("ur5e_trajectory", "action.quantity", "velocity", "is a position"),
        ("ur5e_trajectory", "action.lag", -0.1, "action.lag: got -0.1, expected s >= 0"),
        ("ur5e_trajectory", "action.horizon", 0, "action.horizon: got 0, expected >= 1"),
        ("ur5e_trajectory", "action.fixed", {"z": 0.0}, "action.fixed: got"),
        ("ur5e_joint_velocity", "action.quantity", "", "expected position or velocity"),
        ("ur5e_joint_velocity", "action.lag", 0.1, "action.lag: got 0.1, expected none"),
        ("ur5e_joint_velocity", "action.measured", "", "that max_acceleration is measured by"),
        ("ur5e_servo", "action.max_velocity", [1.0] * 6, "low and high bound a velocity"),
        ("fr3_pose", "action.fixed", {"qx": 1.0}, "a number for each of qx, qy, qz, qw"),
        ("fr3_pose", "action.fields", ["x", "y", "qx"], "all of qx, qy, qz, qw or none"),
        ("fr3_pose", "observation.joints.qos", {"reliability": "some"},
         "observation.joints.qos.reliability: got 'some', expected best_effort or reliable"),
        ("fr3_pose", "observation.joints.qos", 5, "observation.joints.qos: got 5"),
        ("fr3_pose", "observation.tool.min_rate", 0.0, "min_rate: got 0.0, expected Hz > 0"),
        ("fr3_pose", "observation.camera.depth", [1.0, 0.5], "[nearest, farthest] in metres"),
        ("fr3_pose", "observation.camera.resize", "cover",
         "observation.camera.resize: got 'cover', expected stretch, crop, letterbox"),
        ("fr3_pose", "max_skew", -1.0, "max_skew: got -1.0"),
        ("fr3_pose", "action.gripper", {"topic": "g"}, "action.gripper: the key 'type'"),
        ("fr3_pose", "action.gripper", {**GRIPPER, "server": 5},
         "action.gripper.server: got 5, expected keys and values"),
        ("fr3_pose", "action.gripper", {**GRIPPER, "server": {}},
         "action.gripper.server: the key 'action' is missing"),
        ("fr3_pose", "action.gripper", {**GRIPPER, "server": {"action": "a", "type": "b"}},
         "server.type: got 'b', expected control_msgs/action/GripperCommand or control_msgs/"),
        ("fr3_pose", "action.gripper", {**GRIPPER, "server": {"action": "a", "max_effort": 0}},
         "action.gripper.server.max_effort: got 0, expected N > 0"),
        ("fr3_pose", "workspace.fields", ["x"], "workspace.low"),
    ],
)  # fmt: skip
def test_what_a_command_or_a_stream_lacks_is_named(
    name: str, path: str, value: Any, message: str
) -> None:
    values = shipped(name, path, value)
    if value is None:
        *parents, last = path.split(".")
        place = values
        for parent in parents:
            place = place[parent]
        del place[last]
    with pytest.raises(InterfaceError) as caught:
        interface_from_dict(values, "robot.yaml")
    assert message in str(caught.value)


def test_limits_and_supervision_of_a_robot_may_differ_from_the_policys(
    interface: Interface,
) -> None:
    values = interface.to_dict()
    values["max_skew"] = 0.1
    values["action"] |= {"max_acceleration": [1.0, 1.0]}
    values["observation"]["tool"] |= {"min_rate": 5.0, "qos": {"reliability": "reliable"}}
    assert interface.differences(interface_from_dict(values, "x")) == []
    values["action"]["high"] = [0.2, 0.2]
    assert interface.differences(interface_from_dict(values, "x")) == [
        "action.high: [0.25, 0.25] here, [0.2, 0.2] there"
    ]


def test_images_are_stretched_where_an_older_interface_says_nothing(interface: Interface) -> None:
    values = interface.to_dict()
    del values["observation"]["camera"]["resize"]
    old = interface_from_dict(values, "old")
    assert old == interface and old.differences(interface) == []
    values["observation"]["camera"]["resize"] = "crop"
    assert interface.differences(interface_from_dict(values, "new")) == [
        "observation.camera.resize: 'stretch' here, 'crop' there"
    ]


def test_a_camera_of_depth_may_be_compressed(interface: Interface) -> None:
    values = interface.to_dict()
    camera = {"type": "sensor_msgs/msg/CompressedImage", "depth": [0.2, 1.0]}
    values["observation"]["camera"] |= camera
    assert interface_from_dict(values, "x").observation["camera"].shape == (1, 96, 128, 3)
