"""Issues and metrics of demonstrations with known faults."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from demonstration import START, joints
from installing import ROOT
from motions import sweep, track

from ebm_policy_ros.interface import (
    Gripper,
    Interface,
    JointStream,
    Stream,
    WrenchStream,
    load_interface,
)
from ebm_policy_ros.messages.streams import decode
from ebm_policy_ros.training.data.episodes import Episode
from ebm_policy_ros.training.data.timeline import StreamMetrics
from ebm_policy_ros.training.inspection.checks import Issue, find_issues, score
from ebm_policy_ros.training.inspection.columns import action_columns, state_columns
from ebm_policy_ros.training.inspection.comparison import (
    constant_columns,
    find_duplicates,
    find_outliers,
)
from ebm_policy_ros.training.inspection.curves import draw_curves, usual_scales
from ebm_policy_ros.training.inspection.distributions import draw_coverage, draw_histogram
from ebm_policy_ros.training.inspection.issue_types import KINDS
from ebm_policy_ros.training.inspection.metrics import EpisodeMetrics, episode_metrics
from ebm_policy_ros.training.inspection.page import render_page
from ebm_policy_ros.training.inspection.pictures import film_strip
from ebm_policy_ros.training.inspection.reading import Recording, Unusable, make_recording
from ebm_policy_ros.training.inspection.report import make_report
from ebm_policy_ros.util.resources import interface_path

Numbers = npt.NDArray[np.floating]
PERIOD = 100_000_000


def episode(actions: Numbers, times: Sequence[int] | None = None, **changes: Any) -> Episode:
    """An episode of ur5e_push that follows its actions, (M, 2)."""
    steps = len(actions)
    pictures = np.zeros((steps, 1, 96, 128, 3), np.uint8)
    pictures[:, 0, 0, 0, 0] = np.arange(steps) % 250
    observations = {
        "camera": pictures,
        "joints": np.cumsum(np.ones((steps, 1, 6), np.float32), axis=0),
        "tool": track(actions.astype(np.float64))[:, None].astype(np.float32),
    }
    values: dict[str, Any] = {
        "bag": Path("bag"),
        "outcome": "success",
        "observations": {**observations, **changes.pop("observations", {})},
        "actions": actions[:, None].astype(np.float32),
        "times_ns": START + PERIOD * np.array(times if times is not None else range(steps)),
    }
    return Episode(**{**values, **changes})


def metrics_of(interface: Interface, *arguments: Any, **changes: Any) -> EpisodeMetrics:
    return episode_metrics(episode(*arguments, **changes), interface)


def recordings(interface: Interface, *episodes: Episode) -> list[Recording]:
    return [make_recording(f"bag_{i}", one, interface) for i, one in enumerate(episodes)]


def usual(interface: Interface, number: int = 6) -> list[Recording]:
    return recordings(interface, *(episode(sweep(i)) for i in range(number)))


def issues_of(found: Sequence[Recording | Unusable], interface: Interface) -> list[set[str]]:
    used = [one for one in found if isinstance(one, Recording)]
    listed = find_issues(found, used, interface)
    return [{issue.kind for issue in listed[one.name]} for one in found]


def test_idle_time_is_where_no_velocity_is_commanded(interface: Interface) -> None:
    actions = sweep(1, 150)
    actions[40:90] = 0.009  # 2 % of the range, 0.5 m/s, are 0.01
    metrics = metrics_of(interface, actions)
    assert metrics.idle == pytest.approx(50 / 150)
    assert metrics.longest_idle == pytest.approx((4.0, 5.0))
    actions[40:90, 1] = 0.011
    assert metrics_of(interface, actions).idle == 0


def test_idle_time_of_positions_is_where_they_stay(interface: Interface) -> None:
    pose = load_interface(interface_path("fr3_pose"))  # at most 0.1 m/s: idle up to 4 mm/s
    actions = np.zeros((100, 3), np.float32)
    actions[:50, 0] = np.linspace(0.4, 0.5, 50)
    actions[50:, 0] = 0.5 + np.linspace(0, 0.01, 50)
    states = {"tool": actions[:, None]}
    one = dataclasses.replace(
        episode(sweep(0, 100)), actions=actions[:, None], observations=states
    )
    metrics = episode_metrics(one, pose)
    assert metrics.idle == pytest.approx(0.5)
    assert metrics.longest_idle == pytest.approx((5.0, 5.0))


def test_a_gripper_that_moves_is_not_idle(interface: Interface) -> None:
    kind = "std_msgs/msg/Float64MultiArray"
    gripper = Gripper(topic="grip", type=kind, name="grip", low=0.0, high=0.8)
    action = dataclasses.replace(interface.command, gripper=gripper)
    actions = np.zeros((20, 1, 3), np.float32)
    one = dataclasses.replace(episode(sweep(0, 20)), actions=actions)
    with_gripper = dataclasses.replace(interface, action=action)
    metrics = episode_metrics(one, with_gripper)
    assert metrics.idle == 1.0 and metrics.saturated == (0.0, 0.0, 1.0)
    actions[10:, 0, 2] = 0.8
    assert episode_metrics(one, with_gripper).idle == pytest.approx(19 / 20)


def test_actions_at_and_beyond_the_bounds_are_counted(interface: Interface) -> None:
    actions = sweep(0, 100)
    actions[:30, 0] = 0.25
    actions[30:40, 0] = -0.25
    actions[:10, 1] = 0.26
    metrics = metrics_of(interface, actions)
    assert metrics.saturated == pytest.approx((0.4, 0.1))
    assert metrics.outside == pytest.approx((0.0, 0.1))


def test_jerk_is_the_second_difference_of_the_velocities(interface: Interface) -> None:
    steady = np.full((40, 2), 0.1)
    assert metrics_of(interface, steady).jerk == 0
    ramp = np.linspace(-0.2, 0.2, 40)[:, None].repeat(2, axis=1)
    assert metrics_of(interface, ramp).jerk == pytest.approx(0, abs=1e-6)
    # From one bound to the other and back in each step: 1, -1, ... of the range, so 2 each time.
    alternating = 0.25 * (-1.0) ** np.arange(40)[:, None].repeat(2, axis=1)
    assert metrics_of(interface, alternating).jerk == pytest.approx(2.0)


def test_steps_that_lack_are_a_gap(interface: Interface) -> None:
    times = [*range(50), *range(68, 150)]
    metrics = metrics_of(interface, sweep(0, 132), times)
    assert metrics.steps == 132 and metrics.duration == pytest.approx(15.0)
    assert len(metrics.gaps) == 1 and metrics.gaps[0] == pytest.approx((5.0, 1.8))
    assert metrics.usable == pytest.approx(132 / 150)


def test_a_stream_that_repeats_itself_during_motion_is_frozen(interface: Interface) -> None:
    one = episode(sweep(0, 60))
    one.observations["camera"][20:33] = one.observations["camera"][20]
    assert episode_metrics(one, interface).frozen["camera"] == pytest.approx(1.2)
    actions = sweep(0, 60)
    actions[20:33] = 0
    still = dataclasses.replace(one, actions=actions[:, None].astype(np.float32))
    assert episode_metrics(still, interface).frozen["camera"] == 0


def test_a_film_strip_shows_the_first_and_the_last_frame() -> None:
    frames = np.zeros((100, 192, 256, 3), np.uint8)
    frames[0], frames[-1] = (255, 0, 0), (0, 0, 255)
    strip = film_strip(frames, np.arange(100) / 10)
    assert strip.times[0] == 0 and strip.times[-1] == 9.9 and len(strip.times) == 8
    assert strip.size == (96, 8 * 128)
    picture = cv2.imdecode(np.frombuffer(strip.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (96, 8 * 128, 3)
    assert picture[48, 64] == pytest.approx([0, 0, 255], abs=4)  # OpenCV stores blue first
    assert picture[48, -64] == pytest.approx([255, 0, 0], abs=4)


def test_copies_are_found_and_other_episodes_are_not(interface: Interface) -> None:
    shaken = sweep(2) + np.random.default_rng(0).normal(0, 1e-4, (60, 2))
    found = recordings(
        interface, *(episode(sweep(i)) for i in range(4)), episode(sweep(1)), episode(shaken)
    )
    pairs = find_duplicates(found)
    assert [(pair.original, pair.copy) for pair in pairs] == [
        ("bag_1", "bag_4"),
        ("bag_2", "bag_5"),
    ]
    assert pairs[0].difference == 0 and 0 < pairs[1].difference < 0.01
    odd = dataclasses.replace(found[1], notes=("metadata.yaml: missing",))
    (pair,) = find_duplicates([odd, found[4]])
    assert (pair.original, pair.copy) == ("bag_4", "bag_1")
    assert find_duplicates(found[:4]) == []


def test_an_action_that_goes_further_than_all_others_is_told(interface: Interface) -> None:
    far = 0.5 * sweep(0)
    far[:30, 1] = -0.25
    found = recordings(interface, *(episode(sweep(i) * 0.5) for i in range(12)), episode(far))
    outliers = find_outliers(found, interface)
    assert list(outliers) == ["bag_12"]
    (outlier,) = outliers["bag_12"]
    assert outlier.dimension == "linear.y" and outlier.value == pytest.approx(-0.25)
    assert outlier.usual == pytest.approx((-0.05, 0.05), abs=0.005)


def test_numbers_are_named_in_the_order_in_which_observations_have_them() -> None:
    streams: dict[str, Stream] = {
        "arm": JointStream(
            topic="joint_states", type="sensor_msgs/msg/JointState", max_age=1.0,
            names=("a", "b"), fields=("position", "effort"),
        ),
        "force": WrenchStream(
            topic="wrench", type="geometry_msgs/msg/WrenchStamped", max_age=1.0,
            frame_id="tool", fields=("force.z", "torque.x"),
        ),
    }  # fmt: skip
    push = load_interface(interface_path("ur5e_push"))
    interface = dataclasses.replace(
        push,
        observation={**push.observation, **streams},
        action=dataclasses.replace(push.command, measured=""),
    )
    named = [(c.label, c.unit) for c in state_columns(interface) if c.source in streams]
    assert named == [
        ("arm a position", "rad"), ("arm b position", "rad"),
        ("arm a effort", "Nm"), ("arm b effort", "Nm"),
        ("force force.z", "N"), ("force torque.x", "Nm"),
    ]  # fmt: skip
    message = joints(START, ["b", "a"], [2.0, 1.0])
    message.effort = np.array([4.0, 3.0])
    sample = decode(streams["arm"], [(message, ("a", "b"))])
    assert sample.tolist() == [1, 2, 3, 4]


def test_numbers_that_never_change_are_named_unless_they_are_pinned(interface: Interface) -> None:
    actions = [sweep(i) * [1, 0] for i in range(3)]
    found = recordings(interface, *map(episode, actions))
    named = [(column.label, value) for column, value in constant_columns(found, interface)]
    assert named == [("action linear.y", 0), ("tool y", 0)]
    pinned = dataclasses.replace(interface.command, low=(-0.25, 0.0), high=(0.25, 0.0))
    other = dataclasses.replace(interface, action=pinned)
    assert [c.label for c, _ in constant_columns(found, other)] == ["tool y"]


def test_a_clock_that_was_set_back_is_no_gap(interface: Interface) -> None:
    metrics = metrics_of(interface, sweep(0, 20), [*range(100, 110), *range(0, 10)])
    assert metrics.gaps == () and metrics.duration == pytest.approx(2.0) and metrics.usable == 1.0


def test_a_note_that_many_episodes_have_is_told_once(interface: Interface) -> None:
    notes = [[f"camera: {i} of 60 messages have no stamp"] for i in range(12)]
    notes[3].append("joints: 2 messages lost")
    episodes = (episode(sweep(i), notes=tuple(note)) for i, note in enumerate(notes))
    found = recordings(interface, *episodes)
    report = make_report(found, interface, frozenset())
    assert report.notes == [("camera: 0 of 60 messages have no stamp", 12)]
    (entry,) = report.first
    assert [issue.words for issue in entry.issues] == ["joints: 2 messages lost"]


def test_notes_are_alike_in_all_but_numbers_and_the_names_of_files(interface: Interface) -> None:
    def notes(i: int, camera: str, size: str) -> tuple[str, ...]:
        return (
            f"{camera}/image_raw: {i} of 60 messages have no stamp",
            f"{camera}/image_raw: frames of {size} are stretched to 128x96, everything 0.75 times",
            f"{'demos/' * (i % 2)}episode_{i:04}_0.mcap.zstd: 1,{i:03} bytes from 1e+0{i} on lost",
        )

    told = [notes(i, "camera_1", "1280x720") for i in range(12)]
    told[3] = (*told[3], notes(3, "camera_2", "800x480")[0])
    told[5] = (*told[5], notes(5, "camera_1", "800x480")[1])
    episodes = (episode(sweep(i), notes=note) for i, note in enumerate(told))
    report = make_report(recordings(interface, *episodes), interface, frozenset())
    assert dict(report.notes) == dict.fromkeys(told[0], 12)
    reasons = {e.name: [issue.words for issue in e.issues] for e in report.first}
    assert reasons == {"bag_3": [told[3][3]], "bag_5": [told[5][3]]}


def test_each_fault_is_a_reason_to_look(interface: Interface) -> None:
    idle, saturated, outside = (sweep(7, 60) for _ in range(3))
    idle[:25] = 0
    saturated[:40, 0] = 0.25
    outside[5, 1] = 0.3
    jerky = sweep(8) + 0.1 * (-1.0) ** np.arange(60.0)[:, None]
    frozen = episode(sweep(9))
    frozen.observations["tool"][10:40] = 0.5
    slow = {"joint_states": StreamMetrics(300, 50.0, 0.1, 0)}
    fast = {"joint_states": StreamMetrics(3000, 500.0, 0.01, 0)}
    faulty = {
        "idle": episode(idle),
        "saturated": episode(saturated),
        "outside": episode(outside),
        "jerky": episode(jerky),
        "frozen": frozen,
        "gaps": episode(sweep(10), [*range(30), *range(40, 70)]),
        "few": episode(sweep(11, 60), [*range(5), *range(100, 155)]),
        "duration": episode(sweep(12, 200)),
        "notes": episode(sweep(13), notes=("3 messages lost",)),
        "slow": episode(sweep(14), streams=slow),
        "duplicate": episode(sweep(0)),
    }
    good = [episode(sweep(i), streams=fast) for i in range(20, 40)]
    found = recordings(interface, episode(sweep(0)), *good, *faulty.values())
    kinds = issues_of(found, interface)
    assert kinds[:21] == [set()] * 21
    for expected, got in zip(faulty, kinds[21:], strict=True):
        assert expected in got


def test_the_more_and_the_graver_the_reasons_the_earlier_an_episode_comes(
    interface: Interface,
) -> None:
    assert score([Issue("idle", "")]) < score([Issue("gaps", "")])
    assert score([Issue("gaps", ""), Issue("idle", "")]) > score([Issue("gaps", "")])
    assert score([Issue("notes", "one"), Issue("notes", "two")]) == score([Issue("notes", "one")])
    idle = sweep(9)
    idle[:30] = 0
    both = recordings(interface, *(episode(sweep(i)) for i in range(5)), episode(idle))
    failed = dataclasses.replace(both[5], name="failed", outcome="failure")
    found: list[Recording | Unusable] = [*both, failed, Unusable("torn", "the file ends early")]
    report = make_report(found, interface, frozenset({"bag_0"}))
    assert [entry.name for entry in report.first] == ["torn", "bag_5"]
    assert [entry.name for entry in report.used] == [f"bag_{i}" for i in range(1, 6)]
    assert report.summary.level == "bad"
    assert report.summary.words == (
        "Training can use 5 of 8 episodes. Cannot be read: 1. To look at: 1."
    )
    good = make_report(both[:5], interface, frozenset())
    assert good.summary.words == "Training can use 5 of 5 episodes. Nothing stands out."
    assert good.steps == 300 and good.total == pytest.approx(30.0)


def test_a_report_needs_no_episode(interface: Interface) -> None:
    report = make_report([Unusable("torn", "empty")], interface, frozenset())
    assert report.summary.level == "bad" and not report.used and not report.dimensions


def test_a_histogram_reaches_from_bound_to_bound_and_beyond(interface: Interface) -> None:
    values = np.array([-0.25, 0.0, 0.0, 0.5])
    histogram = draw_histogram(values, (-0.25, 0.25))
    assert (histogram.low, histogram.high) == (-0.25, 0.5)
    assert histogram.bounds == pytest.approx((0.0, 2 / 3))
    filled = {i: height for i, height in enumerate(histogram.heights) if height}
    assert filled == {0: 0.5, 13: 1.0, 39: 0.5}


def test_the_map_counts_where_the_tool_was(interface: Interface) -> None:
    found = usual(interface, 1)
    found[0].states["tool"][:] = 0.5, 0.0
    (drawn,) = draw_coverage(found, interface)
    assert drawn.axes == ("x", "y")
    ((column, row, density),) = drawn.filled
    assert density == 1
    low, high = np.array(drawn.low), np.array(drawn.high)
    cell = (high - low) / drawn.cells
    assert (low + cell * (column, row) <= [0.5, 0.0]).all()
    assert (low + cell * (column + 1, row + 1) >= [0.5, 0.0]).all()
    assert drawn.box is not None  # 0.26 to 0.74 by -0.30 to 0.30 m
    left, bottom, width, height = drawn.box
    assert low + (high - low) * (left, bottom) == pytest.approx([0.26, -0.30])
    assert (high - low) * (width, height) == pytest.approx([0.48, 0.60])
    assert low + (high - low) * (drawn.ends[0].x, drawn.ends[0].y) == pytest.approx([0.5, 0.0])


def test_a_curve_goes_from_bottom_to_top_and_stops_at_gaps(interface: Interface) -> None:
    actions = np.linspace(-0.25, 0.25, 20)[:, None].repeat(2, axis=1)
    (one,) = recordings(interface, episode(actions, [*range(10), *range(30, 40)]))
    columns = action_columns(interface)
    curve = draw_curves(one, columns, {column: (-0.25, 0.25) for column in columns})[0]
    pieces = curve.path.split("M")[1:]
    assert len(pieces) == 2
    assert pieces[0].startswith("0 100L") and pieces[1].endswith("975 0")
    assert curve.reached == pytest.approx((-0.25, 0.25)) and curve.zero == 50
    states = state_columns(interface)
    assert [column.label for column in states][-2:] == ["tool x", "tool y"]
    assert usual_scales([one], states)[states[0]] == (1.0, 20.0)
    far = draw_curves(one, columns, {column: (0.0, 0.1) for column in columns})[0]
    assert far.path.startswith("M0 100L") and far.path.endswith("975 0")


@pytest.mark.parametrize(
    "file", sorted((ROOT / "config" / "interfaces").glob("*.yaml")), ids=lambda path: path.stem
)
def test_there_is_a_page_for_every_shipped_interface(file: Path) -> None:
    interface = load_interface(file)
    random = np.random.default_rng(0)
    low, high = interface.action.bounds
    shape = (30, interface.action.horizon, len(low))
    one = Episode(
        bag=Path("bag"),
        outcome="success",
        observations={
            name: (200 * random.random((30, *shape))).astype(np.uint8)
            if len(shape) == 4
            else random.random((30, *shape), np.float32)
            for name, shape in interface.shapes.items()
        },
        actions=random.uniform(low, high, shape).astype(np.float32),
        times_ns=START + interface.period_ns * np.arange(30),
    )
    report = make_report(recordings(interface, one), interface, frozenset())
    page = render_page(report, Path("demos"))
    for column in (*action_columns(interface), *state_columns(interface)):
        assert f'title="{column.name}, {column.unit}"' in page or not column.unit
    assert page.count('class="line"') == len(low) + len(state_columns(interface))
    assert page.count("<img ") == sum(len(shape) == 4 for shape in interface.shapes.values())


def test_the_page_has_a_line_for_a_jump_and_one_for_a_slow_topic(interface: Interface) -> None:
    jump = "tool jumps by 0.468 m after 1.9 s, further than the arm can move in 0.5 s; cut there"
    fast, slow = ({"joint_states": StreamMetrics(60, rate, 0.1, 0)} for rate in (500.0, 50.0))
    good = [episode(sweep(i), streams=fast) for i in range(10)]
    jumped = episode(sweep(10), streams=fast, notes=(jump,), jumps=(jump,))
    late = episode(sweep(11), streams=slow)
    found = recordings(interface, *good, jumped, late)
    report = make_report(found, interface, frozenset())
    reasons = {e.name: [(c.kind, c.words) for c in e.issues] for e in report.first}
    assert reasons == {
        # The jump is also a note of the bag, but only one issue.
        "bag_10": [("jump", jump)],
        "bag_11": [("slow", "joint_states comes at 50.0 Hz, the median is 500.0 Hz")],
    }
    page = render_page(report, Path("demos"))
    articles = dict(zip((e.name for e in report.entries), page.split("<article")[1:], strict=True))
    assert jump in articles["bag_10"] and "comes at" not in articles["bag_10"]
    assert "joint_states comes at 50.0 Hz, the median is 500.0 Hz" in articles["bag_11"]
    assert "<td>60</td><td>50.0 Hz</td><td>0.10 s</td>" in articles["bag_11"]
    assert "jumps by" not in articles["bag_11"]
    # The table of all topics links the episode with the lowest rate.
    key = {e.name: e.key for e in report.entries}["bag_11"]
    assert f'<td>joint_states</td><td>500.0 Hz</td><td><a href="#{key}">50.0 Hz</a></td>' in page


def test_the_documentation_gives_every_reason_as_the_page_does() -> None:
    lines = (ROOT / "docs" / "how-to" / "inspect.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("| ") and not line.startswith("| reason")]
    assert table == [
        f"| {kind.title} | {kind.meaning} | {kind.weight} |".replace("\u00a0", " ")
        for kind in KINDS.values()
    ]
