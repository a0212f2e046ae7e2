"""Settings of a training run, and the files in its folder."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.inference.methods import InferenceMethod, build_inference
from ebm_policy_ros.inference.settings import at_least, positive
from ebm_policy_ros.training.calibration import FALSE_ALARMS, check_false_alarms
from ebm_policy_ros.training.data.mirror import Mirrors, mirrors_of
from ebm_policy_ros.training.data.options import EpisodeOptions
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.coordinates import ActionConfig
from ebm_policy_ros.training.loading import TrainingData
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import quote

POLICY = "policy.safetensors"
CONFIG = "config.yaml"
INTENTS = "intents.npy"
_PATHS = ("data", "out", "exclude", "cache")


@dataclass(frozen=True)
class TrainConfig(EpisodeOptions):
    """Train a policy on demonstrations. Give a file of these settings with --config."""

    data: tuple[Path, ...] | Path
    """Folder with the demonstrations, bag folders at any depth; or an .npz file of arrays. Several
    are given one after the other, as --data demos corrections."""
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
    weight_corrections: float = 1.0
    """Times that a corrected step, one that a person commanded in an execution of a policy, is
    trained on for each time that a demonstrated one is."""
    resume: bool = False
    """Continue the run in `out` exactly where it stopped."""
    device: str = "auto"
    """Device: auto (CUDA if available), cpu, cuda or cuda:N."""
    threads: int = 0
    """Threads of CPU operations; 0 for the default of torch."""
    evaluate: str = ""
    """Task of the simulation, such as push, in which the policy is judged during the training; the
    share of solved scenes goes to TensorBoard. Empty for none."""
    every: int = 2000
    """Steps from one such evaluation to the next."""
    scenes: int = 10
    """Scenes of each such evaluation."""
    false_alarms: float = FALSE_ALARMS
    """Share of familiar observations that the policy may classify as unfamiliar. The held-out
    frames set the threshold."""
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    """Architecture of the model."""
    mirror: dict[str, Any] | list[dict[str, Any]] | None = None
    """Symmetry of the task, which doubles the demonstrations, or several: for `action` and each
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
        at_least(self, 1, "steps", "every", "scenes")
        if self.time:
            self.seconds()
        at_least(self, 0, "seed", "threads", largest=2**63 - 1)
        at_least(self, 0, "horizon", largest=bounds.MOST_ACTION_VALUES)
        check_false_alarms(self.false_alarms)
        positive(self, "weight_corrections")
        if not self.sources:
            raise ValueError("data: got no folder, expected at least one")

    @property
    def sources(self) -> tuple[Path, ...]:
        """Folders and files of the demonstrations."""
        return (self.data,) if isinstance(self.data, Path) else self.data

    def streams(self) -> tuple[str, ...] | None:
        """Streams that the policy observes; None if they are not chosen."""
        return None if self.model.streams == ModelConfig().streams else self.model.streams

    def mirrors(self, loaded: TrainingData) -> Mirrors:
        """Symmetries of demonstrations."""
        size = loaded.dataset.actions.shape[2]
        return mirrors_of(self.mirror, loaded.shapes, size, loaded.interface)

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

    def plain(self) -> dict[str, Any]:
        """Convert the settings to plain values for YAML, JSON and --config."""
        plain = dataclasses.asdict(self)
        paths: dict[str, Any] = {
            name: None if plain[name] is None else str(plain[name]) for name in _PATHS
        }
        if len(self.sources) > 1:
            paths["data"] = [str(path) for path in self.sources]
        return {**plain, **paths, "model": self.model.to_dict(), "resume": False}

    def described(self) -> dict[str, Any]:
        """Convert the settings that describe a policy to plain values: all but the paths."""
        return {name: value for name, value in self.plain().items() if name not in _PATHS}
