"""Robot as the page's server sees it; the ROS side is ebm_policy_ros.nodes.operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ebm_policy_ros.operator.commands import Command


@dataclass(frozen=True)
class Answer:
    """Answer to a command."""

    done: bool
    text: str
    """Result, or the reason why not, for users."""


class Robot(Protocol):
    """State and commands of a robot. All methods are called outside the ROS thread."""

    def state(self) -> dict[str, Any]:
        """State of policy, recorder and streams, ready for JSON."""

    async def stop(self) -> Answer:
        """Ask the policy node once to stop; soon without success if it does not answer."""

    async def perform(self, command: Command) -> Answer:
        """Perform a command to the policy node, but no stop, the recorder or judge_policy."""

    def watch(self, pictures: frozenset[str]) -> None:
        """Choose the pictures that somebody looks at; only those cost anything."""

    def picture(self, name: str) -> bytes | None:
        """Newest picture, encoded for a page; None if there is none since the last call.

        It takes milliseconds.
        """
