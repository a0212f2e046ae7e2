"""Order and quantity of commands without names, compared with what the controller tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ebm_policy_ros.check.facts import CommandFacts
from ebm_policy_ros.check.results import CheckResult, judged, note
from ebm_policy_ros.interface import Action
from ebm_policy_ros.util.quoting import cut


def order_checks(facts: CommandFacts) -> Iterator[CheckResult]:
    """Checks of a command without names; nothing for other types."""
    kind = facts.command.command_type
    if kind.NAMES_JOINTS:
        return
    expected = f"{cut(', '.join(kind.fields))}: {kind.quantity}"
    if not facts.controllers:
        cure = (
            "no listener tells its joints (parameters joints and interface_name): compare names, "
            f"order and quantity of {facts.name} with the controller's configuration"
        )
        yield note(facts.name, "order", "not known", expected, cure)
    for found in facts.controllers:
        key = f"{facts.name}.fields" if isinstance(facts.command, Action) else f"{facts.name}.name"
        listed = ", ".join(found.joints)
        yield judged(
            facts.name, "joints", cut(listed), cut(", ".join(kind.fields)),
            found.joints == kind.fields,
            f"set {key} to the order of {found.node}: [{cut(listed, 300)}]",
        )  # fmt: skip
        if found.quantity:
            yield judged(
                facts.name, "quantity", found.quantity, kind.quantity,
                found.quantity == kind.quantity,
                f"{found.node} takes {found.quantity}: correct {facts.name}.quantity, or command "
                f"a controller of {kind.quantity}",
            )  # fmt: skip
        else:
            yield note(facts.name, "quantity", "not known", kind.quantity,
                       f"{found.node} does not tell it: see its configuration")  # fmt: skip


def is_proven(facts: CommandFacts) -> bool:
    """True if the messages have names, or a controller tells the same order and quantity."""
    kind = facts.command.command_type
    told = [(found.joints, found.quantity) for found in facts.controllers]
    return kind.NAMES_JOINTS or set(told) == {(kind.fields, kind.quantity)}


def order_warning(action: Action, place: Mapping[str, float]) -> Sequence[str]:
    """Lines about a command whose order and quantity nobody has told.

    Args:
        action: Action of one arm.
        place: Measured position of each joint, by name.
    """
    values = [place[name] for name in action.fields]
    quantity = action.command_type.quantity
    lines = [
        f"{cut(action.topic)} takes numbers without names, and no controller tells their order.",
        f"They are sent as the {quantity} of these joints, in this order:",
    ]
    for number, (name, value) in enumerate(zip(action.fields, values, strict=True), 1):
        lines.append(f"  {number}  {cut(name, 40):<28} now at {value:+.3f}")
    farthest = max(abs(value) for value in values)
    if action.is_velocity:
        lines.append(
            f"If the controller takes positions, a joint leaps by up to {farthest:.2f} at once."
        )
        return lines
    leap = max(values) - min(values)
    lines.append(
        f"In another order a joint leaps by up to {leap:.2f} at once; if the controller takes "
        f"velocities, joints run at up to {farthest:.2f} per second."
    )
    return lines
