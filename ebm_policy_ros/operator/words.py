"""State of a robot in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Time that an unconfirmed STOP may take before the operator is told, s.
_PATIENCE = 0.5
_COMMANDERS = {
    "policy": "The policy commands",
    "person": "A person commands",
    "nobody": "Nobody commands",
}


@dataclass(frozen=True)
class Situation:
    """State of everything as an operator reads it."""

    word: str
    """State in a word or two."""
    reason: str
    tone: str
    """Urgency: good, calm, look or bad."""


def situation(policy: Mapping[str, Any], stopping_s: float | None) -> Situation:
    """State in words.

    Args:
        policy: State of the policy node, as its link tells it.
        stopping_s: Time since an unconfirmed STOP was requested, s; None if there is none.
    """
    if stopping_s is not None:
        return Situation("Stopping", f"not confirmed for {stopping_s:.1f} s", "bad")
    if not policy["is_heard"]:
        silence = policy["silence_s"]
        since = "was never heard" if silence is None else f"is silent for {silence:.0f} s"
        return Situation("No policy node", f"{policy['node']} {since}", "bad")
    state, reason = str(policy.get("state")), str(policy.get("reason", ""))
    if state == "stopped":
        return Situation("Stopped", reason, "bad")
    if policy.get("lifecycle") != "active":
        is_configured = policy.get("lifecycle") == "inactive"
        return Situation("Inactive" if is_configured else "Not started", "nothing moves", "calm")
    if state == "hold":
        return Situation("Standing still", reason, "look")
    is_person = policy.get("commander") == "person"
    if policy.get("shadow"):
        if is_person:
            return Situation("Shadow", "a person's commands are proposed alone", "calm")
        return Situation("Shadow", "proposes commands; the arm does not move", "calm")
    if is_person:
        return Situation("Moving the arm", f"as {policy.get('taken_by')} commands", "look")
    if unsure := policy.get("unsure"):
        return Situation("Unsure", "; ".join(map(str, unsure)), "look")
    speed = policy.get("speed")
    text = f"at {100 * speed:.0f} % of its speed" if isinstance(speed, (int, float)) else ""
    return Situation("Moving the arm", text, "good")


def commander(policy: Mapping[str, Any]) -> str:
    """Source of the commands at this moment in words; empty if it is not known.

    Args:
        policy: State of the policy node, as its link tells it.
    """
    return _COMMANDERS.get(str(policy.get("commander")), "") if policy["is_heard"] else ""


def alarm(policy: Mapping[str, Any], stopping_s: float | None) -> str:
    """Advice while a STOP may not arrive, as the page gives it; empty if there is none.

    Args:
        policy: State of the policy node, as its link tells it.
        stopping_s: Time since an unconfirmed STOP was requested, s; None if there is none.
    """
    if not policy["is_heard"] and policy["silence_s"] is not None:
        return "The policy node does not answer. STOP may not arrive: use the emergency stop."
    if stopping_s is not None and stopping_s > _PATIENCE:
        return "STOP is not confirmed yet. If the arm moves, use the emergency stop."
    return ""
