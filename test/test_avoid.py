"""Pillars to avoid: the routes, the demonstrator, and what a touch is."""

from __future__ import annotations

import numpy as np

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.tasks.avoid import LINE, ROUTES, route_of
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.util.resources import interface_path

UR5E = load_interface(interface_path("ur5e_push"))


def test_a_route_is_left_or_right_at_each_row() -> None:
    def route(*sides: float) -> int:
        return route_of(
            [{"x": x, "y": y, "moved": 0.0} for x, y in zip((0.4, 0.5, 0.6), sides, strict=True)]
        )

    assert route(-0.06, -0.12, -0.18) == 0
    assert route(0.06, 0.12, 0.18) == 7
    assert route(0.06, 0.0, 0.06) == 0b101
    # The same gap of the second row, entered from the other side.
    assert route(-0.06, 0.0, 0.06) == 0b011
    assert route_of([{"x": 0.55, "y": 0.0, "moved": 0.0}]) == -1


def test_the_demonstrator_takes_every_route_and_touches_nothing() -> None:
    world = World(make_task("avoid"))
    # A seed that draws each route, in order.
    for route, choice in enumerate((34, 11, 21, 1, 2, 12, 5, 0)):
        world.reset(3)
        demonstrator = world.task.demonstrator(np.random.default_rng(choice), UR5E)
        moments = [world.measures]
        while not world.finished and world.time < world.task.time_limit:
            tool = np.concatenate(world.tool_pose)
            world.step(demonstrator.act(tool, world.poses), 0.1)
            moments.append(world.measures)
        assert world.success and moments[-1]["x"] >= LINE
        result = world.task.result(moments)
        assert result == {"touched": False, "route": route}
    world.close()
    assert route == ROUTES - 1


def test_a_pillar_that_is_touched_ends_the_episode_without_success() -> None:
    world = World(make_task("avoid"))
    world.reset(0)
    assert not world.finished
    moments = [world.measures]
    while not world.finished and world.time < world.task.time_limit:
        # Straight to the single pillar of the first row.
        world.step([0.1, -2.0 * world.tool_pose[0][1]], 0.1)
        moments.append(world.measures)
    assert 0.36 < moments[-1]["x"] < 0.42 and moments[-1]["moved"] > 0.001
    assert not world.success
    assert world.task.result(moments)["touched"] is True
    world.step([-0.2, 0.0], 0.5)
    assert world.finished and not world.success, "it stays touched"
    world.close()
