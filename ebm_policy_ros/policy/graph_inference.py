"""CUDA graph of a whole decision."""

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

# Tolerance between the captured graph and direct execution; actions in half-widths of the box.
_TOLERANCE = 1e-4
# On a GPU, sums over many candidates are not always identical to the last bit, which may lead to
# other candidates. One of this many observations must agree.
_PROBES = 3
# Number of timed replays; the median is used.
_TIMED = 9


class GraphActionInference:
    """Decides by replaying a CUDA graph, captured for observations of the same shapes.

    The results are in memory that the next replay overwrites.
    """

    def __init__(
        self,
        action_inference: ActionInference,
        batch: Mapping[str, Tensor],
        previous: Tensor | None,
    ) -> None:
        """Capture the decision for an observation, and compare replays with direct execution.

        Args:
            action_inference: The inference to capture.
            batch: Streams of one observation, on the device.
            previous: Last action; None to capture a decision without one.

        Raises:
            CaptureError: If it can't be captured, or no replay gives the result of direct
                execution.
        """
        self._action_inference, self._names = action_inference, list(batch)
        device = action_inference.model.box.low.device

        def answer(
            generator: torch.Generator, *inputs: Tensor
        ) -> tuple[InferenceResult, Solution | None]:
            streams = dict(zip(self._names, inputs, strict=False))
            return action_inference(streams, None if previous is None else inputs[-1], generator)

        self._graph = CapturedGraph(answer, self._inputs(batch, previous), device)
        draws = torch.Generator(device).manual_seed(0)
        probes = [self._probe(batch, previous, draws) for _ in range(_PROBES)]
        if not any(self._agrees(*probe) for probe in probes):
            raise CaptureError("it gives another answer")
        self.seconds = statistics.median(self._seconds(*probes[0]) for _ in range(_TIMED))
        """Duration of a replay, s."""

    def __call__(
        self, batch: Mapping[str, Tensor], previous: Tensor | None, seed: int
    ) -> tuple[InferenceResult, Solution | None]:
        """Result for an observation of the same shapes; the device may still be computing it.

        Args:
            batch: Streams of the observation.
            previous: Last action, if the graph was captured with one.
            seed: Seed of the candidates, or of a flow's noise.
        """
        return self._graph(self._inputs(batch, previous), seed)

    def _inputs(self, batch: Mapping[str, Tensor], previous: Tensor | None) -> list[Tensor]:
        streams = [batch[name] for name in self._names]
        return streams if previous is None else [*streams, previous]

    def _probe(
        self, batch: Mapping[str, Tensor], previous: Tensor | None, draws: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Random input other than the captured one, to detect a replay that ignores its input."""
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
        box = self._action_inference.model.box
        place = 2 * torch.rand(box.size, generator=draws, device=previous.device) - 1
        return streams, box.denormalise(place[None], box.origin(streams))[0]

    def _agrees(self, batch: Mapping[str, Tensor], previous: Tensor | None) -> bool:
        """True if a replay gives the result of direct execution; candidates are not compared."""
        box = self._action_inference.model.box
        origin = box.origin(batch)
        draws = torch.Generator(box.low.device).manual_seed(0)
        answers = (
            self(batch, previous, seed=0)[0],
            self._action_inference(batch, previous, draws)[0],
        )
        compared = [
            (
                box.normalise(answer.action[None], origin),
                answer.energy,
                answer.minima,
                answer.distances,
                answer.intent,
            )
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
    """Capture a graph of each inference and return the one with the fastest replay.

    An inference that can't be captured is left out, with a warning; None if all fail.
    """
    found = []
    for action_inference in ways:
        try:
            found.append(GraphActionInference(action_inference, batch, previous))
        except CaptureError as error:
            warnings.warn(f"a CUDA graph of decisions is not used: {error}", stacklevel=2)
    return min(found, key=lambda graph: graph.seconds, default=None)
