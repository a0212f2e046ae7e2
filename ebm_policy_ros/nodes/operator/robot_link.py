"""Link to the robot: policy node, recorder, judge, simulation, pictures and logs as one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import Log
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from ebm_policy_ros.nodes.common.parameters import Setting
from ebm_policy_ros.nodes.common.spin import RCLError
from ebm_policy_ros.nodes.common.topics import status_in
from ebm_policy_ros.nodes.operator.judge_link import JudgeLink
from ebm_policy_ros.nodes.operator.policy_link import PolicyLink
from ebm_policy_ros.nodes.operator.recorder_link import RecorderLink
from ebm_policy_ros.nodes.operator.views import TYPES, Pictures
from ebm_policy_ros.operator.commands import Command
from ebm_policy_ros.operator.journal import Journal
from ebm_policy_ros.operator.robot import Answer

NODES = (
    Setting("policy_node", "policy_node", "Name of the policy node."),
    Setting("recorder", "recorder_node", "Name of the recorder's node."),
)
"""Parameters with the names of the nodes that are shown and commanded."""
_DRAWN = ("candidates", "debug_image")  # by the policy node
_JUDGES = ("starts_node", "judge_node")  # they ask the operator, one after the other
_START = "judge_node/start_overlay"  # the wanted start of a trial over the live picture
_MOST_CAMERAS = 8
# What a policy node tells of a policy of a blind comparison; the rest tells policies apart.
_BLIND = (
    "lifecycle", "state", "reason", "stops", "commander", "taken_by", "ignored", "ignored_sender",
    "shadow", "speed", "hidden", "rate",
    "node", "is_heard", "silence_s", "streams", "policies",
)  # fmt: skip
_SIMULATION = ("state", "seed", "task", "interface")
# Severities of rcl_interfaces/Log.
_INFO, _LEVELS = 20, {20: "info", 30: "warning"}


class RobotLink:
    """State and commands of the robot, for the page's server."""

    def __init__(
        self, node: Node, policy: str, recorder: str, policies: dict[str, Path], journal: Journal
    ) -> None:
        """Open topics and clients.

        Args:
            node: Node that owns them.
            policy: Name of the policy node.
            recorder: Name of the recorder's node.
            policies: Policy files that may be loaded, by name.
            journal: Journal, into which the log of the robot's nodes is written.
        """
        self._node, self._journal = node, journal
        self._policy = PolicyLink(node, policy, policies)
        self._recorder = RecorderLink(node, recorder)
        room = policy[: policy.rfind("/") + 1]  # judge_policy asks beside the policy node
        self._judges = [JudgeLink(node, room + name) for name in _JUDGES]
        self._pictures = Pictures(node)
        drawn = {"start_overlay": room + _START} | {name: f"{policy}/{name}" for name in _DRAWN}
        drawn["coverage"] = f"{recorder}/coverage"
        self._drawn = {name: node.resolve_topic_name(topic) for name, topic in drawn.items()}
        self._offered: dict[str, str] = {}
        self._types: dict[str, str] = {}
        self._watched: frozenset[str] = frozenset()
        self._changed = node.create_guard_condition(self._follow)
        self._simulation: dict[str, Any] = {}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, "sim_bridge_node/status", self._on_simulation, latched)
        node.create_subscription(Log, "/rosout", self._on_log, 100)

    def search(self) -> None:
        """Look for cameras, and subscribe to those that are watched; for the thread of ROS."""
        types = {
            topic: kinds[0]
            for topic, kinds in self._node.get_topic_names_and_types()
            if kinds[0] in TYPES
        }
        named = []
        for topic in filter(None, (*self._policy.topics, *self._recorder.topics)):
            with suppress(RCLError):  # others may tell names that are none
                named.append(self._node.resolve_topic_name(topic))
        images = [topic for topic in sorted(types) if "sensor_msgs" in types[topic]]
        known = [topic for topic in dict.fromkeys(named) if topic in images]
        others = [topic for topic in images if topic not in self._drawn.values()]
        offered = {topic: topic for topic in (known or others)[:_MOST_CAMERAS]}
        drawn = {name: topic for name, topic in self._drawn.items() if topic in types}
        is_hidden = self._policy.state().get("hidden")
        offered |= {n: topic for n, topic in drawn.items() if not (is_hidden and n in _DRAWN)}
        self._offered, self._types = offered, types
        self._follow()

    def _follow(self) -> None:
        """Subscribe to the watched pictures alone."""
        topics = [topic for name, topic in self._offered.items() if name in self._watched]
        self._pictures.follow({topic: self._types[topic] for topic in topics})

    # What the server of the page calls, in its own thread

    def state(self) -> dict[str, Any]:
        """State of everything, ready for JSON."""
        policy = self._policy.state()
        if policy.get("hidden"):
            policy = {key: policy[key] for key in _BLIND if key in policy} | {"diagnostics": {}}
        return {
            "policy": policy,
            "recorder": self._recorder.state(),
            "judge": self._judge.state(),
            "simulation": self._simulation,
            "pictures": list(self._offered),
        }

    @property
    def _judge(self) -> JudgeLink:
        """The node that asked last."""
        return max(self._judges, key=lambda judge: judge.heard)

    async def stop(self) -> Answer:
        """Ask the policy node once to stop, then tell those who ask the operator."""
        stop = asyncio.ensure_future(self._policy.stop())
        await asyncio.sleep(0)  # the request to the policy node is sent first
        for judge in self._judges:
            with suppress(Exception):  # nothing keeps the answer of the policy node
                judge.tell_stop()
        return await stop

    async def perform(self, command: Command) -> Answer:
        """Perform a command to the policy node, but no stop, the recorder or judge_policy."""
        if command.target == "judge":
            return await self._judge.perform(command)
        link = self._recorder if command.target == "recorder" else self._policy
        return await link.perform(command)

    def watch(self, pictures: frozenset[str]) -> None:
        """Choose the pictures that somebody looks at."""
        self._watched = pictures
        self._changed.trigger()

    def picture(self, name: str) -> bytes | None:
        """Newest picture, encoded; None if there is none since the last call."""
        topic = self._offered.get(name)
        return None if topic is None else self._pictures.fetch(topic)

    # Messages

    def _on_simulation(self, message: Any) -> None:
        told = status_in(message)
        if told is not None:
            self._simulation = {key: told.get(key) for key in _SIMULATION}

    def _on_log(self, message: Any) -> None:
        # The page's own entries are in the journal already.
        if message.level >= _INFO and message.name != self._node.get_logger().name:
            self._journal.quote(message.name, message.msg, _LEVELS.get(message.level, "error"))
