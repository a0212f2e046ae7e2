"""Several processes that train one model: each batch is divided among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Processes:
    """The processes of this training; one, unless `accelerate launch` started more."""

    def __init__(self, device: torch.device) -> None:
        """Finds the others; on CUDA devices each process has one of its own."""
        self._state = PartialState(cpu=device.type == "cpu")
        self.count: int = self._state.num_processes
        self.is_main: bool = self._state.is_main_process
        """Whether this process is the one that writes and judges."""
        self.device: torch.device = self._state.device if self.count > 1 else device

    def main_first(self) -> AbstractContextManager[None]:
        """A context that the others enter when the main process has left it."""
        return self._state.main_process_first()  # type: ignore[no-any-return]

    def rows(self, batch: int) -> slice:
        """Those of a batch that are this process's, about as many as every other's."""
        index = self._state.process_index
        return slice(batch * index // self.count, batch * (index + 1) // self.count)

    def draws(self, batch: int) -> AbstractContextManager[Any]:
        """A context in which random rows are drawn for a whole batch, and these rows taken.

        So what a row is compared with doesn't depend on the number of processes.
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
        """Whether it is set in any process."""
        if self.count == 1:
            return flag
        count = torch.tensor([float(flag)], device=self.device)
        self.add_up([count])
        return bool(count.item())


class _OwnRows(TorchFunctionMode):
    """torch.rand and torch.randn with a generator give rows of a larger draw."""

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
            each = args[0][0] // (last - first)  # an autoregressive model has several of a row
            shape = (self._batch * each, *args[0][1:])
            return func(shape, **kwargs)[first * each : last * each]
        return func(*args, **kwargs)
