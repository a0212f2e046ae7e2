"""CUDA graphs: a function is captured once, and its hundreds of launches are replayed as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ebm_policy_ros.device.selection import has_cuda_graphs

# Runs before the capture: libraries choose kernels and allocate memory in the first runs.
_WARM_UPS = 3

Result = TypeVar("Result")


class CaptureError(RuntimeError):
    """Failure to capture a function in a CUDA graph."""


class CapturedGraph(Generic[Result]):
    """Function of tensors, captured once and replayed for inputs of the same shapes.

    The result is in memory that the next replay overwrites. A replay reads weights from their
    addresses at the capture: change them only in place. Autocast and modes stay as they were at
    the capture. On a device without CUDA graphs the function runs anew in each call.
    """

    def __init__(
        self,
        function: Callable[..., Result],
        inputs: Sequence[Tensor],
        device: torch.device,
    ) -> None:
        """Run and capture the function.

        Args:
            function: Function of a generator and of as many tensors as there are inputs. It draws
                from this generator only, launches the same kernels for all inputs of these shapes
                and precisions, and never waits for the device.
            inputs: Example inputs on the device.
            device: Device on which the function computes.

        Raises:
            CaptureError: If the capture fails for any reason. Its memory may stay allocated until
                the process ends.
        """
        # Kept alive: the captured graph reads the memory that the function refers to.
        self._function = function
        self._inputs = [values.detach().clone() for values in inputs]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._device = device
        # Not shared: it may be unusable after a failed capture.
        self._generator = torch.Generator(device)
        if has_cuda_graphs(device):
            self._capture()

    def __call__(self, inputs: Sequence[Tensor], seed: int) -> Result:
        """Launch the function and return its result without waiting for the device.

        Args:
            inputs: As many tensors as were captured, with the same shapes and precisions.
            seed: Seed of the function's generator.

        Raises:
            ValueError: If a shape or a precision differs from the captured one.
        """
        for kept, values in zip(self._inputs, inputs, strict=True):
            if (kept.shape, kept.dtype) != (values.shape, values.dtype):
                raise ValueError(
                    f"got {tuple(values.shape)} of {values.dtype}, captured was "
                    f"{tuple(kept.shape)} of {kept.dtype}"
                )
            # Detached: else the autograd history would grow with each replay.
            kept.copy_(values.detach(), non_blocking=True)
        self._generator.manual_seed(seed)
        if self._graph is None:
            return self._function(self._generator, *self._inputs)
        with torch.cuda.device(self._device):
            self._graph.replay()
        return self._result

    def _capture(self) -> None:
        broke: list[Exception] = []
        try:
            # A capture sees only the current device, which need not be the first one. The stream
            # is restored even if the capture fails.
            with torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.current_stream()):
                graph = torch.cuda.CUDAGraph()
                graph.register_generator_state(self._generator)
                side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    for _ in range(_WARM_UPS):
                        self._function(self._generator, *self._inputs)
                torch.cuda.current_stream().wait_stream(side)
                # thread_local: other threads may copy or allocate during the capture.
                with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                    try:
                        self._result = self._function(self._generator, *self._inputs)
                    except Exception as error:
                        broke.append(error)
                        raise
                self._graph = graph
        except Exception as error:  # any exception of a compiler or a library
            self._mend()
            # Ending a failed capture raises a second error, which hides the first one.
            raise CaptureError(repr((broke or [error])[0])) from error

    def _mend(self) -> None:
        """Capture a trivial graph that cannot fail.

        Up to torch 2.11, after a failed capture the default generator of the device refuses to
        draw until another capture has ended.
        """
        with suppress(Exception), torch.cuda.device(self._device):
            with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
                torch.zeros(1, device=self._device)
