"""Energy-based policies for real-robot manipulation with ROS 2.

The public names are loaded when they are first used: importing the package takes neither torch nor
rclpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ebm_policy_ros.bags.bag import Bag
    from ebm_policy_ros.control.command_guard import CommandGuard
    from ebm_policy_ros.energy.model_config import ModelConfig
    from ebm_policy_ros.energy.models import EnergyModel
    from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree
    from ebm_policy_ros.inference.derivative_free import DerivativeFree
    from ebm_policy_ros.inference.hybrid import Hybrid
    from ebm_policy_ros.inference.langevin import Langevin
    from ebm_policy_ros.inference.metropolis import HamiltonianMonteCarlo, MetropolisLangevin
    from ebm_policy_ros.inference.solution import Solution
    from ebm_policy_ros.interface import Interface, load_interface
    from ebm_policy_ros.observation.buffer import ObservationBuffer
    from ebm_policy_ros.policy.decision import Decision
    from ebm_policy_ros.policy.policy import Policy
    from ebm_policy_ros.training.data.episodes import read_episode
    from ebm_policy_ros.training.learning.config import LearningConfig
    from ebm_policy_ros.training.learning.losses import info_nce
    from ebm_policy_ros.training.train import train
    from ebm_policy_ros.training.train_config import TrainConfig

__version__ = "0.1.0"

__all__ = [
    "AutoregressiveDerivativeFree",
    "Bag",
    "CommandGuard",
    "Decision",
    "DerivativeFree",
    "EnergyModel",
    "HamiltonianMonteCarlo",
    "Hybrid",
    "Interface",
    "Langevin",
    "LearningConfig",
    "MetropolisLangevin",
    "ModelConfig",
    "ObservationBuffer",
    "Policy",
    "Solution",
    "TrainConfig",
    "info_nce",
    "load_interface",
    "read_episode",
    "train",
]

_HOMES = {
    "AutoregressiveDerivativeFree": "inference.autoregressive",
    "Bag": "bags.bag",
    "CommandGuard": "control.command_guard",
    "Decision": "policy.decision",
    "DerivativeFree": "inference.derivative_free",
    "EnergyModel": "energy.models",
    "HamiltonianMonteCarlo": "inference.metropolis",
    "Hybrid": "inference.hybrid",
    "Interface": "interface",
    "Langevin": "inference.langevin",
    "LearningConfig": "training.learning.config",
    "MetropolisLangevin": "inference.metropolis",
    "ModelConfig": "energy.model_config",
    "ObservationBuffer": "observation.buffer",
    "Policy": "policy.policy",
    "Solution": "inference.solution",
    "TrainConfig": "training.train_config",
    "info_nce": "training.learning.losses",
    "load_interface": "interface",
    "read_episode": "training.data.episodes",
    "train": "training.train",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
