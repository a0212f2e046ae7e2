"""Experiments: environments and metrics checked by hand, and complete short runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ebm_policy_ros.training.experiments import coordinates, functions, particle
from ebm_policy_ros.training.experiments.common import train_policy
from ebm_policy_ros.training.experiments.particle_world import Particles, demonstrate


def test_an_answer_is_as_wrong_as_its_distance_from_the_nearest_branch() -> None:
    circle = functions.FUNCTIONS["circle"]
    x = np.array([0.5, 0.5, 0.5, 0.0])
    error = circle.error(x, np.array([1.0, 0.1, 0.5, 0.5]))
    assert error.tolist() == pytest.approx([0.0, 0.1, 0.5, 0.0])


def test_next_to_a_jump_both_sides_are_right_but_nothing_between_them() -> None:
    """31 gaps between 32 points; the jump at 0.52 is between 16/31 and 17/31."""
    step = functions.FUNCTIONS["step"]
    inside, outside = 0.53, 0.58
    error = step.error(np.array([inside] * 3 + [outside] * 2), np.array([0, 1, 0.5, 0, 1.0]))
    assert error.tolist() == pytest.approx([0.0, 0.0, 0.5, 1.0, 0.0])


def test_demonstrated_values_lie_on_the_function() -> None:
    for function in functions.FUNCTIONS.values():
        x, y = function.demonstrate(3)
        assert len(x) == function.points and np.isfinite(y).all()
        assert function.error(x, y).max() < 1e-12


def test_the_dot_is_where_its_position_says() -> None:
    images, positions = coordinates.draw(20, 0)
    assert images.shape == (20, 96, 96, 3) and images.dtype == np.uint8
    for image, (x, y) in zip(images, positions, strict=True):
        weights = 127.5 - image[..., 0].astype(float)
        weights[weights < 1] = 0
        rows, columns = np.indices((96, 96)) + 0.5
        assert (weights * columns).sum() / weights.sum() == pytest.approx(x, abs=0.1)
        assert (weights * rows).sum() / weights.sum() == pytest.approx(y, abs=0.1)


def test_the_hull_holds_the_points_between_the_outermost() -> None:
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4], [2, 2], [1, 3]], dtype=float)
    hull = coordinates.hull(square)
    corners = np.asarray(hull.vertices).tolist()
    assert sorted(corners) == [[0, 0], [0, 4], [4, 0], [4, 4]]
    assert hull.contains_points(np.array([[3, 1], [5, 1], [2, -0.1]])).tolist() == [
        True,
        False,
        False,
    ]


def test_a_particle_is_pulled_as_by_a_spring_and_damper() -> None:
    particles = Particles(3, range(4))
    start, target = particles.position.copy(), particles.second
    for _ in range(200):
        particles.step(target)
    assert np.abs(particles.position - target).max() < 1e-6
    particles = Particles(3, range(4))
    assert np.array_equal(particles.position, start)
    particles.step(particles.first)
    # Second order of the pull over 0.05 s, without damping.
    expected = 10 * (particles.first - start) * 0.05**2 / 2
    assert np.allclose(particles.position - start, expected, rtol=0.2)


def test_the_second_goal_counts_only_after_the_first() -> None:
    particles = Particles(2, range(5))
    for _ in range(60):
        particles.step(particles.second)
    assert not particles.met_second.any()
    for goal in (particles.first, particles.second):
        for _ in range(60):
            particles.step(goal)
    assert particles.met_first.all() and particles.met_second.all()


@pytest.mark.parametrize("size", [2, 8, 32])
def test_the_script_visits_both_goals_and_shows_only_them(size: int) -> None:
    data = demonstrate(size, range(20), np.random.default_rng(0))
    state, actions = data.observations["state"][:, 0], data.actions[:, 0]
    first, second = state[:, 2 * size : 3 * size], state[:, 3 * size :]
    is_first, is_second = (
        (actions == goal.astype(np.float32)).all(axis=1) for goal in (first, second)
    )
    assert (is_first ^ is_second).all()
    # Five steps are recorded after the second goal was met.
    near = np.linalg.norm(state[:, :size] - second, axis=1) < 0.05
    last = np.flatnonzero(np.diff(data.episodes, append=20))
    assert near[last].all()
    # Each demonstration switches goals once.
    turns = np.diff(is_second.astype(int))[np.diff(data.episodes) == 0]
    assert (turns >= 0).all() and turns.sum() == 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "flags", "picture"),
    [
        (functions.main, ["--seeds=[1]", "--steps=3"], "functions.png"),
        (coordinates.main, ["--seeds=[1]", "--steps=3", "--images=[10]"], "coordinates.png"),
        (
            particle.main,
            ["--seeds=[1]", "--sizes=[2]", "--episodes=2", "--methods=[nearest neighbour]"],
            "particle.png",
        ),
    ],
)
def test_every_experiment_writes_table_plot_and_seeds(
    run: object, flags: list[str], picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "GRID", 60)
    monkeypatch.setattr(coordinates, "TESTS", 20)
    monkeypatch.setattr(particle, "DEMONSTRATIONS", 4)
    for _ in range(2):  # the second run only collects existing results
        run([f"--out={tmp_path}", *flags])  # type: ignore[operator]
    assert (tmp_path / "table.md").read_text().startswith("|")
    assert (tmp_path / picture).stat().st_size > 1000
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["seeds"] == [1] and result["results"] and result["torch"]


def test_results_of_other_settings_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(particle, "DEMONSTRATIONS", 4)
    flags = [f"--out={tmp_path}", "--seeds=[1]", "--sizes=[2]", "--episodes=2"]
    particle.main([*flags, "--methods=[nearest neighbour]"])
    monkeypatch.setattr(particle, "DEMONSTRATIONS", 5)
    with pytest.raises(SystemExit):
        particle.main([*flags, "--methods=[nearest neighbour]"])
    told = capsys.readouterr().err
    assert "nearest_2_1.json: of another demonstrations" in told


def test_a_run_of_other_options_is_not_taken_for_this_one(tmp_path: Path) -> None:
    noted = {"training": {"data": "demos.npz", "steps": 100, "seed": 1}}
    (tmp_path / "run.options.json").write_text(json.dumps(noted))
    for options in ({"data": Path("demos.npz"), "steps": 200, "seed": 1}, {"data": "demos.npz"}):
        with pytest.raises(ValueError, match=r"run.options.json: of another training, .*100"):
            train_policy(tmp_path / "run", options)


def test_an_unknown_method_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        particle.main([f"--out={tmp_path}", "--methods=[magic]"])
    assert "methods: got 'magic', expected some of chosen energy" in capsys.readouterr().err
