"""starts_node: takes pictures of the starts of an arm's trials; judge_policy starts it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclpy.node import Node

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.nodes.common.parameters import Setting, declare_all
from ebm_policy_ros.nodes.common.spin import run_coroutine
from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.nodes.judge.camera import Camera
from ebm_policy_ros.nodes.judge.keys import START_KEYS
from ebm_policy_ros.nodes.judge.questions import SETTINGS as ASKING
from ebm_policy_ros.nodes.judge.questions import Questions, terminal_of
from ebm_policy_ros.nodes.judge.requests import stop_policy
from ebm_policy_ros.nodes.operator.policy_link import PolicyLink
from ebm_policy_ros.policy.file import load_policy_file
from ebm_policy_ros.trials.films import camera_of
from ebm_policy_ros.trials.starts import add_start, find_starts
from ebm_policy_ros.util.resources import interface_path

SETTINGS = (
    Setting("folder", "starts", "Folder for a picture of each start."),
    Setting("policy", "", "Policy file with the interface."),
    Setting("interface", "", "Interface file, or a shipped one's name; empty: the policy's."),
    Setting("policy_node", "policy_node", "Name of the policy node, which is kept stopped."),
    *ASKING,
)
_STEP = 0.05
_ANSWERS = {"picture": "take this picture as a start", "done": "that was all"}


class StartsNode(Node):
    """Takes pictures of starts when the operator says so; the policy is kept stopped meanwhile."""

    def __init__(self, terminal: Terminal | None = None, **options: Any) -> None:
        """Subscribe to the camera and the policy node.

        Args:
            terminal: Terminal for keys and output; None for that of the process.
            **options: Options of rclpy's nodes.

        Raises:
            ValueError: If there is no camera or no terminal.
        """
        super().__init__("starts_node", **options)
        values = declare_all(self, SETTINGS)
        self._folder = Path(values["folder"])
        wanted = values["interface"]
        interface = (
            load_interface(interface_path(wanted))
            if wanted
            else load_policy_file(values["policy"]).interface
        )
        if interface is None:
            raise ValueError(f"policy: {values['policy']} names no robot")
        stream = camera_of(interface)
        if stream is None:
            raise ValueError(f"starts: {interface.name} has no camera to take pictures with")
        self._camera = Camera(self, stream)
        self._policy = PolicyLink(self, values["policy_node"], {})
        self._questions = Questions(self, START_KEYS, terminal_of(terminal, values["keys"]))

    async def run(self) -> None:
        """Take pictures until the operator has them all."""
        questions = self._questions
        questions.say(f"{self._folder} has no pictures yet; place everything as for a trial")
        questions.ask("0 starts", _ANSWERS)
        while True:
            problem = await self._keep_still() or self._camera.problem
            event = questions.take("picture", "done")
            if event == "done" and find_starts(self._folder):
                return
            if event == "picture":
                questions.say(f"no start taken: {problem}" if problem else self._take())
            if event:
                questions.ask_again()
            questions.show(f"{len(find_starts(self._folder))} starts", problem)
            await asyncio.sleep(_STEP)

    async def _keep_still(self) -> str:
        """Stop an active policy; the reason why it may move, empty if it is stopped."""
        state = self._policy.state()
        if state.get("lifecycle") != "active" or state["state"] == "stopped":
            return ""
        answer = await stop_policy(self._policy)
        if not answer.done:
            return f"the arm may move: {answer.text}; use the emergency stop"
        self._questions.say("the policy was active: it is stopped while starts are taken")
        return ""

    def _take(self) -> str:
        """Take the current picture; what came of it, for the operator."""
        try:
            picture = self._camera.picture()
            if picture is not None:
                return f"took {add_start(self._folder, picture)}"
        except (MessageError, OSError) as error:  # such as of a full disk
            return f"no start taken: {error}"
        return f"no start taken: {self._camera.problem}"

    def close(self) -> None:
        """Restore the terminal."""
        self._questions.close()


def main(args: Sequence[str] | None = None) -> None:
    """Take the pictures and end."""
    run_coroutine(StartsNode, "starts_node", SETTINGS, args, (OSError,))


if __name__ == "__main__":
    main()
