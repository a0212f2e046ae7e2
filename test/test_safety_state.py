"""Safety state machine, with its own time."""

from __future__ import annotations

from ebm_policy_ros.control.safety_state import SafetyState, SafetyStateMachine

SECOND = 1_000_000_000


def commanding(stop_after: float = 3.0, recover_after: float = 0.5) -> SafetyStateMachine:
    safety = SafetyStateMachine(stop_after, recover_after)
    assert safety.step(0, "") is SafetyState.FRESH
    safety.commanded()
    return safety


def test_a_problem_leads_to_hold_at_once_and_names_itself() -> None:
    safety = commanding()
    assert safety.step(SECOND, "camera is old") is SafetyState.HOLD
    assert safety.reason == "camera is old"


def test_hold_ends_only_after_the_time_to_recover() -> None:
    safety = commanding()
    safety.step(SECOND, "camera is old")
    assert safety.step(SECOND + 1, "") is SafetyState.HOLD
    assert safety.step(SECOND + SECOND // 2, "") is SafetyState.HOLD
    assert safety.step(SECOND + SECOND // 2 + 1, "") is SafetyState.FRESH


def test_hold_becomes_a_stop_that_only_a_reset_ends() -> None:
    safety = commanding()
    safety.step(SECOND, "camera is old")
    assert safety.step(4 * SECOND - 1, "camera is old") is SafetyState.HOLD
    assert safety.step(4 * SECOND, "camera is old") is SafetyState.STOPPED
    assert safety.reason == "held for 3.0 s: camera is old"
    assert safety.step(5 * SECOND, "") is SafetyState.STOPPED
    safety.begin()  # as when the node is activated again
    assert safety.step(6 * SECOND, "") is SafetyState.STOPPED
    safety.reset()
    assert safety.step(7 * SECOND, "") is SafetyState.FRESH


def test_before_anything_was_fresh_it_waits_for_ever() -> None:
    safety = SafetyStateMachine(3.0, 0.5)
    assert safety.step(0, "nothing received") is SafetyState.HOLD
    assert safety.step(3600 * SECOND, "nothing received") is SafetyState.HOLD
    assert safety.step(3601 * SECOND, "") is SafetyState.FRESH


def test_decisions_that_fail_again_and_again_lead_to_a_stop_although_inputs_are_fresh() -> None:
    safety = commanding(recover_after=0.0)
    for tick in range(1, 31):
        assert safety.step(SECOND + tick * SECOND // 10, "") is SafetyState.FRESH
        safety.step(SECOND + tick * SECOND // 10, "not finite")
    assert safety.step(SECOND + 31 * SECOND // 10, "not finite") is SafetyState.STOPPED


def test_one_good_command_makes_the_count_of_failures_begin_anew() -> None:
    safety = commanding(recover_after=0.0)
    safety.step(SECOND, "late")
    safety.step(2 * SECOND, "")
    safety.commanded()
    safety.step(3 * SECOND, "late")
    assert safety.step(5 * SECOND, "late") is SafetyState.HOLD


def test_a_clock_that_is_set_back_starts_the_times_anew() -> None:
    safety = commanding()
    safety.step(3600 * SECOND, "camera is old")
    assert safety.step(0, "camera is old") is SafetyState.HOLD
    assert safety.step(3 * SECOND, "camera is old") is SafetyState.STOPPED


def test_times_of_zero_are_times() -> None:
    safety = commanding(stop_after=0.0, recover_after=0.0)
    assert safety.step(SECOND, "camera is old") is SafetyState.STOPPED
