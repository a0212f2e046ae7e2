"""Sequential test of two success rates, and the interval of one.

The test may be looked at after every block, and may stop at any of them. Its e-value is the
capital of a bettor who bets on the winner of each block in which one policy succeeds and the other
fails. If both are equally good, either wins such a block with probability 1/2, whatever the start
is, and the capital grows by no strategy: it ever reaches 1/alpha with a probability of at most
alpha (Ville 1939). See Waudby-Smith & Ramdas, "Estimating means of bounded random variables by
betting" (2024), and Turner, Ly & Grünwald, "Generic E-variables for exact sequential k-sample
tests" (2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

# The bettor expects that the better policy wins 8 of 10 such blocks. The bet is a mixture over the
# share, a beta distribution, so that others are found too, later.
_WON, _LOST = 8.0, 2.0


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion (Wilson 1927, JASA 22)."""
    if trials == 0:
        return 0.0, 1.0
    z = 1.96  # of a standard normal distribution
    share = successes / trials
    scale = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)


def log_e_value(won: int, lost: int) -> float:
    """Natural logarithm of the evidence against equally good policies.

    Half of the capital is bet on each of them.

    Args:
        won: Blocks in which the first policy alone succeeded.
        lost: Blocks in which the second one alone did.
    """
    whole = _log_beta(_WON, _LOST) + math.log(2.0)
    first = _log_beta(_WON + won, _LOST + lost) - whole
    second = _log_beta(_WON + lost, _LOST + won) - whole
    high, low = max(first, second), min(first, second)
    return high + math.log1p(math.exp(low - high)) + (won + lost) * math.log(2.0)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@dataclass(frozen=True)
class PairTest:
    """Test of two policies on the blocks in which both have run."""

    first: int
    second: int
    """Numbers of the policies."""
    won: int
    """Blocks in which the first one alone succeeded."""
    lost: int
    """Blocks in which the second one alone did."""
    log_e: tuple[float, ...]
    """Natural logarithm of the e-value after each block."""
    needed: float
    """Natural logarithm of the e-value at which the difference is clear."""
    better: int | None
    """Number of the better policy; None if the difference is not clear."""

    @property
    def is_clear(self) -> bool:
        """True if the e-value has ever been large enough."""
        return self.better is not None


def compare_pairs(
    blocks: Sequence[Mapping[int, bool]], policies: int, alpha: float
) -> tuple[PairTest, ...]:
    """Test each policy against each other one.

    Args:
        blocks: Success by policy, for each block in its order.
        policies: Number of policies.
        alpha: Probability of any false alarm among all pairs; each has its share of it
            (Bonferroni).
    """
    pairs = list(combinations(range(policies), 2))
    needed = math.log(len(pairs) / alpha)
    return tuple(_test_pair(blocks, first, second, needed) for first, second in pairs)


def _test_pair(
    blocks: Sequence[Mapping[int, bool]], first: int, second: int, needed: float
) -> PairTest:
    won = lost = 0
    curve: list[float] = []
    better: int | None = None
    for block in blocks:
        if first not in block or second not in block:
            continue
        won += block[first] and not block[second]
        lost += block[second] and not block[first]
        curve.append(log_e_value(won, lost))
        if better is None and curve[-1] >= needed:
            better = first if won > lost else second
    return PairTest(first, second, won, lost, tuple(curve), needed, better)
