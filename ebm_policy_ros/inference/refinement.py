"""Refinement of good candidates to the minimum near each, with or without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_policy_ros.inference.candidates import Energy, clip, evaluate, finite, normal
from ebm_policy_ros.inference.deadline import Deadline

# Largest change of a dimension in the first step of a descent, in half-widths of the box.
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

    Each start has its own Gaussian, which is sampled and then fitted to the lowest eighth of its
    samples. The standard deviation is computed around the lowest candidate. Around the mean it
    would shrink too early if the minimum is off to one side. The lowest candidate so far is always
    among the samples, so no start gets worse.

    Args:
        energy: Function from candidates (B, N, D) to energies (B, N).
        starts: Initial actions, shape (B, M, D).
        low: Lower corner of the box, shape (D,).
        high: Upper corner of the box, shape (D,).
        samples: Number of candidates per start in a round.
        rounds: Number of rounds, at least 1.
        scale: Standard deviation of the first Gaussians, in half-widths of the box.
        generator: Source of randomness.
        until: Deadline, checked between rounds.

    Returns:
        Candidates of the last round, shape (B, M, samples, D), and their energies, shape
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
    Analysis 8). A step that would raise a candidate's energy is rejected, and the next one is
    shorter.

    Args:
        energy: Differentiable function from candidates (B, N, D) to energies (B, N).
        actions: Initial candidates, shape (B, N, D).
        low: Lower corner of the box, shape (D,).
        high: Upper corner of the box, shape (D,).
        steps: Number of evaluations after the first.
        until: Deadline, checked between steps.

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
        # If the gradient does not increase along the step, the secant step is not valid.
        longer = torch.where(bend > 0, secant, 2 * step).clamp(step / 10, step * 10)
        lower = (trial_energies <= energies)[..., None]
        step = torch.where(lower, longer, torch.minimum(secant, step / 2))
        actions = torch.where(lower, trial, actions)
        slope = torch.where(lower, trial_slope, slope)
        energies = torch.where(lower[..., 0], trial_energies, energies)
    return actions, energies


def value_and_gradient(energy: Energy, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Compute energies, (B, N), and their gradients over actions, (B, N, D), detached.

    An energy that is not finite becomes infinity; a gradient that is not finite becomes 0. If the
    energy has a method of this name, it computes both; else automatic differentiation is used.

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
