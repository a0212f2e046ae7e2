"""A task of the simulation learned and judged without ROS.

Demonstrations and episodes run in the simulation's world, so a policy is judged in minutes. The
training is `train_policy`. A policy observes the tool's position, and either the true positions
of the task's objects, x and y of each, or the camera's picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from ebm_policy_ros.interface import Action, Interface, PoseStream, load_interface
from ebm_policy_ros.interface.command_types import TOOL_POSE
from ebm_policy_ros.policy.chunk import Chunk, executed_of
from ebm_policy_ros.policy.policy import Choice, Policy
from ebm_policy_ros.sim.disturbance import Disturbance
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.training.experiments.common import kept_result, train_policy
from ebm_policy_ros.trials.sequential import wilson_interval
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.resources import interface_path

Observation = dict[str, npt.NDArray[Any]]
Result = TypeVar("Result")

_PERIOD = 0.1
_PICTURE = (96, 128)
_PLANE, _KINDS = ("linear.x", "linear.y"), ("linear", "angular")


@dataclass(frozen=True)
class WithoutRosArgs:
    """Learn a task of the simulation, and judge the policies."""

    out: Path
    """Folder for demonstrations, policies and results; what is there is not computed again."""
    task: str = "push"
    """Task of the simulation: its name, or a class as my_package.my_module.MyTask."""
    camera: bool = False
    """Observe the camera's picture instead of the true positions of the objects."""
    demonstrations: int = 400
    """Number of demonstrations; scenes from seed 0."""
    noise: float = 0.005
    """Largest noise on the executed motion, m per 0.1 s."""
    knocks: float | None = None
    """Knocks that push the arm off its way, per second; by default as many as the task takes."""
    horizon: int = 1
    """Actions of a decision."""
    execute: int = 0
    """Actions of a decision that are executed before the next one; 0 for half of them."""
    train: dict[str, Any] = field(default_factory=dict)
    """Options of train_policy that replace those of its recipe, as {"steps": 4000}."""
    seeds: tuple[int, ...] = (0,)
    """Training seeds."""
    choice: Choice = "lowest"
    """Action of a policy: lowest, that of lowest energy, or sample, a draw from exp(-E)."""
    name: str = "recipe"
    """Name of these options in the results."""
    episodes: int = 100
    """Number of scenes to judge a policy by."""
    seed: int = 110_000
    """Seed of the first such scene."""

    def __post_init__(self) -> None:
        if min(self.demonstrations, self.horizon, self.episodes, len(self.seeds)) < 1:
            raise ValueError("demonstrations, horizon, episodes and seeds: expected at least one")
        executed_of(self.execute, self.horizon)  # refuses a wrong number


def demonstrate(args: WithoutRosArgs, file: Path) -> None:
    """Write the scripted demonstrations that succeed to an .npz file."""
    assert args.knocks is not None
    world = World(make_task(args.task), _PICTURE, Disturbance(args.noise, args.knocks))
    interface = load_interface(interface_path(world.task.interface))
    seen: list[Observation] = []
    actions: list[npt.NDArray[np.float64]] = []
    ends = []
    for seed in tqdm(range(args.demonstrations), "demonstrations"):
        world.reset(seed)
        demonstrator = world.task.demonstrator(np.random.default_rng(seed), interface)
        begun = len(actions)
        while not over(world):
            action = demonstrator.act(np.concatenate(world.tool_pose), world.poses)
            action = np.clip(action, *interface.action.bounds)
            seen.append(observe(world, interface, args.camera))
            actions.append(action)
            move(world, interface.command, action)
        if world.success:
            ends.append(len(actions))
        else:
            del seen[begun:], actions[begun:]
    world.close()
    if not ends:
        raise ValueError(f"{args.task}: none of {args.demonstrations} demonstrations succeeded")
    write_steps(file, seen, actions, ends)


def write_steps(
    file: Path,
    seen: Sequence[Observation],
    actions: Sequence[npt.NDArray[np.float64]],
    ends: Sequence[int],
    **further: npt.NDArray[Any],
) -> None:
    """Write steps and the ends of their episodes to an .npz file, whole or not at all.

    Args:
        file: File of the format of `load_arrays`.
        seen: Observation of each step.
        actions: Action of each step, shape (D,).
        ends: One past the last step of each episode.
        further: Further arrays of the format.
    """
    arrays: dict[str, Any] = {
        f"observation/{name}": np.stack([each[name] for each in seen]) for name in seen[0]
    }
    partial = file.with_suffix(".partial.npz")
    kept = {"actions": np.array(actions, np.float32), "episode_ends": np.array(ends)}
    np.savez(partial, allow_pickle=False, **kept, **arrays, **further)
    partial.replace(file)


def make_world(task: str) -> World:
    """Make the world of a task, without disturbances."""
    return World(make_task(task), _PICTURE)


def move(world: World, meaning: Action, action: npt.NDArray[np.floating]) -> None:
    """Move for a period by an action: velocities of the tool, and perhaps a gripper's position."""
    value = dict(zip(meaning.names, action.astype(float), strict=True))
    if meaning.gripper is not None:
        world.grip(value[meaning.gripper.name])
    if meaning.fields == _PLANE:
        world.step(action, _PERIOD)
        return
    linear, angular = ([value.get(f"{kind}.{axis}", 0.0) for axis in "xyz"] for kind in _KINDS)
    world.twist(linear, angular, _PERIOD)


def observe(world: World, interface: Interface, camera: bool) -> Observation:
    """Observation of this moment, one frame of each stream.

    The tool has the fields of the interface. Objects have heights where the tool has one.
    """
    stream = interface.observation["tool"]
    assert isinstance(stream, PoseStream)
    pose = dict(zip(TOOL_POSE, np.concatenate(world.tool_pose), strict=True))
    tool = np.array([pose[name] for name in stream.fields], np.float32)
    if camera:
        return {"camera": world.render(), "tool": tool}
    if not len(world.poses):
        return {"tool": tool}
    axes = 3 if "z" in stream.fields else 2
    return {"tool": tool, "objects": world.poses[:, :axes].flatten().astype(np.float32)}


class Executor:
    """Policy of a file in a scene; decides as policy_node does."""

    def __init__(self, args: WithoutRosArgs, file: Path, interface: Interface) -> None:
        """Load the policy."""
        self._policy = Policy.load(file, "cpu", choice=args.choice)
        self._executed = executed_of(args.execute, args.horizon)
        self._interface, self._camera = interface, args.camera
        self._chunk: Chunk | None = None

    def forget(self) -> None:
        """Begin anew: the last decision is not continued."""
        self._chunk = None

    def act(self, world: World) -> npt.NDArray[np.floating]:
        """Return the action of this moment, shape (D,)."""
        chunk = self._chunk
        if chunk is None or chunk.sent == self._executed:
            now = observe(world, self._interface, self._camera)
            seen = {name: values[None] for name, values in now.items()}
            known: dict[str, Any] = {}
            if chunk is not None:
                known = {"previous": chunk.continued(), "intent": chunk.decision.intent}
            chunk = self._chunk = Chunk(self._policy.decide(seen, **known), 0, 0)
        action: npt.NDArray[np.floating] = chunk.ahead()[0]
        chunk.sent += 1
        return action


def judge(args: WithoutRosArgs, file: Path) -> list[dict[str, Any]]:
    """Run the policy of a file, deciding as policy_node does.

    Returns:
        Of each scene its seed, whether it was solved, and the task's own result.
    """
    torch.set_num_threads(1)
    world = make_world(args.task)
    interface = load_interface(interface_path(world.task.interface))
    executor = Executor(args, file, interface)
    results = []
    for seed in tqdm(range(args.seed, args.seed + args.episodes), "episodes"):
        world.reset(seed)
        moments = [world.measures]
        executor.forget()
        while not over(world):
            move(world, interface.command, executor.act(world))
            moments.append(world.measures)
        solved = any(map(world.task.success, moments))
        results.append({"seed": seed, "solved": solved, **world.task.result(moments)})
    world.close()
    return results


def over(world: World) -> bool:
    """True if nothing is left to do in a scene, or its time is up."""
    return world.finished or world.time >= world.task.time_limit


def apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a new process: software rendering beside a training can crash."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def run(args: WithoutRosArgs) -> None:
    """Demonstrate, train and judge what is missing; print a line for each training."""
    torch.set_num_threads(1)
    task = make_task(args.task)
    action = load_interface(interface_path(task.interface)).command
    if action.is_joints or not action.is_velocity:
        raise ValueError(
            f"task: got {args.task}, whose actions are a {action.type}, expected one with "
            "velocities of the tool"
        )
    if args.knocks is None:
        args = replace(args, knocks=task.knocks)
    args.out.mkdir(parents=True, exist_ok=True)
    kind = "pictures" if args.camera else "states"
    file = args.out / f"{args.task}_{kind}_{args.demonstrations}_{args.noise}_{args.knocks}.npz"
    if not file.exists():
        apart(demonstrate, args, file)
    for seed in args.seeds:
        folder = args.out / f"{args.task}_{kind}_{args.name}_{seed}"
        drawn = "_sample" if args.choice == "sample" else ""
        result = args.out / f"{folder.name}{drawn}.json"
        told = kept_result(result, _options(args), partial(_learn, args, file, folder, seed))
        assert told is not None
        solved = sum(scene["solved"] for scene in told["scenes"])
        low, high = wilson_interval(solved, len(told["scenes"]))
        print(
            f"{result.stem}: {solved}/{len(told['scenes'])} ({low:.1%} to {high:.1%})", flush=True
        )


def _learn(args: WithoutRosArgs, file: Path, folder: Path, seed: int) -> dict[str, Any]:
    """Train a policy in `folder` and judge it; return the result."""
    common = {"data": file, "seed": seed, "horizon": args.horizon}
    policy = train_policy(folder, {**common, **args.train})
    scenes = apart(judge, args, policy)
    return {**_options(args), "training_seed": seed, "scenes": scenes}


def _options(args: WithoutRosArgs) -> dict[str, Any]:
    """Return the options that a result depends on."""
    return {n: v for n, v in asdict(args).items() if n not in ("out", "seeds", "name")}


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("without_ros", WithoutRosArgs, run, argv)


if __name__ == "__main__":
    main()
