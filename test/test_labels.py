"""Assignment of commands to steps, with messages out of order or without a stamp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstration import (
    LATENCY,
    SECOND,
    START,
    Sent,
    demonstration,
    joints,
    message,
    pose,
    sent,
    twist,
    write_bag,
    write_mcap,
)

from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.training.data.episodes import Episode, read_episode

PERIOD = SECOND // 10
NAMES = ["a", "b"]


def arm(horizon: int = 1, quantity: str = "velocity", **action: Any) -> Interface:
    """Interface of two joints at 10 Hz, commanded by numbers without a stamp."""
    limits = {"max_velocity": [9.0, 9.0], "measured": "joints"} if quantity == "position" else {}
    values = {
        "name": "arm",
        "rate": 10.0,
        "observation": {
            "joints": {
                "topic": "joint_states",
                "type": "sensor_msgs/msg/JointState",
                "names": NAMES,
                "max_age": 0.2,
            }
        },
        "action": {
            "topic": "cmd",
            "type": "std_msgs/msg/Float64MultiArray",
            "quantity": quantity,
            "fields": NAMES,
            "unit": "rad",
            "low": [-9.0, -9.0],
            "high": [9.0, 9.0],
            "horizon": horizon,
            **limits,
            **action,
        },
    }
    return interface_from_dict(values, "arm")


def numbers(x: float, received: int) -> Sent:
    layout = message("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
    data = np.array([x, 0.0])
    return sent(
        "/cmd", message("std_msgs/msg/Float64MultiArray", layout=layout, data=data), received
    )


def joint_states(stamp: int, x: float, received: int | None = None) -> Sent:
    received = stamp + 1_000_000 if received is None else received
    return sent("/joint_states", joints(stamp, NAMES, [x, 0.0]), received)


def read(folder: Path, interface: Interface, messages: list[Sent]) -> Episode:
    ordered = sorted(messages, key=lambda m: m.received_ns)
    return read_episode(write_bag(folder / "bag", ordered), interface)


def commanded(folder: Path, interface: Interface, times: Any) -> Episode:
    """An episode with joints at 50 Hz and the k-th command, k/1000, at the k-th time (s)."""
    seconds = float(times[-1]) + 0.5
    messages = [joint_states(START + k * SECOND // 50, 0.01 * k) for k in range(int(50 * seconds))]
    messages += [numbers(k / 1000, START + round(t * SECOND)) for k, t in enumerate(times)]
    return read(folder, interface, messages)


N = 200
BEAT = 0.2 + np.arange(N) * 0.1
NOISE = np.random.default_rng(0).normal(0, 0.025, N).clip(-0.09, 0.09)
TIMES = {
    "jitter of 25 ms": (BEAT + NOISE, "velocity"),
    "first half a period off": (np.r_[0.2, 0.05 + BEAT + 0.04 * NOISE], "velocity"),
    "9.9 Hz": (0.2 + np.arange(N) / 9.9, "velocity"),
    "8 Hz": (0.2 + np.arange(N) / 8, "velocity"),
    "positions at 5 Hz": (0.2 + np.arange(N // 2) / 5, "position"),
}


@pytest.mark.parametrize("horizon", [1, 8])
@pytest.mark.parametrize("case", TIMES)
def test_commands_that_are_not_in_the_beat_of_the_interface_cost_no_steps(
    case: str, horizon: int, tmp_path: Path
) -> None:
    times, quantity = TIMES[case]
    episode = commanded(tmp_path, arm(horizon, quantity), times)
    steps = round((times[-1] - times[0]) * 10)
    assert len(episode.actions) >= 0.98 * steps
    # Each step has the command in force in the middle of its period.
    middles = (episode.times_ns - START) / SECOND + 0.05
    expected = np.searchsorted(times, middles) - 1
    found = np.round(1000 * episode.actions[:, 0, 0]).astype(int)
    exactly_there = abs(middles[:, None] - times).min(axis=1) < 1e-6
    assert (found == expected)[~exactly_there].all()
    assert not [note for note in episode.notes if "commands come at" in note]


def test_commands_that_are_too_rare_are_told_with_rate_cause_and_cure(tmp_path: Path) -> None:
    times = 0.2 + np.arange(20) / 2
    episode = commanded(tmp_path / "a", arm(), times)
    assert len(episode.pieces(PERIOD)) > 10
    (told,) = [note for note in episode.notes if "commands come at" in note]
    assert "cmd: commands come at 2 Hz, but hold for 0.25 s only" in told
    assert "set action.hold: 0.6 in the interface, else send them at 10 Hz" in told
    cured = commanded(tmp_path / "b", arm(hold=0.6), times)
    assert len(cured.pieces(PERIOD)) == 1 and len(cured.actions) == 96
    messages = [joint_states(START + k * PERIOD, 0.1 * k) for k in range(50)]
    messages += [numbers(k / 1000, START + k * SECOND // 2) for k in range(10)]
    cut_off = write_mcap(tmp_path / "c.mcap", messages, finish=False)
    with pytest.raises(BagError, match=r"no step can be used; .*commands come at 2 Hz"):
        read_episode(cut_off, arm(8))


def test_after_the_age_that_the_interface_states_nobody_commanded(tmp_path: Path) -> None:
    times = np.r_[np.arange(10), np.arange(20, 30)] * 0.1 + 0.2
    episode = commanded(tmp_path, arm(hold=0.4), times)
    steps = np.round((episode.times_ns - episode.times_ns[0]) / PERIOD).astype(int).tolist()
    assert steps == [*range(14), *range(20, 30)]
    assert np.round(1000 * episode.actions[9:14, 0, 0]).tolist() == [9] * 5
    assert "6 steps left out: nobody commanded then" in episode.notes


# Order


def steps_of(episode: Episode) -> list[int]:
    return [round(1000 * float(x)) for x in episode.actions[:, 0, 0]]


def test_a_message_that_is_received_late_cuts_nothing(
    interface: Interface, tmp_path: Path
) -> None:
    whole = read_episode(write_mcap(tmp_path / "whole.mcap", demonstration(interface)), interface)
    for late in (45_000_000, 150_000_000):
        for topic in range(4):
            messages = demonstration(interface)
            place = 40 + topic
            old = messages[place]
            messages[place] = old._replace(received_ns=old.received_ns - late)
            path = write_mcap(tmp_path / f"{late}_{topic}.mcap", messages)
            episode = read_episode(path, interface)
            assert np.array_equal(episode.times_ns, whole.times_ns)
            assert np.array_equal(episode.actions, whole.actions)
            assert not [note for note in episode.notes if "set back" in note]


def test_two_publishers_on_one_topic_lose_nothing(interface: Interface, tmp_path: Path) -> None:
    """The times of receipt of one publisher are 0.15 s earlier than the other's."""
    names = list(interface.observation["joints"].parts)
    messages = []
    for entry in demonstration(interface, 40):
        if "joint" not in entry.topic:
            messages.append(entry)
            continue
        stamp = entry.received_ns - LATENCY
        for part, early in ((names[:3], 0), (names[3:], 150_000_000)):
            content = joints(stamp, part, [0.1] * 3)
            messages.append(sent(entry.topic, content, entry.received_ns - early))
    episode = read_episode(write_mcap(tmp_path / "x.mcap", messages), interface)
    assert steps_of(episode) == list(range(40))
    assert not [note for note in episode.notes if "set back" in note]


# Simulated time


def simulated(clock: bool, before: int = 0) -> list[Sent]:
    """Stamps of a simulation, times of receipt of the system clock, commands without a stamp."""
    messages = []
    for step in range(-before, 60):
        stamp, received = 1000 * SECOND + step * PERIOD, START + step * PERIOD
        if clock and step >= 0:
            time = message("builtin_interfaces/msg/Time", sec=stamp // SECOND,
                           nanosec=stamp % SECOND)  # fmt: skip
            messages.append(
                sent("/clock", message("rosgraph_msgs/msg/Clock", clock=time), received)
            )
        messages.append(joint_states(stamp, 0.1 * step, received + 10))
        messages.append(numbers(step / 1000, received + 20))
    return messages


def test_commands_without_a_stamp_are_placed_by_the_clock_in_the_bag(tmp_path: Path) -> None:
    episode = read(tmp_path, arm(), simulated(clock=True))
    assert steps_of(episode) == list(range(60))
    assert episode.times_ns[0] == 1000 * SECOND
    assert episode.observations["joints"][:, 0, 0] == pytest.approx(0.1 * np.arange(60))


def test_without_a_clock_they_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"cmd: its messages have no stamp.*record /clock too"):
        read(tmp_path, arm(), simulated(clock=False))


def test_what_was_received_before_the_first_clock_is_no_piece_of_its_own(
    interface: Interface, tmp_path: Path
) -> None:
    """Before the first /clock a recorder with simulated time writes zero."""
    begun = 1000 * SECOND

    def simulate(time: int) -> int:
        return time - START + begun

    def receive(time: int) -> int:
        return simulate(time) + LATENCY if time > START + SECOND else 0

    messages = demonstration(interface, 30, simulate, receive)
    episode = read_episode(write_mcap(tmp_path / "x.mcap", messages), interface)
    assert steps_of(episode) == list(range(30))
    assert not [note for note in episode.notes if "set back" in note]


def test_a_clock_that_was_set_back_late_is_still_the_clock_of_the_stamps(tmp_path: Path) -> None:
    """A recorder hears of a simulation that began anew after the first samples of that."""
    messages = []
    for step in range(60):
        time = START + step * PERIOD
        received = START + 15 * SECOND if step < 25 else time
        messages += [joint_states(time, 0.1 * step, received), numbers(step / 1000, received + 10)]
    episode = read_episode(write_bag(tmp_path / "bag", messages), arm())
    assert steps_of(episode) == list(range(25, 60))
    assert episode.observations["joints"][:, 0, 0] == pytest.approx(0.1 * np.arange(25, 60))


# Jumps


def tool_at(xs: Any, interface: Interface) -> list[Sent]:
    messages = []
    for entry in demonstration(interface, len(xs)):
        step = (entry.received_ns - LATENCY - START) // interface.period_ns
        if "tool" in entry.topic:
            content = pose(entry.received_ns - LATENCY, float(xs[step]), 0.0)
            messages.append(sent(entry.topic, content, entry.received_ns))
        else:
            messages.append(entry)
    return messages


def test_a_jump_of_the_tool_cuts_the_episode_and_is_told(
    interface: Interface, tmp_path: Path
) -> None:
    xs = 0.3 + 0.002 * np.arange(40)
    xs[24:] -= 0.25
    bag = write_bag(tmp_path / "bag", tool_at(xs, interface))
    episode = read_episode(bag, interface)
    assert steps_of(episode) == [i for i in range(40) if i != 23]
    assert len(episode.pieces(interface.period_ns)) == 2
    assert episode.jumps == (
        "tool jumps by 0.248 m after 2.3 s, further than the arm can move in 0.1 s; cut there",
    )
    assert set(episode.jumps) < set(episode.notes)
    values = interface.to_dict()
    values["action"]["horizon"], values["observation"]["tool"]["history"] = 3, 2
    rich = read_episode(bag, interface_from_dict(values, "rich"))
    # Neither the actions of a step nor its history span the jump.
    assert steps_of(rich)[18:24] == [18 + 1, 20, 25, 26, 27, 28]


def test_a_jump_over_steps_that_lack_is_told_by_the_time_that_passed(
    interface: Interface, tmp_path: Path
) -> None:
    """No poses from 1.9 s to 2.4 s; the last one is too old at four steps in between."""
    silent = range(19, 24)
    kept = [step for step in range(40) if not 20 <= step < 24]

    def episode(name: str, moved: float, horizon: int = 1) -> Episode:
        values = interface.to_dict()
        values["action"]["horizon"] = horizon
        places = 0.3 + 0.002 * np.arange(40)
        places[24:] -= moved
        messages = [
            entry
            for entry in tool_at(places, interface)
            if "tool" not in entry.topic
            or (entry.received_ns - LATENCY - START) // interface.period_ns not in silent
        ]
        bag = write_bag(tmp_path / name, messages)
        return read_episode(bag, interface_from_dict(values, name))

    # At 0.25 m/s along both axes: 0.23 m in 0.5 s and the 0.15 s of a sample's maximum age.
    near = episode("near", 0.46)
    assert near.jumps == () and steps_of(near) == kept
    far = episode("far", 0.48)
    assert far.jumps == (
        "tool jumps by 0.468 m after 1.9 s, further than the arm can move in 0.5 s; cut there",
    )
    assert steps_of(far) == [step for step in kept if step != 19]
    # Commands continued: no chunk of three spans the jump.
    assert steps_of(episode("chunks", 0.48, 3))[15:19] == [15, 16, 24, 25]


def test_an_arm_that_moves_fast_all_the_time_does_not_jump(
    interface: Interface, tmp_path: Path
) -> None:
    episode = read_episode(
        write_bag(tmp_path / "bag", tool_at(0.3 * np.arange(40), interface)), interface
    )
    assert steps_of(episode) == list(range(40)) and episode.jumps == ()


def test_an_angle_that_goes_on_at_the_other_end_of_its_range_is_no_jump(tmp_path: Path) -> None:
    angle = (2.0 + 0.04 * np.arange(60) + np.pi) % (2 * np.pi) - np.pi
    messages = []
    for step, value in enumerate(angle):
        time = START + step * PERIOD
        messages += [joint_states(time, value), numbers(step / 1000, time)]
    slow = arm(quantity="position", max_velocity=[0.5, 0.5])
    episode = read(tmp_path, slow, messages)
    assert len(episode.actions) == 60 and episode.jumps == ()
    for step in range(30, 60):
        messages[2 * step] = joint_states(START + step * PERIOD, 1.0)
    jumped = read(tmp_path / "b", slow, messages)
    assert len(jumped.jumps) == 1 and "joint a jumps by" in jumped.jumps[0]


def test_a_twist_after_the_end_is_zero_also_where_commands_hold(
    interface: Interface, tmp_path: Path
) -> None:
    values = interface.to_dict()
    values["action"] |= {"horizon": 3, "hold": 1.0}
    messages = demonstration(interface)
    last = START + 25 * interface.period_ns
    messages.append(sent(messages[3].topic, twist(last, 0.1), last + LATENCY))
    messages = [m for m in messages if "servo" in m.topic or m.received_ns < last]
    episode = read_episode(
        write_bag(tmp_path / "bag", messages), interface_from_dict(values, "held")
    )
    assert np.round(1000 * episode.actions[19, :, 0]).tolist() == [19, 19, 19], "it held until 25"
