"""Link to a node that asks an operator who judges: its present question, and the answers."""

from __future__ import annotations

import time
from typing import Any

from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from ebm_policy_ros.nodes.common.topics import status_in
from ebm_policy_ros.nodes.operator.calls import absence, set_parameter
from ebm_policy_ros.operator.commands import STOP, Command
from ebm_policy_ros.operator.robot import Answer
from ebm_policy_ros.util.quoting import LONGEST_REFUSAL, cut

# The question is told twice a second.
_SILENCE = 2.5
# Time for which the last words of a node that has ended, or was lost, are shown, s.
_FAREWELL = 600.0
_USUAL = 5.0
# Longest list of answers or lines.
_MOST = 16
_KINDS = {
    "question": int,
    "text": str,
    "remark": str,
    "answers": dict,
    "lines": list,
    "has_ended": bool,
}


class JudgeLink:
    """Question of one node of judge_policy, and its parameter `answer`."""

    def __init__(self, node: Node, name: str) -> None:
        """Open the topic and the client.

        Args:
            node: Node that owns them.
            name: Name of the node that asks, relative to the namespace of `node`.
        """
        self._name = name
        self._told: dict[str, Any] = {}
        self.heard = 0.0
        """Time at which it was last heard, s of `time.monotonic`; 0 if never."""
        self._parameters = node.create_client(SetParameters, f"{name}/set_parameters")
        self._told_stop: Any = None
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, f"{name}/question", self._on_question, latched)

    def state(self) -> dict[str, Any] | None:
        """Question, ready for JSON, with a `problem` if its node is lost; None without one."""
        silence = time.monotonic() - self.heard
        if not self._told or silence > _FAREWELL:
            return None
        is_lost = not self._told["has_ended"] and silence > _SILENCE
        problem = (
            f"{self._name} is silent for {silence:.0f} s: nobody ends the trial, and it does not "
            "count. If the arm moves, press STOP; then start judge_policy again"
        )
        return {**self._told, "problem": problem if is_lost else ""}

    def _on_question(self, message: Any) -> None:
        told = status_in(message) or {}
        if _is_question(told):  # others may publish there too
            self._told, self.heard = _shortened(told), time.monotonic()

    async def perform(self, command: Command) -> Answer:
        """Answer a question."""
        assert isinstance(command.value, tuple)
        number, name = command.value[:2]
        if absent := absence(self._parameters):
            return Answer(False, f"{absent}; start judge_policy again")
        answer = await set_parameter(self._parameters, "answer", f"{number} {name}", _USUAL)
        return Answer(True, str(name)) if answer.done else answer

    def tell_stop(self) -> None:
        """Tell of a STOP, without waiting: a trial that begins at this moment must not.

        It is told whatever was heard: others may publish a question too.
        """
        if self._told_stop is not None:  # nobody may have answered
            self._parameters.remove_pending_request(self._told_stop)
        stop = Parameter("answer", value=STOP).to_parameter_msg()
        self._told_stop = self._parameters.call_async(SetParameters.Request(parameters=[stop]))


def _is_question(told: dict[str, Any]) -> bool:
    """Return True if a page can show this."""
    if not all(isinstance(told.get(name), kind) for name, kind in _KINDS.items()):
        return False
    return all(isinstance(text, str) for text in (*told["answers"].values(), *told["lines"]))


def _shortened(told: dict[str, Any]) -> dict[str, Any]:
    """Return what a page shows of a question, each part as long as a page can bear."""
    kept = {name: told[name] for name in _KINDS}
    kept |= {name: cut(kept[name], LONGEST_REFUSAL) for name in ("text", "remark")}
    kept["lines"] = [cut(line, LONGEST_REFUSAL) for line in kept["lines"][-_MOST:]]
    answers = list(kept["answers"].items())[:_MOST]
    return kept | {"answers": {cut(name): cut(words, LONGEST_REFUSAL) for name, words in answers}}
