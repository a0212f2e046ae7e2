"""Verdicts on test moves: direction, scale, and which dimension moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ebm_policy_ros.check.motion import Probe
from ebm_policy_ros.check.results import CheckResult, judged
from ebm_policy_ros.check.watch import OTHER_ARM, TURNED, Motion

# Share of the commanded motion below which the arm did not move, and above which a dimension that
# was not commanded has moved: one of the same kind, or one of another kind.
_STILL, _ASTRAY, _FOREIGN = 0.2, 0.5, 1.0
# Smallest and largest share that is no other scale: friction and noise are part of a small move.
_SCALES = 0.7, 1.3


def judge(
    probe: Probe, commanded: float, motions: Sequence[Motion], changes: Iterable[str] = ()
) -> CheckResult:
    """Direction and scale of a test move.

    Args:
        probe: The move.
        commanded: Commanded motion, m or rad.
        motions: Measured motion of every dimension of every part.
        changes: Changes of the commands by the guard.
    """
    told, cure = _found(probe, commanded, motions)
    if cure and (listed := ", ".join(sorted(changes))):
        cure = f"the guard changed the commands ({listed}), which may be why; else {cure}"
    expected = probe.text(commanded)
    return judged(probe.subject, "test move", told, expected, not cure, cure)


def own_motion(probe: Probe, motions: Sequence[Motion]) -> float:
    """Motion of the dimension that a probe moves, m or rad."""
    return next(m.value for m in motions if (m.part, m.name) == (probe.part, probe.name))


def _found(probe: Probe, commanded: float, motions: Sequence[Motion]) -> tuple[str, str]:
    """Finding of a test move, and the cure if it is a problem."""
    own, size = own_motion(probe, motions), abs(commanded)
    told, length = probe.text(own), abs(probe.amount)
    if size < _STILL * length:
        return f"{told}: not commanded", "widen what stops this motion, or move the arm elsewhere"
    if elsewhere := _elsewhere(probe, size / length, abs(own) / length, motions):
        return elsewhere
    ratio = own / commanded
    if abs(ratio) < _STILL:
        return f"{told}: did not move", (
            "activate the controller, enable the arm, release a protective stop; if other "
            f"dimensions move, the controller does not take {probe.name}"
        )
    if ratio < 0:
        return f"{told}: reversed", (
            f"{probe.name} and what measures it point opposite ways: compare the controller's "
            "frame with frame_id, and the signs in the driver"
        )
    if _SCALES[0] <= ratio <= _SCALES[1]:
        return f"{told}: direction ok, scale {ratio:.2f}", ""
    return f"{told}: scale {ratio:.2f}", (
        f"the arm moves {ratio:.2f} times as far as commanded: check unit and scale in the "
        "controller, how long it holds a command, and how stiff it is"
    )


def _elsewhere(
    probe: Probe, commanded: float, own: float, motions: Sequence[Motion]
) -> tuple[str, str] | None:
    """Finding that another dimension moved; None if there is none.

    Args:
        probe: The move.
        commanded: Commanded motion as a share of the move.
        own: Motion of the dimension itself, as such a share.
        motions: Measured motions.
    """
    rest = [m for m in motions if (m.part, m.name) != (probe.part, probe.name)]
    far = max((m for m in rest if m.part != probe.part), key=lambda m: m.share, default=None)
    if far is not None and far.share > _ASTRAY * commanded:
        return f"{far.subject} {far}: moved the other arm", (
            f"{probe.subject} moves {far.subject}: {OTHER_ARM}"
        )
    mine = [m for m in rest if m.part == probe.part]
    far = max((m for m in mine if probe.is_alike(m.name)), key=lambda m: m.share, default=None)
    if far is not None and far.share > _ASTRAY * max(own, commanded):
        return f"{far.name} {far}: moved another axis", (
            f"{probe.name} moves {far.name}: set action.fields to the controller's order, and the "
            "frame_id of action and of the measured stream to the frame of the controller"
        )
    far = max((m for m in mine if not probe.is_alike(m.name)), key=lambda m: m.share, default=None)
    if far is not None and far.share > _FOREIGN * max(own, commanded):
        how = "shifted" if far.is_length else "turned"
        return f"{far.name} {far}: {how}", f"{probe.name} moves {far.name}: {TURNED}"
    return None


def judge_return(probe: Probe, left: float) -> list[CheckResult]:
    """Problem that the arm did not come back to its start; nothing if it did.

    Args:
        probe: The move.
        left: Remaining distance from the start, m or rad.
    """
    if abs(left) <= _ASTRAY * abs(probe.amount):
        return []
    cure = "look for friction, a brake, or a controller that needs longer than the test waits"
    return [
        judged(probe.subject, "way back", f"{probe.text(left)} off", "at the start", False, cure)
    ]
