"""What is wrong with a message."""

from __future__ import annotations


class MessageError(ValueError):
    """A message whose content is not what its type and the interface promise."""
