"""Types of issues of an episode, with their thresholds."""

from __future__ import annotations

from dataclasses import dataclass

from ebm_policy_ros.training.inspection.comparison import (
    COMMON_NOTE,
    DUPLICATE,
    DUPLICATE_LENGTH,
    OUTLYING_EPISODES,
    OUTLYING_MARGIN,
    OUTLYING_STEPS,
)
from ebm_policy_ros.training.inspection.metrics import AT_BOUND, IDLE_SPEED

FEW_STEPS = 10
"""Smallest number of usable steps of an episode."""
LOST_STEPS = 0.8
"""Smallest share of usable steps between the first and the last one."""
FROZEN = 1.0
"""Longest time for which a stream may repeat itself during motion, s."""
SLOW = 0.8
"""Lowest rate of a topic, as a share of its median over the episodes."""
DURATION = 2.0
"""Ratio of an episode's duration to the median that is always allowed."""
SPREADS = 2.5
"""Allowed deviation of a duration's logarithm from the median, in spreads."""
JERK = 3.0
"""Largest jerk, as a multiple of the median over the episodes."""
LEAST_JERK = 0.01
"""Jerk that is always allowed."""
IDLE = 0.3
"""Largest share of steps without motion."""
LONGEST_IDLE = 2.0
"""Longest time without motion, s."""
SATURATED = 0.5
"""Largest share of steps at a bound."""


def percent(share: float, digits: int = 0) -> str:
    """Format a share of 0 to 1 as a percentage."""
    return f"{100 * share:.{digits}f}\u00a0%"


@dataclass(frozen=True)
class IssueType:
    """A type of issue of an episode."""

    title: str
    meaning: str
    """Condition under which an episode has the issue."""
    weight: int
    """Contribution to the severity of an episode."""


KINDS: dict[str, IssueType] = {
    "unusable": IssueType("unusable", "The bag cannot be read, or holds no usable step.", 40),
    "interface": IssueType(
        "other interface",
        "It was recorded with an interface that differs in what the numbers mean.",
        10,
    ),
    "outside": IssueType(
        "out of bounds", "An action is outside the interface's bounds; training refuses it.", 10
    ),
    "stop": IssueType(
        "stop",
        "The policy's node stopped while it ran, for the reason that it told. Nothing is learned "
        "from what the policy commanded.",
        6,
    ),
    "duplicate": IssueType(
        "duplicate",
        f"Action and state at 50 moments spread over the episode differ by at most "
        f"{percent(DUPLICATE)} of their range over all episodes (root mean square) from those of "
        f"another episode whose length is within {percent(DUPLICATE_LENGTH)}.",
        5,
    ),
    "jump": IssueType(
        "jump",
        "The tool or a joint moves, from one step to the next, more than twice as far as the "
        "limits of its speed allow, and five times as far as at its usual speed. Training cuts "
        "the episode there.",
        5,
    ),
    "frozen": IssueType(
        "frozen stream",
        f"A stream repeats exactly the same picture or numbers for {FROZEN:g} s or more while "
        "motion is commanded.",
        4,
    ),
    "few": IssueType(
        "few usable steps",
        f"Fewer than {FEW_STEPS} steps, or less than {percent(LOST_STEPS)} of those between the "
        "first and the last.",
        4,
    ),
    "notes": IssueType(
        "note",
        "Something was lost or is odd in the bag. What, apart from its numbers and the names of "
        f"files, {percent(COMMON_NOTE)} of the episodes, and at least ten, have too is no reason.",
        3,
    ),
    "gaps": IssueType(
        "gap", "Steps lack in between, since a stream was too old or nobody commanded.", 3
    ),
    "slow": IssueType(
        "slow stream",
        f"A topic comes at less than {percent(SLOW)} of its median rate over all episodes, or "
        "than the interface's min_rate.",
        3,
    ),
    "outlier": IssueType(
        "far out",
        f"In {percent(OUTLYING_STEPS)} of its steps or more, an action is further out than in all "
        f"but a few episodes ({percent(OUTLYING_EPISODES)}, at least two), by more than "
        f"{percent(OUTLYING_MARGIN)} of the range of the others.",
        3,
    ),
    "duration": IssueType(
        "odd length",
        f"Longer than {DURATION:g} times the median duration or shorter than 1/{DURATION:g} of "
        f"it, and by more than {SPREADS:g} times the spread of the durations (1.48 times the "
        "median absolute deviation of their logarithms).",
        2,
    ),
    "jerky": IssueType(
        "jerky",
        "The second difference of the commanded velocities (root mean square, as a share of their "
        f"range) is over {JERK:g} times the median of the episodes, and over "
        f"{percent(LEAST_JERK)}.",
        2,
    ),
    "idle": IssueType(
        "idle",
        f"Nothing moves in over {percent(IDLE)} of the steps, or for {LONGEST_IDLE:g} s on end: "
        f"every commanded velocity is within {percent(IDLE_SPEED)} of its range of zero, and the "
        "gripper doesn't move.",
        2,
    ),
    "saturated": IssueType(
        "saturated",
        f"A dimension of the arm is within {percent(AT_BOUND, 1)} of its range of a bound in over "
        f"{percent(SATURATED)} of the steps.",
        1,
    ),
}
