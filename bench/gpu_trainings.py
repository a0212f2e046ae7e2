"""Run the trainings of gpu_trainings.yaml while there is time, and pack what they made.

Each is a process of its own, interrupted when the time is over (it then saves its checkpoint). All
safetensors files below a folder `trainings` go to trainings.tar.gz in the folder of the results.
Unpacked in out/gpu they go on there, or on the next machine.

    python bench/gpu_trainings.py --out out/gpu --seconds 200
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("gpu_trainings.yaml")
# A training that is interrupted saves; one that doesn't end then is killed.
GRACE = 10.0


def command(training: Mapping[str, Any], folder: Path, device: str, small: bool) -> list[str]:
    """The process of a training whose results go to `folder`."""
    options = {**training["options"], "device": device, "out": str(folder)}
    if small:
        options |= training["small"]
    flags = [
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in options.items()
    ]
    return [sys.executable, "-m", training["module"], *flags]


def run(training: list[str], seconds: float) -> str:
    """Run a training for at most so long, and say how it ended."""
    process = subprocess.Popen(training, cwd=ROOT)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE)
            return "interrupted, saved"
        except subprocess.TimeoutExpired:
            process.kill()
            return "killed"
    return "complete" if code == 0 else f"failed with exit code {code}"


def files(folder: Path) -> Iterator[Path]:
    """Checkpoints and policies."""
    yield from sorted(folder.rglob("*.safetensors"))


def main() -> None:
    """Train, pack, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seconds", type=float, required=True, help="for all trainings")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a trial of the program")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds - GRACE
    folder = ROOT / "out" / "gpu" / ("small" if options.small else "trainings")
    failed = False
    for training in yaml.safe_load(LIST.read_text(encoding="utf-8")):
        left = end - time.monotonic()
        if left < GRACE:
            print(f"{training['name']}: no time left", flush=True)
            continue
        own = folder / training["name"]
        ended = run(command(training, own, options.device, options.small), left)
        print(f"{training['name']}: {ended} after {left - end + time.monotonic():.0f} s")
        failed |= "failed" in ended or "killed" in ended
        with tarfile.open(options.out / "trainings.tar.gz", "w:gz") as archive:
            for path in files(folder):
                archive.add(path, path.relative_to(ROOT / "out" / "gpu"))
    if failed:
        raise SystemExit("a training failed")


if __name__ == "__main__":
    main()
