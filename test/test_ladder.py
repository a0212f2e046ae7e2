"""The fault ladder, in its own time."""

from __future__ import annotations

from ebm_policy_ros.ladder import Ladder, Rung

SECOND = 1_000_000_000


def commanding(stop_after: float = 3.0, recover_after: float = 0.5) -> Ladder:
    ladder = Ladder(stop_after, recover_after)
    assert ladder.step(0, "") is Rung.FRESH
    ladder.commanded()
    return ladder


def test_a_problem_leads_to_hold_at_once_and_names_itself() -> None:
    ladder = commanding()
    assert ladder.step(SECOND, "camera is old") is Rung.HOLD
    assert ladder.reason == "camera is old"


def test_hold_ends_only_after_the_time_to_recover() -> None:
    ladder = commanding()
    ladder.step(SECOND, "camera is old")
    assert ladder.step(SECOND + 1, "") is Rung.HOLD
    assert ladder.step(SECOND + SECOND // 2, "") is Rung.HOLD
    assert ladder.step(SECOND + SECOND // 2 + 1, "") is Rung.FRESH


def test_hold_becomes_a_stop_that_only_a_reset_ends() -> None:
    ladder = commanding()
    ladder.step(SECOND, "camera is old")
    assert ladder.step(4 * SECOND - 1, "camera is old") is Rung.HOLD
    assert ladder.step(4 * SECOND, "camera is old") is Rung.STOPPED
    assert ladder.reason == "held for 3.0 s: camera is old"
    assert ladder.step(5 * SECOND, "") is Rung.STOPPED
    ladder.begin()  # as when the node is activated again
    assert ladder.step(6 * SECOND, "") is Rung.STOPPED
    ladder.reset()
    assert ladder.step(7 * SECOND, "") is Rung.FRESH


def test_before_anything_was_fresh_it_waits_for_ever() -> None:
    ladder = Ladder(3.0, 0.5)
    assert ladder.step(0, "nothing received") is Rung.HOLD
    assert ladder.step(3600 * SECOND, "nothing received") is Rung.HOLD
    assert ladder.step(3601 * SECOND, "") is Rung.FRESH


def test_decisions_that_fail_again_and_again_lead_to_a_stop_although_inputs_are_fresh() -> None:
    ladder = commanding(recover_after=0.0)
    for tick in range(1, 31):
        assert ladder.step(SECOND + tick * SECOND // 10, "") is Rung.FRESH
        ladder.step(SECOND + tick * SECOND // 10, "not finite")
    assert ladder.step(SECOND + 31 * SECOND // 10, "not finite") is Rung.STOPPED


def test_one_good_command_makes_the_count_of_failures_begin_anew() -> None:
    ladder = commanding(recover_after=0.0)
    ladder.step(SECOND, "late")
    ladder.step(2 * SECOND, "")
    ladder.commanded()
    ladder.step(3 * SECOND, "late")
    assert ladder.step(5 * SECOND, "late") is Rung.HOLD


def test_a_clock_that_is_set_back_starts_the_times_anew() -> None:
    ladder = commanding()
    ladder.step(3600 * SECOND, "camera is old")
    assert ladder.step(0, "camera is old") is Rung.HOLD
    assert ladder.step(3 * SECOND, "camera is old") is Rung.STOPPED


def test_times_of_zero_are_times() -> None:
    ladder = commanding(stop_after=0.0, recover_after=0.0)
    assert ladder.step(SECOND, "camera is old") is Rung.STOPPED
