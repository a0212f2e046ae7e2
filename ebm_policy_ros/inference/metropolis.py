"""Samples of exp(-E / temperature) by chains along the gradient with a Metropolis test."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, anneal, local_minima, normal, reflect, take
from ebm_policy_ros.inference.chains import Chains, joined, lowest
from ebm_policy_ros.inference.derivative_free import SEPARATION
from ebm_policy_ros.inference.minimizer import Search
from ebm_policy_ros.inference.refinement import descend, value_and_gradient
from ebm_policy_ros.inference.settings import at_least, at_most, positive
from ebm_policy_ros.inference.solution import Samples, Solution
from ebm_policy_ros.util.bounds import MOST_ROUNDS

# Number of lowest local minima from which the final descents begin.
_PLACES = 16
# Each trajectory draws its step size, within this share of the adapted one: trajectories of one
# length may be periodic (Neal 2011, section 3.2).
_JITTER = 0.2
# Largest size of a leapfrog step, in half-widths of the box.
_LONGEST = 1.0
# Smallest effective sample size in the burn-in, as a share of the chains.
_SHARE = 0.5


@dataclass(frozen=True)
class MetropolisChains(Chains):
    """Sampler of exp(-E / temperature) in the box: the samples are the ends of its chains.

    In each iteration a chain draws a momentum, follows leapfrog steps, and accepts their end by
    the change of the total energy (Neal 2011, MCMC using Hamiltonian dynamics). At a face of the
    box the position is reflected and that component of the momentum changes its sign. This keeps
    volume and reversibility, so no mass collects at the faces.

    Chains alone would not cross barriers between wells. The masses of the wells come from
    sequential Monte Carlo (Del Moral et al. 2006): the starts are drawn from a uniform pool by
    exp(-b E / temperature). During the burn-in, the first half of the iterations, b rises to 1 in
    steps, as fast as the effective sample size allows; each step resamples the chains and adapts
    the size of the leapfrog steps. The second half is plain sampling. A well that no candidate of
    the pool has seen has no mass.

    The starts and proposals of a search would distort these masses. They are candidates for the
    lowest action, as are all actions on the way, but no chain begins there.
    """

    step_size: float = 0.1
    """First size of a leapfrog step, in half-widths of the box; the burn-in adapts it."""
    target_acceptance: float = 0.8
    """Mean acceptance of the Metropolis test to which the step size is adapted."""
    temperature: float = 1.0
    """Temperature of the samples."""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "step_size", "target_acceptance", "temperature")
        at_most(self, 1, "target_acceptance")

    @property
    def steps(self) -> int:
        return self.iterations * self.leaps + 1

    @property
    @abstractmethod
    def leaps(self) -> int:
        """Number of leapfrog steps of an iteration."""

    def run(self, search: Search[Energy]) -> Solution:
        """Run the chains, then descend from the lowest local minima of all evaluated actions."""
        energy, low, high, until = search.energy, search.low, search.high, search.until
        pool, heights = self.drawn_pool(search)
        if until.passed():
            return search.solution(energy, pool, heights)
        best = lowest((pool, heights))

        def watch(visited: Tensor, energies: Tensor) -> None:
            nonlocal best
            best = lowest(best, (visited, energies))
            if until.passed():
                raise _DeadlinePassed

        known = min(search.given, pool.shape[1] - 1)
        scaled = heights[:, known:] / self.temperature
        index, power = anneal(scaled, self.samples, self.samples, search.generator)
        begun = take(pool[:, known:], index)
        try:
            samples = self._walk(energy, begun, low, high, search.generator, power, watch)
        except _DeadlinePassed:
            return search.solution(energy, *joined(best, (pool, heights)))
        ends = samples.actions, samples.energies
        actions, energies = joined(best, ends, (pool, heights))
        index = local_minima(actions, energies, _PLACES, SEPARATION, search.half_width)
        polished = descend(energy, take(actions, index), low, high, self.polish, until)
        solution = search.solution(energy, *joined(polished, ends))
        return dataclasses.replace(solution, samples=samples)

    def chain(
        self,
        energy: Energy,
        actions: Tensor,
        low: Tensor,
        high: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run chains from `actions`, without resampling; see `Chains.chain`."""
        return self._walk(energy, actions, low, high, generator).actions

    def _walk(
        self,
        energy: Energy,
        actions: Tensor,
        low: Tensor,
        high: Tensor,
        generator: torch.Generator | None,
        power: Tensor | None = None,
        watch: Callable[[Tensor, Tensor], None] = lambda visited, energies: None,
    ) -> Samples:
        """Run chains from `actions`.

        Args:
            energy: Differentiable function from candidates (B, N, D) to energies (B, N).
            actions: Starts of the chains, shape (B, N, D).
            low: Lower corner of the box, shape (D,).
            high: Upper corner of the box, shape (D,).
            generator: Source of randomness.
            power: Factor b on the energies with which the starts were drawn, shape (B, 1); by
                default b is 1 from the beginning and chains are not resampled.
            watch: Function that is called with all evaluated actions, (B, N, D), and their
                energies, (B, N).
        """
        half, count = (high - low) / 2, actions.shape[1]
        energies, slope = value_and_gradient(energy, actions)
        watch(actions, energies)
        accepted = energies.new_zeros(len(energies), 1)
        step = torch.full_like(accepted, self.step_size)
        resamples, power = power is not None, torch.ones_like(step) if power is None else power
        burn_in = self.iterations // 2
        for k in range(self.iterations):
            if resamples and k <= burn_in:
                # After the burn-in, b is 1 whatever the effective sample size.
                fewest = int(_SHARE * count) if k < burn_in else 0
                scaled = energies / self.temperature
                index, more = anneal(scaled, fewest, count, generator, 1 - power)
                actions, slope = take(actions, index), take(slope, index)
                energies, power = energies.gather(1, index), power + more
            weight = power / self.temperature
            size = (step * (1 + _JITTER * (2 * _rand(energies, generator) - 1)))[..., None]
            kick = size / 2 * weight[..., None] * half
            momentum = normal(actions, generator)
            total = weight * energies + _kinetic(momentum)
            here, heights, down = actions, energies, slope
            for _ in range(self.leaps):
                momentum = momentum - kick * down
                here, turned = reflect(here + size * half * momentum, low, high)
                momentum = torch.where(turned, -momentum, momentum)
                heights, down = value_and_gradient(energy, here)
                momentum = momentum - kick * down
                watch(here, heights)
            change = total - weight * heights - _kinetic(momentum)
            chance = torch.nan_to_num(change.clamp(max=0).exp())
            moved = _rand(energies, generator) < chance
            actions = torch.where(moved[..., None], here, actions)
            slope = torch.where(moved[..., None], down, slope)
            energies = torch.where(moved, heights, energies)
            mean = chance.mean(dim=1, keepdim=True)
            if k < burn_in:
                step = (step * (mean - self.target_acceptance).exp()).clamp_max(_LONGEST)
            else:
                accepted = accepted + mean / (self.iterations - burn_in)
        return Samples(actions, energies, self.temperature, accepted[:, 0])


@dataclass(frozen=True)
class HamiltonianMonteCarlo(MetropolisChains):
    """Hamiltonian Monte Carlo (Neal 2011): several leapfrog steps between Metropolis tests."""

    iterations: int = 20
    """Number of trajectories of a chain; the first half is the burn-in."""
    leapfrog_steps: int = 5
    """Number of leapfrog steps of a trajectory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "leapfrog_steps", largest=MOST_ROUNDS)

    @property
    def leaps(self) -> int:
        return self.leapfrog_steps


@dataclass(frozen=True)
class MetropolisLangevin(MetropolisChains):
    """Metropolis-adjusted Langevin algorithm (Roberts and Tweedie 1996).

    It is Hamiltonian Monte Carlo with one leapfrog step.
    """

    target_acceptance: float = 0.574
    """Mean acceptance of the Metropolis test to which the step size is adapted; the default is
    the optimum in many dimensions (Roberts and Rosenthal 1998)."""

    @property
    def leaps(self) -> int:
        return 1


def _rand(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw uniformly from [0, 1), with the shape, device and precision of `like`."""
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _kinetic(momentum: Tensor) -> Tensor:
    """Kinetic energies, (B, N), of momenta (B, N, D)."""
    return momentum.square().sum(dim=2) / 2


class _DeadlinePassed(Exception):
    """The deadline passed during a walk."""
