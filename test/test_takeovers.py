"""The experiment `corrections`: a scripted person takes over in simulation, and it is learned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.util.resources import interface_path

pytestmark = pytest.mark.sim


def test_a_person_takes_over_without_progress_and_lets_go_after_some(tmp_path: Path) -> None:
    from ebm_policy_ros.sim.experiments.takeovers import CorrectionsArgs, Person
    from ebm_policy_ros.sim.experiments.without_ros import make_world, move

    interface = load_interface(interface_path("ur5e_push"))
    world = make_world("push")
    world.reset(3)
    person = Person(CorrectionsArgs(tmp_path, patience=1.0), world, interface, 3)
    begun, held = world.measures["distance"], []
    for _ in range(100):
        held.append(person.holds())
        if held[-2:] == [True, False]:
            break
        action = person.act() if held[-1] else np.zeros(2)
        move(world, interface.command, action)
    assert held[:10] == [False] * 10 and all(held[10:-1]), "from 1.0 s on"
    assert 0.03 <= begun - world.measures["distance"] < 0.045, "3 cm further"
    world.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"patience": 0.0}, "patience: got 0.0, expected a number > 0"),
        ({"corrections": 0}, "corrections: got 0"),
        ({"seeds": ()}, "seeds: got none"),
        ({"most_scenes": 20_000}, "most_scenes: got 20000"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], told: str) -> None:
    from ebm_policy_ros.sim.experiments.takeovers import CorrectionsArgs

    with pytest.raises(ValueError, match=told):
        CorrectionsArgs(Path("out"), **options)  # type: ignore[arg-type]


def test_a_task_without_a_distance_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ebm_policy_ros.sim.experiments.corrections import main

    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "out"), "--task", "pick_place"])
    assert "task: got pick_place, expected one that measures a distance" in capsys.readouterr().err


@pytest.mark.slow
def test_a_policy_is_corrected_and_learns_from_it_and_results_are_kept(tmp_path: Path) -> None:
    from ebm_policy_ros.sim.experiments.corrections import main

    options = [
        "--out", str(tmp_path), "--demonstrations", "4", "--rounds", "1", "--corrections", "2",
        "--episodes", "1", "--train", '{"steps": 10, "inference.samples": 16}',
    ]  # fmt: skip
    main(options)
    folder = tmp_path / "seed_0"
    with np.load(folder / "corrections_1.npz") as arrays:
        assert arrays["corrections"].all() and len(arrays["episode_ends"]) == 2
        corrected = len(arrays["actions"])
    before, after = (json.loads((folder / f"round_{i}.json").read_text()) for i in range(2))
    assert after["steps"] == before["steps"] + corrected
    (control,) = folder.glob("demonstrations_?.json")
    assert json.loads(control.read_text())["steps"] >= after["steps"]
    watched = json.loads((folder / "corrections_1.json").read_text())["scenes"]
    assert sum(scene["takeovers"] for scene in watched) == 2
    assert sum(scene["by_person"] for scene in watched) == corrected
    table = (tmp_path / "table.md").read_text()
    assert "| 4 demonstrations, corrections of 1 round " in table and "| training seed |" in table
    assert (tmp_path / "corrections.png").stat().st_size > 0
    written = (folder / "round_1.json").stat().st_mtime_ns
    main(options)
    assert (folder / "round_1.json").stat().st_mtime_ns == written
