"""A whole decision as one CUDA graph."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ebm_policy_ros.answer import Answer, Answering
from ebm_policy_ros.cuda_graph import Recording, RecordingError
from ebm_policy_ros.inference.solution import Solution

# Between the recording and the plain path.
_TOLERANCE = 1e-4
# Sums over many candidates are not always the same to the last bit on a GPU, which may now and
# then lead to other candidates: of so many observations one must agree.
_PROBES = 3
# Replays whose median time counts.
_TIMED = 9


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
        """Records the answer to an observation, and compares replays with the plain path.

        Args:
            answering: What is recorded.
            batch: One observation's streams, on the device.
            previous: The last action, or None for a recording without one.
            generator: Source of the candidates, seeded before each replay.

        Raises:
            RecordingError: If it can't be recorded, or a replay gives another answer.
        """
        self._names = list(batch)

        def answer(*inputs: Tensor) -> tuple[Answer, Solution | None]:
            streams = dict(zip(self._names, inputs, strict=False))
            kept = None if previous is None else inputs[-1]
            return answering(streams, kept, generator)

        seed = generator.initial_seed()
        self._recording = Recording(answer, self._inputs(batch, previous), generator)
        agreed = False
        for number in range(1, _PROBES + 1):
            # Not what was recorded: a replay that ignores its input would pass.
            probe = {
                name: torch.randint_like(values, 256)
                if values.dtype == torch.uint8
                else torch.randn_like(values)
                for name, values in batch.items()
            }
            generator.manual_seed(seed + number)
            plain = answering(probe, previous, generator)[0].to_host()
            generator.manual_seed(seed + number)
            agreed = agreed or _agree(self(probe, previous)[0].to_host(), plain)
        if not agreed:
            raise RecordingError("it gives another answer")
        self.seconds = statistics.median(self._seconds(probe, previous) for _ in range(_TIMED))
        """How long a replay takes."""

    def __call__(
        self, batch: Mapping[str, Tensor], previous: Tensor | None
    ) -> tuple[Answer, Solution | None]:
        """The answer to an observation of the same shapes, before the device has computed it."""
        return self._recording(self._inputs(batch, previous))

    def _inputs(self, batch: Mapping[str, Tensor], previous: Tensor | None) -> list[Tensor]:
        streams = [batch[name] for name in self._names]
        return streams if previous is None else [*streams, previous]

    def _seconds(self, batch: Mapping[str, Tensor], previous: Tensor | None) -> float:
        started = time.perf_counter()
        self(batch, previous)[0].to_host()
        return time.perf_counter() - started


def _agree(one: Answer, other: Answer) -> bool:
    """Whether two answers are about the same, but for the candidates that led to them."""
    names = ("action", "energy", "minima", "distances")
    return all(
        torch.allclose(getattr(one, name), getattr(other, name), _TOLERANCE, _TOLERANCE, True)
        for name in names
    )


def fastest(
    answerings: Sequence[Answering],
    batch: Mapping[str, Tensor],
    previous: Tensor | None,
    generator: torch.Generator,
) -> RecordedAnswering | None:
    """Of the recordings of several answerings the one that replays fastest.

    One that fails is left out, with a warning; None if all are.
    """
    seed, found = generator.initial_seed(), []
    for answering in answerings:
        generator.manual_seed(seed)
        try:
            found.append(RecordedAnswering(answering, batch, previous, generator))
        except RecordingError as error:
            warnings.warn(f"a recording of decisions is not used: {error}", stacklevel=2)
    return min(found, key=lambda recorded: recorded.seconds, default=None)
