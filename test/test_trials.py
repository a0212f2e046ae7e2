"""Comparisons of policies without ROS: order, log, sequential test, starts, page and videos."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import sequential as bench
import yaml
from browser import CHROMIUM, Browser
from installing import ROOT

from ebm_policy_ros.trials.films import make_film
from ebm_policy_ros.trials.log import CUT, TRIALS, Outcome, Result, TrialLog, read_trials
from ebm_policy_ros.trials.loop import run_trials, why_finished
from ebm_policy_ros.trials.page import PAGE, render_page, write_page
from ebm_policy_ros.trials.plan import (
    COMPARISON,
    Comparison,
    NamedFile,
    Planned,
    claim_folder,
    order_seed,
    read_comparison,
)
from ebm_policy_ros.trials.results import format_report, make_report
from ebm_policy_ros.trials.sequential import compare_pairs, log_e_value
from ebm_policy_ros.trials.starts import (
    Picture,
    add_start,
    find_starts,
    named_starts,
    overlay,
    read_start,
)

BAG = ROOT / "test" / "data" / "push"
A, B, C = (NamedFile(name, letter * 64) for name, letter in (("a", "1"), ("b", "2"), ("c", "3")))


def comparison(*policies: NamedFile, **values: object) -> Comparison:
    chosen = {"starts": (), "seed": 5, "alpha": 0.05, "setting": {"task": "push"}} | values
    return Comparison(policies or (A, B), **chosen)  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[TrialLog]:
    claim_folder(tmp_path / "out", comparison())
    log = TrialLog(tmp_path / "out", comparison())
    yield log
    log.close()


def again(log: TrialLog) -> TrialLog:
    """Open the log as the next process does."""
    log.close()
    return TrialLog(log.path.parent, log.comparison)


# Order


def test_each_block_has_every_policy_once_and_the_seed_alone_decides_the_order() -> None:
    plan = comparison(A, B, C)
    orders = [plan.order(block) for block in range(600)]
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    counts = Counter(orders)
    assert len(counts) == 6 and min(counts.values()) > 70, "100 of each are expected"
    assert orders == [comparison(A, B, C).order(block) for block in range(600)]
    assert orders != [comparison(A, B, C, seed=6).order(block) for block in range(600)]


def test_the_order_of_a_block_tells_nothing_about_that_of_another() -> None:
    orders = [comparison().order(block) for block in range(400)]
    for distance in (1, 2, 3):
        same = sum(map(tuple.__eq__, orders, orders[distance:]))
        assert 160 < same < 240, "half of them are expected"


def test_a_place_in_the_block_that_decides_alone_is_no_difference_of_the_policies() -> None:
    alarms = 0
    for seed in range(200):
        plan = comparison(seed=seed)
        firsts = [plan.order(block)[0] for block in range(40)]
        blocks = [{first: True, 1 - first: False} for first in firsts]
        (test,) = compare_pairs(blocks, 2, 0.05)
        alarms += test.is_clear
    assert alarms <= 0.05 * 200


def test_the_seed_of_the_order_is_drawn_once(tmp_path: Path) -> None:
    drawn = {order_seed(tmp_path / "out") for _ in range(5)}
    assert len(drawn) == 5
    claim_folder(tmp_path / "out", comparison(seed=11))
    assert order_seed(tmp_path / "out") == 11


def test_the_policies_of_a_block_share_its_start() -> None:
    assert [comparison().planned(n, 1).start for n in range(4)] == ["5", "5", "6", "6"]
    pictures = comparison(starts=(NamedFile("left", "x"), NamedFile("right", "y")), setting={})
    found = [pictures.planned(n, 1).start for n in range(6)]
    assert found == ["left", "left", "right", "right", "left", "left"]
    assert comparison(setting={}).planned(2, 1).start == "2", "a place that the operator numbers"


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ((A,), "policies: got 1, expected at least two"),
        (
            (A, NamedFile("z", "1" * 64)),
            "policies: got a and z, which are the same file .1{12}.",
        ),
        ((A, NamedFile("a", "9")), "got two named a, expected each name once; rename a file"),
    ],
)
def test_policies_that_cannot_be_told_apart_are_refused(
    policies: tuple[NamedFile, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        comparison(*policies)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (comparison(A, NamedFile("b", "7" * 64)), r"of other policies: .*222.*, not .*b \(7777"),
        (comparison(starts=(NamedFile("left", "x"),)), r"of other starts: none, not left \(x\)"),
        (comparison(seed=6), "of another seed: 5, not 6"),
        (comparison(alpha=0.1), "of another alpha: 0.05, not 0.1"),
        (comparison(setting={"task": "sort"}), "of another task: 'push', not 'sort'"),
    ],
)
def test_a_folder_of_another_comparison_is_refused(
    log: TrialLog, other: Comparison, message: str
) -> None:
    out = log.path.parent
    claim_folder(out, comparison())
    with pytest.raises(ValueError, match=message) as refused:
        claim_folder(out, other)
    assert str(refused.value).endswith("choose another folder")
    assert read_comparison(out) == comparison(), "nothing was overwritten"


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(ValueError, match=r"is not empty and has no comparison\.json"):
        claim_folder(tmp_path, comparison())
    damaged = tmp_path / "out"
    damaged.mkdir()
    (damaged / COMPARISON).write_text('{"seed": 1}')
    with pytest.raises(ValueError, match=r"comparison\.json: not a comparison of this version"):
        claim_folder(damaged, comparison())


# Log


def test_a_trial_without_a_line_is_repeated_and_a_void_one_does_not_count(log: TrialLog) -> None:
    first = log.planned
    log.append(first, Outcome("success", 3.5, stops=1, takeovers=2, bag="bags/1", note="why"))
    second = log.planned
    assert (first.number, second.number, second.block) == (1, 2, 0)
    assert {first.policy, second.policy} == {0, 1}
    log = again(log)  # as after a crash during the second one
    assert log.planned == second and log.remark == ""
    log.append(second, Outcome("void", 0.1))
    assert log.planned == dataclasses.replace(second, number=3)
    log.append(log.planned, Outcome("failure", 9.0))
    assert log.planned == comparison().planned(2, 4)
    log.close()
    line = json.loads(log.path.read_text().splitlines()[0])
    assert line["policy"] == "ab"[first.policy] and line["sha256"][0] == "12"[first.policy]
    assert (line["result"], line["seconds"], line["stops"], line["takeovers"]) == (
        "success", 3.5, 1, 2,
    )  # fmt: skip
    assert (line["start"], line["bag"], line["note"]) == ("5", "bags/1", "why")


def test_a_line_that_a_crash_cut_is_told_and_set_aside(log: TrialLog) -> None:
    log.append(log.planned, Outcome("success", 3.5))
    planned = log.planned
    whole = log.path.read_bytes()
    with log.path.open("ab") as file:
        file.write(b'{"number": 2, "blo')
    assert len(read_trials(log.path.parent, log.comparison)) == 1, (
        "one who only reads changes none"
    )
    log = again(log)
    assert "the last line was cut by a crash and is now in trials.cut" in log.remark
    assert log.planned == planned
    assert log.path.read_bytes() == whole
    assert (log.path.parent / CUT).read_bytes() == b'{"number": 2, "blo\n'
    log.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line.replace('"block": 0', '"block": 1'), "block: got 1, expected 0"),
        (lambda line: line.replace('"success"', '"great"'), "result: got 'great'"),
        (lambda line: line.replace('"stops"', '"stop"'), "'stop' is unknown"),
        (lambda line: line.replace('"seconds": 3.5', '"seconds": "x"'), "seconds: got 'x'"),
        (lambda line: "[" * 100_000, "expected a JSON object"),
    ],
)
def test_a_line_that_is_none_of_the_plan_is_refused_by_its_number(
    log: TrialLog, change: Callable[[str], str], message: str
) -> None:
    log.append(log.planned, Outcome("success", 3.5))
    log.path.write_text(change(log.path.read_text().rstrip()) + "\n")
    with pytest.raises(ValueError, match=rf"{TRIALS}, line 1: .*{message}"):
        again(log)


def test_two_processes_cannot_write_one_log(log: TrialLog) -> None:
    with pytest.raises(OSError, match="another judge_policy writes its trials here"):
        TrialLog(log.path.parent, log.comparison)


def test_a_full_disk_leaves_the_log_as_it_was(log: TrialLog) -> None:
    log.append(log.planned, Outcome("success", 3.5))
    before, planned = log.path.read_bytes(), log.planned
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written .*; trial 2 does not count"):
            log.append(planned, Outcome("success", 3.5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert log.path.read_bytes() == before and log.planned == planned
    log.append(planned, Outcome("failure", 1.0))
    log = again(log)
    assert [trial.result for trial in log.trials] == ["success", "failure"] and not log.remark
    log.close()


# Sequential test


def test_the_e_value_is_the_mean_gain_of_bets_on_either_policy() -> None:
    assert log_e_value(0, 0) == pytest.approx(0.0)
    assert log_e_value(1, 0) == pytest.approx(0.0), "the first winner tells nothing"
    # Twice the same winner: 4 times E[p^2] or E[(1-p)^2] of a beta distribution (8, 2), in half.
    assert math.exp(log_e_value(2, 0)) == pytest.approx(2 * (72 + 6) / 110)
    assert log_e_value(3, 11) == pytest.approx(log_e_value(11, 3))
    # A fair game: the mean over both next winners is the e-value of now.
    for won, lost in ((0, 0), (5, 1), (2, 9)):
        after = [log_e_value(won + 1, lost), log_e_value(won, lost + 1)]
        assert np.mean(np.exp(after)) == pytest.approx(math.exp(log_e_value(won, lost)))


def test_false_alarms_stay_below_their_bound_at_any_time() -> None:
    alarms = [bench.false_alarms(decided) for decided in (20, 200)]
    assert alarms == sorted(alarms) and 0.01 < alarms[-1] <= bench.ALPHA
    # Starts of any difficulty, on which both policies are equally good.
    generator = np.random.default_rng(0)
    alarm = 0
    for _ in range(300):
        easy = generator.uniform(0.1, 0.9, size=(60, 1))
        both = generator.uniform(size=(60, 2)) < easy
        (test,) = compare_pairs([{0: bool(a), 1: bool(b)} for a, b in both], 2, 0.05)
        alarm += test.is_clear
    assert alarm <= 0.05 * 300


def test_a_clear_difference_ends_long_before_a_test_of_fixed_size() -> None:
    rows = bench.course(0.5, 0.85, 80)
    most, (_, mean) = next((n, row) for n, row in enumerate(rows, 1) if row[0] >= 0.95)
    fixed = bench.needed(lambda blocks: bench.mcnemar_power(0.5, 0.85, blocks), 0.95)
    assert mean < 0.65 * fixed < fixed < most


def test_the_fixed_tests_beside_it_are_the_published_ones() -> None:
    # Exact McNemar at 5 %, two-sided: all of 6, 8 of 9, 15 of 20 (a sign test's table).
    assert [bench.mcnemar_tail(n) for n in (5, 6, 9, 20)] == [6, 6, 8, 15]
    # 0.6 against 0.9 with a power of 80 % takes 29 to 32 trials by its formulas.
    blocks = bench.needed(lambda n: bench.proportions_power(0.6, 0.9, n), 0.8)
    assert 29 <= blocks <= 32


def test_the_better_policy_is_named_and_more_pairs_need_more_evidence() -> None:
    blocks = [{0: False, 1: True, 2: True}] * 8
    (two,) = compare_pairs(blocks, 2, 0.05)
    assert two.better == 1 and (two.won, two.lost) == (0, 8) and len(two.log_e) == 8
    assert two.needed == pytest.approx(math.log(20))
    first, _, third = compare_pairs(blocks, 3, 0.05)
    assert first.needed == pytest.approx(math.log(60)) and not first.is_clear
    assert (third.first, third.second, third.won, third.lost) == (1, 2, 0, 0)
    more = compare_pairs(blocks * 2, 3, 0.05)
    assert [test.better for test in more] == [1, 2, None]


def test_a_difference_stays_clear_and_half_blocks_do_not_count() -> None:
    won, lost = {0: True, 1: False}, {0: False, 1: True}
    (test,) = compare_pairs([*[won] * 8, *[lost] * 4, {0: True}], 2, 0.05)
    assert test.better == 0 and len(test.log_e) == 12 and test.log_e[-1] < test.needed


# Loop


class Dice:
    """Runs trials whose results are known in advance, by policy."""

    def __init__(self, *results: Callable[[Planned], Result]) -> None:
        self.results, self.ran = results, list[Planned]()

    async def run(self, planned: Planned) -> Outcome:
        self.ran.append(planned)
        return Outcome(self.results[planned.policy](planned), 1.0, note="")


def test_trials_end_when_the_difference_is_clear(log: TrialLog) -> None:
    told: list[str] = []
    dice = Dice(lambda _: "success", lambda _: "failure")
    asyncio.run(run_trials(log, 40, dice, told.append))
    assert len(dice.ran) == 16 and told[-1] == "The difference is clear after block 8"
    assert not any(name in " ".join(told).split() for name in "ab"), "blind"
    asyncio.run(run_trials(log, 40, dice, told.append))
    assert len(dice.ran) == 16, "nothing is left to do"


def test_void_trials_are_repeated_and_more_trials_may_follow(log: TrialLog) -> None:
    dice = Dice(
        lambda planned: "void" if planned.number in (1, 2, 4) else "success",
        lambda planned: "void" if planned.number in (1, 2, 4) else "success",
    )
    told: list[str] = []
    asyncio.run(run_trials(log, 2, dice, told.append))
    assert [trial.result for trial in log.trials].count("void") == 3
    assert len(log.counted) == 4 and told[-1] == "Block 2 was the last"
    assert len({(each.block, each.policy, each.start) for each in dice.ran[:3]}) == 1
    assert why_finished(log.comparison, log.trials, 3) == ""
    asyncio.run(run_trials(log, 3, dice, told.append))
    assert len(log.counted) == 6


# Page


def outcomes(log: TrialLog, results: Sequence[tuple[Result, Result]], **more: object) -> None:
    """Append whole blocks with the results of both policies."""
    for pair in results:
        for _ in range(2):
            planned = log.planned
            log.append(planned, Outcome(pair[planned.policy], 4.0 + planned.policy, **more))  # type: ignore[arg-type]


def test_the_report_names_the_better_policy_with_its_figures(log: TrialLog) -> None:
    results: list[tuple[Result, Result]] = [("success", "failure")] * 8
    outcomes(log, [*results, ("success", "success")], stops=1)
    report = make_report(log.comparison, log.trials, 9)
    first, second = report.rows
    assert (first.successes, first.trials, first.seconds) == (9, 9, 4.0)
    assert (second.successes, second.seconds, second.stops) == (1, 5.0, 9)
    assert second.interval == pytest.approx((0.0199, 0.435), abs=1e-3)
    text = format_report(report)
    assert "a is better than b: a alone succeeded in 8 blocks, b alone in 0" in text
    assert "9/9" in text and "1/9" in text and text.endswith("block 9")
    html = render_page(report, "night", {})
    assert "9 of 9" in html and "1 of 9" in html and "a is better than b" in html
    assert html.count('<article class="card trial') == 18
    assert "//" not in html, "no address of a network"


def test_the_page_escapes_what_comes_from_outside(tmp_path: Path) -> None:
    named = comparison(NamedFile("<b>bold", "1" * 64), NamedFile("b", "2" * 64))
    claim_folder(tmp_path, named)
    log = TrialLog(tmp_path, named)
    log.append(log.planned, Outcome("void", 1.0, note="<script>alert(1)</script>"))
    html = render_page(make_report(named, log.trials, 9), "<i>", {})
    log.close()
    for text in ("<b>", "<script>", "<i>"):
        assert text not in html
    assert "no clear difference" in html


def test_the_page_has_a_video_of_each_bag_and_says_where_one_is_missing(log: TrialLog) -> None:
    out = log.path.parent
    log.append(log.planned, Outcome("success", 1.0, bag=str(BAG)))
    log.append(log.planned, Outcome("success", 1.0, bag=str(out / "gone")))
    (line,) = write_page(make_report(log.comparison, log.trials, 1), out)
    assert line.startswith("trial 2: no video: ") and "no such bag" in line
    assert [file.name for file in (out / "videos").iterdir()] == ["trial_0001.mp4"]
    html = (out / PAGE).read_text()
    assert 'src="videos/trial_0001.mp4"' in html and "No video: " in html


def test_a_video_lasts_as_long_as_its_bag(tmp_path: Path) -> None:
    path = tmp_path / "trial.mp4"
    assert make_film(BAG, path) == ""
    metadata = yaml.safe_load((BAG / "metadata.yaml").read_text())
    duration = metadata["rosbag2_bagfile_information"]["duration"]["nanoseconds"] / 1e9
    frames = cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT)
    assert frames / 30 == pytest.approx(duration, abs=0.2)
    assert [file.name for file in tmp_path.iterdir()] == ["trial.mp4"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_plays_the_videos_and_finds_nothing_wrong(log: TrialLog, tmp_path: Path) -> None:
    log.append(log.planned, Outcome("success", 1.0, bag=str(BAG)))
    log.append(log.planned, Outcome("failure", 1.0, bag=str(BAG)))
    write_page(make_report(log.comparison, log.trials, 1), log.path.parent)
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(log.path.parent / PAGE)
        play = "[...document.querySelectorAll('video')].map(v => v.play())"
        assert browser.evaluate(f"Promise.all({play}).then(all => all.length)") == 2
        assert browser.problems == []
        assert not [url for url in browser.requests if not url.startswith(("file:", "data:"))]
    finally:
        browser.close()


# Starts


def picture(value: int) -> Picture:
    return np.full((24, 32, 3), value, np.uint8)


def test_starts_are_pictures_in_the_order_of_their_names(tmp_path: Path) -> None:
    assert find_starts(tmp_path / "none") == []
    first = add_start(tmp_path, picture(10))
    (tmp_path / "notes.txt").write_text("no picture")
    second = add_start(tmp_path, picture(20))
    assert find_starts(tmp_path) == [first, second]
    assert [start.name for start in named_starts(tmp_path)] == ["start_001", "start_002"]
    assert (read_start(second) == 20).all() and read_start(second).shape == (24, 32, 3)
    before = named_starts(tmp_path)
    cv2.imwrite(str(first), picture(11))
    assert named_starts(tmp_path)[0].sha256 != before[0].sha256, "another start"
    (tmp_path / "start_001.jpg").write_bytes(first.read_bytes())
    with pytest.raises(ValueError, match="two pictures named start_001; rename one"):
        find_starts(tmp_path)


def test_a_start_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "start.png"
    path.write_text("no picture")
    with pytest.raises(ValueError, match=r"start\.png: "):
        read_start(path)
    with pytest.raises(ValueError, match=r"start\.png: "):
        named_starts(tmp_path)


def test_the_overlay_is_half_of_each_in_the_size_of_the_camera() -> None:
    wanted = np.full((48, 64, 3), 200, np.uint8)
    shown = overlay(picture(100), wanted)
    assert shown.shape == (24, 32, 3) and (shown == 150).all()
