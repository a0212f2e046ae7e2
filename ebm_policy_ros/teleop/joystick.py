"""Gamepads and 3-D mice: axes and buttons of sensor_msgs/Joy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ebm_policy_ros.teleop.mapping import JOINT, TeleopCommand

AXES = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
"""What the entries of `Layout.axes` move, in their order; of joints the first moves the chosen
one."""


@dataclass(frozen=True)
class Layout:
    """Which axis and button of a device does what; -1 for none."""

    axes: tuple[int, ...]
    """An axis for each of `AXES`."""
    signs: tuple[float, ...]
    """Its factor, -1 where it counts the other way."""
    buttons: Mapping[str, int]
    """The button of each event, and of `deadman`."""

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
    "start", "success", "failure", "discard", "rerecord",
)  # fmt: skip
"""What a button can do."""

_TEXTS = {"deadman": "hold to move", "grip_low": "gripper to its low", "grip_high": "to its high"}
_NONE = dict.fromkeys(BUTTONS, -1)
LAYOUTS = {
    # joy_node with an Xbox controller: sticks up and to the left are positive.
    "gamepad": Layout(
        axes=(1, 0, 4, 6, 7, 3),
        signs=(1.0,) * 6,
        buttons=_NONE
        | {"deadman": 4, "next_joint": 5, "grip_low": 0, "grip_high": 1}
        | {"failure": 2, "success": 3, "discard": 6, "start": 7},
    ),
    # spacenav_node: its axes are already forward, left, up and the turns about them.
    "spacemouse": Layout(
        axes=(0, 1, 2, 3, 4, 5), signs=(1.0,) * 6, buttons=_NONE | {"deadman": 0, "next_joint": 1}
    ),
}
"""By the name of the source."""


class Joystick:
    """A device that moves the arm while its dead-man button is held and its messages come.

    Whatever is held at first, after messages were missing or at fault, or when somebody stopped
    the arm, has to be let go once before it counts.
    """

    def __init__(
        self, layout: Layout, directions: Sequence[str], dead_zone: float, timeout: float
    ) -> None:
        """Nothing is held yet.

        Args:
            layout: Of the device.
            directions: In which the arm can be moved.
            dead_zone: Share of an axis around its middle that counts as the middle.
            timeout: How long a message counts, s.
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
        """The layout as lines for a screen."""
        axes = [f"axis {axis} {name}" for name, (axis, _) in self._axes.items() if axis >= 0]
        buttons = [
            f"button {number} {_TEXTS.get(name, name.replace('_', ' '))}"
            for name, number in self._layout.buttons.items()
            if number >= 0
        ]
        return [", ".join(axes), ", ".join(buttons)]

    def let_go(self) -> None:
        """Move no longer, until everything was let go."""
        self._locked = True

    def take(self, axes: Sequence[float], buttons: Sequence[int], now: float) -> list[str]:
        """Take a message that came at a time, in s; the events of buttons newly pressed."""
        before = self._pressed
        # Until the first message nobody knows what has been held all along.
        first = self._at == -math.inf
        self._values, self._pressed, self._at = axes, buttons, now
        self.desired(now)  # also what was let go for a moment was let go
        return [
            event
            for event, number in self._layout.buttons.items()
            if event != "deadman"
            and _is_held(buttons, number)
            and not first
            and not _is_held(before, number)
        ]

    def desired(self, now: float) -> TeleopCommand:
        """The motion that is wanted at a time, in s."""
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

    def _fault(self, now: float) -> str:
        """Why nobody knows what is held; empty if the message tells."""
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
        """What is left of an axis beyond its dead zone, -1 to 1, beginning at 0."""
        beyond = min(abs(value), 1.0) - self._dead_zone
        return math.copysign(max(0.0, beyond) / (1.0 - self._dead_zone), value)


def _is_held(buttons: Sequence[int], number: int) -> bool:
    return 0 <= number < len(buttons) and bool(buttons[number])
