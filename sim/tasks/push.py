"""Push a cube across the table onto a goal disc, or onto either of two."""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SUCCESS_DISTANCE = 0.02
"""The block's centre is this near to a goal's centre when the task is solved (m)."""
FINISHED_DISTANCE = 0.01
"""It is this near when nothing is left to do (m)."""

BLOCK_SIZE = 0.05
"""Edge of the cube (m)."""
GOAL_RADIUS = 0.055
"""Radius of a goal disc (m): larger than the cube, so that it shows when the cube is on it."""

AREA_LOW = np.array([0.38, -0.16])
AREA_HIGH = np.array([0.62, 0.16])
"""Where blocks and goals start, in base_link (m)."""

# Green and blue. Two of one colour would be one thing in two places to a spatial soft-argmax,
# which sees such things at their midpoint.
_GOAL_COLOURS = ([0.02, 0.55, 0.22], [0.05, 0.12, 0.75])

_BLOCK_MASS = 0.1
_BLOCK_FRICTION = 0.6
_BLOCK = "block"


class PushTask:
    """What the push tasks share. Everything random comes from the generator of `reset`.

    Nothing fences the block in: one that is pushed out of the tool's reach stays there, and the
    episode ends at its time limit, as it would on a real table.
    """

    name: str
    goals: int
    time_limit = 15.0
    """Seconds until an unsolved episode counts as failed."""

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the block, which moves freely, and the goals, which nothing can touch."""
        spec.add_material(name="block", rgba=[0.86, 0.07, 0.07, 1], specular=0.3, shininess=0.4)
        spec.add_material(name="goal_rim", rgba=[0.93, 0.95, 0.93, 1], specular=0.0)
        half = BLOCK_SIZE / 2
        block = spec.worldbody.add_body(name=_BLOCK, pos=[0.5, 0, half])
        block.add_freejoint(name=_BLOCK)
        block.add_geom(
            name=_BLOCK,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[half, half, half],
            mass=_BLOCK_MASS,
            friction=[_BLOCK_FRICTION, 0.005, 0.0001],
            condim=4,
            material="block",
        )
        for index, colour in enumerate(_GOAL_COLOURS[: self.goals]):
            self._add_goal(spec, f"goal_{index}", colour)

    def _add_goal(self, spec: mujoco.MjSpec, name: str, colour: list[float]) -> None:
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

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> Array:
        """Place the block and the goals; return where the tool starts (m). Shape (2,)."""
        block, goals, tool = self._layout(rng)
        yaw = rng.uniform(-np.pi, np.pi)
        start = model.joint(_BLOCK).qposadr[0]
        data.qpos[start : start + 3] = *block, BLOCK_SIZE / 2
        data.qpos[start + 3 : start + 7] = np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)
        for index, goal in enumerate(goals):
            data.mocap_pos[model.body(f"goal_{index}").mocapid[0]] = *goal, 0
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

    def block_position(self, data: mujoco.MjData) -> Array:
        """Return the block's centre in base_link (m). Shape (2,)."""
        return np.array(data.body(_BLOCK).xpos[:2])

    def goal_positions(self, model: mujoco.MjModel, data: mujoco.MjData) -> Array:
        """Return the goals' centres in base_link (m). Shape (goals, 2)."""
        indices = [model.body(f"goal_{index}").mocapid[0] for index in range(self.goals)]
        return np.array(data.mocap_pos[indices, :2])

    def distance(self, block: Array, goals: Array) -> float:
        """Return the distance from the block's centre (2,) to the nearest goal (G, 2), in m."""
        return float(np.linalg.norm(goals - block, axis=1).min())

    def success(self, distance: float) -> bool:
        """Say whether a block this far from its goal (m) solves the task."""
        return distance <= SUCCESS_DISTANCE

    def finished(self, distance: float) -> bool:
        """Say whether a block this far from its goal (m) leaves nothing to do."""
        return distance <= FINISHED_DISTANCE


class Push(PushTask):
    """Push the block onto the goal."""

    name = "push"
    goals = 1


class PushEither(PushTask):
    """Push the block onto either of two goals: two right answers, whose mean is wrong."""

    name = "push_either"
    goals = 2


def _are_alternatives(block: Array, goals: Array) -> bool:
    """Say whether two goals lie apart, and in directions from the block 60 degrees apart."""
    rays = goals - block
    cosine = rays[0] @ rays[1] / np.prod(np.linalg.norm(rays, axis=1))
    return bool(np.linalg.norm(goals[0] - goals[1]) >= 0.12 and cosine <= 0.5)
