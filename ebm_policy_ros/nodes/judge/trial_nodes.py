"""Policy node and recorder during a trial."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rclpy.node import Node

from ebm_policy_ros.nodes.operator.policy_link import PolicyLink
from ebm_policy_ros.nodes.operator.recorder_link import RecorderLink
from ebm_policy_ros.operator.commands import Command
from ebm_policy_ros.operator.robot import Answer
from ebm_policy_ros.trials.plan import Comparison, Planned

_STEP = 0.05
# Time after which a request that had no effect is sent again, s. An answer may get lost: DDS drops
# it where the asked node has not discovered this one's reader yet.
_PAUSE, _PAUSE_AFTER_YES = 0.5, 2.0
# Silence after which the policy node is lost, s; its status comes ten times a second.
_LOST = 3.0
_STOP_TIMEOUT = 5.0
# Longest time until DDS has found nodes that run, s.
_DISCOVERY = 15.0


class TrialRefused(Exception):
    """A node that is missing or refuses; the text says which one, and why."""


class TrialNodes:
    """Policy node and recorder, and what happened to the policy since a trial began."""

    def __init__(
        self,
        node: Node,
        policy: str,
        recorder: str,
        files: list[Path],
        out: Path,
        patience: float,
    ) -> None:
        """Open topics and clients.

        Args:
            node: Node that owns them.
            policy: Name of the policy node.
            recorder: Name of the recorder.
            files: Files of the policies, in the order of the comparison.
            out: Folder of the comparison.
            patience: Longest time until a node does what it is asked for, s.
        """
        self._patience = patience
        self._offered: dict[str, Path] = {}
        self._policy = PolicyLink(node, policy, self._offered)
        self._recorder = RecorderLink(node, recorder)
        self._files, self._blind = files, out / "blind"
        self.stops = self.takeovers = 0
        self.reasons: list[str] = []
        """Reasons of the stops."""
        self._was_stopped = self._was_taken = False

    @property
    def policy(self) -> dict[str, Any]:
        """Newest state of the policy node."""
        return self._policy.state()

    @property
    def recorder(self) -> dict[str, Any]:
        """Newest state of the recorder."""
        return self._recorder.state()

    @property
    def is_stopped(self) -> bool:
        """True if the policy node says that it is stopped."""
        return self.policy.get("state") == "stopped"

    @property
    def is_lost(self) -> bool:
        """True if the policy node was not heard for long."""
        silence = self.policy["silence_s"]
        return silence is None or silence > _LOST

    async def appear(self) -> None:
        """Wait until both nodes are heard, at most as long as their discovery takes."""
        deadline = time.monotonic() + _DISCOVERY
        while self.is_lost or not self.recorder["is_heard"]:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_STEP)

    async def load(self, comparison: Comparison, planned: Planned) -> None:
        """Load the policy of a trial under a name that does not tell which one it is.

        Raises:
            TrialRefused: If it is not the policy that decides afterwards.
        """
        name = f"trial_{planned.number:04d}"
        self._blind.mkdir(exist_ok=True)
        link = self._blind / f"{name}.safetensors"
        link.unlink(missing_ok=True)
        os.symlink(self._files[planned.policy].resolve(), link)
        self._offered[name] = link.absolute()
        expected = comparison.policies[planned.policy].sha256
        await self.until(
            lambda: self.policy.get("policy") == str(link.absolute()),
            lambda: self._policy.perform(Command("load_policy", name)),
            "the policy is not loaded",
        )
        if self.policy.get("sha256") != expected:
            raise TrialRefused("the policy's file was changed since the comparison began")

    async def record(self) -> None:
        """Begin the bag of a trial.

        Raises:
            TrialRefused: If the recorder refuses.
        """
        await self.until(
            lambda: self.recorder.get("state") == "recording",
            lambda: self._recorder.perform(Command("record", "start")),
            "the recorder does not start",
        )

    async def go_on(self) -> None:
        """Let the policy leave its stop, and begin to count; an arm may move from now on.

        Raises:
            TrialRefused: If the policy node refuses.
        """
        await self.until(
            lambda: not self.is_stopped,
            lambda: self._policy.perform(Command("reset")),
            "the policy does not leave its stop",
        )
        self.stops = self.takeovers = 0
        self.reasons = []
        self._was_stopped = self._was_taken = False

    async def reset(self) -> Answer:
        """Ask once to leave a stop during a trial."""
        return await self._policy.perform(Command("reset"))

    async def activate(self) -> Answer:
        """Ask once to configure and activate the policy node."""
        return await self._policy.perform(Command("start"))

    async def stop(self) -> Answer:
        """Stop the policy; repeated until it has stopped, for a while and while it is there."""
        deadline = time.monotonic() + _STOP_TIMEOUT
        answer = await self._policy.stop()
        while not (answer.done and self.is_stopped):
            if time.monotonic() > deadline or self.is_lost:
                break
            await asyncio.sleep(_STEP)
            if not answer.done:
                answer = await self._policy.stop()
        return answer

    async def keep(self, success: bool, note: str) -> str:
        """End the bag of a trial with a note, and return its folder.

        Raises:
            TrialRefused: If the recorder refuses; the bag is then where it says.
        """
        answer = await self._recorder.note(note)
        if answer.done:
            outcome = "success" if success else "failure"
            answer = await self._recorder.perform(Command("record", outcome))
            await self._recorder.note("")
        if not answer.done:
            raise TrialRefused(f"the bag is not kept: {answer.text}")
        return answer.text

    def watch(self) -> None:
        """Count new stops and takeovers by the newest state."""
        state = self.policy
        stopped, taken = self.is_stopped, state.get("commander") == "person"
        if stopped and not self._was_stopped:
            self.stops += 1
            self.reasons.append(str(state.get("reason", "")))
        self.takeovers += taken and not self._was_taken
        self._was_stopped, self._was_taken = stopped, taken

    def problem(self) -> str:
        """Reason why a trial cannot go on; empty if it can."""
        recorder = self.recorder
        if self.is_lost:
            return f"{self.policy['node']} is silent"
        if not recorder["is_heard"]:
            return "the recorder is silent"
        if recorder.get("state") != "recording":
            return "the recorder has ended the bag early"
        return ""

    async def until(
        self, happened: Callable[[], bool], ask: Callable[[], Awaitable[Answer]], problem: str
    ) -> None:
        """Ask until something has happened, by the other node's topics.

        Args:
            happened: True if it has.
            ask: Asks once.
            problem: Beginning of the error.

        Raises:
            TrialRefused: If it does not happen; the text has the last answer.
        """
        deadline = time.monotonic() + self._patience
        while True:
            answer = await ask()
            again = time.monotonic() + (_PAUSE_AFTER_YES if answer.done else _PAUSE)
            while not happened() and time.monotonic() < again:
                await asyncio.sleep(_STEP)
            if happened():
                return
            if time.monotonic() >= deadline:
                raise TrialRefused(f"{problem}: {answer.text}")
