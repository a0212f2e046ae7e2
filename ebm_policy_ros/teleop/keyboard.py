"""Keyboard: one table of keys for both the actions and the help on the screen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ebm_policy_ros.interface import Action
from ebm_policy_ros.teleop.mapping import JOINT, TeleopCommand, directions

# Key for the positive direction, key for the negative one.
_PAIRS = {
    "linear.x": ("w", "s"),
    "linear.y": ("a", "d"),
    "linear.z": ("r", "f"),
    "angular.x": ("o", "u"),
    "angular.y": ("k", "i"),
    "angular.z": ("j", "l"),
    JOINT: ("w", "s"),
}
_DIAGONALS = {"q": (1, 1), "e": (1, -1), "z": (-1, 1), "c": (-1, -1)}


@dataclass(frozen=True)
class Key:
    """A key and its function: a motion or an event."""

    name: str
    """Name from the terminal."""
    text: str
    motion: Mapping[str, float] = field(default_factory=dict)
    event: str = ""


RECORDING = (
    Key("enter", "start an episode", event="start"),
    Key("Y", "keep it as a success", event="success"),
    Key("N", "keep it as a failure", event="failure"),
    Key("X", "discard it", event="discard"),
    Key("B", "discard it, begin anew", event="rerecord"),
)
"""Keys for episodes, the same in every terminal. Capital letters prevent that a slip keeps or
loses an episode: a key that moves the arm in one terminal never deletes in another."""
_DELETING = {key.event: key.text for key in RECORDING if key.event in ("discard", "rerecord")}
LIVE = "live"
"""Event that lets commands of a policy in shadow mode go to the arm."""
_ASKED = {**_DELETING, LIVE: "the arm moves"}
_CONFIRM_WITHIN = 3.0
_CONTROL = (
    Key("t", "take the command topic", event="take"),
    Key("space", "stop, and leave the command topic", event="let_go"),
    Key("?", "these keys", event="help"),
)
_NEXT_PART = (Key("p", "move the next arm", event="next_part"),)
_SPEED = (
    Key("+", "faster", event="faster"),
    Key("=", "faster", event="faster"),
    Key("-", "slower", event="slower"),
)


def key_table(action: Action, source: str, several: bool = False) -> tuple[Key, ...]:
    """List the keys with a function.

    Args:
        action: Command of the interface; only its fields can be moved.
        source: Input device that moves the arm: `keyboard`, or another device beside it.
        several: True if there is another arm to choose.
    """
    keys = _motion_keys(action) if source == "keyboard" else ()
    if source != "leader":
        keys += _SPEED
        if action.gripper is not None:
            name, low, high = action.gripper.name, action.gripper.low, action.gripper.high
            keys += (
                Key("g", f"{name} to {low:g}", event="grip_low"),
                Key("h", f"{name} to {high:g}", event="grip_high"),
            )
        if action.is_joints:
            keys += tuple(
                Key(str(index + 1), f"choose {name}", event=f"joint_{index}")
                for index, name in enumerate(action.fields[:9])
            )
    return keys + (_NEXT_PART if several else ()) + _CONTROL + RECORDING


def _motion_keys(action: Action) -> tuple[Key, ...]:
    keys: list[Key] = []
    found = directions(action)
    for name in found:
        what = "the chosen joint" if name == JOINT else name
        for key, sign in zip(_PAIRS[name], (1.0, -1.0), strict=True):
            keys.append(Key(key, f"{what} {'+' if sign > 0 else '-'}", {name: sign}))
    if {"linear.x", "linear.y"} <= set(found):
        for key, (x, y) in _DIAGONALS.items():
            signs = f"linear.x {'+' if x > 0 else '-'} linear.y {'+' if y > 0 else '-'}"
            keys.append(Key(key, signs, {"linear.x": x, "linear.y": y}))
    return tuple(keys)


def key_map(keys: Sequence[Key]) -> list[str]:
    """Table as lines for the screen."""
    names: dict[str, list[str]] = {}
    for key in keys:
        names.setdefault(key.text, []).append(key.name)
    cells = [f"{' '.join(same):>6}  {text}" for text, same in names.items()]
    half = (len(cells) + 1) // 2
    width = max(map(len, cells[:half])) + 2
    return [
        f"{left:<{width}}{right}".rstrip()
        for left, right in zip(cells[:half], [*cells[half:], ""], strict=False)
    ]


class Confirmation:
    """Accepts what deletes an episode or lets the arm move only if requested twice in a row."""

    def __init__(self) -> None:
        self._event, self._asked = "", 0.0

    def withdraw(self) -> None:
        """Cancel the pending request, for example because another key was pressed."""
        self._event = ""

    def question(self, event: str, now: float) -> str:
        """Question to ask before an event is executed; empty to execute it now.

        Args:
            event: Event of a key or button; any event other than the pending one cancels it.
            now: Current time, s.
        """
        again = event == self._event and now - self._asked <= _CONFIRM_WITHIN
        if again or event not in _ASKED:
            self.withdraw()
        else:
            self._event, self._asked = event, now
        return self.pending(now)

    def pending(self, now: float) -> str:
        """Question that still waits for its second request; empty if there is none.

        Args:
            now: Current time, s.
        """
        if not self._event or now - self._asked > _CONFIRM_WITHIN:
            return ""
        what = _ASKED[self._event]
        return f"{what}? The same key or button again within {_CONFIRM_WITHIN:.0f} s does it"


class Keyboard:
    """Keys as an input device: each key moves the arm until shortly after its last repeat.

    A terminal reports that a key is pressed or repeated, but never that it is released.
    """

    def __init__(self, keys: Sequence[Key], timeout: float) -> None:
        """Use the keys of a table.

        Args:
            keys: Keys from `key_table`.
            timeout: Time for which a key moves the arm after its last repeat, s.
        """
        self._keys = {key.name: key for key in keys}
        self._timeout = timeout
        self.stop()

    def press(self, name: str, now: float) -> str:
        """Process a key received at a time, in s; return its event, or an empty string."""
        key = self._keys.get(name)
        if key is not None and key.motion:
            self._pressed[name] = self._at = now
        return key.event if key is not None else ""

    def stop(self) -> None:
        """Forget the pressed keys."""
        self._pressed: dict[str, float] = {}
        self._at = -math.inf

    def keep(self, now: float) -> None:
        """Count as held from a time on, in s, as if a key that moves the arm had come."""
        self._at = now

    def is_held(self, now: float, seconds: float) -> bool:
        """True if a key that moves the arm, or `keep`, came within the last `seconds`."""
        return now - self._at <= seconds

    def desired(self, now: float) -> TeleopCommand:
        """Teleoperation command of the recently pressed keys, at a time in s."""
        self._pressed = {n: at for n, at in self._pressed.items() if now - at <= self._timeout}
        motion: dict[str, float] = {}
        for name in self._pressed:
            for direction, share in self._keys[name].motion.items():
                motion[direction] = motion.get(direction, 0.0) + share
        return TeleopCommand(
            {d: max(-1.0, min(1.0, share)) for d, share in motion.items() if share}
        )
