"""Client of a gripper's action: positions become goals, and no node ever waits for the server."""

from __future__ import annotations

import time
from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future

from ebm_policy_ros.interface import Gripper
from ebm_policy_ros.messages.types import message_class

# Share of the gripper's range below which a change of the position is no new goal: each goal
# restarts the server's detection that the fingers have stalled on something.
_LEAST_CHANGE = 0.01
# Time within which a server has to accept or reject a goal, s.
_PATIENCE = 1.0


class GripperClient:
    """Sends a goal when the wanted position has changed, and no other one is on its way.

    A goal is sent by `move` alone, never later, so nothing waits that nobody commands any more. A
    position at which the fingers stall is reached as well as it can be, so results are not asked
    for. To hold is to send no goal: the fingers finish the last one. To stop is to cancel it too:
    fingers that move halt, and what they press on is then held where they are.
    """

    def __init__(self, node: Node, gripper: Gripper) -> None:
        """Open the action.

        Args:
            node: Node whose executor takes the answers.
            gripper: Gripper with a server.

        Raises:
            ValueError: If the messages of the action are not installed.
        """
        assert gripper.server is not None
        self._gripper, self._server = gripper, gripper.server
        self._kind = message_class(gripper.server.type)
        self._client = ActionClient(node, self._kind, gripper.server.action)
        self._sent: float | None = None
        self._answer: Future | None = None
        self._asked = 0.0
        self._goal: Any = None
        self._is_open = True
        self._rejected = ""

    def problem(self) -> str:
        """Reason why no goal is executed; empty if there is none."""
        name = self._server.action
        if not self._has_server():
            return f"no action server on {name}; start or activate the gripper's controller"
        if self._answer is not None and time.monotonic() - self._asked > _PATIENCE:
            return f"{name} has not answered a goal for {_PATIENCE:g} s; is its node blocked?"
        return self._rejected

    def _has_server(self) -> bool:
        ready = bool(self._client.server_is_ready())
        if not ready:  # the next one knows no goal
            self.forget()
        return ready

    def move(self, position: float) -> None:
        """Command a position of the gripper, in its unit; call it at each tick."""
        if self._answer is not None or self._rejected or not self._has_server():
            return
        least = _LEAST_CHANGE * (self._gripper.high - self._gripper.low)
        if self._sent is not None and abs(position - self._sent) <= least:
            return
        self._sent = position
        self._asked = time.monotonic()
        self._answer = self._client.send_goal_async(self._goal_to(self._sent))
        self._answer.add_done_callback(self._on_answer)

    def forget(self) -> None:
        """Make the next `move` a new goal; the fingers finish the last one."""
        self._sent = self._answer = None
        self._rejected = ""

    def stop(self) -> None:
        """Cancel the last goal, unless it has ended; the next `move` is a new goal."""
        answer, goal, self._goal = self._answer, self._goal, None
        self.forget()
        if answer is not None:
            answer.add_done_callback(self._cancel)
        if goal is not None:
            goal.cancel_goal_async()

    def close(self) -> None:
        """Close the action; the fingers finish the last goal."""
        self.forget()
        self._is_open = False
        self._client.destroy()

    def _goal_to(self, position: float) -> Any:
        goal, effort = self._kind.Goal(), self._server.max_effort
        if self._server.is_parallel:
            goal.command.name, goal.command.position = [self._gripper.name], [position]
            goal.command.effort = [] if effort is None else [float(effort)]
        else:
            goal.command.position = position
            goal.command.max_effort = float(effort or 0)
        return goal

    def _on_answer(self, answer: Future) -> None:
        if self._answer is None or answer is not self._answer:
            return
        goal: Any = answer.result()
        self._answer = None
        if time.monotonic() - self._asked > _PATIENCE:  # the arm has held since
            self._sent = None
            self._cancel(answer)
        elif goal.accepted:
            self._goal = goal
        else:
            self._rejected = (
                f"{self._server.action} rejected the position {self._sent:g}; see the log of its "
                f"controller, and compare {self._gripper.name}'s low and high"
            )

    def _cancel(self, answer: Future) -> None:
        """Cancel a goal that was accepted too late."""
        goal: Any = answer.result()
        if goal.accepted and self._is_open:
            goal.cancel_goal_async()
