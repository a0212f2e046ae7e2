"""Models: what goes in, what comes out, what is learned."""

from __future__ import annotations

import json

import pytest
import torch

from ebm_policy_ros.energy.encoders import ImageEncoder, ImageEncoderConfig, SpatialSoftArgmax
from ebm_policy_ros.energy.models import EnergyModel, ExplicitModel, ModelConfig, build_model
from ebm_policy_ros.energy.normalisation import ActionBox, Standardise

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
    config = ModelConfig(image=SMALL, trunk_width=16, head_width=8)
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
    encoder = ImageEncoder(ImageEncoderConfig((4, 8), (2, 2)), (2, height, width, 3))
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


@pytest.mark.parametrize("kind", ["energy", "explicit"])
def test_every_parameter_gets_a_gradient(kind: str) -> None:
    torch.manual_seed(0)
    settings = ModelConfig(image=SMALL, trunk_width=16, head_width=8).to_dict()
    config = ModelConfig.from_dict({**settings, "kind": kind, "streams": ["camera", "joints"]})
    model = build_model(config, SHAPES, 4)
    features = model.encode(observation(8))
    if isinstance(model, ExplicitModel):
        result = model.action(features)
        assert result.shape == (8, 4)
    else:
        result = model.energy(features, torch.rand(8, 7, 4))
    result.square().sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        # The last bias shifts all energies alike, but not their squares.
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_streams_that_the_model_does_not_look_at_may_be_there_or_not() -> None:
    config = ModelConfig(streams=("tool",), trunk_width=16, head_width=8)
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
    config = ModelConfig("explicit", ("camera",), ImageEncoderConfig((4, 8), (1, 2)), 32, 64)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "mdn"}, "kind: got 'mdn', expected energy or explicit"),
        ({"streams": []}, "streams: got"),
        ({"head_width": 0}, "head_width: got 0"),
        ({"image": {"channels": [4], "strides": [1, 2]}}, "image.strides: got 2 values"),
        ({"image": {"channels": [0], "strides": [1]}}, r"image.channels: got \[0\]"),
        ({"depth": 3}, "model settings: .*depth"),
    ],
)
def test_settings_that_make_no_model_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict({**ModelConfig().to_dict(), **change})


def test_action_box_is_the_data_and_five_percent_of_its_range_on_each_side() -> None:
    box = ActionBox(2)
    box.fit(torch.tensor([[-1.0, 2.0], [3.0, 2.5], [0.0, 2.2]]))
    assert torch.allclose(box.low, torch.tensor([-1.2, 1.975]))
    assert torch.allclose(box.high, torch.tensor([3.2, 2.525]))
    assert torch.allclose(box.normalise(box.high), torch.ones(2))
    actions = torch.tensor([[0.3, 2.1], [-0.7, 2.4]])
    assert torch.allclose(box.denormalise(box.normalise(actions)), actions, atol=1e-6)


def test_an_action_that_never_changed_keeps_its_value() -> None:
    box = ActionBox(2)
    box.fit(torch.tensor([[0.1, -1.0], [0.1, 1.0]]))
    assert box.normalise(torch.tensor([0.1, 0.0])).tolist() == [0.0, 0.0]
    assert box.denormalise(torch.tensor([0.9, 0.0])).tolist() == pytest.approx([0.1, 0.0])


def test_measurements_are_standardised_and_constants_only_shifted() -> None:
    layer = Standardise(2)
    layer.fit(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    result = layer(torch.tensor([[1.0, 5.0], [3.0, 5.5]]))
    assert torch.allclose(result, torch.tensor([[-1.0, 0.0], [1.0, 0.5]]))


def test_normalisation_travels_with_the_weights() -> None:
    model = energy_model()
    model.box.fit(torch.tensor([[-0.2, 0.0], [0.2, 1.0]]))
    model.encoder.fit({"tool": torch.randn(9, 1, 2) + 3})
    other = build_model(ModelConfig(image=SMALL, trunk_width=16, head_width=8), SHAPES, 2)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.box.low, model.box.low)
    sample = observation(2)
    assert torch.equal(other.encode(sample), model.encode(sample))
