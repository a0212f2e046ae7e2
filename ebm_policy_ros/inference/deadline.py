"""When a search has to end, whether it has come to its end or not."""

from __future__ import annotations

import time

import torch


class Deadline:
    """A time, and whether it cut a search short."""

    def __init__(self, at: float | None, device: torch.device) -> None:
        """For a search on `device` until `at`, as `time.perf_counter` counts; None: no end."""
        self._at, self._device = at, device
        self.complete = True
        """Whether nothing was left out."""

    def passed(self) -> bool:
        """Whether it is over; for use before work that is then left out."""
        if self._at is None:
            return False
        if self._device.type == "cuda":
            # Kernels are queued long before they run: the clock says nothing while they wait.
            torch.cuda.synchronize(self._device)
        if time.perf_counter() >= self._at:
            self.complete = False
        return not self.complete
