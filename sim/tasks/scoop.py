"""Scoop fifty spheres into two bowls, with a spatula on each of two arms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import TOOL_VELOCITY, Interface
from ebm_policy_ros.sim.tasks.colours import BLUE, GREEN, YELLOW
from ebm_policy_ros.sim.tasks.registry import register_task
from ebm_policy_ros.sim.tasks.spatula import AHEAD, SPATULA, add_spatula
from ebm_policy_ros.sim.tasks.task import Measures, Mount, Task, View, refuse_other_actions
from ebm_policy_ros.sim.tasks.ways import towards

Array = npt.NDArray[np.float64]

COUNT = 50
"""Number of spheres."""
ENOUGH = 45
"""Number of spheres in the bowls in a solved task."""
RADIUS = 0.008
"""Radius of a sphere (m)."""
BOWLS = np.array([[0.45, 0.32], [0.45, -0.32]])
"""Middle of the blue and of the green bowl (m)."""
BOWL_RADIUS = 0.085
"""Radius of a bowl at its bottom (m)."""
ARMS = (Mount("left", (0.90, 0.0), np.pi), Mount("right", (0.0, 0.0), 0.0))
"""Arms, which face each other; their names are as the camera sees them."""

_SPHERES = tuple(f"sphere_{number}" for number in range(COUNT))
_BOWL_HEIGHT, _BOWL_LEAN, _STAVES = 0.05, np.deg2rad(15), 20
# Friction of the spheres and the bowls: sliding (without unit), turning and rolling (m).
_FRICTION = [0.4, 0.005, 0.002]
# Where spheres start (m), and the tools in their arm's base_link.
_LOW, _HIGH = np.array([0.35, -0.12]), np.array([0.55, 0.12])
_TOOL, _TOOL_SPREAD = np.array([0.27, 0.0, 0.12]), 0.02

_FIELDS = tuple(f"{mount.name}.{field}" for mount in ARMS for field in TOOL_VELOCITY)


@register_task("scoop")
class Scoop(Task):
    """Scoop the spheres up between two spatulas, and carry them to the bowls."""

    time_limit = 80.0
    interface = "ur5e_scoop"
    physics_step = 0.004
    command_noise = 0.002  # more of it opens the gap between the spatulas
    knocks = 0.0  # a knock throws the spheres of a full trough about
    labels: Mapping[str, str] = {"success": f"{ENOUGH} of {COUNT} spheres"}
    arms = ARMS
    camera = View(eye=(0.45, 0.70, 0.80), target=(0.45, 0.02, 0.0), fovy=46)
    video = View(eye=(0.45, 1.35, 0.85), target=(0.45, 0.0, 0.12), fovy=42)

    def add_tool(self, spec: mujoco.MjSpec, tool: mujoco.MjsBody) -> None:
        """Add a spatula."""
        add_spatula(spec, tool)

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the bowls, which are fixed, and the spheres, which roll."""
        # Small spheres look as round with fewer faces, and are drawn sooner.
        spec.visual.quality.numslices, spec.visual.quality.numstacks = 14, 8
        for name, colour, place in zip(("blue", "green"), (BLUE, GREEN), BOWLS, strict=True):
            spec.add_material(name=name, rgba=[*colour, 1.0], specular=0.2)
            _add_bowl(spec, name, place)
        spec.add_material(name="sphere", rgba=[*YELLOW, 1.0], specular=0.3)
        for name in _SPHERES:
            sphere = spec.worldbody.add_body(name=name)
            sphere.add_freejoint(name=name)
            sphere.add_geom(
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                size=[RADIUS, 0, 0],
                mass=0.002,
                friction=_FRICTION,
                condim=6,  # with rolling friction
                contype=1 | SPATULA,
                conaffinity=1 | SPATULA,
                material="sphere",
            )

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> Array:
        """Spread the spheres; return where the tools start, in base_link (m). Shape (2, 3)."""
        places: Array = np.empty((0, 2))
        while len(places) < COUNT:
            place = rng.uniform(_LOW, _HIGH)
            if not (np.linalg.norm(places - place, axis=1) < 2.1 * RADIUS).any():
                places = np.vstack([places, place])
        for name, place in zip(_SPHERES, places, strict=True):
            data.joint(name).qpos[:] = [*place, RADIUS, 1, 0, 0, 0]
        return _TOOL + rng.uniform(-_TOOL_SPREAD, _TOOL_SPREAD, (len(ARMS), 3))

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> Array:
        """Return the places of the spheres. Shape (50, 7)."""
        poses = np.zeros((COUNT, 7))
        poses[:, :3] = [data.body(name).xpos for name in _SPHERES]
        poses[:, 6] = 1.0
        return poses

    def measures(self, model: mujoco.MjModel, data: mujoco.MjData) -> Measures:
        """Return the number of spheres in each bowl, in both, and their share of all."""
        blue, green = _in_bowls(self.poses(model, data)[:, :3]).sum(axis=0).tolist()
        spheres = blue + green
        return {"spheres": spheres, "share": spheres / COUNT, "blue": blue, "green": green}

    def success(self, measures: Measures) -> bool:
        """Return whether nearly all spheres are in the bowls."""
        return measures["spheres"] >= ENOUGH

    def finished(self, measures: Measures) -> bool:
        """Return whether all spheres are in the bowls."""
        return measures["spheres"] == COUNT

    def demonstrator(self, rng: np.random.Generator, interface: Interface) -> Scooper:
        """Make the demonstrator of one episode.

        Raises:
            ValueError: An action is not the velocity of both tools in six dimensions.
        """
        refuse_other_actions("scoop", self, interface, _FIELDS)
        return Scooper(rng)


def _add_bowl(spec: mujoco.MjSpec, name: str, place: Array) -> None:
    """Add a bowl of staves that lean outwards, and its bottom."""
    bowl = spec.worldbody.add_body(name=f"bowl_{name}", pos=[*place, 0])
    lean, radius = _BOWL_LEAN, BOWL_RADIUS + 0.5 * _BOWL_HEIGHT * np.sin(_BOWL_LEAN)
    touch = {"friction": _FRICTION, "contype": SPATULA, "conaffinity": 0, "material": name}
    for angle in np.arange(_STAVES) * 2 * np.pi / _STAVES:
        out = np.array([np.cos(angle), np.sin(angle), 0.0])
        up = np.array([0.0, 0.0, np.cos(lean)]) + np.sin(lean) * out
        normal = np.cos(lean) * out - np.array([0.0, 0.0, np.sin(lean)])
        turn = np.empty(4)
        mujoco.mju_mat2Quat(turn, np.stack([normal, np.cross(up, normal), up], axis=1).ravel())
        bowl.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[0.002, 1.08 * np.pi * radius / _STAVES, _BOWL_HEIGHT / 2],
            pos=radius * out + np.array([0.0, 0.0, _BOWL_HEIGHT / 2]),
            quat=turn,
            **touch,
        )
    bowl.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[BOWL_RADIUS, 0.001, 0],
        pos=[0, 0, 0.001],
        **touch,
    )


def _in_bowls(spheres: Array) -> npt.NDArray[np.bool_]:
    """Tell for spheres at (N, 3) which bowl each lies in. Shape (N, 2)."""
    apart = np.linalg.norm(spheres[:, None, :2] - BOWLS, axis=2)
    inside: npt.NDArray[np.bool_] = (apart < BOWL_RADIUS) & (spheres[:, 2:] < _BOWL_HEIGHT)
    return inside


# Demonstrator: heights of the edges while they sweep, go elsewhere, carry, and pour (m);
_SWEEP, _TRAVEL, _CARRY, _POUR = 0.003, 0.10, 0.13, 0.10
# tilts of the tools while they sweep, with a flatter blade, and pour (rad);
_FLAT, _STEEP = -0.17, 0.08
# distances of the edges: closed, poured out, and beyond the outermost spheres on either side (m);
_CLOSED, _POURED, _BEYOND = -0.003, 0.07, 0.03
# width of the strip that a stroke empties, and how far the arms reach for it (m);
_STRIP, _REACH_LOW, _REACH_HIGH = 0.105, np.array([0.40, -0.15]), np.array([0.50, 0.15])
# speeds of both tools together, of closing and of pouring (m/s), of turning (rad/s), and the gain;
_SPEED, _CLOSE, _OPEN, _POUR_OPEN, _TURN, _GAIN = 0.2, 0.08, 0.2, 0.06, 1.2, 9.0
# ticks after which closing and pouring end.
_CLOSING_TICKS, _POURING_TICKS = 80, 20


class Aim(NamedTuple):
    """Wish for the two edges: they move together, towards each other, and tilt."""

    middle: Array
    """Place between the edges (m). Shape (2,)."""
    apart: float
    """Distance of the left edge from the right one along x (m)."""
    height: float
    """Height of the edges (m)."""
    tilt: float = 0.0
    """Tilt of the tools (rad)."""
    closing: float = _OPEN
    """Speed of each towards its place beside the middle (m/s)."""


class Edge(NamedTuple):
    """Edge of a spatula."""

    place: Array
    """Its middle in the world (m). Shape (3,)."""
    tilt: float
    """Turn of the tool about its y, more than 0 with a steeper blade (rad)."""
    turn: float
    """Turn of the tool about z (rad)."""


class Scooper:
    """Teleoperator that empties the fullest strip, into the bowl on the strip's side."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._speed = _SPEED * rng.uniform(0.85, 1.0)
        self.phase = "choose"
        """Present step of the work, by name."""
        self._ticks = 0
        self._strip: Array = np.zeros(2)
        self._open = 0.0
        self._bowl: Array = BOWLS[0]

    def act(self, tool: Array, poses: Array) -> Array:
        """Return the velocities of the left and the right tool, m/s and rad/s. Shape (12,)."""
        edges = [_edge(pose, mount) for pose, mount in zip(tool.reshape(2, 7), ARMS, strict=True)]
        middle = (edges[0].place + edges[1].place) / 2
        apart = float(edges[0].place[0] - edges[1].place[0])
        tilts = np.array([edge.tilt for edge in edges])
        self._ticks += 1
        if self.phase == "choose" and self._choose(poses[:, :3]):
            self._go("travel")
        aim = self._aim(middle, apart, tilts)
        ahead = np.array([*aim.middle, aim.height]) - middle
        together = towards(ahead, self._speed, _GAIN)
        actions = []
        for edge, mount, side in zip(edges, ARMS, (1, -1), strict=True):
            target = middle + np.array([side * aim.apart / 2, 0.0, 0.0])
            way = together + towards(target - edge.place, aim.closing, _GAIN)
            actions.append(_twist(edge, mount, way, aim.tilt))
        return np.concatenate(actions)

    def _go(self, phase: str) -> None:
        self.phase, self._ticks = phase, 0

    def _aim(self, middle: Array, apart: float, tilts: Array) -> Aim:
        """Return the aim of this moment, and go on to the next phase if it is reached."""
        place, height = middle[:2], middle[2]
        at_strip = np.linalg.norm(place - self._strip) < 0.01
        if self.phase == "travel":
            if at_strip and abs(apart - self._open) < 0.02:
                self._go("lower")
            return Aim(self._strip, self._open, _TRAVEL)
        if self.phase == "lower":
            if height < _SWEEP + 0.002 and np.abs(tilts - _FLAT).max() < 0.05:
                self._go("close")
            return Aim(self._strip, self._open, _SWEEP, _FLAT)
        if self.phase == "close":
            if apart < 0.004 or self._ticks > _CLOSING_TICKS:
                self._go("lift")
            return Aim(self._strip, _CLOSED, _SWEEP, _FLAT, _CLOSE)
        if self.phase == "lift":
            if height > _CARRY - 0.01:
                self._go("carry")
            return Aim(self._strip, _CLOSED, _CARRY)
        if self.phase == "carry":
            if np.linalg.norm(place - self._bowl) < 0.01:
                self._go("pour")
            return Aim(self._bowl, _CLOSED, _CARRY)
        if self.phase == "pour":
            if self._ticks > _POURING_TICKS:
                self._go("rise")
            return Aim(self._bowl, _POURED, _POUR, _STEEP, _POUR_OPEN)
        if self.phase == "rise" and height > _CARRY - 0.02:
            self._go("choose")
        return Aim(place, _POURED, _CARRY)

    def _choose(self, spheres: Array) -> bool:
        """Choose the strip with most spheres in reach; False if there is none."""
        on_table = (spheres[:, 2] < 2 * RADIUS) & ~_in_bowls(spheres).any(axis=1)
        reach = np.array([0.09, _STRIP / 2])
        in_reach = (spheres[:, :2] > _REACH_LOW - reach) & (spheres[:, :2] < _REACH_HIGH + reach)
        left = spheres[on_table & in_reach.all(axis=1), :2]
        if not len(left):
            return False
        middles = np.linspace(_REACH_LOW[1], _REACH_HIGH[1], 61)
        inside = np.abs(left[:, 1] - middles[:, None]) < _STRIP / 2
        counts = inside.sum(axis=1)
        fullest = np.flatnonzero(counts == counts.max())
        chosen = fullest[len(fullest) // 2]
        x = left[inside[chosen], 0]
        middle = np.array([(x.min() + x.max()) / 2, middles[chosen]])
        self._strip = np.clip(middle, _REACH_LOW, _REACH_HIGH)
        self._open = 2 * max(float(np.abs(x - self._strip[0]).max()), _BEYOND) + 2 * _BEYOND
        self._bowl = BOWLS[0] if middle[1] > 0 else BOWLS[1]
        return True


def _edge(tool: Array, mount: Mount) -> Edge:
    """Return the edge of a spatula whose tool has a pose in its arm's base_link, (7,)."""
    x, y, z, w = tool[3:]
    # x axis of the tool, along which the edge is ahead.
    axis = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)])
    place = _turned(tool[:3] + AHEAD * axis, mount.turn) + np.array([*mount.place, 0.0])
    tilt = float(np.arcsin(np.clip(-axis[2], -1, 1)))
    return Edge(place, tilt, float(np.arctan2(axis[1], axis[0])))


def _twist(edge: Edge, mount: Mount, way: Array, tilt: float) -> Array:
    """Return the velocity of a tool that moves its edge along a way, and tilts. Shape (6,)."""
    pitch = float(np.clip(_GAIN * (tilt - edge.tilt), -_TURN, _TURN))
    # The tool tilts about a point behind its edge, which is to go its own way.
    swing = pitch * AHEAD * np.array([-np.sin(edge.tilt), 0.0, -np.cos(edge.tilt)])
    return np.array([*(_turned(way, -mount.turn) - swing), 0.0, pitch, -_GAIN * edge.turn])


def _turned(vector: Array, angle: float) -> Array:
    """Return a vector, (3,), turned about z."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array(
        [cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1], vector[2]]
    )
