"""Description and measured limits of the machine that a benchmark runs on."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ebm_policy_ros.device.selection import PolicyMismatch, find_device, has_fast_bfloat16

FOLDER = Path(__file__).resolve().parents[1] / "out" / "bench"
_SECONDS = 1.0


@dataclass(frozen=True)
class Options:
    """Common options of the benchmarks of decisions and training."""

    device: str
    seconds: float
    """Approximate time for measuring each case, s."""
    out: Path
    """Folder of the results."""
    small: bool
    """Flag: reduce everything to a size that runs anywhere."""


def options(about: str | None, seconds: float) -> Options:
    """Read the command line, and set torch's threads; each case takes `seconds` by default."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--threads", type=int, default=1, help="of torch, as policy_node's")
    parser.add_argument("--seconds", type=float, default=seconds, help="about, of each case")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument(
        "--small", action="store_true", help="a trial of the program: its numbers mean nothing"
    )
    chosen = parser.parse_args()
    try:
        find_device(chosen.device)
    except PolicyMismatch as error:
        parser.error(str(error))
    torch.set_num_threads(chosen.threads)
    chosen.out.mkdir(parents=True, exist_ok=True)
    return Options(chosen.device, chosen.seconds, chosen.out, chosen.small)


def write_rows(path: Path, about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the results so far over older ones, atomically."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"machine": about, "rows": rows}, indent=1), encoding="utf-8")
    os.replace(partial, path)


def describe(device: str) -> dict[str, Any]:
    """Machine, versions, date and measured limits, as JSON values."""
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
    """Name of the processor or GPU."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else platform.processor()


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """GFLOP/s of the product of two large square matrices."""
    size = 2048 if device == "cpu" else 8192
    if device == "cpu" and dtype == torch.bfloat16 and not has_fast_bfloat16(torch.device(device)):
        size = 256  # emulated: a large product would take a minute
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / _fastest(lambda: torch.mm(a, b), device) / 1e9


def copy_rate(device: str) -> float:
    """GB/s read and written when copying more than a cache holds."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _fastest(lambda: target.copy_(source), device) / 1e9


def peak_memory() -> int:
    """Peak memory of this process so far, bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux it starts with the memory of the parent process.
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def held_memory() -> int:
    """Memory that this process holds now besides files that are mapped, bytes (Linux)."""
    status = Path("/proc/self/status").read_text()
    (line,) = (x for x in status.splitlines() if x.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def wait(device: str) -> None:
    """Wait until the device has finished all work."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def _fastest(work: Callable[[], Any], device: str) -> float:
    """Seconds of the fastest of several runs within a second."""
    work()
    found: list[float] = []
    until = time.perf_counter() + _SECONDS
    while len(found) < 3 or time.perf_counter() < until:
        wait(device)
        started = time.perf_counter()
        work()
        wait(device)
        found.append(time.perf_counter() - started)
    return min(found)
