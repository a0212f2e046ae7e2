"""Push-T experiment: environment, mirroring, split, and a complete short run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gym_pusht", reason="the extra `pusht`")
zarr = pytest.importorskip("zarr", reason="the extra `pusht`")

from ebm_policy_ros.energy.features import Features  # noqa: E402
from ebm_policy_ros.training.data.arrays import load_arrays  # noqa: E402
from ebm_policy_ros.training.data.mirror import Mirror  # noqa: E402
from ebm_policy_ros.training.experiments import pusht  # noqa: E402
from ebm_policy_ros.training.experiments.pusht_data import (  # noqa: E402
    OPTIONS,
    Sees,
    papers_episodes,
)
from ebm_policy_ros.training.experiments.tee import (  # noqa: E402
    Numbers,
    Tees,
    published_state,
)

# The shortest of the 206 demonstrations (MIT, see pusht_LICENSE in the same folder).
EPISODE = load_arrays(Path(__file__).parent / "data" / "pusht_episode.npz")
STATES = EPISODE.observations["state"][:, 0].astype(np.float64)
TARGETS = EPISODE.actions[:, 0].astype(np.float64)


def replayed(first: Numbers, targets: Numbers) -> Numbers:
    tees = Tees(1)
    tees.place(first[None])
    states = [tees.states[0].copy()]
    for target in targets[:-1]:
        tees.step(target[None])
        states.append(tees.states[0].copy())
    return np.array(states)


def mirror(sees: Sees) -> Mirror:
    shapes = {"state": (1, 5), "picture": (1, 96, 96, 3), "disc": (1, 2)}
    return Mirror.of(OPTIONS[sees]["mirror"], shapes, 2)


def mirrored(states: Numbers) -> Numbers:
    seen = mirror("state").observation({"state": torch.from_numpy(states)[:, None]})
    found: Numbers = seen["state"][:, 0].numpy()
    return found


def turned(states: Numbers) -> Numbers:
    """Replace the angle by its cosine and sine, since 0 and 2 pi are the same."""
    return np.column_stack([states[:, :4], np.cos(states[:, 4]), np.sin(states[:, 4])])


def test_recorded_actions_move_the_environment_through_the_recorded_states() -> None:
    found = replayed(STATES[0], TARGETS)
    assert np.abs(np.diff(STATES[:, 2:4], axis=0)).sum() > 50  # the T was pushed
    assert np.abs(turned(found) - turned(STATES)).max() < 0.2


def test_in_the_mirror_the_same_push_moves_the_t_the_same_way() -> None:
    goal = np.array([[100.0, 300.0, 256.0, 256.0, np.pi / 4]])
    assert mirrored(goal)[0].tolist() == pytest.approx([212, 412, 256, 256, np.pi / 4])
    assert np.allclose(mirrored(mirrored(STATES)), STATES)
    targets = mirror("state").action(torch.from_numpy(TARGETS)).numpy()
    found = replayed(mirrored(STATES)[0], targets)
    # Contacts are not exactly symmetric.
    assert np.abs(turned(found) - turned(mirrored(STATES))).max() < 2.0


def test_a_mirrored_picture_is_the_picture_of_the_mirrored_state() -> None:
    tees = Tees(1)
    tees.place(STATES[:1])
    there = tees.pictures()
    tees.place(mirrored(STATES)[:1])
    here = tees.pictures().astype(int)
    assert there.shape == (1, 96, 96, 3) and np.ptp(there) > 100
    # Edges are drawn to whole pixels.
    frames = {"picture": torch.from_numpy(there)[:, None]}
    images = mirror("picture").observation(frames)["picture"][:, 0].numpy()
    assert np.abs(images - here).mean() < 2 < np.abs(there - here).mean()


def test_what_is_observed_is_where_the_t_and_the_disc_are() -> None:
    def seen(*state: float) -> list[float]:
        features = Features(OPTIONS["state"]["model.features"], {"state": (1, 5)})
        found: list[float] = features({"state": torch.tensor([[state]])})[0].tolist()
        return found

    assert seen(10, 20, 100, 200, 0) == [10, 20, 100, 200, 0, 1, -90, -180]
    expected = [100, 150, 100, 200, 1, 0, -50, 0]
    assert seen(100, 150, 100, 200, np.pi / 2) == pytest.approx(expected, abs=1e-4)


def test_the_papers_90_episodes_are_drawn_as_in_its_code() -> None:
    chosen = papers_episodes(206)
    assert len(set(chosen)) == 90 and chosen[:6].tolist() == [7, 9, 10, 11, 13, 16]
    held = np.random.default_rng(42).choice(206, 4, replace=False)
    assert not set(held) & set(chosen)
    assert published_state(100_000)[:4].tolist() == [235, 124, 335, 128]


def test_the_score_is_the_largest_so_far_and_the_goal_itself_is_full() -> None:
    tees = Tees(2)
    tees.place(np.array([[50.0, 50, 256, 256, np.pi / 4], [50, 50, 100, 400, 0.0]]))
    tees.step(np.full((2, 2), 50.0))
    assert tees.scores[0] == 1.0 and tees.scores[1] < 0.2


def test_the_experiment_writes_table_plot_and_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = zarr.open_group(str(tmp_path / "d.zarr"), mode="w")
    root.create_dataset("data/state", data=np.tile(STATES, (3, 1)))
    root.create_dataset("data/action", data=np.tile(TARGETS, (3, 1)))
    root.create_dataset("meta/episode_ends", data=len(STATES) * np.arange(1, 4))
    monkeypatch.setattr(pusht, "STEPS", 10)
    flags = ["--seeds=[1]", "--starts=2", "--everything=[true]", "--steps=3"]
    flags.append(f"--data={tmp_path / 'd.zarr'}")
    for _ in range(2):  # the second run only collects existing results
        pusht.main([f"--out={tmp_path}", *flags])
    assert (tmp_path / "table.md").read_text().startswith("|")
    assert (tmp_path / "pusht.png").stat().st_size > 1000
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["seeds"] == [1] and len(result["results"]) == 5
    assert all(len(r["scores"]["paper"]) == 2 for r in result["results"])
