"""Loading of a policy from the node's parameters, with warm-up and a check of the interface."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebm_policy_ros.control.limits import Limits
from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.nodes.common.limit_parameters import limits_of
from ebm_policy_ros.nodes.common.outputs import proposed_topic
from ebm_policy_ros.nodes.common.parameters import part_of
from ebm_policy_ros.nodes.policy.inference_thread import InferenceThread
from ebm_policy_ros.policy.chunk import executed_of
from ebm_policy_ros.policy.policy import Policy, PolicyMismatch
from ebm_policy_ros.util.resources import interface_path, policy_path

BLIND = "blind"
"""Name of a folder whose policies are not named to users."""


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy and the interface of the robot on which it runs."""

    policy: Policy
    interface: Interface
    name: str
    sha256: str

    @property
    def is_hidden(self) -> bool:
        """True if nobody shall learn which policy it is: its file lies in a folder `blind`."""
        return is_hidden(self.name)

    @property
    def shown_name(self) -> str:
        """Name for users."""
        return "a hidden policy" if self.is_hidden else self.name

    @property
    def label(self) -> str:
        """Name and the beginning of the hash, for users."""
        return self.shown_name if self.is_hidden else f"policy {self.name} ({self.sha256[:12]})"

    def announcement(self, values: Mapping[str, Any]) -> str:
        """Log line for the activation of the node: the policy and the commanded topic.

        Args:
            values: Parameters of policy_node.
        """
        rate = self.interface.rate
        policy = f"{self.label} for {self.interface.name}"
        if not values["publish_commands"]:
            topics = proposed_topics(self.interface)
            return (
                f"active in shadow mode: {policy} proposes on {topics} at {rate:g} Hz; the arm is "
                "NOT moved"
            )
        return (
            f"active: {policy} MOVES THE ARM from now on: commands on "
            f"{command_topics(self.interface)} at {rate:g} Hz, speed {values['speed']:.0%}"
        )

    def unsuitable(self, values: Mapping[str, Any]) -> str:
        """Reason why the policy doesn't support the parameters; empty if it does."""
        if values["when_unsure"] == "hold" and not self.policy.has_thresholds:
            return (
                f"when_unsure: hold needs a calibrated policy, which {self.shown_name} is not; "
                "see calibrate_policy"
            )
        try:
            self.executed(values)
        except ValueError as error:
            return str(error)
        return ""

    def executed(self, values: Mapping[str, Any]) -> int:
        """Number of actions that are executed of each decision.

        Raises:
            ValueError: If a decision has fewer actions than wanted.
        """
        wanted: int = values["execute"]
        if not wanted and values["when_unsure"] == "hold":
            return 1  # only a decision tells if the policy is unsure
        return executed_of(wanted, self.interface.action.horizon)

    def limits(self, values: Mapping[str, Any]) -> tuple[Limits, ...]:
        """Limits of each part of the action, tightened by the parameters `limits.*`.

        Raises:
            LimitError: If a limit is invalid.
        """
        return limits_of(self.interface, values)


def is_hidden(name: str) -> bool:
    """True if a policy is not named to users: its file lies in a folder `blind`."""
    return Path(name).parent.name == BLIND


def command_topics(interface: Interface) -> str:
    """Topics of the arms' commands, as text for users."""
    return " and ".join(part.interface.command.topic for part in interface.parts)


def proposed_topics(interface: Interface) -> str:
    """Topics of the commands that shadow mode proposes, as text for users."""
    return " and ".join(proposed_topic("~", part.name) for part in interface.parts)


def load_policy(values: Mapping[str, Any], name: str) -> LoadedPolicy:
    """Load a policy according to the parameters of policy_node.

    Args:
        values: Parameters of policy_node.
        name: Policy file, or name of a shipped policy.

    Raises:
        ValueError: (or a subclass) if the policy cannot run here; the text is one line.
    """
    if not name:  # a policy must be named explicitly before it may move an arm
        raise PolicyMismatch(
            "policy: none is named; set it to a policy file or the name of a shipped one"
        )
    path = policy_path(name)
    policy = Policy.load(
        path,
        device=values["device"],
        seed=values["seed"],
        inference=part_of(values, "inference."),
        choice=values["choice"],
        temperature=values["temperature"],
        hysteresis=values["hysteresis"],
    )
    if policy.interface is None:
        raise PolicyMismatch(
            f"policy {name} was trained on arrays that name no robot; train it again with "
            "--interface"
        )
    wanted = values["interface"]
    interface = load_interface(interface_path(wanted)) if wanted else policy.interface
    differences = policy.interface.differences(interface)
    if differences:
        raise PolicyMismatch(
            f"policy {name} is for another interface than {wanted} ({differences[0]}); choose a "
            "policy trained with this interface"
        )
    loaded = LoadedPolicy(policy, on_robot(policy, interface), name, policy.sha256)
    if problem := loaded.unsuitable(values):
        raise PolicyMismatch(problem)
    return loaded


def prepare_policy(values: Mapping[str, Any], name: str) -> tuple[LoadedPolicy, InferenceThread]:
    """Load a policy and warm it up in its own thread, which takes seconds; see `load_policy`."""
    loaded = load_policy(values, name)
    return loaded, InferenceThread(loaded.policy, values["threads"])


def on_robot(policy: Policy, interface: Interface) -> Interface:
    """Interface of a robot with as many actions in a decision as a policy was trained for."""
    assert policy.interface is not None
    action = dataclasses.replace(interface.action, horizon=policy.interface.action.horizon)
    return dataclasses.replace(interface, action=action)
