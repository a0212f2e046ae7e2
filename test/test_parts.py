"""Actions with parts: what the interface, the limits and the data of two arms say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from demonstration import START, write_bag
from two_arms import (
    SIDES,
    arm,
    demonstration,
    gripper,
    joint_arm,
    joint_stream,
    tool_stream,
    two_arms,
    values,
)

from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.control.limits import LimitError, part_limits
from ebm_policy_ros.energy.action_space import ActionSpace, ActionSpaceConfig
from ebm_policy_ros.interface import (
    CombinedAction,
    Interface,
    InterfaceError,
    interface_from_dict,
    load_interface,
)
from ebm_policy_ros.policy.file import load_policy_file
from ebm_policy_ros.training.data.arrays import save_arrays
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.data.episodes import Episode, read_episode
from ebm_policy_ros.training.data.idle import moves
from ebm_policy_ros.training.data.jumps import find_jumps
from ebm_policy_ros.training.data.mirror import Mirror
from ebm_policy_ros.training.exchange.demonstrations import with_windows
from ebm_policy_ros.training.exchange.lerobot_writer import write_lerobot
from ebm_policy_ros.training.exchange.sources import read_source
from ebm_policy_ros.training.inspection.columns import action_columns
from ebm_policy_ros.training.inspection.distributions import draw_coverage
from ebm_policy_ros.training.inspection.metrics import episode_metrics
from ebm_policy_ros.training.inspection.page import render_page
from ebm_policy_ros.training.inspection.reading import make_recording
from ebm_policy_ros.training.inspection.report import make_report
from ebm_policy_ros.training.learning.coordinates import ActionConfig, choose_coordinates

BOX = {"stream": "left_tool", "fields": ["x"], "low": [0.0], "high": [0.5]}


def without_joints(**parts: dict[str, Any]) -> Interface:
    """Two arms whose bags have tool poses and commands alone."""
    content = values(**parts)
    for side in SIDES:
        del content["observation"][f"{side}_joints"]
    return interface_from_dict(content, "two_arms")


# Interface


def test_the_dimensions_are_those_of_the_parts_in_alphabetical_order() -> None:
    robot = two_arms(
        right=arm("right"), left=arm("left", high=[0.1, 0.2], gripper=gripper("left"))
    )
    assert robot.action.names == (
        "left.linear.x", "left.linear.y", "left.finger", "right.linear.x", "right.linear.y",
    )  # fmt: skip
    assert robot.action.bounds == (
        (-0.25, -0.25, 0.0, -0.25, -0.25),
        (0.1, 0.2, 0.08, 0.25, 0.25),
    )
    assert robot.action.units == ("m/s", "m/s", "", "m/s", "m/s")
    left, right = robot.parts
    assert (left.name, left.columns) == ("left", slice(0, 3))
    assert (right.name, right.columns) == ("right", slice(3, 5))
    assert left.interface.command.topic == "left/twist"
    assert [command.topic for command in robot.commands] == [
        "left/twist", "left/gripper", "right/twist",
    ]  # fmt: skip
    assert robot.velocities == [0, 1, 3, 4]


def test_a_single_command_is_one_part_without_a_name(interface: Interface) -> None:
    (part,) = interface.parts
    assert part.interface is interface and (part.name, part.columns) == ("", slice(0, 2))
    assert part.field("linear.x") == "linear.x" and part.named("text") == "text"
    assert interface.command is interface.action


def test_the_horizon_beside_the_parts_is_that_of_each() -> None:
    content = values()
    content["action"]["horizon"] = 4
    robot = interface_from_dict(content, "x")
    assert robot.action.horizon == 4
    assert [part.interface.command.horizon for part in robot.parts] == [4, 4]


def test_parts_and_their_workspaces_survive_a_file(tmp_path: Path) -> None:
    robot = two_arms(left=arm("left", workspace=BOX), right=arm("right", gripper=gripper("right")))
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(robot.to_dict()))
    assert load_interface(path) == robot
    assert "horizon" not in robot.to_dict()["action"]["parts"]["left"]
    left, right = (part.interface for part in robot.parts)
    assert interface_from_dict(left.to_dict(), "left") == left, "a whole interface by itself"
    assert left.workspace is not None and left.workspace.high == (0.5,)
    assert right.workspace is None and robot.workspace is None


def test_the_prefix_of_a_robot_is_that_of_all_its_parts() -> None:
    content = values(left=joint_arm("left"), right=arm("right"))
    robot = interface_from_dict({**content, "prefix": "robot1_"}, "x")
    left, right = (part.interface.command for part in robot.parts)
    assert left.fields == ("robot1_left_a", "robot1_left_b")
    assert right.frame_id == "robot1_right_base"
    assert robot.differences(interface_from_dict(content, "x")) == []


def test_limits_of_a_part_may_differ_between_robots_but_not_its_bounds() -> None:
    content = values()
    content["action"]["parts"]["left"] |= {"topic": "l", "workspace": BOX}
    assert two_arms().differences(interface_from_dict(content, "x")) == []
    content["action"]["parts"]["right"]["low"] = [-0.1, -0.1]
    assert two_arms().differences(interface_from_dict(content, "x")) == [
        "action.parts.right.low: [-0.25, -0.25] here, [-0.1, -0.1] there"
    ]


def test_several_commands_are_not_taken_for_one() -> None:
    expected = "two_arms: action has the parts left and right, expected one command"
    with pytest.raises(InterfaceError, match=expected):
        _ = two_arms().command


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": {"left": arm("left")}}, "action.parts: got ['left'], expected at least two"),
        ({"parts": {}}, "action.parts: got [], expected at least two"),
        ({"parts": ["left"]}, "action.parts: got ['left'], expected a command for each part"),
        ({"topic": "x"}, "action: unknown key 'topic', expected parts, horizon"),
        ({"horizon": 0}, "action.horizon: got 0, expected >= 1"),
        ({"parts": {"left": arm("left"), "right": arm("right", topic="/left/twist")}},
         "action.parts: got 'the topic left/twist twice', expected a topic for each command"),
        ({"parts": {"left": arm("left"), "right": arm("right", gripper=gripper("left")
          | {"topic": "left/twist"})}}, "action.parts: got 'the topic left/twist twice'"),
        ({"parts": {"left": arm("left"), "right": arm("right", horizon=2)}},
         "action.parts.right.horizon: got 'a horizon', expected it beside parts"),
        ({"parts": {"left": arm("left"), "right": arm("right", speed=2)}},
         "action.parts.right: unknown key 'speed'"),
        ({"parts": {"left": arm("left"), "right": {"topic": "right/twist"}}},
         "action.parts.right: the key 'type' is missing"),
        ({"parts": {"left": arm("left"), "right": 3}},
         "action.parts.right: got 3, expected keys and values"),
        ({"parts": {"left": arm("left"), "the right": arm("right")}},
         "action.parts: got 'the right', expected names such as left"),
        ({"parts": {"left": arm("left"), "right": joint_arm("right", max_velocity=None)}},
         "action.parts.right.max_velocity: got None"),
        ({"parts": {"left": arm("left"), "right": arm("right", low=[0.3, 0.0])}},
         "action.parts.right.low: got [0.3, 0.0], expected at most high"),
        ({"parts": {"left": arm("left"), "right": joint_arm("right", measured="left_joints")}},
         "action.parts.right.measured: got 'left_joints', expected a stream of the positions of"),
        ({"parts": {"left": joint_arm("left"), "right": joint_arm("right", fields=["left_a",
          "right_b"])}}, "action.parts: got 'the joint left_a twice', expected each joint in one"),
        ({"parts": {side: arm(side, measured="left_tool") for side in ("left", "right")}},
         "action.parts: got 'the stream left_tool twice', expected a stream of its own tool"),
        ({"parts": {"left": arm("left"), "a_gripper": arm("right")}},
         "action.parts: got 'a_gripper', expected names that don't end in _gripper"),
        ({"parts": {"left": arm("left"), "right": arm("right", workspace=BOX)}},
         "action.parts.right.workspace.stream: got 'left_tool in frame left_base', expected a"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_parts_is_one_line(change: dict[str, Any], message: str) -> None:
    content = values()
    content["action"] |= change
    with pytest.raises(InterfaceError) as caught:
        interface_from_dict(content, "robot.yaml")
    assert str(caught.value).startswith("robot.yaml: ") and "\n" not in str(caught.value)
    assert message in str(caught.value)


def test_a_workspace_stands_in_the_part_whose_tool_it_bounds() -> None:
    with pytest.raises(InterfaceError, match=r"workspace: .* a workspace in each of action.parts"):
        interface_from_dict({**values(), "workspace": BOX}, "x")


# Limits


def test_limit_parameters_have_a_number_for_each_dimension_of_all_parts() -> None:
    robot = two_arms(left=arm("left", workspace=BOX), right=joint_arm("right"))
    wanted = {"high": [0.1, 0.2, 0.3, 0.4], "workspace_high": [0.4], "max_velocity": [0.2, 0.1]}
    left, right = part_limits(robot, wanted)
    assert left.high.tolist() == [0.1, 0.2] and right.high.tolist() == [0.3, 0.4]
    assert left.workspace_high.tolist() == [0.4] and not len(right.workspace_high)
    assert right.max_velocity.tolist() == [0.2, 0.1], "only the right one is a position"
    assert left.low.tolist() == [-0.25, -0.25], "what is not set stays"


@pytest.mark.parametrize(
    ("limit", "numbers", "message"),
    [
        ("high", [0.1], "limits.high: got [0.1], expected one number for each of left.linear.x, "
         "left.linear.y, right.linear.x, right.linear.y"),
        ("max_velocity", [0.1], "limits.max_velocity: got [0.1], expected none"),
        ("max_velocity", [], "limits.max_velocity: got [], expected none"),
        ("high", [0.1, 0.1, 0.1, 0.9], "right: limits.high: 0.9 for linear.y is looser"),
    ],
)  # fmt: skip
def test_a_wrong_limit_names_the_part(limit: str, numbers: list[float], message: str) -> None:
    with pytest.raises(LimitError) as caught:
        part_limits(two_arms(), {limit: numbers})
    assert message in str(caught.value)


def test_parts_that_read_like_keys_are_compared() -> None:
    one = two_arms(hold=arm("left"), lag=arm("right"))
    other = two_arms(hold=arm("left"), lag=arm("right", low=[-0.2, -0.1]))
    (told,) = one.differences(other)
    assert told.startswith("action.parts.lag.low: ")


# Data


def test_a_step_has_the_commands_of_both_arms(tmp_path: Path) -> None:
    episode = read_episode(write_bag(tmp_path / "bag", demonstration()), without_joints())
    assert episode.actions.shape == (20, 1, 4)
    np.testing.assert_allclose(episode.actions[:, 0, 0], np.arange(20) / 1000, atol=1e-7)
    np.testing.assert_allclose(episode.actions[:, 0, 2], -np.arange(20) / 1000, atol=1e-7)
    assert not episode.notes


def test_a_step_needs_a_command_of_every_arm(tmp_path: Path) -> None:
    """The right arm is commanded from step 4 on, and not in steps 10 to 14."""
    messages = demonstration(
        20, lambda side, step: side == "left" or step in (*range(4, 10), *range(15, 20))
    )
    episode = read_episode(write_bag(tmp_path / "bag", messages), without_joints())
    steps = np.rint(episode.actions[:, 0, 0] * 1000).astype(int).tolist()
    # A command holds for 2.5 periods.
    assert steps == [*range(4, 12), *range(15, 20)]
    assert np.rint(episode.actions[:, 0, 2] * -1000).astype(int).tolist() == [
        *range(4, 10), 9, 9, *range(15, 20),
    ]  # fmt: skip


def commanded_from_to(
    tmp_path: Path, steps: int, right: Sequence[int], left: Sequence[int] | None = None
) -> Episode:
    """Episode with a horizon of 3; each arm is commanded in some of the steps."""
    content = without_joints().to_dict()
    content["action"]["horizon"] = 3
    ranges = {"left": range(steps) if left is None else left, "right": right}
    messages = demonstration(steps, lambda side, step: step in ranges[side])
    return read_episode(
        write_bag(tmp_path / "bag", messages), interface_from_dict(content, "two_arms")
    )


def test_commands_of_one_arm_that_end_early_do_not_end_the_demonstration(tmp_path: Path) -> None:
    episode = commanded_from_to(tmp_path, 60, range(10))
    # The actions of steps 8 and 9 would reach past the right arm's last command, at step 9.
    steps = np.arange(8)[:, None] + np.arange(3)
    np.testing.assert_allclose(episode.actions[:, :, 0], steps / 1000, atol=1e-7)
    np.testing.assert_allclose(episode.actions[:, :, 2], steps / -1000, atol=1e-7)
    assert set(episode.notes) == {
        "50 steps left out: nobody commanded then",
        "2 steps left out: their actions reach over a gap in the commands",
        "the streams go on for 5.0 s after the last command",
    }


def test_arms_whose_commands_end_within_a_hold_end_together(tmp_path: Path) -> None:
    """The right arm's last command is at step 17, the left one's at step 19."""
    episode = commanded_from_to(tmp_path, 20, range(18))
    assert episode.actions.shape == (18, 3, 4)
    np.testing.assert_allclose(episode.actions[17, :, 0], [0.017, 0.018, 0.019], atol=1e-7)
    np.testing.assert_allclose(episode.actions[17, :, 2], [-0.017, 0.0, 0.0], atol=1e-7)
    assert episode.notes == ("2 steps left out: nobody commanded then",)


def test_steps_before_the_first_command_of_an_arm_are_told(tmp_path: Path) -> None:
    episode = commanded_from_to(tmp_path, 60, range(40, 60))
    np.testing.assert_allclose(episode.actions[:, 0, 0], np.arange(40, 60) / 1000, atol=1e-7)
    assert episode.notes == ("40 steps left out: nobody commanded then",)


def test_steps_that_only_one_arm_was_commanded_in_count_once(tmp_path: Path) -> None:
    """The left arm pauses in steps 10 to 39, and the right one ends at step 19."""
    episode = commanded_from_to(tmp_path, 60, range(20), [*range(10), *range(40, 60)])
    # The left arm's last command before the pause holds for steps 10 and 11 too.
    assert "48 steps left out: nobody commanded then" in episode.notes


JUMP_TIMES = [START + step * 100_000_000 for step in range(20)]


def tools_at(**xs: list[float]) -> list[dict[str, Any]]:
    """Observations of poses, the x of each over the steps."""
    return [
        {name: np.array([[x, 0.0]], np.float32) for name, x in zip(xs, row, strict=True)}
        for row in zip(*xs.values(), strict=True)
    ]


def test_the_tool_of_an_arm_that_commands_joints_is_not_judged_by_the_others_limits() -> None:
    slow = arm("left", low=[-0.05, -0.05], high=[0.05, 0.05])
    robot = two_arms(left=slow, right=joint_arm("right"))
    fast = [0.1 * max(0, min(step - 4, 4)) for step in range(20)]
    joints = {f"{side}_joints": np.zeros((1, 2), np.float32) for side in SIDES}

    def jumps(left: list[float], right: list[float]) -> list[str]:
        seen = [one | joints for one in tools_at(left_tool=left, right_tool=right)]
        return [jump.words for jump in find_jumps(JUMP_TIMES, seen, robot)]

    rest = [0.0] * 20
    assert not jumps(left=rest, right=fast)
    found = jumps(left=fast, right=rest)
    assert len(found) == 4 and all("left_tool jumps by 0.1 m" in words for words in found)


@pytest.mark.parametrize(("named", "count"), [({}, 0), ({"measured": "right_tool"}, 4)])
def test_the_pose_that_an_arm_names_is_judged_by_its_limits(
    named: dict[str, str], count: int
) -> None:
    """Both tools are measured in one frame; what neither arm names is judged by the faster."""
    wide = {"low": [-2.0, -2.0], "high": [2.0, 2.0], "frame_id": "world"}
    narrow = {"low": [-0.05, -0.05], "high": [0.05, 0.05], "frame_id": "world"}
    content = values(left=arm("left", **wide), right=arm("right", **narrow, **named))
    content["observation"] = {
        f"{side}_tool": tool_stream(side) | {"frame_id": "world"} for side in SIDES
    }
    robot = interface_from_dict(content, "two_arms")
    fast = [0.1 * max(0, min(step - 4, 4)) for step in range(20)]
    seen = tools_at(left_tool=fast, right_tool=fast)
    found = [jump.words for jump in find_jumps(JUMP_TIMES, seen, robot)]
    assert len(found) == count and all("right_tool jumps" in words for words in found)


def test_an_arm_that_stands_still_while_the_other_moves_is_not_frozen(tmp_path: Path) -> None:
    """The left arm moves, and the right one is commanded to stand still."""
    left, right = (arm(side, measured=f"{side}_tool") for side in SIDES)
    robot = without_joints(left=left, right=right | {"workspace": BOX | {"stream": "right_tool"}})
    actions = np.zeros((20, 1, 4), np.float32)
    actions[:, 0, 0] = 0.1
    moving = np.arange(20, dtype=np.float32)[:, None, None] * np.ones((1, 2), np.float32)
    still = np.zeros((20, 1, 2), np.float32)

    def frozen(**seen: np.ndarray[Any, Any]) -> dict[str, float]:
        episode = Episode(tmp_path, "success", seen, actions, np.array(JUMP_TIMES))
        return dict(episode_metrics(episode, robot).frozen)

    assert frozen(left_tool=moving, right_tool=still) == {"left_tool": 0, "right_tool": 0}
    found = frozen(left_tool=still, right_tool=moving)
    assert found == {"left_tool": pytest.approx(1.9), "right_tool": 0}
    # A stream that measures no arm, as a camera, may not stand still while one of them moves.
    assert frozen(camera=still) == {"camera": pytest.approx(1.9)}


def test_an_arm_that_was_never_commanded_is_named(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", demonstration(20, lambda side, step: side == "left"))
    with pytest.raises(BagError, match=r"no right/twist .* among its topics"):
        read_episode(bag, without_joints())


def test_a_longer_horizon_has_the_next_commands_of_both(tmp_path: Path) -> None:
    content = without_joints().to_dict()
    content["action"]["horizon"] = 3
    robot = interface_from_dict(content, "x")
    episode = read_episode(write_bag(tmp_path / "bag", demonstration()), robot)
    assert episode.actions.shape == (20, 3, 4)
    np.testing.assert_allclose(episode.actions[5, :, 2], [-0.005, -0.006, -0.007], atol=1e-7)
    np.testing.assert_allclose(episode.actions[19, :, 0], [0.019, 0.0, 0.0], atol=1e-7)


def test_demonstrations_of_both_arms_survive_an_exchange(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    content = without_joints().to_dict()
    content["action"]["horizon"] = 2
    robot = interface_from_dict(content, "x")
    write_bag(tmp_path / "bags" / "one", demonstration(12))
    recorded = read_source(tmp_path / "bags", robot)
    assert recorded.dataset.actions.shape == (12, 2, 4)
    write_lerobot(tmp_path / "lerobot", recorded, 10.0, video=False)
    info = json.loads((tmp_path / "lerobot" / "meta" / "info.json").read_text())
    assert info["features"]["action"]["names"] == list(robot.action.names)
    save_arrays(tmp_path / "arrays.npz", recorded.dataset)
    for name in ("lerobot", "arrays.npz"):
        again = read_source(tmp_path / name, robot)
        np.testing.assert_allclose(again.dataset.actions, recorded.dataset.actions)
        assert again.dimensions["action"] == robot.action.names


def test_inspection_names_the_dimensions_of_both(tmp_path: Path) -> None:
    robot = without_joints()
    labels = [(column.name, column.unit) for column in action_columns(robot)]
    assert labels[2] == ("right.linear.x", "m/s")
    episode = read_episode(write_bag(tmp_path / "bag", demonstration()), robot)
    metrics = episode_metrics(episode, robot)
    assert metrics.steps == 20 and len(metrics.saturated) == 4
    # Up to 2 % of the range of a velocity, 0.5 m/s, is idle: 10 mm/s.
    assert metrics.idle == pytest.approx(11 / 20)


def test_inspection_maps_where_each_tool_was(tmp_path: Path) -> None:
    box = {"fields": ["x", "y"], "high": [0.5, 1.0]}
    lows = {"left": -1.0, "right": -2.0}
    boxes = {s: {**box, "stream": f"{s}_tool", "low": [lows[s], -1.0]} for s in SIDES}
    robot = without_joints(**{side: arm(side, workspace=boxes[side]) for side in SIDES})
    episode = read_episode(write_bag(tmp_path / "bag", demonstration()), robot)
    episode.observations["right_tool"][..., 0] -= 1.5
    drawn = draw_coverage([make_recording("bag", episode, robot)], robot)
    assert [(one.part, one.axes) for one in drawn] == [(side, ("x", "y")) for side in SIDES]
    for one, low, end in zip(drawn, lows.values(), (0.19, 0.19 - 1.5), strict=True):
        assert one.box is not None
        width = one.high[0] - one.low[0]
        assert one.low[0] + one.box[0] * width == pytest.approx(low)
        assert one.low[0] + one.ends[0].x * width == pytest.approx(end)


def test_without_workspaces_each_arm_has_its_own_map(tmp_path: Path) -> None:
    """The pose of the left arm is the first one that does not measure the right arm."""
    content = without_joints(left=arm("left"), right=arm("right", measured="right_tool")).to_dict()
    content["observation"] = dict(reversed(content["observation"].items()))
    robot = interface_from_dict(content, "two_arms")
    assert [*robot.observation] == ["right_tool", "left_tool"]
    episode = read_episode(write_bag(tmp_path / "bag", demonstration()), robot)
    episode.observations["right_tool"][..., 0] -= 1.5
    drawn = draw_coverage([make_recording("bag", episode, robot)], robot)
    ends = [one.low[0] + one.ends[0].x * (one.high[0] - one.low[0]) for one in drawn]
    assert [one.part for one in drawn] == [*SIDES] and all(one.box is None for one in drawn)
    assert ends == pytest.approx([0.19, 0.19 - 1.5])


def test_the_page_names_the_arm_of_each_map(tmp_path: Path) -> None:
    robot = without_joints()
    episode = read_episode(write_bag(tmp_path / "bag", demonstration()), robot)
    report = make_report([make_recording("bag", episode, robot)], robot, frozenset())
    page = render_page(report, tmp_path)
    assert all(f"<h3>Where the {side} tool was <small>" in page for side in SIDES)
    assert 'data-saturated="0.0000"' in page


def test_a_step_moves_if_one_of_the_arms_does() -> None:
    robot = two_arms(left=arm("left"), right=joint_arm("right"))
    still = [0.0, 0.0, 0.3, 0.3]
    rows = np.array([still, still, [0.1, 0.0, 0.3, 0.3], [0.0, 0.0, 0.35, 0.3], still, still])
    assert moves(rows, robot).tolist() == [False, False, True, True, True, False]


def test_after_the_last_action_velocities_are_zero_and_positions_are_held() -> None:
    robot = two_arms(left=joint_arm("left"), right=arm("right"))
    actions = np.array([[[0.1, 0.2, 0.3, 0.4]]], np.float32)
    alone = Dataset(
        {"s": np.zeros((1, 1, 1), np.float32)}, actions, np.array([0]), ("a",), np.ones(1)
    )
    chunk = with_windows(alone, {}, 2, robot.velocities).actions
    np.testing.assert_allclose(chunk[0], [[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.0, 0.0]])


def test_a_mirror_exchanges_the_arms() -> None:
    """Seen in a mirror, the left arm does what the right one does, with y reversed."""
    robot = two_arms()
    exchange = {"columns": [2, 3, 0, 1], "signs": [1, -1, 1, -1]}
    mirror = Mirror.of({"action": exchange}, robot.shapes, 4, robot)
    actions = torch.tensor([[[0.1, 0.2, 0.3, 0.4]]])
    assert mirror.action(actions).flatten().tolist() == pytest.approx([0.3, -0.4, 0.1, -0.2])
    named = Mirror.of({"action": ["left.linear.y"]}, robot.shapes, 4, robot)
    assert named.action(actions).flatten().tolist() == pytest.approx([0.1, -0.2, 0.3, 0.4])


def test_positions_are_relative_to_what_measures_each_arm() -> None:
    robot = two_arms(left=joint_arm("left"), right=joint_arm("right"))
    seen = {
        "left_joints": np.array([[[0.1, 0.2]], [[0.3, 0.4]]], np.float32),
        "right_joints": np.array([[[0.5, 0.6]], [[0.7, 0.8]]], np.float32),
    }
    actions = np.array([[[0.1, 0.3, 0.5, 0.8]], [[0.3, 0.5, 0.7, 1.0]]], np.float32)
    data = Dataset(seen, actions, np.array([0, 1]), ("a", "b"), np.ones(2))
    chosen = choose_coordinates(ActionConfig(), data, robot)
    assert chosen.relative_to == ("left_joints",) * 2 + ("right_joints",) * 2
    assert chosen.columns == (0, 1, 0, 1)
    space = ActionSpace(4, chosen)
    origin = space.origin({name: torch.tensor(v) for name, v in seen.items()})
    assert origin is not None
    np.testing.assert_allclose(origin.numpy(), [[0.1, 0.2, 0.5, 0.6], [0.3, 0.4, 0.7, 0.8]])
    # Every arm moves its second joint, by 0.1 and 0.2 rad.
    away = torch.tensor(actions).flatten(1) - origin
    np.testing.assert_allclose(away.numpy(), [[0, 0.1, 0, 0.2]] * 2, atol=1e-6)


def test_arms_that_one_stream_measures_are_relative_to_that_one() -> None:
    content = values(
        left=joint_arm("left", measured="joints"), right=joint_arm("right", measured="joints")
    )
    names = ["right_a", "right_b", "left_a", "left_b"]
    content["observation"] = {"joints": joint_stream("both", names=names)}
    robot = interface_from_dict(content, "x")
    data = Dataset(
        {"joints": np.zeros((1, 1, 4), np.float32)}, np.zeros((1, 1, 4), np.float32),
        np.array([0]), ("a",), np.ones(1),
    )  # fmt: skip
    found = choose_coordinates(ActionConfig(), data, robot)
    assert found == ActionSpaceConfig("joints", (2, 3, 0, 1))


@pytest.mark.parametrize("streams", [("a",), ("a", ""), (1, "b"), ("", "")])
def test_streams_that_do_not_fit_their_columns_are_refused(streams: Any) -> None:
    with pytest.raises(ValueError, match=r"action\.relative_to"):
        ActionSpaceConfig(streams, (0, 1))


def test_a_policy_file_keeps_the_parts(tmp_path: Path, policy_for: Any) -> None:
    robot = two_arms()
    path = policy_for(robot, [-0.1] * 4, [0.1] * 4)
    found = load_policy_file(path)
    assert found.interface == robot and isinstance(found.interface.action, CombinedAction)
    assert found.action_shape == (1, 4)
