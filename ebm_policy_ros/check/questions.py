"""Questions with numbered choices and a default, answered at a terminal or by options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ebm_policy_ros.util.quoting import LONGEST_LINE, cut, quote, suggestion

Answer = TypeVar("Answer")
Read = Callable[[str], str]
"""Reader of a line of the operator, given a prompt."""

DEFAULT = "default"
"""Answer that takes the default."""
_NONE = "none"


@dataclass(frozen=True)
class Choice:
    """A possible answer."""

    name: str
    about: str = ""


class Questions:
    """Asks each question, unless an option has answered it."""

    def __init__(self, read: Read | None, say: Callable[[str], None], count: int) -> None:
        """Begin with the first question.

        Args:
            read: Reader of an answer; None without a terminal.
            say: Writer of a line.
            count: Number of questions.
        """
        self._read, self._say, self._count, self._number = read, say, count, 0

    def ask(
        self, option: str, given: str, text: str, default: str, parse: Callable[[str], Answer]
    ) -> Answer:
        """Answer of an option, or of the operator; a wrong one is asked for again.

        Args:
            option: Name of the option.
            given: Its value; empty if it was not given.
            text: The question.
            default: Answer that an empty line stands for, as the operator would type it.
            parse: Function from a text to the answer; raises ValueError.

        Raises:
            ValueError: If the option is wrong, or there is no terminal.
        """
        self._number += 1
        if given:
            try:
                return parse(default if given == DEFAULT else given)
            except ValueError as error:
                raise ValueError(f"--{option}: {error}") from None
        if self._read is None:
            raise ValueError(
                f"--{option}: not given, and there is no terminal to ask at; give "
                f"--{option}={quote(default)}, or --{option}={DEFAULT} for the same"
            )
        self._say(f"\n{self._number} of {self._count}: {text}")
        while True:
            try:
                answer = self._read(f"  [{default}] ").strip()
            except EOFError:
                raise ValueError(f"--{option}: the input ended; nothing was written") from None
            try:
                return parse(answer if answer and answer != DEFAULT else default)
            except ValueError as error:
                self._say(f"  {error}")

    def choose(
        self,
        option: str,
        given: str,
        text: str,
        choices: Sequence[Choice],
        default: Sequence[int],
        most: int | None = None,
    ) -> list[int]:
        """Indices of the chosen ones.

        Args:
            option: Name of the option.
            given: Its value; empty if it was not given.
            text: The question.
            choices: Possible answers.
            default: Indices of the usual ones.
            most: Largest number of them; None for any, also none.
        """
        # Names come from the network, and may hold commands for the terminal.
        told = [(cut(choice.name), cut(choice.about, LONGEST_LINE)) for choice in choices]
        width = max((len(name) for name, _ in told), default=0)
        lines = [
            f"  {number}  {name:<{width}}  {about}".rstrip()
            for number, (name, about) in enumerate(told, 1)
        ]
        usual = ",".join(str(index + 1) for index in default) or _NONE
        question = "\n".join([text, *lines])
        return self.ask(option, given, question, usual, lambda a: _chosen(a, choices, most))


def _chosen(answer: str, choices: Sequence[Choice], most: int | None) -> list[int]:
    """Read numbers or names, separated by commas."""
    names = [choice.name for choice in choices]
    words = answer.replace(",", " ").split()
    if words == [_NONE] and most is None:
        return []
    found = []
    for word in words:
        if word.isascii() and word.isdigit() and 1 <= int(word[:9]) <= len(choices):
            found.append(int(word[:9]) - 1)
        elif word.lstrip("/") in names:
            found.append(names.index(word.lstrip("/")))
        else:
            numbers = f"a number from 1 to {len(choices)}" if choices else _NONE
            raise ValueError(
                f"got {quote(word)}, expected {numbers} or a name{suggestion(word, names)}"
            )
    if most is not None and len(found) != most:
        raise ValueError(f"got {quote(cut(answer))}, expected {most} of them")
    return list(dict.fromkeys(found))


def numbers_in(answer: str, count: int) -> list[float]:
    """Read so many numbers, separated by commas or blanks.

    Raises:
        ValueError: If there are others.
    """
    words = answer.replace(",", " ").split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count:
        expected = "a number" if count == 1 else f"{count} numbers"
        raise ValueError(f"got {quote(answer)}, expected {expected}")
    return values
