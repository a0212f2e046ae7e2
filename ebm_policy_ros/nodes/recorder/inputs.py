"""Recorder inputs: serialised messages of all topics, and checks before an episode."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.serialization import deserialize_message

from ebm_policy_ros.bags.statistics import TopicMetrics
from ebm_policy_ros.bags.topics import Message, Topic
from ebm_policy_ros.interface import Interface, Stream, TransformStream
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.execution import TYPE as EXECUTION
from ebm_policy_ros.messages.execution import read_execution
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.ticks import ClockWatch
from ebm_policy_ros.nodes.recorder.topic_input import OnMessage, StaticTransforms, TopicInput
from ebm_policy_ros.observation.buffer import Observation, ObservationBuffer, StaleObservation
from ebm_policy_ros.observation.transforms import transform_readers

_CLOCK = "/clock"


class RecorderInputs:
    """Subscribes to the streams and commands of an interface, with QoS to fit their publishers.

    The execution of a policy is recorded too, if a policy runs.
    """

    def __init__(self, node: Node, interface: Interface, execution: str = "") -> None:
        """Prepare the topics; `search` subscribes to them when their publishers appear.

        Args:
            node: Node that owns the subscriptions and the clock.
            interface: Defines the streams and the command topics.
            execution: Topic of the execution of a policy; empty for none.
        """
        self._node, self._interface = node, interface
        self._clock = ClockWatch(node)
        self._on_message: OnMessage = lambda topic, message: None
        streams: dict[tuple[str, str], dict[str, Stream]] = {}
        for name, stream in interface.observation.items():
            key = node.resolve_topic_name(stream.topic), stream.type
            streams.setdefault(key, {})[name] = stream
        for command in interface.commands:
            kind = command.command_type.ROS_TYPE
            streams.setdefault((node.resolve_topic_name(command.topic), kind), {})
        period = interface.period_ns
        static = [s.static_topic for s in interface.observation.values()
                  if isinstance(s, TransformStream)]  # fmt: skip
        # The static transforms are first, so that an episode begins with them.
        self._inputs: list[TopicInput] = [
            StaticTransforms(node, name, period, self._deliver)
            for name in dict.fromkeys(map(node.resolve_topic_name, static))
        ]
        self._inputs += [
            TopicInput(node, topic, ros_type, chosen, period, self._deliver)
            for (topic, ros_type), chosen in streams.items()
        ]
        self._execution: TopicInput | None = None
        if execution:
            name = node.resolve_topic_name(execution)
            self._execution = TopicInput(node, name, EXECUTION, {}, period, self._deliver, True)
            self._inputs.append(self._execution)

    def listen(self, on_message: OnMessage) -> None:
        """Set the function that is called with each message."""
        self._on_message = on_message

    def _deliver(self, topic: Topic, message: Message) -> None:
        self._on_message(topic, message)

    def search(self, recording: bool) -> None:
        """Subscribe to new topics, and again if a publisher offers lower QoS than requested."""
        for found in self._inputs:
            found.search(recording)

    def begin(self) -> None:
        """Reset the counts for a new episode."""
        for found in self._inputs:
            found.begin()

    def topics(self) -> list[Topic]:
        """Every topic, with the QoS offered by its publishers in this episode."""
        return [found.topic() for found in self._inputs if found.counts]

    def metrics(self, whole: bool = False) -> dict[str, TopicMetrics]:
        """Metrics of the messages of each topic, recent or over the whole episode."""
        now = self._node.get_clock().now().nanoseconds
        counted = [found for found in self._inputs if found.counts]
        return {found.name: found.statistics.metrics(now, whole) for found in counted}

    def execution(self) -> dict[str, str]:
        """Topic of the execution in this episode, name and digest of its policy; empty if none.

        Raises:
            MessageError: If its last message is not one of an execution.
        """
        found = self._execution
        if found is None or not found.counts:
            return {}
        tick = read_execution(deserialize_message(found.newest, message_class(EXECUTION)))
        return {"topic": found.name, "policy": tick.policy, "sha256": tick.sha256}

    def have_come(self) -> bool:
        """True if every stream has a message of this episode."""
        return all(found.has_come() for found in self._inputs)

    def stalled(self) -> set[str]:
        """Topics of streams that have become silent; the clock topic if a simulation hangs.

        With a stopped clock the ages of messages don't grow. Must be called often.
        """
        if self._clock.stands():
            return {_CLOCK}
        now = self._node.get_clock().now().nanoseconds
        return {found.name for found in self._inputs if found.statistics.stalled(now)}

    def refusals(self) -> list[str]:
        """Reasons why no episode can begin, by topic name; empty if one can.

        If the cheap checks pass, an observation is built in the same way as for the policy.
        """
        found = self.problems()
        return found or [text for text in (self._unusable(),) if text]

    def problems(self) -> list[str]:
        """Problems of the topics and their publishers that are cheap to detect."""
        now = self._node.get_clock().now().nanoseconds
        return [f"{i.name}: {text}" for i in self._inputs for text in i.problems(now)]

    def remarks(self) -> list[str]:
        """Unusual properties of the publishers that don't prevent an episode."""
        return [f"{i.name}: {text}" for i in self._inputs for text in i.remarks()]

    def observe(self) -> Observation:
        """Observation from the newest messages, as the policy would have it.

        Raises:
            StaleObservation: If a stream has no sample that is fresh enough.
            MessageError: If a message doesn't match the description of its stream.
        """
        buffer = ObservationBuffer(self._interface)
        readers = transform_readers(self._interface.observation)
        for found in self._inputs:
            found.replay(buffer, readers)
        if told := [f"{name}: {text}" for name, r in readers.items() if (text := r.problem())]:
            raise StaleObservation("; ".join(told))
        return buffer.observe(self._node.get_clock().now().nanoseconds)

    def _unusable(self) -> str:
        try:
            self.observe()
        except (StaleObservation, MessageError) as error:
            return str(error)
        return ""
