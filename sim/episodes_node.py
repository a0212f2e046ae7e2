"""episodes_node: the person beside the robot, who resets the scene and notes the results."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.nodes.common.parameters import Setting, declare_all
from ebm_policy_ros.nodes.common.spin import run_to_end

_ANSWER_TIMEOUT = 60.0
_STALL_TIMEOUT = 60.0
# Simulated time before an episode's first command, s: it goes on slowly while nobody commands.
_LONGEST_WAIT = 85

SETTINGS = (
    Setting("episodes", 1, "Number of episodes."),
    Setting("results", "results.jsonl", "File to append to."),
    Setting("record", 0, "Episodes to record, from the first on."),
    Setting("bridge", "sim_bridge_node", "Name of the simulation's node."),
    Setting("recorder", "recorder_node", "Name of the recorder's node."),
    Setting("policy", "", "Name of the policy's node; empty: none commands."),
    Setting("time_limit", 15.0, "Time limit of the task, seconds."),
)


class EpisodesNode(Node):
    """Runner of episodes one after the other in a bridge, which records them if asked."""

    def __init__(self) -> None:
        """Waits for nothing yet."""
        super().__init__("episodes_node")
        values = declare_all(self, SETTINGS)
        self._count: int = values["episodes"]
        self._results = Path(values["results"])
        self._record: int = values["record"]
        bridge, recorder, policy = (values[name] for name in ("bridge", "recorder", "policy"))
        self._longest = round(values["time_limit"] + _LONGEST_WAIT)
        self._reset = self.create_client(Trigger, f"{bridge}/reset")
        self._end = self.create_client(Trigger, f"{bridge}/end")
        self._reset_policy = self.create_client(Trigger, f"{policy or 'policy_node'}/reset")
        self._start = self.create_client(Trigger, f"{bridge}/start")
        self._start_recorder = self.create_client(Trigger, f"{recorder}/start")
        self._stop_recorder = self.create_client(SetBool, f"{recorder}/stop")
        self._status: dict[str, Any] = {}
        self._alive = time.monotonic()
        self._simulated = 0
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, f"{bridge}/status", self._on_status, latched)
        self.create_subscription(Clock, "/clock", self._on_clock, 1)
        self._policy = f"/{policy}: policy"
        self._stopped = ""
        """Reason of the policy's stop, by its newest word; empty if it goes on."""
        if policy:
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_status(self, message: Any) -> None:
        self._status = json.loads(message.data)

    def _on_clock(self, message: Any) -> None:
        self._alive = time.monotonic()
        self._simulated = message.clock.sec

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name == self._policy:
                state, _, reason = status.message.partition(": ")
                self._stopped = reason if state == "stopped" else ""

    def run(self) -> None:
        """Run every episode; a result goes to the file when its episode is complete.

        Raises:
            TimeoutError: If a node is missing or the simulation waits for a command in vain.
        """
        for index in range(self._count):
            if index > 0 or self._status.get("state") == "done":
                # Refused until the bridge has heard that the last recording is over.
                self._call_until_done(self._reset, "the scene isn't reset")
            record = index < self._record
            if record:
                # Refused until every topic has been heard, which takes a moment at first.
                self._call_until_done(self._start_recorder, "the recorder doesn't start")
            # Last, since one that is unsure of what it sees while it waits stops again in seconds.
            if self._stopped:
                self._call_until_done(self._reset_policy, "the policy doesn't leave its stop")
                self._spin_until(lambda: not self._stopped, "the policy doesn't leave its stop")
            seed = self._call(self._start, Trigger.Request()).message
            self._wait_until_done(seed)
            if record:
                outcome = SetBool.Request(data=self._status["success"])
                self._status["bag"] = self._call(self._stop_recorder, outcome).message
            with self._results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._status) + "\n")

    def _call_until_done(self, client: Any, problem: str) -> None:
        """Repeat a request that is refused until the other node has heard of something."""
        deadline = time.monotonic() + _ANSWER_TIMEOUT
        while not (answer := self._ask(client, Trigger.Request())).success:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{problem}: {answer.message}")
            rclpy.spin_once(self, timeout_sec=0.1)

    def _spin_until(self, condition: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + _ANSWER_TIMEOUT
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{problem}: {self._stopped}")
            rclpy.spin_once(self, timeout_sec=0.1)

    def _ask(self, client: Any, request: Any) -> Any:
        if not client.wait_for_service(timeout_sec=_ANSWER_TIMEOUT):
            raise TimeoutError(f"no service {client.srv_name} for {_ANSWER_TIMEOUT:.0f} s")
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self, future, timeout_sec=_ANSWER_TIMEOUT)
        if not future.done():
            raise TimeoutError(f"no answer from {client.srv_name} for {_ANSWER_TIMEOUT:.0f} s")
        return future.result()

    def _call(self, client: Any, request: Any) -> Any:
        answer = self._ask(client, request)
        if not answer.success:
            raise TimeoutError(f"{client.srv_name} refused: {answer.message}")
        return answer

    def _wait_until_done(self, seed: str) -> None:
        """Wait until the started episode, named by its seed, has its result.

        A policy that stops says so once a second; in lock-step the simulation waits meanwhile.
        """
        self._alive, begun, stopped = time.monotonic(), self._simulated, ""
        while self._status.get("state") != "done" or f"seed {self._status['seed']}" != seed:
            rclpy.spin_once(self, timeout_sec=0.5)
            if self._stopped and not stopped:
                stopped = self._stopped
                self._ask(self._end, Trigger.Request())  # refused if it has just ended by itself
            if time.monotonic() - self._alive > _STALL_TIMEOUT:
                raise TimeoutError(
                    f"the simulation has waited {_STALL_TIMEOUT:.0f} s for a command"
                )
            if self._simulated - begun > self._longest:
                raise TimeoutError(f"no command in {self._longest} s of simulated time")
        if stopped and not self._status["success"]:
            self._status["stopped"] = stopped


def main(args: Sequence[str] | None = None) -> None:
    """Run the episodes and end."""
    run_to_end(EpisodesNode, "episodes_node", SETTINGS, args, (TimeoutError,))


if __name__ == "__main__":
    main()
