"""Deadline of a search."""

from __future__ import annotations

import time

import torch


class Deadline:
    """Time at which a search must end, and whether it interrupted the search."""

    def __init__(self, at: float | None, device: torch.device) -> None:
        """Create a deadline for a search on `device`.

        Args:
            at: Time of `time.perf_counter` in seconds; None for no deadline.
            device: Device of the search.
        """
        self._device = device
        self.at = at
        self.complete = True
        """True if the deadline has not interrupted the search."""

    def passed(self) -> bool:
        """Return True if the deadline has passed; call this before work that is then omitted."""
        if self.at is None:
            return False
        if self._device.type == "cuda":
            # Kernels are queued long before they run: wait for them before reading the clock.
            torch.cuda.synchronize(self._device)
        if time.perf_counter() >= self.at:
            self.complete = False
        return not self.complete
