"""Push a cube across the table onto a goal disc, or onto either of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.sim.tasks.colours import BLUE, DARK_GREEN, RED
from ebm_policy_ros.sim.tasks.registry import register_task
from ebm_policy_ros.sim.tasks.task import Measures, Task
from ebm_policy_ros.sim.tasks.ways import smoothstep

Array = npt.NDArray[np.float64]

SUCCESS_DISTANCE = 0.02
"""Largest distance of the block's centre from a goal's centre in a solved task (m)."""
FINISHED_DISTANCE = 0.01
"""Largest such distance when nothing is left to do (m)."""

BLOCK_SIZE = 0.05
"""Edge of the cube (m)."""
GOAL_RADIUS = 0.055
"""Radius of a goal disc (m): larger than the cube, so that it shows when the cube is on it."""

AREA_LOW = np.array([0.38, -0.16])
AREA_HIGH = np.array([0.62, 0.16])
"""Area in which block, goals and tool start, in base_link (m)."""

# Two of one colour would be one thing in two places to a spatial soft-argmax,
# which sees such things at their midpoint.
_GOAL_COLOURS = (DARK_GREEN, BLUE)

_BLOCK_MASS = 0.1
_FRICTION = 0.6
_BLOCK = "block"

# Demonstrator: speeds in m/s, distances in m, gains in 1/s, angles in rad.
_PUSH_SPEED = 0.10
_ORBIT_SPEED = 0.14
_SLOW_WITHIN = 0.03
_CONTACT_RADIUS = 0.036
_CLEARANCE = 0.031
_LATERAL_GAIN = 4.0
_RADIAL_GAIN = 4.0


def add_block(spec: mujoco.MjSpec, name: str, colour: Sequence[float]) -> None:
    """Add a cube that moves freely."""
    add_box(spec, name, colour, (BLOCK_SIZE, BLOCK_SIZE, BLOCK_SIZE), _BLOCK_MASS)


def add_box(
    spec: mujoco.MjSpec,
    name: str,
    colour: Sequence[float],
    size: tuple[float, float, float],
    mass: float,
    place: tuple[float, float] = (0.5, 0.0),
) -> None:
    """Add a box that moves freely.

    Args:
        spec: The scene.
        name: Name of its body, joint, geom and material.
        colour: Red, green and blue, 0 to 1.
        size: Edges along x, y and z (m).
        mass: In kg.
        place: x and y (m) where it stands on the table until it is placed elsewhere.
    """
    spec.add_material(name=name, rgba=[*colour, 1.0], specular=0.3, shininess=0.4)
    box = spec.worldbody.add_body(name=name, pos=[*place, size[2] / 2])
    box.add_freejoint(name=name)
    box.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[edge / 2 for edge in size],
        mass=mass,
        friction=[_FRICTION, 0.005, 0.0001],
        condim=4,
        material=name,
    )


def place_block(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    name: str,
    place: Array,
    yaw: float,
    edge: float = BLOCK_SIZE,
) -> None:
    """Place a cube on the table, with its centre at x, y (m), turned by `yaw` (rad)."""
    start = model.joint(name).qposadr[0]
    data.qpos[start : start + 3] = *place, edge / 2
    data.qpos[start + 3 : start + 7] = np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)


def add_goal(spec: mujoco.MjSpec, name: str, colour: Sequence[float]) -> None:
    """Add a disc that nothing can touch, as a mocap body."""
    if not any(material.name == "goal_rim" for material in spec.materials):
        spec.add_material(name="goal_rim", rgba=[0.93, 0.95, 0.93, 1], specular=0.0)
    spec.add_material(name=name, rgba=[*colour, 1.0], specular=0.0, shininess=0.0)
    body = spec.worldbody.add_body(name=name, mocap=True)
    # Each layer ends half a millimetre above the one below: enough for the depth buffer.
    for material, radius, top in (
        ("goal_rim", GOAL_RADIUS, 0.0006),
        (name, GOAL_RADIUS - 0.005, 0.0012),
    ):
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[radius, top / 2, 0],
            pos=[0, 0, top / 2],
            contype=0,
            conaffinity=0,
            material=material,
        )


def place_goal(model: mujoco.MjModel, data: mujoco.MjData, name: str, place: Array) -> None:
    """Place a disc with its centre at x, y (m)."""
    data.mocap_pos[model.body(name).mocapid[0]] = *place, 0


class PushTask(Task):
    """Base of the push tasks: a block, and one or more goals.

    Nothing fences the block in: one that is pushed out of the tool's reach stays there, and the
    episode ends at its time limit, as it would on a real table.
    """

    goals: int
    """Number of goals."""
    labels: Mapping[str, str] = {"success": "within 2 cm", "within_1cm": "within 1 cm"}

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the block, which moves freely, and the goals, which nothing can touch."""
        add_block(spec, _BLOCK, RED)
        for index, colour in enumerate(_GOAL_COLOURS[: self.goals]):
            add_goal(spec, f"goal_{index}", colour)

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> Array:
        """Place the block and the goals; return where the tool starts (m). Shape (2,)."""
        block, goals, tool = self._layout(rng)
        place_block(model, data, _BLOCK, block, rng.uniform(-np.pi, np.pi))
        for index, goal in enumerate(goals):
            place_goal(model, data, f"goal_{index}", goal)
        return tool

    def _layout(self, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """Draw block (2,), goals (G, 2) and tool (2,) until none is too near to another."""
        while True:
            block = rng.uniform(AREA_LOW, AREA_HIGH)
            goals = rng.uniform(AREA_LOW, AREA_HIGH, (self.goals, 2))
            tool = rng.uniform(AREA_LOW, AREA_HIGH)
            if np.linalg.norm(goals - block, axis=1).min() < 0.10:
                continue
            if np.linalg.norm(tool - block) < 0.08:
                continue
            if self.goals == 2 and not _are_alternatives(block, goals):
                continue
            return block, goals, tool

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> Array:
        """Return the block's and the goals' places on the table. Shape (1 + G, 7)."""
        poses = np.zeros((1 + self.goals, 7))
        poses[:, :2] = self._block(data), *self._goals(model, data)
        poses[:, 6] = 1.0
        return poses

    def _block(self, data: mujoco.MjData) -> Array:
        """Return the block's centre (m). Shape (2,)."""
        return np.array(data.body(_BLOCK).xpos[:2])

    def _goals(self, model: mujoco.MjModel, data: mujoco.MjData) -> Array:
        """Return the goals' centres (m). Shape (G, 2)."""
        indices = [model.body(f"goal_{index}").mocapid[0] for index in range(self.goals)]
        return np.array(data.mocap_pos[indices, :2])

    def measures(self, model: mujoco.MjModel, data: mujoco.MjData) -> Measures:
        """Return the distance from the block's centre to the nearest goal's (m)."""
        apart = np.linalg.norm(self._goals(model, data) - self._block(data), axis=1)
        return {"distance": float(apart.min())}

    def success(self, measures: Measures) -> bool:
        """Return whether the block is on a goal."""
        return measures["distance"] <= SUCCESS_DISTANCE

    def finished(self, measures: Measures) -> bool:
        """Return whether the block is so near that nothing is left to do."""
        return measures["distance"] <= FINISHED_DISTANCE

    def result(self, moments: Sequence[Measures]) -> Mapping[str, float | bool]:
        """Return the distance in the end, the smallest one, and whether that was within 1 cm."""
        distances = [measures["distance"] for measures in moments]
        closest = min(distances)
        return {
            "within_1cm": closest <= FINISHED_DISTANCE,
            "closest": round(closest, 5),
            "distance": round(distances[-1], 5),
        }

    def demonstrator(self, rng: np.random.Generator, interface: Interface) -> PushDemonstrator:
        """Make the demonstrator of one episode."""
        return PushDemonstrator(rng, self.goals)


@register_task("push")
class Push(PushTask):
    """Push the block onto the goal."""

    goals = 1


@register_task("push_either")
class PushEither(PushTask):
    """Push the block onto either of two goals: two right answers, whose mean is wrong."""

    goals = 2


def _are_alternatives(block: Array, goals: Array) -> bool:
    """Say whether two goals lie apart, and in directions from the block 60 degrees apart."""
    rays = goals - block
    cosine = rays[0] @ rays[1] / np.prod(np.linalg.norm(rays, axis=1))
    return bool(np.linalg.norm(goals[0] - goals[1]) >= 0.12 and cosine <= 0.5)


class PushDemonstrator:
    """Teleoperator that pushes the block from behind, and goes round it to get there.

    The action is a smooth function of where tool, block and goal are: with the angle between the
    tool and the point exactly behind the block, orbiting blends into pushing. An action of
    constant length, or one that switches, would teach an energy its ring or its edge instead of
    the task. Only what an observation cannot tell is drawn, once per episode:
    which of several goals, and which way round when the tool stands right in front.
    """

    behind = (0.25, 1.0)
    """Angles from the point behind the block between which pushing blends into orbiting (rad)."""

    def __init__(self, rng: np.random.Generator, goals: int) -> None:
        self.goal = int(rng.integers(goals))
        self._side = float(rng.choice([-1.0, 1.0]))

    def act(self, tool: Array, poses: Array) -> Array:
        """Return the tool's velocity along x and y in m/s. Shape (2,)."""
        block, *goals = poses[:, :2]
        return self.velocity(tool[:2], block, goals[self.goal])

    def velocity(self, tool: Array, block: Array, goal: Array) -> Array:
        """Return the tool's velocity for points on the table.

        Args:
            tool: The pusher's tip in base_link, in m. Shape (2,).
            block: The block's centre, in m. Shape (2,).
            goal: Its goal's centre, in m. Shape (2,).

        Returns:
            Along x and y, in m/s. Shape (2,).
        """
        to_goal = goal - block
        remaining = float(np.linalg.norm(to_goal))
        forward = to_goal / max(remaining, 1e-6)
        left = np.array([-forward[1], forward[0]])
        offset = tool - block
        lateral = float(offset @ left)
        # From exactly behind the block, positive to the left.
        angle = float(np.arctan2(lateral, -(offset @ forward)))
        blend = smoothstep(abs(angle), *self.behind)
        slow = 0.3 + 0.7 * min(1.0, remaining / _SLOW_WITHIN)
        correction = _ORBIT_SPEED * np.tanh(_LATERAL_GAIN * lateral / _ORBIT_SPEED)
        push = _PUSH_SPEED * slow * forward - correction * left
        action: Array = (1 - blend) * push + blend * self._orbit(offset, angle, blend)
        return action

    def _orbit(self, offset: Array, angle: float, blend: float) -> Array:
        """Circle towards the point behind the block, clear of its corners."""
        radius = float(np.linalg.norm(offset))
        outward = offset / max(radius, 1e-6)
        side = self._side if abs(angle) > 2.9 else np.sign(angle)
        # `angle` grows clockwise as seen from above, so this turn shrinks it.
        tangent = side * np.array([-outward[1], outward[0]])
        error = _CONTACT_RADIUS + _CLEARANCE * blend - radius
        radial = np.clip(_RADIAL_GAIN * error, -_ORBIT_SPEED, _ORBIT_SPEED)
        orbit: Array = _ORBIT_SPEED * tangent + radial * outward
        return orbit
