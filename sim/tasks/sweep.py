"""Sweep fifty small cubes onto a disc, with a plate that is turned and lifted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.sim.tasks.colours import BLUE, RED
from ebm_policy_ros.sim.tasks.push import place_block, place_goal
from ebm_policy_ros.sim.tasks.pusher import add_plate_pusher
from ebm_policy_ros.sim.tasks.registry import register_task
from ebm_policy_ros.sim.tasks.task import Measures, Task, View, refuse_other_actions
from ebm_policy_ros.sim.tasks.ways import smoothstep, towards

Array = npt.NDArray[np.float64]

COUNT = 50
"""Number of cubes."""
ENOUGH = 48
"""Number of cubes on the disc in a solved task."""
EDGE = 0.008
"""Edge of a cube (m)."""
RADIUS = 0.06
"""Radius of the disc (m)."""

_CUBES = tuple(f"cube_{number}" for number in range(COUNT))
# Bit of the geoms that touch each other but not the table, whose bit is 1.
_PLATE_AND_CUBES = 2
# Plate: thickness, width and height (m).
_PLATE = (0.008, 0.12, 0.03)
# Where things start (m): cubes and tool, and the disc, which the cubes are not on.
_LOW, _HIGH = np.array([0.36, -0.17]), np.array([0.64, 0.17])
_DISC_LOW, _DISC_HIGH = np.array([0.44, -0.08]), np.array([0.56, 0.08])
_APART, _BESIDE_DISC, _START_HEIGHT = 0.018, 0.01, 0.065

# Demonstrator: directions that it looks at, part of the plate's width that it trusts, what counts
# as on the disc, and how far beyond the farthest cube the plate comes down (m);
_DIRECTIONS, _SWEPT, _ON_DISC, _BEYOND = 36, 0.048, 0.054, 0.03
# room that the plate needs where it comes down, half of its sizes (m);
_ROOM = (0.014, 0.07)
# ends of the table that the arm reaches (m);
_REACH_LOW, _REACH_HIGH = np.array([0.27, -0.29]), np.array([0.73, 0.29])
# where a stroke ends, from the disc's centre, and the ticks after which it is given up;
_END, _PATIENCE = 0.038, 70
# heights in which it sweeps and goes to the next stroke, and between which it goes sideways and
# turns (m);
_SWEEP_HEIGHT, _TRAVEL, _CLEAR, _TURNS = 0.004, 0.045, (0.025, 0.038), (0.02, 0.03)
# distances from the start of a stroke (m), and turns (rad), between which it comes down;
_OVER, _TURNED = (0.008, 0.02), (0.06, 0.15)
# speeds (m/s, rad/s) and gains (1/s).
_SPEED, _SWEEP_SPEED, _TURN_SPEED, _GAIN, _STEER_GAIN = 0.22, 0.16, 1.5, 8.0, 4.0

_FIELDS = ("linear.x", "linear.y", "linear.z", "angular.z")


@register_task("sweep")
class Sweep(Task):
    """Sweep the cubes onto the disc, in strokes from any side."""

    time_limit = 60.0
    interface = "ur5e_sweep"
    knocks = 0.0  # a knock scatters cubes
    labels: Mapping[str, str] = {"success": f"{ENOUGH} of {COUNT} cubes"}
    camera = View(eye=(1.0, 0.0, 0.52), target=(0.46, 0.0, 0.05), fovy=42)

    def add_tool(self, spec: mujoco.MjSpec, tool: mujoco.MjsBody) -> None:
        """Add the pusher, with a plate on its tip."""
        add_plate_pusher(spec, tool, _PLATE, ahead=0.0, friction=0.4)
        # Its lip bends on the table, so that an arm that is pushed down does not press on it.
        for geom in tool.geoms:
            if geom.contype:
                geom.contype = geom.conaffinity = _PLATE_AND_CUBES

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the cubes, which move freely, and the disc, which nothing can touch."""
        spec.add_material(name="disc", rgba=[*BLUE, 1.0], specular=0.0)
        spec.add_material(name="cube", rgba=[*RED, 1.0], specular=0.3)
        spec.worldbody.add_body(name="disc", mocap=True).add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[RADIUS, 0.0003, 0],
            pos=[0, 0, 0.0003],
            contype=0,
            conaffinity=0,
            material="disc",
        )
        for name in _CUBES:
            cube = spec.worldbody.add_body(name=name)
            cube.add_freejoint(name=name)
            cube.add_geom(
                type=mujoco.mjtGeom.mjGEOM_BOX,
                size=[EDGE / 2] * 3,
                mass=0.001,
                friction=[0.6, 0.005, 0.0001],
                contype=1 | _PLATE_AND_CUBES,
                conaffinity=1 | _PLATE_AND_CUBES,
                material="cube",
            )

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> Array:
        """Place disc and cubes; return where the tool starts, above (m). Shape (3,)."""
        disc = rng.uniform(_DISC_LOW, _DISC_HIGH)
        place_goal(model, data, "disc", disc)
        places: Array = np.empty((0, 2))
        while len(places) < COUNT:
            place = rng.uniform(_LOW, _HIGH)
            near = np.linalg.norm(places - place, axis=1) < _APART
            if not near.any() and np.linalg.norm(place - disc) > RADIUS + _BESIDE_DISC:
                places = np.vstack([places, place])
        for name, place in zip(_CUBES, places, strict=True):
            place_block(model, data, name, place, rng.uniform(-np.pi / 4, np.pi / 4), EDGE)
        return np.array([*rng.uniform(_LOW, _HIGH), _START_HEIGHT])

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> Array:
        """Return the places of the disc and of the cubes. Shape (51, 7)."""
        poses = np.zeros((1 + COUNT, 7))
        poses[:, :3] = [data.body(name).xpos for name in ("disc", *_CUBES)]
        poses[:, 6] = 1.0
        return poses

    def measures(self, model: mujoco.MjModel, data: mujoco.MjData) -> Measures:
        """Return the number of cubes whose centres are on the disc."""
        disc, *cubes = self.poses(model, data)[:, :2]
        return {"cubes": int((np.linalg.norm(cubes - disc, axis=1) <= RADIUS).sum())}

    def success(self, measures: Measures) -> bool:
        """Return whether nearly all cubes are on the disc."""
        return measures["cubes"] >= ENOUGH

    def finished(self, measures: Measures) -> bool:
        """Return whether all cubes are on the disc."""
        return measures["cubes"] == COUNT

    def demonstrator(self, rng: np.random.Generator, interface: Interface) -> Sweeper:
        """Make the demonstrator of one episode.

        Raises:
            ValueError: An action is not the tool's velocity and its turn about z.
        """
        refuse_other_actions("sweep", self, interface, _FIELDS)
        return Sweeper(rng)


class Stroke(NamedTuple):
    """Straight way of the plate towards the disc."""

    outward: Array
    """Direction from the disc to its start. Shape (2,)."""
    start: float
    """Distance of its start from the disc's centre (m)."""
    gain: int
    """Number of cubes that it takes along, less those on which the plate would come down."""


class Sweeper:
    """Teleoperator that sweeps from where most cubes are, and lifts the plate in between."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._stroke: Stroke | None = None
        self._sweeps = False
        self._ticks = 0

    def act(self, tool: Array, poses: Array) -> Array:
        """Return the tool's velocity in m/s, and its turn in rad/s. Shape (4,)."""
        disc, cubes = poses[0, :2], poses[1:, :2]
        from_disc, height = tool[:2] - disc, float(tool[2])
        self._ticks += 1
        if self._is_over(from_disc):
            self._stroke, self._sweeps, self._ticks = self._choose(disc, cubes), False, 0
        if self._stroke is None:
            return np.array([0.0, 0.0, _rise(height, _TRAVEL), 0.0])
        outward = self._stroke.outward
        # The signs of a quaternion may change from one moment to the next.
        turn = _plate_turn(outward) - 2 * float(np.arctan(tool[4] / tool[3]))
        if self._sweeps:
            aside = np.array([-outward[1], outward[0]])
            along = -_SWEEP_SPEED * outward - _STEER_GAIN * float(from_disc @ aside) * aside
            return np.array([*along, _rise(height, _SWEEP_HEIGHT), _limited(turn)])
        away = self._stroke.start * outward - from_disc
        over = 1 - smoothstep(float(np.linalg.norm(away)), *_OVER)
        over *= 1 - smoothstep(abs(turn), *_TURNED)
        self._sweeps = over > 0.5 and height < _SWEEP_HEIGHT + 0.003
        free = over + (1 - over) * smoothstep(height, *_CLEAR)
        down = over * _SWEEP_HEIGHT + (1 - over) * _TRAVEL
        turning = smoothstep(height, *_TURNS) * _limited(turn)
        return np.array([*free * towards(away, _SPEED, _GAIN), _rise(height, down), turning])

    def _is_over(self, from_disc: Array) -> bool:
        if self._stroke is None or self._ticks > _PATIENCE:
            return True
        return self._sweeps and float(from_disc @ self._stroke.outward) <= _END

    def _choose(self, disc: Array, cubes: Array) -> Stroke | None:
        """Return the stroke that gains most; None if all cubes are on the disc."""
        first = self._rng.uniform(0, 2 * np.pi / _DIRECTIONS)
        angles = first + np.arange(_DIRECTIONS) * 2 * np.pi / _DIRECTIONS
        strokes = [_stroke(angle, cubes - disc, disc) for angle in angles]
        return max(filter(None, strokes), key=lambda stroke: stroke.gain, default=None)


def _stroke(angle: float, cubes: Array, disc: Array) -> Stroke | None:
    """Return the stroke from one side; None if there is no cube, or the arm does not reach.

    Args:
        angle: Direction from the disc (rad).
        cubes: Places of the cubes, from the disc's centre (m). Shape (50, 2).
        disc: The disc's centre (m). Shape (2,).
    """
    outward = np.array([np.cos(angle), np.sin(angle)])
    along, beside = cubes @ outward, np.abs(cubes @ np.array([-outward[1], outward[0]]))
    off_disc = np.linalg.norm(cubes, axis=1) > _ON_DISC
    swept = off_disc & (beside < _SWEPT) & (along > 0)
    if not swept.any():
        return None
    start = float(along[swept].max()) + _BEYOND
    place = disc + start * outward
    if (place < _REACH_LOW).any() or (place > _REACH_HIGH).any():
        return None
    below = (np.abs(along - start) < _ROOM[0]) & (beside < _ROOM[1])
    return Stroke(outward, start, int(swept.sum() - 2 * below.sum()))


def _plate_turn(outward: Array) -> float:
    """Return the turn of a plate across a direction, from -90 to 90 degrees (rad)."""
    return float((np.arctan2(outward[1], outward[0]) + np.pi / 2) % np.pi - np.pi / 2)


def _limited(turn: float) -> float:
    return float(np.clip(_STEER_GAIN * turn, -_TURN_SPEED, _TURN_SPEED))


def _rise(height: float, wanted: float) -> float:
    return float(towards(np.array([wanted - height]), _SPEED, _GAIN)[0])
