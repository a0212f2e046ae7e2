"""Questions to the operator who judges: at a terminal and on pages, each answered once."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from ebm_policy_ros.nodes.common.parameters import Setting
from ebm_policy_ros.nodes.common.terminal import Terminal, open_terminal
from ebm_policy_ros.operator.commands import ALWAYS
from ebm_policy_ros.teleop.keyboard import Key, key_map
from ebm_policy_ros.util.quoting import quote

SETTINGS = (
    Setting(
        "keys", True, "Ask at the terminal too; false: only pages of operator_node may answer."
    ),
    Setting(
        "answer",
        "",
        "Answer to the question on ~/question: its number and one of its answers, as `7 success`. "
        "It is refused if that question is answered already, or over.",
        fixed=False,
    ),
)
"""Parameters of a node that asks."""
# The question is told again so often, s, so that those who hear it know that somebody asks.
_PERIOD = 0.5
# Time without a turn of one of the two threads after which this process hung, s: what was answered
# meanwhile, or so long ago, comes too late for what lets the arm move.
_HUNG = 2.0
_MOVES = ("begin", "reset")
_LINES = 5
_FAREWELL = Duration(seconds=0.5)
_ANSWER = re.compile(r"(?:(\d{1,18}) )?([a-z]+)", re.ASCII)


class Questions:
    """The present question, its answer, and what else the operator reads.

    Keys and pages go one way: an answer counts if the question that was read when it was given is
    still open. The first one closes it. STOP and the end for now count always.
    """

    def __init__(self, node: Node, keys: Sequence[Key], terminal: Terminal | None) -> None:
        """Open the topic, and show the keys.

        Args:
            node: Node that asks; it has declared `SETTINGS`.
            keys: Keys with the answers as their events.
            terminal: Terminal for keys and output; None for pages alone.
        """
        self._node, self._keys, self._terminal = node, keys, terminal
        self._names = {key.name: key.event for key in keys}
        self._lock = threading.Lock()
        # The numbers of a node that is started again go on.
        self._number = int(time.time())
        self._asked: Mapping[str, str] = {}
        self._is_open = self._has_ended = False
        self._events: list[tuple[str, float]] = []
        # Last turns of the thread that acts on answers, and of the one that hears pages.
        self._acted = self._turned = time.monotonic()
        self._text = self._remark = self._told = ""
        self._lines: deque[str] = deque(maxlen=_LINES)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(String, "~/question", latched)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_PERIOD, self._tell_again, clock=steady)
        node.add_on_set_parameters_callback(self._on_parameters)
        self._help()

    def ask(self, text: str, answers: Mapping[str, str]) -> None:
        """Ask anew; what was answered before does not count.

        Args:
            text: Question.
            answers: What each answer means, as `begin; the arm may move`; none: nothing is asked.
        """
        self._read()
        with self._lock:
            self._number += 1
            self._asked, self._is_open = answers, bool(answers)
            self._events = [given for given in self._events if given[0] in ALWAYS]
            self._text, self._remark = text, ""
        self._show()

    def ask_again(self) -> None:
        """Ask the same anew; what was answered before does not count."""
        self.ask(self._text, self._asked)

    def show(self, text: str, remark: str = "") -> None:
        """Replace the text of the question, and a remark on it."""
        with self._lock:
            self._text, self._remark = text, remark
        self._show()

    def say(self, text: str) -> None:
        """Tell something that stays to be read."""
        if self._terminal is None:
            self._node.get_logger().info(text)
        else:
            self._terminal.say(text)
        self.note(text)

    def note(self, text: str) -> None:
        """Tell pages alone something that stays to be read."""
        with self._lock:
            self._lines.append(text)
        self._publish()

    def take(self, *wanted: str) -> str:
        """Oldest of some events, which is then removed; empty if there is none.

        One that lets the arm move and was given long ago does not count: it is asked anew.
        """
        self._read()
        with self._lock:
            given = next((given for given in self._events if given[0] in wanted), None)
            if given is None:
                return ""
            self._events.remove(given)
        event, moment = given
        if event in _MOVES and time.monotonic() - moment > _HUNG:
            self.ask_again()
            return ""
        return event

    def close(self) -> None:
        """Tell the pages that nobody asks any more, and restore the terminal."""
        self._timer.cancel()
        with self._lock:
            self._has_ended, self._is_open = True, False
        self._publish()
        self._publisher.wait_for_all_acked(_FAREWELL)
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None

    # Answers

    def _read(self) -> None:
        """Take the keys that were pressed; for the thread that acts on answers."""
        number = self._number
        self._look_at_clock(self._acted)
        self._acted = time.monotonic()
        for name in () if self._terminal is None else self._terminal.keys():
            event = self._names.get(name, "")
            if event == "help":
                self._help()
            elif event:
                self._take_in(event, number)

    def _on_parameters(self, parameters: Sequence[Any]) -> SetParametersResult:
        """Take an answer of a page."""
        reason = ""
        if sum(parameter.name == "answer" for parameter in parameters) > 1:
            reason = "answer: got several at once, expected one"
            return SetParametersResult(successful=False, reason=reason)
        self._look_at_clock(min(self._acted, self._turned))
        self._turned = time.monotonic()
        for parameter in parameters:
            if parameter.name == "answer":
                found = _ANSWER.fullmatch(str(parameter.value))
                if found is None:
                    got = quote(parameter.value)
                    reason = f"answer: got {got}, expected a question's number and an answer"
                else:
                    reason = self._take_in(found[2], int(found[1] or 0))
        return SetParametersResult(successful=not reason, reason=reason)

    def _take_in(self, event: str, number: int) -> str:
        """Take an answer to a question; the reason why it does not count, empty if it does."""
        with self._lock:
            if event not in ALWAYS:
                if number != self._number or not self._is_open:
                    return "this question is answered already, or over"
                if event not in self._asked:
                    return f"got {event}, expected one of: {', '.join(self._asked)}"
                self._is_open = False
            self._events.append((event, time.monotonic()))
        self._publish()
        return ""

    # What is read

    def _help(self) -> None:
        if self._terminal is not None:
            for line in key_map(self._keys):
                self._terminal.say(line)

    def _show(self) -> None:
        if self._terminal is not None:
            parts = self._text, self._hint(), self._remark
            self._terminal.show(" | ".join(filter(None, parts)))
        if self._content() != self._told:
            self._publish()

    def _hint(self) -> str:
        """Keys of the open question, and what they mean."""
        keys = {event: name for name, event in self._names.items()}
        answers = self._asked if self._is_open else {}
        return ", ".join(f"{keys[event]}: {words}" for event, words in answers.items())

    def _content(self) -> str:
        content = {
            "question": self._number,
            "text": self._text,
            "remark": self._remark,
            "answers": self._asked if self._is_open else {},
            "lines": list(self._lines),
            "has_ended": self._has_ended,
        }
        return json.dumps(content)

    def _tell_again(self) -> None:
        """Tell the question again; if nobody would act on an answer, pages shall say silent."""
        hangs = self._look_at_clock(min(self._acted, self._turned))
        self._turned = time.monotonic()
        if not hangs:
            self._publish()

    def _look_at_clock(self, last: float) -> bool:
        """Ask an open question anew if the last turn was long ago, and return True if so."""
        with self._lock:
            hung = self._is_open and time.monotonic() - last > _HUNG
            self._number += hung
        return hung

    def _publish(self) -> None:
        with self._lock:  # nothing may come after the end
            self._told = self._content()
            self._publisher.publish(String(data=self._told))


def terminal_of(given: Terminal | None, keys: bool) -> Terminal | None:
    """Terminal of a node that asks; None if pages alone answer.

    Args:
        given: Terminal to use instead of that of the process.
        keys: Value of the parameter `keys`.

    Raises:
        ValueError: If keys are wanted and there is no terminal.
    """
    if not keys:
        return None
    terminal = given or open_terminal()
    if terminal is None:
        raise ValueError(
            "judge_policy needs a terminal, in the foreground: start it by itself; or answer on "
            "the operator's page, with --keys false"
        )
    return terminal
