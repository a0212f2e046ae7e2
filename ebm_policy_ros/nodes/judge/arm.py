"""Trials on an arm: an operator sets up each start, and says how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.nodes.judge.camera import StartOverlay
from ebm_policy_ros.nodes.judge.questions import Questions
from ebm_policy_ros.nodes.judge.requests import TrialRefused
from ebm_policy_ros.nodes.judge.trial_nodes import TrialNodes
from ebm_policy_ros.operator.words import situation
from ebm_policy_ros.trials.log import Outcome, Result
from ebm_policy_ros.trials.plan import Comparison, Planned
from ebm_policy_ros.trials.starts import Picture, read_start

_STEP = 0.05
_RESULTS: Mapping[str, Result] = {"success": "success", "failure": "failure", "void": "void"}
# What may be answered, in words for the operator.
_QUIT = {"quit": "end for now"}
_BEGIN = {"begin": "begin; the arm may move", **_QUIT}
_AGAIN = {"begin": "try again", **_QUIT}
_JUDGE = {"success": "success", "failure": "failure", "void": "void; repeat it"}
_JUDGE |= {"reset": "leave the stop; the arm may move", "quit": "end for now; after this trial"}
_BLAME = {"failure": "a failure of the policy", "void": "void"}
_Answer = TypeVar("_Answer")


class EndedByOperator(Exception):
    """The operator ends for now; the same command goes on later."""


class ArmRunner:
    """Runs trials on an arm, by answers of an operator who does not learn which policy runs."""

    def __init__(
        self,
        nodes: TrialNodes,
        comparison: Comparison,
        questions: Questions,
        starts: Mapping[str, Path],
        overlay: StartOverlay | None,
    ) -> None:
        """Prepare trials.

        Args:
            nodes: Policy node and recorder.
            comparison: Comparison whose trials are run.
            questions: Questions to the operator.
            starts: Pictures of the starts, by name; none if the operator numbers places.
            overlay: Shows a start; None without a camera.
        """
        self._nodes, self._comparison = nodes, comparison
        self._questions, self._starts, self._overlay = questions, starts, overlay

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
            await self._stop()
            raise
        finally:
            self._questions.ask("", {})

    async def _stop(self) -> None:
        """Stop the policy; say so if the policy node does not confirm it."""
        if not (answer := await self._nodes.stop()).done:
            self._questions.say(f"{answer.text}; use the emergency stop")

    async def _begun(self, planned: Planned) -> bool:
        """Begin a trial when the operator is ready; False if a node refuses, or after STOP."""
        nodes, recording = self._nodes, False
        try:
            await nodes.stop_surely()
            if nodes.policy.get("lifecycle") != "active":
                await nodes.activate()
            await nodes.load(self._comparison, planned)
            await self._ready(planned)
            nodes.note_stops()
            recording = True
            if left := await self._unless_stopped(nodes.bag.begin):
                self._questions.say(f"a bag that still ran was ended as a failure: {left}")
            await self._unless_stopped(nodes.go_on)
        except TrialRefused as problem:
            await self._stop()
            self._questions.say(f"trial {planned.number} cannot begin: {problem}")
            if recording and nodes.bag.is_recording:
                await self._keep(planned, "void", "did not begin")
            await self._agreed(f"trial {planned.number} cannot begin", _AGAIN)
            return False
        return True

    async def _ready(self, planned: Planned) -> None:
        """Wait until the start is set up, with its picture over the live one."""
        start, trial = f"start {planned.start}", f"trial {planned.number}"
        wanted = self._picture(planned.start)
        self._questions.say(f"{trial}, block {planned.block + 1}: set up {start}")

        async def set_up() -> str:
            await self._keep_still()
            return self._show(wanted)

        await self._agreed(f"{trial}, {start}", _BEGIN, set_up)

    def _picture(self, start: str) -> Picture | None:
        """Picture of a start; None if the operator numbers places."""
        if start not in self._starts:
            return None
        try:
            return read_start(self._starts[start])
        except (OSError, ValueError) as problem:
            raise TrialRefused(str(problem)) from None

    async def _keep_still(self) -> None:
        """Stop a policy that somebody let go while a person's hands are at the arm.

        Raises:
            TrialRefused: If it cannot be stopped, or is not that of the trial.
        """
        nodes = self._nodes
        if not nodes.is_stopped:
            await nodes.stop_surely()
            self._questions.ask_again()
            self._questions.say("the policy was let go and is stopped again: check the start anew")
        if problem := nodes.other_policy():
            raise TrialRefused(problem)

    def _show(self, wanted: Picture | None) -> str:
        """Show the wanted start over the live picture; a reason if there is none to be seen."""
        if self._overlay is None or wanted is None:
            return ""
        try:
            problem = self._overlay.show(wanted)
        except (MessageError, OSError) as error:
            problem = str(error)
        return f"no overlay: {problem}" if problem else ""

    async def _agreed(
        self,
        question: str,
        answers: Mapping[str, str],
        meanwhile: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        """Wait until the operator begins.

        Args:
            question: Question.
            answers: What each answer means.
            meanwhile: Called all the time; returns a remark for the operator.

        Raises:
            EndedByOperator: If the operator ends for now.
        """
        questions = self._questions
        questions.ask(question, answers)
        while True:
            if questions.take("stop"):
                await self._stop()
                questions.ask_again()
            if questions.take("quit"):
                raise EndedByOperator("ended for now; the same command goes on")
            remark = "" if meanwhile is None else await meanwhile()
            if questions.take("begin"):
                return
            questions.show(question, remark)
            await asyncio.sleep(_STEP)

    async def _unless_stopped(self, do: Callable[[], Coroutine[Any, Any, _Answer]]) -> _Answer:
        """Ask a node for something that may let the arm move; STOP ends it.

        Raises:
            TrialRefused: If STOP was pressed, or by the node.
        """
        self._refuse_after_stop()
        task = asyncio.ensure_future(do())
        try:
            while not task.done():
                await asyncio.wait((task,), timeout=_STEP)
                self._refuse_after_stop()
        except BaseException:  # also of a Ctrl-C
            await self._halt(task)
            raise
        return task.result()

    def _refuse_after_stop(self) -> None:
        if self._questions.take("stop"):
            raise TrialRefused("STOP was pressed")

    async def _halt(self, task: asyncio.Future[Any]) -> None:
        """Stop until a request has its answer: it may come after a stop, and end that."""
        self._nodes.requests.are_given_up = True
        has_ended = False
        while not has_ended:
            has_ended = task.done()
            await self._nodes.stop()
        self._nodes.requests.are_given_up = False
        await asyncio.gather(task, return_exceptions=True)

    async def _followed(self, planned: Planned) -> Outcome:
        """Follow a trial until it has a result; then stop and keep the bag."""
        nodes, begun = self._nodes, time.monotonic()
        try:
            result, why = await self._judged(planned, begun)
            seconds = time.monotonic() - begun
            await self._stop()
            if result is None:
                result = await self._blamed(why)
            elif not why and (why := nodes.other_policy()):
                result = "void"
        except asyncio.CancelledError:
            await self._stop()
            await self._keep(planned, "void", "interrupted")
            raise
        bag, lost = await self._keep(planned, result, why)
        if lost:
            result, why = "void", f"{why}; {lost}" if why else lost
        return Outcome(
            result,
            round(seconds, 2),
            stops=nodes.stops,
            takeovers=nodes.takeovers,
            bag=bag,
            note=why or "; ".join(nodes.reasons),
        )

    async def _judged(self, planned: Planned, begun: float) -> tuple[Result | None, str]:
        """Result of a trial, and a reason; None if the policy node is lost."""
        nodes = self._nodes

        def now() -> str:
            seconds = time.monotonic() - begun
            seen = situation(nodes.policy | {"unsure": []}, None)  # it tells policies apart
            return f"trial {planned.number}, {seconds:.0f} s | {seen.word}: {seen.reason}"

        self._questions.ask(now(), _JUDGE)
        while True:
            await asyncio.sleep(_STEP)
            if lost := nodes.lost():
                return None, lost
            if problem := nodes.problem():
                return "void", problem
            nodes.watch()
            if self._questions.take("stop"):
                await self._stop()
                self._questions.ask_again()
            if self._questions.take("reset"):
                await self._reset()
                self._questions.ask_again()
            if event := self._questions.take(*_RESULTS):
                return _RESULTS[event], ""
            self._questions.show(now())

    async def _reset(self) -> None:
        """Leave a stop during a trial, unless anybody stops again."""
        self._nodes.note_stops()
        try:
            await self._unless_stopped(self._nodes.leave_stop)
        except TrialRefused as problem:
            await self._stop()
            self._questions.say(f"reset: {problem}")

    async def _blamed(self, lost: str) -> Result:
        """Result of a trial whose policy node was lost: a failure if the policy moved.

        A policy that kills its node must not come out of it better than one that fails.
        """
        if not self._nodes.moved_last:
            return "void"
        self._questions.ask(lost, _BLAME)
        while not (event := self._questions.take("failure", "void")):
            if self._questions.take("stop"):
                await self._stop()
            await asyncio.sleep(_STEP)
        return _RESULTS[event]

    async def _keep(self, planned: Planned, result: Result, why: str) -> tuple[str, str]:
        """End the bag; its folder, and the reason why there is none."""
        note = f"trial {planned.number}: {result}{': ' if why else ''}{why}"
        try:
            return await self._nodes.bag.keep(result == "success", note), ""
        except TrialRefused as problem:
            return "", str(problem)
