"""Programs that a page starts: demonstrations by script, a training, a comparison."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from ebm_policy_ros.operator.child_program import LEAST, ChildProgram
from ebm_policy_ros.operator.commands import Command
from ebm_policy_ros.operator.comparisons import PREFIX, Comparisons
from ebm_policy_ros.operator.journal import Journal
from ebm_policy_ros.operator.robot import Answer, Robot
from ebm_policy_ros.trials.starts import find_starts
from ebm_policy_ros.util.quoting import quote

# Silence after which a policy node that commanded is taken for gone, s.
_LONGEST_SILENCE = 10.0
_TIME = re.compile(r"[1-9]\d{0,3}[smh]", re.ASCII)


class Refused(Exception):
    """A program cannot begin; the text gives the reason."""


@dataclass
class _Run:
    """One program from its start on."""

    title: str
    child: ChildProgram
    finish: Callable[[], str]
    """Called after its success; returns the result in words, empty for its last line."""
    result: str = ""
    tone: str = ""
    """Result: good, calm after a cancellation, or bad; empty while it runs."""


class Programs:
    """The one program that runs at a time; a closed page does not end it.

    All methods are called in the thread of the page's server.
    """

    def __init__(
        self,
        robot: Robot,
        journal: Journal,
        policies: dict[str, Path],
        folder: Path,
        times: Sequence[str],
        starts: Path | None,
    ) -> None:
        """Begin without a program.

        Args:
            robot: Robot, whose recorder and simulation say what to work on.
            journal: Journal of what happens.
            policies: Policy files by name; a trained one is added.
            folder: Folder for trainings and comparisons; created when it is needed.
            times: Times of a training that may be chosen, as 90s, 10m or 2h.
            starts: Folder with a picture of each start of a comparison on an arm; None if the
                operator numbers places.

        Raises:
            ValueError: If there is no time, or one is malformed.
        """
        if not times or not all(map(_TIME.fullmatch, times)):
            raise ValueError(
                f"training_times: got {quote(' '.join(times))}, expected times such as 90s 10m 2h"
            )
        self._comparisons = Comparisons(folder)
        self._robot, self._journal, self._policies = robot, journal, policies
        self._folder, self._times, self._starts = folder, tuple(times), starts
        self._run: _Run | None = None
        self._task: asyncio.Task[None] | None = None

    def state(self) -> dict[str, Any]:
        """State, ready for JSON."""
        run = self._run
        told: dict[str, Any] | None = None
        if run is not None:
            progress = run.child.progress
            told = {
                "title": run.title,
                "result": run.result,
                "tone": run.tone,
                "progress": None if progress is None else dataclasses.asdict(progress),
                "lines": list(run.child.lines),
            }
        return {
            "times": self._times,
            "program": told,
            "comparisons": self._comparisons.state(),
        }

    async def perform(self, command: Command) -> Answer:
        """Begin a program, or cancel the one that runs; returns at once."""
        if command.name == "cancel":
            return self._cancel()
        try:
            self._refuse_while_busy()
            # In another thread: a STOP must not wait for the reading of files.
            run = await asyncio.to_thread(self._prepare, command)
        except (Refused, OSError, ValueError) as refusal:
            return Answer(False, str(refusal))
        self._run = run
        self._task = asyncio.get_running_loop().create_task(self._follow(run))
        return Answer(True, f"{run.title}: begun")

    def _cancel(self) -> Answer:
        if self._run is None or self._run.tone:
            return Answer(False, "no program runs")
        if not self._run.child.is_interrupted:  # a second Ctrl-C would end it before it has saved
            self._run.child.interrupt()
        return Answer(True, f"{self._run.title}: asked to end")

    def attach(self, application: web.Application) -> None:
        """Serve the comparisons by a web application, and end the program with it."""
        self._comparisons.attach(application)
        application.on_shutdown.append(self._end)

    async def _end(self, application: web.Application) -> None:
        """End the program that runs."""
        if self._run is not None and self._task is not None and not self._task.done():
            await self._run.child.end()
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _refuse_while_busy(self) -> None:
        """Keep the processor for an arm that moves, and for a recording."""
        if self._run is not None and not self._run.tone:
            raise Refused(f"{self._run.title} is still running; wait, or cancel it")
        state = self._robot.state()
        policy, recorder = state["policy"], state["recorder"]
        # A node that falls silent on a busy machine goes on commanding.
        is_there = policy["silence_s"] is not None and policy["silence_s"] < _LONGEST_SILENCE
        is_active = is_there and policy.get("lifecycle") == "active"
        if is_active and policy.get("state") != "stopped" and not policy.get("shadow"):
            raise Refused("the policy commands the arm; press STOP first")
        if recorder["is_heard"] and recorder.get("state") == "recording":
            raise Refused("an episode is being recorded; keep or discard it first")
        judge = state["judge"]
        if judge is not None and not judge["has_ended"] and not judge["problem"]:
            raise Refused("a judge_policy asks the operator already; end it for now first")

    async def _follow(self, run: _Run) -> None:
        """Run a program to its end, and tell how it ended."""
        try:
            code = await run.child.run()
            last = run.child.lines[-1] if run.child.lines else f"exit code {code}"
            if code == 0:
                run.result, run.tone = run.finish() or last, "good"
            else:
                run.result, run.tone = last, "calm" if run.child.is_interrupted else "bad"
        except OSError as error:  # no such program, no room for the policy
            run.result, run.tone = str(error), "bad"
        level = "error" if run.tone == "bad" else "info"
        self._journal.write(f"{run.title}: {run.result}", level)

    # What the programs are

    def _prepare(self, command: Command) -> _Run:
        """Program of a command.

        Raises:
            Refused: If it cannot begin.
        """
        if command.name == "train":
            return self._training(str(command.value))
        if command.name == "demonstrate":
            return self._demonstrations(int(command.value))  # type: ignore[arg-type]
        assert isinstance(command.value, tuple)
        return self._comparison(*command.value)

    def _training(self, time: str) -> _Run:
        if time not in self._times:
            raise Refused(f"got {quote(time)}, expected a time of the list")
        out = self._new("trained_")
        # One core is left to the nodes.
        threads = max(1, len(os.sched_getaffinity(0)) - 1)
        options = [f"--data={self._demos()}", f"--time={time}", f"--out={out}"]
        child = ChildProgram("training.train", [*options, f"--threads={threads}"])
        return _Run(f"Training for {time}", child, lambda: self._offer(out))

    def _offer(self, run: Path) -> str:
        """Put a trained policy into the list, under the name of its run."""
        path = run.with_name(f"{run.name}.safetensors")
        # A comparison names a policy by its file.
        os.replace(run / "policy.safetensors", path)
        self._policies[run.name] = path
        return f"{run.name} is in the list of policies"

    def _demonstrations(self, episodes: int) -> _Run:
        simulation, folder = self._simulation(), self._demos()
        options = [f"--task={simulation['task']}", f"--interface={simulation['interface']}"]
        options += [f"--episodes={episodes}", f"--out={folder}"]
        return _Run(
            f"Demonstrations by script, up to {episodes}",
            ChildProgram("sim.record_demos", options),
            lambda: "",
        )

    def _comparison(self, first: str, second: str, trials: int) -> _Run:
        for name in (first, second):
            if name not in self._policies:
                raise Refused(f"got {quote(name)}, expected a policy of the list")
        if first == second:
            raise Refused("expected two different policies")
        files, out = [self._policies[name] for name in (first, second)], self._new(PREFIX)
        title, nice = f"Comparison of {first} and {second}", LEAST
        simulation = self._robot.state()["simulation"]
        if simulation.get("task"):
            options = [f"--task={simulation['task']}", f"--interface={simulation['interface']}"]
        else:
            options, nice = self._arm(), 0
            starts = [] if self._starts is None else find_starts(self._starts)
            # Pictures that are still to be taken are of no comparison that goes on.
            are_known = self._starts is None or bool(starts)
            found = self._comparisons.unfinished(files, starts) if are_known else None
            if found is not None:
                (out, files), title = found, f"{title}, which goes on"
        options += [f"--trials={trials}", f"--out={out}", "--policies", *map(str, files)]
        child = ChildProgram("sim.judge", options, nice)
        return _Run(title, child, lambda: self._end_comparison(out))

    def _arm(self) -> list[str]:
        """Options of a comparison on an arm, whose trials a page begins and judges.

        Raises:
            Refused: If a node is missing.
        """
        state = self._robot.state()
        for key, node in (("policy", "policy_node"), ("recorder", "recorder_node")):
            if not state[key]["is_heard"]:
                raise Refused(f"no {key} node is heard; start {node}")
        options = [f"--policy_node={state['policy']['node']}", "--keys=false"]
        options.append(f"--recorder={state['recorder']['node']}")
        return options if self._starts is None else [*options, f"--starts={self._starts}"]

    def _end_comparison(self, out: Path) -> str:
        self._comparisons.look()
        if self._comparisons.is_finished(out):
            return "its page shows every trial"
        return "ended for now; Judge with the same policies goes on"

    def _new(self, prefix: str) -> Path:
        return self._folder / f"{prefix}{datetime.now():%Y-%m-%d_%H-%M-%S}"

    def _demos(self) -> str:
        """Folder of the recorder.

        Raises:
            Refused: If there is none on this computer.
        """
        recorder = self._robot.state()["recorder"]
        folder = str(recorder.get("folder", ""))
        if not recorder["is_heard"] or not folder:
            raise Refused("no recorder is heard, which has the demonstrations; start one")
        if not Path(folder).is_dir():
            raise Refused(f"the recorder's folder {folder} is not on this computer")
        return folder

    def _simulation(self) -> Mapping[str, Any]:
        """Task and interface of the simulation.

        Raises:
            Refused: If none runs.
        """
        simulation: Mapping[str, Any] = self._robot.state()["simulation"]
        if not simulation.get("task"):
            raise Refused("no simulation runs; start one with simulation:=true")
        return simulation
