"""Cubes into boxes with a gripper: the grasp, the demonstrator, and what counts as put."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import yaml

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.sim.disturbance import Disturbance
from ebm_policy_ros.sim.tasks import Demonstrator, Measures, make_task
from ebm_policy_ros.sim.tasks.gripper import STROKE
from ebm_policy_ros.sim.tasks.pick_place import INNER, WALL_HEIGHT
from ebm_policy_ros.sim.tasks.push import BLOCK_SIZE
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.util.resources import interface_path

pytestmark = pytest.mark.sim

INTERFACE = load_interface(interface_path("ur5e_pick_place"))
Array = npt.NDArray[np.float64]
STILL = np.zeros(3)
CHOICES = (11, 1, 2, 0)
"""A seed that draws each of the four answers."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World(make_task("pick_place"))
    yield world
    world.close()


def command(world: World, action: npt.ArrayLike) -> None:
    *linear, grip = np.asarray(action)
    world.grip(grip)
    world.twist(linear, STILL, 0.1)


def run(
    world: World, demonstrator: Demonstrator, until: Callable[[World], bool] = lambda world: False
) -> list[Measures]:
    """Follow a demonstrator until the end, or until something holds."""
    moments = [world.measures]
    while not world.finished and world.time < world.task.time_limit and not until(world):
        command(world, demonstrator.act(np.concatenate(world.tool_pose), world.poses))
        moments.append(world.measures)
    return moments


def carrying(world: World) -> bool:
    """Return True if a cube is up, level with the other's top or above."""
    return world.measures["height"] > 0.08


def held(world: World) -> int:
    return int(world.poses[:2, 2].argmax())


def put(world: World, cube: int, place: npt.ArrayLike) -> None:
    """Put a cube somewhere (m), at rest."""
    joint = world.data.joint(("red", "green")[cube])
    joint.qpos[:] = *np.asarray(place), 1, 0, 0, 0
    joint.qvel[:] = 0
    world.twist(STILL, STILL, 0.0)


def test_it_solves_ten_of_ten_fresh_scenes_under_noise_within_its_interfaces_limits() -> None:
    workspace = INTERFACE.workspace
    assert workspace is not None
    low, high = np.array(INTERFACE.action.bounds)
    world = World(make_task("pick_place"), disturbance=Disturbance(noise=0.005))
    for seed in range(2000, 2010):
        world.reset(seed)
        assert not world.success
        demonstrator = world.task.demonstrator(np.random.default_rng(seed), INTERFACE)
        while not world.finished and world.time < world.task.time_limit:
            tool = np.concatenate(world.tool_pose)
            assert np.all((tool[:3] > workspace.low) & (tool[:3] < workspace.high))
            action = demonstrator.act(tool, world.poses)
            assert np.all((action >= low) & (action <= high))
            command(world, action)
        assert world.success, f"seed {seed}"
    world.close()


def test_the_same_scene_is_solved_in_four_ways(world: World) -> None:
    answers = set()
    for choice in CHOICES:
        world.reset(3)
        moments = run(world, world.task.demonstrator(np.random.default_rng(choice), INTERFACE))
        result = world.task.result(moments)
        cube, box = int(result["cube"]), int(result["box"])
        apart = world.poses[cube, :2] - world.poses[2 + box, :2]
        assert world.success and np.abs(apart).max() < 0.02
        assert result["lifted"] is True
        answers.add((cube, box))
    assert len(answers) == 4


def test_a_held_cube_stays_in_the_fingers_at_full_speed_and_falls_straight_when_let_go(
    world: World,
) -> None:
    world.reset(5)
    run(world, world.task.demonstrator(np.random.default_rng(0), INTERFACE), carrying)
    cube = held(world)
    assert world.gripper_position == pytest.approx((0.1 - BLOCK_SIZE) / 2, abs=0.001)

    def apart() -> Array:
        return np.array(world.poses[cube, :3] - world.tool_pose[0])

    start = apart()
    for direction in ((0, 0, 1), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, -1)):
        for _ in range(4):
            command(world, [*0.25 * np.array(direction), STROKE])
    assert apart() == pytest.approx(start, abs=0.005)
    place = world.poses[cube, :2].copy()
    for _ in range(8):
        command(world, [0, 0, 0, 0])
        assert np.linalg.norm(world.poses[cube, :2] - place) < 0.01
    assert world.measures["height"] == pytest.approx(0.0, abs=0.002), "it has fallen"
    assert world.gripper_position == pytest.approx(0.0, abs=0.002)
    assert not world.success, "beside the boxes"


def test_fingers_that_close_beside_the_cubes_lift_nothing(world: World) -> None:
    world.reset(4)
    # Midway between the cubes, as the mean of both answers.
    middle = world.poses[:2, :2].mean(axis=0)
    moments = [world.measures]
    for height, grip in ((0.12, 0.0), (0.02, 0.0), (0.02, STROKE), (0.15, STROKE)):
        for _ in range(10):
            way = np.array([*middle, height]) - world.tool_pose[0]
            command(world, [*np.clip(5 * way, -0.25, 0.25), grip])
            moments.append(world.measures)
    assert world.tool_pose[0] == pytest.approx([*middle, 0.15], abs=0.01)
    assert world.task.result(moments) == {"lifted": False, "cube": -1, "box": -1}
    assert not world.finished


def test_a_cube_that_is_not_let_go_is_not_put(world: World) -> None:
    world.reset(6)
    demonstrator = world.task.demonstrator(np.random.default_rng(0), INTERFACE)
    run(world, demonstrator, carrying)
    cube = held(world)
    for _ in range(40):
        *linear, _ = demonstrator.act(np.concatenate(world.tool_pose), world.poses)
        command(world, [*linear, STROKE])
    apart = np.abs(world.poses[2:4, :2] - world.poses[cube, :2]).max(axis=1).min()
    assert apart < 0.02 and not world.success
    # Pressed into the box by closed fingers, it is not put either.
    for _ in range(15):
        down = world.measures["cube"] < 0
        command(world, [0, 0, -0.02 if down else 0.0, STROKE])
    assert world.measures["cube"] == cube and world.measures["speed"] < 0.01
    assert not world.success
    for _ in range(6):
        command(world, [0, 0, 0, 0])
    assert world.success


def test_a_cube_is_in_a_box_only_if_it_rests_between_its_walls(world: World) -> None:
    world.reset(7)
    boxes = world.poses[2:4, :2]
    rest = BLOCK_SIZE / 2 + 0.003
    for cube in range(2):
        for box in range(2):
            world.reset(7)
            put(world, cube, [*boxes[box], rest])
            for _ in range(3):
                command(world, [0, 0, 0, 0])
            assert (world.measures["cube"], world.measures["box"]) == (cube, box)
            assert world.success
    inward = np.array([0.0, -np.sign(boxes[0, 1])])
    for place, height in (
        (boxes[0], rest + BLOCK_SIZE),  # in the air above the box
        (boxes[0] + inward * INNER / 2, BLOCK_SIZE / 2 + WALL_HEIGHT),  # on a wall
        (boxes[0] + inward * (INNER / 2 + 0.04), BLOCK_SIZE / 2),  # beside it
    ):
        world.reset(7)
        put(world, 0, [*place, height])
        assert world.measures["cube"] == -1 and not world.success
    world.reset(7)
    put(world, 1, [*boxes[0], rest])
    world.data.joint("green").qvel[:] = [0.1, 0, 0, 0, 0, 0]
    assert world.measures["cube"] == 1 and not world.success, "it slides"


def test_it_needs_an_interface_with_a_gripper(world: World) -> None:
    planar = load_interface(interface_path("ur5e_push"))
    with pytest.raises(ValueError, match=r"linear\.z and a gripper, as in .*ur5e_pick_place"):
        world.task.demonstrator(np.random.default_rng(0), planar)


@pytest.mark.ros
@pytest.mark.slow
def test_demonstrations_over_ros_have_the_gripper_as_their_fourth_coordinate(
    tmp_path: Path,
) -> None:
    pytest.importorskip("rclpy")
    import programs

    from ebm_policy_ros.training.data.bag_dataset import load_dataset

    done = programs.run(
        "sim.record_demos", "--task", "pick_place", "--interface", "ur5e_pick_place",
        "--episodes", "1", "--knocks", "0", "--out", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 of 1 demonstrations succeeded" in done.stdout
    (line,) = (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()
    result = json.loads(line)
    assert result["lifted"] and {result["cube"], result["box"]} <= {0, 1}
    data = load_dataset(tmp_path, INTERFACE)
    actions = data.actions[:, 0]
    # The command that answers the last samples may come before the recorder is stopped.
    assert actions.shape[1] == 4 and len(actions) - result["steps"] in (0, 1)
    assert actions[:, 3].min() == 0 and actions[:, 3].max() == pytest.approx(STROKE)
    assert np.all(np.ptp(actions[:, :3], axis=0) > 0.05)
    # The arm's joints and the fingers share a topic, on which each moment comes once.
    (bag,) = tmp_path.glob("pick_place_*/metadata.yaml")
    told = yaml.safe_load(bag.read_text())["rosbag2_bagfile_information"]
    topics = told["topics_with_message_count"]
    counts = {each["topic_metadata"]["name"]: each["message_count"] for each in topics}
    assert abs(counts["/joint_states"] - counts["/tool_pose"]) <= 1
    finger = data.observations["fingers"][:, -1, 0]
    assert finger.min() < 0.002 and finger.max() == pytest.approx(0.025, abs=0.001)
    # The second camera is that on the gripper: what is held stays where it is in the picture.
    held = (finger > 0.024) & (data.observations["tool"][:, -1, 2] > 0.03)
    pictures = data.observations["wrist"][held, -1].astype(float)
    assert held.sum() > 5 and pictures[:, 60:72, 60:68].std(axis=0).max() < 10
    assert pictures.std(axis=0).max() > 40
