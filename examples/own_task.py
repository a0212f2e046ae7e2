"""Simulate a task of your own: this file is all of it.

    python examples/own_task.py --out out/examples

The same task over ROS, with this folder on PYTHONPATH:

    record_demos --task own_task.Touch --episodes 20 --out demos/touch
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from ebm_policy_ros.sim.tasks import Measures, Task  # isort: skip

# After the simulation, which chooses an OpenGL that works without a display.
import mujoco
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.util.resources import interface_path

Array = npt.NDArray[np.float64]
CYLINDER = mujoco.mjtGeom.mjGEOM_CYLINDER
LOW, HIGH = (0.4, -0.15), (0.6, 0.15)
"""Corners of the area in which disc and tool start, in base_link (m)."""


class Touch(Task):
    """Bring the tool over a blue disc."""

    time_limit = 8.0
    labels: Mapping[str, str] = {"success": "on the disc"}

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the disc, which nothing can touch."""
        disc = spec.worldbody.add_body(name="disc", mocap=True)
        disc.add_geom(
            type=CYLINDER,
            size=[0.04, 0.001, 0],
            rgba=[0.1, 0.2, 0.8, 1],
            contype=0,
            conaffinity=0,
        )

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> Array:
        """Place the disc and the tool at random, at least 10 cm apart: nothing starts solved."""
        disc = tool = rng.uniform(LOW, HIGH)
        while np.linalg.norm(tool - disc) < 0.1:
            tool = rng.uniform(LOW, HIGH)
        data.mocap_pos[0] = [*disc, 0.001]
        return tool

    def measures(self, model: mujoco.MjModel, data: mujoco.MjData) -> Measures:
        """Measure the distance from the tool to the disc's centre, m."""
        apart = data.site("tool0").xpos[:2] - data.mocap_pos[0, :2]
        return {"distance": float(np.linalg.norm(apart))}

    def success(self, measures: Measures) -> bool:
        """Return whether the tool is within 1 cm of the centre."""
        return measures["distance"] < 0.01

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> Array:
        """Return the pose of the disc."""
        return np.array([[*data.mocap_pos[0], 0.0, 0.0, 0.0, 1.0]])

    def demonstrator(self, rng: np.random.Generator, interface: Interface) -> Straight:
        """Make one that goes straight to the disc."""
        return Straight()


class Straight:
    """Demonstrator that goes straight to the disc, at 0.15 m/s and slower near it."""

    def act(self, tool: Array, poses: Array) -> Array:
        """Return the velocity along x and y, m/s."""
        apart: Array = poses[0, :2] - tool[:2]
        return apart * min(3.0, 0.15 / max(float(np.linalg.norm(apart)), 1e-6))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/examples"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    task = Touch()
    interface = load_interface(interface_path("ur5e_push"))
    world = World(task, (240, 320))
    figure = Figure((9, 3.5), layout="constrained")
    for seed, axes in enumerate(figure.subplots(1, 2)):
        world.reset(seed)
        demonstrator = task.demonstrator(np.random.default_rng(seed), interface)
        start, apart = world.render(), world.measures["distance"]
        while not world.finished and world.time < task.time_limit:
            tool = np.concatenate(world.tool_pose)
            world.step(demonstrator.act(tool, world.poses), 1 / interface.rate)
        outcome = "solved" if world.success else "failed"
        print(
            f"scene {seed}: {outcome} after {world.time:.1f} s, {apart:.2f} m apart at the start"
        )
        axes.imshow(np.hstack((start, world.render())))
        axes.set_title(f"scene {seed}: start and end")
        axes.axis("off")
    world.close()
    figure.savefig(out / "own_task.png", dpi=100)
    print(f"{out / 'own_task.png'}: the first and the last picture of two scenes")


if __name__ == "__main__":
    main()
