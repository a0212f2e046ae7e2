"""Robot, policy node and operator node in a thread beside a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from operator_page import Spinning
from robot import Robot, parameters

from ebm_policy_ros.nodes.operator.node import OperatorNode
from ebm_policy_ros.nodes.policy.node import PolicyNode


class Station:
    """Robot, policy node and operator node, which run in a thread beside the test."""

    def __init__(self, robot: Robot, policy: Path) -> None:
        self.robot, self._policy_file = robot, policy
        self._nodes: list[Any] = []
        robot.repeat(0.05, robot.tick_now)
        self._spinning = Spinning(robot.executor)

    def add(self, kind: Any, **values: Any) -> Any:
        node = kind(context=self.robot.context, parameter_overrides=parameters(**values))
        self._nodes.append(node)
        self.robot.add(node)
        return node

    def add_policy(self, **values: Any) -> PolicyNode:
        chosen = {"policy": str(self._policy_file), "autostart": True, "device": "cpu"}
        # A busy machine is late: the node may hold, but shall not stop by itself.
        chosen |= {"when_unsure": "go", "stop_after": 600.0}
        node: PolicyNode = self.add(PolicyNode, **chosen | values)
        return node

    def add_operator(self, **values: Any) -> OperatorNode:
        node: OperatorNode = self.add(OperatorNode, **{"port": 0, **values})
        return node

    def remove(self, node: Any) -> None:
        """End a node as a process that ends."""
        self.robot.executor.remove_node(node)
        self._nodes.remove(node)
        node.close()
        node.destroy_node()

    def close(self) -> None:
        self._spinning.end()
        for node in self._nodes:
            node.close()
            node.destroy_node()
