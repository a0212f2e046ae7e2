"""Success of a policy of `push` in a laboratory that is not the one of its demonstrations.

Each condition is a task of its own, so that simulation and policy run over ROS as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco

from ebm_policy_ros.sim.evaluate import EvaluateArgs, evaluate
from ebm_policy_ros.sim.subprocesses import ProgramFailed
from ebm_policy_ros.sim.tasks.push import BLOCK_SIZE, Push
from ebm_policy_ros.training.experiments.common import write_results
from ebm_policy_ros.util.cli import run_command

Change = Callable[[mujoco.MjSpec], None]


def light(scale: float) -> Change:
    """Scale the brightness of all lights but the ambient one."""

    def change(spec: mujoco.MjSpec) -> None:
        for lamp in spec.lights:
            lamp.diffuse = scale * lamp.diffuse
        spec.visual.headlight.diffuse = [scale * part for part in spec.visual.headlight.diffuse]

    return change


def table(material: str) -> Change:
    """Make the table of another material of the room."""

    def change(spec: mujoco.MjSpec) -> None:
        spec.geom("table").material = material

    return change


def camera(x: float, y: float, z: float) -> Change:
    """Move the policy's camera, m."""

    def change(spec: mujoco.MjSpec) -> None:
        spec.camera("camera").pos += [x, y, z]

    return change


def friction(value: float) -> Change:
    """Set the friction between block, table and tool; it is 0.6 in the demonstrations."""

    def change(spec: mujoco.MjSpec) -> None:
        for geom in spec.geoms:
            if geom.name in ("block", "table"):
                geom.friction[0] = value

    return change


def block(edge: float) -> Change:
    """Set the block's edges along the table, m."""

    def change(spec: mujoco.MjSpec) -> None:
        spec.geom("block").size = [edge / 2, edge / 2, BLOCK_SIZE / 2]

    return change


class AsDemonstrated(Push):
    """`push` with one change of its scene; without one, as it was demonstrated."""

    text = "as demonstrated"
    changes: tuple[Change, ...] = ()

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add block and goal, then change the scene."""
        super().scene(spec)
        for change in self.changes:
            change(spec)


class DimLight(AsDemonstrated):
    text, changes = "lights at half", (light(0.5),)


class BrightLight(AsDemonstrated):
    text, changes = "lights at twice", (light(2.0),)


class GreyTable(AsDemonstrated):
    text, changes = "grey table", (table("plate"),)


class DarkTable(AsDemonstrated):
    text, changes = "dark table", (table("frame"),)


class CameraAside1(AsDemonstrated):
    text, changes = "camera 1 cm aside", (camera(0.0, 0.01, 0.0),)


class CameraAside2(AsDemonstrated):
    text, changes = "camera 2 cm aside", (camera(0.0, 0.02, 0.0),)


class CameraUp1(AsDemonstrated):
    text, changes = "camera 1 cm up", (camera(0.0, 0.0, 0.01),)


class CameraUp2(AsDemonstrated):
    text, changes = "camera 2 cm up", (camera(0.0, 0.0, 0.02),)


class Slippery(AsDemonstrated):
    text, changes = "friction 0.3", (friction(0.3),)


class Rough(AsDemonstrated):
    text, changes = "friction 1.0", (friction(1.0),)


class SmallBlock(AsDemonstrated):
    text, changes = "block of 4 cm", (block(0.04),)


class LargeBlock(AsDemonstrated):
    text, changes = "block of 6 cm", (block(0.06),)


CONDITIONS: tuple[type[AsDemonstrated], ...] = (AsDemonstrated, *AsDemonstrated.__subclasses__())


@dataclass(frozen=True)
class RobustnessArgs:
    """Judge a policy of push under each condition, over ROS."""

    out: Path
    """Folder for the results; what is there is not computed again."""
    policy: str = "ur5e_push"
    """Policy file, or the bare name of a shipped one."""
    episodes: int = 20
    """Scenes of each condition."""
    seed: int = 110_000
    """Seed of the first scene; each condition has the same scenes."""
    videos: int = 1
    """Scenes to film of each condition."""


def run(args: RobustnessArgs) -> None:
    """Judge the policy where it is not judged yet, and print and write the table."""
    rows, summaries = [], {}
    for condition in CONDITIONS:
        stops, goes = (_judge(args, condition, wanted) for wanted in ("slow", "go"))
        summaries[condition.text] = {"slow": stops, "go": goes}
        count = stops["episodes"]
        unfamiliar = sum("unfamiliar" in reason for reason in stops["stops"].values())
        unnoticed = count - stops["successes"] - len(stops["stops"])
        cells = (goes["successes"], stops["successes"], unfamiliar, unnoticed)
        rows.append([condition.text, *(f"{cell}/{count}" for cell in cells)])
    columns = (
        "condition",
        "solved unguarded",
        "solved",
        "stopped as unfamiliar",
        "failed unnoticed",
    )
    write_results(args.out, columns, rows, {"conditions": summaries})


def _judge(
    args: RobustnessArgs, condition: type[AsDemonstrated], when_unsure: str
) -> dict[str, Any]:
    """Return the figures of one condition, with doubts heeded, as usual (slow), or not (go)."""
    name = condition.__name__
    chosen = EvaluateArgs(
        policy=args.policy,
        out=args.out / f"{name}_{when_unsure}",
        task=f"{__spec__.name}.{name}",
        episodes=args.episodes,
        seed=args.seed,
        videos=args.videos,
        parameters={"when_unsure": when_unsure},
    )
    return evaluate(chosen)


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("robustness", RobustnessArgs, run, argv, (ProgramFailed,))


if __name__ == "__main__":
    main()
