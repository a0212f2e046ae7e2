"""Guidance: what an operator does next while demonstrations are collected, in one line."""

from __future__ import annotations

from ebm_policy_ros.teleop.keyboard import RECORDING

_KEYS = {key.event: key.name for key in RECORDING}


def next_step(is_recording: bool, scene: str, problem: str, successes: int, target: int) -> str:
    """Line that tells the operator what to do, with the keys in brackets.

    Args:
        is_recording: True while an episode is recorded.
        scene: How a simulation's scene ended; empty before that, and on a real robot.
        problem: First reason why no episode can begin; empty if there is none.
        successes: Number of successes in the folder.
        target: Number of successes that are wanted; 0 for no number.
    """
    if is_recording:
        keep = (
            f"keep it as a success ({_KEYS['success']}) or a failure ({_KEYS['failure']}), "
            f"or discard it ({_KEYS['discard']})"
        )
        return f"{scene}: {keep}" if scene else f"do the task, then {keep}"
    if 0 < target <= successes:
        return f"all {target} successes are there"
    if scene:
        return f"{scene}: wait for the next one"
    if problem:
        return f"not ready: {problem}"
    count = f", success {successes + 1} of {target}" if target else ""
    return f"set the scene, then record ({_KEYS['start']}){count}"
