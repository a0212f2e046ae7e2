"""The Langevin chains of a training step as one CUDA graph: thousands of small launches as one."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from ebm_policy_ros.cuda_graph import Recording, RecordingError
from ebm_policy_ros.energy.models import ConditionalEnergy, EnergyModel
from ebm_policy_ros.inference.candidates import Energy
from ebm_policy_ros.inference.langevin import Langevin

# Between where recorded and other chains end, which run the same kernels; half-widths of the box.
_TOLERANCE = 1e-3


class RecordedChains:
    """Chains through the energy of a model that learns; a recording for each shape.

    Weights are changed in place, so that a recording sees the present ones. Normalised weights
    are made anew in other memory for each step: those chains go step by step.
    """

    def __init__(self, model: EnergyModel, chain: Langevin) -> None:
        """With nothing recorded.

        Args:
            model: On its device.
            chain: Settings of the chains.
        """
        self._model, self._chain = model, chain
        self._generator = torch.Generator(model.box.low.device)
        self._recordings: dict[torch.Size, Recording[Tensor] | None] = {}

    def __call__(
        self,
        energy: Energy,
        actions: Tensor,
        low: Tensor,
        high: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Where chains from `actions` end, as `Langevin.chain` says; the next call overwrites it.

        Draws follow from the seed of the generator, not from what was drawn from it.
        """
        assert isinstance(energy, ConditionalEnergy)
        assert energy.model is self._model
        inputs = energy.features, actions
        # Another one than the starts were drawn with.
        seed = generator.initial_seed() + 1
        if actions.shape not in self._recordings:
            self._recordings[actions.shape] = self._record(inputs, seed)
        recording = self._recordings[actions.shape]
        if recording is None:
            return self._chain.chain(energy, actions, low, high, generator)
        self._generator.manual_seed(seed)
        return recording(inputs)

    def _record(self, inputs: tuple[Tensor, Tensor], seed: int) -> Recording[Tensor] | None:
        """A recording; None for normalised weights, and if it fails, with a warning."""
        if any(map(parametrize.is_parametrized, self._model.head.modules())):
            return None
        # Not what was recorded: a replay that ignores its input would pass.
        probe = torch.randn_like(inputs[0]), inputs[1]
        try:
            recording = Recording(self._run, inputs, self._generator)
            self._generator.manual_seed(seed)
            expected = self._run(*probe)
            self._generator.manual_seed(seed)
            if not torch.allclose(recording(probe), expected, rtol=0, atol=_TOLERANCE):
                raise RecordingError("they end elsewhere")
        except RecordingError as error:
            warnings.warn(f"chains go step by step, not recorded: {error}", stacklevel=2)
            return None
        return recording

    def _run(self, features: Tensor, actions: Tensor) -> Tensor:
        energy = ConditionalEnergy(self._model, features)
        # Weights are rounded anew in each replay, once, and these are nobody else's.
        torch.clear_autocast_cache()
        ends = self._chain.chain(energy, actions, *self._model.box.corners(), self._generator)
        torch.clear_autocast_cache()
        return ends
