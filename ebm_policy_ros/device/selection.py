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


def has_recordings(device: torch.device) -> bool:
    """Whether work there can be recorded and replayed."""
    return device.type == "cuda"


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 there.

    A CPU without such instructions emulates them, several times slower.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
