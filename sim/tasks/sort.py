"""Sort yellow and blue blocks into the two halves of the table, in any order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.sim.tasks.colours import BLUE, YELLOW
from ebm_policy_ros.sim.tasks.push import add_box, place_block
from ebm_policy_ros.sim.tasks.registry import register_task
from ebm_policy_ros.sim.tasks.task import Measures, Task, View, refuse_other_actions
from ebm_policy_ros.sim.tasks.ways import distance_from_segment, smoothstep, towards

Array = npt.NDArray[np.float64]

EDGE = 0.034
"""Edge of a block (m)."""
INSIDE = 0.02
"""Least distance of a sorted block's centre from the line between the halves (m)."""
SIDES = np.repeat([1.0, -1.0], 4)
"""Half of each block: 1 for yellow, on the left, -1 for blue, on the right. Shape (8,)."""

_COLOURS = {"yellow": YELLOW, "blue": BLUE}
_BLOCKS = tuple(f"{colour}_{index}" for colour in _COLOURS for index in range(4))
_MASS = 0.035
# Mats that show the halves: the yellow one; the other is its mirror image.
_MAT_LOW, _MAT_HIGH = np.array([0.32, 0.003]), np.array([0.66, 0.22])
# Where things start: area and least distance of blocks, heights of the tool (m).
_LOW, _HIGH = np.array([0.37, -0.13]), np.array([0.61, 0.13])
_APART = 0.07
_START_HEIGHT = (0.07, 0.10)

# Demonstrator: where the tool comes down behind a block, how far the block is pushed past the
# line, and how much room it needs there and beside the block's way (m);
_BEHIND, _PAST, _ROOM, _WAY = 0.038, 0.036, 0.036, 0.046
# how far past the line it is let go;
_PAST_ENOUGH = _PAST - 0.004
# directions of a push, from straight across (rad), and ends of the table that the arm reaches (m);
_ANGLES = np.deg2rad([0, 25, -25, 50, -50, 75, -75])
_NEAR, _FAR = 0.30, 0.68
# heights in which it pushes and goes from block to block (m), and between which it pushes no
# longer, and goes sideways;
_PUSH_HEIGHT, _TRAVEL, _LOW_ENOUGH, _CLEAR = 0.012, 0.065, (0.016, 0.026), (0.045, 0.06)
# distances from the point behind the block between which it goes down, and from the block's axis,
# and behind the block, between which it has lost it (m);
_OVER, _BESIDE, _TOO_FAR = (0.006, 0.014), (0.010, 0.018), (0.05, 0.06)
# speeds (m/s), gains (1/s), and ticks after which it looks for another way.
_SPEED, _PUSH_SPEED, _STEER_SPEED, _GAIN, _STEER_GAIN = 0.2, 0.12, 0.08, 8.0, 6.0
_PATIENCE = 60


@register_task("sort")
class Sort(Task):
    """Push four yellow blocks into the left half and four blue ones into the right one."""

    time_limit = 60.0
    interface = "ur5e_lift"
    knocks = 0.0  # a knock pushes blocks that nobody meant
    labels: Mapping[str, str] = {"success": "all eight sorted"}
    camera = View(eye=(1.0, 0.0, 0.52), target=(0.46, 0.0, 0.05), fovy=42)

    def scene(self, spec: mujoco.MjSpec) -> None:
        """Add the blocks, which move freely, and the mats, which nothing can touch."""
        middle, half = (_MAT_LOW + _MAT_HIGH) / 2, (_MAT_HIGH - _MAT_LOW) / 2
        for (colour, rgb), side in zip(_COLOURS.items(), (1, -1), strict=True):
            pale = [0.3 * part + 0.62 for part in rgb]
            spec.add_material(name=f"{colour}_mat", rgba=[*pale, 1.0], specular=0.0)
            spec.worldbody.add_geom(
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=[middle[0], side * middle[1], 0.0003],
                size=[*half, 0.0003],
                contype=0,
                conaffinity=0,
                material=f"{colour}_mat",
            )
        for name in _BLOCKS:
            add_box(spec, name, _COLOURS[name.split("_")[0]], (EDGE, EDGE, EDGE), _MASS)

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> Array:
        """Place the blocks; return where the tool starts, above (m). Shape (3,)."""
        places = rng.uniform(_LOW, _HIGH, (len(_BLOCKS), 2))
        while _nearest(places) < _APART:
            places = rng.uniform(_LOW, _HIGH, (len(_BLOCKS), 2))
        for name, place in zip(_BLOCKS, places, strict=True):
            place_block(model, data, name, place, rng.uniform(-np.pi / 4, np.pi / 4), EDGE)
        return np.array([*rng.uniform(_LOW, _HIGH), rng.uniform(*_START_HEIGHT)])

    def poses(self, model: mujoco.MjModel, data: mujoco.MjData) -> Array:
        """Return the poses of the yellow, then of the blue blocks. Shape (8, 7)."""
        bodies = [data.body(name) for name in _BLOCKS]
        return np.array([[*body.xpos, *np.roll(body.xquat, -1)] for body in bodies])

    def measures(self, model: mujoco.MjModel, data: mujoco.MjData) -> Measures:
        """Return the number of blocks in their halves."""
        inside = SIDES * self.poses(model, data)[:, 1] >= INSIDE
        return {"sorted": int(inside.sum())}

    def success(self, measures: Measures) -> bool:
        """Return whether all blocks are in their halves."""
        return measures["sorted"] == len(_BLOCKS)

    def demonstrator(self, rng: np.random.Generator, interface: Interface) -> Sorter:
        """Make the demonstrator of one episode.

        Raises:
            ValueError: An action is not the tool's velocity along x, y and z.
        """
        refuse_other_actions("sort", self, interface, ("linear.x", "linear.y", "linear.z"))
        return Sorter(rng)


def _nearest(places: Array) -> float:
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    return float(apart[np.triu_indices(len(places), 1)].min())


class Push(NamedTuple):
    """Straight push of one block past the line."""

    block: int
    end: Array
    """End of the way of the block's centre (m). Shape (2,)."""
    turned: float
    """Angle from straight across (rad)."""
    room: float
    """Distance of the nearest other block from where the tool comes down (m)."""
    way: float
    """Distance of the nearest other block from the block's way (m)."""


class Sorter:
    """Teleoperator that pushes one block after the other past the line, and lifts in between.

    It draws among the blocks that have a clear way, and keeps to one until that is sorted.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._push: Push | None = None
        self._ticks = 0

    def act(self, tool: Array, poses: Array) -> Array:
        """Return the tool's velocity along x, y and z in m/s. Shape (3,)."""
        place, blocks = tool[:3], poses[:, :2]
        self._ticks += 1
        if self._push is None or self._is_done(blocks) or self._ticks > _PATIENCE:
            self._push, self._ticks = self._choose(blocks), 0
        if self._push is None:
            return np.array([0.0, 0.0, *_rise(place, _TRAVEL)])
        block = blocks[self._push.block]
        forward = self._push.end - block
        # A block that was pushed past its end by another goes straight on.
        if SIDES[self._push.block] * forward[1] < 0.01:
            forward = np.array([0.0, SIDES[self._push.block]])
        return _push_along(place, block, forward / np.linalg.norm(forward))

    def _is_done(self, blocks: Array) -> bool:
        return self._push is not None and _past(blocks, self._push.block) >= _PAST_ENOUGH

    def _choose(self, blocks: Array) -> Push | None:
        """Draw a block of those that can be pushed; None if all are in their halves."""
        wrong = [block for block in range(len(blocks)) if _past(blocks, block) < _PAST_ENOUGH]
        pushes = [push for block in wrong for push in _pushes(blocks, block)]
        if not pushes:
            return None
        clear = [push for push in pushes if push.room >= _ROOM and push.way >= _WAY]
        if not clear:
            free = [push for push in pushes if push.room >= _ROOM]
            if not free:
                return max(pushes, key=lambda push: push.room)
            return max(free, key=lambda push: push.way - 0.02 * push.turned)
        block = self._rng.choice(sorted({push.block for push in clear}))
        return min((push for push in clear if push.block == block), key=lambda push: push.turned)


def _past(blocks: Array, block: int) -> float:
    """Return how far a block is past the line, in its own half (m)."""
    return float(SIDES[block] * blocks[block, 1])


def _pushes(blocks: Array, block: int) -> Iterator[Push]:
    """Yield the pushes of a block past the line whose ends the arm reaches."""
    place, others = blocks[block], np.delete(blocks, block, axis=0)
    for angle in _ANGLES:
        forward = np.array([np.sin(angle), SIDES[block] * np.cos(angle)])
        end = place + (_PAST - _past(blocks, block)) / np.cos(angle) * forward
        start = place - _BEHIND * forward
        if _NEAR <= min(start[0], end[0]) and max(start[0], end[0]) <= _FAR:
            room = float(np.linalg.norm(others - start, axis=1).min())
            way = min(distance_from_segment(other, place, end) for other in others)
            yield Push(block, end, abs(float(angle)), room, way)


def _push_along(tool: Array, block: Array, forward: Array) -> Array:
    """Return the velocity that gets a tool behind a block from above, and pushes it."""
    aside = np.array([-forward[1], forward[0]])
    offset = tool[:2] - block
    behind, beside = -float(offset @ forward), float(offset @ aside)
    away = block - _BEHIND * forward - tool[:2]
    touches = smoothstep(behind, 0.0, 0.01) * (1 - smoothstep(behind, *_TOO_FAR))
    pushes = touches * (1 - smoothstep(abs(beside), *_BESIDE))
    pushes *= 1 - smoothstep(tool[2], *_LOW_ENOUGH)
    over = 1 - smoothstep(float(np.linalg.norm(away)), *_OVER)
    free = over + (1 - over) * smoothstep(tool[2], *_CLEAR)
    height = over * _PUSH_HEIGHT + (1 - over) * _TRAVEL
    reach = np.array([*free * towards(away, _SPEED, _GAIN), *_rise(tool, height)])
    steering = np.clip(_STEER_GAIN * beside, -_STEER_SPEED, _STEER_SPEED)
    push = np.array([*(_PUSH_SPEED * forward - steering * aside), *_rise(tool, _PUSH_HEIGHT)])
    velocity: Array = pushes * push + (1 - pushes) * reach
    return velocity


def _rise(tool: Array, height: float) -> Array:
    """Return the velocity along z to a height (m). Shape (1,)."""
    return towards(np.array([height - tool[2]]), _SPEED, _GAIN)
