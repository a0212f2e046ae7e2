"""Hundreds of launches on a CUDA device as one: what a function did is recorded and replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ebm_policy_ros.device.selection import has_recordings

# Runs before the recording: libraries choose their kernels, and allocate, in the first ones.
_WARM_UPS = 3

Result = TypeVar("Result")


class CaptureError(RuntimeError):
    """A function that could not be recorded."""


class CapturedGraph(Generic[Result]):
    """A function of tensors, replayed for others like them.

    What it returns lies in memory that the next replay overwrites. A replay reads weights where
    they were at the recording: change them in place. Autocast and modes stay as they were then. On
    a device that records nothing the function runs anew each time.
    """

    def __init__(
        self,
        function: Callable[..., Result],
        inputs: Sequence[Tensor],
        device: torch.device,
    ) -> None:
        """Runs and records the function.

        Args:
            function: Of a generator, the only one that it draws from, and as many tensors as there
                are inputs. It launches the same kernels for all of these shapes and precisions,
                and never waits for the device.
            inputs: On the device.
            device: Where the function computes.

        Raises:
            RecordingError: If anything goes wrong. The memory that it had may be lost until the
                process ends.
        """
        # Kept: the recording reads what it holds.
        self._function = function
        self._inputs = [values.detach().clone() for values in inputs]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._device = device
        # Nobody else's: where a recording breaks off, it may be of no use.
        self._generator = torch.Generator(device)
        if has_recordings(device):
            self._record()

    def __call__(self, inputs: Sequence[Tensor], seed: int) -> Result:
        """The result for inputs of the same shapes, before the device has computed it.

        Args:
            inputs: As many as were recorded.
            seed: Of what the function draws.

        Raises:
            ValueError: If a shape or precision is another.
        """
        for kept, values in zip(self._inputs, inputs, strict=True):
            if (kept.shape, kept.dtype) != (values.shape, values.dtype):
                raise ValueError(
                    f"got {tuple(values.shape)} of {values.dtype}, recorded was "
                    f"{tuple(kept.shape)} of {kept.dtype}"
                )
            # Without a trace of where they come from, which would grow with each replay.
            kept.copy_(values.detach(), non_blocking=True)
        self._generator.manual_seed(seed)
        if self._graph is None:
            return self._function(self._generator, *self._inputs)
        with torch.cuda.device(self._device):
            self._graph.replay()
        return self._result

    def _record(self) -> None:
        broke: list[Exception] = []
        try:
            # What is recorded is what runs on the current device: it need not be the first one.
            # The stream is set back even where a recording breaks off.
            with torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.current_stream()):
                graph = torch.cuda.CUDAGraph()
                graph.register_generator_state(self._generator)
                side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    for _ in range(_WARM_UPS):
                        self._function(self._generator, *self._inputs)
                torch.cuda.current_stream().wait_stream(side)
                # Other threads may copy or allocate meanwhile.
                with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                    try:
                        self._result = self._function(self._generator, *self._inputs)
                    except Exception as error:
                        broke.append(error)
                        raise
                self._graph = graph
        except Exception as error:  # whatever a compiler or a library throws
            self._mend()
            # What ends a broken recording throws too, and hides why it broke.
            raise CaptureError(repr((broke or [error])[0])) from error

    def _mend(self) -> None:
        """Record something that can't fail.

        Up to torch 2.11 the default generator of the device refuses to draw after a recording that
        broke off, until another one has ended.
        """
        with suppress(Exception), torch.cuda.device(self._device):
            with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
                torch.zeros(1, device=self._device)
