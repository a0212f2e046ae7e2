"""Losses and negatives, compared with values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from seeds import seeded
from torch import Tensor

from ebm_policy_ros.energy.mixture import Mixture
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.losses import gradient_penalty, info_nce
from ebm_policy_ros.training.learning.negatives import (
    NEGATIVES,
    NegativesConfig,
    around,
    draw,
    near_duplicates,
)
from ebm_policy_ros.training.learning.objective import _contrast


def test_info_nce_by_hand() -> None:
    positive = torch.tensor([0.0, math.log(2.0)])
    negatives = torch.tensor([[math.log(3.0), math.log(4.0)], [0.0, 0.0]])
    # Probabilities of the positive: 1 / (1 + 1/3 + 1/4) and (1/2) / (1/2 + 1 + 1).
    expected = (math.log(19 / 12) + math.log(5.0)) / 2
    assert info_nce(positive, negatives).item() == pytest.approx(expected, rel=1e-6)


def test_info_nce_of_equal_energies_is_the_log_of_the_choices() -> None:
    assert info_nce(torch.zeros(4), torch.zeros(4, 7)).item() == pytest.approx(math.log(8.0))


def test_info_nce_divides_energies_by_the_temperature() -> None:
    positive, negatives = torch.randn(3), torch.randn(3, 5)
    divided = info_nce(positive / 0.5, negatives / 0.5)
    assert info_nce(positive, negatives, temperature=0.5).item() == pytest.approx(divided.item())


def test_info_nce_lowers_the_positive_and_raises_the_negatives() -> None:
    positive = torch.zeros(2, requires_grad=True)
    negatives = torch.randn(2, 6).requires_grad_()
    info_nce(positive, negatives).backward()  # type: ignore[no-untyped-call]
    assert positive.grad is not None and negatives.grad is not None
    assert (positive.grad > 0).all() and (negatives.grad < 0).all()


def test_info_nce_of_far_apart_energies_is_finite() -> None:
    assert info_nce(torch.tensor([1e4]), torch.tensor([[-1e4, 0.0]])).item() == pytest.approx(2e4)


def test_masked_counter_examples_do_not_count() -> None:
    positive, negatives = torch.zeros(1), torch.tensor([[0.0, -50.0, 0.0]])
    masked = torch.tensor([[False, True, False]])
    loss = info_nce(positive, negatives.requires_grad_(), masked=masked)
    assert loss.item() == pytest.approx(math.log(3.0))
    loss.backward()  # type: ignore[no-untyped-call]
    assert negatives.grad is not None and negatives.grad[0, 1] == 0.0


def test_gradient_penalty_agrees_with_finite_differences() -> None:
    torch.manual_seed(0)
    first = torch.nn.Linear(3, 16).double()
    last = torch.nn.Linear(16, 1).double()
    actions = torch.rand(2, 5, 3, dtype=torch.float64) * 2 - 1

    def energy(values: Tensor) -> Tensor:
        return last(torch.tanh(first(values))).sum(dim=-1)  # type: ignore[no-any-return]

    step = 1e-6 * torch.eye(3, dtype=torch.float64)
    with torch.no_grad():
        slopes = [(energy(actions + s) - energy(actions - s)) / 2e-6 for s in step]
    steepest = torch.stack(slopes).abs().amax(dim=0)
    margin = steepest.median().item() + 1e-4
    expected = (steepest - margin).clamp_min(0).square().mean()
    penalty, active = gradient_penalty(energy, actions, margin)
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-6)
    assert active.item() == pytest.approx((steepest > margin).float().mean().item(), abs=1e-6)

    weight = first.weight
    (slope,) = torch.autograd.grad(penalty, weight)
    changed = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[2, 1] += sign * 1e-6
        changed.append(gradient_penalty(energy, actions, margin)[0].item())
        with torch.no_grad():
            weight[2, 1] -= sign * 1e-6
    assert slope[2, 1].item() == pytest.approx((changed[0] - changed[1]) / 2e-6, rel=1e-4)


LOW = -torch.ones(3)


def drawn(config: NegativesConfig, rows: int, seed: int = 0) -> Tensor:
    proposal = one_gaussian(torch.zeros(rows, 3), 0.5)
    positive = torch.zeros(rows, 3)
    return draw(config, bowl, positive, LOW, -LOW, seeded(seed), proposal=proposal).actions


def one_gaussian(means: Tensor, spread: float) -> Mixture:
    """Gaussian around each of the means, (B, A)."""
    numbers = torch.zeros(len(means), 1 + 2 * means.shape[1])
    numbers[:, 1 : 1 + means.shape[1]] = means
    numbers[:, 1 + means.shape[1] :] = math.log(spread)
    return Mixture.of(numbers, torch.ones(means.shape[1]))


def bowl(actions: Tensor) -> Tensor:
    """E = 50 |a - (0.5, 0, 0)|^2."""
    return 50 * (actions - torch.tensor([0.5, 0.0, 0.0])).square().sum(dim=-1)


def test_uniform_counter_examples_fill_the_box_evenly() -> None:
    found = drawn(NegativesConfig(count=200), 50)
    assert found.shape == (50, 200, 3)
    assert found.min() >= -1 and found.max() <= 1
    for dimension in range(3):
        shares = torch.histc(found[..., dimension], bins=4, min=-1, max=1) / 10_000
        assert (shares - 0.25).abs().max() < 0.02


def test_counter_examples_follow_from_the_seed() -> None:
    for source in NEGATIVES:
        config = NegativesConfig(source, 4, pool=8)
        first, second = (drawn(config, 2, 4) for _ in range(2))
        assert torch.equal(first, second)


def test_hard_counter_examples_are_the_lowest_of_their_pool() -> None:
    config = NegativesConfig("hard", 10, pool=100)
    hard = drawn(config, 3)
    pool = drawn(NegativesConfig(count=100), 3)
    assert torch.equal(bowl(hard), bowl(pool).sort(dim=1).values[:, :10])


def test_chains_end_where_the_energy_is_low_and_mixed_ones_are_half_uniform() -> None:
    chain = Langevin(iterations=50, polish=0)
    moved = drawn(NegativesConfig("chain", 64, chain=chain), 2)
    assert bowl(moved).max() < 5 < bowl(torch.zeros(1, 1, 3))
    mixed = drawn(NegativesConfig("mixed", 64, chain=chain), 2)
    uniform = drawn(NegativesConfig(count=64), 2)
    assert torch.equal(mixed[:, :32], uniform[:, :32])
    assert bowl(mixed[:, 32:]).max() < 5 < bowl(mixed[:, :32]).median()
    assert not moved.requires_grad


def test_near_duplicates_are_close_in_every_dimension() -> None:
    positive = torch.tensor([[0.0, 0.5]])
    negatives = torch.tensor([[[0.05, 0.45], [0.05, 0.2], [-0.2, 0.5]]])
    assert near_duplicates(negatives, positive, 0.1).tolist() == [[True, False, False]]


def test_hard_counter_examples_are_sought_beyond_the_near_duplicates() -> None:
    config = NegativesConfig("hard", 10, pool=2000, mask_radius=0.3)
    positive = torch.tensor([[0.5, 0.0, 0.0]])  # the minimum of the bowl
    found = draw(config, bowl, positive, LOW, -LOW, seeded()).actions
    assert not near_duplicates(found, positive, 0.3).any()


def test_rounds_and_a_mask_find_the_narrow_well_of_another_answer() -> None:
    """Two wells of equal depth; the demonstrated one is ten times as wide."""

    def wells(actions: Tensor) -> Tensor:
        values = actions[..., 0]
        return torch.minimum((values - 0.3).abs(), 10 * (values + 0.4).abs())

    low, demonstrated = -torch.ones(1), torch.full((200, 1), 0.3)

    def reached(rounds: int, radius: float) -> float:
        """Share of rows with a negative at the bottom of the other well."""
        config = NegativesConfig("hard", 8, pool=32, rounds=rounds, mask_radius=radius)
        found = draw(config, wells, demonstrated, low, -low, seeded()).actions
        assert found.shape == (200, 8, 1)
        assert not near_duplicates(found, demonstrated, radius).any()
        return ((found + 0.4).abs() < 0.005).any(dim=1).float().mean().item()

    others = [reached(1, 0.0), reached(3, 0.0), reached(1, 0.2)]
    assert max(others) < 0.3 and reached(3, 0.2) > 0.55


def test_every_round_asks_about_a_whole_pool() -> None:
    asked = []

    def counting(actions: Tensor) -> Tensor:
        asked.append(actions.shape[1])
        return bowl(actions)

    config = NegativesConfig("hard", 64, pool=100, rounds=3)
    found = draw(config, counting, torch.zeros(2, 3), LOW, -LOW, seeded()).actions
    assert asked == [100, 100, 100]
    assert bowl(found).mean() < bowl(drawn(NegativesConfig("hard", 64, pool=300), 2)).mean()


def test_counter_examples_around_the_demonstrated_action_teach_its_log_probability() -> None:
    """InfoNCE of E = c x^2 / 2 s^2 is lowest for c = 1 if actions are normal with deviation s."""
    spread, high = 0.2, torch.ones(1)
    positive = spread * torch.randn(20_000, 1, generator=seeded(1))
    config = NegativesConfig(around=8, nearest=0.1, farthest=0.5)
    negatives = around(config, positive, -high, high, seeded())

    def loss(scale: float) -> float:
        lowest, others = (
            scale * values[..., 0].square() / (2 * spread**2) for values in (positive, negatives)
        )
        return info_nce(lowest, others).item()

    assert loss(1.0) < min(loss(0.85), loss(1.15))


def test_noise_on_demonstrated_actions_teaches_the_log_probability_of_both_together() -> None:
    """Actions and noise are normal with deviations 0.15 and 0.2, so their sum has 0.25."""
    positive = 0.15 * torch.randn(20_000, 1, generator=seeded(1))
    negatives = NegativesConfig(count=0, around=8, nearest=0.1, farthest=0.5)
    config = LearningConfig(negatives=negatives, action_noise=0.2)

    def loss(spread: float) -> float:
        def energy(actions: Tensor) -> Tensor:
            return actions[..., 0].square() / (2 * spread**2)

        return _contrast(energy, positive, torch.ones(1), config, seeded(), None)[0].item()

    assert loss(0.25) < min(loss(0.23), loss(0.27))


def test_a_dimension_without_width_gets_no_noise() -> None:
    asked = []

    def counting(actions: Tensor) -> Tensor:
        asked.append(actions)
        return bowl(actions)

    config = LearningConfig(negatives=NegativesConfig(count=4), action_noise=0.1)
    high = torch.tensor([1.0, 0.0, 1.0])
    _contrast(counting, torch.zeros(50, 3), high, config, seeded(), None)
    demonstrated = asked[-1][:, 0]
    assert (demonstrated[:, 1] == 0).all()
    assert demonstrated[:, ::2].std().item() == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("source", ["uniform", "gaussian", "proposal"])
def test_whatever_their_source_counter_examples_teach_the_log_probability(source: str) -> None:
    """The loss of E = -log p - t log q, where q is the source, is lowest for t = 0."""
    rows = 20_000
    narrow = torch.rand(rows, 1, generator=seeded(1)) < 0.7
    draws = torch.randn(rows, 1, generator=seeded(2))
    positive = torch.where(narrow, -0.4 + 0.1 * draws, 0.5 + 0.15 * draws).clamp(-1, 1)
    mean, spread = positive.mean(), positive.std()

    def density(values: Tensor, mean: Tensor | float, spread: Tensor | float) -> Tensor:
        return torch.exp(-(((values - mean) / spread) ** 2) / 2) / spread

    def loss(tilt: float) -> float:
        def energy(actions: Tensor) -> Tensor:
            values = actions[..., 0]
            p = 0.7 * density(values, -0.4, 0.1) + 0.3 * density(values, 0.5, 0.15)
            return -torch.log(p + 1e-30) - tilt * torch.log(density(values, mean, spread))

        config = LearningConfig(negatives=NegativesConfig(source, 8))
        proposal = one_gaussian(mean.expand(rows, 1), float(spread))
        high = torch.ones(1)
        return _contrast(energy, positive, high, config, seeded(), None, proposal)[0].item()

    assert loss(0.0) < min(loss(-0.15), loss(0.15))


def test_gaussian_counter_examples_are_correlated_as_the_demonstrated_actions_are() -> None:
    first = torch.randn(5000, 1, generator=seeded(1))
    positive = torch.cat((0.3 * first, 0.2 * first, 0.1 * first), dim=1) + 0.1
    config = NegativesConfig("gaussian", 4)
    found = draw(config, bowl, positive, LOW, -LOW, seeded()).actions.flatten(0, 1)
    assert found.mean(dim=0).tolist() == pytest.approx([0.1, 0.1, 0.1], abs=0.02)
    correlation = torch.corrcoef(found.T)
    assert correlation[0, 1] > 0.95 and correlation[0, 2] > 0.8


def test_gaussian_counter_examples_are_drawn_in_bfloat16_too() -> None:
    times = torch.linspace(0, 1, 8)
    ends = torch.randn(64, 1, generator=seeded(3))
    positive = 0.3 * ends * times  # smooth chunks, hardly of full rank
    low = -torch.ones(8)
    with torch.autocast("cpu", torch.bfloat16):
        found = draw(NegativesConfig("gaussian", 4), bowl, positive, low, -low, seeded())
    assert torch.isfinite(found.actions).all() and torch.isfinite(found.log_density).all()


def test_counter_examples_around_an_action_are_near_and_far_and_in_the_box() -> None:
    config = NegativesConfig(around=16, nearest=0.01, farthest=1.0)
    found = around(config, torch.zeros(2000, 3), LOW, -LOW, seeded())
    assert found.abs().max() <= 1
    apart = found.std(dim=1).mean(dim=1)
    assert apart.min() < 0.02 and apart.max() > 0.45
    # Uniform on a logarithmic scale: half of them below the middle, 0.1.
    assert (apart < 0.1).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_dimension_without_width_has_nothing_to_contrast() -> None:
    high = torch.tensor([1.0, 0.0, 1.0])
    for source in NEGATIVES:
        found = draw(
            NegativesConfig(source, 8, pool=32), bowl, torch.zeros(2, 3), -high, high, seeded(),
            proposal=one_gaussian(torch.full((2, 3), 0.1), 0.5),
        ).actions  # fmt: skip
        assert (found[..., 1] == 0).all() and found[..., 0].std() > 1e-3
    found = around(NegativesConfig(around=8), torch.zeros(2, 3), -high, high, seeded())
    assert (found[..., 1] == 0).all() and found[..., 0].std() > 1e-3
