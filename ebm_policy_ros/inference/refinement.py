"""From good candidates to the minimum near each: with gradients, or without."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, clip, evaluate, finite, normal
from ebm_policy_ros.inference.deadline import Deadline

# A dimension moves by at most so much in the first step of a descent, in half-widths of the box.
_FIRST_STEP = 0.01
_SMALLEST = 1e-12


def cross_entropy(
    energy: Energy,
    starts: Tensor,
    low: Tensor,
    high: Tensor,
    *,
    samples: int,
    rounds: int,
    scale: float,
    generator: torch.Generator | None = None,
    until: Deadline | None = None,
) -> tuple[Tensor, Tensor]:
    """Refine each start without gradients (cross-entropy method; Rubinstein 1999).

    Around each start of its own a Gaussian is sampled, and fitted again to its lowest eighth, but
    its spread is that around the lowest candidate: about their own mean they would shrink before
    they arrive, where the minimum is off to one side. The lowest candidate found so far is always
    among the samples, so no start gets worse.

    Args:
        energy: Candidates (B, N, D) to energies (B, N).
        starts: Shape (B, M, D).
        low: Lower corner of the box, shape (D,).
        high: Upper corner.
        samples: Candidates in a round, of each start.
        rounds: How often, at least once.
        scale: Standard deviation of the first Gaussians, in half-widths of the box.
        generator: Source of randomness.
        until: Ends it between rounds.

    Returns:
        The candidates of the last round, shape (B, M, samples, D), and their energies,
        (B, M, samples), the lowest of each start first.
    """
    batch, places, size = starts.shape
    mean, best = starts, starts
    std = (scale * (high - low) / 2).expand_as(starts)
    elites = max(2, samples // 8)
    for i in range(rounds):
        if i and until and until.passed():
            break
        actions = mean[:, :, None].expand(batch, places, samples, size)
        actions = clip(actions + std[:, :, None] * normal(actions, generator), low, high)
        actions = torch.cat((best[:, :, None], actions[:, :, 1:]), dim=2)
        energies = evaluate(energy, actions)
        order = energies.argsort(dim=2)
        energies = energies.gather(2, order)
        actions = actions.gather(2, order[..., None].expand_as(actions))
        best, kept = actions[:, :, 0], actions[:, :, :elites]
        mean = kept.mean(dim=2)
        std = (kept - best[:, :, None]).square().mean(dim=2).sqrt()
    return actions, energies


def descend(
    energy: Energy,
    actions: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    until: Deadline | None = None,
) -> tuple[Tensor, Tensor]:
    """Follow the gradient of each candidate down to a minimum, without noise.

    Projected gradient descent with the step sizes of Barzilai and Borwein (1988, IMA J. Numerical
    Analysis 8). A step that would raise a candidate's energy is not taken, and shortened.

    Args:
        energy: Differentiable; candidates (B, N, D) to energies (B, N).
        actions: Where to start, shape (B, N, D).
        low: Lower corner of the box, shape (D,).
        high: Upper corner.
        steps: Evaluations after the first.
        until: Ends it between steps.

    Returns:
        Candidates, shape (B, N, D), and energies, shape (B, N), none higher than at the start.
    """
    half = (high - low) / 2
    energies, slope = value_and_gradient(energy, actions)
    slope = slope * half
    step = _FIRST_STEP / slope.abs().amax(dim=2, keepdim=True).clamp_min(_SMALLEST)
    for _ in range(steps):
        if until and until.passed():
            break
        trial = clip(actions - half * (step * slope), low, high)
        trial_energies, trial_slope = value_and_gradient(energy, trial)
        trial_slope = trial_slope * half
        moved = (trial - actions) / half.clamp_min(_SMALLEST)
        bend = (moved * (trial_slope - slope)).sum(dim=2, keepdim=True)
        secant = moved.square().sum(dim=2, keepdim=True) / bend.clamp_min(_SMALLEST)
        # Where the slope doesn't rise along the step there is no parabola to jump to.
        longer = torch.where(bend > 0, secant, 2 * step).clamp(step / 10, step * 10)
        lower = (trial_energies <= energies)[..., None]
        step = torch.where(lower, longer, torch.minimum(secant, step / 2))
        actions = torch.where(lower, trial, actions)
        slope = torch.where(lower, trial_slope, slope)
        energies = torch.where(lower[..., 0], trial_energies, energies)
    return actions, energies


def value_and_gradient(energy: Energy, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Energies, shape (B, N), and their gradients over the actions, shape (B, N, D), detached.

    An energy or slope that is not finite counts as the worst, and as flat. An energy with a method
    of this name, from actions to both, gives them itself; another one is differentiated.

    Raises:
        ValueError: If the energy has no gradient.
    """
    itself = getattr(energy, "value_and_gradient", None)
    if itself is not None:
        values, gradient = itself(actions)
        return finite(values), torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
    with torch.enable_grad():
        leaf = actions.detach().requires_grad_()
        energies = evaluate(energy, leaf)
        if not energies.requires_grad:
            raise ValueError(
                "energy: has no gradient over the actions; use DerivativeFree without polish"
            )
        (gradient,) = torch.autograd.grad(energies.sum(), leaf)
    return energies.detach(), torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
