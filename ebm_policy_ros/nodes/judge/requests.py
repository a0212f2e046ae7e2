"""Requests to other nodes: repeated until they have an effect, and the stop of a policy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from ebm_policy_ros.nodes.operator.policy_link import PolicyLink
from ebm_policy_ros.operator.robot import Answer

_STEP = 0.05
# Time after which a request that had no effect is sent again, s. An answer may get lost: DDS drops
# it where the asked node has not discovered this one's reader yet.
_PAUSE, _PAUSE_AFTER_YES = 0.5, 2.0
# Silence after which the policy node is lost, s; its status comes ten times a second.
_LOST = 3.0
_STOP_TIMEOUT = 5.0


class TrialRefused(Exception):
    """A node that is missing or refuses; the text says which one, and why."""


class Requests:
    """Requests that are repeated until they have an effect, or are given up."""

    def __init__(self, patience: float) -> None:
        """Wait for nothing yet.

        Args:
            patience: Longest time until a node does what it is asked for, s.
        """
        self._patience = patience
        self.are_given_up = False
        """True if nothing is to be asked any more; an answer on its way is still waited for."""

    async def until(
        self, happened: Callable[[], bool], ask: Callable[[], Awaitable[Answer]], problem: str
    ) -> None:
        """Ask until something has happened, by the other node's topics.

        Args:
            happened: True if it has.
            ask: Asks once.
            problem: Beginning of the error.

        Raises:
            TrialRefused: If it does not happen; the text has the last answer.
        """
        deadline = time.monotonic() + self._patience
        while not self.are_given_up:
            answer = await ask()
            again = time.monotonic() + (_PAUSE_AFTER_YES if answer.done else _PAUSE)
            while not (happened() or self.are_given_up) and time.monotonic() < again:
                await asyncio.sleep(_STEP)
            if happened():
                return
            if time.monotonic() >= deadline:
                raise TrialRefused(f"{problem}: {answer.text}")
        raise TrialRefused(f"{problem}: given up")


def is_lost(policy: PolicyLink) -> bool:
    """Return True if a policy node was not heard for long."""
    silence = policy.state()["silence_s"]
    return silence is None or silence > _LOST


async def stop_policy(policy: PolicyLink) -> Answer:
    """Stop a policy; repeated for a while, and while the node is there.

    Returns:
        Answer that is done if the node says after its yes that it is stopped.
    """
    deadline = time.monotonic() + _STOP_TIMEOUT
    answer = await policy.stop()
    answered = time.monotonic()
    while not (answer.done and _says_stopped_since(policy, answered)):
        if time.monotonic() > deadline or is_lost(policy):
            return Answer(False, f"the stop is not confirmed: {answer.text}")
        await asyncio.sleep(_STEP)
        if not answer.done:
            answer = await policy.stop()
            answered = time.monotonic()
    return answer


def _says_stopped_since(policy: PolicyLink, moment: float) -> bool:
    """Return True if the newest state is stopped, and younger than a moment."""
    state = policy.state()
    silence = state["silence_s"]
    is_new = silence is not None and time.monotonic() - silence > moment
    return is_new and state.get("state") == "stopped"
