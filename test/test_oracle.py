"""The scripted demonstrator solves its tasks inside the workspace, with learnable actions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import PoseArray, PoseStamped, TwistStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import parameters
from std_msgs.msg import String

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.disturbance import Disturbance
from ebm_policy_ros.sim.oracle_node import OracleNode
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.tasks.push import PushDemonstrator
from ebm_policy_ros.sim.world import MAX_SPEED, World
from ebm_policy_ros.util.resources import interface_path

pytestmark = pytest.mark.sim

INTERFACE = load_interface(interface_path("ur5e_push"))
BLOCK = np.array([0.5, 0.0])
GOAL = np.array([0.6, 0.0])


def oracle(seed: int = 0, goals: int = 1) -> PushDemonstrator:
    return PushDemonstrator(np.random.default_rng(seed), goals)


@pytest.mark.parametrize("task", ["push", "push_either"])
@pytest.mark.parametrize("noise", [0.0, 0.005])
def test_it_solves_ten_of_ten_fresh_episodes(task: str, noise: float) -> None:
    workspace = INTERFACE.workspace
    assert workspace is not None
    world = World(make_task(task), disturbance=Disturbance(noise))
    for seed in range(2000, 2010):
        world.reset(seed)
        demonstrator = world.task.demonstrator(np.random.default_rng(seed), INTERFACE)
        while not world.success and world.time < world.task.time_limit:
            tool = world.tool_pose[0][:2]
            assert np.all((tool > workspace.low) & (tool < workspace.high))
            action = demonstrator.act(tool, world.poses)
            assert np.abs(action).max() <= MAX_SPEED
            world.step(action, 0.1)
        assert world.success, f"seed {seed} ended {world.measures['distance']:.3f} m from the goal"


@pytest.mark.parametrize("task", ["push", "push_either"])
def test_it_recovers_from_knocks(task: str) -> None:
    world = World(make_task(task), disturbance=Disturbance(noise=0.005, knocks=0.5))
    solved = 0
    for seed in range(2000, 2010):
        world.reset(seed)
        demonstrator = world.task.demonstrator(np.random.default_rng(seed), INTERFACE)
        while not world.success and world.time < world.task.time_limit:
            tool = world.tool_pose[0][:2]
            world.step(demonstrator.act(tool, world.poses), 0.1)
        solved += world.success
    assert solved >= 9


def test_it_pushes_towards_the_goal_from_behind_the_block() -> None:
    vx, vy = oracle().velocity(BLOCK - [0.04, 0.0], BLOCK, GOAL)
    assert vx == pytest.approx(0.1)
    assert vy == pytest.approx(0.0)


def test_it_goes_round_the_block_to_get_behind_it() -> None:
    beside = oracle().velocity(BLOCK + np.array([0.0, 0.07]), BLOCK, GOAL)
    assert beside[0] < -0.1
    assert abs(beside[1]) < 0.03


def test_mirrored_scenes_get_mirrored_actions() -> None:
    mirror = np.array([1.0, -1.0])
    for offset in ([-0.05, 0.02], [0.0, 0.07], [0.04, 0.06]):
        left = oracle().velocity(BLOCK + offset, BLOCK, GOAL)
        right = oracle().velocity(BLOCK + mirror * offset, BLOCK, GOAL)
        assert right == pytest.approx(mirror * left)


def test_its_action_is_a_smooth_function_of_the_tool() -> None:
    demonstrator = oracle()
    # All around the block except the sector in front, where it must choose a side.
    angles = np.linspace(np.pi - 2.8, np.pi + 2.8, 4000)
    ring = 0.06 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    actions = np.array([demonstrator.velocity(BLOCK + offset, BLOCK, GOAL) for offset in ring])
    travelled = np.linalg.norm(np.diff(ring, axis=0), axis=1)
    slope = np.linalg.norm(np.diff(actions, axis=0), axis=1) / travelled
    assert slope.max() < 10.0  # m/s per m: an offset of 1 cm changes the velocity by at most 0.1.


def test_right_in_front_it_keeps_to_one_side_for_the_episode() -> None:
    sides = set()
    for seed in range(10):
        demonstrator = oracle(seed)
        tools = (BLOCK + np.array([0.08, y]) for y in (-0.01, 0.01))
        signs = {float(np.sign(demonstrator.velocity(tool, BLOCK, GOAL)[1])) for tool in tools}
        assert len(signs) == 1
        sides |= signs
    assert sides == {-1.0, 1.0}


def test_each_of_two_goals_is_chosen_about_half_the_time() -> None:
    chosen = [oracle(seed, goals=2).goal for seed in range(200)]
    assert 80 <= sum(chosen) <= 120


@pytest.mark.ros
def test_its_node_keeps_commands_within_the_interfaces_limits(context: Any) -> None:
    """A tool far off its way would be sent back at 1 m/s."""
    oracle = OracleNode(
        context=context, parameter_overrides=parameters(task="avoid", interface="ur5e_push")
    )
    node = rclpy.create_node("bridge", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(oracle)
    executor.add_node(node)
    commands: list[Any] = []
    node.create_subscription(TwistStamped, "servo_node/delta_twist_cmds", commands.append, 10)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publishers = {
        name: node.create_publisher(kind, name, qos)
        for name, kind, qos in (
            ("sim_bridge_node/status", String, latched),
            ("sim_bridge_node/scene", PoseArray, 10),
            ("tool_pose", PoseStamped, 10),
        )
    }
    publishers["sim_bridge_node/status"].publish(String(data='{"state": "running", "seed": 0}'))
    tool = PoseStamped()
    tool.pose.position.x = 0.3
    try:
        for _ in range(400):
            publishers["sim_bridge_node/scene"].publish(PoseArray())
            publishers["tool_pose"].publish(tool)
            executor.spin_once(timeout_sec=0.05)
            if commands:  # its way has begun; now the tool is far off it
                tool.pose.position.x, tool.pose.position.y = 0.45, -0.3
            if any(command.twist.linear.y > 0.2 for command in commands):
                break
        assert max(command.twist.linear.y for command in commands) == 0.25
    finally:
        executor.shutdown()
        oracle.destroy_node()
        node.destroy_node()
