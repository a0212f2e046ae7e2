"""Policy node and recorder during a trial."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from rclpy.node import Node

from ebm_policy_ros.nodes.judge.requests import Requests, TrialRefused, is_lost, stop_policy
from ebm_policy_ros.nodes.judge.trial_bag import TrialBag
from ebm_policy_ros.nodes.operator.policy_link import PolicyLink
from ebm_policy_ros.nodes.policy.loading import BLIND
from ebm_policy_ros.operator.commands import Command
from ebm_policy_ros.operator.robot import Answer
from ebm_policy_ros.trials.plan import Comparison, Planned

_STEP = 0.05
# Longest time until DDS has found nodes that run, s.
_DISCOVERY = 15.0
_MEANWHILE = "it was stopped meanwhile"


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
        self.requests = Requests(patience)
        self.bag = TrialBag(node, recorder, self.requests)
        self._offered: dict[str, Path] = {}
        self._policy = PolicyLink(node, policy, self._offered)
        self._expected = ""
        self._files, self._blind = files, out / BLIND
        self._stops_before: int | None = None
        self.stops = self.takeovers = 0
        self.reasons: list[str] = []
        """Reasons of the stops."""
        self._was_stopped = self._was_taken = False

    @property
    def policy(self) -> dict[str, Any]:
        """Newest state of the policy node."""
        return self._policy.state()

    @property
    def is_stopped(self) -> bool:
        """True if the policy node says that it is stopped."""
        return self.policy.get("state") == "stopped"

    async def appear(self) -> None:
        """Wait until both nodes are heard, at most as long as their discovery takes."""
        deadline = time.monotonic() + _DISCOVERY
        while is_lost(self._policy) or not self.bag.is_heard:
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
        self._expected = comparison.policies[planned.policy].sha256
        await self.requests.until(
            lambda: self.policy.get("policy") == str(link.absolute()),
            lambda: self._policy.perform(Command("load_policy", name)),
            "the policy is not loaded",
        )
        if self.other_policy():
            raise TrialRefused("the policy's file was changed since the comparison began")

    def other_policy(self) -> str:
        """Reason why the policy that decides is not that of the trial; empty if it is."""
        if self.policy.get("sha256") == self._expected:
            return ""
        return "another policy was loaded meanwhile"

    def note_stops(self) -> None:
        """Note how often the stopped policy was stopped: one more, and its stop is not left."""
        self._stops_before = self.policy.get("stops")

    async def go_on(self) -> None:
        """Let the policy leave its stop, and begin to count; an arm may move from now on.

        Raises:
            TrialRefused: As `leave_stop` does.
        """
        await self.leave_stop()
        self.stops = self.takeovers = 0
        self.reasons = []
        self._was_stopped = self._was_taken = False

    async def leave_stop(self) -> None:
        """Let the policy leave its stop.

        Raises:
            TrialRefused: If the policy node refuses, or was stopped since `note_stops`. That stop
                may be left already: stop it again.
        """
        problem = "the policy does not leave its stop"
        await self.requests.until(lambda: not self.is_stopped, self._reset_unless_stopped, problem)
        # Its status is as old as its period, so a stop may have come right before the reset.
        if self._was_stopped_meanwhile:
            raise TrialRefused(f"{problem}: {_MEANWHILE}")

    async def _reset_unless_stopped(self) -> Answer:
        if self._was_stopped_meanwhile:
            return Answer(False, _MEANWHILE)
        return await self._policy.perform(Command("reset"))

    @property
    def _was_stopped_meanwhile(self) -> bool:
        return self._stops_before not in (None, self.policy.get("stops"))

    async def activate(self) -> None:
        """Configure and activate the policy node, which stays stopped.

        Raises:
            TrialRefused: If it refuses.
        """
        await self.requests.until(
            lambda: self.policy.get("lifecycle") == "active",
            lambda: self._policy.perform(Command("start")),
            "the policy node does not start",
        )

    async def stop(self) -> Answer:
        """Stop the policy; done if the policy node has confirmed it."""
        return await stop_policy(self._policy)

    async def stop_surely(self) -> None:
        """Stop the policy before something that is safe only then.

        Raises:
            TrialRefused: If the policy node does not confirm it.
        """
        if not (answer := await self.stop()).done:
            raise TrialRefused(answer.text)

    def watch(self) -> None:
        """Count new stops and takeovers by the newest state."""
        state = self.policy
        stopped, taken = self.is_stopped, state.get("commander") == "person"
        if stopped and not self._was_stopped:
            self.stops += 1
            self.reasons.append(str(state.get("reason", "")))
        self.takeovers += taken and not self._was_taken
        self._was_stopped, self._was_taken = stopped, taken

    def lost(self) -> str:
        """Reason why the policy node does not run any more; empty if it does."""
        policy = self.policy
        if is_lost(self._policy):
            return f"{policy['node']} is silent"
        if policy.get("lifecycle") == "unconfigured":
            return f"{policy['node']} has no policy any more"
        return ""

    @property
    def moved_last(self) -> bool:
        """True if the policy was not stopped when it was last watched."""
        return not self._was_stopped

    def problem(self) -> str:
        """Reason why a trial cannot count; empty if it can."""
        return self.other_policy() or self.bag.problem()
