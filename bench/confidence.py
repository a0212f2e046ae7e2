"""Table of the confidence measures of a policy in familiar and unfamiliar situations.

The policy acts in the simulation, in scenes as demonstrated and in others. Thresholds of features
and colours are those of the policy file. Energy, gap and effective samples have none there: their
thresholds are set on half of the familiar episodes, with the same share of decisions beyond them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import mujoco
import numpy as np
import torch

from ebm_policy_ros.messages.images import decode_image
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.world import World

POLICIES = Path(__file__).resolve().parents[1] / "config" / "policies"
SECONDS = 6.0
SHARE = 0.005
HEADER = (
    "situation", "energy", "gap", "effective samples", "features", "colours", "either of the two",
    "episodes with an alarm", "first alarm",
)  # fmt: skip
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Situation:
    """A scene, and a change of its image."""

    task: str
    build: Callable[[World], None] | None = None
    """Changes the world once."""
    begin: Callable[[World], None] | None = None
    """Changes the world after each reset."""
    picture: Callable[[Array], Array] | None = None
    """Changes an image (H, W, 3), 0 to 255."""


def scenes(task: str) -> dict[str, Situation]:
    """Situations with changes on the table, of the camera pose and of the lamps."""

    def colour(name: str, *rgb: float) -> Situation:
        return Situation(task, lambda w: w.model.material(name).rgba.__setitem__(slice(3), rgb))

    def camera(metres: float) -> Situation:
        return Situation(task, lambda w: w.model.cam("camera").pos.__iadd__([0, metres, 0]))

    def turned(degrees: float) -> Situation:
        def turn(world: World) -> None:
            pose, rotation = world.model.cam("camera").quat, np.empty(4)
            # The pose times a rotation about the camera's vertical axis.
            mujoco.mju_axisAngle2Quat(rotation, [0, 1, 0], np.deg2rad(degrees))
            mujoco.mju_mulQuat(pose, pose.copy(), rotation)

        return Situation(task, turn)

    def light(factor: float, lamps: slice, room: float = 1.0) -> Situation:
        def dim(world: World) -> None:
            world.model.light_diffuse[lamps] *= factor
            world.model.vis.headlight.ambient *= room
            world.model.vis.headlight.diffuse *= room

        return Situation(task, dim)

    def hide_block(world: World) -> None:
        start = world.model.joint("block").qposadr[0]
        world.data.qpos[start : start + 3] = -1.2, 0, -0.7

    def hide_discs(world: World) -> None:
        world.data.mocap_pos[:] = 0, 0, -1

    other = "push_either" if task == "push" else "push"
    return {
        "no block": Situation(task, begin=hide_block),
        "no disc": Situation(task, begin=hide_discs),
        "two discs" if task == "push" else "one disc": Situation(other),
        "block blue": colour("block", 0.07, 0.07, 0.86),
        "block green": colour("block", 0.02, 0.55, 0.22),
        "block yellow": colour("block", 0.86, 0.8, 0.07),
        "green disc red": colour("goal_0", 0.8, 0.05, 0.05),
        "camera 2 cm aside": camera(0.02),
        "camera 10 cm aside": camera(0.10),
        "camera turned by 3 degrees": turned(3),
        "one lamp off": light(0.0, slice(0, 1)),
        "lamps half as bright": light(0.5, slice(None)),
        "room dark": light(0.2, slice(None), 0.2),
    }


def pictures(task: str) -> dict[str, Situation]:
    """Situations with changes of the camera image."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:1:96j, :1:128j]

    def covered(share: float, colour: tuple[int, ...]) -> Callable[[Array], Array]:
        """Cover this share of the image with a blob of one colour, at random positions."""

        def cover(image: Array) -> Array:
            x, y = rng.uniform(0.3, 0.7, 2)
            reach = (columns - x) ** 2 + (rows - y) ** 2 + 0.02 * np.sin(18 * columns)
            hidden = reach <= np.quantile(reach, share)
            image[hidden] = colour + rng.normal(0, 4, (hidden.sum(), 3))
            return image

        return cover

    skin, glove = (205, 150, 125), (40, 45, 60)
    changes: dict[str, Callable[[Array], Array]] = {
        "black": lambda image: 0 * image,
        "black, with sensor noise": lambda image: rng.normal(4, 3, image.shape),
        "white": lambda image: 0 * image + 255,
        "hand over 90 %": covered(0.9, skin),
        "hand over 60 %": covered(0.6, skin),
        "hand over 30 %": covered(0.3, skin),
        "hand over 15 %": covered(0.15, skin),
        "dark glove over 60 %": covered(0.6, glove),
        "red and blue swapped": lambda image: image[..., ::-1],
        "mirrored": lambda image: image[:, ::-1],
        "half as bright": lambda image: image / 2,
        "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 3),
        "moved by 3 pixels": lambda image: np.roll(image, 3, axis=1),
    }
    return {name: Situation(task, picture=change) for name, change in changes.items()}


def measure(policy: Policy, situation: Situation, seeds: range) -> list[Array]:
    """Energy, gap, effective samples, features and colours of each decision, by episode."""
    world = World(make_task(situation.task))
    if situation.build:
        situation.build(world)
    episodes = []
    for seed in seeds:
        world.reset(seed)
        if situation.begin:
            situation.begin(world)
            world.step((0, 0), 0)  # updates all positions
        rows, action, intent = [], None, None
        while world.time < SECONDS and not world.finished:
            seen = observe(world, situation.picture)
            decision = policy.decide(seen, previous=action, intent=intent)
            action, intent, sure = decision.action, decision.intent, decision.confidence
            measures = (sure.energy, sure.gap, sure.effective_samples, sure.features, sure.colours)
            rows.append(measures)
            world.step(action[0], 0.1)
        episodes.append(np.array(rows))
    world.close()
    return episodes


def observe(world: World, picture: Callable[[Array], Array] | None) -> dict[str, Array]:
    """Observation of the policy, decoded as in the node."""
    image = world.render()
    height, width, _ = image.shape
    message = SimpleNamespace(
        encoding="rgb8", height=height, width=width, step=3 * width, data=image.tobytes()
    )
    small = decode_image(message, (96, 128))
    if picture:
        small = np.clip(picture(small.astype(float)), 0, 255).astype(np.uint8)
    position, _ = world.tool_pose
    return {"camera": small[None], "tool": position[None, :2].astype(np.float32)}


def alarms(rows: Array, limits: Array) -> Array:
    """True for measures, shape (M, 5), beyond their limits; a gap is beyond if it is too small."""
    sign = np.array([1, -1, 1, 1, 1])
    return ~(sign * rows <= sign * limits)


def print_row(name: str, episodes: list[Array], limits: Array) -> None:
    """Print the share of decisions beyond each limit, and the detection by episode."""
    found = alarms(np.concatenate(episodes), limits)
    shares = [*found.mean(axis=0), found[:, 3:].any(axis=1).mean()]
    first = [alarms(rows, limits)[:, 3:].any(axis=1) for rows in episodes]
    noticed = [int(flags.argmax()) for flags in first if flags.any()]
    after = f"{np.median(noticed) / 10:.1f} s" if noticed else "never"
    cells = [f"{share:.1%}" for share in shares] + [f"{len(noticed)}/{len(first)}", after]
    print("|", " | ".join([name, *cells]), "|", flush=True)


def main() -> None:
    """Print the table of a shipped policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="push", choices=["push", "push_either"])
    parser.add_argument("--policy", type=Path)
    parser.add_argument("--episodes", type=int, default=5, help="of each situation")
    parser.add_argument("--familiar", type=int, default=60, help="as demonstrated")
    parser.add_argument("--seed", type=int, default=80000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    policy = Policy.load(args.policy or POLICIES / f"ur5e_{args.task}.safetensors", device="cpu")
    familiar = measure(policy, Situation(args.task), range(args.seed, args.seed + args.familiar))
    known = np.concatenate(familiar[::2])
    thresholds = policy.thresholds
    limits = np.array([
        np.quantile(known[:, 0], 1 - SHARE),
        np.quantile(known[:, 1], SHARE, method="lower"),
        np.quantile(known[:, 2], 1 - SHARE),
        thresholds["features"],
        thresholds["colours"],
    ])  # fmt: skip
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER))
    print_row("as demonstrated", familiar[1::2], limits)
    for name, situation in (scenes(args.task) | pictures(args.task)).items():
        seeds = range(args.seed + 1000, args.seed + 1000 + args.episodes)
        print_row(name, measure(policy, situation, seeds), limits)


if __name__ == "__main__":
    main()
