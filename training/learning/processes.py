"""Training with several processes: each batch is divided among them.

The loss of a step is the same for any number of processes. `Accelerator.prepare` cannot give that:
it pads or drops rows where a batch does not divide evenly, averages the processes with equal
weight, and lets each of them draw its own negatives and image shifts. So accelerate only connects
the processes. Each makes the random draws of the whole batch, by the generator of the step, and
uses its rows. The draws are intercepted, since losses, chains and searches make them, also those
of plug-ins, which know nothing of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Processes:
    """Processes of this training; one, unless `accelerate launch` started more."""

    def __init__(self, device: torch.device) -> None:
        """Connect to the other processes; on CUDA each process uses its own device."""
        self._state = PartialState(cpu=device.type == "cpu")
        self.count: int = self._state.num_processes
        self.is_main: bool = self._state.is_main_process
        """True in the process that writes and evaluates."""
        self.device: torch.device = self._state.device if self.count > 1 else device

    def main_first(self) -> AbstractContextManager[None]:
        """Context that the other processes enter after the main process has left it."""
        return self._state.main_process_first()  # type: ignore[no-any-return]

    def rows(self, batch: int) -> slice:
        """Rows of a batch for this process; about equally many for each process."""
        index = self._state.process_index
        return slice(batch * index // self.count, batch * (index + 1) // self.count)

    def draws(self, batch: int) -> AbstractContextManager[Any]:
        """Context that draws random rows for the whole batch, and uses those of this process.

        So the negatives of a row do not depend on the number of processes.
        """
        return nullcontext() if self.count == 1 else _OwnRows(batch, self.rows(batch))

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace float tensors by their sums over all processes, in one exchange."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.detach().copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """True if the flag is set in any process."""
        if self.count == 1:
            return flag
        count = torch.tensor([float(flag)], device=self.device)
        self.add_up([count])
        return bool(count.item())


class _OwnRows(TorchFunctionMode):
    """Mode in which torch.rand and torch.randn with a generator return rows of a larger draw.

    Draws without a generator, such as initial weights, stay as they are.
    """

    def __init__(self, batch: int, rows: slice) -> None:
        super().__init__()
        self._batch, self._rows = batch, rows

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.rand, torch.randn) and kwargs.get("generator") is not None:
            first, last = self._rows.start, self._rows.stop
            each = args[0][0] // (last - first)  # an autoregressive model has several per frame
            shape = (self._batch * each, *args[0][1:])
            return func(shape, **kwargs)[first * each : last * each]
        return func(*args, **kwargs)
