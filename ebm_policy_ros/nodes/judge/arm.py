"""Trials on an arm: an operator sets up each start, and says how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.nodes.judge.camera import StartOverlay
from ebm_policy_ros.nodes.judge.trial_nodes import TrialNodes, TrialRefused
from ebm_policy_ros.operator.words import situation
from ebm_policy_ros.teleop.keyboard import Key, key_map
from ebm_policy_ros.trials.log import Outcome, Result
from ebm_policy_ros.trials.plan import Comparison, Planned
from ebm_policy_ros.trials.starts import read_start

_STEP = 0.05
_KEYS = (
    Key("enter", "begin the trial; the arm may move", event="begin"),
    Key("Y", "it was a success", event="success"),
    Key("N", "it was a failure", event="failure"),
    Key("X", "void: repeat it", event="void"),
    Key("space", "STOP", event="stop"),
    Key("escape", "STOP", event="stop"),
    Key("R", "leave the stop; the arm may move", event="reset"),
    Key("Q", "end for now, between two trials", event="quit"),
    Key("?", "these keys", event="help"),
)
_EVENTS = {key.name: key.event for key in _KEYS}
_RESULTS: Mapping[str, Result] = {"success": "success", "failure": "failure", "void": "void"}


class EndedByOperator(Exception):
    """The operator ends for now; the same command goes on later."""


class ArmRunner:
    """Runs trials on an arm, by keys of a terminal that does not tell which policy runs."""

    def __init__(
        self,
        nodes: TrialNodes,
        comparison: Comparison,
        terminal: Terminal,
        starts: Mapping[str, Path],
        overlay: StartOverlay | None,
    ) -> None:
        """Show the keys.

        Args:
            nodes: Policy node and recorder.
            comparison: Comparison whose trials are run.
            terminal: Terminal for keys and output.
            starts: Pictures of the starts, by name; none if the operator numbers places.
            overlay: Shows a start; None without a camera.
        """
        self._nodes, self._comparison = nodes, comparison
        self._terminal, self._starts, self._overlay = terminal, starts, overlay
        for line in key_map(_KEYS):
            terminal.say(line)

    async def run(self, planned: Planned) -> Outcome:
        """Run a trial to its end; the arm is stopped before and after it.

        Raises:
            EndedByOperator: If the operator ends for now.
        """
        try:
            while not await self._begun(planned):
                pass
            return await self._followed(planned)
        except BaseException:  # also of a Ctrl-C
            await self._nodes.stop()
            raise
        finally:
            self._terminal.show("")

    async def _begun(self, planned: Planned) -> bool:
        """Begin a trial when the operator is ready; False if a node refuses."""
        nodes, recording = self._nodes, False
        try:
            await nodes.stop()
            if nodes.policy.get("lifecycle") != "active":
                await nodes.activate()
            await nodes.load(self._comparison, planned)
            await self._ready(planned)
            await nodes.record()
            recording = True
            await nodes.go_on()
        except TrialRefused as problem:
            self._terminal.say(f"trial {planned.number} cannot begin: {problem}")
            if recording:
                await self._keep(planned, "void", "did not begin")
            await self._pressed("enter: try again, Q: end for now", {"begin"})
            return False
        return True

    async def _ready(self, planned: Planned) -> None:
        """Wait until the start is set up, with its picture over the live one."""
        start = f"start {planned.start}"
        wanted = None
        if path := self._starts.get(planned.start):
            wanted = read_start(path)
        self._terminal.say(f"trial {planned.number}, block {planned.block + 1}: set up {start}")

        def show() -> None:
            if self._overlay is not None and wanted is not None:
                self._overlay.show(wanted)

        await self._pressed(f"{start}: enter begins, and the arm may move", {"begin"}, show)

    async def _pressed(
        self, status: str, wanted: set[str], meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Wait for a key with one of some events."""
        while True:
            for event in self._events():
                if event in wanted:
                    return
                if event == "quit":
                    raise EndedByOperator("ended for now; the same command goes on")
                if event == "stop":
                    await self._nodes.stop()
            try:
                meanwhile()
                self._terminal.show(status)
            except (MessageError, OSError) as problem:
                self._terminal.show(f"{status} | no overlay: {problem}")
            await asyncio.sleep(_STEP)

    def _events(self) -> list[str]:
        events = [_EVENTS.get(name, "") for name in self._terminal.keys()]
        if "help" in events:
            for line in key_map(_KEYS):
                self._terminal.say(line)
        return events

    async def _followed(self, planned: Planned) -> Outcome:
        """Follow a trial until the operator says how it ended, or it cannot go on; then stop."""
        nodes, begun = self._nodes, time.monotonic()
        result, problem, seconds = "", "", 0.0
        try:
            while not (result or problem):
                await asyncio.sleep(_STEP)
                nodes.watch()
                problem = nodes.problem()
                for event in self._events():
                    if event in _RESULTS and not result:
                        result = event
                    elif event == "stop":
                        await nodes.stop()
                    elif event == "reset" and not (answer := await nodes.reset()).done:
                        self._terminal.say(f"reset: refused: {answer.text}")
                now = situation(nodes.policy, None)
                seconds = time.monotonic() - begun
                self._terminal.show(
                    f"trial {planned.number}, {seconds:.0f} s | {now.word}: {now.reason}"
                )
        except asyncio.CancelledError:
            await nodes.stop()
            await self._keep(planned, "void", "interrupted")
            raise
        await nodes.stop()
        note = "; ".join(nodes.reasons)
        counted: Result = _RESULTS[result] if not problem else "void"
        bag, lost = await self._keep(planned, counted, problem)
        if lost:
            counted, problem = "void", f"{problem}; {lost}" if problem else lost
        return Outcome(
            counted,
            round(seconds, 2),
            stops=nodes.stops,
            takeovers=nodes.takeovers,
            bag=bag,
            note=problem or note,
        )

    async def _keep(
        self, planned: Planned, result: Literal["success", "failure", "void"], why: str
    ) -> tuple[str, str]:
        """End the bag; its folder, and the reason why there is none."""
        note = f"trial {planned.number}: {result}{': ' if why else ''}{why}"
        try:
            return await self._nodes.keep(result == "success", note), ""
        except TrialRefused as problem:
            return "", str(problem)
