"""Mirror symmetry of a task: what is mirrored, and that training sees it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from ebm_policy_ros.energy.action_space import ActionSpaceConfig
from ebm_policy_ros.interface import load_interface
from ebm_policy_ros.training.data.batches import Batches
from ebm_policy_ros.training.data.dataset import Dataset, DemonstrationError
from ebm_policy_ros.training.data.mirror import Mirror, Mirrors, mirrors_of
from ebm_policy_ros.training.learning.coordinates import ActionConfig, choose_coordinates
from ebm_policy_ros.util.resources import interface_path

UR5E = load_interface(interface_path("ur5e_push"))
LEFT_RIGHT = {"camera": ["columns"], "tool": ["y"], "action": ["linear.y"]}


def mirror(settings: Any) -> Mirror:
    return Mirror.of(settings, UR5E.shapes, 2, UR5E)


def mirrors(settings: Any) -> Mirrors:
    return mirrors_of(settings, UR5E.shapes, 2, UR5E)


def demonstrations() -> Dataset:
    return Dataset(
        observations={
            "camera": np.arange(2 * 96 * 128 * 3, dtype=np.uint8).reshape(2, 1, 96, 128, 3),
            "tool": np.array([[[0.4, 0.1]], [[0.5, -0.2]]], np.float32),
        },
        actions=np.array([[[0.1, 0.05]], [[0.2, -0.1]]], np.float32),
        episodes=np.array([0, 1]),
        names=("a", "b"),
        outcomes=np.ones(2),
    )


def test_named_fields_change_sign_and_the_picture_is_flipped() -> None:
    seen = {name: torch.from_numpy(v) for name, v in demonstrations().observations.items()}
    found = mirror(LEFT_RIGHT).observation(seen)
    assert found["tool"].flatten().tolist() == pytest.approx([0.4, -0.1, 0.5, 0.2])
    assert torch.equal(found["camera"], seen["camera"].flip(3))
    actions = torch.from_numpy(demonstrations().actions)
    assert mirror(LEFT_RIGHT).action(actions).flatten().tolist() == pytest.approx(
        [0.1, -0.05, 0.2, 0.1]
    )


def test_a_joint_changes_sign_in_position_and_in_velocity() -> None:
    joints = UR5E.observation["joints"]
    found = mirror({"joints": ["shoulder_pan_joint"], "action": ["linear.y"]})
    ones = torch.ones(1, 1, len(joints.names))  # type: ignore[union-attr]
    assert found.observation({"joints": ones})["joints"][0, 0].tolist() == [-1, 1, 1, 1, 1, 1]


def test_columns_signs_and_offsets_exchange_axes() -> None:
    swap = {"columns": [1, 0], "signs": [-1, -1], "offsets": [512, 512]}
    found = Mirror.of({"state": swap, "action": swap}, {"state": (1, 2)}, 2)
    values = torch.tensor([[[100.0, 200.0]]])
    assert found.observation({"state": values})["state"].tolist() == [[[312.0, 412.0]]]
    assert torch.equal(found.action(found.action(values)), values)


def test_batches_have_the_mirror_images_after_the_frames() -> None:
    batches = Batches(
        demonstrations(), ("camera", "tool"), 4, 0, torch.device("cpu"), mirrors(LEFT_RIGHT)
    )
    frames = np.array([1, 3, 0, 2])
    seen, actions = batches.observation(frames), batches.actions(frames)
    assert seen["tool"][:, 0, 1].tolist() == pytest.approx([-0.2, 0.2, 0.1, -0.1])
    assert torch.equal(seen["camera"][1], seen["camera"][0].flip(2))
    assert actions[:, 1].tolist() == pytest.approx([-0.1, 0.1, 0.05, -0.05])
    assert batches.measured(frames).keys() == {"tool"}
    # The demonstrations themselves stay as they are.
    assert torch.equal(batches.observation(np.array([1]))["tool"], torch.tensor([[[0.5, -0.2]]]))


def test_several_mirrors_make_all_combinations_of_their_images() -> None:
    exchange = {"objects": {"columns": [1, 0]}, "action": {}, "intents": [1, 0]}
    turn = {"objects": {"signs": [-1, -1]}, "action": {"signs": [-1]}}
    both = mirrors_of([exchange, turn], {"objects": (1, 2)}, 1)
    assert both.count == 4
    data = Dataset(
        observations={"objects": np.array([[[1, 2]], [[3, 4]], [[5, 6]]], np.float32)},
        actions=np.array([[[7]], [[8]], [[9]]], np.float32),
        episodes=np.array([0, 0, 1]),
        names=("a", "b"),
        outcomes=np.ones(2),
    )
    batches = Batches(data, ("objects",), 4, 0, torch.device("cpu"), both)
    frames = both.images(np.array([0]), 3)
    assert frames.tolist() == [0, 3, 6, 9]
    seen = batches.observation(frames)["objects"][:, 0].tolist()
    assert seen == [[1, 2], [2, 1], [-1, -2], [-2, -1]]
    assert batches.actions(frames)[:, 0].tolist() == [7, 7, -7, -7]
    everything, actions = both.everything(
        {"objects": torch.from_numpy(data.observations["objects"])}, torch.from_numpy(data.actions)
    )
    assert torch.equal(everything["objects"], batches.observation(np.arange(12))["objects"])
    assert torch.equal(actions[:, :, 0], batches.actions(np.arange(12)))
    assert both.episodes(data.episodes).tolist() == [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]
    labels = both.intents(np.array([0, 1, 2]))
    assert labels.tolist() == [0, 1, 2, 1, 0, 2, 0, 1, 2, 1, 0, 2]


def test_components_are_those_of_demonstrations_and_images() -> None:
    data = demonstrations()
    chunks = np.array([[[1.0, 1], [2, 2]], [[2, 2], [4, 4]]], np.float32)
    data = Dataset(data.observations, chunks, data.episodes, data.names, data.outcomes)
    settings = ActionConfig("none", "pca")
    assert choose_coordinates(settings, data, None).components == 1
    found = choose_coordinates(settings, data, None, mirrors(LEFT_RIGHT))
    assert found == ActionSpaceConfig("", (-1, -1), 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tol": ["y"], "action": []}, "mirror: got 'tol', expected streams .*did you mean tool"),
        ({"tool": ["z"], "action": []}, "mirror.tool: got 'z', expected fields .* of x, y"),
        ({"tool": ["y"]}, "mirror.action: missing"),
        ({"camera": ["left"], "action": []}, "mirror.camera: got .*rows, columns or transpose"),
        ({"camera": ["transpose"], "action": []}, "96 x 128 pixels, expected square"),
        ({"tool": {"sign": [1, 1]}, "action": []}, "mirror.tool: got sign, expected columns"),
        (
            {"tool": {"columns": [0, 0]}, "action": []},
            "mirror.tool: got .* expected 2 columns, each once",
        ),
        ({"tool": {"columns": [1, "a"]}, "action": []}, "expected 2 columns, each once"),
        ({"tool": {"columns": [True, False]}, "action": []}, "expected 2 columns, each once"),
        ({"tool": {"signs": [None, 1]}, "action": []}, "2 signs .1 or -1. and offsets"),
        ({"tool": {"signs": [2, 1]}, "action": []}, "2 signs .1 or -1. and offsets"),
        ({"tool": {"offsets": [math.nan, 1]}, "action": []}, "2 signs .* and offsets"),
        ({"tool": {"offsets": [10**400, 1]}, "action": []}, "2 signs .* and offsets"),
        ({"tool": "y", "action": []}, "mirror.tool: got 'y', expected a list of the fields"),
        ({"action": [], "intents": [0, 2]}, "mirror.intents: got .*, expected the intents 0 to K"),
        ([{"action": []}] * 7, "mirror: got 7, expected at most 6, which make 64 images"),
    ],
)
def test_refuses_what_is_not_there_in_one_line(settings: Any, message: str) -> None:
    with pytest.raises(DemonstrationError, match=message) as caught:
        mirrors(settings)
    assert "\n" not in str(caught.value)
