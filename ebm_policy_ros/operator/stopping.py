"""Stop that is repeated until the policy node confirms it."""

from __future__ import annotations

import asyncio
import time

from ebm_policy_ros.operator.journal import Journal
from ebm_policy_ros.operator.robot import Answer, Robot

# Time between two attempts if the first was answered, but not with success; s.
_PAUSE = 0.1


class PendingStop:
    """The one stop on its way; requests of several pages join it."""

    def __init__(self, robot: Robot, journal: Journal) -> None:
        """Begin without a stop.

        Args:
            robot: Robot to stop.
            journal: Journal of what happens.
        """
        self._robot, self._journal = robot, journal
        self._task: asyncio.Task[Answer] | None = None
        self._since = 0.0

    @property
    def waiting_s(self) -> float | None:
        """Time since an unconfirmed stop was requested, s; None if there is none."""
        is_pending = self._task is not None and not self._task.done()
        return time.monotonic() - self._since if is_pending else None

    async def request(self, who: str) -> Answer:
        """Stop, and wait until it is confirmed; a caller that gives up does not end the stop."""
        if self._task is None or self._task.done():
            self._since = time.monotonic()
            self._task = asyncio.get_running_loop().create_task(self._repeat(who))
        return await asyncio.shield(self._task)

    def close(self) -> None:
        """Give up."""
        if self._task is not None:
            self._task.cancel()

    async def _repeat(self, who: str) -> Answer:
        self._journal.write(f"STOP by {who}", "warning")
        attempts = 0
        while True:
            try:
                answer = await self._robot.stop()
            except Exception as problem:  # nothing ends a STOP but its confirmation
                answer = Answer(False, f"{type(problem).__name__}: {problem}")
            attempts += 1
            if answer.done:
                break
            if attempts == 1:
                self._journal.write(f"STOP is not confirmed, trying on: {answer.text}", "error")
            await asyncio.sleep(_PAUSE)
        taken = time.monotonic() - self._since
        again = "" if attempts == 1 else f", at attempt {attempts}"
        self._journal.write(f"STOP confirmed after {taken * 1e3:.0f} ms{again}", "warning")
        return answer
