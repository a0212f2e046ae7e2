"""The machine that a benchmark runs on, and what it can do at most."""

from __future__ import annotations

import argparse
import datetime
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_SECONDS = 1.0


def options(about: str | None, seconds: float) -> argparse.Namespace:
    """`--threads` of torch, which are set, and `--seconds`, by default so many, of a case."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--threads", type=int, default=1, help="of torch, as policy_node's")
    parser.add_argument("--seconds", type=float, default=seconds, help="of a case at most")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    return chosen


def describe(device: str) -> dict[str, Any]:
    """Machine, versions, date and measured limits, as JSON keeps them."""
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": processor(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": device,
        "GFLOP/s fp32": matrix_rate(device, torch.float32),
        "GFLOP/s bf16": matrix_rate(device, torch.bfloat16),
        "GB/s copied": copy_rate(device),
    }


def processor(device: str) -> str:
    """What computes, as it calls itself."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else platform.processor()


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """GFLOP/s of the product of two large square matrices."""
    size = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / _fastest(lambda: torch.mm(a, b), device) / 1e9


def copy_rate(device: str) -> float:
    """GB/s read and written in copying more than a cache holds."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _fastest(lambda: target.copy_(source), device) / 1e9


def peak_memory(device: str) -> int:
    """Most bytes that this process, or its part of the GPU, has held so far."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux that begins with what the parent process held.
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _fastest(work: Callable[[], Any], device: str) -> float:
    """Seconds of the fastest of several runs within a second."""
    work()
    found: list[float] = []
    until = time.perf_counter() + _SECONDS
    while len(found) < 3 or time.perf_counter() < until:
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        found.append(time.perf_counter() - started)
    return min(found)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
