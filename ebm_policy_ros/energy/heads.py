"""From features to what a policy needs: the energy of candidates, or numbers of an action."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from ebm_policy_ros.util.bounds import MOST_LAYERS, WIDEST, check_flags, check_number, check_whole
from ebm_policy_ros.util.quoting import quote

HeadKind = Literal["mlp", "residual", "preactivation", "dense_residual"]


@dataclass(frozen=True)
class HeadConfig:
    """The layers that see the action."""

    kind: HeadKind = "residual"
    """mlp: layers one after the other; residual: blocks of two layers, the sum activated;
    preactivation: the same with activations inside the blocks only; dense_residual: blocks of
    three layers through a quarter of the width."""
    width: int = 256
    """Units of a layer."""
    depth: int = 1
    """Layers (mlp) or blocks."""
    feature_gain: float = 1.0
    """Factor on the first weights of the features: a small one makes an energy that changes
    slowly with the observation."""
    spectral_norm: bool = False
    """Keep the largest singular value of every layer of the head at 1, so that the energy has no
    cliffs."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(HeadKind):
            expected = " or ".join(get_args(HeadKind))
            raise ValueError(f"head.kind: got {quote(self.kind)}, expected {expected}")
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
    """Two layers added to their input, then activated."""

    def __init__(self, width: int) -> None:
        """For `width` values."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, width)
        )  # fmt: skip

    def forward(self, hidden: Tensor) -> Tensor:
        """Of the same shape, (..., width)."""
        added: Tensor = self.layers(hidden)
        return added.add_(hidden).relu_()


class PreActivationBlock(nn.Module):
    """Layers of activations through `widths`, added to their input (He et al. 2016)."""

    def __init__(self, *widths: int) -> None:
        """For the widths before, between and after its layers."""
        super().__init__()
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            # What comes in is added at the end.
            layers += [nn.ReLU(inplace=i > 0), nn.Linear(inputs, outputs)]
        self.layers = nn.Sequential(*layers)

    def forward(self, hidden: Tensor) -> Tensor:
        """Of the same shape, (..., width)."""
        added: Tensor = self.layers(hidden)
        return added.add_(hidden)


def _body(config: HeadConfig) -> nn.Sequential:
    """From the sum of the first layer, which it overwrites, to the last activation."""
    width, repeat = config.width, range(config.depth)
    if config.kind == "mlp":
        linears = [
            layer for _ in repeat for layer in (nn.Linear(width, width), nn.ReLU(inplace=True))
        ]
        return nn.Sequential(nn.ReLU(inplace=True), *linears)
    if config.kind == "residual":
        return nn.Sequential(nn.ReLU(inplace=True), *[ResidualBlock(width) for _ in repeat])
    inner = (width // 4, width // 4) if config.kind == "dense_residual" else (width,)
    blocks = [PreActivationBlock(width, *inner, width) for _ in repeat]
    return nn.Sequential(*blocks, nn.ReLU(inplace=True))


class EnergyHead(nn.Module):
    """Energies of candidates; the action joins the features late.

    The first layer of a network on (features, action) is W_f f + W_a a + b. `prepare` computes
    the half of the features once per observation, `forward` adds that of each candidate.
    """

    def __init__(
        self, features: int, action_size: int, config: HeadConfig, prefix_gain: float = 1.0
    ) -> None:
        """For feature vectors of `features` values and actions of `action_size`.

        Args:
            features: Values in a feature vector.
            action_size: Values in an action.
            config: The layers.
            prefix_gain: Factor on the first weights of all action values but the last.
        """
        super().__init__()
        self.feature_half = nn.Linear(features, config.width)
        self.action_half = nn.Linear(action_size, config.width, bias=False)
        # With the usual 1/sqrt(n) the few action values would drown in the many features.
        nn.init.normal_(self.action_half.weight)
        with torch.no_grad():
            self.feature_half.weight *= config.feature_gain
            self.action_half.weight[:, :-1] *= prefix_gain
        self.body = _body(config)
        self.output = nn.Linear(config.width, 1)
        if config.spectral_norm:
            for layer in list(self.modules()):
                if isinstance(layer, nn.Linear):
                    parametrizations.spectral_norm(layer)

    def prepare(self, features: Tensor) -> Tensor:
        """The features' half of the first layer, shape (B, width)."""
        half: Tensor = self.feature_half(features)
        return half

    def forward(self, prepared: Tensor, actions: Tensor) -> Tensor:
        """Energies, shape (B, N), of candidates (B, N, A) in the normalised box."""
        hidden = prepared[:, None] + self.action_half(actions)
        hidden = self.body(hidden)
        # Differences between energies decide: bfloat16 would round them away.
        with torch.autocast(hidden.device.type, enabled=False):
            energies: Tensor = self.output(hidden.to(self.output.weight.dtype)).squeeze(-1)
        return energies


class VectorHead(nn.Module):
    """Numbers from features alone, for policies without an energy."""

    def __init__(self, features: int, outputs: int, config: HeadConfig) -> None:
        """For feature vectors of `features` values, to `outputs` numbers."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, config.width), _body(config), nn.Linear(config.width, outputs)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Shape (B, outputs)."""
        numbers: Tensor = self.layers(features)
        return numbers


def bake_spectral_norm(model: nn.Module) -> None:
    """Replace normalised weights by plain ones of the same value, which are faster to use."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight")
