"""Content of the inspection page, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.training.data.dataset import FAILURE
from ebm_policy_ros.training.inspection.checks import Issue, find_issues, score
from ebm_policy_ros.training.inspection.columns import Column, action_columns, state_columns
from ebm_policy_ros.training.inspection.comparison import common_notes, constant_columns
from ebm_policy_ros.training.inspection.curves import (
    Curve,
    Range,
    draw_curves,
    gap_bands,
    stop_bands,
    usual_scales,
)
from ebm_policy_ros.training.inspection.distributions import (
    Coverage,
    Histogram,
    draw_coverage,
    draw_histogram,
)
from ebm_policy_ros.training.inspection.reading import Recording, Unusable
from ebm_policy_ros.training.inspection.summaries import (
    Dimension,
    StreamSummary,
    summarise_dimensions,
    summarise_streams,
)


@dataclass(frozen=True)
class Entry:
    """Content of the page about one bag."""

    key: str
    """Anchor of the entry in the page."""
    name: str
    recording: Recording | None
    """The episode; None if it cannot be used."""
    excluded: bool
    issues: Sequence[Issue]
    score: int
    curves: Mapping[str, Sequence[Curve]]
    """Curves of the action and of each stream, by name."""
    gaps: Sequence[Range]
    before_stops: Sequence[Range]
    """Times before the stops of an execution."""

    @property
    def stopped(self) -> bool:
        """True if it is an execution in which the policy's node stopped."""
        return any(issue.kind == "stop" for issue in self.issues)

    @property
    def is_used(self) -> bool:
        """True if training uses the episode."""
        recording = self.recording
        return (
            recording is not None
            and recording.teaches
            and not (self.excluded or recording.outcome == FAILURE)
        )


@dataclass(frozen=True)
class Summary:
    """Summary of the inspection."""

    level: str
    """Summary level: good, look or bad."""
    words: str


@dataclass(frozen=True)
class Report:
    """Content of the page about a set of demonstrations."""

    interface: Interface
    entries: Sequence[Entry]
    """Every bag, in the order of `found`."""
    first: Sequence[Entry]
    """Entries with issues, the most severe first."""
    summary: Summary
    total: float
    """Total length of the episodes that training uses, s."""
    steps: int
    idle: float
    """Share of those steps that are idle."""
    duration: float
    """Median duration, s."""
    durations: Histogram | None
    dimensions: Sequence[Dimension]
    constant: Sequence[tuple[Column, float]]
    coverage: Sequence[Coverage]
    streams: Sequence[StreamSummary]
    notes: Sequence[tuple[str, int]]
    """An example of each common note, and its number of episodes."""

    @property
    def used(self) -> Sequence[Entry]:
        """Entries that training uses."""
        return [entry for entry in self.entries if entry.is_used]

    @property
    def compared(self) -> Sequence[Entry]:
        """Demonstrations that training uses, which everything is compared to."""
        return [e for e in self.used if e.recording is not None and e.recording.execution is None]


def make_report(
    found: Sequence[Recording | Unusable],
    interface: Interface,
    excluded: frozenset[str],
) -> Report:
    """Collect the content of the page.

    Args:
        found: Every bag.
        interface: Interface that the bags were read with.
        excluded: Names of the episodes to leave out.
    """
    recordings = [one for one in found if isinstance(one, Recording)]
    # Of executions most is a policy's own, which nothing should be compared to.
    demonstrations = [r for r in recordings if r.execution is None]
    used = [r for r in demonstrations if r.name not in excluded and r.outcome != FAILURE]
    issues = find_issues(found, used, interface)
    entries = _entries(found, recordings, interface, excluded, issues)
    urgent = [e for e in entries if e.issues and (e.is_used or e.recording is None or e.stopped)]
    first = sorted((e for e in urgent if not e.excluded), key=lambda e: (-e.score, e.name))
    steps = np.array([r.metrics.steps for r in used])
    durations = np.array([r.metrics.duration for r in used])
    idle = np.array([r.metrics.idle for r in used])
    return Report(
        interface=interface,
        entries=entries,
        first=first,
        summary=_summary(entries, first),
        total=float(durations.sum()),
        steps=int(steps.sum()),
        idle=float((idle * steps).sum() / max(1, steps.sum())),
        duration=float(np.median(durations)) if used else 0.0,
        durations=draw_histogram(durations) if used else None,
        dimensions=summarise_dimensions(used, interface),
        constant=constant_columns(used, interface) if used else [],
        coverage=draw_coverage(used, interface),
        streams=summarise_streams(used, interface),
        notes=list(common_notes(used).values()),
    )


def _entries(
    found: Sequence[Recording | Unusable],
    recordings: Sequence[Recording],
    interface: Interface,
    excluded: frozenset[str],
    issues: Mapping[str, Sequence[Issue]],
) -> list[Entry]:
    actions, states = action_columns(interface), state_columns(interface)
    groups: dict[str, list[Column]] = {}
    for column in (*actions, *states):
        groups.setdefault(column.source, []).append(column)
    scales = usual_scales(recordings, states) if recordings else {}
    for column, low, high in zip(actions, *interface.action.bounds, strict=True):
        scales[column] = (low, high)
    entries = []
    for number, one in enumerate(found):
        recording = one if isinstance(one, Recording) else None
        entries.append(
            Entry(
                key=f"e{number}",
                name=one.name,
                recording=recording,
                excluded=one.name in excluded,
                issues=issues[one.name],
                score=score(issues[one.name]),
                curves={n: draw_curves(recording, c, scales) for n, c in groups.items()}
                if recording
                else {},
                gaps=gap_bands(recording) if recording else [],
                before_stops=stop_bands(recording) if recording else [],
            )
        )
    return entries


def _summary(entries: Sequence[Entry], first: Sequence[Entry]) -> Summary:
    used = [entry for entry in entries if entry.is_used]
    parts = [f"Training can use {len(used)} of {len(entries)} episodes."]
    unusable = [e for e in entries if e.recording is None and not e.excluded]
    refused = [e for e in used if any(c.kind == "outside" for c in e.issues)]
    executions = [e for e in entries if e.recording is not None and e.recording.execution]
    others = len(first) - len(unusable)
    if unusable:
        parts.append(f"Cannot be read: {len(unusable)}.")
    if refused:
        parts.append(f"It stops, though, at actions out of bounds: {len(refused)}.")
    if executions:
        stopped = sum(entry.stopped for entry in executions)
        parts.append(f"Executions of a policy: {len(executions)}, of which stopped: {stopped}.")
    if others:
        parts.append(f"To look at: {others}.")
    if not first and used:
        parts.append("Nothing stands out.")
    level = "bad" if unusable or refused or not used else "look" if first else "good"
    return Summary(level, " ".join(parts))
