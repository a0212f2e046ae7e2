"""Policy files of a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ebm_policy_ros.energy.models import ImplicitModel
from ebm_policy_ros.inference.methods import settings_of
from ebm_policy_ros.policy.file import PolicyFile, save_policy
from ebm_policy_ros.training.calibration import calibrate
from ebm_policy_ros.training.data.batches import split_episodes
from ebm_policy_ros.training.learning.trainer import Trainer
from ebm_policy_ros.training.loading import TrainingData
from ebm_policy_ros.training.train_config import POLICY, TrainConfig


def policy_of(
    config: TrainConfig, trainer: Trainer, loaded: TrainingData, state: Mapping[str, Tensor]
) -> PolicyFile:
    """Return a policy file with some weights, without a calibration.

    Args:
        config: Settings of the run.
        trainer: Trainer of the run.
        loaded: Demonstrations of the run.
        state: Weights of the model.
    """
    model = trainer.model
    horizon, size = loaded.dataset.actions.shape[1:]
    streams = dict.fromkeys((*model.encoder.shapes, *model.box.streams))
    return PolicyFile(
        state=dict(state),
        model=config.model.to_dict(),
        shapes={name: loaded.shapes[name] for name in streams},
        action_shape=(horizon, size),
        interface=loaded.interface,
        inference=settings_of(config.search()) if isinstance(model, ImplicitModel) else {},
        coordinates=model.box.config,
        training=_description(config, trainer, loaded),
    )


def _description(config: TrainConfig, trainer: Trainer, loaded: TrainingData) -> dict[str, Any]:
    held_out = dataclasses.asdict(trainer.best_metrics)
    corrections = loaded.dataset.corrections
    return {
        "steps": trainer.step,
        "seed": config.seed,
        "best_step": trainer.best_step,
        "held_out": {k: v for k, v in held_out.items() if np.isfinite(v)},
        "skipped_batches": trainer.skipped,
        "demonstrations": len(loaded.dataset.names),
        **({} if corrections is None else {"corrected_steps": int(corrections.sum())}),
        "config": config.described(),
    }


def save_result(config: TrainConfig, trainer: Trainer, loaded: TrainingData) -> None:
    """Write the policy file of a complete run, with its calibration, and tell how good it is."""
    data, interface, metrics = loaded.dataset, loaded.interface, trainer.best_metrics
    content = policy_of(config, trainer, loaded, trainer.best)
    known, held_out = split_episodes(
        data.episodes, config.learning.held_out, config.seed, data.corrections
    )
    if len(held_out):
        trainer.average.load_state_dict(trainer.best)
        found = calibrate(trainer.average, data, known, held_out, config.false_alarms)
        content = dataclasses.replace(content, **vars(found))
    save_policy(config.out / POLICY, content)
    unit = f" {interface.action.unit}" if interface else ""
    rank = ""
    if isinstance(trainer.model, ImplicitModel):
        rank = f", rank {metrics.rank:.2%} (share of other actions that look better; 0 is best)"
    judged = f"held-out action error {metrics.action_error:.4g}{unit}{rank}"
    if np.isinf(metrics.action_error):
        judged = "nothing held out"
    print(f"{config.out / POLICY}: {judged}, weights of step {trainer.best_step}")
