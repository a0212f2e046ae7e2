"""replay_node: plays recorded episodes to a policy in shadow mode, and notes its proposals."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_srvs.srv import Trigger

from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.bags.topics import restamped
from ebm_policy_ros.interface import (
    NANOSECONDS,
    ImageStream,
    Interface,
    TransformStream,
    load_interface,
)
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.outputs import proposed_topic
from ebm_policy_ros.nodes.common.parameters import Setting, declare_all
from ebm_policy_ros.nodes.common.spin import run_to_end
from ebm_policy_ros.sim.replay.player import Played, read_ahead
from ebm_policy_ros.sim.replay.proposals import Proposals
from ebm_policy_ros.training.data.action_commands import ActionCommands
from ebm_policy_ros.training.data.timeline import wanted_topics
from ebm_policy_ros.util.resources import interface_path

_START_TIMEOUT = 60.0
# Longest gap that is played: after it any policy stands still.
_LONGEST_GAP_NS = 2 * NANOSECONDS
# Factor above the least rate, of the samples repeated before and after an episode.
_MARGIN = 1.5

SETTINGS = (
    Setting("bags", [""], "Bags to play, one after the other."),
    Setting("interface", "ur5e_push", "Interface file, or a shipped one's name."),
    Setting("results", "replay.jsonl", "File to append to."),
    Setting("policy", "policy_node", "Name of the policy's node."),
)


class ReplayNode(Node):
    """Stand-in for the arm and its cameras, which sends their recorded messages stamped anew."""

    def __init__(self) -> None:
        """Opens the topics of the interface."""
        super().__init__("replay_node")
        values = declare_all(self, SETTINGS)
        self._bags = [Path(bag) for bag in values["bags"] if bag]
        if not self._bags:
            raise ValueError("bags: got none, expected at least one bag to play")
        self._interface: Interface = load_interface(interface_path(values["interface"]))
        self._results = Path(values["results"])
        policy: str = values["policy"]
        streams = self._interface.observation.values()
        if any(isinstance(stream, TransformStream) for stream in streams):
            raise ValueError(
                f"{values['interface']}: got a stream from tf, whose messages cannot be stamped "
                "anew; expected an interface without one"
            )
        self._outputs = {
            stream.topic: self.create_publisher(
                message_class(stream.type), stream.topic, QoSProfile(depth=10)
            )
            for stream in streams
        }
        rate = self._interface.rate
        self._gaps_ns = {
            stream.topic: round(NANOSECONDS / max(rate, _MARGIN * (stream.min_rate or 0.0)))
            for stream in streams
        }
        self._images = {s.topic for s in streams if isinstance(s, ImageStream)}
        self._sent_ns = 0
        """Time at which the last image was sent."""
        self._proposals = Proposals(self._interface)
        for index, part in enumerate(self._interface.parts):
            kind = message_class(part.interface.command.command_type.ROS_TYPE)
            hear = partial(self._on_proposed, index)
            self.create_subscription(kind, proposed_topic(policy, part.name), hear, 100)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._policy = f"/{policy}: policy"
        self._reset = self.create_client(Trigger, f"{policy}/reset")
        self._resetting: Any = None
        self._state, self._facts = "no word of it yet", dict[str, str]()
        self._told = 0

    def _on_proposed(self, index: int, message: Any) -> None:
        self._proposals.add(index, message, self.get_clock().now().nanoseconds)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name == self._policy:
                self._state = status.message
                self._facts = {pair.key: pair.value for pair in status.values}
                self._told += 1

    def run(self) -> None:
        """Play every bag; a result goes to the file when its bag was played.

        Raises:
            TimeoutError: If the policy doesn't begin.
            BagError: If a bag can't be played.
        """
        for bag in self._bags:
            result = self._replay(bag)
            with self._results.open("a", encoding="utf-8") as results:
                results.write(json.dumps({"bag": str(bag), **result}) + "\n")

    def _replay(self, bag: Path) -> dict[str, Any]:
        messages = read_ahead(bag, wanted_topics(self._interface))
        begun, first = self._beginning(bag, messages)
        told = self._told
        # Diagnostics of before are of the last episode.
        self._hold_still(first, lambda: self._told > told + 1 and self._begins())
        before = self._counts()
        self._proposals.clear()
        # The episode goes on from the repeated samples without a gap, and in their beat.
        self._repeat(first)
        self._spin_until(self._sent_ns + self._interface.period_ns)
        self._repeat(first)
        now = self.get_clock().now().nanoseconds
        start = now - min(message.after_ns for message in first.values())
        demonstrated, last = self._play(chain(begun, messages), start)
        told = self._told
        self._hold_still(last, lambda: self._told > told)
        after = self._counts()
        period = self._interface.period_ns
        return {
            "steps": 1 + ((demonstrated.last or 0) - (demonstrated.first or 0)) // period,
            "pairs": self._proposals.pairs(demonstrated, start),
            "counts": {name: after[name] - before.get(name, 0) for name in after},
            "times": {n.partition(" p50")[0]: v for n, v in self._facts.items() if "(ms)" in n},
        }

    def _begins(self) -> bool:
        """Return whether the policy has begun with this scene; reset one that stopped before."""
        if self._state.startswith("stopped"):
            if self._resetting is None or self._resetting.done():
                self._resetting = self._reset.call_async(Trigger.Request())
            return False
        # It may be unsure from the first scene on: then it stands still, which is counted.
        return self._state == "fresh" or self._state.startswith("hold: unsure")

    def _beginning(
        self, bag: Path, messages: Iterator[Played]
    ) -> tuple[list[Played], dict[str, Played]]:
        """Return the messages up to the first of each stream, and those first ones."""
        begun: list[Played] = []
        first: dict[str, Played] = {}
        for message in messages:
            begun.append(message)
            if message.topic in self._outputs:
                first.setdefault(message.topic, message)
            if len(first) == len(self._outputs):
                return begun, first
        raise BagError(f"{bag}: not a message of {', '.join(self._outputs.keys() - first.keys())}")

    def _play(
        self, messages: Iterator[Played], start: int
    ) -> tuple[ActionCommands, dict[str, Played]]:
        """Send every message of a stream when it is due; return commands and last messages."""
        commands, last = ActionCommands(self._interface), dict[str, Played]()
        due = start
        for message in messages:
            if (wait := start + message.after_ns - due) > _LONGEST_GAP_NS:
                self.get_logger().warning(f"a gap of {wait / NANOSECONDS:.1f} s is cut short")
                start -= wait - _LONGEST_GAP_NS
            due = start + message.after_ns
            self._spin_until(due)
            if message.topic in self._outputs:
                last[message.topic] = message
                self._send(message, start + message.stamp_ns)
            elif message.topic in commands:
                when = message.stamp_ns if message.stamped else message.after_ns
                try:
                    commands.add(message.topic, start + when, message.content)
                except MessageError as error:
                    self.get_logger().warning(str(error))
        return commands, last

    def _send(self, message: Played, stamp: int) -> None:
        if message.topic in self._images:
            self._sent_ns = self.get_clock().now().nanoseconds
        data = restamped(message.data, stamp) if message.stamped else message.data
        self._outputs[message.topic].publish(data)

    def _repeat(self, messages: dict[str, Played]) -> None:
        """Send samples again except images, each of which would start a decision."""
        for topic, message in messages.items():
            if topic not in self._images:
                self._send(message, self.get_clock().now().nanoseconds)

    def _hold_still(self, messages: dict[str, Played], done: Callable[[], bool]) -> None:
        """Repeat samples with the present time until `done` returns True."""
        deadline = time.monotonic() + _START_TIMEOUT
        begin = self._sent_ns or self.get_clock().now().nanoseconds
        due = {topic: begin + self._gaps_ns[topic] for topic in messages}
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the policy doesn't go on: {self._state}")
            topic = min(due, key=due.__getitem__)
            self._spin_until(due[topic])
            self._send(messages[topic], self.get_clock().now().nanoseconds)
            due[topic] += self._gaps_ns[topic]

    def _spin_until(self, time_ns: int) -> None:
        while (left := time_ns - self.get_clock().now().nanoseconds) > 0:
            rclpy.spin_once(self, timeout_sec=left / NANOSECONDS)

    def _counts(self) -> dict[str, int]:
        return {name: int(text) for name, text in self._facts.items() if text.isdecimal()}


def main(args: Sequence[str] | None = None) -> None:
    """Play the bags and end."""
    run_to_end(ReplayNode, "replay_node", SETTINGS, args, (TimeoutError, BagError))


if __name__ == "__main__":
    main()
