"""Hub: what all pages see, and what they ask for."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections import OrderedDict
from typing import Any

from ebm_policy_ros.operator.commands import Command
from ebm_policy_ros.operator.journal import Journal
from ebm_policy_ros.operator.page_session import PageSession
from ebm_policy_ros.operator.programs import Programs
from ebm_policy_ros.operator.robot import Answer, Robot
from ebm_policy_ros.operator.stopping import PendingStop
from ebm_policy_ros.operator.words import commander, situation

PERIOD = 0.1
"""Time between two states, s."""
FRESHEST = 1.0
"""Greatest age of the state that an operator saw when commanding, s."""
_SILENT = 2.0
# Time until a picture that cannot be encoded is told again, s.
_TOLD_AGAIN = 60.0
_REMEMBERED = 64


class Hub:
    """Sends one state to all pages, and lets through the commands of those that see it."""

    def __init__(
        self, robot: Robot, programs: Programs, journal: Journal, picture_rate: float
    ) -> None:
        """Begin without pages.

        Args:
            robot: Robot to show and to command.
            programs: Programs that pages start.
            journal: Journal that the pages show.
            picture_rate: Most pictures per second of each camera, Hz.
        """
        self.pages: list[PageSession] = []
        self.stop = PendingStop(robot, journal)
        self._robot, self._programs, self._journal = robot, programs, journal
        self._picture_period = 1 / picture_rate
        self._number, self._opened = 0, 0
        self._sent: OrderedDict[int, float] = OrderedDict()
        self._busy: dict[str, str] = {}
        self._told: dict[str, float] = {}
        """Times at which the log last told that a picture cannot be encoded, by name."""

    def next_name(self) -> str:
        """Name of the next page."""
        self._opened += 1
        return f"page {self._opened}"

    def add(self, page: PageSession) -> None:
        """Welcome a page."""
        self.pages.append(page)
        page.send({"type": "welcome", "page": page.name})
        self._journal.write(f"{page} opened")

    def remove(self, page: PageSession) -> None:
        """Tell the others that a page has gone."""
        self.pages.remove(page)
        self._watch()
        left = f"{len(self.pages)} still open" if self.pages else "no page is open any more"
        self._journal.write(f"{page} closed; {left}", "warning")

    def show(self, page: PageSession, pictures: frozenset[str]) -> None:
        """Note the pictures that a page shows."""
        page.pictures = pictures
        self._watch()

    def _watch(self) -> None:
        self._robot.watch(frozenset[str]().union(*(page.pictures for page in self.pages)))

    # Commands

    def is_fresh(self, number: int) -> bool:
        """Return True if a state is so new that an operator may act on it."""
        return time.monotonic() - self._sent.get(number, -1e9) <= FRESHEST

    def heard(self, page: PageSession, number: int) -> None:
        """Note that a page has shown a state."""
        if self.is_fresh(number):
            page.heard()
            if page.is_silent:
                page.is_silent = False
                self._journal.write(f"{page} is back")

    async def perform(self, who: str, command: Command, seen: int) -> Answer:
        """Perform a command of an operator.

        Args:
            who: Name of the page.
            command: The command.
            seen: Number of the last state that the page has shown; a stop needs none.
        """
        if command.name == "stop":
            return await self.stop.request(who)
        refusal = ""
        if not self.is_fresh(seen):
            refusal = f"the page showed a state older than {FRESHEST:g} s; look again and repeat"
        elif self.stop.waiting_s is not None and command.target in ("policy", "judge"):
            refusal = "a STOP is not confirmed yet"
        elif running := self._busy.get(command.target):
            refusal = f"{running} is still running"
        if refusal:
            answer = Answer(False, refusal)
        else:
            self._busy[command.target] = f"{command} by {who}"
            try:
                is_program = command.target == "program"
                receiver = self._programs if is_program else self._robot
                answer = await receiver.perform(command)
            finally:
                del self._busy[command.target]
        level = "info" if answer.done else "warning"
        refused = "" if answer.done else "refused: "
        self._journal.write(f"{command} by {who}: {refused}{answer.text}", level)
        return answer

    # What the pages see

    async def run(self) -> None:
        """Send states until cancelled."""
        while True:
            try:
                if self.pages:
                    self._send_state()
                self._check_pages()
            except Exception as problem:  # the pages must not freeze
                self._journal.write(f"state: {type(problem).__name__}: {problem}", "error")
            await asyncio.sleep(PERIOD)

    def _send_state(self) -> None:
        self._number += 1
        self._sent[self._number] = time.monotonic()
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        text = json.dumps(self._state())
        for page in self.pages:
            page.offer("state", text)
            if entries := self._journal.since(page.entries):
                page.entries = self._journal.count
                page.send({"type": "log", "entries": entries})

    def _state(self) -> dict[str, Any]:
        pages = [
            {"name": page.name, "address": page.address, "silent": page.is_silent}
            for page in self.pages
        ]
        stopping, robot = self.stop.waiting_s, self._robot.state()
        return {
            "type": "state",
            "n": self._number,
            "pages": pages,
            "stopping_s": None if stopping is None else round(stopping, 2),
            "busy": list(self._busy.values()),
            **dataclasses.asdict(situation(robot["policy"], stopping)),
            "commander": commander(robot["policy"]),
            "programs": self._programs.state(),
            **robot,
        }

    def _check_pages(self) -> None:
        for page in self.pages:
            if page.silence > _SILENT and not page.is_silent:
                page.is_silent = True
                text = f"{page} is silent: hidden, asleep, or the network between is dead"
                self._journal.write(text, "warning")

    async def run_pictures(self) -> None:
        """Send pictures until cancelled."""
        while True:
            begun = time.monotonic()
            await self._send_pictures()
            left = self._picture_period - (time.monotonic() - begun)
            await asyncio.sleep(max(0.001, left))

    async def _send_pictures(self) -> None:
        loop = asyncio.get_running_loop()
        for name in sorted(frozenset[str]().union(*(page.pictures for page in self.pages))):
            try:
                # In another thread: a STOP must not wait for the encoding.
                picture = await loop.run_in_executor(None, self._robot.picture, name)
            except Exception as problem:  # such as an image that nobody can decode
                self._tell_missing(name, f"{type(problem).__name__}: {problem}")
                continue
            if picture is None:
                continue
            for page in self.pages:
                if name in page.pictures:
                    page.offer(f"picture {name}", name.encode() + b"\0" + picture)

    def _tell_missing(self, name: str, problem: str) -> None:
        """Tell in the log why there is no picture, but not for each message."""
        now = time.monotonic()
        if now - self._told.get(name, -1e9) > _TOLD_AGAIN:
            self._told[name] = now
            self._journal.write(f"no picture of {name}: {problem}", "error")
