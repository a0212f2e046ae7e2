"""Two blocks onto two goals: which ways there are, and the demonstrator."""

from __future__ import annotations

import numpy as np
import pytest

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.tasks.push_two import clear_ways
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.util.resources import interface_path

UR5E = load_interface(interface_path("ur5e_push"))


def test_blocks_side_by_side_can_be_pushed_straight_in_either_order_but_not_across() -> None:
    blocks = np.array([[0.4, -0.075], [0.4, 0.075]])
    goals = np.array([[0.6, -0.075], [0.6, 0.075]])
    assert clear_ways(blocks, goals) == [(0, (0, 1)), (1, (0, 1))]


def test_a_block_that_stands_in_the_way_goes_first() -> None:
    blocks = np.array([[0.36, 0.0], [0.50, 0.0]])
    goals = np.array([[0.60, 0.0], [0.50, 0.16]])
    # The second block leaves the way of the first, or takes the goal behind it and bars none.
    assert (1, (0, 1)) in clear_ways(blocks, goals)
    assert all(first == 1 for first, _ in clear_ways(blocks, goals))


def test_the_same_scene_is_solved_in_different_ways_and_success_needs_both() -> None:
    world = World(make_task("push_two"))
    ways = set()
    for choice in range(4):
        world.reset(3)
        poses = world.poses[:, :2].copy()
        demonstrator = world.task.demonstrator(np.random.default_rng(choice), UR5E)
        one = None
        while not world.finished and world.time < world.task.time_limit:
            tool = np.concatenate(world.tool_pose)
            world.step(demonstrator.act(tool, world.poses), 0.1)
            if one is None and world.measures["nearest"] <= 0.01:
                one = world.success
                moved = np.linalg.norm(world.poses[:2, :2] - poses[:2], axis=1)
        assert world.success and one is False
        pairing = np.linalg.norm(world.poses[0, :2] - world.poses[2:, :2], axis=1).argmin()
        ways.add((int(moved.argmax()), int(pairing)))
        assert world.measures["red"] < 0.011 and world.measures["green"] < 0.011
    assert len(ways) > 1
    world.close()


def test_both_blocks_on_one_goal_is_no_success() -> None:
    task = make_task("push_two")
    assert not task.success({"red": 0.001, "green": 0.06, "nearest": 0.001})
    assert task.success({"red": 0.015, "green": 0.019, "nearest": 0.015})
    result = task.result([{"red": 0.01, "green": 0.2, "nearest": 0.01}])
    assert result["one"] is True and result["green"] == pytest.approx(0.2)
