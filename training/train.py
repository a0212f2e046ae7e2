"""train_policy: demonstrations in, one policy file out."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import torch

from ebm_policy_ros.energy.models import EnergyModel, ExplicitModel, ModelConfig, build_model
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.policy_file import save_policy
from ebm_policy_ros.training.checkpoint import CheckpointError
from ebm_policy_ros.training.dataset import Dataset, load_dataset
from ebm_policy_ros.training.learning import LearningConfig
from ebm_policy_ros.training.trainer import CHECKPOINT, Trainer

POLICY = "policy.safetensors"
CONFIG = "config.yaml"


@dataclass(frozen=True)
class TrainConfig:
    """Train a policy on demonstrations. Give it a file of these settings with --config."""

    data: Path
    """Folder with the demonstrations: bag folders, at any depth."""
    out: Path
    """Folder of this run: checkpoint, log and at the end policy.safetensors."""
    interface: Path = Path("config/interfaces/ur5e_push.yaml")
    """The interface file of the robot and the task."""
    steps: int = 4000
    """Batches to train on."""
    seed: int = 0
    """Source of all randomness: the same seed gives the same policy on the same machine."""
    resume: bool = False
    """Continue the run in `out` exactly where it stopped."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda or cuda:N."""
    threads: int = 0
    """Threads of the CPU arithmetic; 0 leaves the choice to torch."""
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    """What the model is made of."""
    learning: LearningConfig = dataclasses.field(default_factory=LearningConfig)
    """How it learns."""
    optimiser: DerivativeFree = dataclasses.field(
        default_factory=lambda: DerivativeFree(samples=1024)
    )
    """The search for the action of lowest energy that the policy file asks for."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: got {self.steps}, expected an integer >= 1")
        if self.seed < 0:
            raise ValueError(f"seed: got {self.seed}, expected an integer >= 0")
        if self.threads < 0:
            raise ValueError(f"threads: got {self.threads}, expected an integer >= 0")


def main(argv: Sequence[str] | None = None) -> None:
    """The command train_policy; `argv` replaces the command line's arguments."""
    parser = _parser()
    arguments = parser.parse_args(None if argv is None else list(argv))
    try:
        config: TrainConfig = parser.instantiate_classes(arguments).config_of_run
        finished = train(config)
    except ValueError as error:
        print(f"train_policy: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if not finished:
        print(f"stopped; continue with --out {config.out} --resume", file=sys.stderr)
        raise SystemExit(130)
