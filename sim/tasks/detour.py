"""Go round a wall, on either side, and push the block behind it onto a goal disc."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.sim.tasks.avoid import was_touched
from ebm_policy_ros.sim.tasks.push import PushDemonstrator, PushTask, add_box
from ebm_policy_ros.sim.tasks.registry import register_task
from ebm_policy_ros.sim.tasks.task import Measures, View
from ebm_policy_ros.sim.tasks.ways import follow_way, smoothstep

Array = npt.NDArray[np.float64]

WALL_X = 0.53
"""x of the wall's centre (m); its y is 0."""
WALL_SIZE = (0.016, 0.12, 0.035)
"""Thickness, length along y and height of the wall (m)."""

# The room has walls of its own. This one is of aluminium; mass in kg.
_WALL, _WALL_COLOUR, _WALL_MASS = "low_wall", (0.40, 0.16, 0.56), 0.18
# Where things start: centre and largest deviation, x and y (m).
_BLOCK_START = np.array([[0.41, 0.0], [0.01, 0.01]])
_GOAL_START = np.array([[0.335, 0.0], [0.01, 0.05]])
_TOOL_SPREAD = 0.01

# Demonstrator (m): points of its way beside and behind the wall; distances from the block, and x,
# between which going round blends into pushing; x that it keeps to between wall and block, and
# the gain with which it does (1/s).
_BESIDE, _BEYOND = (0.54, 0.105), (0.47, 0.08)
_NEAR_BLOCK, _PAST_WALL = (0.115, 0.15), (0.45, 0.49)
_CHANNEL, _CHANNEL_GAIN = 0.485, 4.0


@register_task("detour")
class Detour(PushTask):
    """Push the block onto the goal, past the left or the right end of a wall.

    The wall stands freely. If tool or block move it, the episode ends.
    """

    goals = 1
    start_x = 0.62
    """x of the tool's start (m)."""
    speed = 0.20
    """Speed of the demonstrator round the wall (m/s)."""
    time_limit = 12.0
    knocks = 0.0  # a knock beside the wall touches it
    labels: Mapping[str, str] = {
        "success": "within 2 cm, wall untouched",
        "left": "passed left",
        "right": "passed right",
        "touched": "wall touched",
    }
    interface = "ur5e_detour"  # as of other tasks, for its own camera
    # Lower and nearer than elsewhere: block and goal show below the wrist that is before them.
    camera = View(eye=(1.1, 0.0, 0.36), target=(0.43, 0.0, 0.04), fovy=45)

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the block, the goal and the wall, which starts each episode where it is added."""
        super().scene(spec)
        add_box(spec, _WALL, _WALL_COLOUR, WALL_SIZE, _WALL_MASS, (WALL_X, 0.0))

    def _layout(self, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """Draw block (2,), goal (1, 2) and tool (2,)."""
        block, goal = (
            rng.uniform(centre - spread, centre + spread)
            for centre, spread in (_BLOCK_START, _GOAL_START)
        )
        tool = np.array([self.start_x, rng.uniform(-_TOOL_SPREAD, _TOOL_SPREAD)])
        return block, goal[None], tool

    def measures(self, model: mujoco.MjModel, data: mujoco.MjData) -> Measures:
        """Return the block's distance, the tool's x and y, and how far the wall moved (m)."""
        x, y = data.site("tool0").xpos[:2]
        wall = data.body(_WALL)
        along = wall.xmat.reshape(3, 3)[:, 1] - [0, 1, 0]
        centre = wall.xpos - [WALL_X, 0, WALL_SIZE[2] / 2]
        ends = [centre + end * WALL_SIZE[1] / 2 * along for end in (-1, 1)]
        moved = max(float(np.linalg.norm(end)) for end in ends)
        return {**super().measures(model, data), "x": float(x), "y": float(y), "moved": moved}

    def success(self, measures: Measures) -> bool:
        """Return whether the block is on the goal, and the wall untouched."""
        return super().success(measures) and not was_touched(measures)

    def finished(self, measures: Measures) -> bool:
        """Return whether nothing is left to do, or the wall was touched."""
        return super().finished(measures) or was_touched(measures)

    def result(self, moments: Sequence[Measures]) -> Mapping[str, float | bool]:
        """Return what `PushTask` does, the side of the way, and whether the wall was touched.

        Left is towards larger y. A tool that did not pass the wall did so on neither side.
        """
        passed = next((moment["y"] for moment in moments if moment["x"] <= WALL_X), 0.0)
        sides = {"left": passed > 0, "right": passed < 0}
        return {**super().result(moments), **sides, "touched": was_touched(moments[-1])}

    def demonstrator(self, rng: np.random.Generator, interface: Interface) -> DetourDemonstrator:
        """Make the demonstrator of one episode."""
        return DetourDemonstrator(rng, self.start_x, self.speed)


@register_task("detour_far")
class DetourFar(Detour):
    """Start farther from the wall, and go round it more slowly."""

    start_x = 0.635
    speed = 0.17


@register_task("detour_farther")
class DetourFarther(DetourFar):
    """Start farther still."""

    start_x = 0.66


class DetourDemonstrator(PushDemonstrator):
    """Teleoperator that draws a side of the wall, goes round it, and pushes the block."""

    # The goal is so near that a push which begins askew would end beside it.
    behind = (0.1, 0.5)

    def __init__(self, rng: np.random.Generator, start_x: float, speed: float) -> None:
        super().__init__(rng, 1)
        side = float(rng.choice([-1.0, 1.0]))
        self._way = [(x, side * y) for x, y in ((start_x, 0.0), _BESIDE, _BEYOND)]
        self._speed = speed

    def act(self, tool: Array, poses: Array) -> Array:
        """Return the tool's velocity along x and y in m/s. Shape (2,)."""
        x = float(tool[0])
        push = super().act(tool, poses)
        push[0] = min(push[0], _CHANNEL_GAIN * (_CHANNEL - x))
        around = follow_way(self._way, tool[:2], self._speed)
        around *= min(1.0, self._speed / float(np.linalg.norm(around)))
        away = float(np.linalg.norm(tool[:2] - poses[0, :2]))
        far = smoothstep(away, *_NEAR_BLOCK) * smoothstep(x, *_PAST_WALL)
        action: Array = far * around + (1 - far) * push
        return action
