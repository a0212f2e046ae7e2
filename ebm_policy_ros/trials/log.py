"""Log of the trials: a file of lines that only grows."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from ebm_policy_ros.bags.episode_writer import sync_folder
from ebm_policy_ros.trials.plan import Comparison, Planned
from ebm_policy_ros.util.quoting import quote

TRIALS = "trials.jsonl"
CUT = "trials.cut"
_LARGEST = 64 * 2**20
Result = Literal["success", "failure", "void"]
"""Result of a trial; a void one does not count and is repeated."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of a trial."""

    result: Result
    seconds: float
    """Time from the first command on, s; in a simulation that of the simulation."""
    stops: int = 0
    """Stops of the policy."""
    takeovers: int = 0
    """Times that a person took over the commands."""
    bag: str = ""
    """Bag of the trial; empty if there is none."""
    note: str = ""
    """Reasons of the stops, or the reason why the trial is void."""


@dataclass(frozen=True)
class Trial:
    """A trial that was run: a line of the log."""

    number: int
    block: int
    start: str
    policy: str
    """Name of the policy."""
    sha256: str
    """Hash of the policy's file."""
    result: str
    seconds: float
    stops: int
    takeovers: int
    bag: str
    note: str
    ended: str
    """Time of the end, ISO 8601."""

    @property
    def counts(self) -> bool:
        """False for a void trial."""
        return self.result != "void"


_KINDS = {
    name: (float, int) if kind is float else kind for name, kind in get_type_hints(Trial).items()
}


class TrialLog:
    """Trials of a comparison, held by one process at a time."""

    def __init__(self, out: Path, comparison: Comparison) -> None:
        """Open the log and check that its trials are those of the comparison.

        Raises:
            ValueError: If a trial is another than the comparison says.
            OSError: If the file cannot be used, or another process does.
        """
        self.path = out / TRIALS
        self.comparison = comparison
        self.remark = ""
        """Line that was found cut and set aside, as text for users; empty if there was none."""
        is_new = not self.path.exists()
        # Without a buffer, from which a line that found no room would come later.
        self._file = self.path.open("ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise OSError(f"{out}: another judge_policy writes its trials here") from None
        if is_new:
            sync_folder(out)
        self._set_cut_line_aside()
        self.trials = read_trials(out, comparison)

    @property
    def counted(self) -> list[Trial]:
        """Trials that are not void."""
        return [trial for trial in self.trials if trial.counts]

    @property
    def planned(self) -> Planned:
        """Trial that follows."""
        return self.comparison.planned(len(self.counted), len(self.trials) + 1)

    def append(self, planned: Planned, outcome: Outcome) -> Trial:
        """Write a trial; it is on the disk when this returns.

        Raises:
            OSError: If the disk is full; the log is then as before.
        """
        policy = self.comparison.policies[planned.policy]
        ended = datetime.now(timezone.utc).isoformat(timespec="seconds")
        trial = Trial(
            number=planned.number,
            block=planned.block,
            start=planned.start,
            policy=policy.name,
            sha256=policy.sha256,
            ended=ended,
            **asdict(outcome),
        )
        before = os.fstat(self._file.fileno()).st_size
        line = json.dumps(asdict(trial)).encode() + b"\n"
        try:
            if self._file.write(line) < len(line):
                raise OSError("no space left on the disk")
            os.fsync(self._file.fileno())
        except OSError as error:
            os.truncate(self.path, before)
            raise OSError(
                f"{self.path}: cannot be written ({error}); trial {trial.number} does not count"
            ) from None
        self.trials.append(trial)
        return trial

    def close(self) -> None:
        """Let another process use the log."""
        self._file.close()

    def _set_cut_line_aside(self) -> None:
        """Move a last line without an end, which a crash left, into another file."""
        content = self.path.read_bytes()
        whole, end, rest = content.rpartition(b"\n")
        if not rest:
            return
        aside = self.path.with_name(CUT)
        with aside.open("ab") as file:
            file.write(rest + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.truncate(self.path, len(whole) + len(end))
        self.remark = (
            f"{self.path}: the last line was cut by a crash and is now in {aside.name}; that "
            "trial is repeated"
        )


def read_trials(out: Path, comparison: Comparison) -> list[Trial]:
    """Read the whole lines of a log; none if there is no log yet.

    Raises:
        ValueError: If a line is none of this comparison.
    """
    path = out / TRIALS
    if not path.exists():
        return []
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path}: larger than {_LARGEST >> 20} MiB, which no log of trials is")
    trials: list[Trial] = []
    whole = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")[0]
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            trial = _parse(line)
            _check(trial, trials, comparison)
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: {error}; repair the line or choose another folder"
            ) from None
        trials.append(trial)
    return trials


def _parse(line: str) -> Trial:
    try:
        content: Any = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"got {quote(line)}, expected a JSON object")
    names = {field.name for field in fields(Trial)}
    if names != content.keys():
        odd = sorted(names ^ content.keys())[0]
        raise ValueError(f"{quote(odd)} is {'missing' if odd in names else 'unknown'}")
    for name, kind in _KINDS.items():
        if not isinstance(content[name], kind) or isinstance(content[name], bool):
            raise ValueError(f"{name}: got {quote(content[name])}")
    if content["result"] not in get_args(Result):
        raise ValueError(f"result: got {quote(content['result'])}")
    return Trial(**content)


def _check(trial: Trial, before: Sequence[Trial], comparison: Comparison) -> None:
    """Refuse a trial that the plan does not have at its place."""
    counted = sum(each.counts for each in before)
    planned = comparison.planned(counted, len(before) + 1)
    policy = comparison.policies[planned.policy]
    for name, found, expected in (
        ("number", trial.number, planned.number),
        ("block", trial.block, planned.block),
        ("policy", trial.policy, policy.name),
        ("sha256", trial.sha256, policy.sha256),
        ("start", trial.start, planned.start),
    ):
        if found != expected:
            raise ValueError(f"{name}: got {quote(found)}, expected {quote(expected)}")
