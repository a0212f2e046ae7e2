"""The examples run unchanged and print the expected results; notebooks train for fewer steps."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def run(name: str, out: Path) -> str:
    return python(f"examples/{name}.py", "--out", str(out))


def python(*arguments: str, folder: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_three_methods_find_the_deeper_of_two_wells(tmp_path: Path) -> None:
    text = run("minimise_an_energy", tmp_path)
    found = re.findall(r"at \[(-?[\d.]+), (-?[\d.]+)\]\)", text)
    assert len(found) == 3
    for x, y in found:
        assert float(x) == pytest.approx(-1.01, abs=0.03)
        assert float(y) == pytest.approx(-0.5, abs=0.06)
    minima = re.findall(r"a minimum at (-?[\d.]+), (-?[\d.]+)", text)
    assert len(minima) == 6  # both wells, by each method, once
    assert (tmp_path / "minimise_an_energy.png").stat().st_size > 10_000


def test_an_energy_keeps_both_answers_and_a_regression_the_mean(tmp_path: Path) -> None:
    text = run("learn_two_answers", tmp_path)
    energy, explicit = (
        float(re.findall(rf"{kind}: at 0.1 it goes to (-?[\d.]+)", text)[0])
        for kind in ("energy", "explicit")
    )
    assert min(abs(energy - 0.4), abs(energy + 0.2)) < 0.05
    assert explicit == pytest.approx(0.1, abs=0.1)
    modes = [float(value) for value in re.findall(r"([+-][\d.]+) with probability", text)]
    assert sorted(modes) == pytest.approx([-0.2, 0.4], abs=0.06)


def test_a_shipped_policy_tells_what_it_is_and_decides(tmp_path: Path) -> None:
    text = run("look_at_a_policy", tmp_path)
    assert "Policy(ur5e_push: camera [1, 96, 128, 3], tool [1, 2] -> action 1 x 2" in text
    assert (tmp_path / "look_at_a_policy.png").stat().st_size > 10_000


def test_an_encoder_and_a_loss_of_ones_own_are_learned_with(tmp_path: Path) -> None:
    text = run("own_encoder_and_loss", tmp_path)
    assert float(text.split(": ")[-1]) == pytest.approx(0.8, abs=0.1)


@pytest.mark.sim
def test_a_task_of_ones_own_is_solved_by_its_demonstrator(tmp_path: Path) -> None:
    text = run("own_task", tmp_path)
    assert len(re.findall(r"scene \d: solved after", text)) == 2
    apart = [float(value) for value in re.findall(r"([\d.]+) m apart at the start", text)]
    assert len(apart) == 2 and min(apart) >= 0.1
    assert (tmp_path / "own_task.png").stat().st_size > 10_000


def shape_of(text: str) -> str:
    """Text without what differs from run to run: numbers and temporary folders."""
    return re.sub(r"-?\d+(\.\d+)?", "#", re.sub(r"\S+/tmp\w+", "", text))


@pytest.mark.sim
@pytest.mark.parametrize("name", ["energies", "policies"])
def test_a_notebook_prints_what_it_shows(name: str) -> None:
    cells = json.loads((ROOT / "examples" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    shown = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in shown)
    source = "\n".join("".join(cell["source"]) for cell in cells)
    # The example scripts do the same trainings in full; here only the form of the output counts.
    assert source.count(" steps=600,") == 1
    printed = python("-c", source.replace(" steps=600,", " steps=200,"), folder=ROOT / "examples")
    streams = ["".join(output["text"]) for output in shown if output["output_type"] == "stream"]
    assert shape_of(printed) == shape_of("".join(streams))
