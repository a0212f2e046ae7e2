"""Input devices of teleoperation: keyboard, joystick messages or leader arm messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState, Joy

from ebm_policy_ros.interface import Action, Interface
from ebm_policy_ros.nodes.common.parameters import part_of
from ebm_policy_ros.nodes.common.pauses import boot_time
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.teleop.joystick import BUTTONS, LAYOUTS, Joystick, Layout
from ebm_policy_ros.teleop.keyboard import Keyboard
from ebm_policy_ros.teleop.leader import Leader
from ebm_policy_ros.teleop.mapping import TeleopCommand, directions

_TOPICS = {"gamepad": "joy", "spacemouse": "spacenav/joy", "leader": "leader/joint_states"}
# Compatible with publishers of either reliability; only the newest message is kept.
_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_EVERY = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class Signal(NamedTuple):
    """What a person does at an input device."""

    held: bool | None
    """True while they hold something that takes the arm over; None if it is not known."""
    input: Any
    """Their input; another value if it has changed."""


class InputDevice(Protocol):
    """Source of teleoperation commands."""

    def desired(self, measured: RobotState | None, taken: bool, faulty: bool) -> TeleopCommand:
        """Current teleoperation command.

        Args:
            measured: Robot state, if it is known.
            taken: True if the arm should be commanded.
            faulty: True if it should, but there was a problem at the last tick.
        """

    def signal(self) -> Signal:
        """What the person does now."""

    def let_go(self) -> None:
        """Stop the motion; input that is held now has no effect any more."""

    def describe(self) -> list[str]:
        """Input of the device, without the keys, as lines for the screen."""


class KeyboardDevice:
    """Motion keys of the terminal, which the node reads."""

    def __init__(self, keyboard: Keyboard, hold: float) -> None:
        """Use the keys of a keyboard, which count as held for `hold` s after they came last."""
        self._keyboard, self._hold = keyboard, hold

    def desired(self, measured: RobotState | None, taken: bool, faulty: bool) -> TeleopCommand:
        """See `InputDevice`."""
        return self._keyboard.desired(boot_time())

    def signal(self) -> Signal:
        """See `InputDevice`."""
        now = boot_time()
        held = self._keyboard.is_held(now, self._hold)
        return Signal(held, self._keyboard.desired(now).motion)

    def let_go(self) -> None:
        """See `InputDevice`."""
        self._keyboard.stop()

    def describe(self) -> list[str]:
        """See `InputDevice`."""
        return []


class JoyDevice:
    """A gamepad or a 3-D mouse."""

    def __init__(
        self,
        node: Node,
        values: Mapping[str, Any],
        action: Action,
        on_event: Callable[[str], None],
        on_rest: Callable[[], None],
    ) -> None:
        """Open the topic.

        Args:
            node: Node that owns the subscription.
            values: Parameters of teleop_node.
            action: Action of the interface.
            on_event: Called with the event of a button when it is pressed.
            on_rest: Called when a motion ends.
        """
        layout = _layout(values)
        self._joystick = Joystick(
            layout, directions(action), values["joy.dead_zone"], values["message_timeout"]
        )
        self._on_event, self._on_rest = on_event, on_rest
        self._moves = False
        topic = values["topic"] or _TOPICS[values["source"]]
        node.create_subscription(Joy, topic, self._receive, _EVERY)

    def _receive(self, message: Any) -> None:
        now = boot_time()
        for event in self._joystick.take(message.axes, message.buttons, now):
            self._on_event(event)
        if self._moves and not self._joystick.desired(now).motion:
            self._moves = False
            self._on_rest()

    def desired(self, measured: RobotState | None, taken: bool, faulty: bool) -> TeleopCommand:
        """See `InputDevice`."""
        if faulty:  # otherwise the arm would start by itself after the problem
            self._joystick.let_go()
        desired = self._joystick.desired(boot_time())
        self._moves = bool(desired.motion)
        return desired

    def signal(self) -> Signal:
        """See `InputDevice`."""
        now = boot_time()
        return Signal(self._joystick.held(now), self._joystick.desired(now).motion)

    def let_go(self) -> None:
        """See `InputDevice`."""
        self._joystick.let_go()

    def describe(self) -> list[str]:
        """See `InputDevice`."""
        return self._joystick.describe()


def _layout(values: Mapping[str, Any]) -> Layout:
    """Layout of an input device, with values replaced by the parameters.

    Raises:
        ValueError: If the axes or their signs are invalid.
    """
    usual, given = LAYOUTS[values["source"]], part_of(values, "joy.")
    return Layout(
        tuple(given.get("axes", usual.axes)),
        tuple(given.get("signs", usual.signs)),
        {name: given.get(name, usual.buttons[name]) for name in BUTTONS},
    )


class LeaderDevice:
    """A leader arm."""

    def __init__(self, node: Node, values: Mapping[str, Any], interface: Interface) -> None:
        """Open the topic; see `JoyDevice`.

        Raises:
            ValueError: If the interface or a parameter doesn't suit a leader arm.
        """
        given = part_of(values, "leader.")
        self._leader = Leader(
            interface.command,
            given.get("names", ()),
            given.get("scales", ()),
            given.get("offsets", ()),
            given["near"],
            given["far"],
            values["message_timeout"],
            interface.continuous,
        )
        self._received = 0
        topic = values["topic"] or _TOPICS["leader"]
        node.create_subscription(JointState, topic, self._receive, _NEWEST)

    def _receive(self, message: Any) -> None:
        self._received += 1
        self._leader.take(message.name, message.position, boot_time())

    def desired(self, measured: RobotState | None, taken: bool, faulty: bool) -> TeleopCommand:
        """See `InputDevice`."""
        if not taken:
            self._leader.let_go()
            return TeleopCommand(hint="take the arm to follow the leader")
        return self._leader.desired(boot_time(), measured)

    def signal(self) -> Signal:
        """See `InputDevice`; only a key or a service takes the arm over."""
        return Signal(False, self._received)

    def let_go(self) -> None:
        """See `InputDevice`."""
        self._leader.let_go()

    def describe(self) -> list[str]:
        """See `InputDevice`."""
        return ["bring the leader arm to where the arm is, then take it"]


class Pedal:
    """A pedal, or another button, that takes over in place of the input device's own."""

    def __init__(self, node: Node, topic: str, timeout: float) -> None:
        """Open the topic.

        Args:
            node: Node that owns the subscription.
            topic: Topic with Joy messages, any button of which counts.
            timeout: Time for which a message is valid, s.
        """
        self._timeout, self._at, self._is_pressed = timeout, -math.inf, False
        node.create_subscription(Joy, topic, self._receive, _EVERY)

    def _receive(self, message: Any) -> None:
        self._at, self._is_pressed = boot_time(), any(message.buttons)

    @property
    def held(self) -> bool | None:
        """True while it is pressed; None if it is not known."""
        return self._is_pressed if boot_time() - self._at <= self._timeout else None
