"""Training a policy's model: one loop, for the energy and for the explicit baseline."""

from __future__ import annotations

import copy
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from ebm_policy_ros.energy.models import EnergyModel, ExplicitModel
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.training import checkpoint
from ebm_policy_ros.training.batches import Batches, Demonstrations, Frames, split_episodes
from ebm_policy_ros.training.learning import LearningConfig
from ebm_policy_ros.training.losses import info_nce, mse
from ebm_policy_ros.training.negatives import uniform

CHECKPOINT = "checkpoint.safetensors"
# The search that judges held-out frames; a denser one gives the same answers, later.
_JUDGE = DerivativeFree(samples=256, iterations=3)
# A run that skips this many batches in a row has diverged.
_MOST_SKIPPED = 50
_LOG_EVERY = 20


class TrainingError(ValueError):
    """Training cannot start or go on; the text says what to change."""


class Trainer:
    """A model on its way from random weights to the best ones found.

    Which frames, counter-examples and step size a step uses depends on the seed and the step's
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
        """Prepares a run in which nothing happens before `run` or `update`.

        Args:
            model: With its first weights; its normalisation is fitted here.
            data: The demonstrations.
            config: How to learn.
            steps: Batches in the whole run.
            seed: Source of all randomness from here on.
            folder: Where checkpoint and log go; made when they are written.
            device: Where to train, as torch names it.
            identity: Further settings that a continued run must share with this one.
        """
        if steps < 1:
            raise ValueError(f"steps: got {steps}, expected an integer >= 1")
        self.config, self.steps, self.folder = config, steps, folder
        self._device = torch.device(device)
        self._train, self._held = split_episodes(data.episodes, config.held_out, seed)
        streams = tuple(model.encoder.shapes)
        self._batches = Batches(data, streams, config.batch_size, seed, self._device)
        self.model = model.to(self._device)
        self._fit_normalisation(data)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = self.skipped = self._skipped_in_a_row = 0
        self.best: dict[str, Tensor] = {}
        """Weights of the lowest held-out action error."""
        self.best_step, self.best_error = 0, math.inf
        self._identity = {
            **(identity or {}),
            "steps": steps,
            "seed": seed,
            "learning": dataclasses.asdict(config),
            "demonstrations": self._batches.facts(),
        }

    def run(self) -> bool:
        """Train to the last step, or to an interrupt (SIGINT), which saves first.

        Returns:
            Whether the last step was reached.
        """
        started, first = time.monotonic(), self.step
        if first == 0:
            self.save()  # so that a run that is killed early can be continued too
        writer = SummaryWriter(str(self.folder), purge_step=first + 1)
        bar = tqdm(total=self.steps, initial=first, unit="step", dynamic_ncols=True)
        with writer, bar, _interrupts() as interrupts:
            while self.step < self.steps and not interrupts:
                loss, norm = self.update()
                last = self.step == self.steps
                bar.update()
                if self.step % _LOG_EVERY == 0 or last:
                    bar.set_postfix(loss=f"{loss:.3f}", held_out=f"{self.best_error:.4f}")
                    writer.add_scalar("train/loss", loss, self.step)
                    writer.add_scalar("train/gradient_norm", norm, self.step)
                    writer.add_scalar("train/skipped", self.skipped, self.step)
                    writer.add_scalar("train/learning_rate", self.learning_rate(), self.step)
                    pace = (self.step - first) / (time.monotonic() - started)
                    writer.add_scalar("train/steps_per_second", pace, self.step)
                if self.step % self.config.validate_every == 0 or last:
                    held_loss, error = self.validate()
                    writer.add_scalar("held_out/loss", held_loss, self.step)
                    writer.add_scalar("held_out/action_error", error, self.step)
                if self.step % self.config.checkpoint_every == 0 or last or interrupts:
                    self.save()
        return self.step == self.steps

    def update(self) -> tuple[float, float]:
        """Learn from one batch; one that isn't finite is skipped and counted.

        Returns:
            The loss, and the norm of its gradient before clipping.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate()
        frames = self._batches.frames_of(self.step, self._train)
        generator = self._batches.generator(self.step)
        loss = self._loss(self.model, frames, generator, self.config.image_shift)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.step += 1
        # One such gradient in AdamW's moments would spoil every later step.
        if math.isfinite(loss.item()) and math.isfinite(norm.item()):
            self._skipped_in_a_row = 0
            self._optimizer.step()
            self._update_average()
        else:
            self._skip()
        return loss.item(), norm.item()

    def validate(self) -> tuple[float, float]:
        """Judge the averaged weights on held-out frames, and keep them if they are the best yet.

        Returns:
            The loss, and the mean distance between the chosen and the demonstrated action in
            the interface's units.
        """
        count = min(self.config.validate_frames, len(self._held))
        frames = self._held[np.linspace(0, len(self._held) - 1, count).round().astype(int)]
        # The same counter-examples each time: only the weights differ.
        generator = self._batches.generator(self.steps)
        losses: list[Tensor] = []
        errors: list[Tensor] = []
        with torch.inference_mode():
            for part in np.array_split(frames, math.ceil(count / self.config.batch_size)):
                losses.append(self._loss(self.average, part, generator) * len(part))
                chosen = self.average.box.denormalise(self._decide(part))
                errors.append((chosen - self._batches.actions(part)).norm(dim=1))
        error = torch.cat(errors).mean().item()
        if error < self.best_error:
            self.best_error, self.best_step = error, self.step
            self.best = {name: value.clone() for name, value in self.average.state_dict().items()}
        return sum(loss.item() for loss in losses) / count, error

    def learning_rate(self) -> float:
        """The step size of this step: a linear warm-up, then a cosine to 0 (Loshchilov 2017)."""
        step, config = self.step + 1, self.config
        if step <= config.warm_up:
            return config.learning_rate * step / config.warm_up
        progress = (step - config.warm_up) / max(1, self.steps - config.warm_up)
        return config.learning_rate * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    def save(self) -> None:
        """Write the checkpoint."""
        parts = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
            "optimizer": checkpoint.optimizer_tensors(self._optimizer),
        }
        facts = {
            "identity": self._identity,
            "step": self.step,
            "skipped": self.skipped,
            "best_step": self.best_step,
            "best_error": self.best_error if self.best else None,
        }
        checkpoint.save_checkpoint(self.folder / CHECKPOINT, parts, facts)

    def resume(self) -> None:
        """Continue from the folder's checkpoint.

        Raises:
            CheckpointError: If there is none, or it is another run's; nothing is changed then.
        """
        path = self.folder / CHECKPOINT
        parts, facts = checkpoint.load_checkpoint(path)
        checkpoint.refuse_other_run(path, self._identity, facts["identity"])
        self.model.load_state_dict(parts["model"])
        self.average.load_state_dict(parts["average"])
        self.best = parts.get("best", {})
        checkpoint.load_optimizer_tensors(self._optimizer, parts["optimizer"])
        self.step, self.skipped = facts["step"], facts["skipped"]
        self.best_step = facts["best_step"]
        self.best_error = facts["best_error"] if self.best else math.inf

    def _loss(
        self,
        model: EnergyModel | ExplicitModel,
        frames: Frames,
        generator: torch.Generator,
        shift: int = 0,
    ) -> Tensor:
        positive = model.box.normalise(self._batches.actions(frames))
        with self._autocast():
            features = model.encode(self._batches.observation(frames, shift, generator))
            if isinstance(model, ExplicitModel):
                return mse(model.action(features).float(), positive)
            shape = len(frames), self.config.negatives, positive.shape[1]
            negatives = uniform(*shape, generator).to(self._device)
            energies = model.energy(features, torch.cat((positive[:, None], negatives), dim=1))
        return info_nce(energies[:, 0], energies[:, 1:])

    def _decide(self, frames: Frames) -> Tensor:
        """Normalised actions of the averaged weights, shape (B, H*D)."""
        model = self.average
        with self._autocast():
            features = model.encode(self._batches.observation(frames))
            if isinstance(model, ExplicitModel):
                return model.action(features).float()
            high = torch.ones_like(model.box.high)
            return _JUDGE.minimize(
                lambda actions: model.energy(features, actions),
                -high,
                high,
                len(frames),
                # The same candidates each time: only the weights differ.
                torch.Generator(self._device).manual_seed(0),
            ).best

    def _autocast(self) -> torch.autocast:
        enabled = self.config.precision == "bf16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=enabled)

    def _fit_normalisation(self, data: Demonstrations) -> None:
        encoder, frames = self.model.encoder, self._train
        encoder.fit(
            {n: torch.from_numpy(data.observations[n][frames]) for n in encoder.measurements}
        )
        self.model.box.fit(self._batches.actions(frames))

    def _update_average(self) -> None:
        # Early averages follow closely, or the random first weights would stay in them for long.
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(
                self.average.parameters(), self.model.parameters(), strict=True
            ):
                mean.lerp_(value, 1 - decay)

    def _skip(self) -> None:
        self.skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= _MOST_SKIPPED:
            raise TrainingError(
                f"{_MOST_SKIPPED} batches in a row were not finite; lower learning.learning_rate "
                "or look for bad values in the demonstrations"
            )


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that fills with the interrupts received; a second one interrupts at once."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield received  # Python delivers signals to the main thread alone
        return
    previous = signal.signal(signal.SIGINT, receive)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, previous)
