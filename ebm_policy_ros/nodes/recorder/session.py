"""Recorder session: executes the requests for episodes of one recorder."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from ebm_policy_ros.bags.episode_folder import EpisodeFolder
from ebm_policy_ros.bags.episode_writer import UNFINISHED, EpisodeWriter, check_free
from ebm_policy_ros.bags.statistics import TopicMetrics
from ebm_policy_ros.bags.topics import Message, Topic
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.nodes.common.background import result_of, run_in_background, until
from ebm_policy_ros.nodes.recorder.coverage import Coverage, Picture
from ebm_policy_ros.nodes.recorder.inputs import RecorderInputs
from ebm_policy_ros.nodes.recorder.screen import episode_lines
from ebm_policy_ros.observation.buffer import StaleObservation


class Refused(Exception):
    """A request that is not possible now; the text gives the reason."""


class Log(Protocol):
    """Log of a session."""

    def info(self, text: str) -> None:
        """Log the success of a request."""

    def warning(self, text: str) -> None:
        """Log a message that needs attention."""


class RecorderSession:
    """Records at most one episode at a time; a request is executed, or rejected with a reason.

    A rejected request raises `Refused`, or OSError if the disk is the reason, and changes nothing.
    Requests are coroutines: while a kept episode is written to its end, the node goes on.
    """

    def __init__(
        self,
        interface: Interface,
        inputs: RecorderInputs,
        folder: EpisodeFolder,
        min_free: int,
        coverage: Coverage,
        scene: Callable[[], str],
        about: Callable[[], Mapping[str, str]],
        log: Log,
    ) -> None:
        """Begin without an episode.

        Args:
            interface: Interface to record; it is stored in every episode.
            inputs: Source of the messages.
            folder: Folder of the episodes.
            min_free: Bytes that must stay free on the disk.
            coverage: Pictures of the kept episodes.
            scene: Function that returns how a simulation's scene ended; empty before that.
            about: Function that returns what the operator says of the episode, for `custom_data`.
            log: Log of events.
        """
        self.episode: EpisodeWriter | None = None
        """Current episode; None while idle."""
        self.begun = time.monotonic()
        """Time of its start, s of `time.monotonic`."""
        self.kept: Counter[str] = Counter()
        """Number of kept episodes by outcome since the start."""
        self._interface, self._inputs, self._folder = interface, inputs, folder
        self._min_free, self._about, self._log = min_free, about, log
        self._coverage, self._scene = coverage, scene
        self._first: Picture | None = None
        self._writing: Future[Path] | None = None
        self._last_kept: tuple[Path, str] | None = None
        self._ended = ""
        self._silent: set[str] = set()
        self._stalled: set[str] = set()
        inputs.listen(self._receive)

    def _receive(self, topic: Topic, message: Message) -> None:
        if self.episode is not None:
            self.episode.add(topic, message)

    async def start(self) -> str:
        """Begin an episode, after the last one is written, and return its name."""
        await self._written()
        if self.episode is not None:
            raise Refused("an episode is being recorded; stop or discard it first")
        self._check_start()
        return self._begin()

    async def keep(self, success: bool) -> str:
        """Keep the current episode and return its folder."""
        episode = self._take_episode()
        outcome = "success" if success else "failure"
        metrics, topics = self._inputs.metrics(whole=True), self._inputs.topics()
        custom = self._last_custom(episode, metrics, outcome)
        self._see()
        first, last = self._first, self._view()

        def keep() -> Path:
            path = episode.keep(topics, custom)
            self._draw(path, first, last)
            return path

        self._writing = run_in_background(keep, "keep episode")
        try:
            path = await result_of(self._writing)
        finally:
            self._writing = None
            self._report(episode, metrics)
        self._last_kept = path, outcome
        self.kept[outcome] += 1
        self._log.info(f"kept {path} ({outcome})")
        return str(path)

    def _see(self) -> None:
        """Take the picture of the first scene as soon as it can be seen."""
        if self._first is None and self._inputs.have_come():
            self._first = self._view()

    def _view(self) -> Picture | None:
        """Picture of the scene now; None if it can't be seen."""
        try:
            return self._coverage.view(self._inputs.observe())
        except (StaleObservation, MessageError):
            return None

    def _draw(self, episode: Path, first: Picture | None, last: Picture | None) -> None:
        """Add a kept episode to the picture of all; the episode is kept without it too."""
        if first is None or last is None:
            return
        try:
            self._coverage.add(episode, first, last)
        except OSError as error:
            self._log.warning(f"{episode}: no picture of its scenes ({error})")

    async def _written(self) -> None:
        await until(lambda: self._writing is None)

    async def discard(self) -> str:
        """Delete the current episode."""
        self._take_episode().discard()
        self._log.info("discarded")
        return "discarded"

    async def rerecord(self) -> str:
        """Replace the current episode, or the last kept one, by a new episode.

        The current episode is deleted; a kept one is moved to `.partial`.
        """
        await self._written()
        if self.episode is None and self._last_kept is None:
            raise Refused("no episode is being recorded, and none was kept since the start")
        self._check_start()
        if self.episode is not None:
            await self.discard()
            return self._begin()
        assert self._last_kept is not None
        (path, outcome), self._last_kept = self._last_kept, None
        text = f"set aside: {self._folder.set_aside(path)}"
        self.kept[outcome] -= 1
        self._log.warning(text)
        return f"{self._begin()}; {text}"

    def watch(self) -> None:
        """End an episode that can't be written any more, and report stalled streams."""
        if self.episode is not None:
            self._see()
        if self.episode is not None and (problem := self.episode.problem):
            path = self.leave("ended early")
            self._ended = f"; the last one ended early and is in {path}: {problem}"
            self._log.warning(f"{path} ended early: {problem}")
        silent = self._inputs.stalled() if self.episode is not None else set()
        # Required twice in a row: after a moment without CPU time, messages are still in the
        # queue.
        stalled, self._silent = silent & self._silent, silent
        for name in sorted(stalled - self._stalled):
            self._log.warning(f"{name} has stalled")
        for name in sorted(self._stalled - stalled) if self.episode is not None else ():
            self._log.warning(f"{name} goes on")
        self._stalled = stalled

    def warnings(self) -> list[str]:
        """Current warnings for the operator."""
        if self.episode is None:
            found = self._inputs.refusals()
            try:
                check_free(self._folder.path, self._min_free)
            except OSError as full:
                found.append(str(full))
            return found
        found = [f"{name} has stalled" for name in sorted(self._stalled)]
        found += [
            f"{name}: the disk is too slow, {count} messages not written"
            for name, count in self.episode.dropped.items()
        ]
        return found + self._inputs.remarks()

    def leave(self, why: str) -> Path:
        """Finish the current episode in `.partial`: it is not lost, and not used for training."""
        episode, metrics = self._take_episode(), self._inputs.metrics(whole=True)
        custom = {"problem": why, **self._last_custom(episode, metrics, UNFINISHED)}
        path = episode.leave(self._inputs.topics(), custom)
        self._report(episode, metrics)
        return path

    def close(self) -> None:
        """Wait until a kept episode is written, and leave the current one unfinished."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            try:
                self._log.info(f"kept {writing.result()}")
            except OSError as error:
                self._log.warning(str(error))
        if self.episode is not None:
            self._log.warning(f"left unfinished: {self.leave('the recorder was ended')}")

    def _check_start(self) -> None:
        if end := self._scene():
            raise Refused(f"{end}; wait for the next scene, or call sim_bridge_node/reset")
        if found := self._inputs.refusals():
            raise Refused("; ".join(found))
        check_free(self._folder.path, self._min_free)

    def _begin(self) -> str:
        custom = self._custom()
        try:
            place = self._folder.open(custom)
            try:
                self.episode = EpisodeWriter(place, custom, self._min_free)
            except OSError:
                place.remove()
                raise
        except OSError as error:
            raise OSError(f"{self._folder.path}: cannot be written ({error})") from None
        self._inputs.begin()
        self._first = None
        self._ended, self.begun = "", time.monotonic()
        self._log.info(f"recording {place.final}")
        for remark in self._inputs.remarks():
            self._log.warning(remark)
        return place.final.name

    def _custom(self) -> dict[str, str]:
        """Custom data known at the beginning of an episode."""
        try:
            own = version("ebm_policy_ros")
        except PackageNotFoundError:  # a checkout that isn't installed
            own = "unknown"
        versions = {"ebm_policy_ros": own, "ros_distro": os.environ.get("ROS_DISTRO", "unknown")}
        return {
            "interface": json.dumps(self._interface.to_dict()),
            **self._about(),
            "start_time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "versions": json.dumps(versions),
        }

    def _take_episode(self) -> EpisodeWriter:
        """Return the current episode, which is not current any more."""
        if self.episode is None:
            raise Refused(f"no episode is being recorded{self._ended}")
        episode, self.episode = self.episode, None
        return episode

    def _last_custom(
        self, episode: EpisodeWriter, metrics: Mapping[str, TopicMetrics], outcome: str
    ) -> dict[str, str]:
        """Custom data known at the end of an episode."""
        streams = {
            name: {**dataclasses.asdict(found), "not_written": episode.dropped[name]}
            for name, found in metrics.items()
        }
        custom = {"outcome": outcome, **self._about(), "streams": json.dumps(streams)}
        try:
            execution = self._inputs.execution()
        except MessageError as error:
            self._log.warning(f"the policy is not noted: {error}")
            return custom
        return {**custom, "execution": json.dumps(execution)} if execution else custom

    def _report(self, episode: EpisodeWriter, metrics: Mapping[str, TopicMetrics]) -> None:
        """Log the metrics of an episode's streams."""
        for line in episode_lines(metrics):
            self._log.info(line)
        for name, count in episode.dropped.items():
            self._log.warning(f"{name}: {count} messages that came were not written")
