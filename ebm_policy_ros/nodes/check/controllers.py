"""Reader of the parameters by which a controller tells the order of its commands."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node

from ebm_policy_ros.check.facts import Controller
from ebm_policy_ros.nodes.check.running import spin

# Those of the forward command controllers of ros2_control.
_NAMES = ("joints", "interface_name")
# Time until a service is there, and until it answers, s; an answer may get lost once.
_READY, _ANSWER, _TRIES = 1.0, 1.0, 3


def read_controllers(node: Node, executor: Any, topic: str) -> tuple[Controller, ...]:
    """Controllers among the subscribers of a topic, which tell their joints.

    Args:
        node: Node that asks.
        executor: Executor of the node, which this spins.
        topic: Full name of the topic.
    """
    infos = node.get_subscriptions_info_by_topic(topic)
    names = {(info.node_namespace, info.node_name) for info in infos}
    names -= {(node.get_namespace(), node.get_name())}
    found = []
    for namespace, name in sorted(names):
        values = _values(node, executor, f"{namespace.rstrip('/')}/{name}/get_parameters")
        if len(values) != len(_NAMES) or values[0].type != ParameterType.PARAMETER_STRING_ARRAY:
            continue
        joints = tuple(values[0].string_array_value)
        if joints:
            found.append(Controller(name, joints, values[1].string_value))
    return tuple(found)


def _values(node: Node, executor: Any, service: str) -> list[Any]:
    """Values of the parameters; empty if nobody answers."""
    client = node.create_client(GetParameters, service)
    try:
        spin(executor, _READY, client.service_is_ready)
        for _ in range(_TRIES):
            if not client.service_is_ready():
                break
            future = client.call_async(GetParameters.Request(names=list(_NAMES)))
            spin(executor, _ANSWER, future.done)
            if future.done() and future.result() is not None:
                return list(future.result().values)
    finally:
        node.destroy_client(client)
    return []
