"""Error for invalid messages."""

from __future__ import annotations

from ebm_policy_ros.util.quoting import LONGEST_REFUSAL, cut


class MessageError(ValueError):
    """Message whose content does not match its type or the interface."""

    def __init__(self, text: str) -> None:
        """Create an error with a message in one line; text that is too long is cut."""
        super().__init__(cut(text, LONGEST_REFUSAL))
