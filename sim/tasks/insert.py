"""Slide a block into a fixture that is two millimetres wider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.sim.tasks.colours import BLUE
from ebm_policy_ros.sim.tasks.push import BLOCK_SIZE, add_block, place_block
from ebm_policy_ros.sim.tasks.pusher import TIP_RADIUS, add_plate_pusher
from ebm_policy_ros.sim.tasks.registry import register_task
from ebm_policy_ros.sim.tasks.task import Measures, Task, View
from ebm_policy_ros.sim.tasks.ways import smoothstep
from ebm_policy_ros.util.geometry import rotation_vector

Array = npt.NDArray[np.float64]

PLAY = 0.001
"""Play on either side of a block that is in the fixture (m)."""
SEAT_X = 0.36
"""x of the centre of a block that touches the fixture's end (m); the mouth is at larger x."""
SEATED, STRAIGHT = 0.002, 0.05
"""Largest distance from the end (m), and largest yaw (rad), of a block that is in."""

# Plate on the pusher's tip, which turns the block until it lies flush: thickness, width along y
# and height (m).
_PLATE = (0.008, 0.10, 0.03)
# Fixture: depth, which leaves room for the plate; thickness and height of its walls, and how far
# its mouth opens on either side (m).
_DEPTH, _WALL, _HEIGHT, _FLARE = 0.034, 0.014, 0.022, 0.010
# Stiff and smooth: a soft wall gives way by more than the play, and a rough one jams the block. Of
# two geoms in contact, the one of higher priority decides.
_SMOOTH = {
    "friction": [0.15, 0.005, 0.0001],
    "solref": [0.008, 1.0],
    "solimp": [0.95, 0.99, 0.0005, 0.5, 2.0],
    "priority": 1,
}
# Where things start: centre and largest deviation, x and y (m), and largest yaw (rad).
_BLOCK_START = np.array([[0.53, 0.0], [0.01, 0.025]])
_TOOL_START = np.array([[0.64, 0.0], [0.015, 0.05]])
_YAW = 0.35

# Demonstrator: speed to the block, with it and between the walls (m/s); gains with which it gets
# behind the block, and with it to the axis (1/s); how far aside the block goes for its way ahead;
_SPEEDS, _GAINS, _SLOPE = (0.12, 0.07, 0.05), (4.0, 8.0), 1.2
# distances from the block, ahead, between which the plate touches, and between which it has room
# to go aside; distances aside between which it has lost the block (m);
_TOUCHES, _ROOM, _LOST = (0.041, 0.055), (0.05, 0.07), (0.032, 0.045)
# yaws between which it turns the block first (rad).
_TURNED = (0.05, 0.15)


@register_task("insert")
class Insert(Task):
    """Push a block into a fixture with play of 1 mm on either side."""

    knocks = 0.0  # a knock turns the block where nothing turns it back
    labels: Mapping[str, str] = {"success": "in the fixture", "entered": "past the mouth"}
    interface = "ur5e_insert"  # as of other tasks, for its own camera
    camera = View(eye=(0.66, 0.55, 0.36), target=(0.48, 0.0, 0.01), fovy=38)

    def add_tool(self, spec: mujoco.MjSpec, tool: mujoco.MjsBody) -> None:
        """Add the pusher, with a plate on its tip."""
        add_plate_pusher(spec, tool, _PLATE, ahead=-TIP_RADIUS, friction=0.8)

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the block, which moves freely, and the fixture, which does not move."""
        add_block(spec, "block", BLUE)
        spec.add_material(name="fixture", rgba=[0.85, 0.55, 0.10, 1.0], specular=0.3)
        inner = BLOCK_SIZE / 2 + PLAY
        end = SEAT_X - BLOCK_SIZE / 2
        middle = end + _DEPTH / 2, inner + _WALL / 2
        _add_wall(spec, (end - _WALL / 2, 0.0), (_WALL, 2 * (inner + _WALL)))
        for side in (1, -1):
            _add_wall(spec, (middle[0], side * middle[1]), (_DEPTH, _WALL))
            # A board at 45 degrees, whose inner face begins where the wall's ends.
            reach = _FLARE / 2 + _WALL / 2 / np.sqrt(2) * np.array([-1.0, 1.0])
            mouth = np.array([end + _DEPTH, inner]) + reach
            size = _FLARE * np.sqrt(2), _WALL
            _add_wall(spec, (mouth[0], side * mouth[1]), size, side * np.pi / 4)

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> Array:
        """Place the block; return where the tool starts (m). Shape (2,)."""
        block, spread = _BLOCK_START
        place = rng.uniform(block - spread, block + spread)
        tool, spread = _TOOL_START
        start: Array = rng.uniform(tool - spread, tool + spread)
        place_block(model, data, "block", place, rng.uniform(-_YAW, _YAW))
        return start

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> Array:
        """Return the block's pose. Shape (1, 7)."""
        block = data.body("block")
        return np.array([[*block.xpos, *np.roll(block.xquat, -1)]])

    def measures(self, model: mujoco.MjModel, data: mujoco.MjData) -> Measures:
        """Return how far the block is from the end, from the axis (m), and its yaw (rad)."""
        x, y = data.body("block").xpos[:2]
        yaw = yaw_of(np.roll(data.body("block").xquat, -1))
        return {"ahead": float(x - SEAT_X), "aside": float(y), "yaw": yaw}

    def success(self, measures: Measures) -> bool:
        """Return whether the block is at the end of the fixture."""
        return measures["ahead"] <= SEATED and _is_between_walls(measures)

    def result(self, moments: Sequence[Measures]) -> Mapping[str, float | bool]:
        """Return the last measures, and whether the block has passed the mouth."""
        last = moments[-1]
        entered = last["ahead"] < BLOCK_SIZE and _is_between_walls(last)
        return {"entered": entered, **{name: round(value, 5) for name, value in last.items()}}

    def demonstrator(self, rng: np.random.Generator, interface: Interface) -> InsertDemonstrator:
        """Make the demonstrator of one episode."""
        return InsertDemonstrator()


def _is_between_walls(measures: Measures) -> bool:
    return abs(measures["aside"]) <= 2 * PLAY and abs(measures["yaw"]) <= STRAIGHT


def _add_wall(
    spec: mujoco.MjSpec, place: tuple[float, float], size: tuple[float, float], yaw: float = 0.0
) -> None:
    """Add a wall: its centre, its sizes along x and y (m), and its turn (rad)."""
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[*place, _HEIGHT / 2],
        size=[size[0] / 2, size[1] / 2, _HEIGHT / 2],
        quat=[np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)],
        condim=4,
        material="fixture",
        **_SMOOTH,
    )


def yaw_of(quaternion: Array) -> float:
    """Return the smallest turn about z (rad) that makes a cube parallel to the axes.

    Args:
        quaternion: x, y, z, w.
    """
    yaw = float(rotation_vector(quaternion)[2])
    return (yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4


class InsertDemonstrator:
    """Teleoperator that pushes the block flush with the plate, and steers it to the mouth."""

    def act(self, tool: Array, poses: Array) -> Array:
        """Return the tool's velocity along x and y in m/s. Shape (2,)."""
        block, yaw = poses[0, :2], yaw_of(poses[0, 3:])
        behind, beside = float(tool[0] - block[0]), float(block[1] - tool[1])
        outside = smoothstep(float(block[0]) - SEAT_X, BLOCK_SIZE - 0.02, BLOCK_SIZE + 0.01)
        touches = 1 - smoothstep(behind, *_TOUCHES)
        lost = smoothstep(abs(beside), *_LOST)
        to_block, with_block, inside = _SPEEDS
        pushing = inside + outside * (with_block - inside)
        speed = touches * pushing + (1 - touches) * to_block
        # Back from a block that it has lost, and behind it again.
        ahead = (1 - lost) * speed - lost * (1 - smoothstep(behind, *_ROOM)) * to_block
        turned = 1 - smoothstep(abs(yaw), *_TURNED)
        steering = np.clip(-_GAINS[1] * float(block[1]), -_SLOPE * speed, _SLOPE * speed)
        aside = touches * (1 - lost) * outside * turned * steering
        return np.array([-ahead, aside + (1 - touches) * _GAINS[0] * beside])
