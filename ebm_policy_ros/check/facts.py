"""Facts about a running robot, measured by a node, from which the checks follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ebm_policy_ros.interface import Action, Gripper, Stream


@dataclass(frozen=True)
class Endpoint:
    """Publisher or subscription of another node on a topic."""

    node: str
    type: str
    is_transient_local: bool = False


@dataclass(frozen=True)
class StreamFacts:
    """Facts about one stream of an interface."""

    name: str
    stream: Stream
    topic: str
    """Full name of the topic."""
    publishers: tuple[Endpoint, ...]
    others: tuple[str, ...]
    """Other topics on which the stream's type is published."""
    mismatch: str
    """Publisher that offers a lower QoS than requested; empty if there is none."""
    received: int
    rate: float
    """Rate of new samples, Hz."""
    is_slow: bool
    """True if the rate is below `min_rate`, in the sense of the nodes."""
    ages: tuple[float, ...]
    """Age of the newest sample at each tick, s."""
    ahead: float | None
    """Time from the receipt of the newest message to its stamp, s; None if the stamp is zero."""
    is_refused: bool
    """True if the newest message was refused, because its stamp is in the future."""
    messages: tuple[Any, ...]
    """Newest message; of joints, the newest one for each set of names, newest first."""


@dataclass(frozen=True)
class Controller:
    """Parameters of a node that listens for commands, as those of ros2_control have them."""

    node: str
    joints: tuple[str, ...]
    """Joints in the order of its commands."""
    quantity: str
    """Command interface, such as position; empty if it does not tell."""


@dataclass(frozen=True)
class CommandFacts:
    """Facts about one command topic of an interface."""

    name: str
    """Key in the interface, such as action or action.gripper."""
    command: Action | Gripper
    topic: str
    listeners: tuple[Endpoint, ...]
    publishers: tuple[Endpoint, ...]
    others: tuple[str, ...]
    """Other topics on which somebody listens to the command's type."""
    controllers: tuple[Controller, ...] = ()
    """Listeners that tell their joints; looked for only if the messages have no names."""
    has_server: bool = False
    """True if there is a server of the gripper's action."""


@dataclass(frozen=True)
class ClockFacts:
    """Facts about the clock that the checks used."""

    is_simulated: bool
    """True for the time of a simulation, as with use_sim_time."""
    publishers: tuple[str, ...]
    """Nodes that publish /clock."""
    stands: bool
    """True if the clock has not moved."""


@dataclass(frozen=True)
class ObservationFacts:
    """Facts about the observations, one for each tick."""

    ticks: int
    complete: int
    """Number of ticks with a complete observation."""
    skews: tuple[float, ...]
    """Largest difference of the stamps of the streams at each tick, s."""
    problem: str
    """Reason why the last incomplete observation was incomplete."""
