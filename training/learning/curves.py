"""Training curves for TensorBoard."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm


class Curves:
    """Values by step in a file for TensorBoard.

    A run must not fail because of its curves: if the file cannot be written, as on a full disk,
    one message is printed and writing stops.
    """

    def __init__(self, folder: Path, first: int) -> None:
        """Open a file.

        Args:
            folder: Folder of the file.
            first: Step from which older files are ignored.
        """
        self._folder = folder
        self._writer: SummaryWriter | None = None
        self._previous = threading.excepthook
        # A thread writes the file; its errors are handled here too.
        threading.excepthook = self._pass_over
        self._open = True
        self._try(lambda: self._begin(first))

    def add(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        if (writer := self._writer) is not None:
            self._try(lambda: writer.add_scalar(name, value, step))

    def __enter__(self) -> Curves:
        """Return the object itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the remaining values."""
        if self._writer is not None:
            self._try(self._writer.close)
        threading.excepthook = self._previous

    def _begin(self, first: int) -> None:
        self._writer = SummaryWriter(str(self._folder), purge_step=first)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            if self._open:
                action()
        except OSError as error:
            self._open = False
            reason = error.strerror or error
            tqdm.write(
                f"{self._folder}: the curves for TensorBoard are incomplete ({reason}); make "
                "room, the training itself goes on",
                file=sys.stderr,
            )

    def _pass_over(self, failure: threading.ExceptHookArgs) -> None:
        if not isinstance(failure.exc_value, OSError):
            self._previous(failure)
