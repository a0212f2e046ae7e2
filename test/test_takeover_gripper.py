"""The gripper in a takeover by teleop_node: it is moved only if the person moves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from std_srvs.srv import SetBool
from test_command_types import POSITIONS, arm
from test_teleop_node import LeaderArm, Person, Stick, write
from trajectory_msgs.msg import JointTrajectory

from ebm_policy_ros.nodes.common.topics import TAKEOVER_QUALITY

pytestmark = [pytest.mark.ros, pytest.mark.sim]

JOINTS, FLOATS = "sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray"
GRIPPER = {"topic": "gripper/commands", "type": FLOATS, "name": "finger", "low": 0.0, "high": 0.8}


class Wire:
    """A person at teleop_node, and what arrives at a policy node."""

    def __init__(self, folder: Path, source: str) -> None:
        interface = arm("ur5e_trajectory", type=JOINTS, gripper=GRIPPER, **POSITIONS[JOINTS])
        self.person = Person(
            write(folder, interface), takeover="policy_node", source=source, message_timeout=2.0
        )
        self.scene = self.person.scene
        self.heard: list[Any] = []
        self.scene.node.create_subscription(
            JointTrajectory, "policy_node/takeover", self.heard.append, TAKEOVER_QUALITY
        )
        link: Any = self.person.node._link
        self.scene.wait(lambda: not link.problem())

    def next(self) -> Any:
        """The next message."""
        count = len(self.heard)
        self.scene.until(lambda: len(self.heard) > count, steps=20)
        return self.heard[-1]

    def grip(self) -> float | None:
        """Gripper state of the next message; None if it has none."""
        message = self.next()
        if "finger" not in message.joint_names:
            return None
        return float(message.points[0].positions[message.joint_names.index("finger")])


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Callable[[str], Wire]]:
    wires: list[Wire] = []

    def begin(source: str) -> Wire:
        wires.append(Wire(tmp_path, source))
        return wires[-1]

    yield begin
    for one in wires:
        one.person.close()


def test_a_takeover_leaves_the_gripper_alone_until_the_person_moves_it(
    wire: Callable[[str], Wire],
) -> None:
    on = wire("gamepad")
    stick = Stick(on.person)
    low, hold = 0, 4
    for _ in range(2):  # the second takeover knows nothing of the first one
        stick.send(low)  # ignored: nobody has taken over
        stick.send()
        on.scene.wait(lambda: on.person.node._hold._before is False)
        stick.send(hold)
        assert on.grip() is None
        stick.send(hold, low)
        on.scene.until(lambda: on.grip() == 0.0, steps=20)
        stick.send(hold)
        assert on.grip() == 0.0, "it stays closed while the person commands"
        stick.send()
        on.scene.wait(lambda: not on.heard[-1].points)


def test_the_gripper_of_a_leader_counts_once_it_has_been_moved(
    wire: Callable[[str], Wire],
) -> None:
    on = wire("leader")
    leader = LeaderArm(on.person)
    place, opened, shut = leader.place[:6], 0.7, 0.1
    for _ in range(2):
        leader.place = np.append(place, opened)
        leader.hold(2)
        request = SetBool.Request(data=True)
        assert on.scene.call(SetBool, "teleop_node/engage", request).success
        leader.hold(2)
        assert on.grip() is None, "what the arm holds is not dropped"
        leader.place[-1] = opened + 0.03  # the hand is not still
        leader.hold(2)
        assert on.grip() is None
        leader.place[-1] = shut
        leader.hold(2)
        assert on.grip() == pytest.approx(shut)
        leader.place[-1] = opened
        leader.hold(2)
        assert on.grip() == pytest.approx(opened), "from then on it follows"
        assert on.scene.call(SetBool, "teleop_node/engage", SetBool.Request(data=False)).success
        on.scene.wait(lambda: not on.heard[-1].points)
