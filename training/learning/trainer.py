"""Training loop of a policy's model, for the energy and for the explicit baselines."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils import parametrize
from tqdm import tqdm

from ebm_policy_ros.device.malloc import keep_freed_memory
from ebm_policy_ros.device.selection import has_cuda_graphs
from ebm_policy_ros.energy.action_space import MARGIN
from ebm_policy_ros.energy.baselines import NearestNeighbourModel
from ebm_policy_ros.energy.models import EnergyModel, Model
from ebm_policy_ros.inference.methods import InferenceMethod
from ebm_policy_ros.training.data.batches import Batches, Demonstrations, split_episodes
from ebm_policy_ros.training.data.checking import check_demonstrations
from ebm_policy_ros.training.data.mirror import NO_MIRRORS, Mirrors
from ebm_policy_ros.training.learning import checkpoint
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.curves import Curves
from ebm_policy_ros.training.learning.evaluator import EvaluationMetrics, Evaluator, autocast
from ebm_policy_ros.training.learning.graph_chains import GraphChains
from ebm_policy_ros.training.learning.interrupts import interrupts
from ebm_policy_ros.training.learning.negatives import Walk
from ebm_policy_ros.training.learning.objective import Scalars, check_objective, loss_of
from ebm_policy_ros.training.learning.processes import Processes
from ebm_policy_ros.training.learning.weights import begin_linear, fit, update_average
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import quote

CHECKPOINT = "checkpoint.safetensors"
# A run that skips this many batches in a row has diverged.
_MOST_SKIPPED = 50
_LOG_EVERY = 20


class TrainingError(ValueError):
    """Error if training cannot start or continue; the text gives the remedy."""


class Trainer:
    """Trainer of a model.

    The frames, negatives and learning rate of a step depend only on the seed and the step number,
    so a run continued from a checkpoint equals an uninterrupted run. For the whole process, freed
    memory is kept and denormal numbers are flushed to 0 from here on.
    """

    def __init__(
        self,
        model: Model,
        data: Demonstrations,
        config: LearningConfig,
        inference: InferenceMethod,
        *,
        steps: int,
        seed: int,
        folder: Path,
        device: str = "cpu",
        margin: float = MARGIN,
        mirrors: Mirrors = NO_MIRRORS,
        intents: Callable[[], npt.NDArray[np.float32]] | None = None,
        weight_corrections: float = 1.0,
        identity: dict[str, Any] | None = None,
    ) -> None:
        """Prepare a run; `run` or `update` starts it.

        Args:
            model: Model with its initial weights; its normalisation is fitted here.
            data: The demonstrations.
            config: Settings of the training.
            inference: Search for the action of lowest energy on held-out frames.
            steps: Batches in the whole run.
            seed: Source of all randomness from here on.
            folder: Folder for checkpoint and log; created when they are written.
            device: Device of the training, as torch names it.
            margin: Share of the demonstrated range by which the action box is wider on each side.
            mirrors: Mirrors whose images of the demonstrations are trained on too.
            intents: Function that returns the intents that the frames of all images tell, (M *
                images, 2), called when the demonstrations have been checked; None for none.
            weight_corrections: Corrected frames are drawn so many times as often as others.
            identity: Further settings that a continued run must share with this one.

        Raises:
            ValueError: (or a subclass) if settings or demonstrations cannot be used.
        """
        if steps < 1:
            raise ValueError(f"steps: got {steps}, expected an integer >= 1")
        self.config, self.steps, self.folder = config, steps, folder
        self._processes = Processes(torch.device(device))
        self._device = self._processes.device
        self._train, self._held = split_episodes(
            data.episodes, config.held_out, seed, data.corrections
        )
        if min(config.batch_size, len(self._train)) < self._processes.count:
            raise TrainingError(
                f"learning.batch_size: got batches of {min(config.batch_size, len(self._train))} "
                f"frames for {self._processes.count} processes, expected at least one frame each"
            )
        streams = tuple({**model.encoder.shapes, **dict.fromkeys(model.box.streams)})
        check_objective(model, config)
        check_demonstrations(data, streams, config.allow_constant)
        keep_freed_memory()
        # A confident model has gradients near 0; on some processors denormal numbers are ten times
        # slower.
        torch.set_flush_denormal(True)
        size = config.batch_size
        told = intents() if intents else None
        self._batches = Batches(
            data, streams, size, seed, self._device, mirrors, told, weight_corrections
        )
        self._train = mirrors.images(self._train, len(data.actions))
        self.model = model.to(self._device)
        self._walk: Walk | None = None
        if has_cuda_graphs(self._device) and isinstance(self.model, EnergyModel):
            self._walk = GraphChains(self.model, config.negatives.chain)
        fit(self.model, self._batches, self._train, config.batch_size, margin)
        if config.linear_start and isinstance(self.model, EnergyModel):
            begin_linear(self.model, self._batches, self._train, config.batch_size)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self._evaluator = Evaluator(self.average, inference, config, self._batches, self._held)
        # A model without weights still needs an optimizer.
        weights = list(self.model.parameters()) or [torch.nn.Parameter(torch.zeros(0))]
        self._optimizer = torch.optim.AdamW(
            weights, config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.step = self.skipped = self._skipped_in_a_row = 0
        self.best: dict[str, Tensor] = {}
        """Weights to save: the last ones that were evaluated, or the best."""
        self.best_step, self.best_metrics = 0, EvaluationMetrics.worst()
        self._identity = {
            **(identity or {}),
            "steps": steps,
            "seed": seed,
            "margin": margin,
            "learning": dataclasses.asdict(config),
            "demonstrations": self._batches.identity(),
        }

    def run(
        self, success: Callable[[int], Mapping[str, float]] | None = None, every: int = 1
    ) -> bool:
        """Train to the last step, or until an interrupt (SIGINT), which saves first.

        With several processes only the main one evaluates, logs and saves.

        Args:
            success: Function that judges the averaged weights of a step, also of step 0, by
                scalars to log.
            every: Steps from one such judgement to the next.

        Returns:
            True if the last step was reached.
        """
        started, first = time.monotonic(), self.step
        if isinstance(self.model, NearestNeighbourModel):
            self.step = self.steps  # it needs no steps
        if not self._processes.is_main:
            return self._follow()
        if isinstance(self.model, NearestNeighbourModel):
            self.validate()
        if first == 0:
            self.save()  # so that a run that is killed early can be continued too
        bar = tqdm(total=self.steps, initial=first, unit="step", dynamic_ncols=True)
        with Curves(self.folder, first + 1) as curves, bar, interrupts() as received:
            if success and first == 0:
                self._judge(success, curves)
            while self.step < self.steps and not self._processes.any(bool(received)):
                loss, norm, scalars = self.update()
                last = self.step == self.steps
                bar.update()
                if self.step % _LOG_EVERY == 0 or last:
                    shown = {"loss": f"{loss:.3f}"}
                    if math.isfinite(self.best_metrics.action_error):
                        shown["held_out"] = f"{self.best_metrics.action_error:.4f}"
                    bar.set_postfix(shown)
                    curves.add("train/loss", loss, self.step)
                    curves.add("train/gradient_norm", norm, self.step)
                    curves.add("train/skipped", self.skipped, self.step)
                    rate = self.config.rate_at(self.step, self.steps)
                    curves.add("train/learning_rate", rate, self.step)
                    pace = (self.step - first) / (time.monotonic() - started)
                    curves.add("train/steps_per_second", pace, self.step)
                    for name, value in scalars.items():
                        curves.add(f"train/{name}", value.item(), self.step)
                if self.step % self.config.validate_every == 0 or last:
                    for name, value in dataclasses.asdict(self.validate()).items():
                        curves.add(f"held_out/{name}", value, self.step)
                if self.step % self.config.checkpoint_every == 0 or last:
                    self.save()
                if success and (self.step % every == 0 or last) and not received:
                    self._judge(success, curves)
            if self.step < self.steps:
                self.save()
        return self.step == self.steps

    def _judge(self, success: Callable[[int], Mapping[str, float]], curves: Curves) -> None:
        for name, share in success(self.step).items():
            curves.add(name, share, self.step)

    def _follow(self) -> bool:
        """Training steps of a process other than the main one."""
        with interrupts() as received:
            while self.step < self.steps and not self._processes.any(bool(received)):
                self.update()
        return self.step == self.steps

    def update(self) -> tuple[float, float, Scalars]:
        """Train on one batch; a batch that is not finite is skipped and counted.

        Returns:
            The loss, the norm of its gradient before clipping, and scalars to log.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.rate_at(self.step, self.steps)
        frames = self._batches.frames_of(self.step, self._train)
        shifts = self._batches.generator(self.step)
        draws = self._batches.generator(self.step, self._device)
        self._optimizer.zero_grad()
        rows = self._processes.rows(len(frames))
        # It draws for the whole batch itself.
        seen = self._batches.observation(frames, self.config.augmentation, shifts, rows)
        # A normalised weight is computed once per step, however often a chain needs it.
        with (
            parametrize.cached(),
            autocast(self.config, self._device),
            self._processes.draws(len(frames)),
        ):
            origin = self.model.box.origin(seen)
            positive = self.model.box.normalise(self._batches.actions(frames[rows]), origin)
            encoded, _, energies = self.model.encoder.committed(seen)
            features = self.model.prepare(encoded)
            loss, scalars = loss_of(self.model, features, positive, self.config, draws, self._walk)
            commitment = self.model.encoder.commitment
            if commitment is not None and energies is not None:
                scalars["intent"] = commitment.loss(energies, seen)
                loss = loss + scalars["intent"]
            # Means over these rows, weighted so that their sum is the mean over the batch.
            share = len(positive) / len(frames)
            loss, scalars = loss * share, {name: value * share for name, value in scalars.items()}
        loss.backward()  # type: ignore[no-untyped-call]
        weights = list(self.model.parameters())
        slopes = [weight.grad for weight in weights if weight.grad is not None]
        self._processes.add_up([loss, *scalars.values(), *slopes])
        norm = torch.nn.utils.clip_grad_norm_(weights, self.config.gradient_clip)
        self.step += 1
        # One transfer for both, so that the device is synchronised once.
        lost, steepness = torch.stack((loss.detach(), norm)).tolist()
        # One such gradient in AdamW's moments would spoil every later step.
        if math.isfinite(lost) and math.isfinite(steepness):
            self._skipped_in_a_row = 0
            self._optimizer.step()
            # Early averages follow closely, so that the initial weights are forgotten soon.
            decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
            update_average(self.average, self.model, decay)
        else:
            self._skip()
        return lost, steepness, scalars

    def validate(self) -> EvaluationMetrics:
        """Evaluate the averaged weights on held-out frames, and keep them if they are better."""
        # The same negatives each time, so that only the weights differ.
        metrics = self._evaluator.evaluate(self._batches.generator(self.steps, self._device))
        choice = self.config.choose_by if len(self._held) else "last"
        if metrics.better_than(self.best_metrics, choice):
            self.best_metrics, self.best_step = metrics, self.step
            self.best = {name: value.clone() for name, value in self.average.state_dict().items()}
        return metrics

    def save(self) -> None:
        """Write the checkpoint."""
        parts = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
            "optimizer": checkpoint.optimizer_tensors(self._optimizer),
        }
        progress = {
            "identity": self._identity,
            "step": self.step,
            "skipped": self.skipped,
            "skipped_in_a_row": self._skipped_in_a_row,
            "best_step": self.best_step,
            "verdict": dataclasses.asdict(self.best_metrics) if self.best else None,
        }
        checkpoint.save_checkpoint(self.folder / CHECKPOINT, parts, progress)

    def resume(self) -> None:
        """Continue from the folder's checkpoint.

        Raises:
            CheckpointError: If there is none, or it is damaged or of another run.
        """
        path = self.folder / CHECKPOINT
        parts, progress = checkpoint.load_checkpoint(path)
        try:
            checkpoint.refuse_other_run(path, self._identity, progress["identity"])
            counts = ("step", "skipped", "skipped_in_a_row", "best_step")
            for name in counts:
                bounds.check_whole(name, progress[name], 0, self.steps)
            best = parts.get("best", {})
            metrics = (
                EvaluationMetrics(**progress["verdict"]) if best else EvaluationMetrics.worst()
            )
            if not all(map(bounds.is_number, dataclasses.astuple(metrics))):
                raise ValueError(f"verdict: got {quote(progress['verdict'])}, expected numbers")
            for state in (best, parts["model"], parts["average"]):
                if state:
                    self.average.load_state_dict(state)  # raises if it does not match
            self.model.load_state_dict(parts["model"])
            checkpoint.load_optimizer_tensors(self._optimizer, parts.get("optimizer", {}))
        except checkpoint.CheckpointError:
            raise
        except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            raise checkpoint.damaged(path, error) from None
        self.best, self.best_metrics = best, metrics
        self.step, self.skipped, self._skipped_in_a_row, self.best_step = (
            progress[name] for name in counts
        )

    def _skip(self) -> None:
        self.skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= _MOST_SKIPPED:
            raise TrainingError(
                f"{_MOST_SKIPPED} batches in a row were not finite; lower learning.learning_rate "
                "or look for bad values in the demonstrations"
            )
