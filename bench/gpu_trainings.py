"""Run the trainings of gpu_trainings.yaml within a time limit, and archive their results.

Each is a separate process, interrupted at the end of the time (it then saves its checkpoint). All
safetensors files below a folder `trainings` go to trainings.tar.gz in the folder of the results.
Unpacked in out/gpu, they continue there or on the next machine.

    python bench/gpu_trainings.py --out out/gpu --seconds 200
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ebm_policy_ros.util.cli import flags_of

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("gpu_trainings.yaml")
# Time for an interrupted training to save, s; it is killed afterwards.
GRACE = 10.0


def command(training: Mapping[str, Any], folder: Path, device: str, small: bool) -> list[str]:
    """Command line of a training whose results go to `folder`."""
    options = {**training["options"], "device": device, "out": str(folder)}
    if small:
        options |= training["small"]
    return [sys.executable, "-m", training["module"], *flags_of(options)]


def run(training: list[str], seconds: float) -> str:
    """Run a training for at most `seconds`, and return a description of its end."""
    process = subprocess.Popen(training, cwd=ROOT)
    ended = ""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        ended = "its time was over, "
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    return ended + ("complete" if code == 0 else "saved" if code == 130 else f"exit code {code}")


def pack(paths: Sequence[Path], root: Path, archive: Path) -> None:
    """Write files to a .tar.gz with names relative to `root`, atomically."""
    partial = archive.with_suffix(".partial")
    with tarfile.open(partial, "w:gz") as file:
        for path in paths:
            file.add(path, path.relative_to(root))
    os.replace(partial, archive)


def main() -> None:
    """Train, pack and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seconds", type=float, required=True, help="for all trainings")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a trial of the program")
    options = parser.parse_args()
    # Time reserved for the last training to save, and for packing.
    end = time.monotonic() + options.seconds - 2 * GRACE
    folder = ROOT / "out" / "gpu" / ("small" if options.small else "trainings")
    failed = False
    for training in yaml.safe_load(LIST.read_text(encoding="utf-8")):
        begun = time.monotonic()
        if end - begun < GRACE:
            print(f"{training['name']}: no time left", flush=True)
            continue
        own = folder / training["name"]
        try:
            ended = run(command(training, own, options.device, options.small), end - begun)
        finally:
            archive = options.out / "trainings.tar.gz"
            pack(sorted(folder.rglob("*.safetensors")), ROOT / "out" / "gpu", archive)
        print(f"{training['name']}: {ended} after {time.monotonic() - begun:.0f} s", flush=True)
        failed |= "exit code" in ended
    if failed:
        raise SystemExit("a training failed")


if __name__ == "__main__":
    main()
