"""Random takeovers of a simulated arm: no limit is crossed, and nothing jumps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("rclpy")

import rclpy
from robot import PERIOD, parameters
from test_command_types import HOME, TRAJECTORY, arm

from ebm_policy_ros.control.limits import Limits, reachable
from ebm_policy_ros.control.safety_state import SafetyStateMachine
from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.nodes.common.arms import Arms
from ebm_policy_ros.nodes.common.outputs import Command
from ebm_policy_ros.nodes.policy.observer import PendingObservation
from ebm_policy_ros.nodes.policy.sending import CommandSender, DesiredActions
from ebm_policy_ros.nodes.policy.statistics import RuntimeStatistics
from ebm_policy_ros.nodes.policy.timeliness import Timeliness
from ebm_policy_ros.observation.buffer import Snapshot
from ebm_policy_ros.observation.robot_state import RobotState

pytestmark = pytest.mark.ros

Vector = npt.NDArray[np.float64]
SECONDS = PERIOD / NANOSECONDS
TOLERANCE = 1e-9
# Time constant of the simulated arm, s.
LAG = 0.05


@dataclass
class Step:
    """A command, and what was measured before it."""

    command: Command
    now: int
    place: Vector
    speed: Vector
    is_new: bool
    """True if another one commanded the last time."""

    @property
    def first(self) -> Vector:
        return cast(Vector, self.command.sent[0])


class SimulatedArm:
    """Joints that follow their commands with a lag, and the sender of the policy node."""

    def __init__(self, context: Any, interface: Interface) -> None:
        # On simulated time that stands still, all times are those of the calls.
        overrides = parameters(use_sim_time=True)
        self._node = rclpy.create_node("arm", context=context, parameter_overrides=overrides)
        self.limits, action = Limits.of(interface), interface.command
        self._arms = Arms(self._node, interface, [self.limits])
        self._arms.open()
        # In lockstep nothing is late, so no snapshot is looked at.
        self._timeliness = Timeliness(self._node, interface, {"lockstep": True}, lambda: None)
        self._sender = CommandSender(
            self._node,
            self._arms,
            SafetyStateMachine(1.0, 0.2),
            RuntimeStatistics(),
            self._timeliness,
        )
        self._fields, self._is_velocity = action.fields, action.is_velocity
        self.place, self.speed, self.now = HOME.copy(), np.zeros(6), 10 * NANOSECONDS
        self._commander = "policy"
        self.steps: list[Step] = []

    def wait(self, seconds: float) -> None:
        """Let the arm follow its last command for a time."""
        self.now += round(seconds * NANOSECONDS)
        if not self.steps:
            return
        command, share = self.steps[-1].command, 1 - np.exp(-seconds / LAG)
        if self._is_velocity:
            self.speed = self.speed + share * (command.sent[0] - self.speed)
            self.place = self.place + self.speed * seconds
        else:
            moved = share * (setpoint(command, self.now) - self.place)
            self.place, self.speed = self.place + moved, moved / seconds

    def send(self, commander: str, rows: Vector) -> None:
        """Send the actions of a commander, shape (H, D)."""
        is_new, self._commander = commander != self._commander, commander
        if is_new:
            self._sender.join()
        place, speed = (
            dict(zip(self._fields, values.tolist(), strict=True))
            for values in (self.place, self.speed)
        )
        state = RobotState(place, speed, {})
        sight = PendingObservation(self.now, cast(Snapshot, None), (state,), self.now)
        desired = DesiredActions([rows], self.now, [False], blend=0.2)
        (command,) = self._sender.send(desired, sight)
        self.steps.append(Step(command, self.now, self.place, self.speed, is_new))

    def close(self) -> None:
        self._arms.close(self.now)
        self._timeliness.close()
        self._node.destroy_node()


def setpoint(command: Command, now: int) -> Vector:
    """Position that a command asks for at a time."""
    columns = [np.interp(now, command.times, column) for column in command.sent.T]
    return np.array(columns)


Simulate = Any


@pytest.fixture
def simulate(context: Any) -> Iterator[Simulate]:
    """Runner of some takeovers, each with a few commands of the policy and of the person."""
    arms: list[SimulatedArm] = []

    def run(
        interface: Interface, centre: Vector, reach: float, takeovers: int = 1000
    ) -> SimulatedArm:
        arms.append(simulated := SimulatedArm(context, interface))
        draws, horizon = np.random.default_rng(7), interface.action.horizon
        for _ in range(takeovers):
            for commander in ("policy", "person"):
                # Far outside of the limits too.
                goal = centre + draws.uniform(-reach, reach, 6) * draws.choice([1.0, 10.0])
                for _ in range(draws.integers(1, 3)):
                    simulated.wait(float(draws.choice([0.002, 0.04, SECONDS])))
                    drift = draws.normal(0.0, 0.1 * reach, (horizon, 6)).cumsum(axis=0)
                    simulated.send(commander, goal + drift)
        assert sum(step.is_new for step in simulated.steps) == 2 * takeovers - 1
        return simulated

    yield run
    for simulated in arms:
        simulated.close()


def test_the_positions_of_1000_takeovers_cross_no_limit_and_do_not_jump(
    simulate: Simulate,
) -> None:
    kind, lag = "std_msgs/msg/Float64MultiArray", 0.1
    interface = arm("ur5e_trajectory", type=kind, quantity="position", horizon=1, lag=lag)
    simulated, jumps = simulate(interface, HOME, 1.0), 0
    limits, seconds = simulated.limits, SECONDS + lag
    for last, step in pairwise(simulated.steps):
        assert (limits.low <= step.first).all() and (step.first <= limits.high).all()
        speed = (step.first - step.place) / seconds
        assert (np.abs(speed) <= limits.max_velocity + TOLERANCE).all()
        slow, fast = reachable(step.speed, limits.max_acceleration * seconds)
        assert (slow - TOLERANCE <= speed).all() and (speed <= fast + TOLERANCE).all()
        if step.is_new:
            since = min((step.now - last.now) / NANOSECONDS, SECONDS)
            apart = np.abs(step.first - last.first)
            jumps += bool((apart > limits.max_velocity * since + TOLERANCE).any())
    assert jumps == 0


@pytest.mark.parametrize("takeovers", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_trajectories_of_many_takeovers_cross_no_limit_and_do_not_jump(
    simulate: Simulate, takeovers: int
) -> None:
    interface = arm("ur5e_trajectory", type=TRAJECTORY, horizon=8)
    simulated = simulate(interface, HOME, 1.0, takeovers)
    limits = simulated.limits
    for last, step in pairwise(simulated.steps):
        points, times = step.command.sent, step.command.times / NANOSECONDS
        assert points[0] == pytest.approx(setpoint(last.command, step.now), abs=1e-6)
        assert (limits.low <= points).all() and (points <= limits.high).all()
        speeds = np.diff(points, axis=0) / np.diff(times)[:, None]
        assert (np.abs(speeds) <= limits.max_velocity + 1e-6).all()


def test_the_velocities_of_1000_takeovers_cross_no_limit_and_do_not_jump(
    simulate: Simulate,
) -> None:
    interface = arm("ur5e_joint_velocity")
    simulated = simulate(interface, np.zeros(6), 0.3)
    limits, change = simulated.limits, simulated.limits.max_acceleration * SECONDS
    for last, step in pairwise(simulated.steps):
        assert (limits.low <= step.first).all() and (step.first <= limits.high).all()
        slow, fast = reachable(step.speed, change)
        assert (slow - TOLERANCE <= step.first).all() and (step.first <= fast + TOLERANCE).all()
        if step.is_new:
            # By one change, or to rest, besides that by which the arm lags behind the last one.
            lag, most = np.abs(last.first - step.speed), np.maximum(change, np.abs(step.speed))
            assert (np.abs(step.first - last.first) <= lag + most + TOLERANCE).all()
