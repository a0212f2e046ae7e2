"""Hold: a person takes an arm over for as long as they hold something."""

from __future__ import annotations


class Hold:
    """Decides from what a person holds when a takeover begins and ends."""

    def __init__(self) -> None:
        """Begin with nothing that is known to be held or released."""
        self._before: bool | None = None
        self._is_held = False

    def follow(self, held: bool | None, is_taken: bool) -> str:
        """Event that follows from what is held now: take, let_go or none.

        It begins when something is pressed that was seen released, so that what is held from the
        start does nothing.

        Args:
            held: True while the person holds something; None if it is not known.
            is_taken: True if the person commands already, as after a key that takes the arm.
        """
        begins = held is True and self._before is False and not is_taken
        self._before = held
        if begins:
            self._is_held = True
            return "take"
        if held is False and self._is_held:
            self._is_held = False
            return "let_go"
        return ""

    def latch(self) -> None:
        """Go on, or end, independent of what is held at this moment."""
        self._is_held = False
