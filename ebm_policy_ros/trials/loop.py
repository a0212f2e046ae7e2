"""The loop over the trials of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ebm_policy_ros.trials.log import Outcome, Trial, TrialLog
from ebm_policy_ros.trials.plan import Comparison, Planned
from ebm_policy_ros.trials.sequential import PairTest, compare_pairs


class TrialRunner(Protocol):
    """Something that runs a trial: on an arm with an operator, or in a simulation."""

    async def run(self, planned: Planned) -> Outcome:
        """Run a trial to its end."""


def tests_of(comparison: Comparison, trials: Sequence[Trial]) -> tuple[PairTest, ...]:
    """Tests of all pairs of policies, by the trials so far."""
    numbers = {policy.sha256: number for number, policy in enumerate(comparison.policies)}
    blocks: dict[int, dict[int, bool]] = {}
    for trial in trials:
        if trial.counts:
            block = blocks.setdefault(trial.block, {})
            block[numbers[trial.sha256]] = trial.result == "success"
    return compare_pairs(
        [blocks[number] for number in sorted(blocks)], len(numbers), comparison.alpha
    )


def why_finished(comparison: Comparison, trials: Sequence[Trial], most: int) -> str:
    """Reason why no further trial is needed; empty if one is.

    Args:
        comparison: The comparison.
        trials: Trials so far.
        most: Most trials of each policy.
    """
    policies = len(comparison.policies)
    blocks, begun = divmod(sum(trial.counts for trial in trials), policies)
    if begun == 0 and all(test.is_clear for test in tests_of(comparison, trials)):
        return f"The difference is clear after block {blocks}"
    if blocks >= most:
        return f"Block {blocks} was the last"
    return ""


async def run_trials(
    log: TrialLog, most: int, runner: TrialRunner, tell: Callable[[str], None]
) -> None:
    """Run trials until the difference is clear or all are done.

    Args:
        log: Log to append to; a trial without a line in it is repeated.
        most: Most trials of each policy.
        runner: Runs each of them.
        tell: Called with lines for the operator, who does not learn which policy runs.
    """
    while not (reason := why_finished(log.comparison, log.trials, most)):
        planned = log.planned
        outcome = await runner.run(planned)
        log.append(planned, outcome)
        end = f": {outcome.note}" if outcome.note else ""
        tell(f"trial {planned.number}: {outcome.result} after {outcome.seconds:.1f} s{end}")
        if outcome.result == "void":
            tell("a void trial does not count; it is repeated")
    tell(reason)
