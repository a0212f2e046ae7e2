"""Selection of the device on which a policy computes, and the capabilities of a device."""

from __future__ import annotations

import torch


class PolicyMismatch(ValueError):
    """Policy that does not fit the interface, the device or the request."""


def find_device(name: str) -> torch.device:
    """Return the device with a name; `auto` is the GPU if there is one, else the CPU.

    Raises:
        PolicyMismatch: If the device is not available.
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


def has_cuda_graphs(device: torch.device) -> bool:
    """Return True if the device can capture and replay CUDA graphs."""
    return device.type == "cuda"


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return True if matrix products in bfloat16 are faster than in float32 on the device.

    A CPU without bfloat16 instructions emulates them, several times slower.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
