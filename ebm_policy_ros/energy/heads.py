"""Heads: networks from features to the energies of candidates, or to the values of an action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from ebm_policy_ros.util.bounds import MOST_LAYERS, WIDEST, check_flags, check_number, check_whole
from ebm_policy_ros.util.plugins import Registry

HEAD_LAYERS: Registry[Callable[[HeadConfig], nn.Module]] = Registry("head")
"""Functions that build the body of a head, the layers between the first and the last, from its
settings. The body maps values (..., width) to the same shape."""


@dataclass(frozen=True)
class HeadConfig:
    """Settings of the head: the layers whose input includes the action."""

    kind: str = "residual"
    """Kind of layers: mlp, a sequence of layers; residual, blocks of two layers with an activation
    after the sum; preactivation, the same with activations only inside the blocks;
    dense_residual, blocks of three layers with a quarter of the width inside;
    package.module.Name, layers of your own."""
    width: int = 256
    """Number of units of a layer."""
    depth: int = 1
    """Number of layers (mlp) or blocks."""
    feature_gain: float = 1.0
    """Factor on the initial weights of the features in the first layer. With a small factor the
    energy changes slowly with the observation."""
    spectral_norm: bool = False
    """Keep the largest singular value of every layer of the head at 1, so that the energy has no
    steep steps."""

    def __post_init__(self) -> None:
        try:
            HEAD_LAYERS.find(self.kind)
        except ValueError as error:
            raise type(error)(f"head.kind: {error}") from None
        check_whole("head.width", self.width, 4, WIDEST)
        check_whole("head.depth", self.depth, 0, MOST_LAYERS)
        check_number("head.feature_gain", self.feature_gain, above_zero=True)
        check_flags(self, "head.")
        if self.spectral_norm and self.feature_gain != 1.0:
            raise ValueError(
                f"head.feature_gain: got {self.feature_gain}, which spectral_norm would undo; "
                "use one of them"
            )


class ResidualBlock(nn.Module):
    """Block of two layers, added to their input, then activated."""

    def __init__(self, width: int) -> None:
        """Create a block for `width` values."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, width)
        )  # fmt: skip

    def forward(self, hidden: Tensor) -> Tensor:
        """Compute values of the same shape, (..., width)."""
        added: Tensor = self.layers(hidden)
        return added.add_(hidden).relu_()


class PreActivationBlock(nn.Module):
    """Block of layers with activations before them, added to their input (He et al. 2016)."""

    def __init__(self, *widths: int) -> None:
        """Create a block with the given widths before, between and after its layers."""
        super().__init__()
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            # The first activation is not in place: the input is added at the end.
            layers += [nn.ReLU(inplace=i > 0), nn.Linear(inputs, outputs)]
        self.layers = nn.Sequential(*layers)

    def forward(self, hidden: Tensor) -> Tensor:
        """Compute values of the same shape, (..., width)."""
        added: Tensor = self.layers(hidden)
        return added.add_(hidden)


@HEAD_LAYERS.register("mlp")
def _mlp(config: HeadConfig) -> nn.Sequential:
    """Build a sequence of layers."""
    layers: list[nn.Module] = [nn.ReLU(inplace=True)]
    for _ in range(config.depth):
        layers += [nn.Linear(config.width, config.width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


@HEAD_LAYERS.register("residual")
def _residual(config: HeadConfig) -> nn.Sequential:
    """Build blocks of two layers, activated after the sum."""
    blocks = [ResidualBlock(config.width) for _ in range(config.depth)]
    return nn.Sequential(nn.ReLU(inplace=True), *blocks)


@HEAD_LAYERS.register("preactivation")
def _preactivation(config: HeadConfig) -> nn.Sequential:
    """Build blocks of two layers, activated before each layer."""
    return _blocks(config, config.width)


@HEAD_LAYERS.register("dense_residual")
def _dense_residual(config: HeadConfig) -> nn.Sequential:
    """Build blocks of three layers with a quarter of the width inside."""
    return _blocks(config, config.width // 4, config.width // 4)


def _blocks(config: HeadConfig, *inner: int) -> nn.Sequential:
    width = config.width
    blocks = [PreActivationBlock(width, *inner, width) for _ in range(config.depth)]
    return nn.Sequential(*blocks, nn.ReLU(inplace=True))


# Kinds whose layers are supported by bias folding, the head gradient and batched heads.
_OWN = tuple(HEAD_LAYERS)


class EnergyHead(nn.Module):
    """Energies of candidates, from features and actions.

    The first layer of a network on (features, action) is W_f f + W_a a + b. `prepare` computes
    W_f f + b once per observation; `forward` adds W_a a for each candidate.
    """

    def __init__(
        self, features: int, action_size: int, config: HeadConfig, prefix_gain: float = 1.0
    ) -> None:
        """Create a head for feature vectors of `features` values and actions of `action_size`.

        Args:
            features: Number of values in a feature vector.
            action_size: Number of values in an action.
            config: Settings of the layers.
            prefix_gain: Factor on the initial weights, in the first layer, of all action values
                except the last.
        """
        super().__init__()
        self.feature_half = nn.Linear(features, config.width)
        self.action_half = nn.Linear(action_size, config.width, bias=False)
        # With the usual scale 1/sqrt(n) the many features would dominate the few action values.
        nn.init.normal_(self.action_half.weight)
        with torch.no_grad():
            self.feature_half.weight *= config.feature_gain
            self.action_half.weight[:, :-1] *= prefix_gain
        self.has_known_layers = config.kind in _OWN
        """True if bias folding and batched heads support all layers of the body."""
        self.body = HEAD_LAYERS.find(config.kind)(config)
        self.output = nn.Linear(config.width, 1)
        if config.spectral_norm:
            for layer in list(self.modules()):
                if isinstance(layer, nn.Linear):
                    parametrizations.spectral_norm(layer)

    def prepare(self, features: Tensor) -> Tensor:
        """Compute the part of the first layer that depends on the features, shape (B, width)."""
        half: Tensor = self.feature_half(features)
        return half

    def forward(self, prepared: Tensor, actions: Tensor) -> Tensor:
        """Compute energies, shape (B, N), of candidates (B, N, A) in the normalised box."""
        hidden = prepared[:, None] + self.action_half(actions)
        hidden = self.body(hidden)
        # Only differences between energies matter: bfloat16 would round them away.
        with torch.autocast(hidden.device.type, enabled=False):
            energies: Tensor = self.output(hidden.to(self.output.weight.dtype)).squeeze(-1)
        return energies


class VectorHead(nn.Module):
    """Head from features to a vector, for models without an energy."""

    def __init__(self, features: int, outputs: int, config: HeadConfig) -> None:
        """Create a head from feature vectors of `features` values to `outputs` values."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, config.width),
            HEAD_LAYERS.find(config.kind)(config),
            nn.Linear(config.width, outputs),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Compute values, shape (B, outputs)."""
        numbers: Tensor = self.layers(features)
        return numbers


def bake_spectral_norm(model: nn.Module) -> None:
    """Replace spectrally normalised weights by plain weights of the same value, for speed."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight")
