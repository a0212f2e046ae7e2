"""Projections: pixels of points, paths of chosen actions, and the simulation's own cameras."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_interface import change

from ebm_policy_ros.interface import (
    ImageStream,
    Interface,
    InterfaceError,
    Projection,
    interface_from_dict,
    load_interface,
)
from ebm_policy_ros.observation.robot_state import RobotState
from ebm_policy_ros.policy.path import SECONDS, drawn_paths, tool_path
from ebm_policy_ros.sim.sensors import Sensors
from ebm_policy_ros.sim.tasks import TASKS, make_task
from ebm_policy_ros.sim.world import CAMERAS, World
from ebm_policy_ros.util.resources import interface_path

# Focal length 100 pixels, middle at (160, 120); the frame is the camera's own: z is ahead.
AHEAD = [[100.0, 0.0, 160.0, 0.0], [0.0, 100.0, 120.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
PATH = "observation.camera.projection"


def shipped(name: str) -> Interface:
    return load_interface(interface_path(name))


def with_projection(interface: Interface, **values: Any) -> Interface:
    projection = {"size": [240, 320], "matrix": {"base_link": AHEAD}, "fixed": {"z": 2.0}}
    changed = change(interface, PATH, {**projection, **values})
    return interface_from_dict(changed, "robot.yaml")


def state(tool: dict[str, float]) -> RobotState:
    return RobotState(position=tool, velocity={}, tool={})


def test_a_point_lands_on_the_pixel_of_a_pinhole_camera() -> None:
    camera = Projection(size=(240, 320), matrix={"base": AHEAD})  # type: ignore[dict-item]
    points = [[0.0, 0.0, 4.0], [1.0, 2.0, 4.0], [-1.0, 0.0, 0.5]]
    assert camera.pixels("base", points).tolist() == [[160, 120], [185, 170], [-40, 120]]


def test_a_path_ends_where_it_leaves_the_space_in_front_of_the_camera() -> None:
    camera = Projection(size=(240, 320), matrix={"base": AHEAD})  # type: ignore[dict-item]
    points = [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert camera.pixels("base", points).tolist() == [[160, 120]]
    assert camera.pixels("base", [[0.0, 0.0, -1.0]]).shape == (0, 2)
    assert camera.pixels("base", [[1e308, 0.0, 1e-308]]).shape == (0, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": [240]}, f"{PATH}.size: got [240], expected [height, width] in pixels"),
        ({"matrix": AHEAD}, f"{PATH}.matrix: got"),
        ({"matrix": {}}, f"{PATH}.matrix: got (), expected names"),
        ({"matrix": {"base_link": AHEAD[:2]}}, "expected 3 rows of 4 numbers"),
        ({"matrix": {"base_link": [[1, 2, 3]] * 3}}, "expected 3 rows of 4 numbers"),
        ({"matrix": {"base_link": [[float("nan")] * 4] * 3}}, "expected 3 rows of 4 numbers"),
        ({"matrix": {"base_link": "here"}}, f"{PATH}.matrix.base_link: got 'here', expected 3"),
        (
            {"matrix": {"base_link": [[-v for v in row] for row in AHEAD]}},
            f"{PATH}.matrix.base_link, determinant of the first three columns: got -10000",
        ),
        (
            {"matrix": {"base": AHEAD}},
            f"{PATH}.matrix: got 'base', expected the frame of a command: base_link",
        ),
        ({"fixed": {}}, f"{PATH}.fixed: got {{}}, expected a number in m for z, which no stream"),
        ({"fixed": {"height": 1.0}}, f"{PATH}.fixed: got {{'height': 1.0}}, expected numbers"),
        (
            {"fixed": {"z": -2.0}},
            "a part of the workspace, x 0.26 to 0.74, y -0.3 to 0.3, z -2 to -2, in front of the",
        ),
        (
            {"matrix": {"base_link": [[100.0, 0.0, 1e3, 0.0], *AHEAD[1:]]}},
            "in front of the camera and inside its picture of 320 x 240 pixels",
        ),
        ({"lens": 1}, f"{PATH}: unknown key 'lens', expected size, matrix, fixed"),
    ],
)
def test_a_wrong_projection_is_named_in_one_line(
    interface: Interface, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InterfaceError) as caught:
        with_projection(interface, **values)
    assert str(caught.value).startswith("robot.yaml: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_camera_needs_to_see_only_a_part_of_the_workspace(interface: Interface) -> None:
    # Looks along x, from behind the middle of the workspace at the height of the tool.
    rows = [[160.0, -100.0, 0.0, -96.0], [120.0, 0.0, -100.0, 128.0], [1.0, 0.0, 0.0, -0.6]]
    seen = with_projection(interface, matrix={"base_link": rows})
    camera = seen.observation["camera"]
    assert isinstance(camera, ImageStream) and camera.projection is not None
    points = [[0.5, 0.0, 2.0], [0.7, 0.0, 2.0], [0.7, 0.15, 2.0], [0.7, 0.17, 2.0]]
    assert camera.projection.sees("base_link", points).tolist() == [False, True, True, False]


def test_a_policy_fits_with_and_without_a_projection(interface: Interface) -> None:
    values = interface.to_dict()
    del values["observation"]["camera"]["projection"]
    without = interface_from_dict(values, "x")
    assert "projection" not in without.to_dict()["observation"]["camera"]
    for other in (interface, with_projection(interface)):
        assert without.differences(other) == other.differences(without) == []
        assert interface_from_dict(other.to_dict(), "again") == other


def test_the_frames_of_a_projection_follow_the_prefix(interface: Interface) -> None:
    values = {**with_projection(interface).to_dict(), "prefix": "left_"}
    left = interface_from_dict(values, "left.yaml")
    camera = left.observation["camera"]
    assert isinstance(camera, ImageStream) and camera.projection is not None
    assert list(camera.projection.matrix) == [left.command.frame_id] == ["left_base_link"]
    assert left.to_dict() == values


def test_velocities_add_up_from_the_measured_place_at_the_rate(interface: Interface) -> None:
    actions = np.array([[0.1, 0.0], [0.1, -0.2], [0.0, 0.2]])
    path = tool_path(interface, actions, state({"x": 0.5, "y": 0.1}), {"z": 0.02})
    assert path == pytest.approx(
        np.array([[0.5, 0.1, 0.02], [0.51, 0.1, 0.02], [0.52, 0.08, 0.02], [0.52, 0.1, 0.02]])
    )


def test_a_single_velocity_is_drawn_for_half_a_second() -> None:
    lift = shipped("ur5e_pick_place")  # its last dimension is the gripper
    actions = np.array([[0.1, 0.2, -0.1, 1.0]])
    path = tool_path(lift, actions, state({"x": 0.5, "y": 0.0, "z": 0.2}), {})
    assert SECONDS == 0.5
    assert path == pytest.approx(np.array([[0.5, 0.0, 0.2], [0.55, 0.1, 0.15]]))


def test_positions_are_drawn_as_they_are() -> None:
    pose = shipped("fr3_pose")
    actions = np.array([[0.4, 0.1, 0.3], [0.5, 0.1, 0.2]])
    path = tool_path(pose, actions, state({"x": 0.3, "y": 0.0, "z": 0.3}), {})
    assert path == pytest.approx(np.array([[0.3, 0.0, 0.3], *actions]))


def test_nothing_is_drawn_for_joints_and_without_the_place_of_the_tool(
    interface: Interface,
) -> None:
    joints = shipped("ur5e_trajectory")
    measured = dict.fromkeys(joints.command.fields, 0.0)
    tool = {"x": 0.5, "y": 0.0, "z": 0.2}
    assert tool_path(joints, np.zeros((8, 6)), RobotState(measured, {}, tool), {}) is None
    servo = shipped("xarm6_servo")
    assert tool_path(servo, np.zeros((1, 6)), RobotState({}, {}, {}), {}) is None
    drawn = interface_from_dict(
        change(joints, PATH, {"size": [240, 320], "matrix": {"base": AHEAD}}), "x"
    )
    assert drawn_paths(drawn, np.zeros((8, 6)), [RobotState(measured, {}, tool)]) == {}
    assert drawn_paths(with_projection(interface), np.zeros((1, 2)), [state({})]) == {}


def test_a_camera_has_a_line_for_each_tool(interface: Interface) -> None:
    seen = with_projection(interface)
    paths = drawn_paths(seen, np.array([[0.2, -0.1]]), [state({"x": 0.4, "y": 0.2})])
    assert paths == {"camera": [[[180.0, 130.0], [185.0, 127.5]]]}
    arms = shipped("ur5e_scoop")
    here = state({"x": 0.3, "y": 0.0, "z": 0.1})
    lines = drawn_paths(arms, np.zeros((1, 12)), [here, here])["camera"]
    assert [len(line) for line in lines] == [2, 2] and lines[0] != lines[1]


def test_the_recipe_of_the_manual_finds_the_camera(interface: Interface, tmp_path: Path) -> None:
    manual = (Path(__file__).parents[1] / "docs" / "reference" / "interface.md").read_text()
    (recipe,) = re.findall(r"```python\n(.*?)```", manual, re.DOTALL)
    (tmp_path / "recipe.py").write_text(recipe)
    found = runpy.run_path(str(tmp_path / "recipe.py"))
    camera = interface.observation["camera"]
    assert isinstance(camera, ImageStream) and camera.projection is not None
    points = found["tool"]
    told = camera.projection.pixels("base_link", points)
    assert np.abs(told - found["pixel"]).max() < 0.1
    again = Projection(size=(240, 320), matrix={"base_link": found["matrix"].tolist()})
    assert np.abs(again.pixels("base_link", points) - told).max() < 0.2
    assert found["matrix"] == pytest.approx(np.array(camera.projection.matrix["base_link"]), abs=1)


def seen_at(world: World, point: Any) -> Any:
    """Pixel of a small sphere in the rendered picture, with nothing else in it."""
    height, width = world.camera_size
    import mujoco  # after the simulation has chosen its OpenGL

    with mujoco.Renderer(world.model, height, width) as renderer:
        hidden = mujoco.MjvOption()
        hidden.geomgroup[:] = 0
        renderer.update_scene(world.data, CAMERAS[0], scene_option=hidden)
        sphere = renderer.scene.geoms[renderer.scene.ngeom]
        renderer.scene.ngeom += 1
        mujoco.mjv_initGeom(
            sphere,
            mujoco.mjtGeom.mjGEOM_SPHERE,
            np.full(3, 0.01),
            np.asarray(point, float),
            np.eye(3).ravel(),
            np.array([1, 0, 0, 1], np.float32),
        )
        sphere.segid = sphere.objid = 0
        renderer.enable_segmentation_rendering()
        rows, columns = np.nonzero(renderer.render()[..., 0] >= 0)
    return np.array([columns.mean(), rows.mean()]) + 0.5


@pytest.mark.sim
@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_interface_of_a_task_tells_where_its_camera_sees_the_tool(name: str) -> None:
    task = make_task(name)
    world, interface = World(task), shipped(task.interface)
    camera = interface.observation["camera"]
    assert isinstance(camera, ImageStream) and camera.projection is not None
    assert camera.projection.size == world.camera_size
    assert Sensors(interface, task.arms).misplaced(world) == ""
    for arm, part in zip(world.arms, interface.parts, strict=True):
        place = dict(zip("xyz", arm.tool_pose[0], strict=True))
        place |= camera.projection.fixed
        told = camera.projection.pixels(part.interface.command.frame_id, [list(place.values())])
        site = world.data.site(arm.prefix + "tool0").xpos
        assert np.abs(told[0] - seen_at(world, site)).max() < 1.0
    world.close()


@pytest.mark.sim
def test_the_simulation_tells_that_its_camera_stands_elsewhere(interface: Interface) -> None:
    task = make_task("detour")
    world = World(task)
    problem = Sensors(interface, task.arms).misplaced(world)
    assert problem.startswith("observation.camera.projection: the simulated camera stands els")
    told = str(np.round(world.projection(), 4).tolist())
    assert told in problem and "\n" not in problem
    rows = (2 * world.projection()[:2]).tolist() + world.projection()[2:].tolist()
    place = {"size": [480, 640], "matrix": {"base_link": rows}, "fixed": {"z": 0.012}}
    larger = interface_from_dict(change(interface, PATH, place), "x")
    assert Sensors(larger, task.arms).misplaced(world) == ""
    world.close()


@pytest.mark.parametrize("name", ["ur5e_detour", "ur5e_insert"])
def test_tasks_with_a_camera_of_their_own_share_everything_else(
    interface: Interface, name: str
) -> None:
    values, push = shipped(name).to_dict(), interface.to_dict()
    for one in (values, push):
        del one["name"], one["observation"]["camera"]["projection"]
    assert values == push
