"""Policy: a trained policy that decides on actions."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebm_policy_ros.device.malloc import keep_freed_memory
from ebm_policy_ros.device.selection import PolicyMismatch, find_device, has_cuda_graphs
from ebm_policy_ros.energy.commitment import INTENT
from ebm_policy_ros.energy.models import ImplicitModel, Model
from ebm_policy_ros.inference.methods import settings_of
from ebm_policy_ros.inference.modes import Modes
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.observation.buffer import Observation
from ebm_policy_ros.policy.action_search import energy_of, temperature_of
from ebm_policy_ros.policy.components import PolicyComponents, assemble
from ebm_policy_ros.policy.decision import Decision, Mode
from ebm_policy_ros.policy.file import PolicyFile, load_policy_file
from ebm_policy_ros.policy.graph_inference import GraphActionInference, fastest
from ebm_policy_ros.policy.inference import ActionInference, InferenceResult
from ebm_policy_ros.policy.out_of_distribution import Confidence, effective_samples
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.digest import sha256_of
from ebm_policy_ros.util.quoting import quote

__all__ = ["Choice", "Policy", "PolicyMismatch"]

Choice = Literal["lowest", "sample"]


class Policy:
    """Decides on the action of lowest energy for an observation."""

    def __init__(
        self,
        content: PolicyFile,
        parts: PolicyComponents,
        device: torch.device,
        seed: int,
        choice: Choice,
        temperature: float,
        hysteresis: float,
        sha256: str,
    ) -> None:
        """Create a policy from its components; use `load` instead."""
        keep_freed_memory()
        self.interface: Interface | None = content.interface
        """Robot and task; None for a policy from arrays that name no robot."""
        self.sha256 = sha256
        """SHA-256 digest of the file, hexadecimal."""
        self.shapes = content.shapes
        """Shape of each stream that the policy uses."""
        self.inference = parts.inference
        """Inference method; None for a policy without an energy."""
        self._action_shape = content.action_shape
        self._action_inference = ActionInference(parts, device, hysteresis * temperature)
        self._has_graphs = has_cuda_graphs(device)
        fused = self._action_inference.fused() if self._has_graphs else None
        self._ways = [way for way in (self._action_inference, fused) if way]
        self._model: Model = self._action_inference.model
        self._detector = parts.detector
        self._device = device
        self._seed = seed
        self._choice, self._temperature = choice, temperature
        self._generator = torch.Generator(device)
        self._graphs: dict[bool, GraphActionInference | None] = {}

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        seed: int = 0,
        inference: Mapping[str, Any] | None = None,
        choice: Choice = "lowest",
        temperature: float | None = None,
        hysteresis: float = 1.0,
    ) -> Policy:
        """Load a policy file.

        Args:
            path: Path of the file.
            device: auto (CUDA if available), cpu, cuda or cuda:N.
            seed: Seed of the candidates, or of a flow's noise.
            inference: Settings that replace those of the file. Another "method" starts from its
                own defaults.
            choice: lowest, the action of lowest energy, or sample, a sample of exp(-E /
                temperature).
            temperature: Temperature of that sample and of the modes' probabilities; by default the
                temperature of the training.
            hysteresis: Energy difference, in temperatures, by which another minimum must be lower
                before a decision with a previous action changes to it.

        Raises:
            PolicyFileError: If the file is missing, damaged or of another version.
            PolicyMismatch: If the device is not available.
            ValueError: If a setting of the search is out of range or doesn't fit the model.
        """
        content = load_policy_file(path)
        if choice not in get_args(Choice):
            raise ValueError(f"choice: got {choice!r}, expected {' or '.join(get_args(Choice))}")
        if temperature is not None:
            bounds.check_number("temperature", temperature, above_zero=True)
        bounds.check_number("hysteresis", hysteresis, above_zero=False)
        if inference is not None and not isinstance(inference, Mapping):
            raise ValueError(f"inference: got {inference!r}, expected a mapping of settings")
        parts = assemble(path, content, inference)
        if temperature is None:
            temperature = temperature_of(parts.inference)
        return cls(
            content,
            parts,
            find_device(device),
            seed,
            choice,
            temperature,
            float(hysteresis),
            sha256_of(Path(path)),
        )

    def __repr__(self) -> str:
        """Task, streams, action, inference method and digest."""
        task = self.interface.name if self.interface else "no robot"
        streams = ", ".join(f"{name} {list(shape)}" for name, shape in self.shapes.items())
        method = settings_of(self.inference)["method"] if self.inference else "no search"
        action = " x ".join(map(str, self._action_shape))
        return f"Policy({task}: {streams} -> action {action}, {method}, {self.sha256[:12]})"

    @property
    def thresholds(self) -> dict[str, float]:
        """Largest familiar distance by measure; empty for a policy that was not calibrated."""
        return dict(self._detector.thresholds) if self._detector else {}

    @property
    def has_thresholds(self) -> bool:
        """True if the policy was calibrated, so that decisions report unfamiliar observations."""
        return self._detector is not None

    @property
    def has_intents(self) -> bool:
        """True if each decision has an intent, which the next one is to be told."""
        return self._model.encoder.commitment is not None

    @property
    def has_energy(self) -> bool:
        """True if the action is found by a search; False if the model computes it directly."""
        return isinstance(self._model, ImplicitModel)

    def decide(
        self,
        observation: Observation,
        modes: int = 0,
        *,
        previous: npt.NDArray[np.floating] | None = None,
        intent: int | None = None,
        budget: float | None = None,
    ) -> Decision:
        """Decide on the action for an observation of the policy's interface.

        Equal observations (and previous actions and intents) give equal decisions: each search
        draws the same candidates, and each flow begins with the same noise. If the energy of an
        action isn't finite, the action is NaN, which the guard rejects.

        Args:
            observation: Arrays of the streams that the policy uses; others are ignored.
            modes: Largest number of separate minimisers to return.
            previous: Last action, shape (H, D), in the interface's units; ignored if it is NaN or
                infinite. It is also an initial candidate of the search, and the minimum nearest to
                it is chosen among those of about equal energy (`hysteresis`).
            intent: Intent of the last decision; None for the first one. A policy without intents
                ignores it.
            budget: Time for the decision, s. At its end the best action so far is returned, after
                the current round of the search. Modes are searched only after a complete search,
                and take additional time. Ignored for a policy without an energy.

        Raises:
            PolicyMismatch: If `previous` has another shape, or there is no such intent.
        """
        started = time.perf_counter()
        self._generator.manual_seed(self._seed)
        deadline = None if budget is None else started + budget
        with torch.no_grad():
            batch = self._batch(observation, last=intent)
            found, solution = self._answer(batch, self._tensor(previous), deadline)
            found = found.to_host()
            computed = time.perf_counter()
            action, energy = found.action, float(found.energy)
            listed: tuple[Mode, ...] = ()
            complete = solution is None or solution.complete
            sample = self._choice == "sample" and math.isfinite(energy)
            if solution is not None and complete:
                if modes:
                    several = solution.modes(
                        limit=modes, temperature=self._temperature, generator=self._generator
                    )
                    listed = self._list(several, batch)
                if sample:
                    drawn = solution.sample(self._temperature, self._generator)[0]
                    energy = float(solution.energy(drawn[None, None]))
                    box = self._model.box
                    action = box.denormalise(drawn[None], box.origin(batch))[0].cpu()
        if not math.isfinite(energy):
            action = torch.full_like(action, math.nan)
        finished = time.perf_counter()
        return Decision(
            action.numpy().reshape(self._action_shape),
            energy,
            found.candidates.numpy(),
            found.energies.numpy(),
            listed,
            self._confidence(found, energy),
            complete,
            {"search": (computed - started) * 1e3, "modes": (finished - computed) * 1e3},
            int(found.intent) if len(found.intent) else None,
        )

    def energies(
        self,
        observation: Observation,
        actions: npt.NDArray[np.floating],
        *,
        intent: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Energies, shape (N,), of actions in the interface's units.

        Args:
            observation: Arrays of the streams that the policy uses.
            actions: Actions, shape (N, H*D).
            intent: Intent of the actions, as `Decision.intent`; None for that of a first decision.

        Raises:
            PolicyMismatch: If this policy has no energy or no such intent, or actions have another
                size.
        """
        if not isinstance(self._model, ImplicitModel):
            raise PolicyMismatch(
                "this policy has no energy; use one of kind energy or autoregressive"
            )
        size = math.prod(self._action_shape)
        if actions.ndim != 2 or actions.shape[1] != size:
            raise PolicyMismatch(f"actions: got shape {actions.shape}, expected (N, {size})")
        with torch.no_grad():
            batch = self._batch(observation, present=intent)
            features, origin = self._model.encode(batch), self._model.box.origin(batch)
            values = torch.as_tensor(actions, dtype=torch.float32, device=self._device)
            energy = energy_of(self._model, features, temperature_of(self.inference))
            energies = energy(self._model.box.normalise(values, origin)[None])
        result: npt.NDArray[np.float32] = energies[0].cpu().numpy()
        return result

    def action_box(
        self, observation: Observation
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Smallest and largest actions of the search, (H*D,) each, in the interface's units."""
        box = self._model.box
        low, high = box.extent(box.origin(self._batch(observation)))
        return low.flatten().cpu().numpy(), high.flatten().cpu().numpy()

    def warm_up(self) -> None:
        """Decide a few times on blank observations, so that the first real decision is not slow.

        Raises:
            PolicyMismatch: If a decision takes longer than the longest allowed time.
        """
        dtypes = {4: np.uint8, 2: np.float32}
        blank = {name: np.zeros(shape, dtypes[len(shape)]) for name, shape in self.shapes.items()}
        still = np.zeros(self._action_shape, np.float32)
        if not self.decide(blank, budget=bounds.LONGEST_DECISION).complete:
            raise PolicyMismatch(
                f"a decision takes longer than {bounds.LONGEST_DECISION:g} s; choose fewer "
                "samples or iterations"
            )
        for previous in (still, None, still):
            self.decide(blank, previous=previous)

    def _batch(
        self, observation: Observation, last: int | None = None, present: int | None = None
    ) -> dict[str, Tensor]:
        """Batch of one observation, with the intents that are known."""
        batch = {}
        for name, shape in self.shapes.items():
            if name not in observation or observation[name].shape != shape:
                got = observation[name].shape if name in observation else None
                raise ValueError(f"stream {name}: got shape {got}, expected {shape}")
            dtype = np.uint8 if len(shape) == 4 else np.float32
            array = np.ascontiguousarray(observation[name], dtype=dtype)
            batch[name] = torch.from_numpy(array)[None].to(self._device)
        commitment = self._model.encoder.commitment
        if commitment is not None:
            told = [self._told(intent, commitment.count) for intent in (last, present)]
            batch[INTENT] = torch.tensor([told], device=self._device)
        return batch

    def _told(self, intent: int | None, count: int) -> float:
        if intent is None:
            return -1.0
        if not isinstance(intent, (int, np.integer)) or not 0 <= intent < count:
            raise PolicyMismatch(
                f"intent: got {quote(intent)}, expected None or a whole number from 0 to "
                f"{count - 1}"
            )
        return float(intent)

    def _answer(
        self, batch: dict[str, Tensor], previous: Tensor | None, deadline: float | None
    ) -> tuple[InferenceResult, Solution | None]:
        """Decide with a captured graph if there is one and enough time; otherwise step by step.

        A graph is captured by a decision without a budget, for example in `warm_up`.
        """
        known = previous is not None
        if self._has_graphs:
            if known not in self._graphs and deadline is None:
                self._graphs[known] = fastest(self._ways, batch, previous)
            graph = self._graphs.get(known)
            if graph and (deadline is None or time.perf_counter() + graph.seconds < deadline):
                return graph(batch, previous, self._seed)
        return self._action_inference(batch, previous, self._generator, deadline)

    def _confidence(self, found: InferenceResult, energy: float) -> Confidence:
        """Confidence of a result in CPU memory, given the energy of the action."""
        names = self._detector.references if self._detector else ()
        distances = dict(zip(names, found.distances.tolist(), strict=True))
        gap = samples = math.nan
        if len(found.minima):
            # If there are fewer minima, the first one is repeated.
            higher = found.minima[found.minima > found.minima[0]]
            gap = float(higher[0] - found.minima[0]) if len(higher) else math.inf
            samples = effective_samples(found.energies, self._temperature)
        return Confidence(
            energy if len(found.minima) else math.nan,
            gap,
            samples,
            distances.get("features", math.nan),
            distances.get("colours", math.nan),
            self._detector.unsure(distances) if self._detector else (),
        )

    def _tensor(self, previous: npt.NDArray[np.floating] | None) -> Tensor | None:
        """Previous action on the device, shape (H*D,); None if it is not finite."""
        if previous is None:
            return None
        if previous.shape != self._action_shape:
            raise PolicyMismatch(
                f"previous: got shape {previous.shape}, expected {self._action_shape}"
            )
        if not np.isfinite(previous).all():
            return None
        return torch.as_tensor(previous, dtype=torch.float32, device=self._device).flatten()

    def _list(self, found: Modes, batch: Mapping[str, Tensor]) -> tuple[Mode, ...]:
        """Modes of the one observation in `batch`."""
        box = self._model.box
        actions, spread = (
            values.cpu().numpy().reshape(-1, *self._action_shape)
            for values in (
                box.denormalise(found.actions[0], box.origin(batch)),
                box.spread(found.spread[0]),
            )
        )
        return tuple(
            Mode(
                actions[i], float(found.energies[0, i]), float(found.probability[0, i]), spread[i]
            )
            for i in range(int(found.count[0]))
        )
