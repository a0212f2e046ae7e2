"""Command session: exclusive use of the command topic, with a safe command at its end."""

from __future__ import annotations

from rclpy.node import Node

from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.nodes.common.gripper_client import GripperClient
from ebm_policy_ros.nodes.common.outputs import Command, Outputs
from ebm_policy_ros.observation.robot_state import RobotState

# Time for which the safe command is repeated after a stop, or beside another commander.
_SAFE_COMMAND_NS = NANOSECONDS // 2


class CommandSession:
    """Opens and closes the command topic, and sends the safe command as long as necessary.

    A node that moved the arm must send a safe command: while there is a problem, and once more
    when it closes the topic. After a stop, or while another node commands too, the safe command is
    repeated for half a second only. Then another node may move the arm.
    """

    def __init__(self, node: Node, interface: Interface, part: str = "") -> None:
        """Create a closed session; see `open`.

        Args:
            node: Node whose publishers and graph are used.
            interface: Defines the command topic.
            part: Name of the part of an action that this is.

        Raises:
            ValueError: If the gripper has an action whose messages are not installed.
        """
        self.outputs: Outputs | None = None
        """Command topics while they are open; otherwise None."""
        self._node, self._interface, self._part = node, interface, part
        gripper = interface.command.gripper
        has_server = gripper is not None and gripper.server is not None
        # From the beginning, so that its server is known before the first command.
        self._client = GripperClient(node, gripper) if gripper and has_server else None
        self.is_mute = False
        """True to send no safe command: positions in a wrong order would move the arm."""
        self._contested = False
        self._silent_after: int | None = None

    @property
    def is_open(self) -> bool:
        """True if commands are published."""
        return self.outputs is not None

    def open(self, publish: bool = True) -> Outputs:
        """Open the topics; without `publish` those of proposed commands only."""
        self.outputs = Outputs(self._node, self._interface, publish, self._part, self._client)
        self._silent_after = None
        return self.outputs

    def rest(self, time_ns: int) -> None:
        """Send the safe command if it is necessary, for the last time before `close`.

        Args:
            time_ns: Current time, nanoseconds.
        """
        if self.outputs is not None and self._silent_after is None and not self.is_mute:
            self.outputs.hold(time_ns, None)

    def close(self) -> None:
        """Close the topics, after the last commands have been delivered."""
        outputs, self.outputs = self.outputs, None
        if outputs is not None:
            outputs.close()
        if self._client is not None:
            self._client.forget()

    def destroy(self) -> None:
        """Close the action of the gripper; nothing can be commanded any more."""
        if self._client is not None:
            self._client.close()

    def send(self, command: Command) -> None:
        """Publish a command; from now on a safe command is necessary."""
        assert self.outputs is not None
        self._silent_after = None
        self.outputs.send(command)

    def rivals(self) -> str:
        """Names of other nodes that may publish on the command topic; empty if there are none."""
        topic = self._topic()
        own = int(self.outputs is not None and self.outputs.publishes)
        self._contested = self._node.count_publishers(topic) > own
        if not self._contested:
            return ""
        names = [found.node_name for found in self._node.get_publishers_info_by_topic(topic)]
        for _ in range(own):
            if self._node.get_name() in names:
                names.remove(self._node.get_name())  # once: another node may have the same name
        return f"{', '.join(names)} may command on {topic} too; stop it first"

    def ignore_rivals(self) -> None:
        """Command beside other publishers, as requested by a parameter."""
        self._contested = False

    def listeners(self) -> str:
        """Problem that nobody takes the commands; empty if somebody does."""
        topic = self._topic()
        if self._node.count_subscribers(topic) == 0:
            return f"nobody listens on {topic}; start the controller"
        return self.gripper_problem()

    def gripper_problem(self) -> str:
        """Problem that nobody takes the goals of a gripper; empty if somebody does."""
        return "" if self._client is None else self._client.problem()

    def _topic(self) -> str:
        return str(self._node.resolve_topic_name(self._interface.command.topic))

    def hold(self, time_ns: int, state: RobotState | None, stopped: bool = False) -> None:
        """Send the safe command as long as necessary.

        Args:
            time_ns: Time of the tick, nanoseconds.
            state: Robot state, if it is known.
            stopped: True if the node is in STOPPED: it closes the topic in the end.
        """
        try:
            if self.outputs is not None and not self.is_mute:
                self._hold_arm(self.outputs, time_ns, state, stopped)
        finally:  # the arm first, and the fingers whatever happens to it
            if stopped and self._client is not None:
                self._client.stop()

    def _hold_arm(
        self, outputs: Outputs, time_ns: int, state: RobotState | None, stopped: bool
    ) -> None:
        if not stopped and not self._contested:
            self._silent_after = None
        elif self._silent_after is None:
            self._silent_after = time_ns + _SAFE_COMMAND_NS
        elif time_ns > self._silent_after:
            if stopped:
                outputs.close()
                self.outputs = None
            else:
                outputs.forget()  # the other node may move the arm meanwhile
            return
        outputs.hold(time_ns, state)

    def set_back(self, time_ns: int, last_ns: int) -> None:
        """Keep the current setpoint although the clock was set back.

        Args:
            time_ns: Current time, nanoseconds.
            last_ns: Time of the last tick on the clock before the change, nanoseconds.
        """
        if self._silent_after is not None:
            self._silent_after = min(self._silent_after, time_ns - 1)
        if self.outputs is not None:
            self.outputs.freeze(last_ns)
