"""Parameters of teleop_node; config/teleop.yaml lists the same."""

from __future__ import annotations

from rclpy.parameter import Parameter

from ebm_policy_ros.nodes.common.limit_parameters import LIMIT_SETTINGS
from ebm_policy_ros.nodes.common.parameters import Setting
from ebm_policy_ros.teleop.joystick import BUTTONS

SOURCES = ("keyboard", "gamepad", "spacemouse", "leader")

_BUTTON_TEXTS = {
    "deadman": "Button that is held to move; -1: none, the sticks alone move",
    "grip_low": "Button that sends the gripper to its low",
    "grip_high": "Button that sends the gripper to its high",
    "next_joint": "Button that chooses the next joint",
    "next_part": "Button that chooses the next arm",
    "faster": "Button that raises the speed",
    "slower": "Button that lowers the speed",
    "start": "Button that starts an episode",
    "success": "Button that keeps it as a success",
    "failure": "Button that keeps it as a failure",
    "discard": "Button that discards it",
    "rerecord": "Button that discards it and begins anew",
}

SETTINGS = (
    Setting(
        "interface",
        "ur5e_push",
        "Interface file of this robot, or the name of a shipped one.",
    ),
    Setting(
        "part",
        "",
        "Part of the action, such as left, to command alone; another node may command the others. "
        "Empty: all, of which one is moved at a time and the others stand still.",
    ),
    Setting(
        "source",
        "keyboard",
        "Device that moves the arm; the keys for speed, recording and stopping work with each.",
        choices=SOURCES,
    ),
    Setting(
        "topic",
        "",
        "Topic of the gamepad, the 3-D mouse or the leader arm; empty: joy, spacenav/joy or "
        "leader/joint_states.",
    ),
    Setting(
        "speed",
        0.4,
        "Share of the full speed, which is a velocity's bound or a position's max_velocity.",
        fixed=False,
        low=0.02,
        high=1.0,
    ),
    Setting(
        "invert",
        Parameter.Type.STRING_ARRAY,
        "Directions (linear.x and so on, or joints) that move the other way, for somebody who "
        "stands opposite or a frame that is turned; unset: none.",
    ),
    Setting(
        "takeover",
        "",
        "Name of the policy node from which the arm is taken over while a key, a button or a "
        "stick is held; empty: commands go to the arm.",
    ),
    Setting(
        "pedal",
        "",
        "Topic (Joy) of a pedal that takes over in place of the source's own keys or buttons; "
        "empty: none.",
    ),
    Setting(
        "key_hold",
        0.8,
        "Time for which a key holds a takeover after it came last, s; longer than the keyboard "
        "waits before it repeats.",
        low=0.05,
        high=5.0,
    ),
    Setting(
        "key_timeout",
        0.2,
        "Time for which a key moves the arm after it came last, s.",
        low=0.02,
        high=2.0,
    ),
    Setting(
        "message_timeout",
        0.3,
        "Time for which a message of the gamepad, the 3-D mouse or the leader arm counts, s.",
        low=0.02,
        high=2.0,
    ),
    Setting(
        "recorder",
        "recorder_node",
        "Name of the recorder's node, whose services the recording keys call.",
    ),
    Setting(
        "check_command_topic",
        True,
        "Hold while nobody listens on the command topic or another node may publish there.",
    ),
    Setting(
        "joy.axes",
        Parameter.Type.INTEGER_ARRAY,
        "Axis for each of linear.x, y, z and angular.x, y, z, -1 for none; of joints the first "
        "turns the chosen one; unset: the source's.",
    ),
    Setting(
        "joy.signs",
        Parameter.Type.DOUBLE_ARRAY,
        "Factor on each of these axes, -1 to 1; unset: the source's.",
    ),
    Setting(
        "joy.dead_zone",
        0.1,
        "Share of an axis around its middle that counts as the middle.",
        low=0.0,
        high=0.9,
    ),
    *(
        Setting(
            f"joy.{name}", Parameter.Type.INTEGER, f"{_BUTTON_TEXTS[name]}; unset: the source's."
        )
        for name in BUTTONS
    ),
    Setting(
        "leader.names",
        Parameter.Type.STRING_ARRAY,
        "The leader's joint for each of the action's, the gripper last; unset: the same names, or "
        "the leader's order.",
    ),
    Setting(
        "leader.scales",
        Parameter.Type.DOUBLE_ARRAY,
        "Factor on each of its positions; unset: 1.",
    ),
    Setting(
        "leader.offsets",
        Parameter.Type.DOUBLE_ARRAY,
        "Offset that is then added to each of its positions; unset: 0.",
    ),
    Setting(
        "leader.near",
        0.1,
        "Largest difference in any joint at which the arm begins to follow the leader, rad.",
        low=0.0,
        high=3.15,
    ),
    Setting(
        "leader.far",
        0.5,
        "Difference in any joint at which the arm stops following the leader, rad.",
        low=0.0,
        high=6.3,
    ),
    *LIMIT_SETTINGS,
)
