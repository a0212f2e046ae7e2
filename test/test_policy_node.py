"""policy_node over a real DDS: what goes out on the wire for what comes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

from robot import PERIOD, Robot, parameters, planar

from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.nodes.policy_node import PolicyNode
from ebm_policy_ros.policy import Policy

pytestmark = pytest.mark.ros


@pytest.fixture
def start_policy(robot: Robot, policy_file: Callable[..., Path]) -> Iterator[Callable[..., Any]]:
    nodes: list[PolicyNode] = []

    def start(**values: Any) -> PolicyNode:
        chosen = {"policy": str(policy_file()), "use_sim_time": True, "autostart": True}
        chosen |= {"lockstep": True, "device": "cpu"} | values
        node = PolicyNode(context=robot.context, parameter_overrides=parameters(**chosen))
        nodes.append(node)
        robot.add(node)
        for topic in (*robot.topics.values(), "/clock"):
            robot.heard(topic)
        robot.until(lambda: robot.node.count_publishers("servo_node/delta_twist_cmds") > 0)
        return node

    yield start
    for node in nodes:
        node.close()
        node.destroy_node()


def drive(robot: Robot, steps: range, **options: Any) -> list[list[float]]:
    result = []
    for step in steps:
        robot.tick(step, **options)
        result.append(planar(robot.command_at(step)))
    return result


def test_each_tick_gets_the_decision_of_its_own_samples(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy()
    robot.tick(10)
    commands = drive(robot, range(11, 16))
    assert all(any(values) for values in commands)
    assert all(abs(value) <= 0.2 + 1e-6 for values in commands for value in values)
    assert robot.command_at(12).header.frame_id == "base_link"
    assert len(robot.commands) == len({c.header.stamp.nanosec for c in robot.commands})


def test_same_seed_and_samples_give_the_same_commands(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    first = start_policy()
    robot.tick(10)
    before = drive(robot, range(11, 14))
    count = len(robot.commands)
    first.close()
    robot.until(lambda: len(robot.commands) > count)  # its last command, a stop
    robot.executor.remove_node(first)
    first.destroy_node()
    robot.commands.clear()
    start_policy()
    robot.tick(10)
    assert drive(robot, range(11, 14)) == before


def test_the_method_of_the_search_and_the_choice_are_parameters(
    robot: Robot, start_policy: Callable[..., Any], policy_file: Callable[..., Path]
) -> None:
    """Each changes what goes out, to what a policy with these settings decides."""
    kind = policy_file("autoregressive")
    settings: list[dict[str, Any]] = [
        {},
        {"optimiser": {"samples": 16}},
        {"optimiser": {"method": "hybrid", "starts": 4}},
        {"optimiser": {"method": "langevin", "samples": 16, "iterations": 5, "step_size": 0.01}},
        {"choice": "sample", "temperature": 2.0},
        {"policy": str(kind), "optimiser": {"samples": 64, "places": 2}},
    ]
    seen: list[list[float]] = []
    for chosen in settings:
        search = {f"optimiser.{k}": v for k, v in chosen.get("optimiser", {}).items()}
        plain = {k: v for k, v in chosen.items() if k != "optimiser"}
        node = start_policy(warm_start=False, **plain, **search)
        decided = Policy.load(
            chosen.get("policy", policy_file()),
            device="cpu",
            optimiser=chosen.get("optimiser"),
            choice=chosen.get("choice", "lowest"),
            temperature=chosen.get("temperature", 1.0),
        )
        assert node.pilot.loaded.policy.optimiser == decided.optimiser
        robot.tick(10)
        robot.tick(11)
        sent = planar(robot.command_at(11))
        observation = node.inputs.observe(11 * PERIOD)
        expected = decided.decide(observation).action[0].tolist()
        assert sent == pytest.approx(expected, abs=1e-6)
        seen.append(sent)
        count = len(robot.commands)
        node.close()
        robot.until(lambda: len(robot.commands) > count)  # noqa: B023 - its last one, a stop
        robot.executor.remove_node(node)
        node.destroy_node()
        robot.commands.clear()
    assert len({tuple(values) for values in seen}) == len(settings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimiser.method": "autoregressive"}, "but the model has one energy of whole actions"),
        ({"optimiser.samples": 0}, "optimiser.samples: got 0, expected an integer >= 2"),
        ({"choice": "best"}, "choice: got 'best', expected lowest or sample"),
    ],
)
def test_a_search_that_cannot_work_is_refused(
    values: dict[str, Any], message: str, context: Any, policy_file: Callable[..., Path]
) -> None:
    overrides = parameters(policy=str(policy_file()), autostart=True, **values)
    with pytest.raises(ValueError, match=message):
        PolicyNode(context=context, parameter_overrides=overrides)


def test_a_policy_of_arrays_is_refused_since_it_names_no_robot(
    context: Any, policy_file: Callable[..., Path]
) -> None:
    overrides = parameters(policy=str(policy_file(interface=None)), autostart=True)
    with pytest.raises(ValueError, match="trained on arrays that name no robot"):
        PolicyNode(context=context, parameter_overrides=overrides)


def test_a_stream_that_falls_silent_stops_the_arm_until_it_is_back(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy(lockstep=False)
    robot.tick(10)
    for step in range(11, 20):
        robot.tick(step, only="joints tool")
        command = planar(robot.command_at(step))
        # The camera's samples count for 0.25 s.
        if step >= 13:
            assert command == [0.0, 0.0]
    for step in range(20, 24):
        robot.tick(step)
        command = planar(robot.command_at(step))
    assert any(command)


def test_at_the_edge_of_the_workspace_only_motion_inward_goes_out(
    robot: Robot, start_policy: Callable[..., Any]
) -> None:
    start_policy()
    robot.tick(10, x=0.9)
    assert all(values[0] <= 0.0 for values in drive(robot, range(11, 20), x=0.9))


@pytest.mark.parametrize("transition", ["trigger_deactivate", "trigger_shutdown"])
def test_a_node_that_is_no_longer_active_has_stopped_and_is_silent(
    robot: Robot, start_policy: Callable[..., Any], transition: str
) -> None:
    node = start_policy()
    robot.tick(10)
    drive(robot, range(11, 13))
    count = len(robot.commands)
    getattr(node, transition)()
    robot.until(lambda: len(robot.commands) > count)
    assert planar(robot.commands[-1]) == [0.0, 0.0]
    count = len(robot.commands)
    for step in range(13, 16):
        robot.tick(step)
        for _ in range(5):
            robot.executor.spin_once(timeout_sec=0.02)
    assert len(robot.commands) == count


def test_a_policy_for_another_interface_is_refused_by_name(
    context: Any, policy_file: Callable[..., Path], interface: Interface
) -> None:
    values = interface.to_dict()
    values["rate"] = 5.0
    path = policy_file(interface=interface_from_dict(values, "other"))
    overrides = parameters(policy=str(path), interface="ur5e_push", autostart=True)
    with pytest.raises(ValueError, match=r"another interface than ur5e_push \(rate: 5\.0"):
        PolicyNode(context=context, parameter_overrides=overrides)
