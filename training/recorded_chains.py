"""The Langevin chains of a training step as one CUDA graph: thousands of small launches as one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from ebm_policy_ros.cuda_graph import Recording
from ebm_policy_ros.energy.models import ConditionalEnergy, EnergyModel
from ebm_policy_ros.inference.candidates import Energy
from ebm_policy_ros.inference.langevin import Langevin

# Between where recorded and other chains end, which run the same kernels; half-widths of the box.
_TOLERANCE = 1e-3


class RecordedChains:
    """Chains through the energy of one model on a CUDA device; a recording for each shape.

    Weights are changed in place, so that a recording sees the present ones. Normalised weights
    are made anew in other memory for each step: those chains go step by step.
    """

    def __init__(self, device: torch.device) -> None:
        """With nothing recorded."""
        self._generator = torch.Generator(device)
        self._recordings: dict[tuple[torch.Size, ...], Recording[Tensor] | None] = {}

    def __call__(
        self,
        chain: Langevin,
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
        if any(map(parametrize.is_parametrized, energy.model.head.modules())):
            return chain.chain(energy, actions, low, high, generator)
        inputs = {"features": energy.features, "actions": actions, "low": low, "high": high}
        shapes = tuple(values.shape for values in inputs.values())
        # Another one than the starts were drawn with.
        seed = generator.initial_seed() + 1
        if shapes not in self._recordings:
            self._recordings[shapes] = self._record(chain, energy.model, inputs, seed)
        recording = self._recordings[shapes]
        if recording is None:
            return chain.chain(energy, actions, low, high, generator)
        self._generator.manual_seed(seed)
        return recording(inputs)

    def _record(
        self, chain: Langevin, model: EnergyModel, inputs: Mapping[str, Tensor], seed: int
    ) -> Recording[Tensor] | None:
        """A recording; None, with a warning, if it fails or its chains end elsewhere."""

        def run(inputs: Mapping[str, Tensor]) -> Tensor:
            energy = ConditionalEnergy(model, inputs["features"].detach())
            box = inputs["low"], inputs["high"]
            return chain.chain(energy, inputs["actions"], *box, self._generator)

        cached = torch.is_autocast_cache_enabled()
        # A weight that was rounded earlier would stay what it is now.
        torch.set_autocast_cache_enabled(False)
        try:
            recording = Recording(run, inputs, self._generator)
            # Not what was recorded: a replay that ignores its input would pass.
            probe = {**inputs, "features": torch.randn_like(inputs["features"])}
            self._generator.manual_seed(seed)
            expected = run(probe)
            self._generator.manual_seed(seed)
            agree = torch.allclose(recording(probe), expected, rtol=0, atol=_TOLERANCE)
            problem = "" if agree else "they end elsewhere"
        except RuntimeError as error:
            problem = str(error)
        finally:
            torch.set_autocast_cache_enabled(cached)
        if problem:
            warnings.warn(f"chains go step by step, not recorded: {problem}", stacklevel=2)
            return None
        return recording
