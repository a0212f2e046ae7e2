"""Demonstrations of ur5e_push with a given motion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from demonstration import LATENCY, START, image, joints, pose, sent, tick, twist, write_bag
from rosbags.rosbag2 import CompressionMode

from ebm_policy_ros.interface import Interface

Motion = npt.NDArray[np.float64]
"""Velocities along x and y, one per period, shape (M, 2), m/s."""


def sweep(number: int, steps: int = 60) -> Motion:
    """A smooth motion, different for each number, well within +-0.25 m/s."""
    angle = number + np.linspace(0, 2, steps)
    return 0.1 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def track(motion: Motion) -> npt.NDArray[np.float64]:
    """Position of the tool at each step, shape (M, 2), m."""
    return np.array([0.5, 0.0]) + 0.1 * np.cumsum(motion, axis=0)


def write_motion(
    bag: Path,
    interface: Interface,
    motion: Motion,
    outcome: str = "success",
    unseen: range = range(0),
    ticks: Sequence[tuple[str, str, str]] = (),
) -> Path:
    """Record a motion as recorder_node does.

    Args:
        bag: Folder of the bag.
        interface: ur5e_push, or a similar one.
        motion: Commanded velocities; the tool follows.
        outcome: Outcome to note.
        unseen: Steps without a camera image.
        ticks: Commander, state and reason of each step, if it is the execution of a policy.
    """
    streams, messages = interface.observation, []
    for step, (velocity, place) in enumerate(zip(motion, track(motion), strict=True)):
        time = START + step * interface.period_ns
        contents = {
            streams["joints"].topic: joints(time, streams["joints"].parts, [place.sum()] * 6),
            streams["tool"].topic: pose(time, *place),
            interface.command.topic: twist(time, *velocity),
        }
        if step not in unseen:
            contents[streams["camera"].topic] = image(time, step % 250)
        if ticks:
            contents["policy_node/execution"] = tick(time, *ticks[step])
        messages += [sent(f"/{t}", content, time + LATENCY) for t, content in contents.items()]
    noted = {"outcome": outcome, "interface": json.dumps(interface.to_dict())}
    bag.parent.mkdir(parents=True, exist_ok=True)
    return write_bag(bag, messages, mode=CompressionMode.STORAGE, custom=noted)
