"""A whole decision as one CUDA graph."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ebm_policy_ros.device.cuda_graph import CapturedGraph, CaptureError
from ebm_policy_ros.inference.solution import Solution
from ebm_policy_ros.policy.inference import ActionInference, InferenceResult

# Between the recording and the plain path; actions in half-widths of the box.
_TOLERANCE = 1e-4
# Sums over many candidates are not always the same to the last bit on a GPU, which may now and
# then lead to other candidates: of so many observations one must agree.
_PROBES = 3
# Replays whose median time counts.
_TIMED = 9


class GraphActionInference:
    """Answers by replaying what was recorded for observations of the same shapes.

    What it returns lies in memory that the next replay overwrites.
    """

    def __init__(
        self,
        action_inference: ActionInference,
        batch: Mapping[str, Tensor],
        previous: Tensor | None,
    ) -> None:
        """Records the answer to an observation, and compares replays with the plain path.

        Args:
            action_inference: What is recorded.
            batch: One observation's streams, on the device.
            previous: The last action, or None for a recording without one.

        Raises:
            RecordingError: If it can't be recorded, or no replay gives the plain answer.
        """
        self._action_inference, self._names = action_inference, list(batch)
        device = action_inference.model.box.low.device

        def answer(
            generator: torch.Generator, *inputs: Tensor
        ) -> tuple[InferenceResult, Solution | None]:
            streams = dict(zip(self._names, inputs, strict=False))
            return action_inference(streams, None if previous is None else inputs[-1], generator)

        self._recording = CapturedGraph(answer, self._inputs(batch, previous), device)
        draws = torch.Generator(device).manual_seed(0)
        probes = [self._probe(batch, previous, draws) for _ in range(_PROBES)]
        if not any(self._agrees(*probe) for probe in probes):
            raise CaptureError("it gives another answer")
        self.seconds = statistics.median(self._seconds(*probes[0]) for _ in range(_TIMED))
        """How long a replay takes."""

    def __call__(
        self, batch: Mapping[str, Tensor], previous: Tensor | None, seed: int
    ) -> tuple[InferenceResult, Solution | None]:
        """The answer to an observation of the same shapes, before the device has computed it.

        Args:
            batch: The observation's streams.
            previous: The last action, if one was recorded.
            seed: Of the candidates.
        """
        return self._recording(self._inputs(batch, previous), seed)

    def _inputs(self, batch: Mapping[str, Tensor], previous: Tensor | None) -> list[Tensor]:
        streams = [batch[name] for name in self._names]
        return streams if previous is None else [*streams, previous]

    def _probe(
        self, batch: Mapping[str, Tensor], previous: Tensor | None, draws: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Not what was recorded: a replay that ignores its input would pass."""
        streams = {}
        for name, values in batch.items():
            shape, device = values.shape, values.device
            if values.dtype == torch.uint8:
                drawn = torch.randint(256, shape, generator=draws, device=device)
            else:
                drawn = torch.randn(shape, generator=draws, device=device)
            streams[name] = drawn.to(values.dtype)
        if previous is None:
            return streams, None
        place = 2 * torch.rand(previous.shape, generator=draws, device=previous.device) - 1
        return streams, self._action_inference.model.box.denormalise(place)

    def _agrees(self, batch: Mapping[str, Tensor], previous: Tensor | None) -> bool:
        """Whether a replay gives the plain answer; candidates are not compared."""
        box = self._action_inference.model.box
        draws = torch.Generator(box.low.device).manual_seed(0)
        answers = (
            self(batch, previous, seed=0)[0],
            self._action_inference(batch, previous, draws)[0],
        )
        compared = [
            (box.normalise(answer.action), answer.energy, answer.minima, answer.distances)
            for answer in answers
        ]
        return all(
            torch.allclose(one, other, _TOLERANCE, _TOLERANCE, equal_nan=True)
            for one, other in zip(*compared, strict=True)
        )

    def _seconds(self, batch: Mapping[str, Tensor], previous: Tensor | None) -> float:
        started = time.perf_counter()
        self(batch, previous, seed=0)[0].to_host()
        return time.perf_counter() - started


def fastest(
    ways: Sequence[ActionInference], batch: Mapping[str, Tensor], previous: Tensor | None
) -> GraphActionInference | None:
    """Of the recordings of several answerings the one that replays fastest.

    One that fails is left out, with a warning; None if all are.
    """
    found = []
    for action_inference in ways:
        try:
            found.append(GraphActionInference(action_inference, batch, previous))
        except CaptureError as error:
            warnings.warn(f"a recording of decisions is not used: {error}", stacklevel=2)
    return min(found, key=lambda recorded: recorded.seconds, default=None)
