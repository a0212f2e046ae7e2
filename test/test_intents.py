"""Intents: what is found in demonstrations, and how a policy keeps to one."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ebm_policy_ros.device.selection import PolicyMismatch
from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.data.mirror import NO_MIRRORS
from ebm_policy_ros.training.learning.intents import intents_of, observed_intents, smooth
from ebm_policy_ros.training.train import main


def test_intents_of_a_chain_have_the_probabilities_of_all_its_paths() -> None:
    draws = torch.Generator().manual_seed(0)
    length, count, change = 5, 3, 0.3
    likelihoods = torch.randn((2, length, count), generator=draws)
    valid = torch.ones(2, length, dtype=torch.bool)
    valid[1, 3:] = False
    found, anew = smooth(likelihoods, change, valid)
    fits = likelihoods.exp()
    for row, last in ((0, length), (1, 3)):
        shares, fresh, total = torch.zeros(length, count), torch.zeros(length), 0.0
        # Each path, with whether the intent was drawn anew at each frame but the first.
        for path in itertools.product(range(count), repeat=last):
            for new in itertools.product((False, True), repeat=last - 1):
                steps = zip(path[:-1], path[1:], new, strict=True)
                if any(not n and one != other for one, other, n in steps):
                    continue
                probability = float(fits[row, 0, path[0]]) / count
                for t, n in enumerate(new, start=1):
                    step = change / count if n else 1 - change
                    probability *= step * float(fits[row, t, path[t]])
                total += probability
                for t, intent in enumerate(path):
                    shares[t, intent] += probability
                for t, n in enumerate(new, start=1):
                    fresh[t] += probability * n
        assert torch.allclose(found[row, :last], shares[:last] / total, atol=1e-5)
        assert torch.allclose(anew[row, :last], fresh[:last] / total, atol=1e-5)


def test_a_batch_tells_an_intent_of_shortly_before_in_the_same_episode() -> None:
    present = np.array([2, 2, 1, 1, 0, 0, 3])
    episodes = np.array([0, 0, 0, 0, 1, 1, 1])
    told = observed_intents(present, episodes, executed=2, seed=0)
    assert told[:, 1].tolist() == present.tolist()
    wanted = np.array([-1, -1, 2, 2, -1, -1, 0])
    assert all(got in (-1, right) for got, right in zip(told[:, 0], wanted, strict=True))
    many = observed_intents(np.arange(800) // 100, np.zeros(800, np.int64), 1, seed=0)
    assert (many[100:, 0] == -1).mean() == pytest.approx(0.1, abs=0.05)
    # An eighth of the demonstration has 100 frames, one intent.
    late = many[100:][many[100:, 0] >= 0]
    assert set((late[:, 1] - late[:, 0]).tolist()) == {0, 1}


Signs = npt.NDArray[np.float64]
EPISODES, LENGTH = 40, 30


@pytest.fixture(scope="module")
def signs() -> Signs:
    """Hidden answer of each frame, +1 or -1: kept, but for one change in every fourth episode."""
    rng = np.random.default_rng(0)
    found = np.repeat(rng.choice([-1.0, 1.0], (EPISODES, 1)), LENGTH, axis=1)
    found[::4, LENGTH // 2 :] *= -1
    return found.flatten()


def trained(folder: Path, signs: Signs, count: int = 2, **labels: Any) -> Path:
    """Folder of a training on demonstrations that go left or right, whatever they see."""
    rng = np.random.default_rng(1)
    actions = 0.5 * signs + rng.normal(0, 0.05, len(signs))
    starts = rng.uniform(-1, 1, (EPISODES, 1))
    moved = 0.1 * np.cumsum(actions.reshape(EPISODES, LENGTH)[:, :-1], axis=1)
    places = np.concatenate((starts, starts + moved), axis=1)
    arrays: dict[str, Any] = {
        "observation/place": places.reshape(-1, 1), "actions": actions[:, None], **labels
    }  # fmt: skip
    ends = LENGTH * np.arange(1, EPISODES + 1)
    np.savez(folder / "demos.npz", episode_ends=ends, **arrays)
    main(
        f"--data {folder / 'demos.npz'} --out {folder / 'run'} --model.intents {count} "
        "--steps 300 --learning.batch_size 64 --device cpu".split()
    )
    return folder / "run"


@pytest.fixture(scope="module")
def run(signs: Signs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a training that finds the intents itself."""
    return trained(tmp_path_factory.mktemp("intents"), signs)


def test_hidden_answers_are_found(run: Path, signs: Signs) -> None:
    present = np.load(run / "intents.npy")
    agree = ((present == 1) == (signs > 0)).mean()
    # What follows a frame shortly before a change is a mixture of both answers.
    assert max(agree, 1 - agree) >= 0.95


def test_a_policy_keeps_its_intent_and_acts_by_it(run: Path, signs: Signs) -> None:
    policy = Policy.load(run / "policy.safetensors", "cpu")
    present = np.load(run / "intents.npy")
    of_sign = {int(np.median(present[signs == sign])): sign for sign in (1, -1)}
    for intent, sign in of_sign.items():
        for place in (-0.9, 0.0, 0.9):
            decision = policy.decide({"place": np.array([[place]], np.float32)}, intent=intent)
            assert decision.intent == intent
            assert decision.action.item() == pytest.approx(0.5 * sign, abs=0.1)
    first = policy.decide({"place": np.zeros((1, 1), np.float32)})
    assert first.intent in (0, 1), "one is chosen at the start"
    assert first.action.item() == pytest.approx(0.5 * of_sign[first.intent], abs=0.1)


def test_a_kept_intent_does_not_make_a_familiar_observation_unfamiliar(run: Path) -> None:
    policy = Policy.load(run / "policy.safetensors", "cpu")
    with np.load(run.parent / "demos.npz") as demos:
        places = demos["observation/place"][::20, None].astype(np.float32)
    for intent in (None, 0, 1):
        unsure = [
            bool(policy.decide({"place": place}, intent=intent).confidence.unsure)
            for place in places
        ]
        assert np.mean(unsure) <= 0.05


def test_energies_of_an_intent_are_those_of_its_decision(run: Path) -> None:
    policy = Policy.load(run / "policy.safetensors", "cpu")
    seen: dict[str, Any] = {"place": np.zeros((1, 1), np.float32)}
    for intent in (0, 1):
        decision = policy.decide(seen, intent=intent)
        (energy,) = policy.energies(seen, decision.action.reshape(1, -1), intent=intent)
        assert energy == pytest.approx(decision.energy, abs=1e-3)
    for wrong in (2, -1, 1.0, float("nan")):
        with pytest.raises(PolicyMismatch, match=r"intent: got .*, expected None or .* 0 to 1"):
            policy.decide(seen, intent=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "autoregressive", "head": HeadConfig(feature_gain=3.5)},
        {"kind": "energy", "head": HeadConfig(spectral_norm=True)},
        {"kind": "flow", "flow_steps": 20},
    ],
)
def test_intents_are_found_for_models_of_every_kind(options: Any, tmp_path: Path) -> None:
    places = np.repeat(np.linspace(-1, 1, 6), 5).reshape(-1, 1, 1).astype(np.float32)
    data = Dataset(
        observations={"place": places},
        actions=np.zeros((30, 1, 1), np.float32),
        episodes=np.repeat(np.arange(3), 10),
        names=("a", "b", "c"),
        outcomes=np.ones(3),
    )
    config = ModelConfig(streams=("place",), intents=2, **options)
    device = torch.device("cpu")
    told = intents_of(
        tmp_path / "intents.npy", config, data, {"place": (1, 1)}, 0.1, 0, device, NO_MIRRORS
    )
    assert told.shape == (30, 2) and set(told[:, 1].tolist()) <= {0.0, 1.0}


def test_labelled_intents_are_taken_as_they_are(signs: Signs, tmp_path: Path) -> None:
    run = trained(tmp_path, signs, count=3, intents=np.where(signs > 0, 2, 0))
    assert not (run / "intents.npy").exists()
    policy = Policy.load(run / "policy.safetensors", "cpu")
    for intent, action in ((2, 0.5), (0, -0.5)):
        decision = policy.decide({"place": np.zeros((1, 1), np.float32)}, intent=intent)
        assert decision.intent == intent
        assert decision.action.item() == pytest.approx(action, abs=0.1)


@pytest.mark.parametrize(
    ("labels", "count", "message"),
    [
        (np.full(EPISODES * LENGTH, 5), 3, "model.intents: got 3, but the labels go up to 5"),
        (np.zeros(7, np.int64), 2, r"intents has shape \(7,\) of int64, expected \(1200,\)"),
        (np.zeros(EPISODES * LENGTH), 2, "of float64, expected .* whole numbers"),
        (np.full(EPISODES * LENGTH, -1), 2, "whole numbers, one for each step, from 0 to 63"),
    ],
)
def test_labels_that_are_no_intents_are_refused_in_one_line(
    labels: npt.NDArray[Any],
    count: int,
    message: str,
    signs: Signs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        trained(tmp_path, signs, count, intents=labels)
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("train_policy:")]
    assert re.search(message, line)


def test_nearest_neighbours_have_no_intents() -> None:
    with pytest.raises(ValueError, match="intents: has no meaning for kind nearest_neighbour"):
        ModelConfig(kind="nearest_neighbour", intents=2)


def test_a_resumed_run_keeps_its_intents_and_refuses_others(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = (run / "intents.npy").read_bytes()
    again = f"--data {run.parent / 'demos.npz'} --out {run} --resume".split()
    main(again)
    assert (run / "intents.npy").read_bytes() == found
    cases: list[tuple[Any, str]] = [
        (np.zeros(3, np.int64), "int64 of shape .* expected 1200 intents"),
        (np.full(1200, 2), "intents up to 2, expected 0 to 1"),
        (None, "No such file"),
        (b"PK\x05\x06" + bytes(18), "magic string is not correct"),
    ]
    for wrong, message in cases:
        (run / "intents.npy").unlink()
        if isinstance(wrong, bytes):
            (run / "intents.npy").write_bytes(wrong)
        elif wrong is not None:
            np.save(run / "intents.npy", wrong)
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(again)
        (line,) = [
            x for x in capsys.readouterr().err.splitlines() if x.startswith("train_policy:")
        ]
        assert re.search(f"intents.npy.*{message}.*start the run anew", line), line
        (run / "intents.npy").write_bytes(found)
