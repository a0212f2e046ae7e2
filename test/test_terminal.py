"""Keys and status on a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import termios
import time
from collections.abc import Iterator

import pytest
from text_screen import TextScreen

from ebm_policy_ros.nodes.common.terminal import Terminal


@pytest.fixture
def pair() -> Iterator[tuple[int, Terminal]]:
    """Operator's end and the node's end of a pseudo-terminal."""
    person, node = pty.openpty()
    terminal = Terminal(os.ttyname(node))
    yield person, terminal
    terminal.close()
    os.close(person)
    os.close(node)


def pressed(person: int, terminal: Terminal, data: bytes) -> list[str]:
    os.write(person, data)
    return terminal.keys()


def test_keys_arrive_by_name_without_enter(pair: tuple[int, Terminal]) -> None:
    assert pressed(*pair, b"w\x1b[A\x1b[Ds \x7f\x1b[5~") == [
        "w", "up", "left", "s", "space", "backspace", "page_up",
    ]  # fmt: skip
    assert pressed(*pair, b"") == []


def test_bytes_that_are_no_key_are_passed_over(pair: tuple[int, Terminal]) -> None:
    assert pressed(*pair, "ä\x01q".encode()) == ["q"]


@pytest.mark.parametrize(
    "sequence",
    [
        pytest.param(b"\x1b[1;5B", id="Ctrl+Down"),
        pytest.param(b"\x1b[3~", id="Delete"),
        pytest.param(b"\x1b[15~", id="F5"),
        pytest.param(b"\x1b[d", id="Shift+Left of rxvt"),
        pytest.param(b"\x1b[[B", id="F2 of Linux"),
        pytest.param(b"\x1b\x1b[B", id="Alt+Down of rxvt"),
        pytest.param(b"\x1bB", id="Alt+B"),
        pytest.param(b"\x1bOP", id="F1"),
    ],
)
def test_a_key_that_has_no_name_is_no_other_key(
    pair: tuple[int, Terminal], sequence: bytes
) -> None:
    assert pressed(*pair, b"w" + sequence + b"s") == ["w", "s"]
    for cut in range(1, len(sequence)):
        assert pressed(*pair, sequence[:cut]) + pressed(*pair, sequence[cut:] + b"s") == ["s"]


def test_a_sequence_may_come_in_two_pieces_and_escape_alone_counts_after_a_moment(
    pair: tuple[int, Terminal],
) -> None:
    _, terminal = pair
    assert pressed(*pair, b"w\x1b") == ["w"]
    assert pressed(*pair, b"[B") == ["down"]
    assert pressed(*pair, b"\x1b") == []
    deadline = time.monotonic() + 10.0
    while not (keys := terminal.keys()):
        assert time.monotonic() < deadline
    assert keys == ["escape"]
    assert pressed(*pair, b"B") == ["B"]


def test_the_status_is_replaced_and_lines_are_printed_above_it(
    pair: tuple[int, Terminal],
) -> None:
    person, terminal = pair
    terminal.show("one")
    terminal.show("one")
    terminal.say("hello")
    terminal.show("two")
    shown = ""
    while not shown.endswith("two"):  # what is written may come in pieces
        shown += os.read(person, 1000).decode().replace("\r\n", "\n")
    assert shown == "\r\x1b[Kone\r\x1b[Khello\none\r\x1b[Ktwo"


def test_a_screen_is_written_where_it_changed_and_restored_after_output_of_others() -> None:
    person, node = pty.openpty()
    terminal, seen = Terminal(os.ttyname(node)), TextScreen()
    assert terminal.size == (80, 24)

    def read(end: str) -> str:
        text = ""
        while end not in text:
            text += os.read(person, 1000).decode()
        seen.feed(text)
        return text

    terminal.draw(["one", "two", "three"])
    read("three")
    assert seen.is_open and seen.text == "one\ntwo\nthree"
    terminal.draw(["one", "\x1b[1mTWO\x1b[m", "three"])
    assert read("TWO\x1b[m") == "\x1b[2H\x1b[K\x1b[1mTWO\x1b[m"
    assert seen.text == "one\nTWO\nthree"
    terminal.draw(["only"])
    read("only")
    assert seen.text == "only"
    os.write(node, b"\x1b[1Hsomebody else")
    read("somebody else")
    assert seen.text == "somebody else"
    deadline = time.monotonic() + 10.0
    while not select.select([person], [], [], 0.0)[0]:
        assert time.monotonic() < deadline
        terminal.draw(["only"])
    read("only")
    assert seen.text == "only"
    terminal.close()
    read("1049l")
    assert not seen.is_open
    os.close(person)
    os.close(node)


def test_closing_gives_the_terminal_back_as_it_was() -> None:
    person, node = pty.openpty()
    before = termios.tcgetattr(node)
    terminal = Terminal(os.ttyname(node))
    assert termios.tcgetattr(node) != before
    terminal.close()
    terminal.close()
    assert termios.tcgetattr(node) == before
    os.close(person)
    os.close(node)


def test_nothing_but_ctrl_c_stops_the_process_or_the_screen(pair: tuple[int, Terminal]) -> None:
    person, terminal = pair
    # Ctrl-Z, Ctrl-\, Ctrl-S.
    assert pressed(person, terminal, b"\x1a\x1c\x13w") == ["w"]
    terminal.say("still here")
    assert b"still here" in os.read(person, 1000)


def test_a_window_that_takes_nothing_stops_nobody_and_is_whole_afterwards(
    pair: tuple[int, Terminal],
) -> None:
    person, terminal = pair
    for number in range(1000):
        terminal.draw([f"{number} " + "x" * 100, "end"])
    while select.select([person], [], [], 0.0)[0]:
        os.read(person, 1 << 16)
    terminal.draw(["one", "end"])
    seen = TextScreen()
    seen.feed(os.read(person, 1 << 16).decode())
    assert seen.text == "one\nend"
    for number in range(1000):
        terminal.say(f"{number} " + "x" * 100)
    assert terminal.keys() == []


def test_a_file_that_is_no_terminal_is_refused(tmp_path: object) -> None:
    path = f"{tmp_path}/file"
    open(path, "w").close()
    with pytest.raises(OSError):
        Terminal(path)
