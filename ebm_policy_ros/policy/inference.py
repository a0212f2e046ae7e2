"""Inference of one observation on the policy's device, without waiting for the device."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_policy_ros.device.selection import has_fast_bfloat16
from ebm_policy_ros.energy.models import ImplicitModel
from ebm_policy_ros.inference.chains import Chains
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.policy.action_search import kept_minimum, minima_of, minimize, warm_starts
from ebm_policy_ros.policy.components import PolicyComponents
from ebm_policy_ros.policy.out_of_distribution import FeatureTap


@dataclass(frozen=True)
class InferenceResult:
    """Result of the inference for one observation; actions in the interface's units."""

    action: Tensor
    """Chosen action, shape (H*D,)."""
    energy: Tensor
    """Energy of the action, shape ()."""
    candidates: Tensor
    """Last candidates, shape (N, H*D)."""
    energies: Tensor
    """Energies of the candidates, shape (N,)."""
    minima: Tensor
    """Energies of local minima, lowest first, shape (M,); empty for a policy without an energy."""
    distances: Tensor
    """Distances from familiar observations, shape (K,) for K measures; empty if the policy was not
    calibrated."""
    intent: Tensor
    """Chosen intent, shape (1,); empty for a policy without intents."""

    def to_host(self) -> InferenceResult:
        """Copy to the CPU, as one transfer, because each transfer waits for the device."""
        parts = list(vars(self).values())
        joined = torch.cat([part.reshape(-1).float() for part in parts]).cpu()
        pieces = joined.split([part.numel() for part in parts])  # type: ignore[no-untyped-call]
        return InferenceResult(
            *(piece.reshape(part.shape) for piece, part in zip(pieces, parts, strict=True))
        )


class ActionInference:
    """Computes the action for the streams of one observation."""

    def __init__(self, parts: PolicyComponents, device: torch.device, margin: float) -> None:
        """Move the components of a policy to the device.

        Args:
            parts: Components of the policy.
            device: Device of the computation.
            margin: Required energy difference before the search leaves the previous minimum.
        """
        self.model = parts.model.to(device).eval()
        self._inference, self._margin = parts.inference, margin
        self._detector = parts.detector and parts.detector.to(device)
        self._tap = FeatureTap(self.model)
        self._exact: ImplicitModel | None = None
        self._low_precision: ImplicitModel | None = None
        if isinstance(self.model, ImplicitModel):
            self._exact = self.model.folded()
            # Chains need exact gradients.
            if has_fast_bfloat16(device) and not isinstance(parts.inference, Chains):
                self._low_precision = self.model.folded(torch.bfloat16)

    def fused(self) -> ActionInference | None:
        """Copy of this inference with a fused kernel for low-precision energies.

        None, with a warning, if the kernel gives wrong energies. None also if there are no
        low-precision energies, no Triton, or no kernel for this head.
        """
        if self._low_precision is None or importlib.util.find_spec("triton") is None:
            return None
        from ebm_policy_ros.policy.fused_head import FusedHead, NoKernel

        assert isinstance(self.model, ImplicitModel)
        try:
            low_precision = self.model.folded(torch.bfloat16, FusedHead)
        except NoKernel:
            return None
        heads = [part for part in low_precision.modules() if isinstance(part, FusedHead)]
        if not heads:
            return None
        try:
            problem = "" if all(head.agrees() for head in heads) else "it gives other energies"
        except Exception as error:  # a compiler may raise anything
            problem = repr(error)
        if problem:
            warnings.warn(f"decisions are made without a fused kernel: {problem}", stacklevel=2)
            return None
        other = copy.copy(self)
        other._low_precision = low_precision
        return other

    def __call__(
        self,
        batch: Mapping[str, Tensor],
        previous: Tensor | None,
        generator: torch.Generator | None,
        deadline: float | None = None,
    ) -> tuple[InferenceResult, Solution | None]:
        """Result for an observation, and the solution in which further modes can be searched.

        Args:
            batch: Streams of one observation, with a batch dimension of 1, on the device.
            previous: Last action, shape (H*D,), in the interface's units.
            generator: Random generator of the candidates, or of a flow's noise, on the device.
            deadline: Time to return the best action so far, in seconds of `time.perf_counter`.
        """
        model, box = self.model, self.model.box
        encoded, intent, _ = model.encoder.committed(batch)
        features, origin = model.prepare(encoded), box.origin(batch)
        if isinstance(model, ImplicitModel):
            kept = None if previous is None else box.normalise(previous[None], origin)[0]
            solution = self._search(features, kept, generator, deadline)
            action, energy, minima = self._chosen(solution, kept)
            candidates, energies = solution.actions[0], solution.energies[0]
        else:
            solution = None
            action = model.action(features, generator)[0]
            energy = action.new_zeros(())
            candidates, energies, minima = action[None], action.new_zeros(1), action.new_zeros(0)
        answer = InferenceResult(
            box.denormalise(action[None], origin)[0],
            energy,
            box.denormalise(candidates, origin),
            energies,
            minima,
            self._distances(batch),
            features.new_zeros(0) if intent is None else intent,
        )
        return answer, solution

    def _search(
        self,
        features: Tensor,
        kept: Tensor | None,
        generator: torch.Generator | None,
        deadline: float | None,
    ) -> Solution:
        assert self._exact is not None
        assert self._inference is not None
        starts = None
        if kept is not None:
            starts = warm_starts(kept, self._inference.samples, generator)
        return minimize(
            self._exact,
            features,
            self._inference,
            generator,
            starts,
            deadline,
            self._low_precision,
        )

    def _chosen(self, solution: Solution, kept: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Chosen action, its energy, and the energies of all minima."""
        actions, minima = (values[0] for values in minima_of(solution))
        if kept is None:
            return solution.best[0], solution.best_energy[0], minima
        chosen = kept_minimum(actions, minima, kept, self._margin)[None]
        return actions.index_select(0, chosen)[0], minima.index_select(0, chosen)[0], minima

    def _distances(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Distances of the batch that was just encoded."""
        if self._detector is None:
            return self.model.box.low.new_zeros(0)
        apart = self._detector.distances(self._tap.last(batch))
        return torch.stack([value[0] for value in apart.values()])
