"""Takeovers of a scripted person, who watches a policy in a scene of the simulation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from ebm_policy_ros.inference.settings import at_least, at_most, positive
from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.sim.experiments.without_ros import (
    Executor,
    Observation,
    WithoutRosArgs,
    make_world,
    move,
    observe,
    over,
    write_steps,
)
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.util.resources import interface_path

MEASURE = "distance"
"""Measure of a task by which a person sees progress, m."""
MOST_SCENES = 10_000
"""Most scenes of a round."""


@dataclass(frozen=True)
class CorrectionsArgs:
    """Learn a task from few demonstrations and corrections, and judge each round."""

    out: Path
    """Folder for demonstrations, corrections, policies and results; what is there is not computed
    again."""
    task: str = "push"
    """Task of the simulation that measures a distance."""
    demonstrations: int = 12
    """Number of demonstrations; scenes from seed 0."""
    rounds: int = 2
    """Rounds of corrections."""
    corrections: int = 30
    """Times that the person takes over in a round."""
    most_scenes: int = 100
    """Scenes after which a round ends, with fewer times."""
    patience: float = 4.0
    """Time without progress after which the person takes over, s."""
    progress: float = 0.01
    """Least way of the object towards its goal that counts as progress, m."""
    regained: float = 0.03
    """Way towards the goal after which the person lets go, m."""
    weight: float = 1.0
    """Option weight_corrections of train_policy."""
    train: dict[str, Any] = field(default_factory=lambda: {"steps": 2000})
    """Further options of train_policy."""
    seeds: tuple[int, ...] = (0,)
    """Training seeds; each has its own corrections."""
    episodes: int = 100
    """Fresh scenes to judge a policy by."""
    seed: int = 110_000
    """Seed of the first such scene."""

    def __post_init__(self) -> None:
        at_least(self, 1, "demonstrations", "rounds", "corrections", "most_scenes", "episodes")
        positive(self, "patience", "progress", "regained", "weight")
        if not self.seeds:
            raise ValueError("seeds: got none, expected at least one")
        at_most(self, MOST_SCENES, "most_scenes")


class Person:
    """Scripted person who watches a policy in a scene, and holds the takeover button or not."""

    def __init__(self, args: CorrectionsArgs, world: World, interface: Interface, seed: int):
        """Watch from the beginning of the scene of a seed."""
        self._args, self._world, self._interface = args, world, interface
        self._demonstrator = world.task.demonstrator(np.random.default_rng(seed), interface)
        self._holds = self._solved = False
        self._nearest, self._since = self._distance, world.time
        self._target = 0.0

    @property
    def _distance(self) -> float:
        """Distance of the object from its goal, m."""
        return float(self._world.measures[MEASURE])

    def holds(self) -> bool:
        """Look at this moment; True if the person commands now."""
        distance, now = self._distance, self._world.time
        self._solved |= self._world.success
        if self._holds and distance <= self._target:
            self._holds = False
            self._nearest, self._since = distance, now
        elif not self._holds:
            if distance <= self._nearest - self._args.progress:
                self._nearest, self._since = distance, now
            if now - self._since >= self._args.patience and not self._solved:
                self._holds, self._target = True, distance - self._args.regained
        return self._holds

    def act(self) -> npt.NDArray[np.float64]:
        """Return the action that the person commands, shape (D,)."""
        world = self._world
        action = self._demonstrator.act(np.concatenate(world.tool_pose), world.poses)
        return np.clip(action, *self._interface.action.bounds)


@dataclass
class _Corrected:
    """Steps that the person commanded; each takeover is an episode."""

    seen: list[Observation] = field(default_factory=list)
    actions: list[npt.NDArray[np.float64]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def end(self) -> None:
        """End the takeover, if there was one."""
        if len(self.actions) > (self.ends[-1] if self.ends else 0):
            self.ends.append(len(self.actions))


def correct(
    args: CorrectionsArgs, plain: WithoutRosArgs, policy: Path, first: int, file: Path
) -> list[dict[str, Any]]:
    """Run a policy with a person, until the person has taken over often enough.

    Without a takeover no file is written.

    Args:
        args: Options of the person.
        plain: Options of the policy.
        policy: Policy file.
        first: Seed of the first scene.
        file: File for the corrected steps, .npz.

    Returns:
        Of each scene its seed, takeovers, steps of policy and person, and whether it was solved.
    """
    torch.set_num_threads(1)
    world = make_world(args.task)
    interface = load_interface(interface_path(world.task.interface))
    executor, corrected = Executor(plain, policy, interface), _Corrected()
    scenes: list[dict[str, Any]] = []
    bar = tqdm(total=args.corrections, desc="corrections")
    while len(corrected.ends) < args.corrections and len(scenes) < args.most_scenes:
        before = len(corrected.ends)
        counts = _run(args, world, interface, executor, first + len(scenes), corrected)
        scenes.append({"seed": first + len(scenes), **counts})
        bar.update(len(corrected.ends) - before)
    bar.close()
    world.close()
    if corrected.ends:
        marks = np.ones(len(corrected.actions), np.bool_)
        write_steps(file, corrected.seen, corrected.actions, corrected.ends, corrections=marks)
    return scenes


def _run(
    args: CorrectionsArgs,
    world: World,
    interface: Interface,
    executor: Executor,
    seed: int,
    corrected: _Corrected,
) -> dict[str, Any]:
    """Run one scene; add the corrected steps of at most as many takeovers as are wanted."""
    world.reset(seed)
    executor.forget()
    person = Person(args, world, interface, seed)
    before, steps, own = len(corrected.ends), 0, 0
    while not over(world):
        if person.holds():
            action: npt.NDArray[np.floating] = person.act()
            corrected.seen.append(observe(world, interface, False))
            corrected.actions.append(np.asarray(action, np.float64))
            own += 1
            executor.forget()
        else:
            corrected.end()
            if len(corrected.ends) == args.corrections:
                break
            action = executor.act(world)
        move(world, interface.command, action)
        steps += 1
    corrected.end()
    takeovers = len(corrected.ends) - before
    return {"takeovers": takeovers, "steps": steps, "by_person": own, "solved": world.success}
