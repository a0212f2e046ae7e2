"""Keys and status on a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import termios
from collections.abc import Iterator

import pytest

from ebm_policy_ros.nodes.terminal import Terminal


@pytest.fixture
def pair() -> Iterator[tuple[int, Terminal]]:
    """The person's end, and the node's."""
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
    assert pressed(*pair, b"w\x1b[A\x1b[Ds \x7f\x1b[5~\x1b") == [
        "w", "up", "left", "s", "space", "backspace", "page_up", "escape",
    ]  # fmt: skip
    assert pressed(*pair, b"") == []


def test_bytes_that_are_no_key_are_passed_over(pair: tuple[int, Terminal]) -> None:
    assert pressed(*pair, "ä\x01q".encode()) == ["q"]


def test_the_status_is_replaced_and_lines_are_printed_above_it(
    pair: tuple[int, Terminal],
) -> None:
    person, terminal = pair
    terminal.show("one")
    terminal.show("one")
    terminal.say("hello")
    terminal.show("two")
    assert os.read(person, 1000).decode().replace("\r\n", "\n") == (
        "\r\x1b[Kone\r\x1b[Khello\none\r\x1b[Ktwo"
    )


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
    # Ctrl-Z, Ctrl-\\, Ctrl-S.
    assert pressed(person, terminal, b"\x1a\x1c\x13w") == ["w"]
    terminal.say("still here")
    assert b"still here" in os.read(person, 1000)


def test_a_window_that_takes_nothing_stops_nobody(pair: tuple[int, Terminal]) -> None:
    _, terminal = pair
    for number in range(1000):
        terminal.say(f"{number} " + "x" * 100)
    assert terminal.keys() == []


def test_a_file_that_is_no_terminal_is_refused(tmp_path: object) -> None:
    path = f"{tmp_path}/file"
    open(path, "w").close()
    with pytest.raises(OSError):
        Terminal(path)
