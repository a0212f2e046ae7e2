"""recorder_node: records one bag per episode, controlled by services or keys."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.bags.episode_folder import EpisodeFolder
from ebm_policy_ros.bags.episode_writer import EpisodeWriter, free_bytes
from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.messages.execution import execution_topic
from ebm_policy_ros.nodes.common.parameters import Setting, declare_all, refuse_unknown
from ebm_policy_ros.nodes.common.pictures import picture_message
from ebm_policy_ros.nodes.common.spin import run_node
from ebm_policy_ros.nodes.common.terminal import open_terminal
from ebm_policy_ros.nodes.recorder.coverage import Coverage
from ebm_policy_ros.nodes.recorder.guidance import next_step
from ebm_policy_ros.nodes.recorder.inputs import RecorderInputs
from ebm_policy_ros.nodes.recorder.scene_status import SceneStatus
from ebm_policy_ros.nodes.recorder.screen import RecorderStatus
from ebm_policy_ros.nodes.recorder.session import RecorderSession, Refused
from ebm_policy_ros.teleop.keyboard import RECORDING, Confirmation
from ebm_policy_ros.util.quoting import quote
from ebm_policy_ros.util.resources import expanded, interface_path

SETTINGS = (
    Setting("interface", "ur5e_push", "Interface file, or a shipped one's name."),
    Setting("folder", "demos", "Folder for the bags."),
    Setting("prefix", "episode", "Beginning of the bags' names; no / and no dot in front."),
    Setting("min_free", 1.0, "GiB that stay free on the disk.", low=0.0, high=1e6),
    Setting("keys", True, "Take keys from the terminal, which do the same as the services."),
    Setting(
        "policy_node",
        "policy_node",
        "Name of the policy node whose execution is recorded too, if it runs; empty for none.",
    ),
    Setting(
        "task_text",
        "",
        "The task in words, for each episode that ends from now on.",
        fixed=False,
    ),
    Setting(
        "operator",
        "",
        "The demonstrator's name, for each episode that ends from now on.",
        fixed=False,
    ),
    Setting("note", "", "Note for each episode that ends from now on.", fixed=False),
    Setting(
        "target",
        0,
        "Number of successes that are wanted in the folder, for the prompts; 0: no number.",
        low=0,
        high=1_000_000,
        fixed=False,
    ),
)
_NODE = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
_PERIOD = 0.1
_STATUS_PERIOD, _IDLE_STATUS_PERIOD = 0.2, 1.0
# Window for the measurement of the rate at which the disk fills, s.
_DISK_WINDOW = 10.0


class RecorderNode(Node):
    """Records the interface's streams and commands as the bytes that arrive.

    `~/start` begins an episode, `~/stop` keeps it (true: success, false: failure), `~/discard`
    deletes it, `~/rerecord` begins it anew. Starting is refused until the policy could act.
    """

    def __init__(self, **options: Any) -> None:
        """Open the folder and recover the episodes of a recorder that died.

        Args:
            **options: Options of rclpy's nodes.
        """
        super().__init__("recorder_node", **options)
        values = declare_all(self, SETTINGS)
        refuse_unknown(self)
        interface = load_interface(interface_path(values["interface"]))
        # Absolute, since others, in folders of their own, are told where the bags are.
        self._folder = EpisodeFolder(expanded(values["folder"]).resolve(), values["prefix"])
        self._terminal = open_terminal() if values["keys"] else None
        self._confirmation = Confirmation()
        self._log = _Log(self)
        self._recover()
        self._min_free = round(values["min_free"] * 2**30)
        policy_node = values["policy_node"]
        if policy_node and not _NODE.fullmatch(policy_node):
            raise ValueError(
                f"policy_node: got {quote(policy_node)}, expected the name of a node, such as "
                "policy_node or /left/policy_node, or nothing"
            )
        execution = execution_topic(policy_node) if policy_node else ""
        self._inputs = RecorderInputs(self, interface, execution)
        self._scene = SceneStatus(self)
        self._coverage = Coverage(self._folder.path, interface)
        self._session = RecorderSession(
            interface,
            self._inputs,
            self._folder,
            self._min_free,
            self._coverage,
            lambda: self._scene.end,
            self._about,
            self._log,
        )
        # A request may take a while, which must not block the others.
        self._group = ReentrantCallbackGroup()
        self._offer_services()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._status = self.create_publisher(String, "~/status", latched)
        self._picture = self.create_publisher(Image, "~/coverage", 1)
        self._told = 0.0
        self._counted: Counter[str] = Counter()
        self._counted_with: EpisodeWriter | None = None
        self._written: deque[tuple[float, int]] = deque([(0.0, 0)])
        # Not on the ROS clock: a simulation's clock may not run before it has a subscriber.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(_PERIOD, self._tick, clock=steady)
        if self._terminal is not None:
            self._terminal.say(", ".join(f"{key.name}: {key.text}" for key in RECORDING))

    def _about(self) -> dict[str, str]:
        """Texts of the operator about an episode, by their names in `custom_data`."""
        names = {"task": "task_text", "operator": "operator", "note": "note"}
        return {key: str(self.get_parameter(name).value) for key, name in names.items()}

    def _recover(self) -> None:
        for line in self._folder.recover():
            self._log.warning(line)
        if count := self._folder.count_partial():
            text = f"{count} episodes that are unfinished or set aside are in"
            self._log.info(f"{text} {self._folder.partial}")

    def _offer_services(self) -> None:
        session = self._session
        self._serve(Trigger, "start", lambda _: session.start())
        self._serve(SetBool, "stop", lambda request: session.keep(request.data))
        self._serve(Trigger, "discard", lambda _: session.discard())
        self._serve(Trigger, "rerecord", lambda _: session.rerecord())

    def _serve(
        self, kind: Any, name: str, action: Callable[[Any], Coroutine[Any, Any, str]]
    ) -> None:
        async def answer(request: Any, response: Any) -> Any:
            response.success, response.message = await self._answer(action(request))
            return response

        self.create_service(kind, f"~/{name}", answer, callback_group=self._group)

    async def _answer(self, action: Coroutine[Any, Any, str]) -> tuple[bool, str]:
        """Success of a request, and its result or the reason why not."""
        try:
            return True, await action
        except (Refused, OSError) as error:
            return False, str(error)
        finally:
            self._told = 0.0

    def _tick(self) -> None:
        self._inputs.search(self._session.episode is not None)
        self._serve_keys()
        self._session.watch()
        period = _IDLE_STATUS_PERIOD if self._session.episode is None else _STATUS_PERIOD
        if time.monotonic() - self._told >= period - _PERIOD / 2:
            self._tell()

    def _serve_keys(self) -> None:
        if self._terminal is None:
            return
        session = self._session
        actions: dict[str, Callable[[], Coroutine[Any, Any, str]]] = {
            "start": session.start,
            "success": lambda: session.keep(True),
            "failure": lambda: session.keep(False),
            "discard": session.discard,
            "rerecord": session.rerecord,
        }
        events = {key.name: key.event for key in RECORDING}
        for name in self._terminal.keys():
            event = events.get(name, "")
            if question := self._confirmation.question(event, time.monotonic()):
                self._terminal.say(question)
            elif event:
                self.executor.create_task(self._follow_key, actions[event])

    async def _follow_key(self, action: Callable[[], Coroutine[Any, Any, str]]) -> None:
        done, text = await self._answer(action())
        if not done:
            self._log.warning(text)

    def make_room(self) -> None:
        """Remove the status line before a line is logged."""
        if self._terminal is not None:
            self._terminal.show("")

    def _tell(self) -> None:
        """Publish the status and show it."""
        self._told = time.monotonic()
        status = self._now()
        self._status.publish(String(data=status.json()))
        if self._terminal is not None:
            self._terminal.show(status.line())
        picture = self._coverage.picture
        is_watched = status.state == "idle" and self._picture.get_subscription_count() > 0
        if picture is not None and is_watched:
            self._picture.publish(picture_message(picture, self.get_clock().now().to_msg()))

    def _now(self) -> RecorderStatus:
        episode, now = self._session.episode, time.monotonic()
        size = 0 if episode is None else episode.size
        if size < self._written[-1][1]:
            self._written.clear()
        self._written.append((now, size))
        while self._written[0][0] < now - _DISK_WINDOW:
            self._written.popleft()
        begun, before = self._written[0]
        free = max(0, free_bytes(self._folder.path) - self._min_free)
        warnings, kept = self._session.warnings(), self._session.kept
        # Others may add episodes. Not at each status of a recording, which needs the time.
        if episode is None or episode is not self._counted_with:
            self._counted, self._counted_with = self._folder.outcomes(), episode
        target = int(self.get_parameter("target").value or 0)
        problem, done = next(iter(warnings), ""), self._counted["success"]
        return RecorderStatus(
            state="idle" if episode is None else "recording",
            next=next_step(episode is not None, self._scene.end, problem, done, target),
            episode="" if episode is None else episode.place.final.name,
            folder=str(self._folder.path),
            kept={
                "success": kept["success"],
                "failure": kept["failure"],
                "in_folder": sum(self._counted.values()),
                "successes_in_folder": done,
            },
            target=target,
            elapsed_s=0.0 if episode is None else now - self._session.begun,
            disk_free_bytes=free,
            disk_left_s=free * (now - begun) / (size - before) if size > before else None,
            written_bytes=size,
            waiting_bytes=0 if episode is None else episode.waiting,
            topics=self._inputs.metrics(),
            warnings=warnings,
        )

    def close(self) -> None:
        """Leave the current episode unfinished, and restore the terminal."""
        self._session.close()
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None


class _Log:
    """Log of the node that removes the status line from the screen before each line."""

    def __init__(self, node: RecorderNode) -> None:
        self._node = node

    def info(self, text: str) -> None:
        self._node.make_room()
        self._node.get_logger().info(text)

    def warning(self, text: str) -> None:
        self._node.make_room()
        self._node.get_logger().warning(text)


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(RecorderNode, "recorder_node", SETTINGS, args)


if __name__ == "__main__":
    main()
