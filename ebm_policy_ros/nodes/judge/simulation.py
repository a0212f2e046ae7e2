"""Trials in the simulation: the bridge sets up the scene of a seed and judges it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from std_srvs.srv import Trigger

from ebm_policy_ros.nodes.common.topics import status_in
from ebm_policy_ros.nodes.judge.trial_nodes import TrialNodes
from ebm_policy_ros.nodes.operator.calls import ask_node, set_parameter
from ebm_policy_ros.operator.robot import Answer
from ebm_policy_ros.trials.log import Outcome, Result
from ebm_policy_ros.trials.plan import Comparison, Planned

_STEP = 0.02
_USUAL = 15.0
_STALL_TIMEOUT = 60.0
# Simulated time before a trial's first command, s: it goes on slowly while nobody commands.
_LONGEST_WAIT = 85.0
# A status of the policy node that is heard so long after the end is from after it, s.
_ON_ITS_WAY = 0.1


class SimulationRunner:
    """Runs trials in a `sim_bridge_node` in lock-step."""

    def __init__(
        self, node: Node, bridge: str, nodes: TrialNodes, comparison: Comparison, time_limit: float
    ) -> None:
        """Open topics and clients.

        Args:
            node: Node that owns them.
            bridge: Name of the simulation's node.
            nodes: Policy node and recorder.
            comparison: Comparison whose trials are run.
            time_limit: Time limit of the task, s.
        """
        self._nodes, self._comparison = nodes, comparison
        self._longest = time_limit + _LONGEST_WAIT
        self._status: dict[str, Any] = {}
        self._heard, self._simulated = time.monotonic(), 0.0
        self._clients = {
            name: node.create_client(Trigger, f"{bridge}/{name}")
            for name in ("reset", "start", "end")
        }
        self._parameters = node.create_client(SetParameters, f"{bridge}/set_parameters")
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, f"{bridge}/status", self._on_status, latched)
        node.create_subscription(Clock, "/clock", self._on_clock, 1)

    def _on_status(self, message: Any) -> None:
        self._status = status_in(message) or {}

    def _on_clock(self, message: Any) -> None:
        self._heard = time.monotonic()
        self._simulated = message.clock.sec + message.clock.nanosec / 1e9

    async def run(self, planned: Planned) -> Outcome:
        """Run a trial to its end.

        Raises:
            TrialRefused: If a node does not do what it is asked for.
            TimeoutError: If the simulation waits for a command in vain.
        """
        nodes, seed = self._nodes, int(planned.start)
        await nodes.requests.until(
            lambda: (self._status.get("state"), self._status.get("seed")) == ("waiting", seed),
            lambda: self._set_up(seed),
            "the scene is not set up",
        )
        await nodes.load(self._comparison, planned)
        await nodes.bag.begin()
        # Last, since one that is unsure of what it sees while it waits stops again in seconds.
        await nodes.go_on()
        await nodes.requests.until(
            lambda: self._status.get("state") in ("running", "done"),
            lambda: self._call("start"),
            "the trial does not start",
        )
        await self._wait_until_done()
        await self._hear_last_stop()
        status, rate = self._status, nodes.policy["rate"]
        problem = nodes.other_policy()
        result: Result = "void" if problem else "success" if status["success"] else "failure"
        bag = await nodes.bag.keep(
            result == "success", f"trial {planned.number}: {result}{problem and f': {problem}'}"
        )
        return Outcome(
            result,
            status["steps"] / rate,
            stops=nodes.stops,
            takeovers=nodes.takeovers,
            bag=bag,
            note=problem or "; ".join(nodes.reasons),
        )

    async def _set_up(self, seed: int) -> Answer:
        answer = await set_parameter(self._parameters, "seed", seed, _USUAL)
        return await self._call("reset") if answer.done else answer

    async def _call(self, name: str) -> Answer:
        return await ask_node(self._clients[name], Trigger.Request(), _USUAL)

    async def _wait_until_done(self) -> None:
        """Wait until the bridge has judged; a policy that stops ends the trial."""
        self._heard, begun = time.monotonic(), self._simulated
        while self._status.get("state") != "done":
            await asyncio.sleep(_STEP)
            before = self._nodes.stops
            self._nodes.watch()
            if self._nodes.stops > before:
                await self._call("end")  # refused if it has just ended by itself
            if time.monotonic() - self._heard > _STALL_TIMEOUT:
                raise TimeoutError(
                    f"the simulation has waited {_STALL_TIMEOUT:.0f} s for a command"
                )
            if self._simulated - begun > self._longest:
                raise TimeoutError(f"no command in {self._longest:.0f} s of simulated time")

    async def _hear_last_stop(self) -> None:
        """Count a stop in the last ticks of a trial, which is told ten times a second."""
        nodes, wanted = self._nodes, time.monotonic() + _ON_ITS_WAY
        while not nodes.lost() and time.monotonic() - nodes.policy["silence_s"] < wanted:
            await asyncio.sleep(_STEP)
        nodes.watch()
