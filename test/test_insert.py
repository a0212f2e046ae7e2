"""A block into a fixture: the demonstrator, and what fits and what does not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.robots import LEASH
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.tasks.insert import PLAY, SEAT_X, yaw_of
from ebm_policy_ros.sim.tasks.push import BLOCK_SIZE, place_block
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.util.resources import interface_path

UR5E = load_interface(interface_path("ur5e_push"))


@pytest.fixture
def world() -> Iterator[World]:
    world = World(make_task("insert"))
    world.reset(0)
    yield world
    world.close()


def place(world: World, x: float, y: float, yaw: float) -> None:
    place_block(world.model, world.data, "block", np.array([x, y]), yaw)
    world.step([0.0, 0.0], 0.02)  # computes where everything is


@pytest.mark.parametrize("seed", [2, 3])
def test_the_demonstrator_slides_the_block_to_the_end(world: World, seed: int) -> None:
    world.reset(seed)
    demonstrator = world.task.demonstrator(np.random.default_rng(0), UR5E)
    moments = [world.measures]
    while not world.finished and world.time < world.task.time_limit:
        action = demonstrator.act(np.concatenate(world.tool_pose), world.poses)
        world.step(np.clip(action, *UR5E.action.bounds), 0.1)
        moments.append(world.measures)
    assert world.success and world.time < 8.0
    assert world.task.result(moments)["entered"] is True
    # The walls hold it within its play, and at the end it touches the fixture.
    assert abs(moments[-1]["aside"]) <= PLAY + 1e-4
    assert moments[-1]["ahead"] == pytest.approx(0.0, abs=0.002)


@pytest.mark.parametrize(
    ("x", "y", "yaw", "solved", "entered"),
    [
        (SEAT_X, 0.0, 0.0, True, True),
        (SEAT_X, 0.0, np.pi / 2, True, True),  # a cube has four sides
        (SEAT_X + 0.01, 0.0, 0.0, False, True),
        (SEAT_X + 0.06, 0.0, 0.0, False, False),
        (SEAT_X - 0.1, 0.1, 0.0, False, False),  # past the fixture, beside it
    ],
)
def test_in_is_between_the_walls_and_at_the_end(
    world: World, x: float, y: float, yaw: float, solved: bool, entered: bool
) -> None:
    place(world, x, y, yaw)
    assert world.success is solved
    assert world.task.result([world.measures])["entered"] is entered


def test_a_block_that_is_turned_by_ten_degrees_touches_the_walls(world: World) -> None:
    def touches(yaw: float) -> bool:
        place(world, SEAT_X + 0.012, 0.0, yaw)
        block = world.model.geom("block").id
        # Below it is the table; every other contact is one with the fixture.
        others = {*world.data.contact.geom.ravel()} - {block, world.model.geom("table").id}
        return bool(others)

    assert not touches(0.0)
    assert touches(np.deg2rad(10))


def test_a_tool_that_presses_on_the_fixture_does_not_wind_up(world: World) -> None:
    place(world, SEAT_X, 0.0, 0.0)
    world.step([0.0, -5 * world.tool_pose[0][1]], 0.2)
    for _ in range(60):
        world.step([-0.2, 0.0], 0.1)
    pressed = float(world.tool_pose[0][0])
    assert world.measures["ahead"] > -0.005  # not through the wall
    # Six seconds of pressing are taken back within the leash, not within 1.2 m.
    for _ in range(2):
        world.step([0.2, 0.0], 0.1)
    assert world.tool_pose[0][0] > pressed + 0.04 - LEASH - 0.01


@pytest.mark.parametrize(("degrees", "yaw"), [(0, 0), (30, 30), (80, -10), (200, 20), (-100, -10)])
def test_the_yaw_of_a_cube_is_that_of_its_nearest_side(degrees: float, yaw: float) -> None:
    half = np.deg2rad(degrees) / 2
    assert yaw_of(np.array([0, 0, np.sin(half), np.cos(half)])) == pytest.approx(np.deg2rad(yaw))
    assert BLOCK_SIZE + 2 * PLAY == pytest.approx(0.052)
