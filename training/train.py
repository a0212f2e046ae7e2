"""train_policy: demonstrations in, one policy file out."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ebm_policy_ros.command_line import run_command
from ebm_policy_ros.energy.models import ModelConfig, build_model
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.policy import find_device
from ebm_policy_ros.policy_file import save_policy
from ebm_policy_ros.share import interface_path
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
    interface: str = "ur5e_push"
    """Interface file of the robot and task, or the bare name of one that the package ships."""
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


def main(argv: list[str] | None = None) -> None:
    """The command train_policy; `argv` replaces the command line's arguments."""
    switches = {"resume": "Continue the run in `out` exactly where it stopped."}
    run_command("train_policy", TrainConfig, _train_and_tell, argv, switches=switches)


def _train_and_tell(config: TrainConfig) -> None:
    if not train(config):
        print(f"stopped; --out {config.out} --resume continues", file=sys.stderr)
        raise SystemExit(130)


def train(config: TrainConfig) -> bool:
    """Do the run that `config` describes.

    Returns:
        Whether it came to its end, and wrote the policy file; else an interrupt stopped it.

    Raises:
        ValueError: (or a kind of it) in one line, if a file or a setting cannot be used.
    """
    _refuse_mix_up(config)
    interface = load_interface(interface_path(config.interface))
    shapes = _shapes(config, interface)
    data = load_dataset(config.data, interface)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    model = build_model(config.model, shapes, int(np.prod(data.actions.shape[1:])))
    trainer = Trainer(
        model,
        data,
        config.learning,
        steps=config.steps,
        seed=config.seed,
        folder=config.out,
        device=str(find_device(config.device)),
        identity={"model": config.model.to_dict(), "interface": interface.to_dict()},
    )
    if config.resume:
        trainer.resume()
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / CONFIG).write_text(yaml.safe_dump(_plain(config), sort_keys=False))
    if not trainer.run():
        return False
    _save_policy(config, trainer, interface, data)
    return True


def _refuse_mix_up(config: TrainConfig) -> None:
    """One folder holds one run."""
    started = (config.out / CHECKPOINT).exists()
    if config.resume and not started:
        raise CheckpointError(f"{config.out}: no {CHECKPOINT}; start the run without --resume")
    if not config.resume and config.out.exists() and any(config.out.iterdir()):
        cure = "continue its run with --resume or choose" if started else "choose"
        raise CheckpointError(f"{config.out}: not empty; {cure} another --out")


def _shapes(config: TrainConfig, interface: Interface) -> dict[str, tuple[int, ...]]:
    return {n: interface.shapes[n] for n in config.model.streams if n in interface.shapes}


def _save_policy(
    config: TrainConfig, trainer: Trainer, interface: Interface, data: Dataset
) -> None:
    explicit = config.model.kind == "explicit"
    save_policy(
        config.out / POLICY,
        trainer.best,
        config.model.to_dict(),
        _shapes(config, interface),
        interface,
        {} if explicit else dataclasses.asdict(config.optimiser),
        {
            "steps": config.steps,
            "seed": config.seed,
            "best_step": trainer.best_step,
            "held_out_action_error": trainer.best_error,
            "skipped_batches": trainer.skipped,
            "demonstrations": len(data.bags),
            "frames": len(data.actions),
            # Where the files were says nothing about the policy.
            "config": {k: v for k, v in _plain(config).items() if k not in ("data", "out")},
        },
    )
    print(
        f"{config.out / POLICY}: held-out action error {trainer.best_error:.4g} "
        f"{interface.action.unit} at step {trainer.best_step}"
    )


def _plain(config: TrainConfig) -> dict[str, Any]:
    """The settings as YAML and JSON hold them, and as --config reads them."""
    plain = dataclasses.asdict(config)
    paths = {name: str(plain[name]) for name in ("data", "out")}
    return {**plain, **paths, "model": config.model.to_dict(), "resume": False}


if __name__ == "__main__":
    main()
