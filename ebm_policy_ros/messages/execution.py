"""Execution messages: who commanded at a tick of policy_node, and in which state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, get_args

from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import LONGEST_LINE, any_of, cut, quote

TYPE = "diagnostic_msgs/msg/DiagnosticArray"
State = Literal["fresh", "hold", "stopped"]


class Commander(Enum):
    """Source of the commands that move the arm, or are proposed in shadow mode."""

    POLICY = "policy"
    PERSON = "person"
    NOBODY = "nobody"
    """The arm stands still, or the node is silent."""


_NEEDED = ("commander", "state")
_WORDS = {
    "commander": tuple(commander.value for commander in Commander),
    "publishes": ("true", "false"),
    "state": get_args(State),
}
_MOST_VALUES = 64
_DIGEST = re.compile(r"([0-9a-f]{64})?")


@dataclass(frozen=True)
class ExecutionTick:
    """One tick of an execution."""

    commander: str
    """Value of a `Commander`."""
    publishes: bool
    """True if the node had the command topics; false in shadow mode or after a stop, while
    somebody else may command."""
    state: State
    """Safety state after the tick."""
    reason: str
    """Reason of the state; empty if it is fresh."""
    policy: str
    """Name of the policy."""
    sha256: str
    """Digest of the policy file; empty if it is unknown."""


def execution_topic(node: str) -> str:
    """Topic on which a policy node tells its execution.

    Args:
        node: Name of the node, or ~ for one's own.
    """
    return f"{node}/execution"


def read_execution(message: Any) -> ExecutionTick:
    """Read a tick.

    Raises:
        MessageError: If it is not one status with the values of a tick.
    """
    if len(message.status) != 1:
        raise MessageError(f"execution: got {len(message.status)} statuses, expected one")
    pairs = message.status[0].values
    if len(pairs) > _MOST_VALUES:
        raise MessageError(f"execution: got {len(pairs)} values, expected at most {_MOST_VALUES}")
    values = {str(pair.key): str(pair.value) for pair in pairs}
    for name in _NEEDED:
        if name not in values:
            raise MessageError(f"execution: no value {name}, expected one in each message")
    # Nodes of earlier versions do not tell whether they publish.
    publishes = values.setdefault("publishes", "true")
    for name, allowed in _WORDS.items():
        if values[name] not in allowed:
            raise MessageError(
                f"execution: {name} is {quote(values[name])}, expected {any_of(allowed)}"
            )
    digest = values.get("sha256", "")
    if not _DIGEST.fullmatch(digest):
        raise MessageError(f"execution: sha256 is {quote(digest)}, expected 64 hexadecimal digits")
    return ExecutionTick(
        values["commander"],
        publishes == "true",
        values["state"],  # type: ignore[arg-type]
        cut(values.get("reason", ""), LONGEST_LINE),
        cut(values.get("policy", ""), bounds.LONGEST_NAME),
        digest,
    )
