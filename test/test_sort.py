"""Blocks into halves: the demonstrator, and what is sorted and what is not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.tasks.sort import EDGE, INSIDE, SIDES
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.util.resources import interface_path

UR5E = load_interface(interface_path("ur5e_lift"))


@pytest.fixture(scope="module")
def one_world() -> Iterator[World]:
    world = World(make_task("sort"))
    yield world
    world.close()


@pytest.fixture
def world(one_world: World) -> World:
    one_world.reset(0)
    return one_world


def place(world: World, number: int, y: float) -> None:
    """Put a block of its own row at y (m)."""
    name = f"{'yellow' if number < 4 else 'blue'}_{number % 4}"
    start = world.model.joint(name).qposadr[0]
    world.data.qpos[start : start + 7] = 0.34 + 0.04 * number, y, EDGE / 2, 1, 0, 0, 0


@pytest.mark.parametrize("seed", [0, 5])
def test_the_demonstrator_sorts_all_blocks(world: World, seed: int) -> None:
    world.reset(seed)
    demonstrator = world.task.demonstrator(np.random.default_rng(seed), UR5E)
    sorted_before = world.measures["sorted"]
    highest = 0.0
    while not world.finished and world.time < world.task.time_limit:
        action = demonstrator.act(np.concatenate(world.tool_pose), world.poses)
        world.twist(np.clip(action, *UR5E.action.bounds), np.zeros(3), 0.1)
        highest = max(highest, world.tool_pose[0][2])
    assert sorted_before < 8 and world.success and world.time < 20.0
    assert highest > EDGE, "it lifts the tool over the blocks"
    assert (SIDES * world.poses[:, 1] >= INSIDE).all()
    # The blocks are still on the table.
    assert world.poses[:, 2] == pytest.approx(EDGE / 2, abs=2e-3)


def test_a_block_is_sorted_when_it_is_past_the_line_in_its_own_half(world: World) -> None:
    for number, side in enumerate(SIDES):
        place(world, number, side * 0.05)
    world.twist(np.zeros(3), np.zeros(3), 0.02)
    assert world.success and world.measures == {"sorted": 8}
    place(world, 0, INSIDE - 0.002)  # still on the line
    place(world, 5, 0.05)  # blue among the yellow ones
    world.twist(np.zeros(3), np.zeros(3), 0.02)
    assert not world.success and world.measures == {"sorted": 6}


def test_blocks_start_apart_and_the_tool_above_them(one_world: World) -> None:
    for seed in range(5):
        one_world.reset(seed)
        places = one_world.poses[:, :2]
        apart = np.linalg.norm(places[:, None] - places, axis=2)[np.triu_indices(8, 1)]
        assert apart.min() >= 0.07
        assert one_world.tool_pose[0][2] > EDGE + 0.02


def test_an_interface_without_a_height_is_refused() -> None:
    planar = load_interface(interface_path("ur5e_push"))
    with pytest.raises(ValueError, match=r"interface ur5e_lift; got linear\.x, linear\.y$"):
        make_task("sort").demonstrator(np.random.default_rng(0), planar)
