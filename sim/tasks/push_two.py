"""Push a red and a green cube onto two goals, each onto either, in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations, product

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.sim.tasks.colours import BLUE, GREEN, RED, YELLOW
from ebm_policy_ros.sim.tasks.push import (
    AREA_HIGH,
    AREA_LOW,
    FINISHED_DISTANCE,
    SUCCESS_DISTANCE,
    PushDemonstrator,
    add_block,
    add_goal,
    place_block,
    place_goal,
)
from ebm_policy_ros.sim.tasks.registry import register_task
from ebm_policy_ros.sim.tasks.task import Measures, Task
from ebm_policy_ros.sim.tasks.ways import distance_from_segment

Array = npt.NDArray[np.float64]

_BLOCKS = {"red": RED, "green": GREEN}
_GOALS = ("goal_0", "goal_1")
_GOAL_COLOURS = (YELLOW, BLUE)
# Smallest distances at the start (m): of blocks and goals from each other, of a block from a goal,
# and of the tool from a block.
_APART, _TO_PUSH, _TOOL_APART = 0.14, 0.09, 0.08
# Smallest distance between the way of one block and the other block (m).
_CLEAR_WAY = 0.125
# The tool keeps this far from the centre of a block that it does not push (m).
_KEPT_OFF = 0.06
# Gain (1/s) and largest speed (m/s) with which it does.
_KEEP_OFF_GAIN, _KEEP_OFF_SPEED = 4.0, 0.14


@register_task("push_two")
class PushTwo(Task):
    """Push both blocks onto the goals: up to four ways, of two orders and two pairings."""

    time_limit = 30.0
    labels: Mapping[str, str] = {"success": "both within 2 cm", "one": "at least one"}

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the blocks and the goals, which nothing can touch."""
        for name, colour in _BLOCKS.items():
            add_block(spec, name, colour)
        for name, goal_colour in zip(_GOALS, _GOAL_COLOURS, strict=True):
            add_goal(spec, name, goal_colour)

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> Array:
        """Place blocks and goals so that at least two ways are clear; return the tool's start."""
        while True:
            blocks = rng.uniform(AREA_LOW, AREA_HIGH, (2, 2))
            goals = rng.uniform(AREA_LOW, AREA_HIGH, (2, 2))
            tool = rng.uniform(AREA_LOW, AREA_HIGH)
            if min(_distance(*blocks), _distance(*goals)) < _APART:
                continue
            if np.linalg.norm(blocks[:, None] - goals, axis=2).min() < _TO_PUSH:
                continue
            if np.linalg.norm(blocks - tool, axis=1).min() < _TOOL_APART:
                continue
            if len(clear_ways(blocks, goals)) >= 2:
                break
        for name, block in zip(_BLOCKS, blocks, strict=True):
            place_block(model, data, name, block, rng.uniform(-np.pi, np.pi))
        for name, goal in zip(_GOALS, goals, strict=True):
            place_goal(model, data, name, goal)
        return tool

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> Array:
        """Return the places of red, green and both goals on the table. Shape (4, 7)."""
        poses = np.zeros((4, 7))
        poses[:2, :2] = [data.body(name).xpos[:2] for name in _BLOCKS]
        poses[2:, :2] = [data.mocap_pos[model.body(name).mocapid[0], :2] for name in _GOALS]
        poses[:, 6] = 1.0
        return poses

    def measures(self, model: mujoco.MjModel, data: mujoco.MjData) -> Measures:
        """Return the distances of both blocks from their goals in the better pairing (m)."""
        places = self.poses(model, data)[:, :2]
        pairs = [[_distance(places[i], places[2 + g]) for i, g in enumerate(way)] for way in _WAYS]
        red, green = min(pairs, key=np.max)
        return {"red": red, "green": green, "nearest": min(map(min, pairs))}

    def success(self, measures: Measures) -> bool:
        """Return whether both blocks are on goals of their own."""
        return max(measures["red"], measures["green"]) <= SUCCESS_DISTANCE

    def finished(self, measures: Measures) -> bool:
        """Return whether both blocks are so near that nothing is left to do."""
        return max(measures["red"], measures["green"]) <= FINISHED_DISTANCE

    def result(self, moments: Sequence[Measures]) -> Mapping[str, float | bool]:
        """Return whether a block came within 2 cm of a goal, and the distances in the end."""
        last = moments[-1]
        return {
            "one": min(moment["nearest"] for moment in moments) <= SUCCESS_DISTANCE,
            "red": round(last["red"], 5),
            "green": round(last["green"], 5),
        }

    def demonstrator(self, rng: np.random.Generator, interface: Interface) -> TwoDemonstrator:
        """Make the demonstrator of one episode."""
        return TwoDemonstrator(rng)


# Goal of the red and of the green block.
_WAYS = tuple(permutations(range(2)))


def clear_ways(blocks: Array, goals: Array) -> list[tuple[int, tuple[int, ...]]]:
    """Return the ways in which no block is pushed against the other.

    Returns:
        Block that is pushed first, and the goal of each block.
    """
    found = []
    for first in range(2):
        for way in _WAYS:
            second = 1 - first
            waits = distance_from_segment(blocks[second], blocks[first], goals[way[first]])
            passes = distance_from_segment(goals[way[first]], blocks[second], goals[way[second]])
            if min(waits, passes) >= _CLEAR_WAY:
                found.append((first, way))
    return found


class TwoDemonstrator:
    """Teleoperator that pushes one block after the other, and goes round the one at rest."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._push = PushDemonstrator(rng, 1)
        self._goals: tuple[int, ...] | None = None
        self._block = 0

    def act(self, tool: Array, poses: Array) -> Array:
        """Return the tool's velocity along x and y in m/s. Shape (2,)."""
        blocks, goals = poses[:2, :2], poses[2:, :2]
        if self._goals is None:
            ways = clear_ways(blocks, goals) or list(product(range(2), _WAYS))
            self._block, self._goals = ways[self._rng.integers(len(ways))]
        target = goals[list(self._goals)]
        # A block that was knocked off its goal is pushed again when the other is done.
        if _distance(blocks[self._block], target[self._block]) <= FINISHED_DISTANCE:
            self._block = 1 - self._block
        velocity = self._push.velocity(tool[:2], blocks[self._block], target[self._block])
        return _keep_off(velocity, tool[:2], blocks[1 - self._block])


def _keep_off(velocity: Array, tool: Array, block: Array) -> Array:
    """Turn a velocity aside near a block at rest."""
    away = tool - block
    distance = float(np.linalg.norm(away))
    if distance >= _KEPT_OFF:
        return velocity
    outward = away / max(distance, 1e-6)
    inward = min(0.0, float(velocity @ outward))
    left = np.array([-outward[1], outward[0]])
    side = left if left @ velocity >= 0 else -left
    leave = min(_KEEP_OFF_SPEED, _KEEP_OFF_GAIN * (_KEPT_OFF - distance))
    turned: Array = velocity - inward * outward - inward * side + leave * outward
    return turned


def _distance(one: Array, other: Array) -> float:
    return float(np.linalg.norm(one - other))
