"""Cubes onto a disc: the demonstrator, and which cubes count."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.tasks.sweep import COUNT, EDGE, ENOUGH, RADIUS
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.util.resources import interface_path

UR5E = load_interface(interface_path("ur5e_sweep"))


@pytest.fixture(scope="module")
def one_world() -> Iterator[World]:
    world = World(make_task("sweep"))
    yield world
    world.close()


@pytest.fixture
def world(one_world: World) -> World:
    one_world.reset(1)
    return one_world


def test_the_demonstrator_sweeps_nearly_all_cubes_onto_the_disc(world: World) -> None:
    demonstrator = world.task.demonstrator(np.random.default_rng(1), UR5E)
    assert world.measures == {"cubes": 0}
    heights, turns = [], []
    while not world.finished and world.time < world.task.time_limit:
        action = demonstrator.act(np.concatenate(world.tool_pose), world.poses)
        action = np.clip(action, *UR5E.action.bounds)
        world.twist(action[:3], [0, 0, action[3]], 0.1)
        position, quaternion = world.tool_pose
        heights.append(position[2])
        turns.append(2 * np.arctan(quaternion[1] / quaternion[0]))
    assert world.success
    assert min(heights) < 0.008 and max(heights) > 0.03, "strokes, and lifts in between"
    assert np.ptp(turns) > 0.5, "from several sides"
    assert np.abs(turns).max() < np.deg2rad(100), "the wrist does not wind up"


def test_a_cube_counts_when_its_centre_is_on_the_disc(world: World) -> None:
    disc = world.poses[0, :2]

    def put(number: int, distance: float) -> None:
        angle = 2 * np.pi * number / COUNT
        start = world.model.joint(f"cube_{number}").qposadr[0]
        place = disc + distance * np.array([np.cos(angle), np.sin(angle)])
        world.data.qpos[start : start + 7] = *place, EDGE / 2, 1, 0, 0, 0

    def count() -> float:
        world.twist(np.zeros(3), np.zeros(3), 0.02)
        return world.measures["cubes"]

    # The plate waits above.
    for number in range(COUNT):
        put(number, RADIUS - 0.003 if number % 2 else RADIUS - 0.02)
    assert count() == COUNT and world.success and world.finished
    for number in range(COUNT - ENOUGH):
        put(number, RADIUS + 0.02)
    assert count() == ENOUGH and world.success and not world.finished
    put(10, RADIUS + 0.02)
    assert count() == ENOUGH - 1 and not world.success


def test_an_interface_that_does_not_turn_the_plate_is_refused() -> None:
    lift = load_interface(interface_path("ur5e_lift"))
    with pytest.raises(ValueError, match=r"interface ur5e_sweep; got linear\.x, .*linear\.z$"):
        make_task("sweep").demonstrator(np.random.default_rng(0), lift)
