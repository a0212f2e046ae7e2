"""Round a wall, and push: the sides, the demonstrator, and what a touch is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.tasks.detour import WALL_SIZE, WALL_X
from ebm_policy_ros.sim.tasks.pusher import TIP_RADIUS
from ebm_policy_ros.sim.tasks.task import Measures
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.util.resources import interface_path

UR5E = load_interface(interface_path("ur5e_push"))
STARTS = {"detour": 0.62, "detour_far": 0.635, "detour_farther": 0.66}


@pytest.fixture
def world() -> Iterator[World]:
    world = World(make_task("detour"))
    world.reset(0)
    yield world
    world.close()


def go(world: World, *points: tuple[float, float]) -> list[Measures]:
    """Move the tool straight from point to point at 0.2 m/s, until the episode is over."""
    moments = [world.measures]
    for point in points:
        while not world.finished and world.time < world.task.time_limit:
            left = np.subtract(point, world.tool_pose[0][:2])
            if np.linalg.norm(left) < 0.005:
                break
            world.step(min(0.2 / np.linalg.norm(left), 10.0) * left, 0.1)
            moments.append(world.measures)
    return moments


@pytest.mark.parametrize("name", STARTS)
def test_the_demonstrator_solves_the_same_scene_on_either_side(name: str) -> None:
    world = World(make_task(name))
    sides = set()
    for choice in range(4):
        world.reset(3)
        assert world.tool_pose[0][0] == pytest.approx(STARTS[name], abs=0.002)
        demonstrator = world.task.demonstrator(np.random.default_rng(choice), UR5E)
        moments = [world.measures]
        while not world.finished and world.time < world.task.time_limit:
            action = demonstrator.act(np.concatenate(world.tool_pose), world.poses)
            assert (UR5E.command.low <= action).all() and (action <= UR5E.command.high).all()
            world.step(action, 0.1)
            moments.append(world.measures)
        assert world.success and max(moment["moved"] for moment in moments) < 1e-4
        result = world.task.result(moments)
        assert result["within_1cm"] and not result["touched"]
        assert result["left"] is not result["right"]
        sides.add(result["left"])
    world.close()
    assert sides == {True, False}


def test_a_tool_has_a_side_once_it_passed_the_wall() -> None:
    def sides(*places: tuple[float, float]) -> tuple[object, object]:
        result = make_task("detour").result(
            [{"x": x, "y": y, "moved": 0.0, "distance": 0.1} for x, y in places]
        )
        return result["left"], result["right"]

    assert sides((0.62, 0.01), (0.55, 0.08)) == (False, False)
    assert sides((0.62, 0.0), (0.53, 0.1), (0.46, -0.01)) == (True, False)
    assert sides((0.62, 0.01), (0.52, -0.1), (0.46, 0.03)) == (False, True)


def test_a_tool_that_moves_the_wall_ends_the_episode_without_success(world: World) -> None:
    moments = go(world, (0.4, 0.0))
    assert world.finished and not world.success
    result = world.task.result(moments)
    assert result["touched"] is True and (result["left"], result["right"]) == (False, False)
    assert world.time < 1.0
    world.step([0.2, 0.0], 1.0)
    assert world.finished and not world.success, "it stays touched"
    solved = {**world.measures, "distance": 0.0}
    assert not world.task.success(solved)
    assert world.task.success({**solved, "moved": 0.0})


@pytest.mark.parametrize(("clearance", "touched"), [(-0.005, True), (0.005, False)])
def test_a_wall_is_touched_at_its_end_too(world: World, clearance: float, touched: bool) -> None:
    y = WALL_SIZE[1] / 2 + TIP_RADIUS + clearance
    moments = go(world, (0.62, y), (WALL_X - 0.05, y))
    assert world.finished is touched
    assert world.task.result(moments)["touched"] is touched


def test_a_block_that_is_pushed_against_the_wall_touches_it(world: World) -> None:
    y = float(world.poses[0, 1])
    moments = go(world, (0.6, 0.12), (0.35, 0.12), (0.35, y), (WALL_X, y))
    assert world.task.result(moments)["left"] is True
    assert world.poses[0, 0] > 0.45 and world.finished and not world.success
    assert world.tool_pose[0][0] < world.poses[0, 0], "only the block can have moved the wall"
    assert world.task.result(moments)["touched"] is True
