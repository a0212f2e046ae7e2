"""Shipped policies: demonstrated scenes are familiar, and other scenes are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from ebm_policy_ros.observation.buffer import Observation
from ebm_policy_ros.policy.chunk import Chunk
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.sim.experiments.without_ros import move
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.world import World

pytestmark = [pytest.mark.sim, pytest.mark.slow]

POLICIES = Path(__file__).resolve().parents[1] / "config" / "policies"
TASKS = ("push", "push_either")
SEEDS = range(90000, 90005)
Array = npt.NDArray[Any]


def see(policy: Policy, world: World) -> Observation:
    """Observation of this moment: cameras, the tool's position, and how far the fingers are."""
    seen: Observation = {}
    for name, (_, *shape) in policy.shapes.items():
        if name in world.cameras:
            image = cv2.resize(world.render(name), (128, 96), interpolation=cv2.INTER_AREA)
            seen[name] = image[None]
        else:
            position, _ = world.tool_pose
            values = position if name == "tool" else np.array([world.gripper_position])
            seen[name] = values[None, : shape[0]].astype(np.float32)
    return seen


def drive(policy: Policy, world: World, seed: int) -> list[Observation]:
    """Observations while the policy acts for up to 4 s."""
    world.reset(seed)
    seen: list[Observation] = []
    action = None
    while world.time < 4 and not world.finished:
        seen.append(see(policy, world))
        action = policy.decide(seen[-1], previous=action).action
        world.step(action[0], 0.1)
    return seen


def share(policy: Policy, seen: list[Observation]) -> float:
    """Share of the decisions that are unsure."""
    return float(np.mean([bool(policy.decide(each).confidence.unsure) for each in seen]))


@pytest.fixture(scope="module", params=TASKS)
def at_home(request: pytest.FixtureRequest) -> Iterator[tuple[str, Policy, list[Observation]]]:
    """A task, its policy and the observations in new scenes."""
    policy = Policy.load(POLICIES / f"ur5e_{request.param}.safetensors", device="cpu")
    world = World(make_task(request.param))
    seen = [each for seed in SEEDS for each in drive(policy, world, seed)]
    world.close()
    yield request.param, policy, seen


def hand(image: Array) -> Array:
    """Cover the middle 60 % of the image with the colour of skin."""
    covered = image.copy()
    covered[:, 10:86, 12:116] = (205, 150, 125)
    return covered


def test_fresh_scenes_are_familiar(at_home: tuple[str, Policy, list[Observation]]) -> None:
    _, policy, seen = at_home
    assert policy.has_thresholds
    assert share(policy, seen) <= 0.01


@pytest.mark.parametrize("change", [np.zeros_like, hand, lambda image: image // 2])
def test_a_covered_or_dark_camera_is_not(
    change: Callable[[Array], Array], at_home: tuple[str, Policy, list[Observation]]
) -> None:
    _, policy, seen = at_home
    assert share(policy, [{**each, "camera": change(each["camera"])} for each in seen[::5]]) == 1.0


def test_a_moved_camera_is_not(at_home: tuple[str, Policy, list[Observation]]) -> None:
    task, policy, _ = at_home
    world = World(make_task(task))
    world.model.cam("camera").pos[1] += 0.05
    seen = [each for seed in SEEDS[:2] for each in drive(policy, world, seed)]
    world.close()
    assert share(policy, seen) > 0.9


def test_a_second_disc_is_not_familiar_to_a_policy_that_was_shown_one() -> None:
    policy = Policy.load(POLICIES / "ur5e_push.safetensors", device="cpu")
    world = World(make_task("push_either"))
    seen = [each for seed in SEEDS[:2] for each in drive(policy, world, seed)]
    world.close()
    assert share(policy, seen) == 1.0


def solves(policy: Policy, world: World, seed: int) -> bool:
    """Act by chunks of actions, executed as a whole, until the episode is over."""
    assert policy.interface is not None
    world.reset(seed)
    chunk: Chunk | None = None
    while not world.finished and world.time < world.task.time_limit:
        if chunk is None or chunk.sent == len(chunk.decision.action):
            previous = None if chunk is None else chunk.continued()
            chunk = Chunk(policy.decide(see(policy, world), previous=previous), 0, 0)
        move(world, policy.interface.command, chunk.ahead()[0])
        chunk.sent += 1
    return world.success


@pytest.mark.parametrize(
    ("task", "name", "least", "most"),
    [
        ("avoid", "ur5e_avoid", 9, 10),
        # The mean of the routes, half a second of it, is not corrected in time.
        ("avoid", "ur5e_avoid_regression", 0, 4),
        ("detour", "ur5e_detour", 8, 10),
        ("insert", "ur5e_insert", 9, 10),
        ("pick_place", "ur5e_pick_place", 7, 10),
    ],
)
def test_policies_solve_their_task_as_results_say(
    task: str, name: str, least: int, most: int
) -> None:
    policy = Policy.load(POLICIES / f"{name}.safetensors", device="cpu")
    world = World(make_task(task))
    solved = sum(solves(policy, world, seed) for seed in range(90000, 90010))
    world.close()
    assert least <= solved <= most


def test_a_table_without_the_block_is_not(at_home: tuple[str, Policy, list[Observation]]) -> None:
    task, policy, _ = at_home
    world = World(make_task(task))
    found = []
    for seed in SEEDS:
        world.reset(seed)
        start = world.model.joint("block").qposadr[0]
        world.data.qpos[start : start + 3] = -1.2, 0, -0.7
        world.step([0, 0], 0.02)
        found.append(see(policy, world))
    world.close()
    assert share(policy, found) >= 0.8
