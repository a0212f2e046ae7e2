"""A command type of another package: in interfaces, the policy node, bags and policy files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")

from demonstration import Sent, write_bag
from geometry_msgs.msg import Vector3
from rclpy.serialization import serialize_message
from scene import Scene

from ebm_policy_ros.interface import (
    COMMAND_TYPES,
    TOOL_POSE,
    TOOL_VELOCITY,
    CommandType,
    Interface,
    InterfaceError,
    load_interface,
)
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.data.bag_dataset import load_dataset
from ebm_policy_ros.training.data.episodes import read_episode
from ebm_policy_ros.util.plugins import VARIABLE

pytestmark = [pytest.mark.ros, pytest.mark.sim]

FULL, BARE = "my_lab_commands.types.Vector3", "geometry_msgs/msg/Vector3"

TYPES = '''
"""A velocity along the axes without a stamp, as simple drivers take it."""
from ebm_policy_ros.interface import COMMAND_TYPES, TOOL_VELOCITY, CommandType


@COMMAND_TYPES.register("geometry_msgs/msg/Vector3")
class Vector3(CommandType):
    ROS_TYPE = "geometry_msgs/msg/Vector3"
    FIELDS = TOOL_VELOCITY[:3]
    QUANTITY = "velocity"

    def write(self, message, points, seconds):
        for field, value in zip(self.fields, points[0]):
            setattr(message, field[-1], float(value))

    def read(self, message):
        return [[getattr(message, field[-1]) for field in self.fields]], [0.0]


number = 5
'''


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PYTHONPATH with the package my_lab_commands, which also has a bare name."""
    folder = tmp_path / "packages"
    (folder / "my_lab_commands").mkdir(parents=True)
    (folder / "my_lab_commands" / "__init__.py").touch()
    (folder / "my_lab_commands" / "types.py").write_text(TYPES)
    monkeypatch.syspath_prepend(str(folder))
    for names in ("_parts", "_imported"):
        monkeypatch.setattr(COMMAND_TYPES, names, dict(getattr(COMMAND_TYPES, names)))
    sys.modules.pop("my_lab_commands.types", None)
    import_module("my_lab_commands.types")
    return folder


def write_interface(folder: Path, interface: Interface, name: str) -> Path:
    """Write the interface file of the UR5e with another command type."""
    values = interface.to_dict()
    values["action"] |= {"type": name, "topic": "cmd_vel"}
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("name", [FULL, BARE])
def test_the_policy_node_commands_it_and_a_bag_of_it_has_the_same_actions(
    name: str,
    packages: Path,
    tmp_path: Path,
    interface: Interface,
    policy_for: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_interface(tmp_path, interface, name)
    own = load_interface(path)
    assert own.command.is_velocity and not own.command.is_joints
    assert own.differences(interface) == [
        f"action.type: '{name}' here, 'geometry_msgs/msg/TwistStamped' there"
    ]
    monkeypatch.setenv(VARIABLE, "my_lab_commands")
    scene, messages = Scene(str(path)), list[Sent]()

    def record(stream: str, message: Any) -> Any:
        if stream != "clock":
            topic, kind = own.observation[stream].topic, own.observation[stream].type
            messages.append(Sent(f"/{topic}", kind, scene.time, serialize_message(message)))
        return (message,)

    try:
        scene.start(policy=str(policy_for(own, [0.05, 0.05], [0.1, 0.1])))
        scene.until_moving()
        scene.forget()
        scene.spoil = record
        scene.run(2.0)
        commands = list(scene.sent)
        # It moves the simulated arm, and a problem has it send zero.
        assert all(isinstance(sent.message, Vector3) for sent in commands)
        assert scene.tool[-1] - scene.tool[0] > 0.1
        scene.spoil = lambda stream, message: () if stream == "camera" else (message,)
        scene.run(1.0)
        assert scene.sent[-1].message == Vector3()
    finally:
        scene.close()
    messages += [
        Sent("/cmd_vel", BARE, sent.time, serialize_message(sent.message)) for sent in commands
    ]
    messages.sort(key=lambda sent: sent.received_ns)
    noted = {"interface": json.dumps(own.to_dict())}
    bag = write_bag(tmp_path / "bags" / "bag", messages, custom=noted)
    episode = read_episode(bag, own)
    told = {sent.time: sent.values for sent in commands}
    assert len(episode.actions) >= len(commands) - 1 > 15
    for time, action in zip(episode.times_ns.tolist(), episode.actions[:, 0], strict=True):
        assert action.tolist() == pytest.approx(told[time])
    # Training reads bags in other processes, and its configuration needs no declaration.
    monkeypatch.delenv(VARIABLE)
    dataset = load_dataset(bag.parent, own, workers=1)
    assert (dataset.actions == episode.actions).all() and not dataset.notes


def test_a_policy_says_which_package_has_its_command_type(
    packages: Path,
    tmp_path: Path,
    interface: Interface,
    policy_for: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = load_interface(write_interface(tmp_path, interface, FULL))
    policy = policy_for(own, [-0.1, -0.1], [0.1, 0.1])

    def load() -> None:
        """Load the policy as in a process that has not imported the package."""
        for names in (COMMAND_TYPES._parts, COMMAND_TYPES._imported):
            for name in (FULL, BARE):
                names.pop(name, None)
        for name in ("my_lab_commands", "my_lab_commands.types"):
            sys.modules.pop(name, None)
        Policy.load(policy, device="cpu")

    def refusal() -> str:
        with pytest.raises(ValueError) as refused:
            load()
        return str(refused.value)

    needs = f"interface: action.type: needs the command type '{FULL}' of the package "
    assert f"{policy}: {needs}'my_lab_commands'; install it, and allow it with " in refusal()
    monkeypatch.setenv(VARIABLE, "my_lab_commands")
    load()
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(packages)])
    assert f"{needs}'my_lab_commands', which cannot be imported" in refusal()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("geometry_msgs/msg/Twits", "expected one of geometry_msgs/msg/TwistStamped, "),
        ("my_lab_commands.types.Twits", "my_lab_commands.types has no Twits"),
        ("my_lab_commands.types.number", "expected a subclass of CommandType"),
        ("no_such_lab.types.Vector3", "of the package 'no_such_lab', which cannot be imported"),
    ],
)
def test_a_name_that_is_no_command_type_is_refused(
    name: str, problem: str, packages: Path, tmp_path: Path, interface: Interface
) -> None:
    path = write_interface(tmp_path, interface, name)
    with pytest.raises(ValueError, match=rf"own\.yaml: action\.type: .*{problem}"):
        load_interface(path)


def test_a_type_of_the_tool_cannot_be_a_grippers(
    packages: Path, tmp_path: Path, interface: Interface
) -> None:
    values = interface.to_dict()
    gripper = {"topic": "grip", "type": FULL, "name": "finger", "low": 0.0, "high": 1.0}
    values["action"]["gripper"] = gripper
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(InterfaceError, match=r"gripper\.type: .* for the position of a joint"):
        load_interface(path)


@pytest.mark.parametrize(
    "content",
    [
        {"FIELDS": TOOL_POSE, "QUANTITY": "velocity"},
        {"FIELDS": TOOL_VELOCITY},
        {"FIELDS": ("roll",), "QUANTITY": "position"},
        {"QUANTITY": "force"},
        {"QUANTITY": "velocity", "TAKES_HORIZON": True},
    ],
)
def test_a_class_that_the_guard_could_not_limit_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="Mine: "):
        type("Mine", (CommandType,), content)
