"""A whole decision as one CUDA graph."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ebm_policy_ros.answer import Answer, Answering
from ebm_policy_ros.cuda_graph import Recording
from ebm_policy_ros.inference.solution import Solution

# Between the recording and the plain path, which run the same kernels.
_TOLERANCE = 1e-4
# Replays whose median time counts.
_TIMED = 9
# Beside the streams, whose names have no space.
_PREVIOUS = "previous action"


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

        def answer(inputs: Mapping[str, Tensor]) -> tuple[Answer, Solution | None]:
            streams = {name: values for name, values in inputs.items() if name != _PREVIOUS}
            return answering(streams, inputs.get(_PREVIOUS), generator)

        seed = generator.initial_seed()
        self._recording = Recording(answer, _inputs(batch, previous), generator)
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
        replayed = self(probe, previous)[0].to_host()
        self.is_right = all(
            torch.allclose(one, other, _TOLERANCE, _TOLERANCE, equal_nan=True)
            for one, other in (
                (replayed.action, plain.action),
                (replayed.energy, plain.energy),
                (replayed.distances, plain.distances),
            )
        )
        """Whether the replay gave the answer of the plain path."""
        self.seconds = statistics.median(self._seconds(probe, previous) for _ in range(_TIMED))
        """How long a replay takes."""

    def __call__(
        self, batch: Mapping[str, Tensor], previous: Tensor | None
    ) -> tuple[Answer, Solution | None]:
        """The answer to an observation of the same shapes, before the device has computed it."""
        return self._recording(_inputs(batch, previous))

    def _seconds(self, batch: Mapping[str, Tensor], previous: Tensor | None) -> float:
        started = time.perf_counter()
        self(batch, previous)[0].to_host()
        return time.perf_counter() - started


def _inputs(batch: Mapping[str, Tensor], previous: Tensor | None) -> dict[str, Tensor]:
    return {**batch, **({} if previous is None else {_PREVIOUS: previous})}


def fastest(
    answerings: Sequence[Answering],
    batch: Mapping[str, Tensor],
    previous: Tensor | None,
    generator: torch.Generator,
) -> RecordedAnswering | None:
    """Of the recordings of several answerings the one that replays fastest.

    One that fails or gives another answer than step by step is left out, with a warning; None if
    all are.
    """
    seed, found = generator.initial_seed(), []
    for answering in answerings:
        generator.manual_seed(seed)
        try:
            recorded = RecordedAnswering(answering, batch, previous, generator)
            problem = "" if recorded.is_right else "it gives another answer"
        except RuntimeError as error:
            problem = str(error)
        if problem:
            warnings.warn(f"a recording of decisions is not used: {problem}", stacklevel=2)
        else:
            found.append(recorded)
    return min(found, key=lambda recorded: recorded.seconds, default=None)
