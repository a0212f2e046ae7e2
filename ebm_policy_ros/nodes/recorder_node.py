"""recorder_node: one bag per episode, started, kept or discarded by service."""

from __future__ import annotations

import json
import queue
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import (
    CompressionFormat,
    CompressionMode,
    StoragePlugin,
    Writer,
    WriterError,
)
from rosbags.typesys import Stores, get_typestore
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.parameters import declare
from ebm_policy_ros.nodes.running import run_node
from ebm_policy_ros.share import interface_path

_QUEUE_DEPTH = 1000
# A stream counts as silent after so many seconds of real time.
_SILENCE = 1.0
_PARTIAL = ".partial"


class EpisodeWriter:
    """Writes one bag on a thread of its own, so that no callback waits for the disk.

    The bag is in the folder `.partial` until `keep` moves it to its place.
    """

    def __init__(self, folder: Path, name: str, interface: Interface, topics: dict[str, str]):
        """Opens the bag for `topics`, a type for each name."""
        self._final = folder / name
        self._partial = folder / _PARTIAL / name
        self._writer = Writer(
            self._partial, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP
        )
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.set_custom_data("interface", json.dumps(interface.to_dict()))
        self._writer.open()
        types = get_typestore(Stores.ROS2_JAZZY)
        self._connections = {
            topic: self._writer.add_connection(topic, ros_type, typestore=types)
            for topic, ros_type in topics.items()
        }
        self._queue: queue.SimpleQueue[tuple[str, int, bytes] | None] = queue.SimpleQueue()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def add(self, topic: str, time_ns: int, data: bytes) -> None:
        """Append a serialised message, received at `time_ns`."""
        self._queue.put((topic, time_ns, data))

    def _write(self) -> None:
        while (item := self._queue.get()) is not None:
            topic, time_ns, data = item
            if self._problem is None:
                try:
                    self._writer.write(self._connections[topic], time_ns, data)
                except Exception as problem:  # reported by keep(), on the node's thread
                    self._problem = problem

    def _finish(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def keep(self, outcome: str) -> Path:
        """Finish the bag with its outcome and return its folder."""
        self._finish()
        if self._problem is not None:
            self._writer.abort()
            raise OSError(f"{self._partial}: {self._problem}")
        self._writer.set_custom_data("outcome", outcome)
        self._writer.close()
        self._partial.rename(self._final)
        self._remove_empty_parent()
        return self._final

    def discard(self) -> None:
        """Delete the bag."""
        self._finish()
        self._writer.abort()
        shutil.rmtree(self._partial)
        self._remove_empty_parent()

    def leave(self) -> Path:
        """Finish the bag where it is, for somebody to decide about, and return its folder."""
        self._finish()
        self._writer.set_custom_data("outcome", "unfinished")
        self._writer.close()
        return self._partial

    def _remove_empty_parent(self) -> None:
        with suppress(OSError):  # other unfinished episodes are in it
            self._partial.parent.rmdir()


class RecorderNode(Node):
    """Records the interface's streams and command as the bytes that arrive.

    `~/start` begins an episode, `~/stop` keeps it (true: success, false: failure), `~/discard`
    deletes it. Starting is refused while a stream is silent.
    """

    def __init__(self, **options: Any) -> None:
        """Opens the folder; topics are subscribed to when their publishers appear.

        Args:
            **options: As rclpy's nodes take them.
        """
        super().__init__("recorder_node", **options)
        name = declare(self, "interface", "ur5e_push", "Interface file, or a shipped one's name.")
        self._interface = load_interface(interface_path(name))
        folder = declare(self, "folder", "demos", "Folder for the bags.")
        self._prefix: str = declare(self, "prefix", "episode", "Beginning of the bags' names.")
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        streams = self._interface.observation.values()
        action = self._interface.action
        self._types = {self.resolve_topic_name(s.topic): s.type for s in streams}
        self._inputs_needed = tuple(self._types)
        self._command_topics = {self.resolve_topic_name(action.topic): action.type}
        if action.gripper is not None:
            topic = self.resolve_topic_name(action.gripper.topic)
            self._command_topics[topic] = action.gripper.type
        self._types |= self._command_topics
        self._received: dict[str, float] = {}
        self._inputs: dict[str, Any] = {}
        self._episode: EpisodeWriter | None = None
        self.create_service(Trigger, "~/start", self._on_start)
        self.create_service(SetBool, "~/stop", self._on_stop)
        self.create_service(Trigger, "~/discard", self._on_discard)
        # Not on the ROS clock: a simulation's may stand still until somebody listens.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._search = self.create_timer(0.1, self._subscribe_to_publishers, clock=steady)

    def _subscribe_to_publishers(self) -> None:
        """Subscribe as reliably as every publisher of a topic allows; commands are reliable."""
        for topic, ros_type in self._types.items():
            if topic in self._inputs:
                continue
            publishers = self.get_publishers_info_by_topic(topic)
            # Commands begin when somebody takes over; the first ones must not be missed.
            if not publishers and topic not in self._command_topics:
                continue
            reliable = all(
                p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in publishers
            )
            quality = QoSProfile(
                depth=_QUEUE_DEPTH,
                reliability=ReliabilityPolicy.RELIABLE
                if reliable
                else ReliabilityPolicy.BEST_EFFORT,
            )
            self._inputs[topic] = self.create_subscription(
                message_class(ros_type),
                topic,
                lambda data, topic=topic: self._receive(topic, data),
                quality,
                raw=True,
            )

    def _receive(self, topic: str, data: bytes) -> None:
        now = self.get_clock().now().nanoseconds
        self._received[topic] = time.monotonic()
        if self._episode is not None:
            self._episode.add(topic, now, data)

    def _silent_topics(self) -> list[str]:
        now = time.monotonic()
        return [
            topic
            for topic in self._inputs_needed
            if topic not in self._received or now - self._received[topic] > _SILENCE
        ]

    def _next_name(self) -> str:
        folders = (self._folder, self._folder / _PARTIAL)
        taken = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
        number = 0
        while f"{self._prefix}_{number:04d}" in taken:
            number += 1
        return f"{self._prefix}_{number:04d}"

    def _on_start(self, request: Any, response: Any) -> Any:
        silent = self._silent_topics()
        if self._episode is not None:
            response.message = "an episode is being recorded; stop or discard it first"
        elif silent:
            response.message = f"nothing arrives on {', '.join(silent)}; start what publishes it"
        else:
            name = self._next_name()
            try:
                self._episode = EpisodeWriter(self._folder, name, self._interface, self._types)
            except (OSError, WriterError) as error:
                response.message = f"{self._folder}: cannot be written ({error})"
                return response
            response.success, response.message = True, name
            self.get_logger().info(f"recording {self._folder / name}")
        return response

    def _on_stop(self, request: Any, response: Any) -> Any:
        if self._episode is None:
            response.message = "no episode is being recorded"
            return response
        episode, self._episode = self._episode, None
        try:
            path = episode.keep("success" if request.data else "failure")
        except OSError as error:
            response.message = str(error)
            self.get_logger().error(response.message)
            return response
        response.success, response.message = True, str(path)
        self.get_logger().info(f"kept {path}")
        return response

    def _on_discard(self, request: Any, response: Any) -> Any:
        if self._episode is None:
            response.message = "no episode is being recorded"
            return response
        episode, self._episode = self._episode, None
        episode.discard()
        response.success, response.message = True, "discarded"
        return response

    def close(self) -> None:
        """Leave what is being recorded in `.partial`: not lost, and no demonstration."""
        episode, self._episode = self._episode, None
        if episode is not None:
            self.get_logger().warning(f"left unfinished: {episode.leave()}")


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(RecorderNode, args)


if __name__ == "__main__":
    main()
