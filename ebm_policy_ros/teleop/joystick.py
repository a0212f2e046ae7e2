"""Joysticks: mapping of the axes and buttons of sensor_msgs/Joy, for gamepads and 3-D mice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ebm_policy_ros.teleop.mapping import JOINT, TeleopCommand

AXES = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
"""Directions of the entries of `Layout.axes`, in order; for joints the first one moves the chosen
joint."""


@dataclass(frozen=True)
class Layout:
    """Functions of the axes and buttons of an input device; -1 if not assigned."""

    axes: tuple[int, ...]
    """Index of the axis for each of `AXES`."""
    signs: tuple[float, ...]
    """Factor of each axis, -1 to reverse it."""
    buttons: Mapping[str, int]
    """Index of the button for each event, and for `deadman`."""

    def __post_init__(self) -> None:
        for name in ("axes", "signs"):
            if len(getattr(self, name)) != len(AXES):
                raise ValueError(
                    f"joy.{name}: got {len(getattr(self, name))} numbers, expected one for each "
                    f"of {', '.join(AXES)}"
                )
        if any(not math.isfinite(sign) or abs(sign) > 1 for sign in self.signs):
            raise ValueError(f"joy.signs: got {list(self.signs)}, expected factors from -1 to 1")


BUTTONS = (
    "deadman", "grip_low", "grip_high", "next_joint", "faster", "slower",
    "next_part", "start", "success", "failure", "discard", "rerecord",
)  # fmt: skip
"""Functions of a button."""

_TEXTS = {"deadman": "hold to move", "grip_low": "gripper to its low", "grip_high": "to its high"}
_NONE = dict.fromkeys(BUTTONS, -1)
LAYOUTS = {
    # joy_node with an Xbox controller: up and left are positive for the sticks.
    "gamepad": Layout(
        axes=(1, 0, 4, 6, 7, 3),
        signs=(1.0,) * 6,
        buttons=_NONE
        | {"deadman": 4, "next_joint": 5, "grip_low": 0, "grip_high": 1}
        | {"failure": 2, "success": 3, "discard": 6, "start": 7},
    ),
    # spacenav_node: its axes are already forward, left, up and the rotations about them.
    "spacemouse": Layout(
        axes=(0, 1, 2, 3, 4, 5), signs=(1.0,) * 6, buttons=_NONE | {"deadman": 0, "next_joint": 1}
    ),
}
"""Layouts by name of the input device."""


class Joystick:
    """An input device that moves the arm while its dead-man button is held.

    Its messages must arrive in time. Axes must be released once before they have an effect: at the
    beginning, after missing or invalid messages, and after the arm was stopped.
    """

    def __init__(
        self, layout: Layout, directions: Sequence[str], dead_zone: float, timeout: float
    ) -> None:
        """Begin in the locked state.

        Args:
            layout: Layout of the device.
            directions: Directions in which the arm can be moved.
            dead_zone: Share of an axis around its centre that counts as the centre.
            timeout: Time for which a message is valid, s.
        """
        self._layout, self._dead_zone, self._timeout = layout, dead_zone, timeout
        if list(directions) == [JOINT]:
            self._axes = {JOINT: (layout.axes[0], layout.signs[0])}
        else:
            rows = zip(AXES, layout.axes, layout.signs, strict=True)
            self._axes = {name: (axis, sign) for name, axis, sign in rows if name in directions}
        self._at = -math.inf
        self._values: Sequence[float] = ()
        self._pressed: Sequence[int] = ()
        self._locked = True

    def describe(self) -> list[str]:
        """Layout as lines for the screen."""
        axes = [f"axis {axis} {name}" for name, (axis, _) in self._axes.items() if axis >= 0]
        buttons = [
            f"button {number} {_TEXTS.get(name, name.replace('_', ' '))}"
            for name, number in self._layout.buttons.items()
            if number >= 0
        ]
        return [", ".join(axes), ", ".join(buttons)]

    def let_go(self) -> None:
        """Stop the motion until all axes are released."""
        self._locked = True

    def take(self, axes: Sequence[float], buttons: Sequence[int], now: float) -> list[str]:
        """Process a message received at a time, in s; return events of newly pressed buttons."""
        before = self._pressed
        # At the first message it is unknown since when a button has been held.
        first = self._at == -math.inf
        self._values, self._pressed, self._at = axes, buttons, now
        self.desired(now)  # also detects a short release
        return [
            event
            for event, number in self._layout.buttons.items()
            if event != "deadman"
            and _is_held(buttons, number)
            and not first
            and not _is_held(before, number)
        ]

    def desired(self, now: float) -> TeleopCommand:
        """Teleoperation command at a time, in s."""
        if fault := self._fault(now):
            self._locked = True
            return TeleopCommand(hint=fault)
        number = self._layout.buttons["deadman"]
        is_held = number < 0 or bool(self._pressed[number])
        motion = self._motion() if is_held else {}
        if not motion:
            self._locked = False
            return TeleopCommand(hint="" if is_held else f"hold button {number} to move")
        if self._locked:
            return TeleopCommand(hint="let everything go once, then it moves")
        return TeleopCommand(motion)

    def held(self, now: float) -> bool | None:
        """True while the dead-man button, or without one an axis, is held; None if unknown."""
        if self._fault(now):
            return None
        number = self._layout.buttons["deadman"]
        return bool(self._pressed[number]) if number >= 0 else bool(self._motion())

    def _fault(self, now: float) -> str:
        """Reason why the state of the device is unknown; empty if the message is valid."""
        if now - self._at > self._timeout:
            return "no message of the joystick" if self._values else "no joystick yet"
        number = self._layout.buttons["deadman"]
        if number >= len(self._pressed):
            return f"the joystick has no button {number} to hold, see joy.deadman"
        for name, (axis, _) in self._axes.items():
            if axis >= len(self._values):
                return f"the joystick has no axis {axis} for {name}, see joy.axes"
            if axis >= 0 and not math.isfinite(self._values[axis]):
                return f"axis {axis} of the joystick is not a number"
        return ""

    def _motion(self) -> dict[str, float]:
        shares = {
            name: sign * self._outside(self._values[axis])
            for name, (axis, sign) in self._axes.items()
            if axis >= 0
        }
        return {name: share for name, share in shares.items() if share}

    def _outside(self, value: float) -> float:
        """Value of an axis beyond its dead zone, -1 to 1, starting at 0."""
        beyond = min(abs(value), 1.0) - self._dead_zone
        return math.copysign(max(0.0, beyond) / (1.0 - self._dead_zone), value)


def _is_held(buttons: Sequence[int], number: int) -> bool:
    return 0 <= number < len(buttons) and bool(buttons[number])
