"""Questions of judge_policy: answers that come too late, by a clock of the test."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy")

from rclpy.node import Node
from rclpy.parameter import Parameter

from ebm_policy_ros.nodes.common.parameters import declare_all
from ebm_policy_ros.nodes.judge import questions as module
from ebm_policy_ros.nodes.judge.keys import TRIAL_KEYS
from ebm_policy_ros.nodes.judge.questions import SETTINGS, Questions

pytestmark = pytest.mark.ros
OVER = "this question is answered already, or over"
ANSWERS = {"begin": "begin", "reset": "leave the stop", "success": "success"}


class Asked:
    """A question on pages alone, and the time."""

    def __init__(self, node: Node, patch: pytest.MonkeyPatch) -> None:
        self._now, self._node = 100.0, node
        clock = SimpleNamespace(time=lambda: 1000.0, monotonic=lambda: self._now)
        patch.setattr(module, "time", clock)
        self.questions = Questions(node, TRIAL_KEYS, None)
        self.questions.ask("trial 1", ANSWERS)  # number 1001

    def wait(self, seconds: float) -> None:
        """Let time pass in which the thread that acts does not, and the one of ROS does."""
        self._now += seconds
        self.questions._tell_again()

    def answer(self, *texts: str) -> str:
        """Answer as a page does; the reason of a refusal, empty if it counts."""
        parameters = [Parameter("answer", value=text) for text in texts]
        return str(self._node.set_parameters_atomically(parameters).reason)


@pytest.fixture
def asked(context: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    node = Node("judge_node", context=context)
    declare_all(node, SETTINGS)
    asked = Asked(node, monkeypatch)
    yield asked
    asked.questions.close()
    node.destroy_node()


def test_an_answer_counts_for_the_question_that_is_asked(asked: Asked) -> None:
    asked.wait(1.9)
    assert asked.answer("1000 begin") == OVER
    assert asked.answer("1001 begin") == ""
    assert asked.questions.take("begin") == "begin"


def test_while_nobody_acts_no_answer_counts_but_stop(asked: Asked) -> None:
    asked.wait(2.1)
    assert asked.answer("1001 begin") == OVER
    assert asked.answer("1002 begin") == OVER
    assert asked.answer("stop") == ""
    assert [asked.questions.take("begin"), asked.questions.take("stop")] == ["", "stop"]


def test_a_question_is_not_told_again_while_nobody_acts(asked: Asked) -> None:
    told: list[str] = []
    asked.questions._publisher = SimpleNamespace(
        publish=told.append, wait_for_all_acked=lambda timeout: True
    )
    asked.questions._tell_again()
    asked.wait(2.1)
    assert len(told) == 1
    asked.questions.take("begin")
    asked.questions._tell_again()
    assert len(told) == 2


@pytest.mark.parametrize("event", ["begin", "reset"])
def test_what_lets_the_arm_move_is_asked_anew_if_nobody_acted_on_it_for_long(
    asked: Asked, event: str
) -> None:
    assert asked.answer(f"1001 {event}") == ""
    asked.wait(2.1)
    assert asked.questions.take(event) == ""
    assert asked.answer(f"1001 {event}") == OVER
    assert asked.answer(f"1002 {event}") == ""
    assert asked.questions.take(event) == event


def test_a_result_counts_however_late_it_is_acted_on(asked: Asked) -> None:
    assert asked.answer("1001 success") == ""
    asked.wait(60.0)
    assert asked.questions.take("success") == "success"


def test_of_several_answers_at_once_none_counts(asked: Asked) -> None:
    refused = "answer: got several at once, expected one"
    assert asked.answer("1001 begin", "no answer") == refused
    assert asked.answer("stop", "quit") == refused
    assert asked.questions.take("begin", "stop", "quit") == ""
    assert asked.answer("1001 begin") == ""
