"""Command calibrate_policy: confidence thresholds for a trained policy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ebm_policy_ros.device.selection import find_device
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import build_model
from ebm_policy_ros.policy.file import PolicyFile, load_policy_file, save_policy
from ebm_policy_ros.training.calibration import FALSE_ALARMS, calibrate, check_false_alarms
from ebm_policy_ros.training.data.batches import split_episodes
from ebm_policy_ros.training.data.dataset import DemonstrationError
from ebm_policy_ros.training.data.options import EpisodeOptions
from ebm_policy_ros.training.loading import TrainingData, load_training_data
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.resources import policy_path


@dataclass(frozen=True)
class CalibrateArgs(EpisodeOptions):
    """Calibrate the confidence thresholds of a trained policy; its weights do not change.

    One half of the demonstrations fits the distribution of familiar observations, the other half
    sets the thresholds. Use demonstrations that the policy was not trained on.
    """

    policy: str
    """Policy file, or the bare name of a shipped one."""
    data: Path
    """Folder with demonstrations, bag folders at any depth; or an .npz file of arrays."""
    out: Path
    """Policy file to write."""
    false_alarms: float = FALSE_ALARMS
    """Share of familiar observations that may be classified as unfamiliar, between 0 and 1."""
    seed: int = 0
    """Seed of the split into two halves."""
    device: str = "auto"
    """Device: auto (CUDA if available), cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_false_alarms(self.false_alarms)


def calibrate_policy(args: CalibrateArgs) -> None:
    """Write the policy file with thresholds, and print them.

    Raises:
        ValueError: (or a subclass) if a file cannot be used, or the output file exists.
    """
    if args.out.exists():
        raise FileExistsError(f"{args.out}: exists; choose another --out")
    content = load_policy_file(policy_path(args.policy))
    device = find_device(args.device)
    config = ModelConfig.from_dict(content.model)
    loaded = load_training_data(args.data, args, config.streams)
    _refuse_other_shapes(args, content, loaded)
    horizon, size = content.action_shape
    model = build_model(config, content.shapes, horizon * size, content.coordinates)
    model.load_state_dict(content.state)
    data = loaded.dataset
    known, held_out = split_episodes(data.episodes, 0.5, args.seed, data.corrections)
    found = calibrate(model.to(device).eval(), data, known, held_out, args.false_alarms)
    save_policy(args.out, dataclasses.replace(content, **vars(found)))
    thresholds = ", ".join(
        f"{name} at most {most:.3g}" for name, most in found.confidence["thresholds"].items()
    )
    print(f"{args.out}: {thresholds}; {len(data.names)} demonstrations")


def _refuse_other_shapes(args: CalibrateArgs, content: PolicyFile, loaded: TrainingData) -> None:
    for name, shape in content.shapes.items():
        got = loaded.shapes.get(name)
        if got != shape:
            raise DemonstrationError(
                f"{args.data}: {name} has shape {got}, {args.policy} was trained with {shape}"
            )


def main(argv: list[str] | None = None) -> None:
    """Run the command calibrate_policy; `argv` replaces the command line's arguments."""
    run_command("calibrate_policy", CalibrateArgs, calibrate_policy, argv)


if __name__ == "__main__":
    main()
