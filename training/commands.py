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
        self.replaced = 0
        """Commands that had the stamp of a later one, which counts."""

    def add(self, stamp: int, values: Values) -> None:
        """Add a command, stamped in nanoseconds; of two with one stamp the last counts."""
        if stamp in self._values:
            self.replaced += not np.array_equal(self._values[stamp], values)
        else:
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

    def newest(self, time: int) -> Values | None:
        """The last command stamped by then."""
        place = bisect_right(self.stamps, time)
        return self._values[self.stamps[place - 1]] if place else None

    def chunk(self, time: int, interface: Interface, ended: bool) -> Values | None:
        """The actions of a step, shape (H, D'); None if one is missing.

        Where nobody commanded, nobody knows what was wanted, but after the last command of all: if
        the demonstration ended there, a position is held, and a velocity is zero.

        Args:
            time: Of the step, nanoseconds.
            interface: Tells rate and horizon.
            ended: Whether the demonstration was over after the last command.
        """
        period = interface.period_ns
        rows: list[Values] = []
        for number in range(interface.action.horizon):
            slot = time + number * period
            found = self.nearest(slot, period)
            if found is None:
                if not rows or not ended or 2 * (self.stamps[-1] - slot) >= -period:
                    return None
                found = rows[-1].copy()
                if interface.action.is_velocity:
                    found[:] = 0.0
            rows.append(found)
        return np.stack(rows)
