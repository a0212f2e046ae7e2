"""Simulated arm: motion, limits, reproducibility and images."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.messages.streams import decode
from ebm_policy_ros.sim.disturbance import Disturbance
from ebm_policy_ros.sim.robots import TOOL_HEIGHT
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.tasks.push import AREA_HIGH, AREA_LOW, BLOCK_SIZE, SUCCESS_DISTANCE
from ebm_policy_ros.sim.world import MAX_SPEED, World

pytestmark = pytest.mark.sim

Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World(make_task("push"))
    yield world
    world.close()


@pytest.fixture(scope="module")
def other() -> Iterator[World]:
    world = World(make_task("push"))
    yield world
    world.close()


def drive(world: World, velocity: npt.ArrayLike, seconds: float) -> None:
    for _ in range(round(seconds / 0.1)):
        world.step(velocity, 0.1)


def tool(world: World) -> Array:
    return world.tool_pose[0]


def block(world: World) -> Array:
    return world.poses[0, :2]


def goals(world: World) -> Array:
    return world.poses[1:, :2]


def put_block(world: World, where: npt.ArrayLike) -> None:
    start = world.model.joint("block").qposadr[0]
    world.data.qpos[start : start + 7] = *np.asarray(where), BLOCK_SIZE / 2, 1, 0, 0, 0
    world.step((0, 0), 0.0)


def pixel(world: World, point: npt.ArrayLike) -> Array:
    """Project a point of base_link (3,) into `camera`, in pixels (2,)."""
    camera = world.data.cam("camera")
    ahead = camera.xmat.reshape(3, 3).T @ (np.asarray(point) - camera.xpos)
    # MuJoCo's cameras look along -z with y up; images have y down.
    image = world.camera_matrix @ (ahead * [1, -1, -1])
    return np.array(image[:2] / image[2])


@pytest.mark.parametrize("direction", [(1, 0), (-1, 0), (0, 1), (0, -1), (0.6, -0.8)])
def test_a_commanded_velocity_moves_the_tip_that_far_at_its_height(
    world: World, direction: tuple[float, float]
) -> None:
    world.reset(3)
    put_block(world, (0.85, 0.5))
    start = tool(world)
    heights = []
    for _ in range(10):
        world.step(0.1 * np.array(direction), 0.1)
        heights.append(tool(world)[2])
    assert tool(world)[:2] - start[:2] == pytest.approx(0.1 * np.array(direction), abs=0.002)
    assert heights == pytest.approx([TOOL_HEIGHT] * 10, abs=0.001)
    assert world.time == pytest.approx(1.0)


def test_the_tool_keeps_pointing_down(world: World) -> None:
    world.reset(1)
    drive(world, (0.1, 0.1), 1.0)
    x, y, z, w = world.tool_pose[1]
    axis = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])
    assert axis == pytest.approx([0, 0, -1], abs=0.005)


def test_the_arm_starts_at_rest_and_stays_where_it_is_without_a_command(world: World) -> None:
    world.reset(2)
    start = tool(world)
    assert world.time == 0.0
    assert np.all(world.joint_velocities == 0)
    drive(world, (0, 0), 1.0)
    assert tool(world) == pytest.approx(start, abs=0.0005)


def test_a_velocity_beyond_the_limit_is_limited(world: World) -> None:
    world.reset(5)
    put_block(world, (0.85, 0.5))
    start = tool(world)
    drive(world, (0, 9.0), 0.4)
    assert tool(world)[1] - start[1] == pytest.approx(0.4 * MAX_SPEED, abs=0.01)


@pytest.mark.parametrize(
    "velocity", [0.1, (0.1,), (0.1, 0.0, 0.0), [(0.1, 0.0)], (np.nan, 0.0), (0.0, np.inf)]
)
def test_a_velocity_of_another_shape_or_not_finite_is_refused(world: World, velocity: Any) -> None:
    world.reset(5)
    with pytest.raises(ValueError, match=r"^velocity: got .* of shape .*, expected 2 finite num"):
        world.step(velocity, 0.1)
    assert world.time == 0.0


@pytest.mark.parametrize(
    ("start", "refusal"),
    [
        (
            (0.5,),
            r"^start of the tool: got \[0.5\] of shape \(1,\), expected 2 or 3 finite numbers$",
        ),
        ((0.5, np.nan), r"^start of the tool: got \[0.5, nan\] of shape"),
        ((2.0, 0.0), r"^start of the tool: the arm does not reach \[2.0, 0.0\] m$"),
        ((0.0, 0.0), r"^start of the tool: the arm does not reach"),
        ((0.5, 0.0, 1.2), r"^start of the tool: the arm does not reach"),
    ],
)
def test_a_start_that_is_no_point_within_reach_is_refused(
    monkeypatch: pytest.MonkeyPatch, world: World, start: Any, refusal: str
) -> None:
    monkeypatch.setattr(world.task, "reset", lambda model, data, rng: start)
    with pytest.raises(ValueError, match=refusal):
        world.reset(0)


def test_joints_keep_their_limits_and_the_tool_its_height_at_the_end_of_the_reach(
    world: World,
) -> None:
    world.reset(4)
    put_block(world, (0.3, 0.5))
    low, high = world.model.jnt_range[:6].T
    for velocity, seconds in (((0.25, 0.0), 3.0), ((-0.25, 0.0), 1.0)):
        for _ in range(round(seconds / 0.1)):
            world.step(velocity, 0.1)
            assert np.all((low <= world.joint_positions) & (world.joint_positions <= high))
            assert np.abs(world.joint_velocities).max() < np.pi
    # It came back at once: there was no wind-up while the arm was stretched.
    assert tool(world)[0] < 0.85
    assert tool(world)[2] == pytest.approx(TOOL_HEIGHT, abs=0.005)


def test_a_pushed_block_moves_along_and_stands(world: World) -> None:
    world.reset(6)
    start = tool(world)[:2]
    put_block(world, start + np.array([0.05, 0.0]))
    drive(world, (0.1, 0.0), 1.0)
    assert block(world)[0] - start[0] == pytest.approx(0.135, abs=0.01)
    assert world.data.body("block").xpos[2] == pytest.approx(BLOCK_SIZE / 2, abs=0.001)


def test_the_same_seed_and_commands_give_the_same_state_and_frames(
    world: World, other: World
) -> None:
    world.reset(11)
    drive(world, (0.1, 0.1), 0.5)
    for each in (world, other):
        each.reset(12)
        drive(each, (0.05, -0.1), 0.5)
    assert np.array_equal(world.data.qpos, other.data.qpos)
    assert np.array_equal(world.data.qvel, other.data.qvel)
    assert np.array_equal(world.render(), other.render())


def test_noise_disturbs_the_motion_but_not_the_scene(world: World) -> None:
    noisy = World(make_task("push"), disturbance=Disturbance(noise=0.005))
    offsets = []
    for seed in range(20):
        for each in (world, noisy):
            each.reset(seed)
        assert np.array_equal(block(noisy), block(world))
        assert np.array_equal(goals(noisy), goals(world))
        assert np.array_equal(tool(noisy), tool(world))
        start = tool(noisy)
        noisy.step((0, 0), 0.1)
        offsets.append(tool(noisy)[:2] - start[:2])
    # Uniform scales up to 5 mm: each axis deviates by 5 / sqrt(3) mm once the noise is settled.
    assert 0.0005 < np.std(offsets) < 0.005


def test_knocks_replace_the_command_as_often_as_asked() -> None:
    disturbance = Disturbance(knocks=0.5)
    disturbance.reset(np.random.default_rng(0))
    motions = np.array([disturbance.executed(np.array([0.1, 0.0]), 0.1) for _ in range(20000)])
    knocked = np.any(motions != (0.1, 0.0), axis=1)
    speed = np.linalg.norm(motions[knocked], axis=1)
    assert 0.08 <= speed.min()
    assert speed.max() <= 0.20
    # 2 s without a knock on average, then one of four or five ticks.
    assert np.mean(knocked) == pytest.approx(0.2, abs=0.03)
    begins = np.count_nonzero(knocked[1:] & np.any(np.diff(motions, axis=0) != 0, axis=1))
    assert begins == pytest.approx(20000 / 25, rel=0.1)


def test_a_twist_moves_the_tool_in_three_dimensions_and_is_disturbed_in_all_of_them() -> None:
    linear = np.array([0.05, -0.1, 0.1])
    ways = []
    for noise in (0.0, 0.005):
        world = World(make_task("push"), disturbance=Disturbance(noise))
        for seed in range(10):
            world.reset(seed)
            start = tool(world)
            world.twist(linear, np.zeros(3), 0.2)
            ways.append(tool(world) - start)
        world.close()
    calm, noisy = np.array(ways).reshape(2, 10, 3)
    assert calm == pytest.approx(np.tile(0.2 * linear, (10, 1)), abs=0.001)
    assert np.all(np.std(noisy - calm, axis=0) > 0.001)
    with pytest.raises(ValueError, match=r"^velocity: got .*, expected 3 finite numbers"):
        world.twist([0.1, 0.1], np.zeros(3), 0.1)


def test_knocks_are_along_the_table() -> None:
    disturbance = Disturbance(knocks=1e6)
    disturbance.reset(np.random.default_rng(0))
    command = np.array([0.0, 0.0, 0.2])
    motions = np.array([disturbance.executed(command, 0.1) for _ in range(100)])
    assert np.all(motions[:, 2] == 0)
    assert np.linalg.norm(motions[:, :2], axis=1).min() >= 0.08


@pytest.mark.parametrize(("name", "count"), [("push", 1), ("push_either", 2)])
def test_every_episode_starts_unsolved_apart_and_inside_the_picture(name: str, count: int) -> None:
    world = World(make_task(name))
    for seed in range(50):
        world.reset(seed)
        assert len(goals(world)) == count
        assert not world.success
        assert np.linalg.norm(tool(world)[:2] - block(world)) > 0.07
        for point in (block(world), *goals(world), tool(world)[:2]):
            assert np.all((point > AREA_LOW - 0.002) & (point < AREA_HIGH + 0.002))
            u, v = pixel(world, [*point, 0.0])
            assert 10 < u < 310
            assert 10 < v < 230
        if count == 2:
            assert np.linalg.norm(np.diff(goals(world), axis=0)) > 0.12


def test_success_is_the_block_within_two_centimetres_of_the_nearest_goal() -> None:
    world = World(make_task("push_either"))
    world.reset(0)
    for goal in goals(world):
        put_block(world, goal + np.array([SUCCESS_DISTANCE + 0.001, 0]))
        assert not world.success
        put_block(world, goal + np.array([0, SUCCESS_DISTANCE - 0.001]))
        assert world.success
        assert world.measures == {"distance": pytest.approx(0.019, abs=1e-6)}


def test_the_camera_sees_block_and_goal_where_it_says_they_are(world: World) -> None:
    world.reset(21)
    put_block(world, (0.60, -0.1))
    image = world.render().astype(int)
    assert image.shape == (240, 320, 3)
    red, green, blue = np.moveaxis(image, 2, 0)
    for colour, at in (
        (red - np.maximum(green, blue) > 60, [0.60, -0.1, BLOCK_SIZE / 2]),
        (green - np.maximum(red, blue) > 40, [*goals(world)[0], 0.0]),
    ):
        v, u = (np.median(axis) for axis in np.nonzero(colour))
        assert [u, v] == pytest.approx(pixel(world, at), abs=3)


def test_the_whole_arm_is_in_the_picture_throughout_the_blocks_area(world: World) -> None:
    links = [
        world.model.body(name).id
        for name in ("base", "upper_arm_link", "forearm_link", "wrist_3_link", "tool")
    ]
    for seed in range(20):
        world.reset(seed)
        for point in (*world.data.xpos[links], tool(world)):
            u, v = pixel(world, point)
            assert 0 <= u < 320
            assert 0 <= v < 240


def test_the_cinematic_camera_gives_the_size_asked_for(world: World) -> None:
    world.reset(0)
    image = world.render("cinematic", size=(120, 160), shadows=True)
    assert image.shape == (120, 160, 3)
    assert image.std() > 20


def test_missing_opengl_is_told_in_one_line_with_its_cure() -> None:
    code = (
        "from ebm_policy_ros.sim.tasks import make_task\n"
        "from ebm_policy_ros.sim.opengl import RenderingUnavailable\n"
        "from ebm_policy_ros.sim.world import World\n"
        "world = World(make_task('push'))\n"
        "try:\n    world.render()\n"
        "except RenderingUnavailable as error:\n    print(error)\n"
    )
    environment = {**os.environ, "MUJOCO_GL": "disable"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "apt-get install libegl1 libgl1-mesa-dri" in done.stdout
    assert "MUJOCO_GL=egl" in done.stdout
    assert done.stdout.count("\n") == 1


@pytest.mark.ros
def test_depth_is_sent_as_the_interface_says_and_is_the_same_either_way(
    world: World, interface: Interface
) -> None:
    pytest.importorskip("rclpy")
    from ebm_policy_ros.sim.sensors import Sensors

    world.reset(8)
    seen: dict[str, Array] = {}
    for kind in ("Image", "CompressedImage"):
        values: Any = interface.to_dict()
        values["observation"]["camera"] |= {
            "type": f"sensor_msgs/msg/{kind}", "depth": [0.5, 1.5], "size": [240, 320],
        }  # fmt: skip
        wanted = interface_from_dict(values, kind)
        message = Sensors(wanted).messages(world, 0)["camera"]
        assert type(message).__name__ == kind
        seen[kind] = decode(wanted.observation["camera"], [(message, ())])[..., 0].astype(float)
    assert message.format == "16UC1; compressedDepth png"
    expected = 1 + 254 * np.clip(world.depth() - 0.5, 0, 1)
    assert np.ptp(expected) > 50
    for found in seen.values():  # to whole millimetres, and to whole grey levels
        assert abs(found - expected).max() < 0.7


@pytest.mark.ros
@pytest.mark.parametrize("kind", ["Image", "CompressedImage"])
def test_two_depth_cameras_see_from_where_each_one_is(
    world: World, interface: Interface, kind: str
) -> None:
    pytest.importorskip("rclpy")
    from ebm_policy_ros.sim.sensors import Sensors

    world.reset(8)
    values: Any = interface.to_dict()
    camera = values["observation"]["camera"] | {
        "type": f"sensor_msgs/msg/{kind}", "depth": [0.5, 2.5], "size": [240, 320],
    }  # fmt: skip
    values["observation"] |= {"camera": camera, "second": camera | {"topic": "/second/depth"}}
    wanted = interface_from_dict(values, kind)
    messages = Sensors(wanted).messages(world, 0)
    first, second = (
        decode(wanted.observation[name], [(messages[name], ())])[..., 0].astype(float)
        for name in ("camera", "second")
    )
    for found, name in ((first, "camera"), (second, "cinematic")):
        expected = 1 + 254 * np.clip((world.depth(name) - 0.5) / 2, 0, 1)
        assert abs(found - expected).max() < 0.7
    assert abs(first - second).mean() > 10
