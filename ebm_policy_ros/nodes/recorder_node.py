"""recorder_node: one bag per episode; started, kept, discarded and repeated by service or key."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.nodes.parameters import Setting, declare_all, refuse_unknown
from ebm_policy_ros.nodes.recorder_inputs import RecorderInputs
from ebm_policy_ros.nodes.recorder_screen import KEYS, RecorderStatus, episode_lines
from ebm_policy_ros.nodes.running import run_node
from ebm_policy_ros.nodes.terminal import open_terminal
from ebm_policy_ros.recording.episode import STORAGES, UNFINISHED, EpisodeWriter, check_free
from ebm_policy_ros.recording.folder import EpisodeFolder
from ebm_policy_ros.recording.topics import Message, Topic
from ebm_policy_ros.share import interface_path

SETTINGS = (
    Setting("interface", "ur5e_push", "Interface file, or a shipped one's name."),
    Setting("folder", "demos", "Folder for the bags."),
    Setting("prefix", "episode", "Beginning of the bags' names."),
    Setting("storage", "mcap", "Format of the bags.", choices=tuple(STORAGES)),
    Setting("min_free", 1.0, "GiB that stay free on the disk.", low=0.0, high=1e6),
    Setting("keys", True, "Whether keys of the terminal do what the services do."),
    Setting("note", "", "What episodes that end from now on say of themselves.", fixed=False),
)
_PERIOD = 0.1
_STATUS_PERIOD, _IDLE_STATUS_PERIOD = 0.2, 1.0
# The rate at which the disk fills is that of the last so many seconds.
_DISK_WINDOW = 10.0


class Refused(Exception):
    """A request that can't be met now; the text says why."""


class RecorderNode(Node):
    """Records the interface's streams and commands as the bytes that arrive.

    `~/start` begins an episode, `~/stop` keeps it (true: success, false: failure), `~/discard`
    deletes it, `~/rerecord` begins it anew. Starting is refused until the policy could act.
    """

    def __init__(self, **options: Any) -> None:
        """Opens the folder, and repairs what a recorder that died has left in it.

        Args:
            **options: As rclpy's nodes take them.
        """
        super().__init__("recorder_node", **options)
        values = declare_all(self, SETTINGS)
        refuse_unknown(self)
        self._interface = load_interface(interface_path(values["interface"]))
        self._storage: str = values["storage"]
        self._min_free = round(values["min_free"] * 2**30)
        self._inputs = RecorderInputs(self, self._interface, self._receive)
        self._folder = EpisodeFolder(Path(values["folder"]), values["prefix"])
        for line in self._folder.recover():
            self.get_logger().warning(line)
        self._episode: EpisodeWriter | None = None
        self._kept: Counter[str] = Counter(in_folder=self._folder.count())
        self._last_kept: Path | None = None
        self._ended = ""
        self._begun = time.monotonic()
        self._written: deque[tuple[float, int]] = deque()
        self._stalled: set[str] = set()
        self._told = 0.0
        self._terminal = open_terminal() if values["keys"] else None
        self._offer_services()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._status = self.create_publisher(String, "~/status", latched)
        # Not on the ROS clock: a simulation's may stand still until somebody listens.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(_PERIOD, self._tick, clock=steady)
        if self._terminal is not None:
            self._terminal.say(", ".join(f"{key}: {text}" for key, text in KEYS.items()))

    def _offer_services(self) -> None:
        for name, action in (
            ("start", self._start), ("discard", self._discard), ("rerecord", self._rerecord),
        ):  # fmt: skip
            self.create_service(
                Trigger, f"~/{name}", lambda _, answer, do=action: self._answer(answer, do)
            )
        self.create_service(
            SetBool,
            "~/stop",
            lambda request, answer: self._answer(answer, lambda: self._keep(request.data)),
        )

    def _answer(self, response: Any, action: Callable[[], str]) -> Any:
        try:
            response.message = action()
            response.success = True
        except (Refused, OSError) as error:
            response.message = str(error)
        return response

    def _receive(self, topic: Topic, message: Message) -> None:
        if self._episode is not None:
            self._episode.add(topic, message)

    def _check_start(self) -> None:
        if found := self._inputs.refusals():
            raise Refused("; ".join(found))
        check_free(self._folder.path, self._min_free)

    def _start(self) -> str:
        if self._episode is not None:
            raise Refused("an episode is being recorded; stop or discard it first")
        self._check_start()
        return self._begin()

    def _begin(self) -> str:
        custom = self._custom()
        try:
            place = self._folder.open(custom)
            self._inputs.begin()
            self._episode = EpisodeWriter(place, self._storage, custom, self._min_free)
        except OSError as error:
            raise OSError(f"{self._folder.path}: cannot be written ({error})") from None
        self._ended, self._begun = "", time.monotonic()
        self._written.clear()
        self._say(f"recording {place.final}")
        for remark in self._inputs.remarks():
            self._warn(remark)
        return place.final.name

    def _custom(self) -> dict[str, str]:
        """What is known of an episode at its beginning."""
        try:
            own = version("ebm_policy_ros")
        except PackageNotFoundError:  # a checkout that isn't installed
            own = "unknown"
        versions = {"ebm_policy_ros": own, "ros_distro": os.environ.get("ROS_DISTRO", "unknown")}
        return {
            "interface": json.dumps(self._interface.to_dict()),
            "note": self._note(),
            "start_time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "versions": json.dumps(versions),
        }

    def _note(self) -> str:
        return str(self.get_parameter("note").value)

    def _take_episode(self) -> EpisodeWriter:
        """The running episode, which runs no longer."""
        if self._episode is None:
            raise Refused(f"no episode is being recorded{self._ended}")
        episode, self._episode = self._episode, None
        return episode

    def _keep(self, success: bool) -> str:
        episode = self._take_episode()
        outcome = "success" if success else "failure"
        path = self._finish(
            episode, lambda custom: episode.keep(self._inputs.topics(), custom), outcome
        )
        self._last_kept = path
        self._kept.update((outcome, "in_folder"))
        self._say(f"kept {path} ({outcome})")
        return str(path)

    def _finish(
        self, episode: EpisodeWriter, finish: Callable[[dict[str, str]], Path], outcome: str
    ) -> Path:
        """End an episode, and tell how its streams came."""
        facts = self._inputs.facts(whole=True)
        streams = {name: dataclasses.asdict(f) for name, f in facts.items()}
        custom = {"outcome": outcome, "note": self._note(), "streams": json.dumps(streams)}
        try:
            return finish(custom)
        finally:
            for line in episode_lines(facts):
                self._say(line)
            for name, count in episode.dropped.items():
                self._warn(f"{name}: {count} messages that came were not written")

    def _discard(self) -> str:
        self._take_episode().discard()
        self._say("discarded")
        return "discarded"

    def _rerecord(self) -> str:
        """The running episode anew; else the one that was kept last."""
        if self._episode is None and self._last_kept is None:
            raise Refused("no episode is being recorded, and none was kept since the start")
        self._check_start()
        if self._episode is not None:
            self._discard()
            return self._begin()
        assert self._last_kept is not None
        aside = self._folder.set_aside(self._last_kept)
        self._last_kept = None
        self._kept["in_folder"] -= 1
        text = f"set aside: {aside}"
        self._warn(text)
        return f"{self._begin()}; {text}"

    def _tick(self) -> None:
        self._inputs.search(self._episode is not None)
        self._serve_keys()
        episode = self._episode
        if episode is not None and episode.problem:
            path = self._leave("it ended early")
            self._ended = f"; the last one ended early and is in {path}: {episode.problem}"
            self._warn(f"{path} ended early: {episode.problem}")
        self._watch_streams()
        period = _IDLE_STATUS_PERIOD if self._episode is None else _STATUS_PERIOD
        if time.monotonic() - self._told >= period - _PERIOD / 2:
            self._tell()

    def _watch_streams(self) -> None:
        """Log each stall of an episode, once when it begins and once when it is over."""
        stalled = self._inputs.stalled() if self._episode is not None else set()
        for name in sorted(stalled - self._stalled):
            self._warn(f"{name} has stalled")
        if self._episode is not None:
            for name in sorted(self._stalled - stalled):
                self._warn(f"{name} goes on")
        self._stalled = stalled

    def _serve_keys(self) -> None:
        if self._terminal is None:
            return
        actions: dict[str, Callable[[], str]] = {
            "s": self._start,
            "y": lambda: self._keep(True),
            "n": lambda: self._keep(False),
            "d": self._discard,
            "r": self._rerecord,
        }
        for key in self._terminal.keys():
            if key in actions:
                try:
                    actions[key]()
                except (Refused, OSError) as error:
                    self._warn(str(error))

    def _say(self, text: str) -> None:
        """Log a line, for which the line of status makes room."""
        self._make_room()
        self.get_logger().info(text)

    def _warn(self, text: str) -> None:
        """Log what somebody should look at."""
        self._make_room()
        self.get_logger().warning(text)

    def _make_room(self) -> None:
        if self._terminal is not None:
            self._terminal.show("")
        self._told = 0.0

    def _tell(self) -> None:
        """Publish the status, and show it."""
        self._told = time.monotonic()
        status = self._now()
        self._status.publish(String(data=status.json()))
        if self._terminal is not None:
            self._terminal.show(status.line())

    def _now(self) -> RecorderStatus:
        episode, now = self._episode, time.monotonic()
        size = 0 if episode is None else episode.size
        self._written.append((now, size))
        while self._written[0][0] < now - _DISK_WINDOW:
            self._written.popleft()
        begun, before = self._written[0]
        free = max(0, shutil.disk_usage(self._folder.path).free - self._min_free)
        return RecorderStatus(
            state="idle" if episode is None else "recording",
            episode="" if episode is None else episode.place.final.name,
            kept={name: self._kept[name] for name in ("success", "failure", "in_folder")},
            elapsed_s=0.0 if episode is None else now - self._begun,
            disk_free_bytes=free,
            disk_left_s=free * (now - begun) / (size - before) if size > before else None,
            written_bytes=size,
            waiting_bytes=0 if episode is None else episode.waiting,
            topics=self._inputs.facts(),
            warnings=self._warnings(),
        )

    def _warnings(self) -> list[str]:
        if self._episode is None:
            return self._inputs.problems()
        found = [f"{name} has stalled" for name in sorted(self._stalled)]
        found += [
            f"{name}: the disk is too slow, {count} messages not written"
            for name, count in self._episode.dropped.items()
        ]
        return found + self._inputs.remarks()

    def _leave(self, why: str) -> Path:
        """Finish the running episode in `.partial`: not lost, and no demonstration."""
        episode = self._take_episode()
        topics = self._inputs.topics()
        return self._finish(
            episode,
            lambda custom: episode.leave(topics, {"problem": why, **custom}),
            UNFINISHED,
        )

    def close(self) -> None:
        """Leave what is being recorded unfinished, and give the terminal back."""
        if self._episode is not None:
            self._warn(f"left unfinished: {self._leave('the recorder was ended')}")
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(RecorderNode, args)


if __name__ == "__main__":
    main()
