"""Small policies without images, trained as by train_policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.model_config import Kind, ModelConfig
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.negatives import NegativesConfig
from ebm_policy_ros.training.train import train
from ebm_policy_ros.training.train_config import POLICY, TrainConfig


def learn(
    folder: Path,
    demos: Path,
    interface: Interface,
    kind: Kind,
    inference: dict[str, Any] | None = None,
) -> Policy:
    """Train a small policy on the demonstrations within seconds; `inference` sets its search."""
    if kind == "energy" and inference is None:
        inference = {"samples": 256}
    path = folder / "interface.yaml"
    path.write_text(yaml.safe_dump(interface.to_dict()))
    config = TrainConfig(
        data=demos,
        out=folder / "run",
        interface=str(path),
        steps=600,
        device="cpu",
        model=ModelConfig(
            kind, tuple(interface.observation), trunk_width=64, head=HeadConfig(width=64)
        ),
        learning=LearningConfig(
            precision="fp32",
            learning_rate=3e-3,
            warm_up=20,
            validate_every=600,
            average_decay=0.98,
            negatives=NegativesConfig(count=24, around=24, nearest=0.01, farthest=0.3),
        ),
    )
    assert train(config)
    return Policy.load(config.out / POLICY, device="cpu", inference=inference)
