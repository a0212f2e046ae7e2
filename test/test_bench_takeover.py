"""The benchmark of takeovers: when it begins, and which takeovers it calls missed."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

import takeover


class ScriptedPerson(takeover.Person):
    """A person whose commands arrive as a script says, without nodes."""

    def __init__(self, *outcomes: str | None) -> None:
        """Take the outcomes of the takeovers: nothing is well, a text is what a node logs.

        A text that ends with ! is of a node that lets the arm move meanwhile.
        """
        self._outcomes = list(outcomes)
        self._last = (0.0, 0.0, 0.0)
        self.logged = ["teleop_node: holding: of an earlier takeover"]

    def command(self, x: float, y: float) -> float:
        """Command a velocity; a positive one begins a takeover."""
        outcome = self._outcomes.pop(0) if x > 0 else None
        if outcome is not None:
            self._last = (0.0, 0.1, 0.0) if outcome.endswith("!") else (0.0, 0.0, 0.0)
            self.logged += [outcome] if outcome else []
            raise TimeoutError
        return 1.0

    def let_go(self) -> float:
        """Let go."""
        return 1.0

    def pause(self, seconds: float) -> None:
        """Wait for nothing."""


def test_the_measurement_begins_when_the_nodes_have_found_each_other() -> None:
    person = ScriptedPerson("nobody listens", "nobody listens", None, "left")
    person.rehearse()
    with pytest.raises(TimeoutError):
        ScriptedPerson(*["nobody listens"] * 9).rehearse()
    found = takeover.measure(person, 1)
    assert found.missed == [["left"]], "the rehearsal has no part in what is measured"


def test_a_takeover_is_missed_unless_a_node_told_why_it_holds_and_the_arm_stands() -> None:
    held = "teleop_node: holding: tool (tool_pose): 0.2 s old, at most 0.15 s allowed"
    person = ScriptedPerson(None, held, "", f"{held}!", None)
    found = takeover.measure(person, 5)
    assert found.held == [[held]]
    assert found.missed == [[], [f"{held}!"]]
    assert found.times == {"begin": [1.0] * 2, "change": [1.0] * 2, "let go": [1.0] * 2}
