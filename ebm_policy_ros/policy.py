"""Policy: a trained policy file, ready to decide."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebm_policy_ros.assembly import Parts, assemble
from ebm_policy_ros.confidence import Confidence, Senses, effective_samples
from ebm_policy_ros.decision import Decision, Mode
from ebm_policy_ros.device import PolicyMismatch, find_device, has_fast_bfloat16
from ebm_policy_ros.energy.models import Model, Searched
from ebm_policy_ros.inference.modes import Modes
from ebm_policy_ros.inference.settings import is_number
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.memory import keep_freed_memory
from ebm_policy_ros.observation import Observation
from ebm_policy_ros.policy_file import PolicyFile, load_policy_file
from ebm_policy_ros.search import (
    energy_of,
    kept_minimum,
    minima_of,
    minimise,
    temperature_of,
    warm_starts,
)

__all__ = ["Choice", "Policy", "PolicyMismatch"]

Choice = Literal["lowest", "sample"]

# Minimisers that a sample is drawn around.
_MODES = 8


@dataclass(frozen=True)
class _Answer:
    """What was found for one observation; actions in the box mapped to [-1, 1]."""

    action: Tensor
    """Shape (H*D,)."""
    energy: float
    candidates: Tensor
    """Shape (N, H*D)."""
    energies: Tensor
    """Shape (N,)."""
    minima: Tensor | None = None
    """Energies of local minima, lowest first; None without an energy."""
    modes: Modes | None = None
    """Where they were asked for."""
    complete: bool = True


class Policy:
    """Decides on the action of lowest energy for an observation."""

    def __init__(
        self,
        content: PolicyFile,
        parts: Parts,
        device: torch.device,
        seed: int,
        choice: Choice,
        temperature: float,
        hysteresis: float,
    ) -> None:
        """For use through `load`."""
        keep_freed_memory()
        self.interface: Interface | None = content.interface
        """The robot and task; None for a policy from arrays that name no robot."""
        self.shapes = content.shapes
        """Shape of each stream that the policy looks at."""
        self.optimiser = parts.optimiser
        """What searches; None for a policy without an energy."""
        self._action_shape = content.action_shape
        self._model: Model = parts.model.to(device).eval()
        self._rough: Searched | None = None
        if isinstance(self._model, Searched) and has_fast_bfloat16(device):
            self._rough = self._model.roughly()
        self._familiarity = parts.familiarity and parts.familiarity.to(device)
        self._senses = Senses(self._model)
        self._device = device
        self._seed = seed
        self._choice, self._temperature = choice, temperature
        self._hysteresis = hysteresis
        self._generator = torch.Generator(device)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        seed: int = 0,
        optimiser: Mapping[str, Any] | None = None,
        choice: Choice = "lowest",
        temperature: float | None = None,
        hysteresis: float = 1.0,
    ) -> Policy:
        """Load a policy file.

        Args:
            path: The file.
            device: auto (CUDA where there is one), cpu, cuda or cuda:N.
            seed: Of the candidates.
            optimiser: Settings that replace the file's. Another "method" has its own defaults.
            choice: lowest, the action of lowest energy, or sample, a draw from
                exp(-E / temperature) around the minimisers.
            temperature: Of that draw, and of the modes' probabilities; by default that of the
                training.
            hysteresis: How much lower the energy of another answer must be for a decision that
                knows the previous action to leave it, in temperatures.

        Raises:
            PolicyFileError: If the file is missing, damaged or of another version.
            PolicyMismatch: If the device isn't there.
            ValueError: If a setting of the search is out of range or doesn't fit the model.
        """
        content = load_policy_file(path)
        if choice not in get_args(Choice):
            raise ValueError(f"choice: got {choice!r}, expected {' or '.join(get_args(Choice))}")
        if temperature is not None and (
            not is_number(temperature) or not 0 < temperature < math.inf
        ):
            raise ValueError(f"temperature: got {temperature}, expected a number > 0")
        if not is_number(hysteresis) or not 0 <= hysteresis < math.inf:
            raise ValueError(f"hysteresis: got {hysteresis}, expected a number >= 0")
        if optimiser is not None and not isinstance(optimiser, Mapping):
            raise ValueError(f"optimiser: got {optimiser!r}, expected a mapping of settings")
        parts = assemble(path, content, optimiser)
        if temperature is None:
            temperature = temperature_of(parts.optimiser)
        return cls(
            content, parts, find_device(device), seed, choice, temperature, float(hysteresis)
        )

    @property
    def thresholds(self) -> dict[str, float]:
        """The largest familiar distance by measure; empty for a policy that wasn't calibrated."""
        return dict(self._familiarity.thresholds) if self._familiarity else {}

    @property
    def has_thresholds(self) -> bool:
        """Whether decisions tell when an observation is unfamiliar."""
        return self._familiarity is not None

    @property
    def has_energy(self) -> bool:
        """Whether the action is searched for rather than given at once."""
        return isinstance(self._model, Searched)

    def decide(
        self,
        observation: Observation,
        modes: int = 0,
        *,
        previous: npt.NDArray[np.floating] | None = None,
        budget: float | None = None,
    ) -> Decision:
        """The action for an observation of the policy's interface.

        Equal observations (and previous actions) give equal decisions: each search draws the same
        candidates. An action without a finite energy is not a number, which no guard lets through.

        Args:
            observation: Of the streams that the policy looks at; others are ignored.
            modes: How many separate minimisers to return at most.
            previous: The last action, shape (H, D), in the interface's units; one that is not a
                number is ignored. The search starts from it too, and of answers that are about
                equally good (`hysteresis`) the nearest to it is chosen.
            budget: Seconds for the decision. Once they are over the best action so far counts; a
                round of the search that has begun is ended. Modes are looked for only after a
                complete search, and take their time. Without an energy there is nothing to cut.

        Raises:
            PolicyMismatch: If `previous` has another shape.
        """
        started = time.perf_counter()
        self._generator.manual_seed(self._seed)
        deadline = None if budget is None else started + budget
        with torch.no_grad():
            batch = self._batch(observation)
            features = self._model.encode(batch)
            encoded = time.perf_counter()
            found = self._answer(features, modes, previous, deadline)
            action = self._to_units(found.action).reshape(self._action_shape)
            if not math.isfinite(found.energy):
                action = np.full_like(action, np.nan)
            listed = self._list(found.modes) if found.modes is not None and modes else ()
            confidence = self._confidence(batch, found)
        finished = time.perf_counter()
        return Decision(
            action,
            found.energy,
            self._to_units(found.candidates),
            found.energies.float().cpu().numpy(),
            listed,
            confidence,
            found.complete,
            {"encode": (encoded - started) * 1e3, "search": (finished - encoded) * 1e3},
        )

    def energies(
        self, observation: Observation, actions: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float32]:
        """Energies, shape (N,), of actions (N, H*D) in the interface's units.

        Raises:
            PolicyMismatch: If this policy has no energy, or actions have another size.
        """
        if not isinstance(self._model, Searched):
            raise PolicyMismatch(
                "this policy has no energy; use one of kind energy or autoregressive"
            )
        size = self._model.box.low.shape[0]
        if actions.ndim != 2 or actions.shape[1] != size:
            raise PolicyMismatch(f"actions: got shape {actions.shape}, expected (N, {size})")
        with torch.no_grad():
            features = self._model.encode(self._batch(observation))
            values = torch.as_tensor(actions, dtype=torch.float32, device=self._device)
            energy = energy_of(self._model, features, temperature_of(self.optimiser))
            energies = energy(self._model.box.normalise(values)[None])
        result: npt.NDArray[np.float32] = energies[0].cpu().numpy()
        return result

    def action_box(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Corners of the box that actions are searched in, (H*D,) each, interface's units."""
        box = self._model.box
        return box.low.cpu().numpy(), box.high.cpu().numpy()

    def warm_up(self) -> None:
        """Decide a few times on empty observations, so that the first real one is not slow."""
        dtypes = {4: np.uint8, 2: np.float32}
        blank = {name: np.zeros(shape, dtypes[len(shape)]) for name, shape in self.shapes.items()}
        for _ in range(3):
            self.decide(blank)

    def _batch(self, observation: Observation) -> dict[str, Tensor]:
        batch = {}
        for name, shape in self.shapes.items():
            if name not in observation or observation[name].shape != shape:
                got = observation[name].shape if name in observation else None
                raise ValueError(f"stream {name}: got shape {got}, expected {shape}")
            dtype = np.uint8 if len(shape) == 4 else np.float32
            array = np.ascontiguousarray(observation[name], dtype=dtype)
            batch[name] = torch.from_numpy(array)[None].to(self._device)
        return batch

    def _answer(
        self,
        features: Tensor,
        modes: int,
        previous: npt.NDArray[np.floating] | None,
        deadline: float | None,
    ) -> _Answer:
        """What the model, or the search in it, says to the features of one observation."""
        if not isinstance(self._model, Searched):
            action = self._model.action(features)[0]
            return _Answer(action, 0.0, action[None], torch.zeros(1))
        assert self.optimiser is not None
        kept, starts = self._mapped(previous), None
        if kept is not None:
            starts = warm_starts(kept, self.optimiser.samples, self._generator)
        solution = minimise(
            self._model, features, self.optimiser, self._generator, starts, deadline, self._rough
        )
        best, lowest = solution.best[0], float(solution.best_energy)
        actions, minima = (values[0] for values in minima_of(solution))
        if kept is not None:
            margin = self._hysteresis * self._temperature
            chosen = int(kept_minimum(actions, minima, kept, margin))
            best = actions[chosen]
            if chosen:  # the energies of others than the lowest may be rough
                lowest = float(solution.energy(best[None, None]))
        sample = self._choice == "sample" and math.isfinite(lowest)
        found = None
        if solution.complete and (modes or sample):
            found = solution.modes(
                limit=modes or _MODES, temperature=self._temperature, generator=self._generator
            )
        if sample and found is not None:
            best = found.sample(self._generator)[0]
            lowest = float(solution.energy(best[None, None]))
        candidates, energies = solution.actions[0], solution.energies[0]
        return _Answer(best, lowest, candidates, energies, minima, found, solution.complete)

    def _confidence(self, batch: dict[str, Tensor], found: _Answer) -> Confidence:
        """Of what was found for the batch that was just encoded."""
        distances: dict[str, float] = {}
        if self._familiarity:
            apart = self._familiarity.distances(self._senses.last(batch))
            distances = {name: float(value) for name, value in apart.items()}
        energy = gap = samples = math.nan
        if found.minima is not None:
            # Where there is no other minimum, the first one fills up.
            higher = found.minima[found.minima > found.minima[0]]
            energy = found.energy
            gap = float(higher[0] - found.minima[0]) if len(higher) else math.inf
            samples = effective_samples(found.energies, self._temperature)
        return Confidence(
            energy,
            gap,
            samples,
            distances.get("features", math.nan),
            distances.get("colours", math.nan),
            self._familiarity.unsure(distances) if self._familiarity else (),
        )

    def _mapped(self, previous: npt.NDArray[np.floating] | None) -> Tensor | None:
        """The previous action, if it is one, in the box mapped to [-1, 1], shape (H*D,)."""
        if previous is None:
            return None
        if previous.shape != self._action_shape:
            raise PolicyMismatch(
                f"previous: got shape {previous.shape}, expected {self._action_shape}"
            )
        if not np.isfinite(previous).all():
            return None
        action = torch.as_tensor(previous, dtype=torch.float32, device=self._device).flatten()
        return self._model.box.normalise(action)

    def _list(self, found: Modes) -> tuple[Mode, ...]:
        """The modes of the one observation."""
        half = (self._model.box.high - self._model.box.low) / 2
        actions, spread = (
            values.reshape(-1, *self._action_shape)
            for values in (
                self._to_units(found.actions[0]),
                (found.spread[0] * half).cpu().numpy(),
            )
        )
        return tuple(
            Mode(
                actions[i], float(found.energies[0, i]), float(found.probability[0, i]), spread[i]
            )
            for i in range(int(found.count[0]))
        )

    def _to_units(self, actions: Tensor) -> npt.NDArray[np.float32]:
        result: npt.NDArray[np.float32] = self._model.box.denormalise(actions).cpu().numpy()
        return result
