"""Corrections: what a person commanded in an execution of a policy, and how training learns it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demonstration import (
    GRIPPER,
    LATENCY,
    START,
    Sent,
    demonstration,
    joints,
    pose,
    sent,
    tick,
    ticks_with,
    write_bag,
)

from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import Interface, interface_from_dict, load_interface
from ebm_policy_ros.training.convert import main as convert_demos
from ebm_policy_ros.training.data.arrays import load_arrays, save_arrays
from ebm_policy_ros.training.data.bag_dataset import load_dataset
from ebm_policy_ros.training.data.batches import Batches, split_episodes
from ebm_policy_ros.training.data.dataset import Dataset, DemonstrationError, joined
from ebm_policy_ros.training.data.episodes import NothingCorrected, read_episode
from ebm_policy_ros.training.data.options import EpisodeOptions
from ebm_policy_ros.training.loading import load_training_data
from ebm_policy_ros.training.train import main as train_policy
from ebm_policy_ros.training.train_config import TrainConfig
from ebm_policy_ros.util.cli_options import Messages
from ebm_policy_ros.util.resources import interface_path

TOPIC = "/policy_node/execution"
PERIOD = 100_000_000


@pytest.fixture(scope="module")
def interface() -> Interface:
    return load_interface(interface_path("ur5e_push"))


def execution(
    interface: Interface,
    commanders: Sequence[str],
    topic: str = TOPIC,
    content: Callable[[int, str], Any] = tick,
) -> list[Sent]:
    """Messages of an execution: the commander of each step, and the step's number as command."""
    messages = demonstration(interface, len(commanders))
    for step, commander in enumerate(commanders):
        time = START + step * PERIOD
        messages.append(sent(topic, content(time, commander), time + LATENCY))
    return sorted(messages, key=lambda entry: entry.received_ns)


def spell(*runs: tuple[str, int]) -> list[str]:
    return [commander for commander, count in runs for _ in range(count)]


def steps_of(actions: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    """Steps by the number that each commands."""
    return [round(1000 * float(value)) for value in actions[:, 0, 0]]


def test_only_what_the_person_commanded_is_learned_and_the_rest_is_told(
    interface: Interface, tmp_path: Path
) -> None:
    commanders = spell(("policy", 8), ("person", 6), ("nobody", 2), ("policy", 4))
    bag = write_bag(tmp_path / "bag", execution(interface, commanders))
    episode = read_episode(bag, interface)
    # In the period of step 13 the person lets go.
    assert steps_of(episode.actions) == list(range(8, 13))
    assert episode.corrections.all()
    assert "12 steps left out: commanded by the policy" in episode.notes
    assert "3 steps left out: nobody commanded then" in episode.notes
    assert episode.execution is not None
    assert (episode.execution.policy, episode.execution.sha256) == ("push", "ab" * 32)
    assert TOPIC not in episode.streams


def elsewhere(stamp: int, commander: str) -> Any:
    """Tick of a node that does not publish, for a commander in capitals."""
    publishes = str(commander.islower()).lower()
    return tick(stamp, commander.lower(), publishes=publishes)


@pytest.mark.parametrize("commander", ["POLICY", "PERSON", "NOBODY"])
def test_beside_a_node_that_does_not_publish_everything_is_a_demonstration(
    interface: Interface, tmp_path: Path, commander: str
) -> None:
    messages = execution(interface, [commander] * 12, content=elsewhere)
    episode = read_episode(write_bag(tmp_path / "bag", messages), interface)
    assert steps_of(episode.actions) == list(range(12))
    assert episode.execution is None and not episode.corrections.any()


def test_what_somebody_else_commands_beside_a_stopped_node_is_demonstrated(
    interface: Interface, tmp_path: Path
) -> None:
    """A command holds for 0.25 s: until step 13 one of the node may be in force."""
    commanders = spell(("policy", 5), ("person", 5), ("nobody", 1), ("NOBODY", 9), ("policy", 3))
    messages = execution(interface, commanders, content=elsewhere)
    bag = write_bag(tmp_path / "bag", messages)
    episode = read_episode(bag, interface)
    assert steps_of(episode.actions) == [5, 6, 7, 8, *range(14, 20)]
    assert episode.corrections.tolist() == [True] * 4 + [False] * 6
    ahead = dataclasses.replace(interface, action=dataclasses.replace(interface.action, horizon=3))
    assert steps_of(read_episode(bag, ahead).actions) == [5, 6, *range(14, 18)]


def test_an_execution_is_read_as_a_whole_for_those_who_look_at_it(
    interface: Interface, tmp_path: Path
) -> None:
    commanders = spell(("policy", 8), ("person", 6), ("policy", 4))
    bag = write_bag(tmp_path / "bag", execution(interface, commanders))
    episode = read_episode(bag, interface, whole=True)
    assert episode.execution is not None
    commanders[13] = "nobody"
    assert episode.execution.commanders.tolist() == commanders
    assert episode.corrections.tolist() == [one == "person" for one in commanders]


def test_no_action_of_a_corrected_step_is_the_policys(
    interface: Interface, tmp_path: Path
) -> None:
    """A horizon of 4: steps 10 to 12 reach to step 13, in which the person lets go."""
    action = dataclasses.replace(interface.action, horizon=4)
    ahead = dataclasses.replace(interface, action=action)
    commanders = spell(("policy", 8), ("person", 6), ("policy", 6))
    bag = write_bag(tmp_path / "bag", execution(interface, commanders))
    episode = read_episode(bag, ahead)
    assert steps_of(episode.actions) == [8, 9]
    assert "3 steps left out: their actions reach into what no person commanded" in episode.notes


def test_what_the_policy_commanded_the_gripper_is_no_label_of_a_corrected_step(
    interface: Interface, tmp_path: Path
) -> None:
    """The policy grips at step 3, and the person, who takes over at step 8, at step 11."""
    values = interface.to_dict()
    values["action"]["gripper"] = GRIPPER
    gripping = interface_from_dict(values, "gripper")
    messages = execution(interface, spell(("policy", 8), ("person", 8), ("policy", 4)))
    for step, grip in ((3, 1.0), (11, 0.25)):
        stamp = START + step * PERIOD
        messages.append(sent("/gripper", joints(stamp, ["finger"], [grip]), stamp + LATENCY))
    messages.sort(key=lambda entry: entry.received_ns)
    episode = read_episode(write_bag(tmp_path / "bag", messages), gripping)
    assert steps_of(episode.actions) == [11, 12, 13, 14]
    assert episode.actions[:, 0, -1].tolist() == [0.25] * 4
    reason = "the person had not commanded the gripper yet in this takeover"
    assert f"3 steps left out: {reason}" in episode.notes
    # In shadow mode the same commands are those of a demonstration.
    shadow = execution(interface, ["POLICY"] * 10, content=elsewhere)
    stamp = START - PERIOD // 10
    grasp = sent("/gripper", joints(stamp, ["finger"], [1.0]), START + LATENCY)
    demo = read_episode(write_bag(tmp_path / "demo", [grasp, *shadow]), gripping)
    assert len(demo.actions) == 10


def test_the_history_of_a_corrected_step_reaches_back_to_before_the_takeover(
    interface: Interface, tmp_path: Path
) -> None:
    tool = dataclasses.replace(interface.observation["tool"], history=3)
    streams = {**interface.observation, "tool": tool}
    seen = dataclasses.replace(interface, observation=streams)
    bag = write_bag(tmp_path / "bag", execution(interface, spell(("policy", 5), ("person", 5))))
    episode = read_episode(bag, seen)
    assert episode.observations["tool"][0, :, 0].tolist() == [3.0, 4.0, 5.0]


def test_without_ticks_nobody_knows_who_commanded(interface: Interface, tmp_path: Path) -> None:
    """The ticks end with step 9, which holds for a period and a half, and nobody lets go."""
    messages = [
        entry
        for entry in execution(interface, ["person"] * 30)
        if entry.topic != TOPIC or entry.received_ns < START + 10 * PERIOD
    ]
    episode = read_episode(write_bag(tmp_path / "bag", messages), interface)
    assert steps_of(episode.actions)[-1] == 9
    assert any("the execution does not tell who commanded" in note for note in episode.notes)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"commander": "robot", "state": "fresh"}, "commander is 'robot', expected policy, perso"),
        ({"commander": "person"}, "no value state"),
        (
            {"commander": "person", "state": "fresh", "publishes": "1"},
            "publishes is '1', expected",
        ),
        ({"commander": "person", "state": "late"}, "state is 'late', expected fresh, hold or sto"),
        ({"commander": "person", "state": "fresh", "sha256": "x" * 10**6}, "sha256 is 'xxxxx"),
        ({str(i): "" for i in range(100)}, "got 100 values, expected at most 64"),
    ],
)
def test_ticks_with_bad_values_are_refused_in_one_line_and_nothing_is_learned_from_them(
    interface: Interface, tmp_path: Path, values: dict[str, str], told: str
) -> None:
    def content(stamp: int, commander: str) -> Any:
        return ticks_with(stamp, values) if commander == "bad" else tick(stamp, commander)

    commanders = spell(("person", 5), ("bad", 20))
    bag = write_bag(tmp_path / "bag", execution(interface, commanders, content=content))
    episode = read_episode(bag, interface)
    (note,) = (note for note in episode.notes if "ticks can't be used" in note)
    assert told in note and len(note) < 300
    # The last good tick, of step 4, is not continued.
    assert steps_of(episode.actions) == list(range(5))
    only = write_bag(tmp_path / "only", execution(interface, ["bad"] * 9, content=content))
    with pytest.raises(BagError, match="ticks can't be used"):
        read_episode(only, interface)


def test_a_topic_of_that_name_with_another_type_is_told(
    interface: Interface, tmp_path: Path
) -> None:
    bag = write_bag(
        tmp_path / "bag",
        [*demonstration(interface), sent(TOPIC, pose(START, 0.0, 0.0), START)],
    )
    episode = read_episode(bag, interface)
    assert f"{TOPIC}: its messages of type geometry_msgs/msg/PoseStamped are left out" in (
        episode.notes
    )


def test_the_topic_may_have_another_name_that_the_bag_notes(
    interface: Interface, tmp_path: Path
) -> None:
    messages = execution(interface, spell(("policy", 5), ("person", 5)), "/left/pusher/execution")
    custom = {"execution": json.dumps({"topic": "/left/pusher/execution"})}
    bag = write_bag(tmp_path / "bag", messages, custom=custom)
    assert steps_of(read_episode(bag, interface).actions) == [5, 6, 7, 8, 9]  # to the end
    for text in ('{"topic": "a b"}', '{"topic": 3}', "{", "[1]"):
        other = write_bag(tmp_path / str(len(text)), messages, custom={"execution": text})
        with pytest.raises(BagError, match="the execution noted in it cannot be read"):
            read_episode(other, interface)


def corrected_folder(interface: Interface, folder: Path) -> Path:
    """Two demonstrations, a corrected execution and one that nobody corrected."""
    for number in range(2):
        write_bag(folder / f"demo_{number}", demonstration(interface, 12))
    corrected = spell(("policy", 4), ("person", 5), ("policy", 3))
    write_bag(folder / "execution_0", execution(interface, corrected))
    write_bag(folder / "execution_1", execution(interface, ["policy"] * 9))
    return folder


def test_a_folder_may_mix_demonstrations_and_executions(
    interface: Interface, tmp_path: Path
) -> None:
    folder = corrected_folder(interface, tmp_path / "data")
    for _ in range(2):  # decoded, and from the cache
        data = load_dataset(folder, interface)
        assert [Path(name).name for name in data.names] == ["demo_0", "demo_1", "execution_0"]
        assert data.corrections is not None
        assert np.bincount(data.episodes, data.corrections).tolist() == [0, 0, 4]
        untaught = [name for name, note in data.notes if "no person took over" in note]
        assert untaught == [str(folder / "execution_1")]
    with pytest.raises(NothingCorrected):
        read_episode(folder / "execution_1", interface)


def test_what_gives_nothing_for_one_horizon_may_teach_another(
    interface: Interface, tmp_path: Path
) -> None:
    """A takeover of five learned steps is too short for eight actions; one cache serves both."""
    ahead = dataclasses.replace(interface, action=dataclasses.replace(interface.action, horizon=8))
    write_bag(tmp_path / "demo", demonstration(interface, 12))
    commanders = spell(("policy", 6), ("person", 6), ("policy", 6))
    bag = write_bag(tmp_path / "execution", execution(interface, commanders))
    for _ in range(2):
        data = load_dataset(tmp_path, ahead)
        assert data.names == (str(tmp_path / "demo"),)
        told = [note for name, note in data.notes if name == str(bag)]
        assert told[0].startswith("nothing that a person commanded")
        assert "5 steps left out: their actions reach into what no person commanded" in told
        data = load_dataset(tmp_path, interface)
        assert data.corrections is not None and data.corrections.sum() == 5


@pytest.mark.parametrize("commander", ["policy", "nobody"])
def test_executions_that_nobody_corrected_do_not_stop_the_training(
    interface: Interface, tmp_path: Path, capsys: pytest.CaptureFixture[str], commander: str
) -> None:
    write_bag(tmp_path / "demos" / "demo", demonstration(interface, 12))
    write_bag(tmp_path / "runs" / "run", execution(interface, [commander] * 20))
    options = EpisodeOptions(interface="ur5e_push", trim_idle=False)
    for folders in (["demos", "runs"], ["runs", "demos"]):
        data = load_training_data([tmp_path / name for name in folders], options).dataset
        assert len(data.actions) == 12 and data.corrections is None
        assert "no person took over from the policy" in capsys.readouterr().err
    with pytest.raises(BagError, match=r"every demonstration in it is a failure, .*no person"):
        load_training_data([tmp_path / "runs", tmp_path / "runs"], options)


def test_corrections_stay_marked_in_arrays(interface: Interface, tmp_path: Path) -> None:
    folder = corrected_folder(interface, tmp_path / "data")
    out = str(tmp_path / "all.npz")
    chosen = ["--interface", "ur5e_push", "--trim_idle", "false"]
    convert_demos(["--source", str(folder), *chosen, "--out", out])
    data = load_arrays(tmp_path / "all.npz")
    assert data.corrections is not None and data.corrections.sum() == 4
    assert steps_of(data.actions[data.corrections]) == [4, 5, 6, 7]


def test_demonstrations_alone_have_no_corrections(interface: Interface, tmp_path: Path) -> None:
    write_bag(tmp_path / "demos" / "demo", demonstration(interface))
    assert load_dataset(tmp_path / "demos", interface).corrections is None


def data_of(steps: Sequence[int], corrected: bool, first: float = 0.0) -> Dataset:
    """Arrays of episodes of some lengths, whose actions are unique numbers."""
    total = sum(steps)
    numbers = first + np.arange(total, dtype=np.float32).reshape(total, 1, 1)
    return Dataset(
        observations={"tool": numbers},
        actions=numbers,
        episodes=np.repeat(np.arange(len(steps)), steps),
        names=tuple(f"{first}_{i}" for i in range(len(steps))),
        outcomes=np.ones(len(steps)),
        corrections=np.ones(total, np.bool_) if corrected else None,
    )


@pytest.mark.parametrize(("weight", "drawn"), [(1.0, 8), (3.0, 24), (0.5, 4), (1.25, 10)])
def test_a_corrected_step_is_drawn_as_often_as_it_weighs(weight: float, drawn: int) -> None:
    data = joined([data_of([10, 10], False), data_of([8], True, 100.0)])
    frames = np.arange(28)
    batches = Batches(data, ("tool",), 2, 0, torch.device("cpu"), weight_corrections=weight)
    steps = (20 + drawn) // 2
    for epoch in range(2):
        counts = np.bincount(
            np.concatenate([batches.frames_of(epoch * steps + i, frames) for i in range(steps)]),
            minlength=28,
        )
        assert counts[:20].tolist() == [1] * 20
        assert counts[20:].sum() == drawn and np.ptp(counts[20:]) <= 1


@pytest.mark.parametrize(
    ("demonstrated", "corrected", "weight", "drawn"),
    [(1, 5, 0.5, 3), (1, 3, 1.5, 5), (10, 5, 2.5, 22), (2, 1, 0.5, 2), (3, 7, 2.5, 21)],
)
def test_each_batch_of_an_epoch_is_full_whatever_the_weight_is(
    demonstrated: int, corrected: int, weight: float, drawn: int
) -> None:
    data = joined([data_of([demonstrated], False), data_of([corrected], True, 100.0)])
    batches = Batches(data, ("tool",), 1, 0, torch.device("cpu"), weight_corrections=weight)
    frames = np.arange(demonstrated + corrected)
    for step in range(2 * drawn):
        assert len(batches.frames_of(step, frames)) == 1
    epoch = [int(batches.frames_of(step, frames)[0]) for step in range(drawn)]
    assert set(range(demonstrated)) < {*epoch, -1}, "each demonstrated step once"


def test_a_weight_that_leaves_nothing_is_refused() -> None:
    data = data_of([40], True)
    batches = Batches(data, ("tool",), 8, 0, torch.device("cpu"), weight_corrections=0.01)
    with pytest.raises(DemonstrationError, match=r"weight_corrections: got 0.01, of which 40"):
        batches.frames_of(0, np.arange(40))


def test_the_weight_one_draws_as_if_nothing_was_corrected() -> None:
    data = joined([data_of([10], False), data_of([6], True)])
    plain = dataclasses.replace(data, corrections=None)
    drawn = [
        Batches(each, ("tool",), 4, 0, torch.device("cpu")).frames_of(2, np.arange(16)).tolist()
        for each in (data, plain)
    ]
    assert drawn[0] == drawn[1]


def test_no_correction_is_held_out_while_there_are_demonstrations() -> None:
    episodes = np.repeat(np.arange(6), 3)
    corrections = episodes >= 3
    for seed in range(5):
        train, held = split_episodes(episodes, 0.5, seed, corrections)
        assert set(episodes[held]) < {0, 1, 2} and {3, 4, 5} < set(episodes[train])
    _, held = split_episodes(episodes, 0.5, 0, np.ones(18, np.bool_))
    assert len(np.unique(episodes[held])) == 3, "of corrections alone, some are"


def test_several_sources_become_one(tmp_path: Path) -> None:
    save_arrays(tmp_path / "demos.npz", data_of([4, 5], False))
    save_arrays(tmp_path / "corrections.npz", data_of([3], True, 50.0))
    paths = [tmp_path / "demos.npz", tmp_path / "corrections.npz"]
    data = load_training_data(paths, EpisodeOptions()).dataset
    assert data.episodes.tolist() == [0] * 4 + [1] * 5 + [2] * 3
    assert data.corrections is not None and data.corrections.tolist() == [False] * 9 + [True] * 3
    assert data.names == ("0.0_0", "0.0_1", "50.0_0")


def test_sources_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    first = data_of([4], False)
    other = dataclasses.replace(first, observations={"tool": np.zeros((4, 1, 2), np.float32)})
    with pytest.raises(
        DemonstrationError, match=r"tool has shape \(1, 2\) a step, in .* \(1, 1\)"
    ):
        joined([first, other])
    labelled = dataclasses.replace(first, intents=np.zeros(4, np.int64))
    with pytest.raises(DemonstrationError, match="has no intents"):
        joined([labelled, first])
    with pytest.raises(DemonstrationError, match=r"exclude: got .* for 2 folders"):
        load_training_data([tmp_path, tmp_path], EpisodeOptions(exclude=tmp_path / "list.txt"))


@pytest.mark.parametrize("marks", [np.ones(3, np.bool_), np.ones(4), np.ones((4, 1), np.bool_)])
def test_corrections_of_another_form_are_refused(tmp_path: Path, marks: Any) -> None:
    np.savez(
        tmp_path / "demos.npz",
        actions=np.zeros((4, 2)),
        episode_ends=[4],
        corrections=marks,
        **{"observation/tool": np.zeros((4, 2))},  # type: ignore[arg-type]
    )
    with pytest.raises(
        DemonstrationError, match=r"corrections has shape .* expected \(4,\) of bool"
    ):
        load_arrays(tmp_path / "demos.npz")


def test_words_after_an_option_become_a_list() -> None:
    gathered = Messages(TrainConfig, False).gathered
    words = ["--out", "o", "--data", "a b", "c", "--seed", "1"]
    assert gathered(words) == ["--out", "o", '--data=["a b", "c"]', "--seed", "1"]
    for alone in (["--data", "a", "--seed", "1"], ["--data", "a"], ["--data"], ["--data=a"], []):
        assert gathered(alone) == alone


def arrays(path: Path, corrected: bool, seed: int) -> Path:
    random = np.random.default_rng(seed)
    tool = random.uniform(-1, 1, (60, 1, 2)).astype(np.float32)
    data = Dataset(
        observations={"tool": tool},
        actions=(0.2 * np.tanh(2 * tool)).astype(np.float32),
        episodes=np.arange(60) // 12,
        names=tuple(f"{path.stem}_{i}" for i in range(5)),
        outcomes=np.ones(5),
        corrections=np.ones(60, np.bool_) if corrected else None,
    )
    save_arrays(path, data)
    return path


@pytest.mark.slow
def test_train_policy_learns_from_demonstrations_and_corrections(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ebm_policy_ros.policy.file import load_policy_file

    sources = [str(arrays(tmp_path / f"{name}.npz", name == "corrections", seed))
               for seed, name in enumerate(("demos", "corrections"))]  # fmt: skip
    out = tmp_path / "run"
    flags = ["--data", *sources, "--out", str(out), "--steps", "4", "--device", "cpu"]
    train_policy([*flags, "--weight_corrections", "2"])
    assert "10 demonstrations" in capsys.readouterr().out
    training = load_policy_file(out / "policy.safetensors").training
    assert training["corrected_steps"] == 60
    assert training["config"]["weight_corrections"] == 2
    # The run is continued with the same weight only.
    with pytest.raises(SystemExit):
        train_policy([*flags, "--weight_corrections", "3", "--resume"])
    assert "weight_corrections" in capsys.readouterr().err
