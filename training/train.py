"""Command train_policy: trains a policy file from demonstrations."""

from __future__ import annotations

import copy
import dataclasses
import errno
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ebm_policy_ros.device.selection import find_device
from ebm_policy_ros.energy.models import ImplicitModel, Model, ModelConfig, build_model
from ebm_policy_ros.energy.outline import outline
from ebm_policy_ros.inference.methods import InferenceMethod, build_inference, settings_of
from ebm_policy_ros.inference.settings import at_least
from ebm_policy_ros.policy.file import PolicyFile, save_policy
from ebm_policy_ros.training.calibration import (
    FALSE_ALARMS,
    Calibration,
    calibrate,
    check_false_alarms,
)
from ebm_policy_ros.training.data.batches import split_episodes
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.data.mirror import Mirror
from ebm_policy_ros.training.data.options import EpisodeOptions
from ebm_policy_ros.training.learning.checkpoint import CheckpointError
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.coordinates import ActionConfig, choose_coordinates
from ebm_policy_ros.training.learning.intents import intents_of
from ebm_policy_ros.training.learning.processes import Processes
from ebm_policy_ros.training.learning.trainer import CHECKPOINT, Trainer
from ebm_policy_ros.training.loading import TrainingData, load_training_data, refuse_other_shapes
from ebm_policy_ros.training.recipe import choose_recipe
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.quoting import quote
from ebm_policy_ros.util.yaml_file import read_yaml

POLICY = "policy.safetensors"
CONFIG = "config.yaml"
INTENTS = "intents.npy"
# Steps of a trial that measures the speed, and those at its end that count.
_TIMED, _COUNTED = 60, 40
_PATHS = ("data", "out", "exclude", "cache")


@dataclass(frozen=True)
class TrainConfig(EpisodeOptions):
    """Train a policy on demonstrations. Give a file of these settings with --config."""

    data: Path
    """Folder with the demonstrations, bag folders at any depth; or an .npz file of arrays."""
    out: Path
    """Folder of this run: checkpoint, log and finally policy.safetensors."""
    horizon: int = 0
    """Actions of a decision; 0 for as many as the interface says or the arrays have."""
    steps: int = 4000
    """Batches to train on."""
    time: str = ""
    """Time of the training, as 90s, 10m or 2h, from which the number of steps is computed; empty
    for `steps`."""
    seed: int = 0
    """Seed of all randomness: the same seed gives the same policy on the same machine."""
    resume: bool = False
    """Continue the run in `out` exactly where it stopped."""
    device: str = "auto"
    """Device: auto (CUDA if available), cpu, cuda or cuda:N."""
    threads: int = 0
    """Threads of CPU operations; 0 for the default of torch."""
    false_alarms: float = FALSE_ALARMS
    """Share of familiar observations that the policy may classify as unfamiliar. The held-out
    frames set the threshold."""
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    """Architecture of the model."""
    mirror: dict[str, Any] | None = None
    """Mirror symmetry of the task, which doubles the demonstrations: for `action` and each
    measured stream the fields that change sign, for each camera its flips (rows, columns,
    transpose), see docs/how-to/train.md. Without it there is none."""
    action: ActionConfig = dataclasses.field(default_factory=ActionConfig)
    """Coordinates in which actions are learned and searched."""
    learning: LearningConfig = dataclasses.field(default_factory=LearningConfig)
    """Settings of the training."""
    inference: dict[str, int | float | str] = dataclasses.field(default_factory=dict)
    """Search for the action of lowest energy in the policy file: `method` (derivative_free,
    autoregressive, langevin, hybrid, hmc or mala) and its settings, see
    docs/reference/methods.md. Empty: derivative_free with 1024 samples, or autoregressive for such
    a model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps")
        if self.time:
            self.seconds()
        at_least(self, 0, "seed", "threads", largest=2**63 - 1)
        at_least(self, 0, "horizon", largest=bounds.MOST_ACTION_VALUES)
        check_false_alarms(self.false_alarms)

    def streams(self) -> tuple[str, ...] | None:
        """Streams that the policy observes; None if they are not chosen."""
        return None if self.model.streams == ModelConfig().streams else self.model.streams

    def mirror_of(self, loaded: TrainingData) -> Mirror | None:
        """Mirror symmetry of demonstrations; None if there is none."""
        if self.mirror is None:
            return None
        size = loaded.dataset.actions.shape[2]
        return Mirror.of(self.mirror, loaded.shapes, size, loaded.interface)

    def seconds(self) -> float:
        """Time of the training in seconds.

        Raises:
            ValueError: If `time` is not a number and a unit.
        """
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([smh])", self.time)
        if not found or float(found[1]) == 0:
            raise ValueError(f"time: got {quote(self.time)}, expected for example 90s, 10m or 2h")
        return float(found[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]

    def search(self) -> InferenceMethod:
        """Inference method of the `inference` settings.

        Raises:
            ValueError: If there is no such method or setting.
        """
        by_dimension = self.model.kind == "autoregressive"
        usual = "autoregressive" if by_dimension else "derivative_free"
        settings = {"method": usual, **self.inference}
        if settings["method"] == "derivative_free":
            settings.setdefault("samples", 1024)
        found = build_inference(settings)
        if not hasattr(found, "temperature") or "temperature" in settings:
            return found
        # Energies trained with a temperature define the distribution only with this temperature.
        return build_inference({**settings, "temperature": self.learning.temperature})


def main(argv: list[str] | None = None) -> None:
    """Run the command train_policy; `argv` replaces the command line's arguments."""
    switches = {"resume": "Continue the run in `out` exactly where it stopped."}
    loaded: list[TrainingData] = []  # by the choice of the recipe, for the training

    def recipe(config: TrainConfig) -> list[str]:
        options, data = _recipe(config)
        loaded.extend(data)
        return options

    def run(config: TrainConfig) -> None:
        _train_and_tell(config, *loaded)

    run_command("train_policy", TrainConfig, run, argv, switches=switches, recipe=recipe)


def _recipe(config: TrainConfig) -> tuple[list[str], list[TrainingData]]:
    """Choose the recipe for a command line without a file, and tell it with the reasons.

    Returns:
        Options of the recipe, and the demonstrations if they were read.
    """
    config.search()
    processes = Processes(find_device(config.device))
    if config.resume:
        _refuse_mix_up(config)
        return ["--config", str(config.out / CONFIG)], []
    loaded = _load(config, processes)
    mirror = config.mirror_of(loaded)
    file, reasons = choose_recipe(loaded, config.action, config.model.kind, mirror)
    if processes.is_main:
        print("\n".join((f"recipe {file}:", *(f"  {reason}" for reason in reasons))))
        print(f"all settings will be in {config.out / CONFIG}, to change and give with --config")
    own = read_yaml(file)["inference"]["method"]
    others = config.inference.get("method", own) != own
    # The settings of one method mean nothing to another.
    return ["--config", str(file), *(["--inference={}"] if others else [])], [loaded]


def _load(config: TrainConfig, processes: Processes) -> TrainingData:
    """Read the demonstrations, if nothing is in the folder of the run that must stay."""
    # The main process fills the cache, which the others read.
    with processes.main_first():
        if processes.is_main:
            _refuse_mix_up(config)
        return load_training_data(config.data, config, config.streams(), config.horizon)


def _train_and_tell(config: TrainConfig, loaded: TrainingData | None = None) -> None:
    try:
        done = train(config, loaded)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        saved = (config.out / CHECKPOINT).exists()
        cure = "--resume continues" if saved else "start anew with another --out"
        raise OSError(f"{config.out}: the disk is full; make room, {cure}") from None
    if not done:
        flags = f"--data {config.data} --out {config.out} --resume"
        print(f"stopped; {flags} continues", file=sys.stderr)
        raise SystemExit(130)


def train(config: TrainConfig, loaded: TrainingData | None = None) -> bool:
    """Execute the run that `config` describes.

    Args:
        config: Settings of the run.
        loaded: Its demonstrations, if they were read already.

    Returns:
        True if it was completed and the policy file was written; False after an interrupt.

    Raises:
        ValueError: (or a subclass) with a message of one line, if a file or a setting cannot be
            used.
    """
    search = config.search()
    processes = Processes(find_device(config.device))
    loaded = loaded or _load(config, processes)
    model_config = dataclasses.replace(config.model, streams=loaded.streams)
    config = dataclasses.replace(config, model=model_config)
    data = loaded.dataset
    if config.threads:
        torch.set_num_threads(config.threads)
    action_size = int(np.prod(data.actions.shape[1:]))
    mirror = config.mirror_of(loaded)
    coordinates = choose_coordinates(config.action, data, loaded.interface, mirror)
    # Refuses a model that no robot would load.
    outline(config.model, loaded.shapes, action_size, coordinates)
    torch.manual_seed(config.seed)
    model = build_model(config.model, loaded.shapes, action_size, coordinates)
    if loaded.interface:  # features and relative actions may use further streams
        used = [*model.encoder.shapes, *model.box.streams]
        refuse_other_shapes(config.data, data, loaded.interface, used)
    _try(model, loaded.shapes)

    intents = None
    if config.model.intents:
        with processes.main_first():  # the others read what it found
            intents = intents_of(
                config.out / INTENTS,
                config.model,
                data,
                loaded.shapes,
                coordinates,
                config.learning.held_out,
                config.seed,
                processes.device,
                mirror,
            )

    def trainer_of(model: Model, steps: int) -> Trainer:
        return Trainer(
            model,
            data,
            config.learning,
            search,
            steps=steps,
            seed=config.seed,
            folder=config.out,
            device=str(processes.device),
            mirror=mirror,
            intents=intents,
            identity={
                "model": config.model.to_dict(),
                "interface": loaded.interface.to_dict() if loaded.interface else None,
                "inference": settings_of(search),
                "coordinates": dataclasses.asdict(coordinates),
                **({"mirror": config.mirror} if config.mirror else {}),
            },
        )

    if config.time and config.resume:
        steps = read_yaml(config.out / CONFIG)["steps"]
        config = dataclasses.replace(config, steps=steps, time="")
    elif config.time and config.model.kind != "nearest_neighbour":
        steps = _steps_in(config.seconds(), trainer_of(copy.deepcopy(model), _TIMED), processes)
        config = dataclasses.replace(config, steps=steps, time="")
        if processes.is_main:
            print(f"{steps:,} steps in the time")
    trainer = trainer_of(model, config.steps)
    if config.resume:
        trainer.resume()
    if processes.is_main:
        config.out.mkdir(parents=True, exist_ok=True)
        (config.out / CONFIG).write_text(yaml.safe_dump(_plain(config), sort_keys=False))
    if not trainer.run():
        return False
    if processes.is_main:
        _save_policy(config, trainer, loaded, data, search)
    return True


def _steps_in(seconds: float, trial: Trainer, processes: Processes) -> int:
    """Number of steps that fit into a time, by the speed of the first ones of a trial.

    It is the same in all processes: the mean of what they measure.
    """
    for _ in range(_TIMED - _COUNTED):
        trial.update()
    started = time.monotonic()
    for _ in range(_COUNTED):
        trial.update()
    taken = torch.tensor([(time.monotonic() - started) / processes.count])
    taken = taken.to(processes.device)
    processes.add_up([taken])
    return max(1, int(seconds * _COUNTED / taken.item()))


def _try(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Encode an empty observation, which refuses an encoder that is not what it says."""
    observation = {
        name: torch.zeros(2, *shape, dtype=torch.uint8 if len(shape) == 4 else torch.float32)
        for name, shape in shapes.items()
    }
    with torch.no_grad():
        model.eval().encode(observation)
    model.train()


def _refuse_mix_up(config: TrainConfig) -> None:
    """Refuse a folder of another run."""
    started = (config.out / CHECKPOINT).exists()
    if config.resume and not started:
        raise CheckpointError(f"{config.out}: no {CHECKPOINT}; start the run without --resume")
    if not config.resume and config.out.exists() and any(config.out.iterdir()):
        cure = "continue its run with --resume or choose" if started else "choose"
        raise CheckpointError(f"{config.out}: not empty; {cure} another --out")


def _save_policy(
    config: TrainConfig,
    trainer: Trainer,
    loaded: TrainingData,
    data: Dataset,
    search: InferenceMethod,
) -> None:
    interface, metrics = loaded.interface, trainer.best_metrics
    training = {
        "steps": config.steps,
        "seed": config.seed,
        "best_step": trainer.best_step,
        "held_out": {k: v for k, v in dataclasses.asdict(metrics).items() if np.isfinite(v)},
        "skipped_batches": trainer.skipped,
        "demonstrations": len(data.names),
        # The paths of the files do not describe the policy.
        "config": {k: v for k, v in _plain(config).items() if k not in _PATHS},
    }
    horizon, size = data.actions.shape[1:]
    found = _calibrated(config, trainer, data)
    content = PolicyFile(
        state=trainer.best,
        model=config.model.to_dict(),
        shapes={
            name: loaded.shapes[name]
            for name in dict.fromkeys((*trainer.model.encoder.shapes, *trainer.model.box.streams))
        },
        action_shape=(horizon, size),
        interface=interface,
        inference=settings_of(search) if isinstance(trainer.model, ImplicitModel) else {},
        coordinates=trainer.model.box.config,
        training=training,
        **(vars(found) if found else {}),
    )
    save_policy(config.out / POLICY, content)
    unit = f" {interface.action.unit}" if interface else ""
    rank = ""
    if isinstance(trainer.model, ImplicitModel):
        rank = f", rank {metrics.rank:.2%} (share of other actions that look better; 0 is best)"
    judged = f"held-out action error {metrics.action_error:.4g}{unit}{rank}"
    if np.isinf(metrics.action_error):
        judged = "nothing held out"
    print(f"{config.out / POLICY}: {judged}, weights of step {trainer.best_step}")


def _calibrated(config: TrainConfig, trainer: Trainer, data: Dataset) -> Calibration | None:
    """Calibrate the confidence on the held-out frames; None if there are none."""
    known, held_out = split_episodes(data.episodes, config.learning.held_out, config.seed)
    if len(held_out) == 0:
        return None
    trainer.average.load_state_dict(trainer.best)
    return calibrate(trainer.average, data, known, held_out, config.false_alarms)


def _plain(config: TrainConfig) -> dict[str, Any]:
    """Settings as plain values for YAML, JSON and --config."""
    plain = dataclasses.asdict(config)
    paths = {name: None if plain[name] is None else str(plain[name]) for name in _PATHS}
    return {**plain, **paths, "model": config.model.to_dict(), "resume": False}


if __name__ == "__main__":
    main()
