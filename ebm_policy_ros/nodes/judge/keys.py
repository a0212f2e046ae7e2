"""Keys of the operator who judges trials on an arm."""

from __future__ import annotations

from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.teleop.keyboard import Key, key_map

_KEYS = (
    Key("enter", "begin the trial; the arm may move", event="begin"),
    Key("Y", "it was a success", event="success"),
    Key("N", "it was a failure", event="failure"),
    Key("X", "void: repeat it", event="void"),
    Key("space", "STOP", event="stop"),
    Key("escape", "STOP", event="stop"),
    Key("R", "leave the stop; the arm may move", event="reset"),
    Key("Q", "end for now, between two trials", event="quit"),
    Key("?", "these keys", event="help"),
)
_EVENTS = {key.name: key.event for key in _KEYS}
# What a prompt asks for must be answered after it was read.
_ANSWERS = ("begin", "success", "failure", "void", "reset")


class OperatorKeys:
    """Events of the pressed keys, each kept until it is taken or forgotten."""

    def __init__(self, terminal: Terminal) -> None:
        """Show the keys.

        Args:
            terminal: Terminal for keys and output.
        """
        self._terminal = terminal
        self._events: list[str] = []
        self._help()

    def _help(self) -> None:
        for line in key_map(_KEYS):
            self._terminal.say(line)

    def take(self, *wanted: str) -> str:
        """Oldest of some events, which is then removed; empty if there is none."""
        self._read()
        event = next((event for event in self._events if event in wanted), "")
        if event:
            self._events.remove(event)
        return event

    def forget(self) -> None:
        """Forget all answers that were pressed ahead; STOP and the end for now stay."""
        self._read()
        self._events = [event for event in self._events if event not in _ANSWERS]

    def _read(self) -> None:
        for name in self._terminal.keys():
            if event := _EVENTS.get(name):
                if event == "help":
                    self._help()
                else:
                    self._events.append(event)
