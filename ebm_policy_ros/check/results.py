"""Results of checks, and their table: one line for each, and the cure below what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ebm_policy_ros.util.quoting import cut

# Widest column of the table, characters: names and texts come from the network.
_WIDEST = 48
# Longest cure, characters.
_LONGEST = 500


class Level(Enum):
    """Outcome of a check."""

    OK = "ok"
    NOTE = "note"
    """Allowed, but worth knowing."""
    PROBLEM = "PROBLEM"


@dataclass(frozen=True)
class CheckResult:
    """Result of one check."""

    subject: str
    """Stream, command or joint that was checked."""
    what: str
    measured: str
    expected: str
    level: Level = Level.OK
    cure: str = ""
    """Text on what to do, in one line; empty if all is well."""


def judged(
    subject: str, what: str, measured: str, expected: str, is_good: bool, cure: str
) -> CheckResult:
    """Result that is a problem with its cure, unless `is_good`."""
    if is_good:
        return CheckResult(subject, what, measured, expected)
    return CheckResult(subject, what, measured, expected, Level.PROBLEM, cure)


def note(subject: str, what: str, measured: str, expected: str, cure: str) -> CheckResult:
    """Result that is no problem, but worth knowing."""
    return CheckResult(subject, what, measured, expected, Level.NOTE, cure)


def problems(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Results that are problems."""
    return [result for result in results if result.level is Level.PROBLEM]


def table(results: Sequence[CheckResult]) -> str:
    """Table for a terminal: subject, check, measured, expected and outcome."""
    rows = [
        [cut(text, _WIDEST) for text in (r.subject, r.what, r.measured, r.expected)]
        for r in results
    ]
    head = ["", "check", "measured", "expected"]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str], outcome: str) -> str:
        padded = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        return f"{'  '.join(padded)}  {outcome}".rstrip()

    lines = [line(head, "")]
    for row, result in zip(rows, results, strict=True):
        lines.append(line(row, result.level.value))
        if result.cure:
            kind = "cure" if result.level is Level.PROBLEM else "note"
            lines.append(f"    {kind}: {cut(result.cure, _LONGEST)}")
    return "\n".join(lines)


def verdict(results: Sequence[CheckResult], interface: str) -> str:
    """Last line: whether the robot is as its interface says."""
    count = len(problems(results))
    if not count:
        return f"{interface}: {len(results)} checks, all is well"
    return f"{interface}: {len(results)} checks, {count} problem{'s' if count > 1 else ''}"
