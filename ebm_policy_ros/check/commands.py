"""Checks of the command topics of an interface: listeners, types and rivals."""

from __future__ import annotations

from collections.abc import Iterator

from ebm_policy_ros.check.facts import CommandFacts
from ebm_policy_ros.check.order import order_checks
from ebm_policy_ros.check.results import CheckResult, judged
from ebm_policy_ros.interface import COMMAND_TYPES, Gripper
from ebm_policy_ros.util.quoting import cut

# Nodes that listen to commands, but execute none.
_ONLOOKERS = (
    "recorder_node", "rosbag2_recorder", "operator_node", "operate_terminal", "check_robot",
    "make_interface",
)  # fmt: skip
_COMMAND_LINE = "_ros2cli_"


def is_onlooker(node: str) -> bool:
    """True for the name of a node that is known to execute no commands, such as a recorder."""
    return node in _ONLOOKERS or node.startswith(_COMMAND_LINE)


def command_checks(facts: CommandFacts) -> Iterator[CheckResult]:
    """Checks of one command topic, of an arm or of a gripper."""
    if isinstance(facts.command, Gripper) and (server := facts.command.server):
        yield judged(
            facts.name, "action server", server.action if facts.has_server else "none",
            f"{server.type} on {server.action}", facts.has_server,
            f"start or activate the gripper's controller, or correct {facts.name}.server",
        )  # fmt: skip
    else:
        yield from _listener_checks(facts)
    rivals = ", ".join(found.node for found in facts.publishers)
    cure = f"stop {rivals} first"
    yield judged(facts.name, "other commanders", rivals or "none", "none", not rivals, cure)


def _listener_checks(facts: CommandFacts) -> Iterator[CheckResult]:
    """Checks of those who listen on the topic."""
    kind = facts.command.command_type.ROS_TYPE
    heard = [found for found in facts.listeners if not is_onlooker(found.node)]
    wrong = [found for found in heard if found.type != kind]
    deaf = [found for found in heard if found.type == kind and found.is_transient_local]
    if not heard:
        only = ", ".join(found.node for found in facts.listeners)
        nobody = f"only {only}, which moves nothing" if only else f"nobody on {facts.topic}"
        cure = f"start or activate the controller that listens on {facts.topic}"
        if facts.others:
            listed = cut(", ".join(facts.others))
            cure += f", or correct {facts.name}.topic: {kind} is taken on {listed}"
        yield judged(facts.name, "listener", nobody, kind, False, cure)
    elif wrong:
        known = wrong[0].type in COMMAND_TYPES
        cure = f"set {facts.name}.type to {wrong[0].type}" if known else f"let it take {kind}"
        measured = f"{wrong[0].node}: {wrong[0].type}"
        yield judged(facts.name, "listener", measured, kind, False, cure)
    elif deaf:
        measured = f"{deaf[0].node} asks for transient_local"
        cure = f"let {deaf[0].node} subscribe with durability volatile, as every controller does"
        yield judged(facts.name, "listener", measured, "volatile", False, cure)
    else:
        names = ", ".join(found.node for found in heard)
        yield CheckResult(facts.name, "listener", names, kind)
        yield from order_checks(facts)
