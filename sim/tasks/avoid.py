"""Move the tool through rows of pillars to a line, past each row on either side of a pillar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.sim.tasks.colours import DARK_GREEN, RED
from ebm_policy_ros.sim.tasks.registry import register_task
from ebm_policy_ros.sim.tasks.task import Measures, Task
from ebm_policy_ros.sim.tasks.ways import follow_way

Array = npt.NDArray[np.float64]

ROWS = (0.40, 0.50, 0.60)
"""x of each row of pillars (m); the first has one pillar, each later one has one more."""
LINE = 0.68
"""x of the line that the tool must reach (m)."""
TOUCHED = 0.001
"""Smallest way that what stands freely moves when it is touched (m)."""
ROUTES = 2 ** len(ROWS)
"""Number of routes: left or right at each row."""

# Distance of neighbouring pillars in a row (m), and their shape.
_PITCH = 0.12
_RADIUS, _HEIGHT, _MASS = 0.016, 0.05, 0.05
_PILLARS = tuple(
    np.array([x, _PITCH * (number - row / 2)])
    for row, x in enumerate(ROWS)
    for number in range(row + 1)
)
_START_LOW, _START_HIGH = np.array([0.27, -0.015]), np.array([0.31, 0.015])
# Speed of the demonstrator (m/s).
_SPEED = 0.18


@register_task("avoid")
class Avoid(Task):
    """Reach the line without touching a pillar: eight routes, whose mean leads into one.

    The pillars stand freely, so one that is touched moves, and the episode ends.
    """

    time_limit = 8.0
    knocks = 0.0  # a knock beside a pillar touches it
    labels: Mapping[str, str] = {"success": "line reached, none touched", "touched": "touched"}

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the pillars, and the line, which nothing can touch."""
        spec.add_material(name="pillar", rgba=[*RED, 1], specular=0.3, shininess=0.4)
        spec.add_material(name="line", rgba=[*DARK_GREEN, 1], specular=0.0)
        for number in range(len(_PILLARS)):
            pillar = spec.worldbody.add_body(name=f"pillar_{number}", pos=[0, 0, _HEIGHT / 2])
            pillar.add_freejoint(name=f"pillar_{number}")
            pillar.add_geom(
                type=mujoco.mjtGeom.mjGEOM_CYLINDER,
                size=[_RADIUS, _HEIGHT / 2, 0],
                mass=_MASS,
                friction=[0.6, 0.005, 0.0001],
                condim=4,
                material="pillar",
            )
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[0.004, 0.26, 0.0003],
            pos=[LINE, 0, 0.0003],
            contype=0,
            conaffinity=0,
            material="line",
        )

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> Array:
        """Stand the pillars up; return where the tool starts (m). Shape (2,)."""
        for number, place in enumerate(_PILLARS):
            start = model.joint(f"pillar_{number}").qposadr[0]
            data.qpos[start : start + 7] = *place, _HEIGHT / 2, 1, 0, 0, 0
        return rng.uniform(_START_LOW, _START_HIGH)

    def measures(self, model: mujoco.MjModel, data: mujoco.MjData) -> Measures:
        """Return the tool's x and y, and the longest way that a pillar has moved (m)."""
        x, y = data.site("tool0").xpos[:2]
        ways = [
            np.linalg.norm(data.body(f"pillar_{number}").xpos[:2] - place)
            for number, place in enumerate(_PILLARS)
        ]
        return {"x": float(x), "y": float(y), "moved": float(max(ways))}

    def success(self, measures: Measures) -> bool:
        """Return whether the tool is beyond the line, and no pillar was touched."""
        return measures["x"] >= LINE and not was_touched(measures)

    def finished(self, measures: Measures) -> bool:
        """Return whether the tool is beyond the line, or a pillar was touched."""
        return measures["x"] >= LINE or was_touched(measures)

    def result(self, moments: Sequence[Measures]) -> Mapping[str, float | bool]:
        """Return whether a pillar was touched, and the route, see `route_of`."""
        return {"touched": was_touched(moments[-1]), "route": route_of(moments)}

    def demonstrator(self, rng: np.random.Generator, interface: Interface) -> AvoidDemonstrator:
        """Make the demonstrator of one episode."""
        return AvoidDemonstrator(rng)


def was_touched(measures: Measures) -> bool:
    """Return whether something that stands freely has moved, by the measure `moved`."""
    return measures["moved"] > TOUCHED


def route_of(moments: Sequence[Measures]) -> int:
    """Return the number of the route that a tool took, 0 to `ROUTES` - 1.

    Each row has a binary digit, the first one the highest: 1 for left of the gap, or of the
    middle, from where the tool came. -1 if it did not pass all rows.
    """
    route, before = 0, 0.0
    for x in ROWS:
        passed = next((moment["y"] for moment in moments if moment["x"] >= x), None)
        if passed is None:
            return -1
        route, before = 2 * route + (passed > before), passed
    return route


class AvoidDemonstrator:
    """Teleoperator that draws a route, and follows it with smooth turns."""

    def __init__(self, rng: np.random.Generator) -> None:
        steps = rng.choice([-_PITCH / 2, _PITCH / 2], len(ROWS))
        self._gaps = list(zip(ROWS, np.cumsum(steps), strict=True))
        self._begin: tuple[float, float] | None = None

    def act(self, tool: Array, poses: Array) -> Array:
        """Return the tool's velocity along x and y in m/s. Shape (2,)."""
        if self._begin is None:
            self._begin = (float(tool[0]), float(tool[1]))
        return follow_way([self._begin, *self._gaps], tool[:2], _SPEED)
