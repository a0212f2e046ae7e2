"""A gripper whose controller takes an action: goals, holding, stopping, and servers that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("control_msgs", reason="no wheels of it; a distribution has it")

import rclpy
from control_msgs.action import GripperCommand, ParallelGripperCommand
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.executors import SingleThreadedExecutor
from rclpy.task import Future
from robot import spin_until
from scene import Scene
from std_srvs.srv import Trigger
from test_command_types import FREE, arm, camera_stops

from ebm_policy_ros.check.commands import command_checks
from ebm_policy_ros.interface import Gripper, GripperServer
from ebm_policy_ros.nodes.check.listener import Listener
from ebm_policy_ros.nodes.common.gripper_client import GripperClient

pytestmark = pytest.mark.ros

ACTION = "gripper_controller/gripper_cmd"
GRIPPER = {
    "topic": "gripper/commands",
    "type": "std_msgs/msg/Float64MultiArray",
    "name": "finger_joint",
    "low": 0.0,
    "high": 0.1,
}


class Controller:
    """Gripper controller as in ros2_control: a goal ends the last one, a stall ends its own."""

    def __init__(self, node: Any, kind: Any = GripperCommand) -> None:
        self.goals: list[Any] = []
        self.accepts = True
        self.cancelled = 0
        self._ended: Future | None = None
        self._kind = kind
        self._server = ActionServer(
            node,
            kind,
            ACTION,
            self._execute,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )

    def _on_goal(self, goal: Any) -> GoalResponse:
        self.goals.append(goal.command)
        return GoalResponse.ACCEPT if self.accepts else GoalResponse.REJECT

    def _on_cancel(self, goal: Any) -> CancelResponse:
        self.cancelled += 1
        self.stall()
        return CancelResponse.ACCEPT

    def stall(self) -> None:
        """End the goal that is executed."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(True)

    @property
    def is_moving(self) -> bool:
        return self._ended is not None and not self._ended.done()

    @property
    def positions(self) -> list[float]:
        return [goal.position for goal in self.goals]

    async def _execute(self, goal: Any) -> Any:
        self.stall()
        self._ended = ended = Future()
        await ended
        if goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()  # as with allow_stalling: false
        return self._kind.Result()

    def close(self) -> None:
        self.stall()
        self._server.destroy()


class Bench:
    """A client in one node, and a controller in another one that is spun only on request."""

    def __init__(self, context: Any) -> None:
        self.node = rclpy.create_node("client", context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.robot = rclpy.create_node("robot", context=context)
        self.others = SingleThreadedExecutor(context=context)
        self.others.add_node(self.robot)

    def client(self, **server: Any) -> GripperClient:
        server = {"action": ACTION, **server}
        return GripperClient(self.node, Gripper(**GRIPPER, server=GripperServer(**server)))  # type: ignore[arg-type]

    def ready(self, **server: Any) -> tuple[Controller, GripperClient]:
        """Controller, and a client that has found it."""
        controller, client = Controller(self.robot), self.client(**server)
        self.until(lambda: not client.problem())
        return controller, client

    def until(self, condition: Callable[[], bool]) -> None:
        """Spin both nodes until a condition holds."""

        def both() -> bool:
            self.others.spin_once(timeout_sec=0.001)
            return condition()

        spin_until(self.executor, both)

    def settle(self) -> None:
        """Let all that is on the way arrive."""
        for _ in range(20):
            self.executor.spin_once(timeout_sec=0.01)
            self.others.spin_once(timeout_sec=0.01)


@pytest.fixture
def bench(context: Any) -> Iterator[Bench]:
    bench = Bench(context)
    yield bench
    for node in (bench.node, bench.robot):
        node.destroy_node()


def test_a_position_is_a_goal_when_it_has_changed(bench: Bench) -> None:
    controller, client = bench.ready(max_effort=20)
    for position in (0.05, 0.05, 0.0505, 0.0515, 0.0):
        client.move(position)
        bench.settle()
    # A change of less than a hundredth of the range counts from the last goal, so none is lost.
    assert controller.positions == [0.05, 0.0515, 0.0]
    assert {goal.max_effort for goal in controller.goals} == {20.0}
    client.close()
    controller.close()


def test_a_parallel_gripper_gets_its_joint_and_the_effort_only_where_one_is_given(
    bench: Bench,
) -> None:
    controller = Controller(bench.robot, ParallelGripperCommand)
    kind = "control_msgs/action/ParallelGripperCommand"

    def grip(client: GripperClient) -> None:
        bench.until(lambda: not client.problem())
        client.move(0.05)
        bench.until(lambda: controller.is_moving)
        bench.settle()
        client.stop()
        bench.until(lambda: not controller.is_moving)
        client.close()

    for effort in (None, 20.0):
        grip(bench.client(type=kind, max_effort=effort))
    assert [list(goal.name) for goal in controller.goals] == [["finger_joint"]] * 2
    assert [list(goal.position) for goal in controller.goals] == [[0.05]] * 2
    assert [list(goal.effort) for goal in controller.goals] == [[], [20.0]]
    controller.close()


def test_what_is_commanded_while_a_goal_is_on_its_way_is_not_sent_later(
    bench: Bench,
) -> None:
    controller, client = bench.ready()
    for position in (0.01, 0.02, 0.03, 0.04):  # the controller does not run meanwhile
        client.move(position)
        bench.executor.spin_once(timeout_sec=0.01)
    bench.until(lambda: controller.is_moving)
    bench.settle()
    # Nobody commands any more: a person may have taken over, or the speed is 0.
    assert controller.positions == [0.01] and controller.cancelled == 0
    client.move(0.01)
    bench.settle()
    assert controller.positions == [0.01], "it is on its way there"
    client.move(0.04)  # as at the next tick
    bench.until(lambda: len(controller.goals) == 2)
    assert controller.positions == [0.01, 0.04]
    client.close()
    controller.close()


def test_the_end_of_a_session_lets_the_fingers_finish(bench: Bench) -> None:
    controller, client = bench.ready()
    client.move(0.01)
    bench.until(lambda: controller.is_moving)
    bench.settle()
    client.forget()
    bench.settle()
    assert controller.is_moving and controller.cancelled == 0
    client.move(0.01)  # in the next session
    bench.until(lambda: len(controller.goals) == 2)
    client.close()
    bench.settle()
    assert controller.cancelled == 0
    controller.close()


def test_a_stop_halts_fingers_that_move_and_leaves_those_that_have_stalled(bench: Bench) -> None:
    controller, client = bench.ready()
    client.move(0.05)
    bench.until(lambda: controller.is_moving)
    bench.settle()
    client.stop()
    bench.until(lambda: not controller.is_moving)
    assert controller.cancelled == 1
    client.move(0.05)  # after the stop it is a new goal
    bench.until(lambda: controller.is_moving)
    bench.settle()
    controller.stall()  # the fingers hold an object
    bench.settle()
    client.stop()
    bench.settle()
    assert controller.positions == [0.05, 0.05] and controller.cancelled == 1
    client.close()
    controller.close()


def test_a_goal_that_is_accepted_after_a_stop_is_cancelled(bench: Bench) -> None:
    controller, client = bench.ready()
    client.move(0.05)
    client.stop()
    bench.until(lambda: controller.cancelled == 1)
    assert controller.positions == [0.05] and not controller.is_moving
    client.close()
    controller.close()


def test_a_server_that_is_missing_or_dies_is_a_problem_and_its_return_ends_it(
    bench: Bench,
) -> None:
    client = bench.client()
    missing = f"no action server on {ACTION}; start or activate the gripper's controller"
    assert client.problem() == missing
    client.move(0.05)
    assert client.problem() == missing

    def serve() -> None:
        controller = Controller(bench.robot)
        bench.until(lambda: not client.problem())
        client.move(0.05)  # each server has to be told
        bench.until(lambda: controller.is_moving)
        assert controller.positions == [0.05]
        controller.close()
        bench.until(lambda: client.problem() == missing)

    for _ in range(2):
        serve()
    client.close()


def test_a_rejected_goal_is_a_problem_until_the_next_start(bench: Bench) -> None:
    controller, client = bench.ready()
    controller.accepts = False
    client.move(0.05)
    bench.until(lambda: bool(client.problem()))
    assert client.problem().startswith(f"{ACTION} rejected the position 0.05; see the log")
    client.move(0.02)
    bench.settle()
    assert controller.positions == [0.05]
    client.stop()
    controller.accepts = True
    assert not client.problem()
    client.move(0.02)
    bench.until(lambda: controller.is_moving)
    client.close()
    controller.close()


def test_a_server_that_does_not_answer_is_a_problem(bench: Bench) -> None:
    controller, client = bench.ready()
    client.move(0.05)
    spin_until(bench.executor, lambda: bool(client.problem()))
    assert client.problem() == f"{ACTION} has not answered a goal for 1 s; is its node blocked?"
    client.close()
    controller.close()


def test_the_check_of_a_robot_looks_for_the_server(bench: Bench) -> None:
    interface = arm("ur5e_joint_velocity", gripper={**GRIPPER, "server": {"action": ACTION}})
    listener = Listener(bench.node, bench.executor, interface)

    def result() -> tuple[str, str, str]:
        found = command_checks(listener.commands()[1])
        first = next(found)
        return first.what, first.measured, first.level.value

    assert result() == ("action server", "none", "PROBLEM")
    controller = Controller(bench.robot)
    bench.until(lambda: result() == ("action server", ACTION, "ok"))
    controller.close()


@pytest.mark.sim
def test_the_policy_node_grips_by_goals_holds_without_a_server_and_cancels_at_a_stop(
    tmp_path: Path, policy_for: Callable[..., Path]
) -> None:
    interface = arm("ur5e_joint_velocity", gripper={**GRIPPER, "server": {"action": ACTION}})
    policy = policy_for(interface, [*-0.1 * FREE, 0.05], [*0.1 * FREE, 0.08])
    path = tmp_path / "simulated.yaml"
    path.write_text(yaml.safe_dump(interface.to_dict()))
    scene = Scene(str(path))
    try:
        node = scene.start(policy=str(policy), stop_after=3600.0)
        scene.run(0.5)
        assert not scene.sent and "no action server" in node.safety.reason
        controller = Controller(scene.node)
        scene.until(lambda: len(scene.sent) > 0)
        scene.run(1.0)
        assert controller.is_moving
        assert all(0.05 - 1e-6 <= position <= 0.08 + 1e-6 for position in controller.positions)
        count = len(controller.goals)
        camera_stops(scene, 0.5)
        count = len(controller.goals)
        camera_stops(scene, 1.0)
        assert len(controller.goals) == count and controller.cancelled == 0, "told while holding"
        scene.mend()
        scene.until(lambda: not node.safety.reason)
        assert scene.call(Trigger, "policy_node/stop", Trigger.Request()).success
        scene.wait(lambda: controller.cancelled == 1)
        assert not controller.is_moving
        # A policy of this interface runs with a gripper on a topic, and the other way round.
        bare = arm("ur5e_joint_velocity", gripper=GRIPPER)
        assert not interface.differences(bare)
        controller.close()
    finally:
        scene.close()
