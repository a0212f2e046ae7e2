"""The models of a policy: an energy over actions, and the regression it is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor, nn

from ebm_policy_ros.energy.encoders import ImageEncoderConfig, ObservationEncoder
from ebm_policy_ros.energy.heads import ActionHead, EnergyHead
from ebm_policy_ros.energy.normalisation import ActionBox

Kind = Literal["energy", "explicit"]


@dataclass(frozen=True)
class ModelConfig:
    """What a model is made of. Travels in the policy file."""

    kind: Kind = "energy"
    """energy: the action is the minimiser of a learned energy; explicit: it is regressed (MSE)."""
    streams: tuple[str, ...] = ("camera", "tool")
    """Streams of the interface that the policy looks at."""
    image: ImageEncoderConfig = dataclasses.field(default_factory=ImageEncoderConfig)
    """The encoder of each camera."""
    trunk_width: int = 256
    """Units in the layers that join the streams."""
    head_width: int = 256
    """Units in the layers that see the action."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind: got {self.kind!r}, expected {' or '.join(get_args(Kind))}")
        if not self.streams or len(set(self.streams)) != len(self.streams):
            raise ValueError(f"streams: got {list(self.streams)}, expected names, each once")
        for name in ("trunk_width", "head_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected units >= 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON keeps them and `from_dict` reads them."""
        return {
            **dataclasses.asdict(self),
            "streams": list(self.streams),
            "image": {name: list(value) for name, value in vars(self.image).items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The settings in plain values.

        Raises:
            ValueError: If a key or a value is not one of these settings.
        """
        try:
            image = ImageEncoderConfig(**{k: tuple(v) for k, v in dict(values["image"]).items()})
            parts = {**values, "streams": tuple(values["streams"]), "image": image}
            return cls(**parts)
        except (KeyError, TypeError) as error:
            raise ValueError(f"model settings: {error}") from None


class EnergyModel(nn.Module):
    """E(observation, action): low for what a demonstrator would do."""

    def __init__(
        self, config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], action_size: int
    ) -> None:
        """For the streams of `shapes` and actions of `action_size` (H*D) values."""
        super().__init__()
        self.encoder = ObservationEncoder(config.image, shapes, config.trunk_width)
        self.head = EnergyHead(config.trunk_width, action_size, config.head_width)
        self.box = ActionBox(action_size)

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Everything that doesn't depend on the action: once per observation, shape (B, F)."""
        return self.head.prepare(self.encoder(observation))

    def energy(self, features: Tensor, actions: Tensor) -> Tensor:
        """Energies, shape (B, N), of candidates (B, N, H*D) in the box mapped to [-1, 1]."""
        energies: Tensor = self.head(features, actions)
        return energies


class ExplicitModel(nn.Module):
    """a(observation): the mean of what demonstrators did, by the same encoder."""

    def __init__(
        self, config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], action_size: int
    ) -> None:
        """For the streams of `shapes` and actions of `action_size` (H*D) values."""
        super().__init__()
        self.encoder = ObservationEncoder(config.image, shapes, config.trunk_width)
        self.head = ActionHead(config.trunk_width, action_size, config.head_width)
        self.box = ActionBox(action_size)

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Features, shape (B, F)."""
        features: Tensor = self.encoder(observation)
        return features

    def action(self, features: Tensor) -> Tensor:
        """Actions, shape (B, H*D), in the box mapped to [-1, 1]."""
        action: Tensor = self.head(features)
        return action


def build_model(
    config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], action_size: int
) -> EnergyModel | ExplicitModel:
    """A model with random weights and no normalisation.

    Args:
        config: What it is made of.
        shapes: Shape of each stream of the interface, (T, H, W, 3) or (T, K).
        action_size: Values in an action, H*D.

    Raises:
        ValueError: If the interface lacks a stream that the model looks at.
    """
    missing = [name for name in config.streams if name not in shapes]
    if missing:
        raise ValueError(
            f"model.streams: got {missing[0]!r}, expected some of {', '.join(shapes)}"
        )
    used = {name: tuple(shapes[name]) for name in config.streams}
    if config.kind == "explicit":
        return ExplicitModel(config, used, action_size)
    return EnergyModel(config, used, action_size)
