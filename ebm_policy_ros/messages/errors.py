"""What is wrong with a message."""

from __future__ import annotations

from ebm_policy_ros.util.quoting import LONGEST_REFUSAL, cut


class MessageError(ValueError):
    """A message whose content is not what its type and the interface promise."""

    def __init__(self, text: str) -> None:
        """Tells what is wrong in one line; what a stranger wrote in it is cut."""
        super().__init__(cut(text, LONGEST_REFUSAL))
