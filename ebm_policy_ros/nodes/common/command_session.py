"""The right to command an arm: taken while it is free, used at every tick, left with a stop."""

from __future__ import annotations

from rclpy.node import Node

from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.nodes.common.outputs import Outputs
from ebm_policy_ros.observation.robot_state import RobotState

# After a stop, or beside another commander, the safe command is repeated for so long.
_LAST_WORDS_NS = NANOSECONDS // 2


class CommandSession:
    """Opens and closes the command topic, and sends the safe command as long as it is owed.

    A node that moved the arm owes it a safe command: while something is wrong, and once more when
    it leaves. After a stop, or while somebody else commands too, it is repeated for half a second
    only; then the arm is somebody else's to move.
    """

    def __init__(self, node: Node, interface: Interface) -> None:
        """Waits for `open`.

        Args:
            node: Whose publishers and graph are used.
            interface: Names the command topic.
        """
        self.outputs: Outputs | None = None
        """The topics, while they are open."""
        self._node, self._interface = node, interface
        self._contested = False
        self._silent_after: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether commands go out."""
        return self.outputs is not None

    def open(self, publish: bool = True) -> Outputs:
        """Open the topics; without `publish` those on which commands are only proposed."""
        self.outputs = Outputs(self._node, self._interface, publish)
        self._silent_after = None
        return self.outputs

    def close(self, time_ns: int) -> None:
        """Send the safe command if one is owed, and close the topics.

        Args:
            time_ns: Now.
        """
        if self.outputs is None:
            return
        outputs, self.outputs = self.outputs, None
        try:
            if self._silent_after is None:
                outputs.hold(time_ns, None)
        finally:
            outputs.close()

    def sent(self) -> None:
        """Note that a command moves the arm: from now on a safe one is owed."""
        self._silent_after = None

    def rivals(self) -> str:
        """Names of others who may command on the topic too; empty if nobody may."""
        topic = self._topic()
        own = int(self.outputs is not None and self.outputs.publishes)
        self._contested = self._node.count_publishers(topic) > own
        if not self._contested:
            return ""
        names = [found.node_name for found in self._node.get_publishers_info_by_topic(topic)]
        for _ in range(own):
            if self._node.get_name() in names:
                names.remove(self._node.get_name())  # once: another may be called the same
        return f"{', '.join(names)} may command on {topic} too; stop it first"

    def ignore_rivals(self) -> None:
        """Command beside whoever else commands, as a parameter asks for."""
        self._contested = False

    def listeners(self) -> str:
        """The problem that nobody listens on the topic; empty if somebody does."""
        topic = self._topic()
        if self._node.count_subscribers(topic) > 0:
            return ""
        return f"nobody listens on {topic}; start the controller"

    def _topic(self) -> str:
        return str(self._node.resolve_topic_name(self._interface.action.topic))

    def hold(self, time_ns: int, state: RobotState | None, stopped: bool = False) -> None:
        """Send the safe command, as long as it is owed.

        Args:
            time_ns: Time of the tick.
            state: The arm's, if it is known.
            stopped: Whether the node is stopped for good: it leaves the topic in the end.
        """
        if self.outputs is None:
            return
        if not stopped and not self._contested:
            self._silent_after = None
        elif self._silent_after is None:
            self._silent_after = time_ns + _LAST_WORDS_NS
        elif time_ns > self._silent_after:
            if stopped:
                self.outputs.close()
                self.outputs = None
            else:
                self.outputs.forget()  # the other one may move the arm meanwhile
            return
        self.outputs.hold(time_ns, state)

    def set_back(self, time_ns: int, last_ns: int) -> None:
        """Hold what is commanded, whatever a clock says that was set back.

        Args:
            time_ns: Now.
            last_ns: Time of the last tick by the clock of before.
        """
        if self._silent_after is not None:
            self._silent_after = min(self._silent_after, time_ns - 1)
        if self.outputs is not None:
            self.outputs.freeze(last_ns)
