"""Chunks of actions: their coordinates, how they are learned, and how they are executed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ebm_policy_ros.energy.action_space import ActionSpace, ActionSpaceConfig
from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.model_config import Kind, ModelConfig
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.policy.chunk import Chunk, executed_of
from ebm_policy_ros.policy.file import load_policy_file, save_policy
from ebm_policy_ros.policy.landscape import landscape
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.calibrate import main as calibrate
from ebm_policy_ros.training.data.dataset import Dataset, DemonstrationError
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.coordinates import ActionConfig, choose_coordinates
from ebm_policy_ros.training.learning.negatives import NegativesConfig
from ebm_policy_ros.training.train import train
from ebm_policy_ros.training.train_config import TrainConfig

PolicyWriter = Callable[..., Path]
# Two actions of two values each, relative to columns 2 and 0 of a measurement.
RELATIVE = ActionSpaceConfig("tool", (2, 0))


def test_relative_actions_are_counted_from_the_newest_measurement() -> None:
    space = ActionSpace(4, RELATIVE)
    tool = torch.tensor([[[9.0, 9.0, 9.0], [1.0, 5.0, 2.0]]])
    origin = space.origin({"tool": tool})
    assert origin is not None and origin.tolist() == [[2.0, 1.0, 2.0, 1.0]]
    space.fit(torch.tensor([[1.0, 1.0, 4.0, 0.0], [3.0, 2.0, 4.0, 2.0]]), origin)
    # From -1 to 1, 0 to 1, 2 to 2, and -1 to 1, with 5 % on each side.
    assert space.low.tolist() == pytest.approx([-1.1, -0.05, 2.0, -1.1])
    assert space.high.tolist() == pytest.approx([1.1, 1.05, 2.0, 1.1])
    action = torch.tensor([[3.1, 0.95, 4.0, 1.0]])
    place = space.normalise(action, origin)
    assert place[0].tolist() == pytest.approx([1.0, -1.0, 0.0, 0.0], abs=1e-6)
    assert space.denormalise(place, origin)[0].tolist() == pytest.approx(action[0].tolist())
    low, high = space.extent(origin)
    assert low[0].tolist() == pytest.approx([0.9, 0.95, 4.0, -0.1])
    assert high[0].tolist() == pytest.approx([3.1, 2.05, 4.0, 2.1])


def test_a_value_that_is_not_measured_stays_absolute() -> None:
    space = ActionSpace(2, ActionSpaceConfig("tool", (0, -1)))
    origin = space.origin({"tool": torch.tensor([[[5.0]]])})
    assert origin is not None and origin.tolist() == [[5.0, 0.0]]


def test_principal_components_hold_what_varies_together() -> None:
    # Steps along one line: (1, 2) then (2, 4); the second value has a tenth of the unit.
    factor = torch.tensor([-2.0, -1.0, 1.0, 2.0])
    chunks = factor[:, None] * torch.tensor([1.0, 20.0, 2.0, 40.0])
    space = ActionSpace(4, ActionSpaceConfig(columns=(-1, -1), components=1))
    space.fit(chunks)
    assert space.size == 1
    # In units of its spread each value goes 1 : 2.
    assert space.scale.tolist() == pytest.approx([2.5, 50.0, 2.5, 50.0])
    assert space.basis[0].tolist() == pytest.approx([0.1**0.5, 0.1**0.5, 0.4**0.5, 0.4**0.5])
    assert torch.allclose(space.denormalise(space.normalise(chunks)), chunks, atol=1e-5)
    low, high = space.extent()
    assert high.tolist() == pytest.approx([2.2, 44.0, 4.4, 88.0])
    assert low.tolist() == pytest.approx((-high).tolist())
    # What the component cannot express is left out.
    beside = torch.tensor([[1.0, -20.0, 0.0, 0.0]])
    assert space.denormalise(space.normalise(beside))[0].tolist() == pytest.approx([0.0] * 4)
    assert space.spread(torch.tensor([1.0])).tolist() == pytest.approx([2.2, 44.0, 4.4, 88.0])


def test_a_gripper_and_an_orientation_keep_their_motion_among_the_components() -> None:
    random = np.random.default_rng(0)
    share = np.arange(1, 9)[:, None] / 8
    tool = random.uniform(-0.3, 0.3, (400, 3))
    moves = share * random.uniform(-0.05, 0.05, (400, 1, 3))
    turn = share[..., 0] * random.uniform(-0.2, 0.2, (400, 1))
    orientation = np.stack([np.cos(turn), np.sin(turn), 0 * turn, 0 * turn], axis=2)
    grip = np.where(random.random((400, 1, 1)) < 0.5, 0.0, 0.04) * np.ones((400, 8, 1))
    actions = np.concatenate([tool[:, None] + moves, orientation, grip], axis=2)
    data = dataclasses.replace(
        lines(400),
        observations={"tool": tool[:, None].astype(np.float32)},
        actions=actions.astype(np.float32),
    )
    config = ActionSpaceConfig("tool", (0, 1, 2, -1, -1, -1, -1, -1))
    wanted = choose_coordinates(ActionConfig("none"), data, None)
    assert wanted.columns == (-1,) * 8
    space = ActionSpace(64, dataclasses.replace(config, components=6))
    flat = torch.from_numpy(data.actions).flatten(1)
    origin = space.origin({"tool": torch.from_numpy(data.observations["tool"])})
    space.fit(flat, origin)
    back = space.denormalise(space.normalise(flat, origin), origin).reshape(400, 8, 8)
    left = (back - torch.from_numpy(data.actions)).square().mean((0, 1)).sqrt()
    moved = torch.from_numpy(actions - actions.mean((0, 1))).square().mean((0, 1)).sqrt()
    for dimension in (0, 1, 2, 4, 7):
        assert left[dimension] < 0.1 * moved[dimension], dimension


def lines(count: int = 600, horizon: int = 8) -> Dataset:
    """Demonstrations that lead the tool to a goal in a straight line within a chunk."""
    random = np.random.default_rng(0)
    tool, goal = random.uniform(-1, 1, (2, count, 2)).astype(np.float32)
    share = np.arange(1, horizon + 1)[:, None] / horizon
    return Dataset(
        observations={"tool": tool[:, None], "goal": goal[:, None]},
        actions=(tool[:, None] + share * (goal - tool)[:, None]).astype(np.float32),
        episodes=np.arange(count) // 20,
        names=tuple(f"e{i}" for i in range(count // 20)),
        outcomes=np.ones(count // 20),
    )


def test_as_many_components_are_chosen_as_hold_the_variance() -> None:
    data = lines()
    assert choose_coordinates(ActionConfig("tool"), data, None).components == 2
    assert choose_coordinates(ActionConfig(), data, None).components == 4, "the tool is one more"
    assert choose_coordinates(ActionConfig(), data, None).columns == (-1, -1)
    assert choose_coordinates(ActionConfig(basis="none"), data, None) == ActionSpaceConfig()
    drawn = np.random.default_rng(1).normal(size=(600, 8, 2)).astype(np.float32)
    rough = dataclasses.replace(data, actions=drawn)
    assert choose_coordinates(ActionConfig(variance=1.0), rough, None).components == 16
    single = dataclasses.replace(data, actions=data.actions[:, :1])
    assert choose_coordinates(ActionConfig(), single, None).components == 0


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (ActionConfig("hand"), "action.relative_to: got 'hand', .* measured are tool, goal"),
        (ActionConfig("none", "pca"), "all demonstrated chunks are equal; .*--action.basis none"),
    ],
)
def test_what_has_no_coordinates_is_refused(config: ActionConfig, told: str) -> None:
    still = dataclasses.replace(lines(), actions=np.ones((600, 8, 2), np.float32))
    with pytest.raises(DemonstrationError, match=told):
        choose_coordinates(config, still, None)


def test_positions_are_relative_to_the_stream_that_measures_them(interface: Interface) -> None:
    values = interface.to_dict()
    values["observation"]["tool"]["fields"] = ["z", "y", "x"]
    values["action"] |= {
        "type": "geometry_msgs/msg/PoseStamped", "fields": ["x", "y", "z"], "measured": "tool",
        "fixed": {"qx": 1.0, "qy": 0.0, "qz": 0.0, "qw": 0.0},
        "low": [0.0] * 3, "high": [1.0] * 3, "max_velocity": [0.1] * 3,
        "gripper": {"topic": "grip", "type": "sensor_msgs/msg/JointState", "name": "finger",
                    "low": 0.0, "high": 1.0},
    }  # fmt: skip
    pose = interface_from_dict(values, "pose")
    data = dataclasses.replace(lines(), actions=np.zeros((600, 1, 4), np.float32))
    chosen = choose_coordinates(ActionConfig(), data, pose)
    assert chosen == ActionSpaceConfig("tool", (2, 1, 0, -1))
    assert choose_coordinates(ActionConfig("none"), data, pose) == ActionSpaceConfig()
    unseen = dataclasses.replace(data, observations={"goal": data.observations["goal"]})
    assert choose_coordinates(ActionConfig(), unseen, pose) == ActionSpaceConfig()
    velocity = choose_coordinates(ActionConfig(), data, interface)
    assert velocity == ActionSpaceConfig(), "a velocity is not relative to a position"


@pytest.mark.parametrize("kind", ["energy", "explicit", "flow", "two_step", "nearest_neighbour"])
def test_a_chunk_is_learned_and_found_in_its_coordinates(kind: Kind, tmp_path: Path) -> None:
    data = lines()
    arrays = {f"observation/{name}": values[:, 0] for name, values in data.observations.items()}
    ends = np.arange(20, 601, 20)
    np.savez(tmp_path / "demos.npz", **arrays, actions=data.actions, episode_ends=ends)  # type: ignore[arg-type]
    model = ModelConfig(kind, ("goal", "tool"), trunk_width=64, head=HeadConfig(width=64))
    learning = LearningConfig(
        learning_rate=3e-3, warm_up=20, validate_every=400, average_decay=0.98,
        negatives=NegativesConfig(count=24, around=24, nearest=0.01, farthest=0.3),
    )  # fmt: skip
    config = TrainConfig(
        tmp_path / "demos.npz", tmp_path / "run", steps=400, device="cpu", threads=1,
        model=model, learning=learning, action=ActionConfig("tool"),
    )  # fmt: skip
    assert train(config)
    policy = Policy.load(tmp_path / "run" / "policy.safetensors", device="cpu")
    seen = {
        "tool": np.array([[0.2, 0.3]], np.float32), "goal": np.array([[0.6, -0.1]], np.float32)
    }  # fmt: skip
    decision = policy.decide(seen, modes=1)
    assert decision.action.shape == (8, 2)
    tolerance = 0.15 if kind == "nearest_neighbour" else 0.06
    assert decision.action[-1] == pytest.approx([0.6, -0.1], abs=tolerance)
    assert decision.action[3] == pytest.approx([0.4, 0.1], abs=tolerance)
    if kind == "explicit":
        calibrated = tmp_path / "calibrated.safetensors"
        calibrate([
            f"--policy={tmp_path}/run/policy.safetensors", f"--data={tmp_path}/demos.npz",
            f"--out={calibrated}", "--device=cpu",
        ])  # fmt: skip
        again = Policy.load(calibrated, device="cpu").decide(seen)
        assert again.action == pytest.approx(decision.action, abs=1e-6)
    if kind == "energy":
        assert decision.candidates.shape[1] == 16 and decision.modes[0].spread.shape == (8, 2)
        energies = policy.energies(seen, decision.candidates)
        # The search rounds to the 8 bits of bfloat16 where the processor has it.
        assert energies == pytest.approx(decision.energies, abs=2e-2, rel=2**-7)
        again = policy.decide(seen, previous=decision.action)
        assert again.action == pytest.approx(decision.action, abs=0.05)
        x, y, values = landscape(policy, seen, decision, 5)
        held = np.tile([x[3], y[1]], 8)[None].astype(np.float32)
        assert values[1, 3] == pytest.approx(policy.energies(seen, held)[0], abs=1e-4)


def test_a_policy_file_with_a_basis_of_another_size_is_refused(
    policy_for: PolicyWriter, interface: Interface
) -> None:
    path = policy_for(interface, [-0.2, -0.2], [0.2, 0.2])
    content = load_policy_file(path)
    save_policy(path, dataclasses.replace(content, coordinates=ActionSpaceConfig("", (-1, -1), 1)))
    with pytest.raises(ValueError, match=r"got weights of shape \(256, 2\)"):
        Policy.load(path, device="cpu")
    save_policy(path, dataclasses.replace(content, coordinates=ActionSpaceConfig("grip", (0, 1))))
    with pytest.raises(ValueError, match="relative_to: got 'grip' with the columns"):
        Policy.load(path, device="cpu")


# Execution


def test_half_of_a_chunk_is_executed_unless_a_number_is_given() -> None:
    assert [executed_of(0, horizon) for horizon in (1, 2, 3, 8)] == [1, 1, 1, 4]
    assert executed_of(8, 8) == 8
    with pytest.raises(ValueError, match="execute: got 9, expected at most 8"):
        executed_of(9, 8)


@pytest.mark.ros
def test_a_node_that_holds_when_unsure_decides_each_time(
    chunked: tuple[Path, Path], interface: Interface
) -> None:
    pytest.importorskip("rclpy")
    from ebm_policy_ros.nodes.policy.loading import LoadedPolicy, on_robot

    policy = Policy.load(chunked[1], device="cpu")
    loaded = LoadedPolicy(policy, on_robot(policy, interface), "several", policy.sha256)
    assert loaded.executed({"execute": 0, "when_unsure": "slow"}) == 2
    assert loaded.executed({"execute": 0, "when_unsure": "hold"}) == 1
    assert loaded.executed({"execute": 3, "when_unsure": "hold"}) == 3
    refusal = loaded.unsuitable({"execute": 5, "when_unsure": "slow"})
    assert refusal == "execute: got 5, expected at most 4, the horizon of the policy"


def test_an_action_of_a_chunk_has_its_turn() -> None:
    chunk = Chunk(type("Some", (), {})(), 1000, 0)
    times = (1000, 1049, 1051, 1100, 1149, 1310)
    assert [chunk.due(time, 100) for time in times] == [0, 0, 1, 1, 1, 3]


def test_the_next_search_starts_from_the_rest_of_the_chunk() -> None:
    decision = type("Some", (), {"action": np.arange(4.0)[:, None]})()
    chunk = Chunk(decision, 0, 0, sent=3)
    assert chunk.ahead().ravel().tolist() == [3.0]
    assert chunk.continued().ravel().tolist() == [3.0, 3.0, 3.0, 3.0]


VELOCITIES = [0.02, 0.04, 0.06, 0.08]


@pytest.fixture
def chunked(interface: Interface, policy_for: PolicyWriter, tmp_path: Path) -> tuple[Path, Path]:
    """Interface of a horizon of four, and a policy that always answers `VELOCITIES` along x."""
    values = interface.to_dict()
    values["action"]["horizon"] = 4
    several = interface_from_dict(values, "several")
    path = tmp_path / "several.yaml"
    path.write_text(yaml.safe_dump(several.to_dict()))
    policy = policy_for(several, [-0.01, -0.01], [0.01, 0.01])
    content = load_policy_file(policy)
    centre = torch.tensor([[x, 0.0] for x in VELOCITIES]).flatten()
    content.state["box.low"], content.state["box.high"] = centre - 1e-4, centre + 1e-4
    save_policy(policy, content)
    return path, policy


@pytest.mark.ros
@pytest.mark.sim
def test_actions_of_a_chunk_go_out_at_their_times(chunked: tuple[Path, Path]) -> None:
    pytest.importorskip("rclpy")
    from scene import Scene

    interface, policy = map(str, chunked)
    for execute, speed, expected in (
        (2, 1.0, VELOCITIES[:2]),
        (3, 1.0, VELOCITIES[:3]),
        (3, 0.5, [0.01]),  # a decision each time
    ):
        scene = Scene(interface)
        try:
            node = scene.start(policy=policy, execute=execute, speed=speed)
            scene.until(lambda: len(scene.sent) >= 12)  # noqa: B023
            moves = [sent.values[0] for sent in scene.sent[:12]]
            wanted = (expected * 12)[:12]
            assert moves == pytest.approx(wanted, abs=2e-3)
            assert node.statistics.counts["decisions"] == 12 // len(expected)
            stamps = np.diff([sent.stamp for sent in scene.sent[:12]])
            assert set(stamps) == {100_000_000}
        finally:
            scene.close()


@pytest.mark.ros
@pytest.mark.sim
def test_within_a_chunk_no_action_goes_out_without_fresh_streams(
    chunked: tuple[Path, Path],
) -> None:
    pytest.importorskip("rclpy")
    from scene import SECOND, Scene

    interface, policy = map(str, chunked)
    scene = Scene(interface)
    try:
        scene.start(policy=policy, execute=4)
        # The camera stops after the first action of a chunk.
        scene.until(lambda: len(scene.sent) > 4 and scene.sent[-1].values[0] < 0.03)
        last = scene.time
        scene.spoil = lambda name, message: () if name == "camera" else (message,)
        scene.run(1.0)
        moving = [sent.time for sent in scene.sent if not sent.is_safe]
        assert max(moving) <= last + 0.25 * SECOND + 0.1 * SECOND
        assert scene.sent[-1].is_safe
        scene.mend()
        begun = len(scene.sent)
        scene.until(lambda: not scene.sent[-1].is_safe)
        first = next(sent for sent in scene.sent[begun:] if not sent.is_safe)
        assert first.values[0] == pytest.approx(VELOCITIES[0], abs=2e-3), "a new decision"
    finally:
        scene.close()


@pytest.mark.ros
@pytest.mark.sim
def test_a_policy_of_another_horizon_takes_over_and_more_actions_than_it_has_are_refused(
    chunked: tuple[Path, Path], policy_for: PolicyWriter, interface: Interface
) -> None:
    pytest.importorskip("rclpy")
    from rclpy.parameter import Parameter
    from scene import Scene
    from std_srvs.srv import Trigger

    several = chunked[1].rename(chunked[1].with_name("several.safetensors"))
    single = policy_for(interface, [0.049, -0.001], [0.051, 0.001])
    scene = Scene("ur5e_push")
    try:
        node = scene.start(policy=str(several))

        def swap(policy: Path, velocity: float) -> None:
            assert node.set_parameters([Parameter("next_policy", value=str(policy))])[0].successful
            answer = scene.call(Trigger, "policy_node/load_policy", Trigger.Request())
            assert answer.success, answer.message
            begun = len(scene.sent)
            scene.until(lambda: len(scene.sent) >= begun + 10)
            assert all(not sent.is_safe for sent in scene.sent[begun:])
            moves = [sent.values[0] for sent in scene.sent[begun + 2 : begun + 10]]
            assert max(moves) == pytest.approx(velocity, abs=3e-3)

        scene.until(lambda: len(scene.sent) >= 6)
        swap(single, 0.05)
        swap(several, VELOCITIES[1])
    finally:
        scene.close()
    scene = Scene("ur5e_push")
    try:
        node = scene.start(policy=str(several), execute=4, next_policy=str(single))
        answer = scene.call(Trigger, "policy_node/load_policy", Trigger.Request())
        assert not answer.success
        assert answer.message.startswith("execute: got 4, expected at most 1")
        assert answer.message.endswith("several.safetensors goes on")
    finally:
        scene.close()
