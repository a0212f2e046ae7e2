"""A whole decision as one CUDA graph: one launch in place of hundreds."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from ebm_policy_ros.answer import Answer, Answering
from ebm_policy_ros.inference.solution import Solution

# Runs before the recording: libraries choose their kernels, and allocate, in the first ones.
_WARM_UPS = 3
# Between the recording and the plain path, which run the same kernels.
_TOLERANCE = 1e-4


class RecordedAnswering:
    """Answers by replaying what was recorded for observations of the same shapes.

    What it returns lies in memory that the next replay overwrites.
    """

    def __init__(
        self,
        answering: Answering,
        batch: Mapping[str, Tensor],
        previous: Tensor | None,
        generator: torch.Generator,
    ) -> None:
        """Records the answer to an observation, and compares a replay with it.

        Args:
            answering: What is recorded.
            batch: One observation's streams on a CUDA device.
            previous: The last action, or None for a recording without one.
            generator: Source of the candidates, seeded before each replay.
        """
        self._batch = {name: values.clone() for name, values in batch.items()}
        self._previous = None if previous is None else previous.clone()
        self._device = device = generator.device
        seed = generator.initial_seed()
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(generator)
        # What is recorded is what runs on the current device: it need not be the first one.
        with torch.cuda.device(device):
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):
                    answering(self._batch, self._previous, generator)
            torch.cuda.current_stream().wait_stream(side)
            # Other threads may copy or allocate meanwhile.
            with torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"):
                self._found = answering(self._batch, self._previous, generator)
        # Not what was recorded: a replay that ignores its input would pass.
        probe = {
            name: torch.randint_like(values, 256)
            if values.dtype == torch.uint8
            else torch.randn_like(values)
            for name, values in batch.items()
        }
        generator.manual_seed(seed + 1)
        plain = answering(probe, previous, generator)[0].to_host()
        generator.manual_seed(seed + 1)
        started = time.perf_counter()
        replayed = self(probe, previous)[0].to_host()
        self.seconds = time.perf_counter() - started
        """How long a replay takes."""
        self.is_right = all(
            torch.allclose(one, other, _TOLERANCE, _TOLERANCE, equal_nan=True)
            for one, other in (
                (replayed.action, plain.action),
                (replayed.energy, plain.energy),
                (replayed.distances, plain.distances),
            )
        )
        """Whether the replay gave the answer of the plain path."""

    def __call__(
        self, batch: Mapping[str, Tensor], previous: Tensor | None
    ) -> tuple[Answer, Solution | None]:
        """The answer to an observation of the same shapes, before the device has computed it."""
        for name, values in self._batch.items():
            values.copy_(batch[name], non_blocking=True)
        if self._previous is not None and previous is not None:
            self._previous.copy_(previous, non_blocking=True)
        with torch.cuda.device(self._device):
            self._graph.replay()
        return self._found


def record(
    answering: Answering,
    batch: Mapping[str, Tensor],
    previous: Tensor | None,
    generator: torch.Generator,
) -> RecordedAnswering | None:
    """A recording; None, with a warning, if it fails or gives another answer."""
    try:
        recorded = RecordedAnswering(answering, batch, previous, generator)
        problem = "" if recorded.is_right else "it gives another answer"
    except RuntimeError as error:
        recorded, problem = None, str(error)
    if problem:
        warnings.warn(f"decisions are made step by step, not recorded: {problem}", stacklevel=2)
        return None
    return recorded
