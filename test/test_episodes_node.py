"""The runner of episodes, between a simulation and a recorder whose answers get lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.sim import episodes_node
from ebm_policy_ros.sim.episodes_node import EpisodesNode

pytestmark = pytest.mark.ros


PERIOD = 100_000_000


class Scene(Node):
    """A bridge and a recorder that lose requests, or the answers to them, once each."""

    def __init__(self, context: Any, lost: str) -> None:
        """Offer the services; `lost` is `answer`, `request` or nothing."""
        super().__init__("scene", context=context)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._bridge = self.create_publisher(String, "sim_bridge_node/status", latched)
        self._recorder = self.create_publisher(String, "recorder_node/status", latched)
        self._lost, self._losses = lost, {"reset", "record", "start"} if lost else set()
        self._group = ReentrantCallbackGroup()
        self.seed = 7
        self.asked: list[str] = []
        self._offer("sim_bridge_node/reset", "reset", self._reset)
        self._offer("sim_bridge_node/start", "start", self._start)
        self._offer("recorder_node/start", "record", lambda: self._tell_recorder("recording"))
        self.create_service(SetBool, "recorder_node/stop", self._stop)
        self._tell("waiting")
        self._tell_recorder("idle")

    def _offer(self, service: str, name: str, do: Callable[[], None]) -> None:
        async def on_request(_: Any, response: Any) -> Any:
            self.asked.append(name)
            lose = name in self._losses
            self._losses.discard(name)
            if not (lose and self._lost == "request"):
                do()
            if lose:
                await rclpy.task.Future()  # which nobody completes: no answer is sent
            response.success = True
            return response

        # In one group that is not reentrant, the answer that never comes would hold up all others.
        self.create_service(Trigger, service, on_request, callback_group=self._group)

    def _reset(self) -> None:
        self.seed += 1
        self._tell("waiting")

    def _start(self) -> None:
        self._tell("running")
        self._tell("done", success=True)

    def _stop(self, request: Any, response: Any) -> Any:
        self._tell_recorder("idle")
        response.success, response.message = True, f"bag of {self.seed}, {request.data}"
        return response

    def _tell(self, state: str, **more: Any) -> None:
        told = {"state": state, "seed": self.seed, **more}
        self._bridge.publish(String(data=json.dumps(told)))

    def _tell_recorder(self, state: str) -> None:
        self._recorder.publish(String(data=json.dumps({"state": state})))


class SceneWithPolicy(Scene):
    """A bridge whose scenes fail, and a policy that stops once around the end of some.

    It stops in the last tick of scene 7, which is heard only after the scene's end; in the first
    tick after scene 9; and while the start of scene 11 is asked for.
    """

    def __init__(self, context: Any, lost: str) -> None:
        """Offer the policy's reset too, and tick while nothing runs."""
        self._time = self._started = self._ended = 0
        self._reason = ""
        super().__init__(context, lost)
        self._ticks = self.create_publisher(DiagnosticArray, "policy_node/execution", 100)
        self._offer("policy_node/reset", "policy", self._let_policy_go)
        self.create_timer(0.05, self._idle)

    def _let_policy_go(self) -> None:
        self._reason = ""
        if self.seed == 11:
            self._end()

    def _start(self) -> None:
        self._started = self._time
        self._tell("running")
        if self.seed == 11:
            self._reason = "while the start was asked for"
            self._tick(self._time)
            return
        self._end()

    def _end(self) -> None:
        self._time += 2 * PERIOD
        self._ended = self._time
        self._tell("done", success=False)
        if self.seed == 7:
            self._reason = "in the last tick"
            self._tick(self._time - PERIOD)

    def _idle(self) -> None:
        self._time += PERIOD
        if self.seed == 9 and self._time == self._ended + PERIOD:
            self._reason = "after the end"
        self._tick(self._time)

    def _tick(self, time_ns: int) -> None:
        state = "stopped" if self._reason else "fresh"
        told = {"commander": "policy", "state": state, "reason": self._reason}
        message = DiagnosticArray(status=[DiagnosticStatus()])
        message.header.stamp = Time(nanoseconds=time_ns).to_msg()
        message.status[0].values = [KeyValue(key=key, value=value) for key, value in told.items()]
        self._ticks.publish(message)
        self._ticks.publish(DiagnosticArray(header=message.header))  # no tick: it is ignored

    def _tell(self, state: str, **more: Any) -> None:
        super()._tell(state, started_ns=self._started, time_ns=self._time, **more)


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A scene that a thread serves."""
    context = rclpy.Context()
    rclpy.init(context=context)
    kind, lost = request.param if isinstance(request.param, tuple) else (Scene, request.param)
    node = kind(context, lost)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = Thread(target=spin, daemon=True)
    thread.start()
    rclpy.init()
    yield node
    rclpy.shutdown()
    context.shutdown()
    thread.join()


@pytest.mark.parametrize(
    ("scene", "asked"),
    [
        # Its effect is heard of: nothing is asked for twice, so no scene is left out.
        ("answer", ["record", "start", "reset", "record", "start"]),
        ("request", ["record"] * 2 + ["start"] * 2 + ["reset"] * 2 + ["record", "start"]),
    ],
    indirect=["scene"],
)
def test_lost_answers_and_requests_cost_no_episode(
    scene: Scene, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(episodes_node, "_REPEAT_AFTER", 3.0)
    out = tmp_path / "results.jsonl"
    values = {"episodes": 2, "record": 2, "results": str(out)}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = EpisodesNode(parameter_overrides=overrides)
    node.run()
    results = [json.loads(line) for line in out.read_text().splitlines()]
    assert [result["seed"] for result in results] == [7, 8]
    assert [result["bag"] for result in results] == ["bag of 7, True", "bag of 8, True"]
    assert scene.asked == asked
    node.destroy_node()


@pytest.mark.parametrize("scene", ["answer"], indirect=True)
def test_a_second_simulation_ends_the_run_before_its_samples_are_mixed_in(
    scene: Scene, tmp_path: Path
) -> None:
    scene.create_publisher(String, "sim_bridge_node/status", 1)
    out = tmp_path / "results.jsonl"
    node = EpisodesNode(parameter_overrides=[Parameter("results", value=str(out))])
    with pytest.raises(ConnectionError, match="several simulations publish /sim_bridge_node"):
        node.run()
    assert not out.exists()
    node.destroy_node()


@pytest.mark.parametrize("scene", [(SceneWithPolicy, "")], indirect=True)
def test_a_stop_counts_in_the_scene_in_which_the_policy_stopped(
    scene: Scene, tmp_path: Path
) -> None:
    out = tmp_path / "results.jsonl"
    values = {"episodes": 6, "policy": "policy_node", "results": str(out)}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = EpisodesNode(parameter_overrides=overrides)
    node.run()
    results = [json.loads(line) for line in out.read_text().splitlines()]
    stops = {result["seed"]: result.get("stopped", "") for result in results}
    assert stops == {7: "in the last tick", 8: "", 9: "", 10: "", 11: "", 12: ""}
    # A policy that goes on is asked nothing.
    assert scene.asked == [
        *("start",),
        *("reset", "policy", "start"),
        *("reset", "start"),
        *("reset", "policy", "start"),
        *("reset", "start", "policy"),
        *("reset", "start"),
    ]
    node.destroy_node()
