"""Energy models, and the construction of all models."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from ebm_policy_ros.energy.action_space import ActionSpace, ActionSpaceConfig
from ebm_policy_ros.energy.baselines import MixtureModel, NearestNeighbourModel, RegressionModel
from ebm_policy_ros.energy.batched_heads import energies_along
from ebm_policy_ros.energy.bias_folding import FoldedHead
from ebm_policy_ros.energy.convolutions import IMAGE_ENCODERS
from ebm_policy_ros.energy.encoders import ObservationEncoder, Thumbnail
from ebm_policy_ros.energy.features import Features
from ebm_policy_ros.energy.head_gradient import value_and_slope
from ebm_policy_ros.energy.heads import EnergyHead, HeadConfig, VectorHead
from ebm_policy_ros.energy.iterative_baselines import FlowModel, TwoStepModel
from ebm_policy_ros.energy.mixture import Mixture, MixtureNetwork, numbers_of
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.util.bounds import (
    MOST_HEAD_LAYERS,
    check_whole,
)

# Network of a proposal behind the trunk.
_PROPOSAL = HeadConfig("mlp", 256, 1)
# Logarithm of its smallest standard deviation, in half-widths of the box. A narrower one would
# overfit single demonstrations, and its samples would leave the energy without shape.
_NARROWEST_LOG_STD = math.log(0.05)


@dataclass(frozen=True)
class ConditionalEnergy:
    """Energy of actions for given features: the function that a search minimises."""

    model: EnergyModel
    features: Tensor
    """Features of B observations, as returned by the model's `encode`."""

    def __call__(self, actions: Tensor) -> Tensor:
        """Compute energies, shape (B, N), of candidates (B, N, H*D) in the box [-1, 1]."""
        return self.model.energy(self.features, actions, self._base)

    def value_and_gradient(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Compute energies, (B, N), and their gradients over actions, (B, N, H*D), detached."""
        head, prepared = _plain(self.model.head), self.model.head_features(self.features)
        energies, slope = value_and_slope(head, prepared, actions)
        if self._base is None:
            return energies, slope
        with torch.no_grad():
            base, base_slope = self._base.energy_and_slope(actions.float())
        return energies + base, slope + base_slope.to(slope.dtype)

    @cached_property
    def _base(self) -> Mixture | None:
        """The proposal as a part of the energy, computed once for a whole search."""
        return self.model.base(self.features)


class EnergyModel(nn.Module):
    """Energy E(observation, action), low for actions that a demonstrator would take.

    Beside it may be a proposal: a mixture q(action | observation) with the same encoder. The
    energy may begin as that of the proposal, E = h - log q, so that its head h learns only what
    the proposal lacks (Deng et al. 2020, Residual energy-based models for text generation).
    """

    def __init__(
        self,
        head: HeadConfig,
        encoder: ObservationEncoder,
        space: ActionSpace,
        proposals: int = 0,
        from_proposal: bool = False,
    ) -> None:
        """Create an energy model for actions of a space.

        Args:
            head: Settings of the head.
            encoder: Encoder of the observations.
            space: Coordinates of the actions.
            proposals: Number of Gaussians of the proposal; 0 for none.
            from_proposal: True if the energy begins as that of the proposal.
        """
        super().__init__()
        self.encoder = encoder
        self.head: EnergyHead | FoldedHead = EnergyHead(encoder.size, space.size, head)
        self.box = space
        self._width = head.width
        self.proposals = proposals
        """Number of Gaussians of the proposal; 0 for none."""
        self.from_proposal = from_proposal
        """True if the energy is the head's and -log q."""
        self.proposal: nn.Module | None = None
        if from_proposal:
            self.proposal = MixtureNetwork(encoder.inputs, proposals, space.size)
        elif proposals:
            numbers = numbers_of(proposals, space.size)
            self.proposal = VectorHead(encoder.size, numbers, _PROPOSAL)

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Compute all that does not depend on the action, once per observation, shape (B, F)."""
        return self.prepare(self.encoder(observation))

    def prepare(self, encoded: Tensor) -> Tensor:
        """Compute the features of `encode`, (B, F), from the encoder's output.

        They are those of the head, and after them the numbers of the proposal.
        """
        prepared = self.head.prepare(encoded)
        if self.proposal is None:
            return prepared
        seen = self.encoder.inputs_of(encoded) if self.from_proposal else encoded
        return torch.cat((prepared, self.proposal(seen)), dim=1)

    def head_features(self, features: Tensor) -> Tensor:
        """Return those of the features, (B, F), that the head needs, (B, width)."""
        return features[:, : self._width]

    def proposed(self, features: Tensor) -> Mixture | None:
        """Return the proposal for features from `encode`; None for a model without one."""
        return None if self.proposal is None else self._mixture(features)

    def base(self, features: Tensor) -> Mixture | None:
        """Return the proposal as a part of the energy, if it is one.

        It has no gradient: the proposal learns by its likelihood alone.
        """
        return self._mixture(features.detach()) if self.from_proposal else None

    def _mixture(self, features: Tensor) -> Mixture:
        mixture = Mixture.of(features[:, self._width :], self.box.corners()[1])
        # Added, so that it can grow again.
        floor = torch.full_like(mixture.log_std, _NARROWEST_LOG_STD)
        return dataclasses.replace(mixture, log_std=torch.logaddexp(mixture.log_std, floor))

    def folded(
        self, precision: torch.dtype | None = None, head: type[FoldedHead] = FoldedHead
    ) -> EnergyModel:
        """Return the model with its current weights and a folded head, for a faster search.

        Features from `encode` are valid for both models.

        Args:
            precision: Precision of the head's body; bfloat16 is faster and less exact.
            head: Class of the new head.
        """
        return _with(self, head=_folded(self.head, precision, head))

    def energy(self, features: Tensor, actions: Tensor, base: Mixture | None = None) -> Tensor:
        """Compute energies, shape (B, N), of candidates (B, N, H*D) in the box [-1, 1].

        Args:
            features: Features of B observations, from `encode`.
            actions: Candidates.
            base: Result of `base` for these features, where it is known already.
        """
        energies: Tensor = self.head(self.head_features(features), actions)
        base = base or self.base(features)
        if base is not None:
            energies = energies - base.log_density(actions.float())
        return energies


class AutoregressiveModel(nn.Module):
    """Energies E_j(observation, a_1..a_j), one for each dimension j.

    E_j is low if a_j fits the observation and the values a_1..a_{j-1}. All dimensions share the
    encoder; each has its own head (Florence et al. 2021, appendix B.2; after Nash and Durkan 2019,
    Autoregressive Energy Machines).
    """

    def __init__(self, head: HeadConfig, encoder: ObservationEncoder, space: ActionSpace) -> None:
        """Create an autoregressive model, with an energy for each coordinate of a space."""
        super().__init__()
        layers = space.size * (head.depth + 1)
        check_whole("head.depth x action values", layers, 1, MOST_HEAD_LAYERS)
        self.encoder = encoder
        self.heads = nn.ModuleList(
            # A small initial weight of the prefix: a long prefix would dominate dimension j.
            EnergyHead(encoder.size, j + 1, head, prefix_gain=0.1)
            for j in range(space.size)
        )
        self.box = space

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Compute all that does not depend on the action, once per observation, (B, D, F)."""
        return self.prepare(self.encoder(observation))

    def prepare(self, encoded: Tensor) -> Tensor:
        """Compute the features of `encode`, (B, D, F), from the encoder's output."""
        return torch.stack([head.prepare(encoded) for head in self._heads()], dim=1)

    def folded(
        self, precision: torch.dtype | None = None, head: type[FoldedHead] = FoldedHead
    ) -> AutoregressiveModel:
        """Return the model with its current weights and folded heads, for a faster search.

        Features from `encode` are valid for both models.

        Args:
            precision: Precision of the heads' bodies; bfloat16 is faster and less exact.
            head: Class of the new heads.
        """
        folded = nn.ModuleList(_folded(each, precision, head) for each in self._heads())
        return _with(self, heads=folded)

    def energies(self, features: Tensor) -> list[Callable[[Tensor], Tensor]]:
        """Return one energy for each dimension j.

        Energy j maps prefixes (B, N, j+1), in the box mapped to [-1, 1], to energies (B, N).
        """
        parts = zip(self._heads(), features.unbind(1), strict=True)
        return [partial(head, prepared) for head, prepared in parts]

    def along(self, features: Tensor, actions: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function for the energies of all dimensions together.

        It maps values (B, D, N) to energies (B, D, N). The values before dimension j are those of
        `actions`, shape (B, D).
        """
        heads = [_plain(head) for head in self._heads()]
        if all(head.has_known_layers for head in heads):
            return energies_along(heads, features, actions)

        def along(values: Tensor) -> Tensor:
            found = []
            for j, energy in enumerate(self.energies(features)):
                before = actions[:, None, :j].expand(-1, values.shape[2], -1)
                found.append(energy(torch.cat((before, values[:, j, :, None]), dim=2)))
            return torch.stack(found, dim=1)

        return along

    def _heads(self) -> list[EnergyHead | FoldedHead]:
        return [head for head in self.heads if isinstance(head, (EnergyHead, FoldedHead))]


def _plain(head: EnergyHead | FoldedHead) -> EnergyHead:
    return head.head if isinstance(head, FoldedHead) else head


def _folded(
    head: EnergyHead | FoldedHead, precision: torch.dtype | None, kind: type[FoldedHead]
) -> EnergyHead | FoldedHead:
    """Fold a head; a head with layers from a plug-in is returned unchanged."""
    plain = _plain(head)
    return kind(plain, precision) if plain.has_known_layers else plain


M = TypeVar("M", bound=nn.Module)


def _with(model: M, **children: nn.Module) -> M:
    """Return a copy of the model with other child modules; all else is shared."""
    other = copy.copy(model)
    other._modules = {**model._modules, **children}
    return other


ImplicitModel = EnergyModel | AutoregressiveModel
"""Models whose action is found by a search."""
ExplicitModel = RegressionModel | MixtureModel | FlowModel | TwoStepModel | NearestNeighbourModel
"""Models that compute an action directly: the baselines."""
Model = ImplicitModel | ExplicitModel


def build_model(
    config: ModelConfig,
    shapes: Mapping[str, tuple[int, ...]],
    action_size: int,
    coordinates: ActionSpaceConfig | None = None,
) -> Model:
    """Build a model with random weights and no normalisation.

    Args:
        config: Settings of the model.
        shapes: Shape of each stream of the interface, (T, H, W, 3) or (T, K).
        action_size: Number of values in an action, H*D.
        coordinates: Coordinates of the action; by default its values.

    Raises:
        ValueError: If the interface lacks a stream that the model observes or that actions are
            relative to.
    """
    missing = [name for name in config.streams if name not in shapes]
    if missing:
        raise ValueError(
            f"model.streams: got {missing[0]!r}, expected some of {', '.join(shapes)}"
        )
    used = {name: tuple(shapes[name]) for name in config.streams}
    space = ActionSpace(action_size, coordinates)
    space.check(shapes)
    features = Features(config.features, shapes) if config.features else None
    if config.kind == "nearest_neighbour":
        plain = ObservationEncoder(used, Thumbnail, config.normalisation, features=features)
        return NearestNeighbourModel(plain, space)
    encoder = ObservationEncoder(
        used,
        partial(IMAGE_ENCODERS.find(config.image.network), config.image),
        config.normalisation,
        config.trunk_width,
        config.trunk_depth,
        config.trunk_skip,
        features,
        config.intents,
    )
    if config.kind == "mixture":
        return MixtureModel(config.head, encoder, space, config.components)
    if config.kind == "flow":
        return FlowModel(config.head, encoder, space, config.flow_steps)
    if config.kind == "two_step":
        return TwoStepModel(config.head, encoder, space)
    if config.kind == "explicit":
        return RegressionModel(config.head, encoder, space)
    if config.kind == "autoregressive":
        return AutoregressiveModel(config.head, encoder, space)
    return EnergyModel(config.head, encoder, space, config.proposals, config.from_proposal)
