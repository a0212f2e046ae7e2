"""Bag of a trial: the recorder begins and ends it."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from ebm_policy_ros.nodes.judge.requests import Requests, TrialRefused
from ebm_policy_ros.nodes.operator.recorder_link import RecorderLink
from ebm_policy_ros.operator.commands import Command
from ebm_policy_ros.operator.robot import Answer


class TrialBag:
    """Bag of the current trial, in a recorder that may have recorded something before."""

    def __init__(self, node: Node, recorder: str, requests: Requests) -> None:
        """Open topics and clients.

        Args:
            node: Node that owns them.
            recorder: Name of the recorder.
            requests: Requests that are repeated.
        """
        self._log = node.get_logger()
        self._recorder, self._requests = RecorderLink(node, recorder), requests
        self._episode = self._left = ""

    @property
    def is_heard(self) -> bool:
        """True if the recorder is there."""
        return bool(self._state["is_heard"])

    @property
    def is_recording(self) -> bool:
        """True if the recorder records, this bag or another one."""
        return bool(self._state.get("state") == "recording")

    @property
    def _state(self) -> dict[str, Any]:
        return self._recorder.state()

    async def begin(self) -> str:
        """Begin the bag; one that a crash left running is ended before.

        Returns:
            Folder of the bag that was left; empty if there was none.

        Raises:
            TrialRefused: If the recorder refuses.
        """
        self._episode = self._left = ""
        await self._requests.until(
            lambda: self.is_recording and self._state.get("episode") == self._episode,
            self._start,
            "the recorder does not start",
        )
        return self._left

    async def _start(self) -> Answer:
        if self.is_recording:
            left = await self._end(False, "void: it ran when a trial was to begin")
            if not left.done:
                return left
            self._left = left.text
        answer = await self._recorder.perform(Command("record", "start"))
        if answer.done:
            self._episode = answer.text
        return answer

    async def keep(self, success: bool, note: str) -> str:
        """End the bag with a note, and return its folder.

        Raises:
            TrialRefused: If the recorder refuses; the bag is then where it says.
        """
        answer = await self._end(success, note)
        if not answer.done:
            raise TrialRefused(f"the bag is not kept: {answer.text}")
        return answer.text

    async def _end(self, success: bool, note: str) -> Answer:
        """End a bag with a note, and give the recorder back the note that it had."""
        before = await self._recorder.noted()
        noted = await self._recorder.note(note)
        answer = await self._recorder.perform(
            Command("record", "success" if success else "failure")
        )
        await self._recorder.note(before)
        if answer.done and not noted.done:
            self._log.warning(f"{answer.text} has not the note {note!r}: {noted.text}")
        return answer

    def problem(self) -> str:
        """Reason why a trial cannot go on; empty if it can."""
        if not self.is_heard:
            return "the recorder is silent"
        if not self.is_recording or self._state.get("episode") != self._episode:
            return "the recorder has ended the bag early"
        return ""
