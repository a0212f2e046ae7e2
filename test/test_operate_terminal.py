"""operate_terminal: the state on a screen of text, and keys that command."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import termios
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("aiohttp")

from robot import parameters
from station import Station
from std_msgs.msg import String
from text_screen import TextScreen

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.nodes.operator.terminal_node import OperateTerminal
from ebm_policy_ros.operator.screen import screen as screen_of
from ebm_policy_ros.operator.words import Situation, alarm, commander, situation

pytestmark = pytest.mark.ros

TIMEOUT = 30.0


class Screen:
    """The far end of the node's terminal."""

    def __init__(self, station: Station) -> None:
        self._far, self._near = pty.openpty()
        fcntl.ioctl(self._near, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.set_blocking(self._far, False)
        self.seen = TextScreen()
        terminal = Terminal(os.ttyname(self._near))
        self.node = station.add(lambda **options: OperateTerminal(terminal, **options))

    def press(self, key: str) -> None:
        os.write(self._far, key.encode())

    def shows(self, *texts: str) -> None:
        """Wait until each text is on the screen."""
        deadline = time.monotonic() + TIMEOUT
        while not all(text in self.seen.text for text in texts):
            assert time.monotonic() < deadline, self.seen.text
            self.read()
            time.sleep(0.02)

    def read(self) -> None:
        try:
            self.seen.feed(os.read(self._far, 1 << 16).decode(errors="replace"))
        except BlockingIOError:
            pass

    def close(self) -> None:
        os.close(self._far)
        os.close(self._near)


@pytest.fixture
def screen(station: Station) -> Iterator[Screen]:
    screen = Screen(station)
    yield screen
    screen.close()


def test_keys_stop_reset_and_set_the_speed(station: Station, screen: Screen) -> None:
    screen.shows("No policy node: /policy_node was never heard", "space STOP   escape STOP")
    policy = station.add_policy()
    screen.shows("Moving the arm: at 100 % of its speed", "The policy commands")
    for key in (" ", "\x1b"):
        screen.press(key)
        screen.shows("Stopped: ~/stop was called")
        assert policy.safety.state is SafetyState.STOPPED
        screen.press("S")
        screen.shows("start: refused: stopped: ~/stop was called; call ~/reset")
        screen.press("R")
        screen.shows("Moving the arm")
        screen.shows("STOP by the terminal", "STOP confirmed after", "reset: reset")
    screen.press("-")
    screen.shows("speed 0.9: speed is 0.9")
    screen.press("V")
    screen.shows("Shadow: proposes commands", "90 %   shadow: commands are only proposed")
    assert policy.values["speed"] == 0.9 and not policy.values["publish_commands"]


def test_the_arm_is_commanded_again_only_by_two_presses(station: Station, screen: Screen) -> None:
    policy = station.add_policy(publish_commands=False)
    screen.shows("Shadow: proposes commands")
    question = "the arm moves? The same key or button again within 3 s does it"
    screen.press("V")
    screen.shows(question)
    screen.press("-")
    screen.shows("speed 0.9: speed is 0.9")
    assert question not in screen.seen.text
    screen.press("V")
    screen.shows(question)
    assert not policy.values["publish_commands"]
    screen.press("V")
    screen.shows("Moving the arm")
    assert policy.values["publish_commands"]


def test_no_key_but_stop_acts_on_a_state_that_is_not_heard(
    station: Station, screen: Screen
) -> None:
    for event, key in (
        ("policy start", "S"), ("reset", "R"), ("shadow", "V"), ("faster", "+"), ("slower", "-")
    ):  # fmt: skip
        screen.press(key)
        screen.shows(f"{event}: refused: /policy_node was never heard")
    policy = station.add_policy(publish_commands=False)
    screen.shows("Shadow: proposes commands")
    station.remove(policy)
    screen.shows(
        "/policy_node is silent for",
        "The policy node does not answer. STOP may not arrive: use the emergency stop.",
    )
    screen.press("VV")
    screen.shows("live: refused: /policy_node is silent for")
    screen.press(" ")
    screen.shows("STOP is not confirmed, trying on")
    policy = station.add_policy()
    screen.shows("STOP confirmed after")
    assert policy.safety.state is SafetyState.STOPPED


def test_a_key_that_deletes_asks_first(station: Station, screen: Screen) -> None:
    screen.press("X")
    screen.shows("discard it? The same key or button again within 3 s does it")
    screen.press("X")
    screen.shows("record discard: refused: nobody offers recorder_node/discard;")
    screen.shows("         start recorder_node")


def test_an_end_during_a_stop_gives_the_terminal_back(station: Station, screen: Screen) -> None:
    screen.press(" ")
    screen.shows("STOP is not confirmed, trying on")
    assert screen.seen.is_open
    station.remove(screen.node)
    deadline = time.monotonic() + TIMEOUT
    while screen.seen.is_open:
        assert time.monotonic() < deadline
        screen.read()


def test_a_status_of_somebody_else_ends_neither_screen_nor_keys(
    station: Station, screen: Screen
) -> None:
    told = station.robot.node.create_publisher(String, "policy_node/status", 1)
    status = {"lifecycle": "active", "state": "fresh", "speed": "fast", "latest_ms": [1]}
    station.robot.repeat(0.05, lambda: told.publish(String(data=json.dumps(status))))
    screen.shows("state: AttributeError: \"'list' object has no attribute 'get'\"")
    for key in "V+ ":
        screen.press(key)
    policy = station.add_policy(autostart=False)
    deadline = time.monotonic() + TIMEOUT
    while policy.safety.state is not SafetyState.STOPPED:
        assert time.monotonic() < deadline
        screen.read()


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


@pytest.mark.parametrize(
    ("policy", "stopping", "expected"),
    [
        ({**MOVING, "is_heard": False, "silence_s": 7.2}, 3.0,
         "The policy node does not answer. STOP may not arrive: use the emergency stop."),
        ({**MOVING, "is_heard": False, "silence_s": None}, None, ""),
        (MOVING, 0.6, "STOP is not confirmed yet. If the arm moves, use the emergency stop."),
        (MOVING, 0.4, ""),
    ],
)  # fmt: skip
def test_the_emergency_stop_is_named_while_a_stop_may_not_arrive(
    policy: dict[str, Any], stopping: float | None, expected: str
) -> None:
    assert alarm(policy, stopping) == expected


STREAM = {"name": "camera", "age": "0.012", "rate": "30.0", "message": "fine", "is_good": True}
LOUD = {
    **MOVING,
    "commander": "policy",
    "policy": "/runs/push.safetensors",
    "sha256": "0123456789abcdef",
    "latest_ms": {"decision": 21.6},
    "diagnostics": {"decision p50 / p95 / p99 (ms)": "20.0 / 25.1 / 31.0"},
    "thresholds": {"features": 2.0, "colours": 4.0},
    "distances": {"features": 1.0, "colours": 6.0},
    "unsure": ["colours"],
    "streams": [STREAM, {**STREAM, "name": "joints", "message": "too old", "is_good": False}],
}
RECORDING = {
    "is_heard": True,
    "state": "recording",
    "episode": "episode_0003",
    "elapsed_s": 4.4,
    "kept": {"success": 2, "failure": 1, "in_folder": 14, "successes_in_folder": 11},
    "target": 20,
    "disk_free_bytes": 2**31,
    "disk_left_s": 600.0,
    "warnings": ["camera is slow"],
    "next": "keep it (Y)",
}
ENTRY = {"n": 1, "time": 0.0, "level": "info", "source": "page", "text": "STOP"}


def shown(
    policy: dict[str, Any],
    recorder: dict[str, Any] | None = None,
    log: Sequence[dict[str, Any]] = (),
    size: tuple[int, int] = (80, 24),
) -> list[str]:
    """Lines of the screen without their styles."""
    state = {"policy": policy, "recorder": recorder or {"is_heard": False}}
    lines = screen_of(state, None, "", log, ["space STOP", "S start"], size)
    return [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in lines]


def test_the_screen_has_the_numbers_of_the_page() -> None:
    lines = shown(LOUD, RECORDING, [ENTRY])
    assert lines[:14] == [
        "Unsure: colours",
        "The policy commands",
        "",
        "policy     push   sha256 0123456789ab",
        "speed      35 %   live",
        "confidence unsure  features 0.50 ####....|....  colours 1.50 ########|####",
        "times      decision 22 ms            p50 / p95 / p99 20.0 / 25.1 / 31.0",
        "times      stamp to command -        p50 / p95 / p99 -",
        "stream     camera              12 ms     30.0 Hz  fine",
        "stream     joints              12 ms     30.0 Hz  too old",
        "recorder   recording   episode_0003 4 s   kept 2 success, 1 failure",
        "folder     14 episodes, 11 of 20 successes   2.0 GiB free, 10 min",
        "warnings   camera is slow",
        "next       keep it (Y)",
    ]
    assert lines[14].endswith("page: STOP") and lines[-1] == "space STOP   S start"
    assert len(lines) == 24


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 10), (20, 3), (1, 1)])
def test_the_screen_fits_the_terminal(size: tuple[int, int]) -> None:
    policy = {**LOUD, "streams": [{**STREAM, "name": f"stream {n}"} for n in range(30)]}
    lines = shown(policy, RECORDING, [ENTRY] * 100, size)
    assert len(lines) == size[1] and all(len(line) <= size[0] for line in lines)
    assert lines[0] == "Unsure: colours"[: size[0]]


def test_long_texts_go_on_in_the_next_line() -> None:
    long = " ".join(["word"] * 30)
    lines = shown({**MOVING, "state": "hold", "reason": long, "streams": [], "diagnostics": {}},
                  log=[ENTRY, {**ENTRY, "text": long}])  # fmt: skip
    assert lines[0].startswith("Standing still: word") and lines[1].startswith("word word")
    (first,) = (n for n, line in enumerate(lines) if line.endswith("page: STOP"))
    assert lines[first + 1].endswith("word") and lines[first + 2].startswith(" " * 9 + "word")
    assert len(lines) == 24


def test_streams_with_a_problem_are_not_left_out() -> None:
    streams = [{**STREAM, "name": f"stream {n}"} for n in range(30)]
    streams.append({**STREAM, "name": "wrist", "message": "silent", "is_good": False})
    assert any("wrist" in line for line in shown({**LOUD, "streams": streams}))


def test_no_number_of_a_node_that_is_silent_is_shown() -> None:
    lines = shown({**LOUD, "is_heard": False, "silence_s": 7.0}, RECORDING)
    assert lines[:3] == [
        "No policy node: /policy_node is silent for 7 s",
        "-",
        "The policy node does not answer. STOP may not arrive: use the emergency stop.",
    ]
    assert lines[3].startswith("recorder")


def test_the_screen_does_not_name_a_policy_of_a_blind_comparison() -> None:
    lines = shown({**LOUD, "hidden": True})
    assert "policy     hidden" in lines
    assert not any("push" in line or "0123" in line for line in lines)


def test_escape_sequences_of_strangers_are_not_written() -> None:
    policy = {**LOUD, "reason": "\x1b[2J", "state": "hold", "policy": "a\x1b]0;b\x07"}
    text = "".join(
        shown(policy, {**RECORDING, "next": "\x1b[1A\n"}, [{**ENTRY, "text": "\x9b1A"}])
    )
    assert text.isprintable()
