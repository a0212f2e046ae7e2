"""Takeover messages: what is written is read again, for any number of arms and grippers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy")

from two_arms import SIDES, arm, gripper, two_arms

from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.takeover import PersonCommand, read_takeover, takeover_message

GRIPPED = two_arms(left=arm("left", gripper=gripper("left")), right=arm("right"))


def test_one_message_moves_both_arms_and_a_gripper() -> None:
    left, right = np.array([[0.1, 0.0, 0.04], [0.2, 0.0, 0.08]]), np.array([[0.0, -0.1]])
    message = takeover_message(
        "a", 5_000_000_001, GRIPPED, PersonCommand((left, right), (True, False))
    )
    assert message.joint_names == [
        "left.linear.x", "left.linear.y", "left.finger", "right.linear.x", "right.linear.y",
    ]  # fmt: skip
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (5, 1)
    command = read_takeover(message, GRIPPED)
    assert command.grips == (True, False)
    assert command.rows[0].tolist() == left.tolist()
    assert command.rows[1].tolist() == [[0.0, -0.1]] * 2, "its last action is repeated"


def test_a_gripper_may_be_left_out_and_then_it_is_not_commanded() -> None:
    rows = (np.array([[0.1, 0.0, 0.04]]), np.array([[0.0, -0.1]]))
    message = takeover_message("a", 1, GRIPPED, PersonCommand(rows, (False, False)))
    assert "left.finger" not in message.joint_names
    assert read_takeover(message, GRIPPED).grips == (False, False)


def test_names_may_come_in_any_order() -> None:
    rows = tuple(np.array([[0.1, 0.2]]) for _ in SIDES)
    interface = two_arms()
    message = takeover_message("a", 1, interface, PersonCommand(rows, (False, False)))
    message.joint_names = message.joint_names[::-1]
    message.points[0].positions = message.points[0].positions[::-1]
    assert [r.tolist() for r in read_takeover(message, interface).rows] == [[[0.1, 0.2]]] * 2


def test_a_message_for_one_arm_of_two_is_refused() -> None:
    message = takeover_message(
        "a", 1, two_arms(), PersonCommand((np.zeros((1, 2)), np.zeros((1, 2))), (False, False))
    )
    message.joint_names = message.joint_names[:2]
    message.points[0].positions = message.points[0].positions[:2]
    with pytest.raises(MessageError, match=r"no value for right\.linear\.x"):
        read_takeover(message, two_arms())
