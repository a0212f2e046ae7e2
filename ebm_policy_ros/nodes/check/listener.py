"""Listener: measures the streams, the clock and the command topics of a running robot."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy

from ebm_policy_ros.check.facts import (
    ClockFacts,
    CommandFacts,
    Controller,
    Endpoint,
    ObservationFacts,
    StreamFacts,
)
from ebm_policy_ros.check.order import is_proven
from ebm_policy_ros.interface import NANOSECONDS, Action, Gripper, Interface
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.nodes.check.controllers import read_controllers
from ebm_policy_ros.nodes.check.description import Description
from ebm_policy_ros.nodes.check.running import CLOCK, follow_clock, spin
from ebm_policy_ros.nodes.common.arms import ArmStates, RobotStates
from ebm_policy_ros.nodes.common.inputs import Inputs
from ebm_policy_ros.nodes.common.ticks import ClockWatch, Ticks
from ebm_policy_ros.nodes.common.topics import mismatch, published
from ebm_policy_ros.nodes.recorder.scene_status import SceneStatus
from ebm_policy_ros.observation.buffer import StaleObservation
from ebm_policy_ros.observation.stream_monitor import StreamMonitor

# Longest wait for the publishers of all topics, and then for their first messages, s.
_DISCOVERY, _FIRST = 4.0, 2.0
# Time in which a clock shows that it runs, if there is nothing else to measure, s.
_GLANCE = 0.3
# Real time for the measurement, as a multiple of its length on the nodes' clock: a simulation may
# be slow.
_SLOWEST = 4.0
# Sets of joint names that are kept for a stream.
_MOST_SETS = 32


class Listener:
    """Subscribes to everything that an interface names, and counts for a while."""

    def __init__(self, node: Node, executor: Any, interface: Interface) -> None:
        """Prepare; `measure` subscribes.

        Args:
            node: Node that owns the subscriptions and the clock.
            executor: Executor of the node, which this spins.
            interface: Names the topics.
        """
        self._node, self._executor, self._interface = node, executor, interface
        self.description, self.scene = Description(node), SceneStatus(node)
        self._ages: dict[str, list[float]] = {name: [] for name in interface.observation}
        self._joints: dict[str, dict[frozenset[str], Any]] = {}
        self._skews: list[float] = []
        self._ticks = self._complete = 0
        self._problem = ""
        self.states: RobotStates | None = None
        """Newest state of each arm; None if it is not known."""
        self._arms = ArmStates(interface)

    def choose_clock(self, simulated: bool | None) -> None:
        """Wait for the publishers, and follow the clock that the nodes have to follow.

        Args:
            simulated: True for that of a simulation; None: if somebody publishes it.
        """
        names = self._interface.observation
        spin(self._executor, _DISCOVERY, lambda: all(map(self._is_published, names)))
        follow_clock(self._node, self._executor, simulated)

    def _is_published(self, name: str) -> bool:
        """True if somebody publishes the messages of a stream, and they can be received."""
        stream = self._interface.observation[name]
        types = [p.type for p in self._publishers(self._node.resolve_topic_name(stream.topic))]
        return stream.type in types and not mismatch(self._node, stream)

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def measure(self, seconds: float) -> None:
        """Listen to the streams for a while.

        Args:
            seconds: Time on the nodes' clock, s, after that in which rates become known.
        """
        self.inputs = Inputs(self._node, self._interface, self._on_sample)
        expected = {name for name in self._interface.observation if self._is_published(name)}
        spin(self._executor, _FIRST, lambda: expected <= set(self.inputs.newest))
        self._watch, begin = ClockWatch(self._node), self._now()
        if expected:
            self._pass(self._warm_up())
        ticks = Ticks(self._node, self._interface.rate, self._tick)
        self._pass(seconds if expected else _GLANCE)
        ticks.close()
        self._end = self._now()
        self._stands = self._end == begin

    def _pass(self, seconds: float) -> None:
        """Let time pass on the nodes' clock; a simulation may be slow, or stand still."""
        end = self._now() + round(seconds * NANOSECONDS)
        watch = self._watch
        spin(self._executor, _SLOWEST * seconds, lambda: self._now() >= end or watch.stands())

    def _warm_up(self) -> float:
        """Time until all rates and histories are known, s."""
        period, streams = self._interface.period_ns, self._interface.observation.values()
        windows = [StreamMonitor(stream, period).window_ns for stream in streams]
        histories = [stream.history * period for stream in streams]
        return max(*windows, *histories) / NANOSECONDS + 0.2

    def _on_sample(self, name: str) -> None:
        """Keep the newest message of each set of joints, since each publisher may have some."""
        message, _ = self.inputs.newest[name]
        if self._interface.observation[name].parts:
            kept = self._joints.setdefault(name, {})
            names = frozenset(message.name)
            if names in kept or len(kept) < _MOST_SETS:
                kept.pop(names, None)
                kept[names] = message

    def _tick(self) -> None:
        """Observe, as a policy does at this moment."""
        now = self._now()
        self._ticks += 1
        for name, (message, received) in self.inputs.newest.items():
            age = now - (stamp_ns(message) or received)
            self._ages[name].append(age / NANOSECONDS)
        try:
            snapshot = self.inputs.snapshot(now)
            arrays = snapshot.measured(self._needed())
            self.states = self._arms.update(arrays, snapshot.stamps, now)
            snapshot.arrays()
        except (StaleObservation, MessageError) as problem:
            self._problem = str(problem)
            return
        self._complete += 1
        stamps = snapshot.stamps.values()
        self._skews.append((max(stamps) - min(stamps)) / NANOSECONDS)

    def _needed(self) -> set[str]:
        """Streams that measure the arms."""
        alone = [part.interface for part in self._interface.parts]
        needed = {one.command.measured for one in alone}
        return (needed | {one.workspace.stream for one in alone if one.workspace}) - {""}

    # Facts

    def clock(self) -> ClockFacts:
        """Facts about the clock."""
        simulated = bool(self._node.get_parameter("use_sim_time").value)
        names = tuple(found.node for found in self._publishers(CLOCK))
        return ClockFacts(simulated, names, simulated and self._stands)

    def observation(self) -> ObservationFacts:
        """Facts about the observations."""
        return ObservationFacts(self._ticks, self._complete, tuple(self._skews), self._problem)

    def streams(self) -> list[StreamFacts]:
        """Facts about each stream."""
        health = {found.name: found for found in self.inputs.health(self._end)}
        found = []
        for name, stream in self._interface.observation.items():
            topic = self._node.resolve_topic_name(stream.topic)
            newest, received = self.inputs.newest.get(name, (None, 0))
            stamp = stamp_ns(newest) if newest is not None else 0
            messages = [*reversed(self._joints.get(name, {}).values())]
            if not messages and newest is not None:
                messages = [newest]
            refused = stamp - received > stream.max_age * NANOSECONDS + self._interface.period_ns
            problem = health[name].problem
            found.append(
                StreamFacts(
                    name,
                    stream,
                    topic,
                    tuple(self._publishers(topic)),
                    tuple(t for t in published(self._node, stream.type) if t != topic),
                    mismatch(self._node, stream),
                    health[name].received,
                    health[name].rate,
                    bool(problem) and not refused,
                    tuple(self._ages[name]),
                    (stamp - received) / NANOSECONDS if stamp else None,
                    stamp > 0 and refused,
                    tuple(messages),
                )
            )
        return found

    def commands(self) -> list[CommandFacts]:
        """Facts about each command topic."""
        found = []
        for part in self._interface.parts:
            key = f"action.parts.{part.name}" if part.name else "action"
            action = part.interface.command
            found.append(self._command(key, action))
            if action.gripper is not None:
                found.append(self._command(f"{key}.gripper", action.gripper))
        return found

    def _command(self, key: str, command: Action | Gripper) -> CommandFacts:
        topic = self._node.resolve_topic_name(command.topic)
        kind = command.command_type.ROS_TYPE
        own = self._node.get_name()
        listeners = [
            _endpoint(info)
            for info in self._node.get_subscriptions_info_by_topic(topic)
            if info.node_name != own
        ]
        others = [
            name
            for name, types in self._node.get_topic_names_and_types()
            if name != topic and kind in types and self._node.count_subscribers(name) > 0
        ]
        told = () if command.command_type.NAMES_JOINTS else self._controllers(topic)
        rivals = tuple(self._publishers(topic))
        return CommandFacts(
            key,
            command,
            topic,
            tuple(listeners),
            rivals,
            tuple(others),
            told,
            isinstance(command, Gripper) and self._has_server(command),
        )

    def _has_server(self, gripper: Gripper) -> bool:
        """True if somebody offers the service by which the gripper's action takes goals."""
        if gripper.server is None:
            return False
        name = f"{self._node.resolve_service_name(gripper.server.action)}/_action/send_goal"
        offered = dict(self._node.get_service_names_and_types())
        return f"{gripper.server.type}_SendGoal" in offered.get(name, ())

    def _controllers(self, topic: str) -> tuple[Controller, ...]:
        return read_controllers(self._node, self._executor, topic)

    def unproven(self) -> list[int]:
        """Numbers of the parts whose commands have no names, and an order that nobody tells."""
        parts = enumerate(self._interface.parts)
        return [n for n, p in parts if not is_proven(self._command("", p.interface.command))]

    def _publishers(self, topic: str) -> list[Endpoint]:
        return [_endpoint(info) for info in self._node.get_publishers_info_by_topic(topic)]


def _endpoint(info: Any) -> Endpoint:
    latched = info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    return Endpoint(info.node_name, info.topic_type, latched)
