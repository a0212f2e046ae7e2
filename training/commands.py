"""What was commanded when."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import Interface

Values = npt.NDArray[np.float32]


class Commands:
    """Commands by their stamps."""

    def __init__(self) -> None:
        self._values: dict[int, Values] = {}
        self.stamps: list[int] = []
        """Nanoseconds, rising."""

    def add(self, stamp: int, values: Values) -> None:
        """Add a command, stamped in nanoseconds; of two with one stamp the last counts."""
        if stamp not in self._values:
            insort(self.stamps, stamp)
        self._values[stamp] = values

    def nearest(self, time: int, period: int) -> Values | None:
        """The command stamped nearest to a time, within half a period of it."""
        after = bisect_left(self.stamps, time)
        close = self.stamps[max(0, after - 1) : after + 1]
        best = min(close, key=lambda stamp: abs(stamp - time), default=None)
        if best is None or not -period <= 2 * (best - time) < period:
            return None
        return self._values[best]

    def newest(self, time: int) -> Values:
        """The last command stamped by then, else the first of all."""
        return self._values[self.stamps[max(0, bisect_right(self.stamps, time) - 1)]]

    def chunk(self, time: int, interface: Interface) -> Values | None:
        """The actions of a step, shape (H, D'); None if one is missing.

        After the last command of all a position is held, and a velocity is zero: the
        demonstration was over. Before it, nobody knows what was wanted where nobody commanded.
        """
        period = interface.period_ns
        rows: list[Values] = []
        for number in range(interface.action.horizon):
            slot = time + number * period
            found = self.nearest(slot, period)
            if found is None:
                if not rows or 2 * (self.stamps[-1] - slot) >= -period:
                    return None
                found = rows[-1].copy()
                if interface.action.is_velocity:
                    found[:] = 0.0
            rows.append(found)
        return np.stack(rows)
