"""Error rates and length of judge_policy's sequential test, beside fixed-size tests.

Exact, by adding up the probabilities of all courses of a comparison; nothing is drawn.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.trials.sequential import log_e_value

ALPHA = 0.05
_NEEDED = math.log(1 / ALPHA)
_MOST = 400
Array = npt.NDArray[np.float64]


@cache
def stops(most: int) -> npt.NDArray[np.bool_]:
    """Counts [won, lost] at which the test has a clear difference, shape (most + 1, most + 1)."""
    return np.array(
        [
            [log_e_value(won, lost) >= _NEEDED for lost in range(most + 1)]
            for won in range(most + 1)
        ]
    )


def false_alarms(decided: int) -> float:
    """Probability of a false alarm at any time.

    Args:
        decided: Number of blocks in which one policy alone succeeds, until the end.
    """
    clear = stops(decided)
    reached = np.zeros((decided + 1, decided + 1))
    reached[0, 0] = 1.0
    alarm = 0.0
    for _ in range(decided):
        reached = _moved(reached, 0.5, 0.5)
        alarm += reached[clear].sum()
        reached[clear] = 0.0
    return float(alarm)


def _moved(reached: Array, won: float, lost: float) -> Array:
    """Probabilities of the counts after a further block."""
    after = reached * (1.0 - won - lost)
    after[1:] += reached[:-1] * won
    after[:, 1:] += reached[:, :-1] * lost
    return after


def course(first: float, second: float, most: int = _MOST) -> list[tuple[float, float]]:
    """Probability of a clear difference, and mean number of blocks, by the most blocks allowed.

    Args:
        first: Rate of success of one policy.
        second: Rate of success of the other.
        most: Most blocks.
    """
    clear = stops(most)
    reached = np.zeros((most + 1, most + 1))
    reached[0, 0] = 1.0
    power, blocks, rows = 0.0, 0.0, []
    for _ in range(most):
        blocks += reached.sum()
        reached = _moved(reached, second * (1 - first), first * (1 - second))
        power += reached[clear].sum()
        reached[clear] = 0.0
        rows.append((float(power), float(blocks)))
    return rows


def binomial(count: int, share: float) -> Array:
    """Probabilities of 0 to `count` successes."""
    return np.array(
        [math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)]
    )


@cache
def mcnemar_tail(decided: int) -> int:
    """Fewest blocks that the better policy must win for the exact two-sided test; see McNemar.

    It is `decided + 1` if all of them are not enough.
    """
    tail = 0.0
    for won in range(decided, -1, -1):
        tail += math.comb(decided, won) * 0.5**decided
        if 2 * tail > ALPHA:
            return won + 1
    return 0


def mcnemar_power(first: float, second: float, blocks: int) -> float:
    """Power of McNemar's exact test after so many blocks."""
    won, lost = second * (1 - first), first * (1 - second)
    power = 0.0
    for decided, probability in enumerate(binomial(blocks, won + lost)):
        tail = mcnemar_tail(decided)
        if 0 < tail <= decided:
            chances = binomial(decided, won / (won + lost))
            power += probability * (chances[tail:].sum() + chances[: decided - tail + 1].sum())
    return float(power)


def proportions_power(first: float, second: float, blocks: int) -> float:
    """Power of the two-sample z-test of proportions, which takes the trials as independent."""
    counts = np.arange(blocks + 1)
    one, other = counts[:, None] / blocks, counts[None, :] / blocks
    pooled = (one + other) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs(one - other) / np.sqrt(2 * pooled * (1 - pooled) / blocks)
    chances = binomial(blocks, first)[:, None] * binomial(blocks, second)[None, :]
    return float(chances[np.nan_to_num(z) > 1.96].sum())


def needed(power: Callable[[int], float], wanted: float) -> int:
    """Fewest blocks with a power, from which on it stays."""
    found = _MOST
    for blocks in range(5, _MOST):
        if power(blocks) < wanted:
            found = _MOST
        elif found == _MOST:
            found = blocks
        if found < blocks - 5:
            return found
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=float, default=0.6, help="rate of success of one policy")
    parser.add_argument("--second", type=float, default=0.9, help="rate of the other")
    args = parser.parse_args()
    first, second = args.first, args.second
    for decided in (20, 100, 400):
        print(f"false alarms within {decided} decided blocks: {false_alarms(decided):.2%}")
    rows = course(first, second)
    print(f"{first:g} against {second:g}: clear within 40 blocks: {rows[39][0]:.1%}")
    for wanted in (0.8, 0.9, 0.95):
        most, (_, mean) = next(
            (blocks, row) for blocks, row in enumerate(rows, 1) if row[0] >= wanted
        )
        exact = needed(lambda blocks: mcnemar_power(first, second, blocks), wanted)
        z_test = needed(lambda blocks: proportions_power(first, second, blocks), wanted)
        print(
            f"power {wanted:.0%}: {mean:.1f} blocks on average, {most} at most; McNemar {exact} "
            f"({mean / exact:.0%}), z-test {z_test} ({mean / z_test:.0%})"
        )


if __name__ == "__main__":
    main()
