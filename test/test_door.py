"""Adroit door experiment: the reward, and a complete short run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium_robotics", reason="the extra `door`")

from ebm_policy_ros.training.experiments import door


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two short demonstrations that hold still."""
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "observation/state": random.normal(size=(40, 39)).astype(np.float32),
        "actions": random.normal(0, 0.01, (40, 28)).astype(np.float32),
        "episode_ends": [20, 40],
    }
    np.savez(tmp_path / "door.npz", **arrays)
    return tmp_path / "door.npz"


def test_the_experiment_writes_its_table_and_a_closed_door_costs_what_d4rl_says(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(door._OPTIONS, "steps", 2)
    methods = ["--methods", "[energy, regression (MSE)]"]
    command = ["--data", str(data), "--out", str(tmp_path), "--seeds", "[0]", *methods]
    door.main([*command, "--episodes", "1"])
    assert "| energy " in (tmp_path / "table.md").read_text()
    for result in json.loads((tmp_path / "result.json").read_text())["results"]:
        assert result["angle"][0] < 0.05
        # (1.57 rad)^2 in each step, and the hand's distance from the handle, never for it.
        closed = 0.1 * 1.57**2
        for name, steps in (("limited", 200), ("whole", 300)):
            assert -(closed + 0.15) * steps < result[name][0] < -(closed + 0.01) * steps
    # Results of other episodes are not mixed in.
    with pytest.raises(SystemExit):
        door.main([*command, "--episodes", "2"])
    assert "of another episodes, [100000, 1]; choose another --out" in capsys.readouterr().err
