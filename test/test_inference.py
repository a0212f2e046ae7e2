"""Inference methods on energies with known minimisers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from seeds import seeded
from torch import Tensor

from ebm_policy_ros.inference.ancestral import draw_ancestral
from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree, JointEnergy
from ebm_policy_ros.inference.candidates import Energy, local_minima, quantiles
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.hybrid import Hybrid
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.inference.methods import METHODS, SETTINGS, build_inference, settings_of
from ebm_policy_ros.inference.refinement import cross_entropy, descend
from ebm_policy_ros.inference.solution import Solution

DIMENSIONS = (1, 2, 3, 8, 16)
JOINT: dict[str, DerivativeFree | Langevin | Hybrid] = {
    "refined": DerivativeFree(2048, 3, refine=6),
    "polished": DerivativeFree(2048, 3, polish=30),
    "langevin": Langevin(64, polish=40),
    "hybrid": Hybrid(),
}


def box(size: int) -> tuple[Tensor, Tensor]:
    return -torch.ones(size), torch.ones(size)


def centres(size: int, rows: int = 8) -> Tensor:
    return torch.rand(rows, size, generator=seeded(size)) * 1.6 - 0.8


def quadratic(centre: Tensor, sharpness: float = 50.0) -> Energy:
    """E = sharpness * |a - centre|^2, with a centre for each row, shape (B, D)."""
    return lambda actions: sharpness * (actions - centre[:, None]).square().sum(dim=-1)


def conditional(centre: Tensor, sharpness: float = 50.0) -> list[Energy]:
    """The same quadratic as one energy per dimension."""

    def part(prefix: Tensor) -> Tensor:
        j = prefix.shape[-1] - 1
        return sharpness * (prefix[..., j] - centre[:, None, j]).square()

    return [part] * centre.shape[1]


# Wells of a mixture of four Gaussians: positions, widths and heights above the lowest.
PLACES = torch.tensor([[-0.6, -0.6], [0.6, -0.5], [-0.5, 0.6], [0.55, 0.6]])
WIDTHS = torch.tensor([0.05, 0.1, 0.08, 0.06])
HEIGHTS = torch.tensor([0.0, 0.5, 1.0, 1.5])


def four_wells(actions: Tensor) -> Tensor:
    squares = (actions[..., None, :] - PLACES).square().sum(dim=-1)
    return -torch.logsumexp(-(squares / WIDTHS.square() / 2 + HEIGHTS), dim=-1)


@pytest.mark.parametrize("size", DIMENSIONS)
@pytest.mark.parametrize("name", ["polished", "langevin", "hybrid"])
def test_gradients_find_the_minimiser_in_any_dimension(name: str, size: int) -> None:
    centre = centres(size)
    solution = JOINT[name].minimize(quadratic(centre), *box(size), 8, seeded())
    assert (solution.best - centre).abs().max() < 1e-4


@pytest.mark.parametrize("size", [1, 2])
def test_refined_search_finds_the_minimiser_within_a_ten_thousandth(size: int) -> None:
    centre = centres(size)
    solution = JOINT["refined"].minimize(quadratic(centre), *box(size), 8, seeded())
    assert (solution.best - centre).abs().max() < 1e-4


def test_the_quadratic_minimiser_is_found_within_two_thousandths_of_the_half_width() -> None:
    centres = torch.rand(16, 2, generator=seeded(1)) * 1.6 - 0.8
    low, high = torch.tensor([-3.0, 0.1]), torch.tensor([1.0, 0.5])
    half, middle = (high - low) / 2, (high + low) / 2
    energy = quadratic(centres)
    solution = DerivativeFree(16384, 3).minimize(
        lambda actions: energy((actions - middle) / half), low, high, 16, seeded()
    )
    errors = ((solution.best - middle) / half - centres).norm(dim=1)
    assert errors.square().mean().sqrt() < 2e-3
    # Rounding decides which candidates are resampled: one of 32 may be further off.
    apart = ((solution.best - middle) / half - centres).abs().flatten().sort().values
    assert apart[-2] < 2e-3 and apart[-1] < 2.5e-3


def test_more_rounds_never_raise_the_lowest_energy() -> None:
    """Noise moves candidates out of a narrow valley; the best one is kept."""
    energy = quadratic(torch.tensor([[0.123, 0.456]]), sharpness=1e6)
    found = [
        DerivativeFree(64, rounds, noise_scale=1.0)
        .minimize(energy, *box(2), 1, seeded())
        .best_energy.item()
        for rounds in range(5)
    ]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("size", DIMENSIONS)
def test_autoregressive_search_is_as_exact_in_sixteen_dimensions_as_in_one(size: int) -> None:
    centre = centres(size)
    low, high = box(size)
    found = AutoregressiveDerivativeFree().minimize(conditional(centre), low, high, 8, seeded())
    assert (found.best - centre).abs().max() < 1e-2
    if size == 16:
        joint = DerivativeFree(16384, 3).minimize(quadratic(centre), low, high, 8, seeded())
        assert (joint.best - centre).abs().max() > 0.1


def test_a_chain_whose_dimensions_depend_on_each_other_keeps_to_one_answer() -> None:
    """Two modes, +0.5 or -0.5 in every dimension; a mix of both is wrong."""
    sizes = 6

    def energy(prefix: Tensor) -> Tensor:
        last = prefix[..., -1]
        if prefix.shape[-1] == 1:
            return 200 * (last.abs() - 0.5).square() + 1.0 * (last < 0)
        return 200 * (last - 0.5 * prefix[..., 0].sign()).square()

    low, high = box(sizes)
    for seed in range(5):
        method = AutoregressiveDerivativeFree(4096)
        found = method.minimize([energy] * sizes, low, high, 2, seeded(seed))
        assert (found.best - 0.5).abs().max() < 1e-2
        modes = found.modes(generator=seeded())
        assert modes.count.tolist() == [2, 2]
        assert (modes.actions[:, 1] + 0.5).abs().max() < 2e-2
        odds = modes.probability[:, 0] / modes.probability[:, 1]
        assert odds.tolist() == pytest.approx([math.e] * 2, rel=0.25)


def test_the_joint_energy_takes_the_temperature_that_the_parts_were_learned_with() -> None:
    """E = -T log p of a chain of two Gaussians, for any T."""
    low, high = box(2)
    widths = torch.tensor([0.1, 0.05])
    actions = torch.rand(1, 200, 2, generator=seeded()) * 2 - 1

    def parts(temperature: float) -> list[Energy]:
        def part(prefix: Tensor) -> Tensor:
            j = prefix.shape[-1] - 1
            centre = 0.0 if j == 0 else 0.5 * prefix[..., 0]
            offset = 0.0 if j == 0 else 3.0 * prefix[..., 0]
            scaled = (prefix[..., j] - centre) / widths[j]
            return temperature * scaled.square() / 2 + offset

        return [part, part]

    for temperature in (0.1, 1.0, 3.0):
        energy = JointEnergy(parts(temperature), low, high, temperature)(actions)[0] / temperature
        first, second = actions[0].T
        scaled = torch.stack((first / widths[0], (second - 0.5 * first) / widths[1]))
        expected = scaled.square().sum(dim=0) / 2
        assert (energy - expected).std() < 0.2


def test_the_joint_energy_forgets_numbers_that_depend_on_the_prefix_alone() -> None:
    centre = torch.tensor([[0.3, -0.4]])
    plain = conditional(centre)
    shifted: list[Energy] = [plain[0], lambda p: plain[1](p) + 500 * p[..., 0]]
    low, high = box(2)
    actions = torch.rand(1, 50, 2, generator=seeded()) * 2 - 1
    expected = JointEnergy(plain, low, high)(actions)
    assert torch.allclose(JointEnergy(shifted, low, high)(actions), expected, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, math.sqrt(0.5)])
def test_langevin_chains_by_the_power_schedule_end_in_their_stationary_distribution(
    scale: float,
) -> None:
    """Noise of variance 2 s scale^2 with a drift of s/2 samples exp(-E / (2 scale^2))."""
    centre, width = torch.tensor([[0.1, -0.1]]), torch.tensor([0.08, 0.15])

    def energy(actions: Tensor) -> Tensor:
        return ((actions - centre[:, None]) / width).square().sum(dim=-1) / 2

    method = Langevin(
        8000, 400, "power", step_size=5e-4, noise_scale=scale, step_clip=1.0, polish=0
    )
    start, (low, high) = torch.zeros(1, 8000, 2), box(2)
    ends = method.chain(energy, start, low, high, seeded())[0]
    expected = width * scale * math.sqrt(2)
    assert ((ends.mean(dim=0) - centre[0]).abs() < 0.05 * expected).all()
    assert ends.var(dim=0).tolist() == pytest.approx(expected.square().tolist(), rel=0.05)


def test_langevin_steps_are_those_of_the_two_schedules() -> None:
    steps = list(Langevin(iterations=5, step_size=0.4, final_step_size=0.1)._steps())
    sizes = [0.3 * left**2 + 0.1 for left in (1, 0.75, 0.5, 0.25, 0)]
    assert [size for size, _ in steps] == pytest.approx(sizes)
    assert [noise for _, noise in steps] == pytest.approx(sizes)
    power = list(
        Langevin(
            iterations=4, schedule="power", step_size=0.1, gamma=0.5, noise_scale=2.0
        )._steps()
    )
    sizes = [0.1 * (k / 4) ** -0.5 for k in (1, 2, 3, 4)]
    assert [size for size, _ in power] == pytest.approx(sizes)
    assert [noise for _, noise in power] == pytest.approx([2 * (2 * s) ** 0.5 for s in sizes])


def test_a_langevin_step_is_clipped_and_stays_in_the_box() -> None:
    low, high = torch.tensor([0.0, -10.0]), torch.tensor([2.0, 10.0])
    start = torch.tensor([[[1.0, 0.0], [0.05, 0.0]]])
    method = Langevin(iterations=1, step_size=1.0, noise_scale=0.0, step_clip=0.1)

    def energy(actions: Tensor) -> Tensor:
        return 1e6 * actions.sum(dim=-1)

    moved = method.chain(energy, start, low, high)
    assert moved.flatten().tolist() == pytest.approx([0.9, -1.0, 0.0, -1.0])


def test_no_gradient_leads_through_a_chain() -> None:
    weight = torch.tensor(50.0, requires_grad=True)
    method = Langevin(4, iterations=3)
    solution = method.minimize(lambda a: weight * a.square().sum(dim=-1), *box(2), 1, seeded())
    assert not solution.actions.requires_grad and not solution.energies.requires_grad
    assert weight.grad is None


def test_descent_never_raises_an_energy_and_ends_at_the_walls_of_the_box() -> None:
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 0.01])
    start = torch.rand(2, 20, 2, generator=seeded()) * (high - low) + low

    def energy(actions: Tensor) -> Tensor:
        return torch.cos(9 * actions[..., 0]) - 100 * actions[..., 1]

    previous = energy(start)
    for steps in (1, 2, 5, 100):
        ends, energies = descend(energy, start, low, high, steps)
        assert (energies <= previous + 1e-6).all()
        assert torch.allclose(energies, energy(ends), atol=1e-5)
    assert (ends[..., 1] == high[1]).all()
    wells = torch.tensor([-math.pi / 3, -math.pi / 9, math.pi / 9, math.pi / 3]) * 1.0
    distances = (ends[..., :1] - wells).abs().amin(dim=-1)
    at_wall = ends[..., 0].abs() == 1.0
    assert (distances.masked_fill(at_wall, 0.0) < 2e-3).all()


@pytest.mark.parametrize("name", JOINT)
def test_all_four_modes_are_found_and_no_more(name: str) -> None:
    solution = JOINT[name].minimize(four_wells, *box(2), 3, seeded())
    modes = solution.modes(generator=seeded(1))
    assert modes.count.tolist() == [4, 4, 4]
    masses = torch.exp(-HEIGHTS) * WIDTHS.square()
    for row in range(3):
        assert (modes.actions[row, :4] - PLACES).abs().max() < 2e-3
        assert (modes.energies[row, :4] - HEIGHTS).abs().max() < 2e-3
        assert torch.allclose(modes.probability[row, :4], masses / masses.sum(), rtol=0.25)
        assert torch.allclose(modes.spread[row, :4], WIDTHS[:, None].expand(-1, 2), rtol=0.25)
    assert torch.isinf(modes.energies[:, 4:]).all() and (modes.probability[:, 4:] == 0).all()


def test_a_dimension_without_width_changes_nothing_about_the_modes() -> None:
    for value in (0.0, 5.0):
        low, high = torch.tensor([-1.0, -1.0, value]), torch.tensor([1.0, 1.0, value])
        for method in (DerivativeFree(2048, 1), Hybrid(), Langevin(256)):
            found = method.minimize(lambda a: four_wells(a[..., :2]), low, high, 1, seeded())
            modes = found.modes(generator=seeded())
            assert modes.count.tolist() == [4]
            assert (modes.actions[0, :4, :2] - PLACES).abs().max() < 5e-3
            assert modes.probability.sum().item() == pytest.approx(1.0, abs=1e-4)
            assert (modes.spread[0, :4, 2] == 0).all()
            assert modes.sample(seeded())[0, 2].item() == value


def test_a_small_well_beside_a_wide_one_is_a_mode_of_its_own() -> None:
    def energy(actions: Tensor) -> Tensor:
        well = (actions - torch.tensor([0.7, 0.7])).square().sum(dim=-1) / 0.05**2 / 2
        return 4 * actions.square().sum(dim=-1) - 6 * torch.exp(-well)

    modes = (
        DerivativeFree(16384, 0).minimize(energy, *box(2), 1, seeded()).modes(generator=seeded())
    )
    assert modes.count.tolist() == [2]


def test_modes_of_a_batch_are_those_of_each_row() -> None:
    shifts = torch.tensor([0.0, 1000.0, -3.0])[:, None]
    found = DerivativeFree(2048, 1).minimize(
        lambda a: four_wells(a) + shifts, *box(2), 3, seeded()
    )
    modes = found.modes(generator=seeded())
    assert modes.count.tolist() == [4, 4, 4]
    assert (modes.probability - modes.probability[:1]).abs().max() < 0.1


def test_one_well_is_one_mode_however_the_candidates_lie() -> None:
    solution = DerivativeFree(1024, 0).minimize(quadratic(centres(2), 3.0), *box(2), 8, seeded())
    modes = solution.modes(generator=seeded())
    assert modes.count.tolist() == [1] * 8
    assert modes.probability[:, 0].tolist() == pytest.approx([1.0] * 8)


def test_the_spread_of_a_mode_is_that_of_its_gaussian_in_many_dimensions() -> None:
    widths = torch.linspace(0.03, 0.1, 16)
    centre = centres(16, 1) / 4

    def energy(actions: Tensor) -> Tensor:
        return ((actions - centre) / widths).square().sum(dim=-1) / 2

    modes = Hybrid().minimize(energy, *box(16), 1, seeded()).modes(generator=seeded())
    assert modes.count.tolist() == [1]
    assert torch.allclose(modes.spread[0, 0], widths, rtol=0.5)


def test_samples_follow_the_boltzmann_distribution() -> None:
    solution = DerivativeFree(2048, 1).minimize(four_wells, *box(2), 1, seeded())
    modes = solution.modes(generator=seeded())
    generator = seeded(3)
    drawn = torch.cat([modes.sample(generator) for _ in range(2000)])
    owner = torch.cdist(drawn, PLACES).argmin(dim=1)
    shares = torch.bincount(owner, minlength=4) / 2000
    masses = torch.exp(-HEIGHTS) * WIDTHS.square()
    assert torch.allclose(shares, masses / masses.sum(), atol=0.06)
    widest = drawn[owner == 1] - PLACES[1]
    assert widest.std(dim=0).tolist() == pytest.approx([0.1, 0.1], rel=0.25)


def test_a_higher_temperature_makes_modes_wider_and_more_alike() -> None:
    solution = DerivativeFree(2048, 1).minimize(four_wells, *box(2), 1, seeded())
    cold, hot = (solution.modes(temperature=t, generator=seeded()) for t in (0.25, 1.0))
    assert (cold.spread[0, :4] < 0.7 * hot.spread[0, :4]).all()
    assert cold.probability[0, 0] / cold.probability[0, 3] > 10


@pytest.mark.parametrize(("temperature", "thin"), [(1.0, 1e-3), (2.0, 1e-4), (1.0, 3e-3)])
def test_draws_of_conditional_energies_have_their_masses_means_and_widths(
    temperature: float, thin: float
) -> None:
    """A low, narrow well with a third of the mass; the second value depends on the first."""
    widths, shares = torch.tensor([thin, 0.05]), torch.tensor([1 / 3, 2 / 3])
    middles = torch.tensor([-0.4313, 0.5])

    def first(prefixes: Tensor) -> Tensor:
        logs = -((prefixes - middles) / widths).square() / 2 + (shares / widths).log()
        return -temperature * logs.logsumexp(dim=-1)

    def second(prefixes: Tensor) -> Tensor:
        return temperature * ((prefixes[..., 1] - prefixes[..., 0] / 2) / 0.02).square() / 2

    drawn = draw_ancestral([first, second], *box(2), 2500, temperature, seeded())
    narrow = drawn[:, 0] < 0
    assert narrow.float().mean() == pytest.approx(1 / 3, abs=0.025)
    for middle, width, own in zip(middles, widths, (narrow, ~narrow), strict=True):
        assert drawn[own, 0].mean() == pytest.approx(float(middle), abs=float(width) / 8)
        assert drawn[own, 0].std() == pytest.approx(float(width), rel=0.08)
    rest = drawn[:, 1] - drawn[:, 0] / 2
    assert [float(rest.mean()), float(rest.std())] == pytest.approx([0, 0.02], abs=1.2e-3)


def test_draws_find_many_thin_wells() -> None:
    middles = torch.linspace(-0.91, 0.93, 24)

    def wells(prefixes: Tensor) -> Tensor:
        return (prefixes - middles).abs().amin(dim=-1) / 3e-4

    drawn = draw_ancestral([wells], *box(1), 2400, generator=seeded())
    counts = torch.bincount((drawn - middles).abs().argmin(dim=1), minlength=24)
    assert counts.min() > 60 and counts.max() < 145, "100 are expected of each"
    assert wells(drawn).mean() == pytest.approx(1, abs=0.1)


def test_draws_stay_where_the_energy_is_finite() -> None:
    def allowed(prefixes: Tensor) -> Tensor:
        outside = (prefixes[..., 0] - 0.3).abs() > 0.01
        return torch.where(outside, float("inf"), 0.0)

    drawn = draw_ancestral([allowed], *box(1), 1000, generator=seeded())
    assert (allowed(drawn) == 0).all()
    assert drawn.std() > 0.002


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_draw_refuses_a_temperature_that_is_none(temperature: float) -> None:
    part = conditional(centres(1))[0]
    with pytest.raises(ValueError, match=r"temperature: got .*, expected a number > 0"):
        draw_ancestral([part], *box(1), 8, temperature)


def test_refinement_arrives_at_a_minimum_off_to_one_side() -> None:
    """Minimum at three initial widths in each dimension.

    With a spread around the samples' own mean, half of the searches stop 0.04 short.
    """
    centre = torch.zeros(64, 2)
    starts = torch.full((64, 1, 2), 0.15)
    refined, _ = cross_entropy(
        quadratic(centre), starts, *box(2), samples=64, rounds=6, scale=0.05, generator=seeded()
    )
    assert refined[:, 0, 0].abs().amax(dim=1).median() < 2e-3


def test_draws_stay_in_a_box_without_width_and_where_no_energy_is_finite() -> None:
    low, high = torch.tensor([0.2, -1.0]), torch.tensor([0.2, 1.0])

    def flat(prefixes: Tensor) -> Tensor:
        return torch.zeros_like(prefixes[..., 0])

    drawn = draw_ancestral([flat, flat], low, high, 2000, generator=seeded())
    assert (drawn[:, 0] == 0.2).all()
    assert drawn[:, 1].mean() == pytest.approx(0, abs=0.05)
    assert drawn[:, 1].std() == pytest.approx(3**-0.5, rel=0.05)
    failed = draw_ancestral([lambda p: flat(p) / 0], *box(1), 3, generator=seeded())
    assert failed.tolist() == [[-1.0]] * 3


def test_local_minima_are_candidates_with_no_lower_one_near() -> None:
    actions = torch.tensor([[[0.0], [0.05], [0.5], [0.55], [0.64], [-0.9]]])
    energies = torch.tensor([[1.0, 2.0, 0.5, 0.4, 0.6, 3.0]])
    chosen = local_minima(actions, energies, 4, 0.1, torch.ones(1))
    assert chosen.tolist() == [[3, 0, 5, 3]]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_local_minima_are_those_of_the_definition_however_the_candidates_lie(size: int) -> None:
    """Pairwise definition: no lower candidate nearby; of equal ones the first."""
    actions = torch.rand(3, 600, size, generator=seeded(size)) * 2 - 1
    energies = (6 * actions).sin().sum(dim=2) + 0.3 * actions.square().sum(dim=2)
    energies = (20 * energies).round() / 20  # many are equal
    energies[2, ::7] = torch.inf
    half, radius, count = torch.linspace(1, 2, size), 0.3, 5
    found = local_minima(actions, energies, count, radius, half)
    for row in range(3):
        order = energies[row].argsort(stable=True).tolist()
        expected: list[int] = []
        for place, i in enumerate(order):
            apart = ((actions[row, order[:place]] - actions[row, i]).abs() / half).amax(dim=1)
            if energies[row, i] < torch.inf and not (apart <= radius).any():
                expected.append(i)
        assert len(expected) > 1
        assert found[row].tolist() == (expected + order[:1] * count)[:count]


def test_a_local_minimum_in_a_cell_like_another_ones_is_found() -> None:
    actions = torch.tensor([[[0.35, 0.05, 0.05], [0.05, 0.05, 0.15], [-0.5, 0.0, 0.0]]])
    found = local_minima(actions, torch.tensor([[0.0, 1.0, 2.0]]), 3, 0.1, torch.ones(3))
    assert found.tolist() == [[0, 1, 2]]


def test_resampling_a_batch_is_resampling_each_row() -> None:
    energies = torch.randn(8, 500, generator=seeded(1)) * 5
    offsets = torch.rand(8, 1, generator=seeded(2))
    together = quantiles(energies, offsets)
    for i in range(8):
        rows = slice(i, i + 1)
        assert torch.equal(quantiles(energies[rows], offsets[rows])[0], together[i])


def test_resampling_draws_each_candidate_by_its_probability() -> None:
    energies = -torch.tensor([[0.5, 0.25, 0.125, 0.125, 0.0, 0.0, 0.0, 0.0]]).log()
    for offset in (0.1, 0.5, 0.9):
        drawn = quantiles(energies, torch.tensor([[offset]]))
        assert drawn.flatten().tolist() == [0, 0, 0, 0, 1, 1, 2, 3]


SIX: dict[str, DerivativeFree | Langevin | Hybrid] = {**JOINT, "plain": DerivativeFree(512)}


@pytest.mark.parametrize("name", SIX)
def test_rows_of_a_batch_get_what_they_would_get_alone(name: str) -> None:
    """Energies of one row so low that it would take every draw of a shared softmax."""
    centre = centres(2)
    offsets = -100.0 * torch.arange(8.0)[:, None]
    energy = quadratic(centre)
    tolerance = 0.02 if name == "plain" else 1e-3
    together = SIX[name].minimize(lambda a: energy(a) + offsets, *box(2), 8, seeded()).best
    for row in range(8):
        alone = SIX[name].minimize(quadratic(centre[row : row + 1]), *box(2), 1, seeded()).best
        assert (together[row] - alone[0]).abs().max() < 2 * tolerance
        assert (together[row] - centre[row]).abs().max() < tolerance


@pytest.mark.parametrize("name", SIX)
def test_same_seed_same_result_in_single_and_double_precision(name: str) -> None:
    for dtype in (torch.float32, torch.float64):
        low, high = (bound.to(dtype) for bound in box(3))
        energy = quadratic(centres(3, 1).to(dtype))
        first, second, other = (
            SIX[name].minimize(energy, low, high, 1, seeded(s)) for s in (5, 5, 6)
        )
        assert torch.equal(first.actions, second.actions)
        if name in ("plain", "refined"):  # the others all end in the same minimum
            assert not torch.equal(first.actions, other.actions)
        assert first.best.dtype == first.best_energy.dtype == dtype
        assert first.modes(generator=seeded()).actions.dtype == dtype


@pytest.mark.parametrize("name", SIX)
def test_the_returned_action_is_the_lowest_of_the_candidates_in_any_box(name: str) -> None:
    low, high = torch.tensor([-3.0, 0.1, 5.0]), torch.tensor([1.0, 0.5, 5.0])
    centre = torch.tensor([[-2.0, 0.45, 5.0]])

    def energy(actions: Tensor) -> Tensor:
        scaled = (actions - centre[:, None]) / torch.tensor([2.0, 0.2, 1.0])
        return 50 * scaled.square().sum(dim=-1)

    found = SIX[name].minimize(energy, low, high, 1, seeded())
    assert found.actions.shape[::2] == (1, 3) and found.best.shape == (1, 3)
    assert torch.equal(found.best_energy, found.energies.amin(dim=1))
    # The others evaluate some candidates in batches of other shapes, which may round differently.
    rounding = 0 if name == "plain" else 1e-6
    assert torch.allclose(found.energies, energy(found.actions), rtol=rounding, atol=rounding)
    again = energy(found.best[:, None])[:, 0]
    assert torch.allclose(found.best_energy, again, rtol=rounding, atol=rounding)
    assert (found.actions >= low).all() and (found.actions <= high).all()
    scaled = (found.best - centre) / torch.tensor([2.0, 0.2, 1.0])
    assert scaled.abs().max() < 0.03


def test_candidates_with_much_noise_stay_in_the_box() -> None:
    low, high = torch.tensor([0.5, -2.0]), torch.tensor([0.6, -1.0])
    energy = quadratic(torch.tensor([[0.6, -1.0]]))
    solution = DerivativeFree(256, 3, noise_scale=2.0).minimize(energy, low, high)
    assert (solution.actions >= low).all() and (solution.actions <= high).all()


def test_autoregressive_rows_seeds_and_precision_are_kept_apart_too() -> None:
    centre = centres(3)
    low, high = box(3)
    method = AutoregressiveDerivativeFree(256)
    together = method.minimize(conditional(centre), low, high, 8, seeded())
    again = method.minimize(conditional(centre), low, high, 8, seeded())
    assert torch.equal(together.actions, again.actions)
    for row in range(8):
        alone = method.minimize(conditional(centre[row : row + 1]), low, high, 1, seeded())
        assert (together.best[row] - alone.best[0]).abs().max() < 5e-3
    exact = method.minimize(conditional(centre.double()), low.double(), high.double(), 8)
    assert exact.best.dtype == torch.float64


@pytest.mark.parametrize("name", SIX)
def test_candidates_whose_energy_is_not_a_number_are_never_chosen(name: str) -> None:
    bowl = quadratic(torch.tensor([[0.5, 0.0]]))

    def energy(actions: Tensor) -> Tensor:
        return bowl(actions).where(actions[..., 0] > 0, torch.nan)

    found = SIX[name].minimize(energy, *box(2), 1, seeded())
    assert (found.best[0] - torch.tensor([0.5, 0.0])).norm() < 0.05
    nothing = SIX[name].minimize(lambda a: a.sum(dim=-1) * torch.nan, *box(2), 1, seeded())
    assert not torch.isfinite(nothing.best_energy).any()
    assert torch.isfinite(nothing.actions).all()
    assert nothing.modes(generator=seeded()).count.tolist() == [0]


@pytest.mark.parametrize("name", list(METHODS))
def test_settings_travel_as_plain_values(name: str) -> None:
    inference = build_inference({"method": name, "samples": 99})
    assert build_inference(settings_of(inference)) == inference
    assert set(settings_of(inference)) <= set(SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "inference.method: got None, expected one of derivative_free, autoregressive"),
        ({"method": "simplex"}, "inference.method: got 'simplex'"),
        ({"method": "langevin", "starts": 3}, "inference.starts: no setting of langevin, which"),
        ({"method": "langevin", "schedule": "flat"}, "inference.schedule: got 'flat', expected"),
        ({"method": "langevin", "step_clip": 0.0}, "inference.step_clip: got 0.0, expected"),
        ({"method": "langevin", "noise_scale": -1}, "inference.noise_scale: got -1, expected"),
        ({"method": "hybrid", "starts": 0}, "inference.starts: got 0, expected an integer >= 1"),
        ({"method": "hybrid", "samples": 2.5}, "inference.samples: got 2.5, expected an integer"),
        ({"method": "hybrid", "samples": "many"}, "inference.samples: got .many., expected"),
        ({"method": "derivative_free", "noise_scale": "x"}, "inference.noise_scale: got x, exp"),
        ({"method": ["hybrid"]}, "inference.method: got .'hybrid'.*, expected one of"),
    ],
)
def test_settings_that_make_no_method_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        build_inference(settings)
    assert "\n" not in str(refusal.value)


def test_wrong_settings_and_shapes_are_told_in_one_line() -> None:
    low, high = box(2)
    with pytest.raises(ValueError, match="samples: got 1, expected an integer >= 2"):
        DerivativeFree(samples=1)
    with pytest.raises(ValueError, match="refine_samples: got 3, expected an integer >= 4"):
        DerivativeFree(refine_samples=3, refine=1)
    with pytest.raises(ValueError, match=r"noise_scale: got 0\.0, expected a number > 0"):
        DerivativeFree(noise_scale=0.0)
    with pytest.raises(ValueError, match=r"low and high: got shapes \(2,\) and \(3,\)"):
        DerivativeFree(8).minimize(lambda a: a[..., 0], low, torch.ones(3))
    with pytest.raises(ValueError, match=r"low: got \[1\.0, 1\.0\], expected at most high"):
        DerivativeFree(8).minimize(lambda a: a[..., 0], high, low)
    with pytest.raises(ValueError, match=r"low and high: got .*inf.*, expected numbers"):
        DerivativeFree(8).minimize(lambda a: a[..., 0], low, high * torch.inf)
    with pytest.raises(ValueError, match=r"energy: got shape \(1, 8, 2\) .* expected \(1, 8\)"):
        DerivativeFree(8).minimize(lambda a: a, *box(2))


def minimise_nothing(energy: Any, size: int = 2) -> Solution:
    return AutoregressiveDerivativeFree(8).minimize(energy, *box(size))


def test_wrong_energies_are_told_in_one_line() -> None:
    with pytest.raises(ValueError, match="got one energy of whole actions, expected a sequence"):
        minimise_nothing(quadratic(centres(2, 1)))
    parts: Sequence[Energy] = conditional(centres(3, 1))
    with pytest.raises(ValueError, match="got 3 energies, expected one for each of 2"):
        minimise_nothing(parts)
    for method in (Langevin(4), Hybrid(), DerivativeFree(64, polish=2)):
        with pytest.raises(ValueError, match="has no gradient over the actions"):
            method.minimize(lambda a: a.detach()[..., 0], *box(2))
    solution = DerivativeFree(64).minimize(four_wells, *box(2))
    for setting in ({"limit": 0}, {"separation": 0.0}, {"barrier": -1.0}, {"temperature": 0.0}):
        (name,) = setting
        with pytest.raises(ValueError, match=f"{name}: got"):
            solution.modes(**setting)


def test_proposals_take_the_place_of_drawn_candidates_after_the_starts() -> None:
    """A well that uniform candidates do not hit; the low-precision energy does not see it."""
    place = torch.tensor([0.31, -0.17])

    def energy(actions: Tensor) -> Tensor:
        apart = (actions - place).square().sum(dim=2)
        return (actions + 0.5).square().sum(dim=2) - 5.0 * torch.exp(-apart / 2e-6)

    proposals = place + torch.tensor([[[0.4, 0.3], [0.0, 0.0]]])
    methods: list[DerivativeFree | Langevin | Hybrid] = [
        DerivativeFree(16, 0),
        DerivativeFree(16, 2),
        Langevin(16, iterations=2),
        Hybrid(16, starts=4, steps=2),
    ]
    for method in methods:
        found = method.minimize(energy, *box(2), generator=seeded(), proposals=proposals)
        assert found.best_energy < -4.0, method
        alone = method.minimize(energy, *box(2), generator=seeded())
        assert alone.best_energy > -1.0, method
    # Unlike a start, a proposal is evaluated exactly only if the low-precision energy likes it.
    method, exact = DerivativeFree(16, 0), proposals[:, 1:]

    def rough(actions: Tensor) -> Tensor:
        return actions[..., 0]

    found = method.minimize(energy, *box(2), 1, seeded(), exact, low_precision=rough)
    assert found.best_energy < -4.0
    found = method.minimize(
        energy, *box(2), 1, seeded(), low_precision=rough, proposals=exact.clone()
    )
    assert found.best_energy > -1.0
    with pytest.raises(ValueError, match=r"proposals: got shape \(1, 2, 2\), .* M at most 1"):
        method = DerivativeFree(2, 0)
        method.minimize(energy, *box(2), starts=proposals[:, 1:], proposals=proposals)
