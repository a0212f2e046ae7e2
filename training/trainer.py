"""Training a policy's model: one loop, for the energy and for the explicit baseline."""

from __future__ import annotations

import copy
import dataclasses
import math
import signal
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from ebm_policy_ros.energy.models import EnergyModel, ExplicitModel
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.training import checkpoint
from ebm_policy_ros.training.checkpoint import CheckpointError
from ebm_policy_ros.training.losses import info_nce, mse
from ebm_policy_ros.training.negatives import uniform

Precision = Literal["bf16", "fp32"]
CHECKPOINT = "checkpoint.safetensors"
# The search that judges held-out frames; a denser one gives the same answers, later.
_JUDGE = DerivativeFree(samples=256, iterations=3)
# A run that skips this many batches in a row has diverged.
_MOST_SKIPPED = 50


class TrainingError(ValueError):
    """Training cannot start or go on; the text says what to change."""


class Demonstrations(Protocol):
    """All frames in memory: what `training.dataset.Dataset` has."""

    @property
    def observations(self) -> dict[str, npt.NDArray[Any]]:
        """Stream to (M, T, ...)."""

    @property
    def actions(self) -> npt.NDArray[np.float32]:
        """Shape (M, H, D), in the interface's units."""

    @property
    def episodes(self) -> npt.NDArray[Any]:
        """The episode of each frame, shape (M,)."""


@dataclass(frozen=True)
class LearningConfig:
    """How a model learns from demonstrations."""

    batch_size: int = 64
    """Frames in a batch."""
    negatives: int = 64
    """Counter-examples for each frame (energy only)."""
    learning_rate: float = 1e-3
    """Highest step size of AdamW; it rises during the warm-up and falls to 0 along a cosine."""
    warm_up: int = 200
    """Steps until the highest step size."""
    weight_decay: float = 1e-4
    """Pull of AdamW towards small weights."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    average_decay: float = 0.999
    """Decay of the moving average of the weights; the average is what is judged and kept."""
    precision: Precision = "bf16"
    """Arithmetic of the layers: bf16 (mixed, faster) or fp32."""
    held_out: float = 0.1
    """Fraction of the episodes that are never trained on, to choose the best weights by."""
    validate_every: int = 500
    """Steps between two judgements on the held-out episodes."""
    validate_frames: int = 512
    """Frames of the held-out episodes, evenly spread, that are judged."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        for name in (
            "batch_size", "negatives", "validate_every", "validate_frames", "checkpoint_every"
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected an integer >= 1")
        for name in ("learning_rate", "gradient_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a number > 0")
        for name in ("warm_up", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a number >= 0")
        for name, value in (("held_out", self.held_out), ("average_decay", self.average_decay)):
            if not 0 < value < 1:
                raise ValueError(f"{name}: got {value}, expected a number between 0 and 1")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision: got {self.precision!r}, expected bf16 or fp32")


def split_episodes(
    episodes: npt.NDArray[Any], fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Frames to train on and frames held out; an episode is never in both.

    Args:
        episodes: The episode of each frame, shape (M,).
        fraction: Of the episodes that are held out, at least one.
        seed: Chooses which.
    """
    names = np.unique(episodes)
    if len(names) < 2:
        raise TrainingError(f"got {len(names)} episode, expected at least 2 (one is held out)")
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    chosen = np.random.default_rng(seed).permutation(names)[:count]
    held = np.isin(episodes, chosen)
    return np.flatnonzero(~held), np.flatnonzero(held)


class Trainer:
    """A model on its way from random to the best weights found.

    Which frames, counter-examples and step sizes a step uses depends on the seed and the step's
    number alone, so a run continued from a checkpoint is the run that was never stopped.
    """

    def __init__(
        self,
        model: EnergyModel | ExplicitModel,
        data: Demonstrations,
        config: LearningConfig,
        *,
        steps: int,
        seed: int,
        folder: Path,
        device: str = "cpu",
        identity: dict[str, Any] | None = None,
    ) -> None:
        """Prepares a run; `run` starts it.

        Args:
            model: With its first weights; its normalisation is fitted here.
            data: The demonstrations.
            config: How to learn.
            steps: Batches in the whole run.
            seed: Source of all randomness from here on.
            folder: Where the checkpoint and the log go.
            device: Where to train.
            identity: Further settings that a continued run must share with this one.
        """
        if steps < 1:
            raise TrainingError(f"steps: got {steps}, expected an integer >= 1")
        self.config, self.steps, self.seed = config, steps, seed
        self.folder, self.device = folder, torch.device(device)
        self._data = data
        self._train, self._held = split_episodes(data.episodes, config.held_out, seed)
        fit_normalisation(model, data, self._train)
        self.model = model.to(self.device)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(
            model.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0
        self.skipped = 0
        self.best: dict[str, Tensor] = {}
        self.best_step = 0
        self.best_error = math.inf
        self._skipped_in_a_row = 0
        self._identity = {
            **(identity or {}),
            "steps": steps,
            "seed": seed,
            "learning": dataclasses.asdict(config),
            "data": {
                "frames": len(data.actions),
                "episodes": len(np.unique(data.episodes)),
                "checksum": zlib.crc32(np.ascontiguousarray(data.actions)),
            },
        }

    def run(self) -> bool:
        """Train to the last step or to an interrupt (SIGINT), which saves first.

        Returns:
            Whether the last step was reached.
        """
        config, done = self.config, self.step
        writer = SummaryWriter(str(self.folder), purge_step=done + 1)  # type: ignore[no-untyped-call]
        bar = tqdm(total=self.steps, initial=done, unit="step", dynamic_ncols=True)
        with _interrupt() as interrupted, bar, writer:
            started = time.monotonic()
            while self.step < self.steps and not interrupted:
                loss, gradient = self.update()
                last = self.step == self.steps
                bar.update()
                if self.step % 20 == 0 or last:
                    bar.set_postfix(loss=f"{loss:.3f}", held_out=f"{self.best_error:.4f}")
                    pace = (self.step - done) / (time.monotonic() - started)
                    self._log(writer, "train/loss", loss)
                    self._log(writer, "train/gradient_norm", gradient)
                    self._log(writer, "train/learning_rate", self.learning_rate(self.step))
                    self._log(writer, "train/skipped", self.skipped)
                    self._log(writer, "train/steps_per_second", pace)
                if self.step % config.validate_every == 0 or last:
                    held_loss, error = self.validate()
                    self._log(writer, "held_out/loss", held_loss)
                    self._log(writer, "held_out/action_error", error)
                if self.step % config.checkpoint_every == 0 or last:
                    self.save()
            self.save()
        return self.step == self.steps

    def update(self) -> tuple[float, float]:
        """One batch: its loss and gradient norm. A batch that isn't finite changes no weight."""
        self.model.train()
        generator = torch.Generator().manual_seed(_mix(self.seed, self.step))
        rate = self.learning_rate(self.step + 1)
        loss = self._loss(self.model, self._batch_frames(self.step), generator)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.step += 1
        if not math.isfinite(loss.item()) or not math.isfinite(norm.item()):
            # One such gradient in AdamW's moments would spoil every later step.
            self.skipped += 1
            self._skipped_in_a_row += 1
            if self._skipped_in_a_row >= _MOST_SKIPPED:
                raise TrainingError(
                    f"{_MOST_SKIPPED} batches in a row were not finite; lower "
                    "learning.learning_rate or look for bad values in the demonstrations"
                )
            return loss.item(), norm.item()
        self._skipped_in_a_row = 0
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self._update_average()
        return loss.item(), norm.item()

    def validate(self) -> tuple[float, float]:
        """Judge the averaged weights on held-out frames; keep them if they are the best yet.

        Returns:
            The loss, and the mean distance between the chosen and the demonstrated action, in
            the interface's units.
        """
        count = min(self.config.validate_frames, len(self._held))
        frames = self._held[np.linspace(0, len(self._held) - 1, count).round().astype(int)]
        generator = torch.Generator().manual_seed(_mix(self.seed, -1))
        losses, errors = [], []
        with torch.no_grad():
            for part in np.array_split(frames, max(1, count // self.config.batch_size)):
                losses.append(self._loss(self.average, part, generator).item() * len(part))
                errors += (self._decide(part) - self._actions(part)).norm(dim=1).tolist()
        error = float(np.mean(errors))
        if error < self.best_error:
            self.best_error, self.best_step = error, self.step
            self.best = {n: v.detach().clone() for n, v in self.average.state_dict().items()}
        return sum(losses) / count, error

    def save(self) -> None:
        """Write the checkpoint."""
        parts = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
            "optimizer": checkpoint.optimizer_tensors(self.optimizer),
        }
        tensors = {f"{part}/{name}": v for part, values in parts.items() for name, v in values.items()}
        facts = {
            "identity": self._identity,
            "step": self.step,
            "skipped": self.skipped,
            "best_error": None if math.isinf(self.best_error) else self.best_error,
            "best_step": self.best_step,
        }
        checkpoint.save_checkpoint(self.folder / CHECKPOINT, tensors, facts)

    def resume(self) -> None:
        """Continue from the folder's checkpoint.

        Raises:
            CheckpointError: If there is none, or it belongs to another run; nothing is changed.
        """
        path = self.folder / CHECKPOINT
        tensors, facts = checkpoint.load_checkpoint(path)
        difference = checkpoint.first_difference(self._identity, facts["identity"])
        if difference:
            raise CheckpointError(f"{path}: another run, {difference}; choose another --out")
        self.model.load_state_dict(checkpoint.part(tensors, "model"))
        self.average.load_state_dict(checkpoint.part(tensors, "average"))
        self.best = checkpoint.part(tensors, "best")
        checkpoint.load_optimizer_tensors(self.optimizer, checkpoint.part(tensors, "optimizer"))
        self.step, self.skipped = facts["step"], facts["skipped"]
        self.best_step = facts["best_step"]
        self.best_error = math.inf if facts["best_error"] is None else facts["best_error"]

    def learning_rate(self, step: int) -> float:
        """The step size of AdamW at `step`, counted from 1."""
        config = self.config
        if step <= config.warm_up:
            return config.learning_rate * step / config.warm_up
        progress = (step - config.warm_up) / max(1, self.steps - config.warm_up)
        return config.learning_rate * (1 + math.cos(math.pi * progress)) / 2
