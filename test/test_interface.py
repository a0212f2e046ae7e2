from pathlib import Path
from typing import Any

import pytest
import yaml

from ebm_policy_ros.interface import (
    Interface,
    InterfaceError,
    interface_from_dict,
    load_interface,
)


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
        ("action.fields", "linear.x", "action: fields: got 'linear.x', expected a list"),
        ("action.frame_id", "tool0", "workspace.stream: got 'tool in frame base_link'"),
        ("action.topic", 5, "action.topic: got 5, expected a name"),
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
    assert differences("observation.camera.size", [48, 64]) == [
        "observation.camera.size: [96, 128] here, [48, 64] there"
    ]
    assert len(differences("action.unit", "mm/s")) == 1
