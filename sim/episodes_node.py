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

from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.execution import execution_topic, read_execution
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.nodes.common.parameters import Setting, declare_all
from ebm_policy_ros.nodes.common.spin import run_to_end
from ebm_policy_ros.nodes.recorder.client import RecorderWatch

_ANSWER_TIMEOUT = 60.0
# Time after which a request without an answer is sent again, s: far longer than any node takes,
# because a scene that is reset twice would be the next one.
_REPEAT_AFTER = 15.0
_STALL_TIMEOUT = 60.0
# Simulated time before an episode's first command, s: it goes on slowly while nobody commands.
_LONGEST_WAIT = 85
# Ticks of the policy that wait to be read; as many as wait to be sent.
_TICKS = 100

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

    def __init__(self, **options: Any) -> None:
        """Open the clients; nothing is waited for yet.

        Args:
            options: Options of the node, such as `parameter_overrides`.
        """
        super().__init__("episodes_node", **options)
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
        self._recorder = RecorderWatch(self, recorder)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._statuses = self.create_subscription(
            String, f"{bridge}/status", self._on_status, latched
        )
        self.create_subscription(Clock, "/clock", self._on_clock, 1)
        self._policy = policy
        self._ticked_ns = self._stopped_ns = 0
        """Simulated times of the policy's newest tick, and of its last stop."""
        self._stopped = ""
        """Reason of the policy's stop, by its newest tick; empty if it goes on."""
        if policy:
            topic = execution_topic(policy)
            self.create_subscription(DiagnosticArray, topic, self._on_tick, _TICKS)
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_status(self, message: Any) -> None:
        if self.count_publishers(self._statuses.topic_name) > 1:
            raise ConnectionError(
                f"several simulations publish {self._statuses.topic_name} in this ROS domain, and "
                "their samples would be mixed; end the others"
            )
        self._status = json.loads(message.data)

    def _on_clock(self, message: Any) -> None:
        self._alive = time.monotonic()
        self._simulated = message.clock.sec

    def _on_tick(self, message: Any) -> None:
        try:
            tick = read_execution(message)
        except MessageError as problem:  # others may publish there too
            self.get_logger().warning(f"ignored: {problem}", once=True)
            return
        self._ticked_ns = stamp_ns(message)
        if tick.state == "stopped":
            self._hear_stop(tick.reason, self._ticked_ns)
        else:
            self._stopped = ""

    def _on_diagnostics(self, message: Any) -> None:
        """Hear of a stop whose ticks came before DDS had found the policy's node."""
        for status in message.status:
            state, _, reason = status.message.partition(": ")
            if status.name == f"/{self._policy}: policy" and state == "stopped":
                self._hear_stop(reason, stamp_ns(message))

    def _hear_stop(self, reason: str, time_ns: int) -> None:
        if not self._stopped:
            self._stopped, self._stopped_ns = reason, time_ns

    def run(self) -> None:
        """Run every episode; a result goes to the file when its episode is complete.

        Raises:
            TimeoutError: If a node is missing or the simulation waits for a command in vain.
            ConnectionError: If there is another simulation in the ROS domain.
        """
        self._spin_until(lambda: self._status, "no status of the simulation")
        for index in range(self._count):
            if index > 0 or self._status["state"] == "done":
                # Refused until the bridge has heard that the last recording is over.
                self._request(
                    self._reset,
                    lambda: self._status["state"] == "waiting",
                    "the scene isn't reset",
                )
            record = index < self._record
            if record:
                # Refused until every topic has been heard, which takes a moment at first.
                self._request(
                    self._start_recorder,
                    lambda: self._recorder.is_recording,
                    "the recorder doesn't start",
                )
            # Last, since one that is unsure of what it sees while it waits stops again in seconds.
            self._leave_stop()
            self._request(
                self._start,
                lambda: self._status["state"] in ("running", "done"),
                "the episode doesn't start",
            )
            self._wait_until_done()
            if record:
                outcome = SetBool.Request(data=self._status["success"])
                answer = self._ask(self._stop_recorder, outcome)
                if not answer.success:
                    raise TimeoutError(f"{self._stop_recorder.srv_name} refused: {answer.message}")
                self._status["bag"] = answer.message
            with self._results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._status) + "\n")

    def _leave_stop(self) -> None:
        self._request(
            self._reset_policy, lambda: not self._stopped, "the policy doesn't leave its stop"
        )

    def _request(self, client: Any, happened: Callable[[], bool], problem: str) -> None:
        """Repeat a request until what it asks for has happened, by the other node's topics.

        A request may be refused until the other node has heard of something. An answer may be
        lost: DDS drops it where the asked node has not discovered this one's reader yet.
        """
        said = "no answer"
        deadline = time.monotonic() + _ANSWER_TIMEOUT
        while not happened():
            future = self._send(client, Trigger.Request())
            repeat = time.monotonic() + _REPEAT_AFTER
            while not happened() and time.monotonic() < repeat:
                rclpy.spin_once(self, timeout_sec=0.1)
                if future.done():
                    said = future.result().message
                    if not future.result().success:
                        break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{problem}: {said} ({client.srv_name})")

    def _send(self, client: Any, request: Any) -> Any:
        """Send a request to a service that is there, and return its future."""
        if not client.wait_for_service(timeout_sec=_ANSWER_TIMEOUT):
            raise TimeoutError(f"no service {client.srv_name} for {_ANSWER_TIMEOUT:.0f} s")
        return client.call_async(request)

    def _spin_until(self, condition: Callable[[], Any], problem: str) -> None:
        deadline = time.monotonic() + _ANSWER_TIMEOUT
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{problem} for {_ANSWER_TIMEOUT:.0f} s")
            rclpy.spin_once(self, timeout_sec=0.1)

    def _ask(self, client: Any, request: Any) -> Any:
        future = self._send(client, request)
        self._spin_until(future.done, f"no answer from {client.srv_name}")
        return future.result()

    def _wait_until_done(self) -> None:
        """Wait until the started episode has its result.

        A policy that stops ends it: in lock-step the simulation would wait for it.
        """
        self._alive, begun, is_ending = time.monotonic(), self._simulated, False
        while self._status["state"] != "done":
            rclpy.spin_once(self, timeout_sec=0.5)
            if self._stopped and self._stopped_ns <= self._status["started_ns"]:
                self._leave_stop()  # it stopped while the start was asked for
            elif self._stopped and not is_ending:
                is_ending = True
                self._ask(self._end, Trigger.Request())  # refused if it has just ended by itself
            if time.monotonic() - self._alive > _STALL_TIMEOUT:
                raise TimeoutError(
                    f"the simulation has waited {_STALL_TIMEOUT:.0f} s for a command"
                )
            if self._simulated - begun > self._longest:
                raise TimeoutError(f"no command in {self._longest} s of simulated time")
        if self._policy:
            self._note_stop()

    def _note_stop(self) -> None:
        """Note in the result of a failure that the policy stopped during the episode."""
        started, ended = self._status["started_ns"], self._status["time_ns"]
        # Ticks come in order: those of the episode have been heard when a later one is.
        self._spin_until(lambda: self._ticked_ns > ended, f"no later tick of {self._policy}")
        if self._stopped and started < self._stopped_ns <= ended and not self._status["success"]:
            self._status["stopped"] = self._stopped


def main(args: Sequence[str] | None = None) -> None:
    """Run the episodes and end."""
    run_to_end(EpisodesNode, "episodes_node", SETTINGS, args, (TimeoutError, ConnectionError))


if __name__ == "__main__":
    main()
