"""operate_terminal: the state in a line, and keys that command."""

from __future__ import annotations

import os
import pty
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("aiohttp")

from robot import parameters
from station import Station

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.nodes.operator.terminal_node import OperateTerminal, line
from ebm_policy_ros.operator.words import Situation, commander, situation

pytestmark = pytest.mark.ros

TIMEOUT = 30.0


class Screen:
    """The far end of the node's terminal."""

    def __init__(self, station: Station) -> None:
        self._far, self._near = pty.openpty()
        os.set_blocking(self._far, False)
        self._seen = ""
        terminal = Terminal(os.ttyname(self._near))
        station.add(lambda **options: OperateTerminal(terminal, **options))

    def press(self, key: str) -> None:
        os.write(self._far, key.encode())

    def shows(self, text: str) -> None:
        """Wait for a text that was not there before the last one that was waited for."""
        deadline = time.monotonic() + TIMEOUT
        while text not in self._seen:
            assert time.monotonic() < deadline, self._seen
            try:
                self._seen += os.read(self._far, 1 << 16).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.02)
        self._seen = self._seen.partition(text)[2]

    def close(self) -> None:
        os.close(self._far)
        os.close(self._near)


@pytest.fixture
def screen(station: Station) -> Iterator[Screen]:
    screen = Screen(station)
    yield screen
    screen.close()


def test_keys_stop_reset_and_set_the_speed(station: Station, screen: Screen) -> None:
    screen.shows("STOP, until it is confirmed")
    screen.shows("No policy node: /policy_node was never heard")
    policy = station.add_policy()
    screen.shows("Moving the arm: at 100 % of its speed")
    for key in (" ", "\x1b"):
        screen.press(key)
        screen.shows("page: STOP by the terminal")
        screen.shows("page: STOP confirmed after")
        assert policy.safety.state is SafetyState.STOPPED
        screen.shows("Stopped: ~/stop was called")
        screen.press("S")
        screen.shows("start: refused: stopped: ~/stop was called; call ~/reset")
        screen.press("R")
        screen.shows("page: reset: reset")
        screen.shows("Moving the arm")
    screen.press("-")
    screen.shows("speed 0.9: speed is 0.9")
    screen.press("V")
    screen.shows("Shadow: proposes commands")
    assert policy.values["speed"] == 0.9 and not policy.values["publish_commands"]


def test_the_arm_is_commanded_again_only_by_two_presses(station: Station, screen: Screen) -> None:
    policy = station.add_policy(publish_commands=False)
    screen.shows("Shadow: proposes commands")
    screen.press("V")
    screen.shows("the arm moves? The same key or button again within 3 s does it")
    screen.press("-")
    screen.shows("speed 0.9: speed is 0.9")
    screen.press("V")
    screen.shows("the arm moves? The same key or button again within 3 s does it")
    assert not policy.values["publish_commands"]
    screen.press("V")
    screen.shows("Moving the arm")
    assert policy.values["publish_commands"]


def test_no_key_but_stop_acts_on_a_state_that_is_not_heard(
    station: Station, screen: Screen
) -> None:
    refused = (
        ("policy start", "S"),
        ("reset", "R"),
        ("shadow", "V"),
        ("faster", "+"),
        ("slower", "-"),
    )
    for event, key in refused:
        screen.press(key)
        screen.shows(f"{event}: refused: /policy_node was never heard")
    policy = station.add_policy(publish_commands=False)
    screen.shows("Shadow: proposes commands")
    station.remove(policy)
    screen.shows("/policy_node is silent for")
    for key in "VV":
        screen.press(key)
        screen.shows("live: refused: /policy_node is silent for")
    screen.press(" ")
    screen.shows("STOP is not confirmed, trying on")
    policy = station.add_policy()
    screen.shows("page: STOP confirmed after")
    assert policy.safety.state is SafetyState.STOPPED


def test_a_key_that_deletes_asks_first(station: Station, screen: Screen) -> None:
    screen.press("X")
    screen.shows("discard it? The same key or button again within 3 s does it")
    screen.press("X")
    screen.shows("record discard: refused: nobody offers recorder_node/discard; start recorder")


def test_without_a_terminal_the_node_says_so(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "ebm_policy_ros.nodes.operator.terminal_node.open_terminal"
    monkeypatch.setattr(name, lambda: None)
    with pytest.raises(ValueError, match="operate_terminal needs a terminal"):
        OperateTerminal(context=context, parameter_overrides=parameters())


HEARD = {"node": "/policy_node", "is_heard": True, "silence_s": 0.1, "lifecycle": "active"}
MOVING = {**HEARD, "state": "fresh", "reason": "", "speed": 0.35}


@pytest.mark.parametrize(
    ("policy", "stopping", "expected"),
    [
        (MOVING, None, Situation("Moving the arm", "at 35 % of its speed", "good")),
        (MOVING, 0.25, Situation("Stopping", "not confirmed for 0.2 s", "bad")),
        ({**MOVING, "unsure": ["a", "b"]}, None, Situation("Unsure", "a; b", "look")),
        ({**MOVING, "shadow": True, "unsure": ["a"]}, None,
         Situation("Shadow", "proposes commands; the arm does not move", "calm")),
        ({**MOVING, "unsure": ["a"], "commander": "person", "taken_by": "/teleop_node"}, None,
         Situation("Moving the arm", "as /teleop_node commands", "look")),
        ({**MOVING, "shadow": True, "commander": "person"}, None,
         Situation("Shadow", "a person's commands are proposed alone", "calm")),
        ({**MOVING, "state": "hold", "reason": "no camera"}, None,
         Situation("Standing still", "no camera", "look")),
        ({**MOVING, "lifecycle": "inactive"}, None,
         Situation("Inactive", "nothing moves", "calm")),
        ({**HEARD, "lifecycle": "unconfigured", "state": "hold"}, None,
         Situation("Not started", "nothing moves", "calm")),
        ({**HEARD, "lifecycle": "unconfigured", "state": "stopped", "reason": "~/stop"}, None,
         Situation("Stopped", "~/stop", "bad")),
        ({**MOVING, "is_heard": False, "silence_s": 7.2}, None,
         Situation("No policy node", "/policy_node is silent for 7 s", "bad")),
        ({**MOVING, "is_heard": False, "silence_s": None}, None,
         Situation("No policy node", "/policy_node was never heard", "bad")),
    ],
)  # fmt: skip
def test_each_state_has_a_word_and_a_reason(
    policy: dict[str, Any], stopping: float | None, expected: Situation
) -> None:
    assert situation(policy, stopping) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({**MOVING, "commander": "policy"}, "The policy commands"),
        ({**MOVING, "commander": "person"}, "A person commands"),
        ({**MOVING, "commander": "nobody"}, "Nobody commands"),
        ({**MOVING, "commander": "person", "is_heard": False}, ""),
        (MOVING, ""),
    ],
)
def test_who_commands_is_told_in_words(policy: dict[str, Any], expected: str) -> None:
    assert commander(policy) == expected


def test_the_line_does_not_name_a_policy_of_a_blind_comparison() -> None:
    policy = {"is_heard": True, "lifecycle": "active", "streams": [], "policy": "push.safetensors"}
    state = {"policy": policy, "recorder": {"is_heard": False}}
    assert line(state, None).endswith("| push.safetensors")
    policy["hidden"] = True
    assert line(state, None).endswith("| hidden")
