"""Training runs: convergence, saved weights, resumption and refusals."""

from __future__ import annotations

import dataclasses
import math
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file

from ebm_policy_ros.energy.action_space import MARGIN
from ebm_policy_ros.energy.convolutions import ImageEncoderConfig
from ebm_policy_ros.energy.heads import EnergyHead, HeadConfig
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import EnergyModel, build_model
from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.inference.methods import InferenceMethod
from ebm_policy_ros.training.data.augmentation import Augmentation, shift_images
from ebm_policy_ros.training.data.batches import Batches, split_episodes
from ebm_policy_ros.training.data.dataset import DemonstrationError
from ebm_policy_ros.training.learning.checkpoint import (
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.evaluator import EvaluationMetrics
from ebm_policy_ros.training.learning.negatives import NEGATIVES, NegativesConfig
from ebm_policy_ros.training.learning.objective import Scalars
from ebm_policy_ros.training.learning.trainer import CHECKPOINT, Trainer, TrainingError

MODEL = ModelConfig(
    image=ImageEncoderConfig(channels=(4, 4), strides=(2, 1)),
    trunk_width=32,
    head=HeadConfig(width=32),
)
LEARNING = LearningConfig(
    batch_size=16,
    negatives=NegativesConfig(count=16),
    warm_up=5,
    validate_every=6,
    checkpoint_every=4,
    average_decay=0.9,
)


@dataclass
class Demonstrations:
    observations: dict[str, npt.NDArray[Any]]
    actions: npt.NDArray[np.float32]
    episodes: npt.NDArray[np.int64]
    corrections: npt.NDArray[np.bool_] | None = None


def demonstrations(frames: int = 120, episode: int = 12) -> Demonstrations:
    """Demonstrations whose action depends on the tool only; the images are noise."""
    random = np.random.default_rng(0)
    tool = random.uniform(-1, 1, (frames, 1, 2)).astype(np.float32)
    return Demonstrations(
        {"camera": random.integers(0, 256, (frames, 1, 8, 12, 3), np.uint8), "tool": tool},
        (0.2 * np.tanh(2 * tool)).astype(np.float32),
        np.arange(frames) // episode,
    )


SEARCHES: dict[str, InferenceMethod] = {"autoregressive": AutoregressiveDerivativeFree(samples=64)}


def trainer(
    folder: Path,
    data: Demonstrations | None = None,
    steps: int = 14,
    model: ModelConfig = MODEL,
    margin: float = MARGIN,
    **learning: Any,
) -> Trainer:
    data = data or demonstrations()
    torch.manual_seed(0)
    shapes = {name: data.observations[name].shape[1:] for name in model.streams}
    return Trainer(
        build_model(model, shapes, 2),
        data,
        dataclasses.replace(LEARNING, **learning),
        SEARCHES.get(model.kind, DerivativeFree(samples=256)),
        steps=steps,
        seed=3,
        folder=folder,
        margin=margin,
        identity={"model": model.to_dict()},
    )


def assert_same_run(folder: Path, other: Path) -> None:
    (mine, scalars), (theirs, other_scalars) = (
        load_checkpoint(f / CHECKPOINT) for f in (folder, other)
    )
    assert scalars == other_scalars
    assert mine.keys() == theirs.keys() == {"model", "average", "best", "optimizer"}
    for part, tensors in mine.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, theirs[part][name]), f"{part}/{name}"


CHAIN = Langevin(iterations=10, polish=0)


@pytest.mark.parametrize(
    ("kind", "learning"),
    [
        ("energy", {}),
        ("energy", {"negatives": NegativesConfig("hard", 16, pool=64)}),
        ("energy", {"negatives": NegativesConfig("mixed", 16, chain=CHAIN)}),
        (
            "energy",
            {"negatives": NegativesConfig("chain", 16, chain=CHAIN), "gradient_penalty": 1.0},
        ),
        ("autoregressive", {}),
        ("autoregressive", {"negatives": NegativesConfig("hard", 32, pool=64)}),
        ("explicit", {}),
        ("mixture", {}),
        ("flow", {}),
        ("two_step", {}),
        ("nearest_neighbour", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "uniform",
)
def test_a_policy_learns_the_demonstrated_action(
    kind: str, learning: dict[str, Any], tmp_path: Path
) -> None:
    model = ModelConfig.from_dict({**MODEL.to_dict(), "kind": kind, "streams": ["tool"]})
    steps, rate = (300, 5e-3) if kind == "flow" else (150, 3e-3)
    settings = {"batch_size": 64, "precision": "fp32", "learning_rate": rate, **learning}
    settings["validate_every"] = steps // 2
    run = trainer(tmp_path, demonstrations(1200), steps, model, **settings)
    before = run.validate()
    assert run.run()
    assert run.best_metrics.action_error < 0.03
    if kind != "nearest_neighbour":
        assert run.best_metrics.action_error < before.action_error / 4
        assert run.best_step > 0
    if kind in ("energy", "autoregressive"):
        assert run.best_metrics.rank < 0.05 < before.rank
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_an_interrupted_run_continues_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trainer(tmp_path / "whole").run()
    stopped = trainer(tmp_path / "parts")
    validate = stopped.validate

    def interrupt() -> EvaluationMetrics:
        signal.raise_signal(signal.SIGINT)
        return validate()

    monkeypatch.setattr(stopped, "validate", interrupt)
    assert not stopped.run()
    assert stopped.step == 6
    continued = trainer(tmp_path / "parts")
    continued.resume()
    assert continued.step == 6
    assert continued.run()
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_killed_run_continues_from_its_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trainer(tmp_path / "whole").run()
    killed = trainer(tmp_path / "parts")
    update = killed.update

    def die() -> tuple[float, float, Scalars]:
        if killed.step == 11:
            raise KeyboardInterrupt
        return update()

    monkeypatch.setattr(killed, "update", die)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    continued = trainer(tmp_path / "parts")
    continued.resume()
    assert continued.step == 8
    assert continued.run()
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"learning_rate": 0.5}, "learning.learning_rate is 0.5 here, 0.001 in the checkpoint"),
        ({"steps": 20}, "steps is 20 here, 14 in the checkpoint"),
        (
            {"model": dataclasses.replace(MODEL, head=HeadConfig(width=8))},
            "model.head.width is 8 here, 32 in the checkpoint",
        ),
        ({"data": demonstrations(96)}, "demonstrations.checksum is"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused_and_kept(
    change: dict[str, Any], difference: str, tmp_path: Path
) -> None:
    trainer(tmp_path).save()
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(CheckpointError, match=difference) as refusal:
        trainer(tmp_path, **change).resume()
    assert "\n" not in str(refusal.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_damaged_or_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        trainer(tmp_path).resume()
    trainer(tmp_path).save()
    whole = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        trainer(tmp_path).resume()
    assert not list(tmp_path.glob("*.partial"))


PROGRESS: dict[str, Any] = {
    "identity": None, "step": "x" * 10_000, "skipped": -1, "best_step": 1e300,
    "skipped_in_a_row": 10**400, "verdict": {"x": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRESS)
@pytest.mark.parametrize("missing", [False, True])
def test_progress_in_a_checkpoint_that_is_wrong_or_missing_is_refused_in_one_line(
    name: str, missing: bool, tmp_path: Path
) -> None:
    run = trainer(tmp_path)
    run.validate()
    run.save()
    parts, progress = load_checkpoint(tmp_path / CHECKPOINT)
    progress[name] = PROGRESS[name]
    if missing:
        del progress[name]
    save_checkpoint(tmp_path / CHECKPOINT, parts, progress)
    with pytest.raises(CheckpointError, match=r"(damaged|another run)") as refusal:
        trainer(tmp_path).resume()
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize("part", ["model", "average", "best", "optimizer"])
def test_tensors_of_a_checkpoint_that_do_not_fit_are_refused_in_one_line(
    part: str, tmp_path: Path
) -> None:
    run = trainer(tmp_path)
    run.update()
    run.validate()
    run.save()
    parts, progress = load_checkpoint(tmp_path / CHECKPOINT)
    name = next(name for name, value in parts[part].items() if value.ndim > 1)
    fewer = {key: value for key, value in parts[part].items() if key != name}
    for changed in (fewer, {**fewer, name: parts[part][name][:1, None]}):
        save_checkpoint(tmp_path / CHECKPOINT, {**parts, part: changed}, progress)
        with pytest.raises(CheckpointError, match="damaged") as refusal:
            trainer(tmp_path).resume()
        assert "\n" not in str(refusal.value)
        assert len(str(refusal.value)) < 300 + len(str(tmp_path))


def test_a_checkpoint_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    trainer(tmp_path).save()
    path = tmp_path / CHECKPOINT
    whole = path.read_bytes()
    path.write_bytes((10 << 20).to_bytes(8, "little") + bytes(11 << 20))
    with pytest.raises(CheckpointError, match="its header has 10,485,760 bytes, expected at most"):
        trainer(tmp_path).resume()
    path.write_bytes(whole)
    os.truncate(path, 1 << 40)  # a sparse file, which takes no space on the disk
    with pytest.raises(CheckpointError, match="it has 1,099,511,627,776 bytes, expected at most"):
        trainer(tmp_path).resume()
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="damaged"):
        trainer(tmp_path).resume()


@pytest.mark.parametrize("least", [0, 200])
def test_a_full_disk_for_the_curves_is_told_in_one_line_and_the_weights_are_kept(
    least: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = trainer(tmp_path, steps=60, validate_every=30)
    save = run.save
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_where_there_is_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        save()
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, hard))

    monkeypatch.setattr(run, "save", save_where_there_is_room)
    try:
        assert run.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if line.strip() and "%|" not in line]
    assert "the curves for TensorBoard are incomplete (File too large)" in line
    assert run.best_step > 0 and load_checkpoint(tmp_path / CHECKPOINT)[1]["step"] == 60


def test_a_batch_that_is_not_finite_is_skipped_and_poisons_nothing(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    assert math.isfinite(run.update()[0])
    run.save()
    weights = load_file(tmp_path / CHECKPOINT)
    actions = run._batches._data.actions
    healthy = actions.copy()
    actions[:] = np.nan
    loss, _, _ = run.update()
    assert math.isnan(loss) and (run.step, run.skipped) == (2, 1)
    run.save()
    after = load_file(tmp_path / CHECKPOINT)
    assert all(torch.equal(after[name], value) for name, value in weights.items())
    actions[:] = healthy
    assert math.isfinite(run.update()[0])
    run.save()
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / CHECKPOINT).values())


def test_a_run_that_never_sees_a_finite_batch_stops(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=200)
    run._batches._data.actions[:] = np.inf
    with pytest.raises(TrainingError, match="50 batches in a row were not finite"):
        run.run()


def test_no_episode_is_both_trained_on_and_held_out() -> None:
    episodes = np.repeat(np.arange(20), np.arange(1, 21))
    train, held = split_episodes(episodes, 0.25, seed=1)
    assert sorted([*train, *held]) == list(range(len(episodes)))
    assert len(np.unique(episodes[held])) == 5
    assert not set(episodes[train]) & set(episodes[held])
    assert np.array_equal(held, split_episodes(episodes, 0.25, seed=1)[1])
    assert not np.array_equal(held, split_episodes(episodes, 0.25, seed=2)[1])


def test_at_least_one_episode_is_held_out_and_one_trained_on() -> None:
    for fraction in (0.01, 0.99):
        train, held = split_episodes(np.array([4, 4, 7]), fraction, seed=0)
        assert len(train) > 0 and len(held) > 0
    with pytest.raises(DemonstrationError, match=r"got 1 episode, expected .*held_out 0"):
        split_episodes(np.zeros(5, np.int64), 0.1, seed=0)


def test_with_nothing_held_out_everything_is_learned_from_and_the_last_weights_kept(
    tmp_path: Path,
) -> None:
    train, held = split_episodes(np.array([0, 0, 0]), 0.0, seed=0)
    assert train.tolist() == [0, 1, 2] and len(held) == 0
    run = trainer(tmp_path, held_out=0.0)
    assert run.run()
    assert run.best_step == 14 and math.isinf(run.best_metrics.action_error)
    for name, value in run.average.state_dict().items():
        assert torch.equal(run.best[name], value)


def test_an_epoch_shows_each_frame_once_and_the_next_in_another_order() -> None:
    batches = Batches(demonstrations(), ("tool",), 5, 0, torch.device("cpu"))
    frames = np.arange(100, 120)
    first, second = (
        np.concatenate([batches.frames_of(epoch * 4 + i, frames) for i in range(4)])
        for epoch in range(2)
    )
    assert sorted(first) == sorted(second) == list(frames)
    assert not np.array_equal(first, second)


def test_shifted_images_are_crops_with_a_repeated_border() -> None:
    frames = torch.randint(0, 256, (64, 2, 6, 9, 3), dtype=torch.uint8)
    shifts = torch.randint(-2, 3, (2, 64, 1), generator=torch.Generator().manual_seed(0))
    shifted = shift_images(frames, 2, shifts)
    # Replicated indices: -2 .. 7 of rows, -2 .. 10 of columns.
    padded = frames[:, :, torch.arange(-2, 8).clamp(0, 5)]
    padded = padded[:, :, :, torch.arange(-2, 11).clamp(0, 8)]
    places = [(y, x) for y in range(5) for x in range(5)]
    found = [
        [torch.equal(shifted[i], padded[i, :, y : y + 6, x : x + 9]) for y, x in places]
        for i in range(64)
    ]
    assert all(sum(matches) == 1 for matches in found)
    assert len({matches.index(True) for matches in found}) > 15


def test_brightness_and_contrast_change_alike_in_all_samples_of_a_row() -> None:
    frames = torch.full((200, 2, 4, 4, 3), 100, dtype=torch.uint8)
    frames[:, :, :2] = 140
    changed = Augmentation(jitter=0.2).apply(
        {"camera": frames}, {}, torch.Generator().manual_seed(0), 200, slice(None)
    )["camera"]
    assert torch.equal(changed[:, 0], changed[:, 1]) and changed.dtype == torch.uint8
    mean = changed.float().mean(dim=(1, 2, 3, 4)) / 120
    contrast = (changed[:, 0, 0, 0, 0].float() - changed[:, 0, 3, 0, 0]) / 40 / mean
    for factor in (mean, contrast):
        assert factor.min() == pytest.approx(0.8, abs=0.04)
        assert factor.max() == pytest.approx(1.2, abs=0.04)


def test_noise_on_measurements_has_the_size_of_their_spread() -> None:
    values = {"tool": torch.zeros(5000, 1, 2)}
    found = Augmentation(noise=0.5).apply(
        values, {"tool": torch.tensor([2.0, 0.1])}, torch.Generator().manual_seed(0), 5000,
        slice(None),
    )["tool"]  # fmt: skip
    assert found.std(dim=0)[0].tolist() == pytest.approx([1.0, 0.05], rel=0.05)


def test_held_out_images_are_not_shifted(tmp_path: Path) -> None:
    still, moved = (trainer(tmp_path, image_shift=shift) for shift in (0, 2))
    assert still.validate() == moved.validate()
    assert still.update()[0] != moved.update()[0]


def test_box_and_statistics_are_those_of_the_frames_trained_on(tmp_path: Path) -> None:
    data = demonstrations()
    run = trainer(tmp_path, data)
    frames, _ = split_episodes(data.episodes, LEARNING.held_out, 3)
    actions = data.actions[frames, 0]
    low, high = actions.min(axis=0), actions.max(axis=0)
    assert np.allclose(run.average.box.low, low - 0.05 * (high - low), atol=1e-6)
    assert np.allclose(run.average.box.high, high + 0.05 * (high - low), atol=1e-6)
    mean = run.average.state_dict()["encoder.measurements.tool.centre"]
    assert np.allclose(mean, data.observations["tool"][frames, 0].mean(axis=0), atol=1e-6)


def test_a_larger_margin_makes_a_larger_box(tmp_path: Path) -> None:
    near, far = (trainer(tmp_path, margin=margin).average.box for margin in (0.0, 1.0))
    assert torch.allclose(far.high - far.low, 3 * (near.high - near.low))
    assert torch.allclose(far.high - near.high, near.high - near.low)


LINEAR = ModelConfig("energy", ("tool",), trunk_depth=0, head=HeadConfig(feature_gain=1e-6))


def test_a_linear_start_depends_on_the_distance_from_the_linear_regression(
    tmp_path: Path,
) -> None:
    """Also far from the shown observations, if the actions are linear in the features."""
    data = demonstrations()
    to = np.array([[0.5, -0.2], [0.1, 0.3]], np.float32)
    data.actions = data.observations["tool"][:, :, :2] @ to + 0.7
    model = trainer(tmp_path, data, model=LINEAR, linear_start=True, held_out=0.0).average
    far = torch.tensor(data.observations["tool"]) * 3
    right = model.box.normalise(far[:, 0, :2] @ torch.tensor(to) + 0.7)
    moves = torch.rand(1, 7, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    assert isinstance(model, EnergyModel)
    with torch.no_grad():
        energies = model.energy(model.encode({"tool": far}), right[:, None] + moves)
    assert energies.std(dim=1).min() > 0.01
    assert torch.allclose(energies, energies[:1].expand_as(energies), atol=1e-3)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (dataclasses.replace(MODEL, kind="explicit"), "needs one energy of whole actions"),
        (dataclasses.replace(MODEL, kind="autoregressive"), "needs one energy of whole actions"),
        (
            dataclasses.replace(MODEL, head=HeadConfig(width=32, spectral_norm=True)),
            "spectral_norm would undo",
        ),
    ],
)
def test_a_model_that_cannot_begin_so_is_refused(
    tmp_path: Path, model: ModelConfig, told: str
) -> None:
    with pytest.raises(ValueError, match=f"learning.linear_start: got true, .*{told}"):
        trainer(tmp_path, model=model, linear_start=True)


def test_the_weights_of_the_lowest_held_out_action_error_are_kept(tmp_path: Path) -> None:
    run = trainer(tmp_path, choose_by="action_error")
    error = run.validate().action_error
    kept = {name: value.clone() for name, value in run.best.items()}
    assert run.best_metrics.action_error == error
    with torch.no_grad():
        for weight in run.average.parameters():
            weight.normal_(std=3.0)
    worse = run.validate().action_error
    assert worse > error and run.best_metrics.action_error == error
    assert all(torch.equal(run.best[name], value) for name, value in kept.items())


def test_the_last_weights_are_kept_by_default(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    error = run.validate().action_error
    with torch.no_grad():
        for weight in run.average.parameters():
            weight.normal_(std=3.0)
    worse = run.validate().action_error
    assert worse > error and run.best_metrics.action_error == worse


def test_a_metric_can_choose_the_weights(tmp_path: Path) -> None:
    low_error, low_rank = EvaluationMetrics(1.0, 0.1, 0.5), EvaluationMetrics(2.0, 0.5, 0.1)
    assert low_error.better_than(low_rank, "action_error")
    assert low_rank.better_than(low_error, "rank")
    assert low_error.better_than(low_rank, "loss") and not low_rank.better_than(low_error, "loss")
    assert low_error.better_than(low_rank, "last") and low_rank.better_than(low_error, "last")
    run = trainer(tmp_path, choose_by="rank")
    run.best_metrics = EvaluationMetrics(0.0, 0.0, 2.0)
    run.validate()
    assert run.best_metrics.rank < 2.0


def test_step_size_warms_up_and_falls_to_zero(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=105, warm_up=5, learning_rate=0.01)
    rates = []
    for run.step in (0, 4, 54, 104):
        rates.append(run.config.rate_at(run.step, run.steps))
    assert rates == pytest.approx([0.002, 0.01, 0.005, 0.0], abs=1e-9)


def test_step_size_can_fall_in_steps(tmp_path: Path) -> None:
    schedule: dict[str, Any] = {"schedule": "step", "decay": 0.5, "decay_every": 10}
    run = trainer(tmp_path, steps=105, warm_up=5, learning_rate=0.01, **schedule)
    rates = []
    for run.step in (4, 13, 14, 34):
        rates.append(run.config.rate_at(run.step, run.steps))
    assert rates == pytest.approx([0.01, 0.01, 0.005, 0.00125])


@pytest.mark.parametrize(
    "negatives",
    [
        *(NegativesConfig(source, 8, pool=16, chain=CHAIN) for source in NEGATIVES),
        NegativesConfig(count=0, around=8),
        NegativesConfig("hard", 8, pool=16, around=4),
    ],
    ids=lambda negatives: f"{negatives.source} {negatives.count} {negatives.around}",
)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("kind", ["energy", "autoregressive"])
def test_every_weight_is_learned_with_every_kind_of_counter_example(
    kind: str, norm: bool, negatives: NegativesConfig, tmp_path: Path
) -> None:
    whole = ("chain", "mixed", "hmc", "gaussian", "proposal")
    if kind == "autoregressive" and negatives.source in whole:
        pytest.skip("refused")
    head = HeadConfig("mlp", 32, spectral_norm=norm)
    proposals = 2 if negatives.source == "proposal" else 0
    model = dataclasses.replace(MODEL, kind=kind, head=head, proposals=proposals)  # type: ignore[arg-type]
    run = trainer(tmp_path, model=model, negatives=negatives, gradient_penalty=1.0)
    before = {n: p.clone() for n, p in run.model.named_parameters()}
    _, _, scalars = run.update()
    assert 0.0 <= scalars["gradient_penalty_active"].item() <= 1.0
    for name, parameter in run.model.named_parameters():
        if name.endswith("output.bias"):
            continue  # shifts all energies equally, which changes no probability
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("kind", ["energy", "autoregressive"])
def test_each_kind_of_counter_example_has_a_loss_of_its_own(kind: str, tmp_path: Path) -> None:
    model = dataclasses.replace(MODEL, kind=kind)  # type: ignore[arg-type]
    run = trainer(tmp_path, model=model, negatives=NegativesConfig(count=8, around=4))
    heads = [part for part in run.model.modules() if isinstance(part, EnergyHead)]
    for head in heads:
        torch.nn.init.zeros_(head.output.weight)
    loss, _, _ = run.update()
    # The losses of the dimensions are summed.
    assert loss == pytest.approx(len(heads) * (math.log(9) + math.log(5)), rel=1e-5)


def test_training_counts_denormal_numbers_as_zero(tmp_path: Path) -> None:
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor can't")
    try:
        small = torch.full((64,), 1e-39)
        assert (small * 1.5 > 0).all()
        trainer(tmp_path)
        assert (small * 1.5 == 0).all()
    finally:
        torch.set_flush_denormal(False)


def test_some_counter_examples_are_needed() -> None:
    with pytest.raises(ValueError, match="count: got 0, and around 0"):
        NegativesConfig(count=0)
    with pytest.raises(ValueError, match="count: got 0 with source chain"):
        NegativesConfig("chain", 0, around=8)


RESUMED: list[dict[str, Any]] = [
    {"kind": "nearest_neighbour"},
    {"kind": "mixture"},
    {"kind": "flow"},
    {"kind": "two_step"},
    {"kind": "autoregressive", "negatives": NegativesConfig("hard", 8, pool=16)},
    {"head": HeadConfig("mlp", 32, spectral_norm=True)},
    {"negatives": NegativesConfig("mixed", 8, chain=CHAIN), "image_shift": 1},
]


@pytest.mark.parametrize("change", RESUMED)
@pytest.mark.parametrize("stopped_at", [0, 4])
def test_every_kind_of_run_continues_as_if_it_had_not_been_stopped(
    stopped_at: int, change: dict[str, Any], tmp_path: Path
) -> None:
    parts = {name: value for name, value in change.items() if name in ("kind", "head")}
    learning = {name: value for name, value in change.items() if name not in parts}
    model = dataclasses.replace(MODEL, **parts)
    whole = trainer(tmp_path / "whole", model=model, **learning)
    assert whole.run()
    stopped = trainer(tmp_path / "parts", model=model, **learning)
    for _ in range(0 if model.kind == "nearest_neighbour" else stopped_at):
        stopped.update()
    stopped.save()
    continued = trainer(tmp_path / "parts", model=model, **learning)
    continued.resume()
    assert continued.run()
    for name, value in whole.average.state_dict().items():
        assert torch.equal(continued.average.state_dict()[name], value), name


def test_normalised_weights_are_averaged_with_their_singular_vectors(tmp_path: Path) -> None:
    model = dataclasses.replace(MODEL, head=HeadConfig("mlp", 32, spectral_norm=True))
    run = trainer(tmp_path, model=model)
    run.update()
    for name, buffer in run.model.named_buffers():
        assert torch.equal(buffer, dict(run.average.named_buffers())[name])


def test_constant_actions_do_not_make_the_others_easy(tmp_path: Path) -> None:
    """Negatives that differ in a constant dimension would reveal the demonstrated action."""
    data = demonstrations(1200)
    constant = np.zeros((1200, 1, 6), np.float32)
    data.actions = np.concatenate((data.actions, constant), axis=2)
    model = dataclasses.replace(MODEL, streams=("tool",))
    settings = {"batch_size": 64, "precision": "fp32", "allow_constant": True}
    settings |= {"learning_rate": 3e-3, "validate_every": 75}
    torch.manual_seed(0)
    run = Trainer(
        build_model(model, {"tool": (1, 2)}, 8),
        data,
        dataclasses.replace(LEARNING, **settings),  # type: ignore[arg-type]
        DerivativeFree(samples=256),
        steps=150,
        seed=3,
        folder=tmp_path,
    )
    assert run.run()
    # Two dimensions among sixteen negatives are not that easy.
    assert run.best_metrics.loss > 0.1
    assert run.best_metrics.action_error < 0.03


def test_an_energy_that_knows_nothing_has_the_rank_of_a_coin(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    with torch.no_grad():
        for weight in run.average.parameters():
            weight.zero_()
    assert run.validate().rank == 0.5


def test_the_checkpoint_of_other_observations_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).save()
    data = demonstrations()
    data.observations["tool"] = data.observations["tool"][::-1].copy()
    with pytest.raises(CheckpointError, match=r"demonstrations\.checksum is"):
        trainer(tmp_path, data).resume()


def test_measurements_too_small_for_their_unit_are_refused(tmp_path: Path) -> None:
    data = demonstrations()
    data.observations["tool"] *= 3e-5
    with pytest.raises(DemonstrationError, match=r"tool, dimension 0: changes by only .*e-05"):
        trainer(tmp_path, data)


def test_chains_are_refused_for_an_autoregressive_model(tmp_path: Path) -> None:
    model = dataclasses.replace(MODEL, kind="autoregressive")
    with pytest.raises(ValueError, match="takes uniform or hard"):
        trainer(tmp_path, model=model, negatives=NegativesConfig("chain", 16))


def test_autoregression_is_refused_for_a_joint_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got autoregressive, but the model has one energy"):
        Trainer(
            build_model(MODEL, {"camera": (1, 8, 12, 3), "tool": (1, 2)}, 2),
            demonstrations(),
            LEARNING,
            AutoregressiveDerivativeFree(),
            steps=1,
            seed=0,
            folder=tmp_path,
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"learning_rate": math.nan}, "learning_rate: got nan"),
        ({"held_out": 1.0}, "held_out: got 1.0"),
        ({"held_out": -0.1}, "held_out: got -0.1"),
        ({"warm_up": -1}, "warm_up: got -1"),
        ({"image_shift": -1}, "image_shift: got -1"),
        ({"image_jitter": 2.0}, "image_jitter: got 2.0, expected a share up to 1"),
        ({"measurement_noise": -1.0}, "measurement_noise: got -1.0"),
        ({"precision": "fp8"}, "precision: got 'fp8', expected bf16 or fp32"),
        ({"schedule": "linear"}, "schedule: got 'linear', expected cosine or step"),
        (
            {"choose_by": "best"},
            "choose_by: got 'best', expected last, loss",
        ),
        ({"temperature": 0.0}, "temperature: got 0.0"),
        ({"gradient_penalty": -1.0}, "gradient_penalty: got -1.0"),
        ({"action_noise": -0.1}, "action_noise: got -0.1"),
        ({"decay": 1.0}, "decay: got 1.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LearningConfig(**change)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"source": "nowhere"}, "source: got 'nowhere', expected one of uniform, gaussian, chain"),
        ({"count": 0}, "count: got 0"),
        ({"source": "hard", "count": 64, "pool": 64}, "pool: got 64, expected more than"),
        ({"source": "mixed", "count": 1}, "count: got 1, expected at least 2"),
        ({"mask_radius": -0.1}, "mask_radius: got -0.1"),
        ({"mask_radius": 2.0}, "mask_radius: got 2.0, expected less than 2"),
        ({"mask_radius": "a"}, "mask_radius: got a, expected a number"),
        ({"nearest": 0.0}, "nearest: got 0.0"),
        ({"nearest": 2.0}, "nearest: got 2.0, expected at most farthest, 1.0"),
        ({"chain": None}, "chain: got None, expected settings of Langevin"),
    ],
)
def test_counter_examples_that_cannot_be_drawn_are_refused(
    source: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NegativesConfig(**source)


def test_demonstrations_that_are_not_numbers_are_refused_by_place(tmp_path: Path) -> None:
    data = demonstrations()
    data.observations["tool"][7, 0, 1] = np.nan
    with pytest.raises(DemonstrationError, match=r"tool\[7\], dimension 1: nan in episode 0"):
        trainer(tmp_path, data)


def test_a_dimension_that_never_changes_is_refused_unless_it_is_accepted(tmp_path: Path) -> None:
    data = demonstrations()
    data.actions[:, 0, 1] = 0.125
    with pytest.raises(DemonstrationError, match=r"actions, dimension 1: 0\.125 in every frame"):
        trainer(tmp_path, data)
    assert trainer(tmp_path, data, allow_constant=True).run()


def test_arrays_of_different_lengths_are_refused(tmp_path: Path) -> None:
    data = demonstrations()
    data.observations["tool"] = data.observations["tool"][:-1]
    with pytest.raises(DemonstrationError, match="tool: 119 frames, expected 120"):
        trainer(tmp_path, data)
