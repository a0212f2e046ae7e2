"""State of the episode that runs in the bridge, and its result."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ebm_policy_ros.interface import NANOSECONDS
from ebm_policy_ros.sim.tasks import Measures
from ebm_policy_ros.sim.world import World


class RunningEpisode:
    """One episode from its reset to its result; it is a success if the task was ever solved."""

    def __init__(self, world: World, seed: int, time_ns: int) -> None:
        """Begins with the scene of a seed, at a time of the simulation."""
        self._world = world
        self.seed = seed
        self.success = False
        self.latencies: list[float] = []
        """Times from samples to their command, ms."""
        self.engaged = False
        """True since the first command; the time at rest before it doesn't count."""
        self._moments: list[Measures] = []
        self._begin(time_ns)

    def _begin(self, time_ns: int) -> None:
        self._started_ns = time_ns
        self._started = time.perf_counter()

    def engage(self, time_ns: int) -> None:
        """Let the episode's time begin, with its first command."""
        self.engaged = True
        self._begin(time_ns)

    def judge(self, time_ns: int) -> bool:
        """Note the task's measures after a tick; return whether the episode is over."""
        if not self.engaged:
            self._moments.clear()  # nothing has begun, for as long as nobody commands
        self._moments.append(self._world.measures)
        self.success = self.success or bool(self._world.success)
        late = self.engaged and self._seconds(time_ns) >= self._world.task.time_limit
        return late or self._world.finished

    def fail(self) -> None:
        """Make a failure of an episode that is ended early."""
        self._moments.append(self._world.measures)
        self.success = False

    def result(self, time_ns: int, rate: float) -> dict[str, Any]:
        """Return the result; `rate` is that of the ticks, Hz."""
        return {
            "success": self.success,
            **{name: _plain(v) for name, v in self._world.task.result(self._moments).items()},
            "steps": round(self._seconds(time_ns) * rate),
            "wall_seconds": round(time.perf_counter() - self._started, 3),
            "latency_ms": [round(latency, 2) for latency in self.latencies],
        }

    def _seconds(self, time_ns: int) -> float:
        """Return the simulated time since the episode began, s."""
        return (time_ns - self._started_ns) / NANOSECONDS


def _plain(value: Any) -> float | bool:
    """Return a number of numpy as Python's own, which JSON takes."""
    return value.item() if isinstance(value, np.generic) else value  # type: ignore[no-any-return]
