"""Policy: a trained policy file, ready to decide."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebm_policy_ros.energy.models import EnergyModel, ExplicitModel, ModelConfig, build_model
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.observation import Observation
from ebm_policy_ros.policy_file import PolicyFileError, load_policy_file


class PolicyMismatch(ValueError):
    """A policy that doesn't fit the interface, the device or the request."""


@dataclass(frozen=True)
class Decision:
    """The action chosen for an observation, and how sure the search was."""

    action: npt.NDArray[np.float32]
    """Shape (H, D), in the interface's units."""
    energy: float
    """Of the action; 0 for an explicit policy, which has no energy."""
    candidates: npt.NDArray[np.float32]
    """The last candidates of the search, shape (N, H*D), in the interface's units."""
    energies: npt.NDArray[np.float32]
    """Their energies, shape (N,)."""
    timing: dict[str, float]
    """Milliseconds by step: encode, search."""


class Policy:
    """Decides on the action of lowest energy for an observation."""

    def __init__(
        self,
        model: EnergyModel | ExplicitModel,
        interface: Interface,
        optimiser: DerivativeFree,
        device: torch.device,
        seed: int,
    ) -> None:
        """For use through `load`."""
        self.interface = interface
        self.optimiser = optimiser
        self._model = model.to(device).eval()
        self._device = device
        self._seed = seed
        self._generator = torch.Generator(device)
        size = interface.action.horizon * len(interface.action.fields)
        self._low = torch.full((size,), -1.0, device=device)
        self._high = torch.full((size,), 1.0, device=device)

    @classmethod
    def load(
        cls, path: str | Path, device: str = "auto", seed: int = 0, **optimiser: Any
    ) -> Policy:
        """Load a policy file.

        Args:
            path: The file.
            device: auto (CUDA where there is one), cpu, cuda or cuda:N.
            seed: Of the candidates.
            **optimiser: Settings of `DerivativeFree` that replace the file's.

        Raises:
            PolicyFileError: If the file is missing, damaged or of another version.
            PolicyMismatch: If the device isn't there.
            ValueError: If a setting of the search is out of range.
        """
        content = load_policy_file(path)
        interface = content.interface
        size = interface.action.horizon * len(interface.action.fields)
        try:
            model = build_model(ModelConfig.from_dict(content.model), content.shapes, size)
            model.load_state_dict(content.state)
            minimiser = DerivativeFree(**content.optimiser)
        except (ValueError, TypeError, RuntimeError) as error:
            problem = " ".join(str(error).split())
            raise PolicyFileError(f"{path}: {problem}; train it again") from None
        minimiser = dataclasses.replace(minimiser, **optimiser)
        return cls(model, interface, minimiser, find_device(device), seed)

    @property
    def explicit(self) -> bool:
        """Whether the action is regressed rather than searched for."""
        return isinstance(self._model, ExplicitModel)

    def decide(self, observation: Observation) -> Decision:
        """The action for an observation of the policy's interface.

        Equal observations give equal decisions: each search draws the same candidates. An action
        without a finite energy is not a number, which no guard lets through.
        """
        started = time.perf_counter()
        self._generator.manual_seed(self._seed)
        with torch.inference_mode():
            features = self._model.encode(self._batch(observation))
            encoded = time.perf_counter()
            if isinstance(self._model, ExplicitModel):
                best = self._model.action(features)[0]
                energies, candidates = torch.zeros(1), best[None]
            else:
                solution = self.optimiser.minimize(
                    self._energy_of(features), self._low, self._high, 1, self._generator
                )
                best, candidates = solution.best[0], solution.actions[0]
                energies = solution.energies[0]
            lowest = float(energies.min())
            action = self._to_units(best).reshape(self.interface.action.horizon, -1)
        if not math.isfinite(lowest):
            action = np.full_like(action, np.nan)
        finished = time.perf_counter()
        timing = {"encode": (encoded - started) * 1e3, "search": (finished - encoded) * 1e3}
        return Decision(action, lowest, self._to_units(candidates), energies.cpu().numpy(), timing)

    def energies(
        self, observation: Observation, actions: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float32]:
        """Energies, shape (N,), of actions (N, H*D) in the interface's units.

        Raises:
            PolicyMismatch: If this is an explicit policy.
        """
        if isinstance(self._model, ExplicitModel):
            raise PolicyMismatch("an explicit policy has no energy; use an energy policy")
        with torch.inference_mode():
            features = self._model.encode(self._batch(observation))
            values = torch.as_tensor(actions, dtype=torch.float32, device=self._device)
            energies = self._model.energy(features, self._model.box.normalise(values)[None])
        result: npt.NDArray[np.float32] = energies[0].cpu().numpy()
        return result

    def action_box(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Corners of the box that actions are searched in, (H*D,) each, interface's units."""
        return self._to_units(self._low), self._to_units(self._high)

    def warm_up(self) -> None:
        """Decide a few times on empty observations, so that the first real one is not slow."""
        dtypes = {4: np.uint8, 2: np.float32}
        blank = {
            name: np.zeros(shape, dtypes[len(shape)])
            for name, shape in self.interface.shapes.items()
        }
        for _ in range(3):
            self.decide(blank)

    def _batch(self, observation: Observation) -> dict[str, Tensor]:
        return {
            name: torch.from_numpy(np.ascontiguousarray(array))[None].to(self._device)
            for name, array in observation.items()
        }

    def _energy_of(self, features: Tensor) -> Callable[[Tensor], Tensor]:
        model = self._model
        assert isinstance(model, EnergyModel)
        return lambda actions: model.energy(features, actions)

    def _to_units(self, actions: Tensor) -> npt.NDArray[np.float32]:
        result: npt.NDArray[np.float32] = self._model.box.denormalise(actions).cpu().numpy()
        return result


def find_device(name: str) -> torch.device:
    """The device of that name, or the GPU if there is one (auto).

    Raises:
        PolicyMismatch: If it isn't there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise PolicyMismatch(
            f"device: got {name!r}, which is not there; use auto, cpu, or cuda with a GPU"
        ) from None
    return device
