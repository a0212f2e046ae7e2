"""Command train_policy: trains a policy file from demonstrations."""

from __future__ import annotations

import copy
import dataclasses
import errno
import sys
import time
from collections.abc import Mapping
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
import yaml

from ebm_policy_ros.device.selection import find_device
from ebm_policy_ros.energy.models import Model, build_model
from ebm_policy_ros.energy.outline import outline
from ebm_policy_ros.inference.methods import settings_of
from ebm_policy_ros.training.learning.checkpoint import CheckpointError
from ebm_policy_ros.training.learning.coordinates import choose_coordinates
from ebm_policy_ros.training.learning.intents import intents_of
from ebm_policy_ros.training.learning.processes import Processes
from ebm_policy_ros.training.learning.trainer import CHECKPOINT, Trainer
from ebm_policy_ros.training.loading import TrainingData, load_training_data, refuse_other_shapes
from ebm_policy_ros.training.recipe import choose_recipe
from ebm_policy_ros.training.saving import policy_of, save_result
from ebm_policy_ros.training.success import SuccessInSimulation
from ebm_policy_ros.training.train_config import CONFIG, INTENTS, TrainConfig
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.yaml_file import read_yaml

# Steps of a trial that measures the speed, and those at its end that count.
_TIMED, _COUNTED = 60, 40


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
    mirrors = config.mirrors(loaded)
    file, reasons = choose_recipe(loaded, config.action, config.model.kind, mirrors)
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
        return load_training_data(config.sources, config, config.streams(), config.horizon)


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
        data = " ".join(map(str, config.sources))
        flags = f"--data {data} --out {config.out} --resume"
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
    data, weight = loaded.dataset, config.weight_corrections
    if config.threads:
        torch.set_num_threads(config.threads)
    action_size = int(np.prod(data.actions.shape[1:]))
    if config.evaluate and not loaded.interface:
        raise ValueError("evaluate: these arrays name no robot; give its --interface too")
    if config.evaluate and config.model.kind == "nearest_neighbour":
        raise ValueError("evaluate: nearest_neighbour has no steps; evaluate_policy judges it")
    mirrors = config.mirrors(loaded)
    coordinates = choose_coordinates(config.action, data, loaded.interface, mirrors)
    # Refuses a model that no robot would load.
    outline(config.model, loaded.shapes, action_size, coordinates)
    torch.manual_seed(config.seed)
    model = build_model(config.model, loaded.shapes, action_size, coordinates)
    if loaded.interface:  # features and relative actions may use further streams
        used = [*model.encoder.shapes, *model.box.streams]
        refuse_other_shapes(config.sources[0], data, loaded.interface, used)
    _try(model, loaded.shapes)

    @cache
    def intents() -> npt.NDArray[np.float32]:
        with processes.main_first():  # the others read what it found
            return intents_of(
                config.out / INTENTS,
                config.model,
                data,
                loaded.shapes,
                config.learning.held_out,
                config.seed,
                processes.device,
                mirrors,
                resume=config.resume or not processes.is_main,
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
            margin=config.action.margin,
            mirrors=mirrors,
            intents=intents if config.model.intents else None,
            weight_corrections=weight,
            identity={
                "model": config.model.to_dict(),
                "interface": loaded.interface.to_dict() if loaded.interface else None,
                "inference": settings_of(search),
                "coordinates": dataclasses.asdict(coordinates),
                **({"mirror": config.mirror} if config.mirror else {}),
                **({} if weight == 1 else {"weight_corrections": weight}),
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
        (config.out / CONFIG).write_text(yaml.safe_dump(config.plain(), sort_keys=False))
    success = None
    if config.evaluate and loaded.interface:
        success = SuccessInSimulation(
            config.out,
            config.evaluate,
            config.scenes,
            loaded.interface,
            lambda: policy_of(config, trainer, loaded, trainer.average.state_dict()),
        )
    if not trainer.run(success, config.every):
        return False
    if processes.is_main:
        save_result(config, trainer, loaded)
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
    # Intents are found before the first checkpoint is written.
    found = {path.name for path in config.out.iterdir()} if config.out.exists() else set()
    if not config.resume and found - {INTENTS}:
        cure = "continue its run with --resume or choose" if started else "choose"
        raise CheckpointError(f"{config.out}: not empty; {cure} another --out")


if __name__ == "__main__":
    main()
