"""Questions before the test moves, which a person answers with a typed word."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from ebm_policy_ros.check.motion import Probe
from ebm_policy_ros.check.order import order_warning
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.nodes.common.arms import RobotStates
from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.util.quoting import cut


class Agreement:
    """Says what is going to happen, and waits for the word that agrees."""

    def __init__(self, terminal: Terminal, interface: Interface, step: Callable[[], Any]) -> None:
        """Prepare.

        Args:
            terminal: Terminal of the person.
            interface: Defines the commands.
            step: Maker of what is yielded while the person thinks.
        """
        self._terminal, self._interface, self._step = terminal, interface, step

    def to_orders(
        self, unproven: Sequence[int], states: RobotStates
    ) -> Generator[Any, None, bool]:
        """Show each order that nobody has told; return True if all are confirmed.

        Args:
            unproven: Numbers of the parts.
            states: Measured state of each part.
        """
        for number in unproven:
            action = self._interface.parts[number].interface.command
            for line in ("", *order_warning(action, states[number].position)):
                self._terminal.say(line)
            question = "Compare with the controller's configuration. Type order if it is the same"
            if not (yield from self._typed(question, "order")):
                return False
        return True

    def to_moves(self, probes: Sequence[Probe]) -> Generator[Any, None, bool]:
        """Say what will move; return True after a typed yes."""
        say = self._terminal.say
        say("\nOne after the other, and each back to where it began:")
        for probe in probes:
            unit = "m/s" if probe.is_length else "rad/s"
            say(
                f"  {cut(probe.subject):<28} {probe.text(probe.amount)}  at {probe.speed:g} {unit}"
            )
        topics = ", ".join(cut(part.interface.command.topic) for part in self._interface.parts)
        say(f"The commands go to {topics}. Grippers don't move. Any key, or Ctrl-C, stops.")
        say("THE ARM WILL MOVE. Is everybody out of its reach, and the emergency stop at hand?")
        question = "Type yes to move it, anything else to leave it"
        return (yield from self._typed(question, "yes"))

    def _typed(self, question: str, word: str) -> Generator[Any, None, bool]:
        """Wait for a line; return True if it is the word."""
        self._terminal.keys()  # pressed before the question
        line = ""
        while True:
            self._terminal.show(f"{question}: {line}")
            for key in self._terminal.keys():
                if key == "enter":
                    self._terminal.show("")
                    return line == word
                line = line[:-1] if key == "backspace" else line + key
            yield self._step()
