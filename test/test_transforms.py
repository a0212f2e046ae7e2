"""Poses from tf: chains of transforms over time, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from demonstration import START as BEGIN
from demonstration import demonstration, sent, write_bag
from demonstration import header as bag_header
from demonstration import message as bag_message
from messages import header

from ebm_policy_ros.interface import (
    Interface,
    InterfaceError,
    TransformStream,
    interface_from_dict,
)
from ebm_policy_ros.observation.transforms import StaticMessages, TransformReader
from ebm_policy_ros.training.data.episodes import read_episode
from ebm_policy_ros.util.geometry import from_rotation_vector, interpolate, rotate

MS = 1_000_000
START = 5_000 * MS
Values = npt.NDArray[np.float64]
ROOT2 = np.sqrt(0.5)


def transform(
    parent: str,
    child: str,
    position: Any = (0.0, 0.0, 0.0),
    turn: Any = (0.0, 0.0, 0.0, 1.0),
    time_ns: int = START,
) -> SimpleNamespace:
    return SimpleNamespace(
        header=header(time_ns, parent),
        child_frame_id=child,
        transform=SimpleNamespace(
            translation=SimpleNamespace(**dict(zip("xyz", position, strict=True))),
            rotation=SimpleNamespace(**dict(zip("xyzw", turn, strict=True))),
        ),
    )


def message(*transforms: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(transforms=list(transforms))


def reader(frame: str = "world", child: str = "tool") -> TransformReader:
    kind = TransformStream.ROS_TYPES[0]
    return TransformReader(
        TransformStream(topic="/tf", type=kind, max_age=0.1, frame_id=frame, child_frame_id=child)
    )


def values(pose: Any) -> list[float]:
    at, turn = pose.pose.position, pose.pose.orientation
    return [at.x, at.y, at.z, turn.x, turn.y, turn.z, turn.w]


def stamp(pose: Any) -> int:
    assert pose is not None
    return int(pose.header.stamp.sec * 10**9 + pose.header.stamp.nanosec)


def matrix(position: Values, turn: Values) -> Values:
    """Pose as a matrix, shape (4, 4)."""
    found = np.eye(4)
    found[:3, :3] = np.column_stack([rotate(turn, axis) for axis in np.eye(3)])
    found[:3, 3] = position
    return found


LEFT = (0.0, 0.0, ROOT2, ROOT2)  # a quarter turn about z


def test_a_chain_of_moving_and_static_transforms_gives_one_pose() -> None:
    chain = reader()
    chain.add_static(message(transform("base", "tool", (1.0, 0.0, 0.5), time_ns=0)))
    pose = chain.add(message(transform("/world", "base", (1.0, 0.0, 0.0), LEFT)))
    assert values(pose) == pytest.approx([1.0, 1.0, 0.5, *LEFT])
    assert stamp(pose) == START and pose.header.frame_id == "world" and not chain.problem()


@pytest.mark.parametrize("length", [0.991, 1.009])
def test_a_quaternion_that_is_not_quite_of_length_1_does_not_stretch_a_lever(
    length: float,
) -> None:
    chain = reader()
    chain.add_static(message(transform("base", "tool", (1.0, 0.0, 0.0))))
    turn = (length * np.array(LEFT)).tolist()
    pose = chain.add(message(transform("world", "base", turn=turn)))
    assert values(pose) == pytest.approx([0.0, 1.0, 0.0, *LEFT])


def test_two_frames_that_hang_from_a_third_are_placed_in_each_other() -> None:
    chain = reader("camera", "tool")
    chain.add_static(message(transform("base", "camera", (0.0, 2.0, 0.0), LEFT)))
    pose = chain.add(message(transform("base", "tool", (1.0, 2.0, 0.0))))
    # The camera looks along the base's y: what is 1 m along x is to its right.
    assert values(pose) == pytest.approx([0.0, -1.0, 0.0, 0.0, 0.0, -ROOT2, ROOT2])


def test_the_stamp_is_that_of_the_slowest_transform_and_the_others_are_interpolated() -> None:
    chain = reader()
    chain.add(message(transform("world", "base", (1.0, 0.0, 0.0))))
    assert chain.add(message(transform("base", "tool"))) is not None
    assert chain.add(message(transform("base", "tool", (1.0, 0, 0), LEFT, START + 100 * MS))) is (
        None
    ), "the time in common is the same"
    pose = chain.add(message(transform("world", "base", (3.0, 0.0, 0.0), time_ns=START + 50 * MS)))
    assert stamp(pose) == START + 50 * MS
    eighth = from_rotation_vector(np.array([0.0, 0.0, np.pi / 4]))
    assert values(pose) == pytest.approx([3.5, 0.0, 0.0, *eighth])


def test_nothing_is_extrapolated() -> None:
    chain = reader()
    chain.add(message(transform("world", "base")))
    late = message(transform("base", "tool", time_ns=START + 50 * MS))
    assert chain.add(late) is None
    assert chain.problem() == (
        "the transforms from 'world' to 'tool' have no time in common; nothing is extrapolated, "
        "or interpolated over more than 0.1 s (max_age)"
    )
    pose = chain.add(message(transform("world", "base", time_ns=START + 60 * MS)))
    assert stamp(pose) == START + 50 * MS and not chain.problem()


@pytest.mark.parametrize(("gap", "is_placed"), [(100, True), (101, False)])
def test_nothing_is_interpolated_in_a_gap_longer_than_the_maximum_age(
    gap: int, is_placed: bool
) -> None:
    chain = reader()
    begun = message(transform("world", "base"), transform("base", "tool"))
    assert stamp(chain.add(begun)) == START
    chain.add(message(transform("base", "tool", time_ns=START + 50 * MS)))
    pose = chain.add(
        message(transform("world", "base", (1.0, 0.0, 0.0), time_ns=START + gap * MS))
    )
    if is_placed:
        assert stamp(pose) == START + 50 * MS and values(pose)[0] == pytest.approx(0.5)
        return
    assert pose is None and "interpolated over more than 0.1 s (max_age)" in chain.problem()
    # The newest sample after the gap is used as it is.
    pose = chain.add(message(transform("base", "tool", time_ns=START + 120 * MS)))
    assert stamp(pose) == START + gap * MS and values(pose)[0] == 1.0


def test_samples_are_bounded_in_number_however_close_their_stamps_are() -> None:
    chain = reader()
    chain.add(message(transform("base", "tool", time_ns=START)))
    for number in range(5_000):
        chain.add(message(transform("world", "base", (number, 0.0, 0.0), time_ns=START + number)))
    assert chain.add(message(transform("base", "tool", time_ns=START + 999))) is None
    pose = chain.add(message(transform("base", "tool", time_ns=START + 1_000)))
    assert stamp(pose) == START + 1_000 and values(pose)[0] == 1_000.0


@pytest.mark.parametrize(
    ("static", "moving", "problem"),
    [
        ([], [("world", "base")], "no frame 'tool' in tf; it has base, world"),
        ([("a", "tool")], [("world", "base")],
         "'tool' and 'world' are not connected in tf: they hang from 'a' and from 'world'"),
        ([("world", "base"), ("base", "tool")], [("world", "other")],
         "'tool' never moves in 'world': all transforms between them are static"),
        ([], [("a", "tool"), ("tool", "a"), ("b", "world"), ("world", "b")],
         "are not connected in tf"),
    ],
)  # fmt: skip
def test_frames_that_no_chain_connects_are_named(
    static: list[Any], moving: list[Any], problem: str
) -> None:
    chain = reader()
    chain.add_static(message(*(transform(*pair) for pair in static)))
    assert chain.add(message(*(transform(*pair) for pair in moving))) is None
    assert problem in chain.problem()


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (transform("world", "tool", (float("nan"), 0.0, 0.0)), "is no transform"),
        (transform("world", "tool", turn=(0.0, 0.0, 0.0, 0.0)), "quaternion of length 0"),
        (transform("world", "tool", time_ns=0), "from 'world' to 'tool' has no stamp"),
        (transform("tool", "tool"), "does not name two frames"),
        (transform("", "tool"), "does not name two frames"),
        (transform("a" * 257, "tool"), "names a frame with more than 256 characters"),
    ],
)
def test_a_transform_that_is_none_is_refused_and_named(broken: Any, problem: str) -> None:
    chain = reader()
    assert chain.add(message(broken)) is None
    assert problem in chain.problem()
    assert chain.add(message(broken, transform("world", "tool", time_ns=START + MS))) is not None
    assert not chain.problem()


def test_late_and_repeated_transforms_give_no_pose_and_a_clock_set_back_begins_anew() -> None:
    chain = reader()
    assert chain.add(message(transform("world", "tool"))) is not None
    for time in (START, START - 20 * MS):
        assert chain.add(message(transform("world", "tool", (9.0, 0, 0), time_ns=time))) is None
    back = chain.add(message(transform("world", "tool", (1.0, 0, 0), time_ns=START - 3_000 * MS)))
    assert values(back)[0] == 1.0 and stamp(back) == START - 3_000 * MS
    chain.clear()
    assert stamp(chain.add(message(transform("world", "tool")))) == START


def test_the_newest_static_message_of_each_set_of_frames_is_kept() -> None:
    kept: StaticMessages[str] = StaticMessages()
    kept.add(message(transform("base", "flange"), transform("flange", "tool")), "robot")
    for number in range(2_000):
        kept.add(message(transform("/base", "/camera", time_ns=number)), f"camera {number}")
    assert list(kept) == ["robot", "camera 1999"]
    # A publisher that adds a frame sends its earlier ones again.
    kept.add(message(transform("base", "camera"), transform("camera", "lens")), "lens")
    assert list(kept) == ["robot", "lens"]
    for number in range(2_000):
        kept.add(message(transform("base", f"object {number}")), "object")
    assert next(iter(kept)) == "robot" and len(list(kept)) == 1_000
    kept.add(message(transform("base", "flange"), transform("flange", "tool")), "moved")
    assert list(kept)[-1] == "moved" and "robot" not in kept


def test_a_frame_that_gets_another_parent_is_followed() -> None:
    chain = reader()
    chain.add_static(message(transform("world", "table", (0.0, 5.0, 0.0))))
    chain.add(message(transform("world", "tool", (1.0, 0.0, 0.0))))
    moved = message(transform("table", "tool", (1.0, 0.0, 0.0), time_ns=START + MS))
    assert values(chain.add(moved))[:2] == [1.0, 5.0]


def test_the_frames_of_a_random_tree_are_placed_as_by_their_matrices() -> None:
    rng = np.random.default_rng(0)
    names = [f"frame{number}" for number in range(12)]
    placed, links = {names[0]: np.eye(4)}, []
    for number, name in enumerate(names[1:], 1):
        parent = names[rng.integers(number)]
        position, turn = rng.normal(size=3), from_rotation_vector(rng.normal(size=3))
        links.append(transform(parent, name, position, turn))
        placed[name] = placed[parent] @ matrix(position, turn)
    for _ in range(30):
        frame, child = rng.choice(names, 2, replace=False).tolist()
        found = np.array(values(reader(frame, child).add(message(*links))))
        expected = np.linalg.inv(placed[frame]) @ placed[child]
        assert matrix(found[:3], found[3:]) == pytest.approx(expected)


def test_a_rotation_is_interpolated_at_a_constant_speed_along_the_shorter_way() -> None:
    first = from_rotation_vector(np.array([0.3, 0.0, 0.0]))
    second = from_rotation_vector(np.array([1.1, 0.0, 0.0]))
    for sign in (1.0, -1.0):  # two quaternions are the same orientation
        found = interpolate(first, sign * second, 0.25)
        assert found == pytest.approx(from_rotation_vector(np.array([0.5, 0.0, 0.0])))


def with_transforms(interface: Interface, **changed: Any) -> Interface:
    """Interface with a stream from tf, named placed."""
    own = interface.to_dict()
    own["observation"]["placed"] = {
        "topic": "/tf",
        "type": TransformStream.ROS_TYPES[0],
        "frame_id": "base_link",
        "child_frame_id": "tool0",
        "fields": ["x", "y", "qw"],
        "max_age": 0.15,
        **changed,
    }
    return interface_from_dict(own, "robot.yaml")


def test_both_frames_get_the_prefix_of_an_arm(interface: Interface) -> None:
    own = with_transforms(interface).to_dict() | {"prefix": "left_"}
    stream = interface_from_dict(own, "x").observation["placed"]
    assert isinstance(stream, TransformStream)
    assert (stream.frame_id, stream.child_frame_id) == ("left_base_link", "left_tool0")
    assert stream.static_topic == "/tf_static"
    assert interface_from_dict(own, "x").to_dict()["observation"]["placed"]["frame_id"] == (
        "base_link"
    )


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"child_frame_id": "base_link"}, "got 'base_link', expected another frame than frame_id"),
        ({"child_frame_id": ""}, "placed.child_frame_id: got '', expected a name"),
        ({"fields": ["linear.x"]}, "placed.fields: got 'linear.x', expected some of x, y, z, qx"),
    ],
)
def test_a_stream_from_tf_that_cannot_be_is_refused(
    interface: Interface, changed: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InterfaceError, match=problem):
        with_transforms(interface, **changed)


def recorded(parent: str, child: str, x: float, time_ns: int) -> Any:
    """Message of one transform, as in a bag."""
    placed = bag_message(
        "geometry_msgs/msg/Transform",
        translation=bag_message("geometry_msgs/msg/Vector3", x=x, y=0.0, z=0.0),
        rotation=bag_message("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
    )
    one = bag_message(
        "geometry_msgs/msg/TransformStamped",
        header=bag_header(time_ns, parent),
        child_frame_id=child,
        transform=placed,
    )
    return bag_message("tf2_msgs/msg/TFMessage", transforms=[one])


@pytest.mark.parametrize("apart", [0, 900 * 10**9])
def test_a_bag_gives_the_poses_whenever_its_static_transforms_were_sent(
    interface: Interface, tmp_path: Path, apart: int
) -> None:
    """Stamps are of the recorder's clock, or of a simulation's that is far behind it."""
    own = with_transforms(interface)
    messages = demonstration(interface, 20, stamp=lambda time: time - apart)
    for step in range(20):
        time = BEGIN + step * own.period_ns
        content = recorded("base_link", "flange", step / 100, time - apart)
        messages.append(sent("/tf", content, time + MS))
    static = recorded("flange", "tool0", 0.5, BEGIN - 3600 * 10**9)
    messages.append(sent("/tf_static", static, BEGIN - MS))
    bag = write_bag(tmp_path / "bag", sorted(messages, key=lambda one: one.received_ns))
    episode = read_episode(bag, own)
    steps = episode.observations["tool"][:, 0, 0]  # its x is the number of the step
    assert len(steps) >= 18 and not episode.notes
    assert episode.observations["placed"][:, 0, 0] == pytest.approx(0.5 + steps / 100)


def test_a_chain_that_only_moves_needs_no_topic_of_static_transforms(
    interface: Interface, tmp_path: Path
) -> None:
    own = with_transforms(interface)
    messages = demonstration(interface, 10)
    for step in range(10):
        time = BEGIN + step * own.period_ns
        messages.append(sent("/tf", recorded("base_link", "tool0", 0.1, time), time + MS))
    bag = write_bag(tmp_path / "bag", sorted(messages, key=lambda one: one.received_ns))
    assert len(read_episode(bag, own).actions) >= 9
