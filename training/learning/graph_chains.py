"""Langevin chains of a training step as one CUDA graph, instead of thousands of small launches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from ebm_policy_ros.device.cuda_graph import CapturedGraph, CaptureError
from ebm_policy_ros.energy.models import ConditionalEnergy, EnergyModel
from ebm_policy_ros.inference.candidates import Energy
from ebm_policy_ros.inference.langevin import Langevin

# Largest difference of the ends of captured and other chains, which run the same kernels;
# half-widths of the box.
_TOLERANCE = 1e-3


class GraphChains:
    """Chains through the energy of a model in training; one captured graph for each shape.

    Weights are changed in place, so a captured graph uses the current ones. Normalised weights are
    computed into new memory at each step, so their chains run without a graph.
    """

    def __init__(self, model: EnergyModel, chain: Langevin) -> None:
        """Start without captured graphs.

        Args:
            model: Model on its device.
            chain: Settings of the chains.
        """
        self._model, self._chain = model, chain
        self._device = model.box.low.device
        self._graphs: dict[torch.Size, CapturedGraph[Tensor] | None] = {}

    def __call__(
        self,
        energy: Energy,
        actions: Tensor,
        low: Tensor,
        high: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """End points of chains from `actions`, as in `Langevin.chain`; valid until the next call.

        Draws depend on the seed of the generator, not on what was drawn from it before.
        """
        assert isinstance(energy, ConditionalEnergy)
        assert energy.model is self._model
        inputs = energy.features, actions, low, high
        # A seed other than that of the starting points.
        seed = generator.initial_seed() + 1
        if actions.shape not in self._graphs:
            self._graphs[actions.shape] = self._capture(inputs)
        graph = self._graphs[actions.shape]
        return graph(inputs, seed) if graph else self._run(self._draws(seed), *inputs)

    def _capture(self, inputs: Sequence[Tensor]) -> CapturedGraph[Tensor] | None:
        """Capture a graph; None for normalised weights, and with a warning if it fails."""
        if any(map(parametrize.is_parametrized, self._model.head.modules())):
            return None
        features, *others = inputs
        drawn = torch.randn(features.shape, generator=self._draws(0), device=self._device)
        # Other inputs than at the capture: a replay that ignores its input would pass otherwise.
        probe = drawn.to(features.dtype), *others
        try:
            graph = CapturedGraph(self._run, inputs, self._device)
            expected = self._run(self._draws(0), *probe)
            if not torch.allclose(graph(probe, seed=0), expected, rtol=0, atol=_TOLERANCE):
                raise CaptureError("they end elsewhere")
        except CaptureError as error:
            warnings.warn(f"chains go step by step, not as a CUDA graph: {error}", stacklevel=2)
            return None
        return graph

    def _run(
        self, draws: torch.Generator, features: Tensor, actions: Tensor, low: Tensor, high: Tensor
    ) -> Tensor:
        energy = ConditionalEnergy(self._model, features)
        # Each replay must round the weights once, into memory of its own.
        torch.clear_autocast_cache()
        try:
            return self._chain.chain(energy, actions, low, high, draws)
        finally:
            torch.clear_autocast_cache()

    def _draws(self, seed: int) -> torch.Generator:
        return torch.Generator(self._device).manual_seed(seed)
