"""Conversion of messages to observations: selection, refusals and their reasons."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from messages import header, image, joints, odometry, pose

from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.messages.depth import decode_depth
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.images import decode_image
from ebm_policy_ros.observation.buffer import ObservationBuffer, StaleObservation
from ebm_policy_ros.observation.stream_monitor import StreamMonitor

MS = 1_000_000
START = 5_000 * MS


def frame(value: int) -> npt.NDArray[np.uint8]:
    return np.full((96, 128, 3), value, dtype=np.uint8)


def fill(buffer: ObservationBuffer, interface: Interface, time_ns: int, value: int = 7) -> None:
    names = list(interface.observation["joints"].names)  # type: ignore[union-attr]
    buffer.add("camera", image(frame(value), time_ns), 0)
    buffer.add("joints", joints(names, [float(i) for i in range(6)], time_ns), 0)
    buffer.add("tool", pose(0.5, value / 100, time_ns), 0)


def test_an_observation_has_the_newest_sample_stamped_by_then(interface: Interface) -> None:
    buffer = ObservationBuffer(interface)
    for step in range(3):
        fill(buffer, interface, START + step * 50 * MS, value=step)
    observation = buffer.observe(START + 99 * MS)
    assert observation["tool"] == pytest.approx(np.array([[0.5, 0.01]]))
    assert (observation["camera"] == 1).all()
    assert {name: array.shape for name, array in observation.items()} == interface.shapes


def test_history_gives_frames_one_period_apart_oldest_first(interface: Interface) -> None:
    values = interface.to_dict()
    values["observation"]["camera"]["history"] = 3
    interface = interface_from_dict(values, "x")
    buffer = ObservationBuffer(interface)
    for step in range(10):
        fill(buffer, interface, START + step * 50 * MS, value=step)
    camera = buffer.observe(START + 450 * MS)["camera"]
    assert camera[:, 0, 0, 0].tolist() == [5, 7, 9]


def test_a_stream_that_is_too_old_is_named_with_its_age(interface: Interface) -> None:
    buffer = ObservationBuffer(interface)
    with pytest.raises(StaleObservation, match=r"camera \(camera/image_raw\): nothing received"):
        buffer.observe(START)
    fill(buffer, interface, START)
    buffer.observe(START + 150 * MS)
    with pytest.raises(StaleObservation, match=r"tool \(tool_pose\): 0\.151 s old") as caught:
        buffer.observe(START + 151 * MS)
    assert "camera" not in str(caught.value)


def test_samples_from_the_future_are_not_used(interface: Interface) -> None:
    buffer = ObservationBuffer(interface)
    fill(buffer, interface, START)
    with pytest.raises(StaleObservation, match="nothing received by then"):
        buffer.observe(START - MS)


def test_the_receive_time_counts_where_the_stamp_is_zero(interface: Interface) -> None:
    buffer = ObservationBuffer(interface)
    fill(buffer, interface, START)
    buffer.add("tool", pose(0.6, 0.0, 0), START + 10 * MS)
    assert buffer.observe(START + 10 * MS)["tool"][0, 0] == pytest.approx(0.6)
    assert buffer.observe(START + 9 * MS)["tool"][0, 0] == pytest.approx(0.5)


def test_a_late_message_is_dropped_and_a_clock_set_back_starts_anew(interface: Interface) -> None:
    buffer = ObservationBuffer(interface)
    fill(buffer, interface, START, value=1)
    fill(buffer, interface, START - 20 * MS, value=2)
    assert (buffer.observe(START)["camera"] == 1).all()
    fill(buffer, interface, START - 3_000 * MS, value=3)
    assert (buffer.observe(START - 3_000 * MS)["camera"] == 3).all()


def test_joints_are_selected_by_name_in_any_order(interface: Interface) -> None:
    names = list(interface.observation["joints"].names)  # type: ignore[union-attr]
    buffer = ObservationBuffer(interface, ["joints"])
    shuffled = ["gripper", *reversed(names)]
    buffer.add("joints", joints(shuffled, [9.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0], START), 0)
    assert buffer.observe(START)["joints"].tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (joints(["elbow_joint"], [0.0], START), "no joint 'shoulder_pan_joint'"),
        (joints(["elbow_joint", "b"], [0.0], START), "no joint"),
    ],
)
def test_joint_states_without_a_joint_are_refused(
    interface: Interface, broken: object, problem: str
) -> None:
    buffer = ObservationBuffer(interface, ["joints"])
    buffer.add("joints", broken, 0)
    with pytest.raises(StaleObservation, match=problem):
        buffer.observe(START)


def test_joint_states_of_another_device_on_the_same_topic_are_ignored(
    interface: Interface,
) -> None:
    names = list(interface.observation["joints"].names)  # type: ignore[union-attr]
    buffer = ObservationBuffer(interface, ["joints"])
    buffer.add("joints", joints(names, [1.0] * 6, START), 0)
    buffer.add("joints", joints(["finger_joint"], [0.5], START + MS), 0)
    assert buffer.observe(START + MS)["joints"].tolist() == [[1.0] * 6]


def test_values_that_are_not_numbers_and_wrong_frames_are_refused(interface: Interface) -> None:
    buffer = ObservationBuffer(interface, ["tool"])
    buffer.add("tool", pose(float("nan"), 0.0, START), 0)
    with pytest.raises(MessageError, match="tool_pose is not a finite number"):
        buffer.observe(START)
    buffer.add("tool", pose(0.5, 0.0, START + MS, frame_id="map"), 0)
    with pytest.raises(MessageError, match="frame 'map', expected 'base_link'"):
        buffer.observe(START + MS)


def with_stream(interface: Interface, **stream: Any) -> Interface:
    """Interface with one more stream, named more."""
    values = interface.to_dict()
    values["observation"]["more"] = {"topic": "more", "max_age": 0.1, **stream}
    return interface_from_dict(values, "x")


def test_an_odometry_gives_its_pose_and_the_velocity_of_its_body(interface: Interface) -> None:
    fields = ["x", "qw", "linear.x", "angular.z"]
    kind = {"type": "nav_msgs/msg/Odometry", "frame_id": "odom", "fields": fields}
    buffer = ObservationBuffer(with_stream(interface, **kind), ["more"])
    buffer.add("more", odometry(0.5, 0.25, START), 0)
    assert buffer.observe(START)["more"].tolist() == [[0.5, 1.0, 0.25, 0.5]]
    buffer.add("more", odometry(0.5, 0.25, START + MS, frame_id="map"), 0)
    with pytest.raises(MessageError, match="frame 'map', expected 'odom'"):
        buffer.observe(START + MS)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_number_without_a_stamp_counts_from_its_receipt(interface: Interface, bits: int) -> None:
    own = with_stream(interface, type=f"std_msgs/msg/Float{bits}")
    buffer = ObservationBuffer(own, ["more"])
    buffer.add("more", SimpleNamespace(data=0.25), START)
    assert buffer.observe(START + 100 * MS)["more"].tolist() == [[0.25]]
    assert own.shapes["more"] == (1, 1)
    with pytest.raises(StaleObservation, match=r"more \(more\): 0\.101 s old"):
        buffer.observe(START + 101 * MS)
    buffer.add("more", SimpleNamespace(data=float("inf")), START + MS)
    with pytest.raises(MessageError, match="a value on more is not a finite number"):
        buffer.observe(START + MS)


COLOUR = np.array([10, 20, 30], dtype=np.uint8)


@pytest.mark.parametrize(
    ("encoding", "stored"),
    [("rgb8", [10, 20, 30]), ("bgr8", [30, 20, 10]), ("rgba8", [10, 20, 30, 255]),
     ("bgra8", [30, 20, 10, 255])],
)  # fmt: skip
@pytest.mark.parametrize("pad", [0, 5])
def test_every_encoding_gives_rgb_with_and_without_padded_rows(
    encoding: str, stored: list[int], pad: int
) -> None:
    pixels = np.tile(np.array(stored, dtype=np.uint8), (4, 6, 1))
    decoded = decode_image(image(pixels, 0, encoding, pad), (4, 6))
    assert (decoded == COLOUR).all()


def test_an_image_is_reduced_by_averaging() -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[::2, ::2] = 200
    assert (decode_image(image(pixels, 0), (2, 2)) == 50).all()


def test_an_image_whose_data_does_not_fill_it_is_refused() -> None:
    half_sent = image(frame(1), 0)
    half_sent.data = half_sent.data[:1000]
    with pytest.raises(MessageError, match="1000 bytes for 128x96 rgb8"):
        decode_image(half_sent, (96, 128))
    with pytest.raises(MessageError, match="encoding 'h264', expected one of rgb8"):
        decode_image(image(frame(1), 0, "h264"), (96, 128))


# Several publishers, rates and distances in time


def test_joints_of_several_publishers_are_put_together_with_the_age_of_the_oldest(
    interface: Interface,
) -> None:
    names = list(interface.observation["joints"].names)  # type: ignore[union-attr]
    buffer = ObservationBuffer(interface, ["joints"])
    buffer.add("joints", joints(names[:4], [0.0, 1.0, 2.0, 3.0], START), 0)
    buffer.add("joints", joints(names[4:], [4.0, 5.0], START + 50 * MS), 0)
    assert buffer.observe(START + 50 * MS)["joints"].tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]
    # A joint that two of them send: the newest value is used.
    buffer.add("joints", joints(names[3:5], [9.0, 8.0], START + 60 * MS), 0)
    assert buffer.observe(START + 60 * MS)["joints"].tolist() == [[0.0, 1.0, 2.0, 9.0, 8.0, 5.0]]
    assert buffer.stamps(START + 60 * MS) == {"joints": START}
    with pytest.raises(StaleObservation, match=r"0\.160 s old"):
        buffer.observe(START + 160 * MS)


def test_messages_that_overtake_each_other_are_put_in_order(interface: Interface) -> None:
    values = interface.to_dict()
    values["observation"]["camera"]["history"] = 2
    interface = interface_from_dict(values, "x")
    buffer = ObservationBuffer(interface, ["camera"])
    for step in (0, 2, 1):
        buffer.add("camera", image(frame(step), START + step * 100 * MS), 0)
    seen = buffer.observe(START + 200 * MS)["camera"]
    assert seen[:, 0, 0, 0].tolist() == [1, 2]


def test_a_stream_that_repeats_itself_takes_no_memory(interface: Interface) -> None:
    names = list(interface.observation["joints"].names)  # type: ignore[union-attr]
    buffer = ObservationBuffer(interface)
    for _ in range(1000):
        buffer.add("camera", image(frame(1), START), 0)
        for part in (names[:4], names[4:]):
            buffer.add("joints", joints(part, [0.0] * len(part), START), 0)
    kept = {name: len(buffer._buffers[name]._messages) for name in ("camera", "joints")}
    assert kept == {"camera": 1, "joints": 2}


def test_joints_with_one_name_twice_are_refused(interface: Interface) -> None:
    names = list(interface.observation["joints"].names)  # type: ignore[union-attr]
    buffer = ObservationBuffer(interface, ["joints"])
    buffer.add("joints", joints([*names, names[0]], [0.0] * 7, START), 0)
    with pytest.raises(MessageError, match="joint_states: a joint twice in"):
        buffer.observe(START)


def test_streams_too_far_apart_are_named(interface: Interface) -> None:
    values = interface.to_dict() | {"max_skew": 0.05}
    buffer = ObservationBuffer(interface_from_dict(values, "x"))
    fill(buffer, interface, START)
    names = list(interface.observation["joints"].names)  # type: ignore[union-attr]
    buffer.add("joints", joints(names, [0.0] * 6, START + 40 * MS), 0)
    buffer.observe(START + 40 * MS)
    buffer.add("joints", joints(names, [0.0] * 6, START + 60 * MS), 0)
    with pytest.raises(StaleObservation, match=r"0\.060 s behind joints, at most 0\.05 s allowed"):
        buffer.observe(START + 60 * MS)


def test_nothing_is_left_of_the_time_before_a_clear(interface: Interface) -> None:
    buffer = ObservationBuffer(interface)
    fill(buffer, interface, START)
    buffer.clear()
    assert buffer.stamps(START) == {}
    assert list(buffer) == ["camera", "joints", "tool"]


# Other kinds of streams


def one_stream(interface: Interface, **stream: Any) -> ObservationBuffer:
    values = interface.to_dict()
    values["observation"]["extra"] = {"topic": "extra", "max_age": 0.2, **stream}
    return ObservationBuffer(interface_from_dict(values, "x"), ["extra"])


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed_images_are_decoded_as_rgb(interface: Interface, suffix: str) -> None:
    buffer = one_stream(interface, type="sensor_msgs/msg/CompressedImage", size=[8, 8])
    pixels = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    _, data = cv2.imencode(suffix, pixels[..., ::-1])
    message = SimpleNamespace(header=header(START), format=suffix, data=data.tobytes())
    buffer.add("extra", message, 0)
    seen = buffer.observe(START)["extra"][0]
    assert seen.shape == (8, 8, 3)
    assert np.abs(seen.astype(int) - (200, 40, 90)).max() <= 3
    for broken in (data.tobytes()[:20], b""):
        message = SimpleNamespace(header=header(START + MS), format=suffix, data=broken)
        buffer.add("extra", message, 0)
        with pytest.raises(MessageError, match="that are no whole JPEG or PNG"):
            buffer.observe(START + MS)


@pytest.mark.parametrize(
    ("encoding", "values"),
    [
        ("16UC1", np.array([[200, 600], [1000, 0]], np.uint16)),
        ("32FC1", np.array([[0.2, 0.6], [1.0, np.nan]], np.float32)),
    ],
)
@pytest.mark.parametrize("big", [False, True])
def test_depth_becomes_grey_from_near_to_far_and_black_where_nothing_was_measured(
    interface: Interface, encoding: str, values: Any, big: bool
) -> None:
    buffer = one_stream(interface, type="sensor_msgs/msg/Image", size=[2, 2], depth=[0.2, 1.0])
    stored = values.astype(values.dtype.newbyteorder(">" if big else "<"))
    message = image(stored.view(np.uint8).reshape(2, -1), START, encoding)
    message.height, message.width, message.is_bigendian = 2, 2, int(big)
    buffer.add("extra", message, 0)
    seen = buffer.observe(START)["extra"][0]
    assert seen[..., 0].tolist() == [[1, 128], [255, 0]]
    assert (seen == seen[..., :1]).all()


def test_depth_beyond_its_range_is_cut_and_colours_are_refused(interface: Interface) -> None:
    message = image(np.array([[50, 0, 208, 7]], np.uint8), 0, "16UC1")  # 50 and 2000 mm
    message.width = 2
    depth = decode_depth(message, (1, 2), 0.2, 1.0)
    assert depth[0, :, 0].tolist() == [1, 255]
    with pytest.raises(MessageError, match="encoding 'rgb8', expected one of 16UC1, 32FC1"):
        decode_depth(image(frame(1), 0), (2, 2), 0.2, 1.0)


def test_a_wrench_is_read_by_its_fields(interface: Interface) -> None:
    buffer = one_stream(
        interface,
        type="geometry_msgs/msg/WrenchStamped",
        frame_id="tool0",
        fields=["force.z", "torque.x"],
    )
    part = SimpleNamespace(x=1.0, y=2.0, z=3.0)
    wrench = SimpleNamespace(force=part, torque=part)
    buffer.add("extra", SimpleNamespace(header=header(START, "tool0"), wrench=wrench), 0)
    assert buffer.observe(START)["extra"].tolist() == [[3.0, 1.0]]


# Rates and stamps


def monitor(interface: Interface, **camera: Any) -> StreamMonitor:
    values = interface.to_dict()
    values["observation"]["camera"] |= camera
    interface = interface_from_dict(values, "x")
    return StreamMonitor(interface.observation["camera"], interface.period_ns)


def test_a_stream_that_is_too_slow_is_told_with_its_rate(interface: Interface) -> None:
    watch = monitor(interface, min_rate=20.0)
    for step in range(31):
        assert watch.accept(START + step * 50 * MS, START + step * 50 * MS)
    now = START + 1500 * MS
    assert watch.rate(now) == pytest.approx(20.0, abs=1)
    assert watch.problem(now) == ""
    for step in range(16):
        watch.accept(now + step * 100 * MS, now + step * 100 * MS)
    assert watch.problem(now + 1500 * MS) == "10.0 Hz, at least 20.0 Hz expected"


def test_a_rate_is_measured_for_a_second_before_it_is_judged(interface: Interface) -> None:
    watch = monitor(interface, min_rate=20.0)
    watch.accept(START, START)
    assert watch.problem(START + 500 * MS) == "its rate is measured for 1.0 s at first"


def test_a_frozen_stream_has_no_rate(interface: Interface) -> None:
    watch = monitor(interface, min_rate=20.0)
    for step in range(60):
        watch.accept(START, START + step * 50 * MS)
    assert watch.problem(START + 3000 * MS) == "0.0 Hz, at least 20.0 Hz expected"


def test_samples_of_the_future_are_refused_and_counted(interface: Interface) -> None:
    watch = monitor(interface)
    assert watch.accept(START + 350 * MS, START), "a simulation's samples come before their time"
    assert not watch.accept(START + 351 * MS, START)
    assert watch.refused == 1
    assert watch.problem(START) == "stamped 0.351 s in the future"
    assert watch.accept(START, START)
    assert watch.problem(START) == ""


def test_a_stamp_of_zero_is_noticed(interface: Interface) -> None:
    watch = monitor(interface)
    assert watch.accept(0, START)
    assert watch.unstamped and watch.rate(START + MS) > 0
