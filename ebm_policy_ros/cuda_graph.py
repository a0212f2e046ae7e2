"""Hundreds of launches on a CUDA device as one: what a function did is recorded and replayed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor

# Runs before the recording: libraries choose their kernels, and allocate, in the first ones.
_WARM_UPS = 3

Result = TypeVar("Result")


class Recording(Generic[Result]):
    """A function of tensors, replayed for others of the same shapes.

    What it returns lies in memory that the next replay overwrites.
    """

    def __init__(
        self,
        function: Callable[[Mapping[str, Tensor]], Result],
        inputs: Mapping[str, Tensor],
        generator: torch.Generator,
    ) -> None:
        """Runs and records the function.

        Args:
            function: Whose work depends on the shapes of its inputs alone, and waits for nothing.
                Of weights that it uses a replay sees what they are then, if they are changed in
                place.
            inputs: On a CUDA device, by name.
            generator: That the function draws from, on that device; seed it before a replay.
        """
        self._inputs = {name: values.detach().clone() for name, values in inputs.items()}
        self._device = device = generator.device
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(generator)
        # What is recorded is what runs on the current device: it need not be the first one.
        with torch.cuda.device(device):
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):
                    function(self._inputs)
            torch.cuda.current_stream().wait_stream(side)
            # Other threads may copy or allocate meanwhile.
            with torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"):
                self._result = function(self._inputs)

    def __call__(self, inputs: Mapping[str, Tensor]) -> Result:
        """The result for inputs of the same shapes, before the device has computed it."""
        for name, values in self._inputs.items():
            values.copy_(inputs[name], non_blocking=True)
        with torch.cuda.device(self._device):
            self._graph.replay()
        return self._result
