"""Results of a comparison, as plain values for the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ebm_policy_ros.trials.log import Trial
from ebm_policy_ros.trials.loop import tests_of, why_finished
from ebm_policy_ros.trials.plan import Comparison, NamedFile
from ebm_policy_ros.trials.sequential import PairTest, wilson_interval


@dataclass(frozen=True)
class PolicyRow:
    """Figures of one policy; void trials do not count."""

    policy: NamedFile
    trials: int
    successes: int
    interval: tuple[float, float]
    """95 % Wilson interval of the share of successes."""
    seconds: float | None
    """Median time of its successes, s; None without one."""
    stops: int
    takeovers: int
    voids: int


@dataclass(frozen=True)
class PairRow:
    """Test of two policies, with names."""

    test: PairTest
    first: str
    second: str
    words: str
    """Result in a sentence."""


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    comparison: Comparison
    rows: Sequence[PolicyRow]
    pairs: Sequence[PairRow]
    blocks: Sequence[Sequence[Trial]]
    """Trials of each block, in the order in which they were run."""
    finished: str
    """Reason why no further trial is needed."""

    @property
    def count(self) -> int:
        """Number of the trials that count."""
        return sum(row.trials for row in self.rows)

    @property
    def is_clear(self) -> bool:
        """True if every difference is clear."""
        return all(pair.test.is_clear for pair in self.pairs)


def make_report(comparison: Comparison, trials: Sequence[Trial], most: int) -> Report:
    """Summarise the trials of a comparison.

    Args:
        comparison: The comparison.
        trials: Lines of its log.
        most: Most trials of each policy.
    """
    blocks: dict[int, list[Trial]] = {}
    for trial in trials:
        blocks.setdefault(trial.block, []).append(trial)
    return Report(
        comparison,
        [_row(policy, trials) for policy in comparison.policies],
        [_pair(comparison, test) for test in tests_of(comparison, trials)],
        list(blocks.values()),
        why_finished(comparison, trials, most),
    )


def _row(policy: NamedFile, trials: Sequence[Trial]) -> PolicyRow:
    own = [trial for trial in trials if trial.sha256 == policy.sha256]
    counted = [trial for trial in own if trial.counts]
    times = [trial.seconds for trial in counted if trial.result == "success"]
    return PolicyRow(
        policy=policy,
        trials=len(counted),
        successes=len(times),
        interval=wilson_interval(len(times), len(counted)),
        seconds=median(times) if times else None,
        stops=sum(trial.stops for trial in counted),
        takeovers=sum(trial.takeovers for trial in counted),
        voids=len(own) - len(counted),
    )


def _pair(comparison: Comparison, test: PairTest) -> PairRow:
    first, second = (comparison.policies[n].name for n in (test.first, test.second))
    alone = (
        f"{first} alone succeeded in {test.won} blocks, {second} alone in {test.lost}; the "
        f"e-value is {e_value_text(test.log_e[-1] if test.log_e else 0.0)}, "
        f"{e_value_text(test.needed)} is clear"
    )
    if test.better is None:
        return PairRow(test, first, second, f"no clear difference: {alone}")
    better = comparison.policies[test.better].name
    other = second if test.better == test.first else first
    return PairRow(test, first, second, f"{better} is better than {other}: {alone}")


def e_value_text(log_e: float) -> str:
    """E-value from its natural logarithm, as text."""
    return f"{math.exp(log_e):.3g}" if log_e < 20 else f"1e{log_e / math.log(10):.0f}"


_HEAD = ("", "success", "95 % interval", "median time", "stops", "takeovers", "void")


def format_report(report: Report) -> str:
    """Figures for a terminal."""
    rows = [_HEAD, *map(_cells, report.rows)]
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [
        "  ".join([f"{name:<{first}}", *(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))])
        for name, *cells in rows
    ]
    return "\n".join([*lines, *(pair.words for pair in report.pairs), report.finished])


def _cells(row: PolicyRow) -> tuple[str, ...]:
    low, high = row.interval
    return (
        row.policy.name,
        f"{row.successes}/{row.trials}",
        f"{low:.0%} to {high:.0%}",
        "-" if row.seconds is None else f"{row.seconds:.1f} s",
        str(row.stops),
        str(row.takeovers),
        str(row.voids),
    )


@dataclass(frozen=True)
class Chart:
    """E-value over the blocks as a drawing of 1000 by 200, on a scale of decades."""

    path: str
    """Path of an SVG."""
    needed: float
    """Height of the line at which the difference is clear."""
    one: float
    """Height of an e-value of 1: no evidence."""
    low: str
    high: str
    """Lowest and highest e-value of the drawing, as text."""


def draw_chart(test: PairTest) -> Chart:
    """Draw the e-value of a test over the blocks, from 1 before the first one on."""
    values = [0.0, *test.log_e]
    low, high = min(values), max(*values, test.needed) * 1.1
    span = high - low

    def height(value: float) -> float:
        return 200.0 * (1.0 - (value - low) / span)

    step = 1000.0 / max(1, len(values) - 1)
    points = [f"{index * step:.1f} {height(value):.1f}" for index, value in enumerate(values)]
    return Chart(
        f"M{' L'.join(points)}",
        height(test.needed),
        height(0.0),
        e_value_text(low),
        e_value_text(high),
    )


def films(report: Report) -> Mapping[int, str]:
    """Name of the video of each trial that has a bag, by its number."""
    trials = (trial for block in report.blocks for trial in block)
    return {trial.number: f"trial_{trial.number:04d}.mp4" for trial in trials if trial.bag}
