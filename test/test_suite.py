"""The suite of tasks: which jobs it runs, how long they will take, and a whole small one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from programs import run

from ebm_policy_ros.sim.experiments.suite import Row, SuiteArgs, jobs, time_left

ROWS = (
    Row("avoid", "energy", steps=4000, seeds=(0, 1)),
    Row("avoid", "regression", steps=4000, train={"model.kind": "explicit"}),
    Row("push", "energy", steps=2000),
)


def names(suite: SuiteArgs) -> list[str]:
    return [str(job.done.relative_to(suite.out)) for job in jobs(suite)]


def test_demonstrations_come_once_for_each_task_and_every_policy_is_judged(tmp_path: Path) -> None:
    assert names(SuiteArgs(tmp_path, ROWS)) == [
        "avoid/demos.json",
        "avoid/energy_0/train.json",
        "avoid/energy_0/scenes.json",
        "avoid/energy_1/train.json",
        "avoid/energy_1/scenes.json",
        "avoid/regression_0/train.json",
        "avoid/regression_0/scenes.json",
        "push/demos.json",
        "push/energy_0/train.json",
        "push/energy_0/scenes.json",
    ]


def test_a_share_is_one_of_demonstrations_steps_and_scenes(tmp_path: Path) -> None:
    units = [job.units for job in jobs(SuiteArgs(tmp_path, ROWS[2:], share=0.1))]
    assert units == [40, 200, 10]
    assert [job.units for job in jobs(SuiteArgs(tmp_path, ROWS[2:], share=0.001))] == [1, 2, 1]


def test_the_time_left_follows_from_jobs_of_the_same_kind(tmp_path: Path) -> None:
    demos, *others = jobs(SuiteArgs(tmp_path, ROWS[:1]))
    assert time_left([demos, *others], []) == "time left unknown"
    # 400 demonstrations in 1,800 s, 4,000 steps in 3,600 s; nothing is known of scenes.
    done = [(demos, 1800.0), (others[0], 3600.0)]
    assert time_left(others[1:], done) == "about 1.0 h left, without judge"
    # Of another task, an energy's training is known and a regression's is not: the mean of all.
    later = jobs(SuiteArgs(tmp_path, ROWS[2:]))
    assert time_left(later[:2], done) == "about 1.0 h left"


def test_a_job_that_was_done_with_other_options_is_refused(tmp_path: Path) -> None:
    (job, *_) = jobs(SuiteArgs(tmp_path, ROWS[2:]))
    job.done.parent.mkdir()
    job.done.write_text(json.dumps({"options": {**job.options, "episodes": 9}, "seconds": 1.0}))
    with pytest.raises(ValueError, match=r"demos.json: of another episodes, 9; choose another"):
        job.noted()


def test_rows_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two named push energy"):
        SuiteArgs(tmp_path, (ROWS[2], ROWS[2]))
    with pytest.raises(ValueError, match="steps >= 1"):
        Row("push", "energy", steps=0)
    with pytest.raises(ValueError, match=r"share: got 0\.0"):
        SuiteArgs(tmp_path, ROWS, share=0.0)


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.sim
def test_a_suite_runs_to_its_table_and_then_has_nothing_left_to_do(tmp_path: Path) -> None:
    train = {"horizon": 5, "model.kind": "explicit", "model.streams": ["tool"]}
    row = {"task": "avoid", "name": "regression", "steps": 20, "train": train}
    row["judge"] = {"execute": 5}
    options = ["--out", str(tmp_path), "--rows", json.dumps([row]), "--videos", "0"]
    options += ["--demonstrations", "2", "--episodes", "1"]
    first = run("sim.experiments.suite", *options)
    assert first.returncode == 0, first.stderr
    (result,) = json.loads((tmp_path / "result.json").read_text())["runs"]
    assert result["name"] == "regression_0" and result["episodes"] == 1
    table = (tmp_path / "table.md").read_text()
    assert f"| avoid | regression_0 | {result['successes']}/1 " in table
    again = run("sim.experiments.suite", *options)
    assert again.stdout == f"{table}\nall results are in {tmp_path}\n"
    other = run("sim.experiments.suite", *options, "--episodes", "2")
    assert "scenes.json: of another episodes, 1; choose another --out" in other.stderr
