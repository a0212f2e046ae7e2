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
            answering: What is recorded; its weights may change in place.
            batch: One observation's streams on a CUDA device.
            previous: The last action, or None for a recording without one.
            generator: Source of the candidates, seeded before each replay.
        """
        self._batch = {name: values.clone() for name, values in batch.items()}
        self._previous = None if previous is None else previous.clone()
        seed = generator.initial_seed()
        side = torch.cuda.Stream(generator.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(generator.device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                generator.manual_seed(seed)
                plain, _ = answering(self._batch, self._previous, generator)
        torch.cuda.current_stream(generator.device).wait_stream(side)
        expected = plain.to_host()
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(generator)
        # Other threads may copy or allocate meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._found = answering(self._batch, self._previous, generator)
        generator.manual_seed(seed)
        self(batch, previous)[0].to_host()
        generator.manual_seed(seed)
        started = time.perf_counter()
        answer = self(batch, previous)[0].to_host()
        self.seconds = time.perf_counter() - started
        """How long a replay takes."""
        self.is_right = torch.allclose(
            answer.action, expected.action, _TOLERANCE, _TOLERANCE, equal_nan=True
        )
        """Whether the replay gave the action of the plain path."""
        if not self.is_right:
            warnings.warn(
                "a recorded decision differs from the plain one, which is used in its place",
                stacklevel=2,
            )

    def __call__(
        self, batch: Mapping[str, Tensor], previous: Tensor | None
    ) -> tuple[Answer, Solution | None]:
        """The answer to an observation of the same shapes, before the device has computed it."""
        for name, values in self._batch.items():
            values.copy_(batch[name], non_blocking=True)
        if self._previous is not None and previous is not None:
            self._previous.copy_(previous, non_blocking=True)
        self._graph.replay()
        return self._found
