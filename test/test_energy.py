"""Models: inputs, outputs and gradients."""

from __future__ import annotations

import json
import math
from typing import get_args

import pytest
import torch

from ebm_policy_ros.energy.action_space import ActionSpace
from ebm_policy_ros.energy.baselines import MixtureModel, NearestNeighbourModel
from ebm_policy_ros.energy.convolutions import (
    IMAGE_ENCODERS,
    ImageEncoder,
    ImageEncoderConfig,
    Pooling,
    SpatialSoftArgmax,
)
from ebm_policy_ros.energy.heads import (
    HEAD_LAYERS,
    EnergyHead,
    HeadConfig,
    VectorHead,
    bake_spectral_norm,
)
from ebm_policy_ros.energy.mixture import Mixture
from ebm_policy_ros.energy.model_config import Kind, ModelConfig
from ebm_policy_ros.energy.models import (
    AutoregressiveModel,
    ConditionalEnergy,
    EnergyModel,
    ImplicitModel,
    build_model,
)
from ebm_policy_ros.energy.normalisation import Normalise
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.policy.action_search import energy_of, minimize

SHAPES = {"camera": (2, 12, 20, 3), "tool": (1, 2), "joints": (1, 6)}
SMALL = ImageEncoderConfig(channels=(4, 6), strides=(2, 1))


def observation(batch: int) -> dict[str, torch.Tensor]:
    return {
        "camera": torch.randint(0, 256, (batch, 2, 12, 20, 3), dtype=torch.uint8),
        "tool": torch.randn(batch, 1, 2),
        "joints": torch.randn(batch, 1, 6),
    }


def energy_model() -> EnergyModel:
    torch.manual_seed(0)
    config = ModelConfig(image=SMALL, trunk_width=16, head=HeadConfig(width=8))
    model = build_model(config, SHAPES, 2)
    assert isinstance(model, EnergyModel)
    return model


def test_soft_argmax_follows_a_dot_over_a_map_that_is_not_square() -> None:
    height, width = 6, 10
    layer = SpatialSoftArgmax(1, height, width)
    layer.log_sharpness.data.fill_(3.0)
    for row, column in ((0, 0), (2, 7), (5, 9), (4, 1)):
        maps = torch.zeros(1, 1, height, width)
        maps[0, 0, row, column] = 1.0
        x, y = layer(maps)[0, 0].tolist()
        assert x == pytest.approx((column + 0.5) * 2 / width - 1, abs=1e-4)
        assert y == pytest.approx((row + 0.5) * 2 / height - 1, abs=1e-4)


def test_soft_argmax_of_a_flat_map_is_the_middle() -> None:
    assert SpatialSoftArgmax(3, 4, 7)(torch.ones(2, 3, 4, 7)).abs().max() < 1e-6


@pytest.mark.parametrize(("height", "width"), [(96, 128), (7, 5), (33, 64)])
def test_images_of_any_size_give_one_position_a_channel(height: int, width: int) -> None:
    encoder = ImageEncoder(
        ImageEncoderConfig(channels=(4, 8), strides=(2, 2)), (2, height, width, 3)
    )
    frames = torch.randint(0, 256, (3, 2, height, width, 3), dtype=torch.uint8)
    assert encoder(frames).shape == (3, 16)


def test_image_encoder_sees_each_frame_of_the_history() -> None:
    encoder = ImageEncoder(SMALL, (2, 12, 20, 3))
    frames = torch.randint(0, 256, (1, 2, 12, 20, 3), dtype=torch.uint8)
    for step in range(2):
        changed = frames.clone()
        changed[:, step] = 255 - changed[:, step]
        assert not torch.allclose(encoder(changed), encoder(frames))


def test_energies_of_candidates_do_not_depend_on_each_other_or_on_the_batch() -> None:
    model = energy_model()
    batch, actions = observation(3), torch.rand(3, 5, 2) * 2 - 1
    together = model.energy(model.encode(batch), actions)
    assert together.shape == (3, 5)
    for row in range(3):
        features = model.encode({name: value[row : row + 1] for name, value in batch.items()})
        alone = torch.cat([model.energy(features, actions[row, i][None, None]) for i in range(5)])
        assert torch.allclose(alone.flatten(), together[row], atol=1e-5)


ENCODERS = [
    ImageEncoderConfig(network, (4, 6), (2, 1), pooling, coordinates)
    for network in IMAGE_ENCODERS
    for pooling in get_args(Pooling)
    for coordinates in (False, True)
]


@pytest.mark.parametrize(
    "image", ENCODERS, ids=lambda c: f"{c.network}-{c.pooling}-{c.coordinates}"
)
def test_every_encoder_passes_gradient_to_every_parameter(image: ImageEncoderConfig) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(image, (2, 13, 20, 3))
    frames = torch.randint(0, 256, (8, 2, 13, 20, 3), dtype=torch.uint8)
    features = encoder(frames)
    assert features.shape == (8, encoder.size)
    (features * torch.randn(encoder.size)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


HEADS = [
    HeadConfig(kind, 32, 2, spectral_norm=norm) for kind in HEAD_LAYERS for norm in (False, True)
]


@pytest.mark.parametrize("head", HEADS, ids=lambda c: f"{c.kind}-{c.spectral_norm}")
@pytest.mark.parametrize("kind", [kind for kind in get_args(Kind) if kind != "nearest_neighbour"])
def test_every_model_passes_gradient_to_every_parameter(kind: str, head: HeadConfig) -> None:
    if head.spectral_norm and kind not in ("energy", "autoregressive"):
        return  # refused
    torch.manual_seed(0)
    settings = ModelConfig(image=SMALL, trunk_width=16, head=head).to_dict()
    streams = ["camera", "joints"]
    config = ModelConfig.from_dict({**settings, "kind": kind, "streams": streams})
    model = build_model(config, SHAPES, 4)
    features = model.encode(observation(8))
    if isinstance(model, EnergyModel):
        result = model.energy(features, torch.rand(8, 7, 4))
    elif isinstance(model, AutoregressiveModel):
        parts = [e(torch.rand(8, 7, j + 1)) for j, e in enumerate(model.energies(features))]
        result = torch.stack(parts)
    elif isinstance(model, NearestNeighbourModel):
        pytest.fail("learns nothing")
    else:
        assert model.action(features).shape == (8, 4)
        result = model.loss(features, torch.rand(8, 4))
    result.square().sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        # The last bias shifts all energies equally, but not their squares.
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_each_dimension_has_an_energy_that_sees_only_what_comes_before_it() -> None:
    torch.manual_seed(0)
    config = ModelConfig("autoregressive", ("tool",), head=HeadConfig(width=8))
    model = build_model(config, SHAPES, 3)
    assert isinstance(model, AutoregressiveModel)
    features = model.encode({"tool": torch.randn(2, 1, 2)})
    energies = model.energies(features)
    prefixes = torch.rand(2, 5, 3)
    assert [e(prefixes[..., : j + 1]).shape for j, e in enumerate(energies)] == [(2, 5)] * 3
    with pytest.raises(RuntimeError):
        energies[0](prefixes)


def test_the_joint_energy_of_a_chain_is_a_probability_density() -> None:
    """On a grid as uniform as that of the normalisation, exp(-E) has the mean 1."""
    torch.manual_seed(0)
    config = ModelConfig("autoregressive", ("tool",), head=HeadConfig(width=16))
    model = build_model(config, SHAPES, 2)
    assert isinstance(model, ImplicitModel)
    with torch.no_grad():
        energy = energy_of(model, model.encode({"tool": torch.randn(1, 1, 2)}))
        side = (torch.arange(64) + 0.5) / 32 - 1
        grid = torch.cartesian_prod(side, side)[None]
        assert torch.exp(-energy(grid)).mean().item() == pytest.approx(1.0, abs=0.02)


def test_a_trunk_with_a_skip_lets_exact_measurements_through() -> None:
    config = ModelConfig(streams=("tool",), trunk_width=4, trunk_skip=True)
    model = build_model(config, SHAPES, 2)
    tool = torch.randn(3, 1, 2)
    features = model.encoder({"tool": tool})
    assert features.shape == (3, 6) and torch.equal(features[:, 4:], tool[:, 0])


def test_the_gain_scales_the_first_weights_of_the_features() -> None:
    weights = []
    for gain in (1.0, 0.25):
        torch.manual_seed(0)
        model = build_model(ModelConfig(head=HeadConfig(feature_gain=gain)), SHAPES, 2)
        assert isinstance(model, EnergyModel) and isinstance(model.head, EnergyHead)
        weights.append(model.head.feature_half.weight)
    assert torch.allclose(weights[1], 0.25 * weights[0])


def test_spectral_norm_bounds_the_slope_and_can_be_baked_in() -> None:
    torch.manual_seed(0)
    config = ModelConfig(streams=("tool",), head=HeadConfig("mlp", 16, 3, spectral_norm=True))
    model = build_model(config, SHAPES, 2)
    assert isinstance(model, EnergyModel)
    for _ in range(30):  # each training step improves the estimate of the singular values
        model.encode({"tool": torch.randn(1, 1, 2)})
        model.energy(torch.zeros(1, 16), torch.zeros(1, 1, 2))
    model.eval()
    features = model.encode({"tool": torch.randn(4, 1, 2)}).detach()
    actions = torch.rand(4, 50, 2, requires_grad=True)
    energies = model.energy(features, actions)
    (slope,) = torch.autograd.grad(energies.sum(), actions)
    assert slope.norm(dim=2).max() < 1.01
    bake_spectral_norm(model)
    assert torch.allclose(model.energy(features, actions), energies, atol=1e-6)
    assert not any("parametrizations" in name for name in model.state_dict())


def test_a_mixture_is_a_density_and_its_action_is_the_highest_peak() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig("mixture", ("tool",), components=3), SHAPES, 1)
    assert isinstance(model, MixtureModel)
    model.head.layers[-1].weight.data.zero_()  # type: ignore[operator]
    weights, means, deviations = [0.2, 0.5, 0.3], [-0.5, 0.1, 0.6], [0.1, 0.4, 0.05]
    numbers = [*map(math.log, weights), *means, *map(math.log, deviations)]
    model.head.layers[-1].bias.data = torch.tensor(numbers)
    features = model.encode({"tool": torch.zeros(1, 1, 2)})
    # Heights of the peaks over their widths: 0.2/0.1, 0.5/0.4, 0.3/0.05.
    assert model.action(features).item() == pytest.approx(0.6)
    density = sum(
        w / (s * math.sqrt(2 * math.pi)) * math.exp(-((0.2 - m) ** 2) / (2 * s**2))
        for w, m, s in zip(weights, means, deviations, strict=True)
    )
    loss = model.loss(features, torch.tensor([[0.2]]))
    assert loss.item() == pytest.approx(-math.log(density), rel=1e-5)


def test_samples_of_a_mixture_have_its_weights_means_and_deviations() -> None:
    weights, means, deviations = (0.3, 0.7), (-0.5, 0.1, 0.4, -0.2), (0.1, 0.2, 0.1, 0.05)
    numbers = torch.tensor([[*map(math.log, weights), *means, *map(math.log, deviations)]])
    mixture = Mixture.of(numbers, torch.ones(2))
    drawn = mixture.sample(40_000, torch.Generator().manual_seed(0))[0]
    # The first Gaussian is around (-0.5, 0.1), the second around (0.4, -0.2).
    first = (drawn[:, 0] + 0.5).abs() < (drawn[:, 0] - 0.4).abs()
    assert first.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert drawn[first].mean(dim=0).tolist() == pytest.approx([-0.5, 0.1], abs=0.02)
    assert drawn[~first].std(dim=0).tolist() == pytest.approx([0.1, 0.05], abs=0.01)
    again = mixture.sample(40_000, torch.Generator().manual_seed(0))[0]
    assert torch.equal(drawn, again)


def two_gaussians() -> Mixture:
    """Two Gaussians of two coordinates, for one observation."""
    weights, means, deviations = (0.3, 0.7), (-0.5, 0.1, 0.4, -0.2), (0.5, 0.2, 0.1, 0.4)
    numbers = torch.tensor([[*map(math.log, weights), *means, *map(math.log, deviations)]])
    return Mixture.of(numbers, torch.ones(2))


def test_means_of_a_mixture_learn_by_their_shares_of_the_squared_error() -> None:
    mixture, place = two_gaussians(), torch.tensor([[0.1, 0.0]])
    means = mixture.means.requires_grad_()
    loss = mixture.loss(place)
    assert loss.item() == pytest.approx(-mixture.log_density(place[:, None]).item())
    (slope,) = torch.autograd.grad(loss, means)
    # Weight times height of each Gaussian at the place; their widths don't scale the slope.
    heights = [
        0.3 / (0.5 * 0.2) * math.exp(-((0.6 / 0.5) ** 2 + (0.1 / 0.2) ** 2) / 2),
        0.7 / (0.1 * 0.4) * math.exp(-((0.3 / 0.1) ** 2 + (0.2 / 0.4) ** 2) / 2),
    ]
    shares = torch.tensor(heights) / sum(heights)
    assert torch.allclose(slope[0], shares[:, None] * (means[0] - place), atol=1e-6)


def test_the_slope_of_a_mixture_is_that_of_its_energy() -> None:
    mixture, places = two_gaussians(), torch.rand(1, 50, 2) * 2 - 1
    places.requires_grad_()
    energies = -mixture.log_density(places)
    (expected,) = torch.autograd.grad(energies.sum(), places)
    found, slope = mixture.energy_and_slope(places)
    assert torch.allclose(found, energies) and torch.allclose(slope, expected, atol=1e-5)


def test_an_evened_mixture_offers_unlikely_answers_too() -> None:
    mixture = two_gaussians()
    even = mixture.evened()
    assert even.log_weights.exp()[0].tolist() == pytest.approx([0.4, 0.6])
    assert torch.equal(even.means, mixture.means) and torch.equal(even.log_std, mixture.log_std)


def test_a_coordinate_without_width_is_no_part_of_a_mixture() -> None:
    numbers = torch.randn(3, 2 * (1 + 2 * 2))
    places = torch.rand(3, 5, 2)
    flat = places * torch.tensor([1.0, 0.0])
    weights, means, deviations = numbers.tensor_split((2, 6), dim=1)
    alone = torch.cat((weights, means[:, ::2], deviations[:, ::2]), dim=1)
    expected = Mixture.of(alone, torch.ones(1)).log_density(places[..., :1])
    found = Mixture.of(numbers, torch.tensor([1.0, 0.0])).log_density(flat)
    assert torch.allclose(found, expected - math.log(2 * math.pi) / 2, atol=1e-5)


def test_an_energy_may_begin_as_that_of_its_proposal() -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        streams=("tool",), head=HeadConfig("mlp", 16), proposals=2, from_proposal=True
    )
    model = build_model(config, SHAPES, 2)
    assert isinstance(model, EnergyModel)
    model.box.high[:], model.box.low[:] = 1.0, -1.0
    actions = (torch.rand(4, 9, 2) * 2 - 1).requires_grad_()
    features = model.encode({"tool": torch.randn(4, 1, 2)})
    q = model.proposed(features)
    assert q is not None
    energies = model.energy(features, actions)
    head = model.head(model.head_features(features), actions)
    assert torch.allclose(energies, head - q.log_density(actions), atol=1e-6)
    found, slope = ConditionalEnergy(model, features).value_and_gradient(actions)
    (expected,) = torch.autograd.grad(energies.sum(), actions, retain_graph=True)
    assert torch.allclose(found, energies) and torch.allclose(slope, expected, atol=1e-4)
    assert not slope.requires_grad
    # It learns by its own likelihood, not by the energy.
    assert model.proposal is not None
    weights = [next(model.head.parameters()), *model.proposal.parameters()]
    learned, *still = torch.autograd.grad(energies.sum(), weights, allow_unused=True)
    assert learned is not None and learned.any()
    assert not any(slope is not None and slope.any() for slope in still)


def test_a_proposal_is_normalised_and_no_narrower_than_it_may_be() -> None:
    model = build_model(
        ModelConfig(streams=("tool",), head=HeadConfig(width=8), proposals=2), SHAPES, 1
    )
    assert isinstance(model, EnergyModel)
    numbers = torch.tensor([[*(0.0,) * 8, 0.0, 1.0, -0.3, 0.2, -20.0, math.log(0.1)]])
    mixture = model.proposed(numbers)
    assert mixture is not None
    grid = torch.linspace(-2, 2, 40_001)[None, :, None]
    density = mixture.log_density(grid).exp()[0]
    assert torch.trapezoid(density, grid[0, :, 0]).item() == pytest.approx(1.0, abs=1e-4)
    assert mixture.log_std.exp()[0, :, 0].tolist() == pytest.approx([0.05, 0.15])


def test_a_proposal_leaves_the_energies_as_they_are_and_gives_the_search_its_candidates() -> None:
    torch.manual_seed(0)
    head = HeadConfig("mlp", 16)
    model = build_model(ModelConfig(streams=("tool",), head=head, proposals=2), SHAPES, 3)
    plain = build_model(ModelConfig(streams=("tool",), head=head), SHAPES, 3)
    assert isinstance(model, EnergyModel) and isinstance(plain, EnergyModel)
    assert plain.proposed(torch.zeros(1, 16)) is None
    plain.load_state_dict(
        {name: value for name, value in model.state_dict().items() if "proposal" not in name}
    )
    tool, actions = {"tool": torch.randn(4, 1, 2)}, torch.rand(4, 9, 3)
    features = model.encode(tool)
    energies = plain.energy(plain.encode(tool), actions)
    assert torch.equal(model.energy(features, actions), energies)
    with torch.no_grad():
        folded = model.folded().energy(features, actions)
    assert torch.allclose(folded, energies, atol=1e-5)
    # All of its weight around one place, which uniform candidates don't reach.
    assert isinstance(model.proposal, VectorHead)
    last = model.proposal.layers[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([5.0, -5.0, *(0.9, -0.9, 0.9), *(0.0,) * 3, *(-9.0,) * 6])
    search = DerivativeFree(64, 0)
    with torch.no_grad():
        found = minimize(model, model.encode(tool), search, torch.Generator().manual_seed(0))
    near = (found.actions - torch.tensor([0.9, -0.9, 0.9])).abs().amax(dim=2) < 0.2
    assert near.sum(dim=1).tolist() == [32] * 4


def test_a_proposal_needs_one_energy_of_whole_actions() -> None:
    kinds: tuple[Kind, ...] = ("autoregressive", "explicit", "flow")
    for kind in kinds:
        with pytest.raises(ValueError, match=f"has no meaning for kind {kind}; set it to 0"):
            ModelConfig(kind, proposals=4)


def test_the_nearest_neighbour_repeats_what_was_done_in_the_most_similar_place() -> None:
    model = build_model(ModelConfig("nearest_neighbour", ("tool", "camera")), SHAPES, 2)
    assert isinstance(model, NearestNeighbourModel)
    seen = observation(20)
    model.encoder.fit({"tool": seen["tool"]})
    actions = torch.rand(20, 2)
    model.remember(model.encode(seen), actions)
    order = torch.tensor([7, 3, 19])
    again = {name: values[order] for name, values in seen.items()}
    assert torch.equal(model.action(model.encode(again)), actions[order])
    other = build_model(ModelConfig("nearest_neighbour", ("tool", "camera")), SHAPES, 2)
    other.load_state_dict(model.state_dict())
    assert isinstance(other, NearestNeighbourModel)
    assert torch.equal(other.action(other.encode(again)), actions[order])


def test_streams_that_the_model_does_not_look_at_may_be_there_or_not() -> None:
    config = ModelConfig(streams=("tool",), trunk_width=16, head=HeadConfig(width=8))
    model = build_model(config, SHAPES, 2)
    tool = torch.randn(2, 1, 2)
    alone = model.encode({"tool": tool})
    assert torch.equal(model.encode({"tool": tool, "joints": torch.randn(2, 1, 6)}), alone)


def test_a_wrong_or_missing_stream_is_named_with_its_shape() -> None:
    model = energy_model()
    with pytest.raises(ValueError, match=r"stream camera: got None, expected \(B, 2, 12, 20, 3\)"):
        model.encode({"tool": torch.zeros(1, 1, 2)})
    with pytest.raises(ValueError, match=r"stream tool: got \(1, 1, 3\), expected \(B, 1, 2\)"):
        model.encode({**observation(1), "tool": torch.zeros(1, 1, 3)})
    with pytest.raises(ValueError, match=r"got 'wrist', expected some of camera, tool, joints"):
        build_model(ModelConfig(streams=("wrist",)), SHAPES, 2)


def test_settings_survive_json() -> None:
    image = ImageEncoderConfig("residual", (4, 8), (1, 2), "max", coordinates=True)
    head = HeadConfig("dense_residual", 64, 2, feature_gain=0.5)
    config = ModelConfig(
        "energy", ("camera",), image, "min_max", 32, 1, trunk_skip=True, head=head, components=5
    )
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    flow = ModelConfig("flow", flow_steps=3)
    assert ModelConfig.from_dict(json.loads(json.dumps(flow.to_dict()))) == flow
    # Files of before name an option that only concerned the start of the training.
    for tied in (False, True):
        assert ModelConfig.from_dict({**config.to_dict(), "tied": tied}) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "mdn"}, "kind: got 'mdn', expected energy or autoregressive or"),
        ({"normalisation": "none"}, "normalisation: got 'none', expected standard or min_max"),
        ({"trunk_depth": -1}, "trunk_depth: got -1"),
        ({"streams": ["a.b"]}, "streams: got .*, expected names of letters, digits and _"),
        ({"streams": ["forward"]}, "streams: got 'forward', which torch needs itself"),
        ({"kind": "mixture", "tied": True}, "tied: got kind mixture, expected energy"),
        ({"kind": "explicit", "tied": True}, "tied: got kind explicit, expected energy"),
        ({"kind": "explicit", "head": {"spectral_norm": True}}, "head.spectral_norm: has no mean"),
        ({"head": {"spectral_norm": True, "feature_gain": 2.0}}, "which spectral_norm would undo"),
        ({"kind": "flow", "flow_steps": 0}, "flow_steps: got 0, expected an integer >= 1"),
        ({"kind": "flow", "flow_steps": 1001}, "flow_steps: got 1001, expected at most 1,000"),
        ({"flow_steps": 5}, "flow_steps: has no meaning for kind energy"),
        ({"streams": []}, "streams: got"),
        ({"head": {"width": 0}}, "head.width: got 0"),
        ({"head": {"depth": -1}}, "head.depth: got -1"),
        ({"head": {"feature_gain": 0.0}}, "head.feature_gain: got 0.0"),
        ({"head": {"kind": "rnn"}}, "head.kind: got 'rnn', expected one of mlp, residual"),
        ({"image": {"network": "vit"}}, "image.network: got 'vit', expected one of strided"),
        ({"image": {"pooling": "sum"}}, "image.pooling: got 'sum', expected soft_argmax or"),
        ({"image": {"channels": [4], "strides": [1, 2]}}, "image.strides: got 2 values"),
        (
            {"image": {"channels": [0], "strides": [1]}},
            "image.channels: got 0, expected",
        ),
        ({"depth": 3}, "model settings: .*depth"),
    ],
)
def test_settings_that_make_no_model_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict({**ModelConfig().to_dict(), **change})


def test_action_box_is_the_data_and_five_percent_of_its_range_on_each_side() -> None:
    box = ActionSpace(2)
    box.fit(torch.tensor([[-1.0, 2.0], [3.0, 2.5], [0.0, 2.2]]))
    assert torch.allclose(box.low, torch.tensor([-1.2, 1.975]))
    assert torch.allclose(box.high, torch.tensor([3.2, 2.525]))
    assert torch.allclose(box.normalise(box.high), torch.ones(2))
    actions = torch.tensor([[0.3, 2.1], [-0.7, 2.4]])
    assert torch.allclose(box.denormalise(box.normalise(actions)), actions, atol=1e-6)


def test_an_action_that_never_changed_keeps_its_value() -> None:
    box = ActionSpace(2)
    box.fit(torch.tensor([[0.1, -1.0], [0.1, 1.0]]))
    assert box.normalise(torch.tensor([0.1, 0.0])).tolist() == [0.0, 0.0]
    assert box.denormalise(torch.tensor([0.9, 0.0])).tolist() == pytest.approx([0.1, 0.0])


def test_measurements_are_normalised_and_constants_only_shifted() -> None:
    values = torch.tensor([[1.0, 5.0], [3.0, 5.0], [4.0, 5.0]])
    probe = torch.tensor([[1.0, 5.0], [4.0, 5.5]])
    layer = Normalise(2)
    layer.fit(values)
    deviation = math.sqrt(14 / 9)
    expected = [[(1 - 8 / 3) / deviation, 0.0], [(4 - 8 / 3) / deviation, 0.5]]
    assert torch.allclose(layer(probe), torch.tensor(expected))
    layer = Normalise(2, "min_max")
    layer.fit(values)
    assert torch.allclose(layer(probe), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]))


def test_normalisation_travels_with_the_weights() -> None:
    model = energy_model()
    model.box.fit(torch.tensor([[-0.2, 0.0], [0.2, 1.0]]))
    model.encoder.fit({"tool": torch.randn(9, 1, 2) + 3})
    other = build_model(
        ModelConfig(image=SMALL, trunk_width=16, head=HeadConfig(width=8)), SHAPES, 2
    )
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.box.low, model.box.low)
    sample = observation(2)
    assert torch.equal(other.encode(sample), model.encode(sample))
