"""Pick either of two cubes with a gripper, and put it into either of two boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.sim.tasks.colours import BLUE, GREEN, RED, YELLOW
from ebm_policy_ros.sim.tasks.gripper import GRIPPER, STROKE, add_gripper, opening, tips
from ebm_policy_ros.sim.tasks.push import BLOCK_SIZE, add_block, place_block, place_goal
from ebm_policy_ros.sim.tasks.registry import register_task
from ebm_policy_ros.sim.tasks.task import Measures, Task, View
from ebm_policy_ros.sim.tasks.ways import smoothstep, towards

Array = npt.NDArray[np.float64]

INNER = 0.12
"""Inner width of a box (m)."""
WALL_HEIGHT = 0.022
"""Height of a box's walls above the table (m)."""
LIFTED = 0.03
"""Height of a cube above the table from which it counts as lifted (m)."""

_CUBES = {"red": RED, "green": GREEN}
_BOXES = {"yellow": YELLOW, "blue": BLUE}
# Thickness of a box's walls and of its floor (m).
_WALL, _FLOOR = 0.004, 0.003
# Area in which cubes and tool start (m), with a box on the left and one on the right of it, and
# the largest yaw of a cube (rad).
_LOW, _HIGH = np.array([0.37, -0.085]), np.array([0.61, 0.085])
_BOX_LOW, _BOX_HIGH = np.array([0.40, 0.215]), np.array([0.58, 0.235])
_START_HEIGHT = (0.14, 0.20)
_YAW = 0.25
# Smallest distance between the cubes' centres (m): an open finger passes between them.
_APART = 0.13
# A cube rests in a box up to this height of its centre (m) and this speed (m/s), and the gripper
# is open from this distance between its fingers (m).
_RESTS_BELOW, _AT_REST, _OPEN = BLOCK_SIZE / 2 + _FLOOR + 0.004, 0.02, 2 * STROKE - 0.01

# Demonstrator: heights of the tool (m) at which it grasps and goes from place to place, and of the
# cube's centre at which it lets go;
_GRASP, _TRAVEL, _LET_GO = 0.018, 0.12, BLOCK_SIZE / 2 + 0.017
# heights between which it starts to go sideways, and distances between which it stops to go down;
_CLEAR, _OVER = (0.065, 0.095), (0.014, 0.026)
# largest speed along and above the table (m/s), and gain (1/s).
_SPEED, _GAIN = 0.18, 7.0

_FIELDS = ("linear.x", "linear.y", "linear.z")


@register_task("pick_place")
class PickPlace(Task):
    """Put a cube into a box: four right answers, of two cubes and two boxes."""

    interface = "ur5e_pick_place"
    labels: Mapping[str, str] = {"success": "a cube in a box", "lifted": "a cube lifted"}
    gripper = (GRIPPER,)
    camera = View(eye=(1.0, 0.0, 0.58), target=(0.48, 0.0, 0.04), fovy=46)
    wrist = View(eye=(-0.10, 0.0, 0.03), target=(-0.035, 0.0, 0.24), fovy=82)

    def add_tool(self, spec: mujoco.MjSpec, tool: mujoco.MjsBody) -> None:
        """Add the gripper."""
        add_gripper(spec, tool)

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the cubes, which move freely, and the boxes, which do not move."""
        for name, colour in _CUBES.items():
            add_block(spec, name, colour)
        for name, colour in _BOXES.items():
            _add_box(spec, name, colour)

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> Array:
        """Place cubes and boxes; return where the tool starts, above (m). Shape (3,)."""
        cubes = rng.uniform(_LOW, _HIGH, (2, 2))
        while np.linalg.norm(cubes[1] - cubes[0]) < _APART:
            cubes = rng.uniform(_LOW, _HIGH, (2, 2))
        for name, place in zip(_CUBES, cubes, strict=True):
            place_block(model, data, name, place, rng.uniform(-_YAW, _YAW))
        sides = rng.permutation([-1.0, 1.0])
        for name, side in zip(_BOXES, sides, strict=True):
            x, y = rng.uniform(_BOX_LOW, _BOX_HIGH)
            place_goal(model, data, name, np.array([x, side * y]))
        return np.array([*rng.uniform(_LOW, _HIGH), rng.uniform(*_START_HEIGHT)])

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> Array:
        """Return the poses of red and green cube, yellow and blue box, and both fingertips.

        The fingertips have the orientation of the table. Shape (6, 7).
        """
        poses = np.zeros((6, 7))
        for row, name in zip(poses, (*_CUBES, *_BOXES), strict=False):
            row[:3], row[3:] = data.body(name).xpos, np.roll(data.body(name).xquat, -1)
        poses[4:, :3], poses[4:, 6] = tips(data), 1.0
        return poses

    def measures(self, model: mujoco.MjModel, data: mujoco.MjData) -> Measures:
        """Return which cube lies in which box, -1 for none, and what tells if it was put there.

        That is the height of the higher cube above the table (m), the speed of the faster one
        (m/s), and the opening of the gripper (m).
        """
        cubes, boxes = (np.array([data.body(n).xpos for n in names]) for names in (_CUBES, _BOXES))
        apart = np.abs(cubes[:, None, :2] - boxes[None, :, :2]).max(axis=2)
        inside = (apart < INNER / 2) & (cubes[:, None, 2] < _RESTS_BELOW)
        cube, box = np.argwhere(inside)[0] if inside.any() else (-1, -1)
        speeds = [np.linalg.norm(data.joint(name).qvel[:3]) for name in _CUBES]
        return {
            "cube": int(cube),
            "box": int(box),
            "height": float(cubes[:, 2].max()) - BLOCK_SIZE / 2,
            "speed": float(max(speeds)),
            "opening": opening(data),
        }

    def success(self, measures: Measures) -> bool:
        """Return whether a cube rests in a box, and the gripper has let go of it."""
        rests = measures["cube"] >= 0 and measures["speed"] <= _AT_REST
        return rests and measures["opening"] >= _OPEN

    def result(self, moments: Sequence[Measures]) -> Mapping[str, float | bool]:
        """Return whether a cube was lifted, and which one lies in which box, or -1."""
        lifted = max(moment["height"] for moment in moments) >= LIFTED
        return {"lifted": lifted, "cube": moments[-1]["cube"], "box": moments[-1]["box"]}

    def demonstrator(self, rng: np.random.Generator, interface: Interface) -> Placer:
        """Make the demonstrator of one episode.

        Raises:
            ValueError: An action is not the tool's velocity and a gripper's position.
        """
        action = interface.command
        if action.fields != _FIELDS or action.gripper is None:
            raise ValueError(
                f"pick_place: the demonstrator commands {', '.join(_FIELDS)} and a gripper, as in "
                f"the interface ur5e_pick_place; got {', '.join(action.names)}"
            )
        return Placer(rng)


def _add_box(spec: mujoco.MjSpec, name: str, colour: Sequence[float]) -> None:
    """Add a low, open box."""
    spec.add_material(name=name, rgba=[*colour, 1.0], specular=0.2, shininess=0.2)
    box = spec.worldbody.add_body(name=name, mocap=True)
    half, wall, middle = INNER / 2, _WALL / 2, WALL_HEIGHT / 2
    outer = half + _WALL
    parts = [([outer, outer, _FLOOR / 2], [0, 0, _FLOOR / 2])]
    for side in (-1, 1):
        at = side * (half + wall)
        parts += [
            ([wall, outer, middle], [at, 0, middle]),
            ([half, wall, middle], [0, at, middle]),
        ]
    for size, position in parts:
        box.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=size,
            pos=position,
            friction=[0.6, 0.005, 0.0001],
            condim=4,
            material=name,
        )


class Placer:
    """Teleoperator that grasps a cube from above, carries it over a box, and lets go.

    What it does follows from what is seen alone, and smoothly: it goes down as far as it is over
    its aim, sideways as far as it is high enough, closes as far as it is down, carries as far as
    the fingers are closed on the cube, and opens as far as the cube is down in the box. It draws
    the cube and the box, once per episode.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._cube, self._box = (int(n) for n in rng.integers(2, size=2))

    def act(self, tool: Array, poses: Array) -> Array:
        """Return the tool's velocity in m/s, and the gripper's position in m. Shape (4,)."""
        place, cube, box = tool[:3], poses[self._cube, :3], poses[2 + self._box, :3]
        offset = cube - place
        wide = float(np.linalg.norm(poses[5, :3] - poses[4, :3]))
        beside = float(np.linalg.norm(offset[:2]))
        from_middle = float(np.abs(cube[:2] - box[:2]).max())
        # Each is true as far as 1, and false as far as 0.
        down = _below(place[2] - _GRASP, 0.006, 0.014)
        between = _below(beside, 0.02, 0.04) * _below(offset[2], 0.02, 0.03)
        held = between * _below(wide - BLOCK_SIZE, 0.003, 0.012)
        put = _below(from_middle, 0.02, 0.035) * _below(cube[2] - _LET_GO, 0.005, 0.013)
        reach = _from_above(place, cube[:2], _GRASP)
        # The cube, not the tool, goes over the box and down.
        carry = _from_above(place, box[:2] - offset[:2], _LET_GO - offset[2])
        # Round the cube, which open fingers must not push.
        leave = np.array([*_towards(offset[:2]), _SPEED * smoothstep(wide, 0.07, _OPEN)])
        velocity = (1 - put) * (held * carry + (1 - held) * reach) + put * leave
        closed = (1 - put) * between * (held + (1 - held) * down)
        return np.array([*velocity, STROKE * closed])


def _below(value: float, low: float, high: float) -> float:
    """Return 1 up to `low` and 0 from `high` on, with a smooth step between."""
    return 1 - smoothstep(value, low, high)


def _from_above(tool: Array, aim: Array, low: float) -> Array:
    """Return the velocity to a place at height `low` (m), along the table only high above it."""
    apart = aim - tool[:2]
    over = _below(float(np.linalg.norm(apart)), *_OVER)
    free = over + (1 - over) * smoothstep(tool[2], *_CLEAR)
    height = low + (1 - over) * (_TRAVEL - low)
    return np.array([*free * _towards(apart), *_towards(np.array([height - tool[2]]))])


def _towards(apart: Array) -> Array:
    return towards(apart, _SPEED, _GAIN)
