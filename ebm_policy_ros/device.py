"""Where a policy computes."""

from __future__ import annotations

import torch


class PolicyMismatch(ValueError):
    """A policy that doesn't fit the interface, the device or the request."""


def find_device(name: str) -> torch.device:
    """The device of that name, or the GPU if there is one (auto).

    Raises:
        PolicyMismatch: If it isn't there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise PolicyMismatch(
            f"device: got {name!r}, which is not there; use auto, cpu, or cuda with a GPU"
        ) from None
    return device
