import numpy as np
import numpy.typing as npt
import pytest
from messages import image, joints, pose

from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.images import decode_image
from ebm_policy_ros.observation import ObservationBuffer, StaleObservation

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
    with pytest.raises(MessageError, match="encoding 'yuv422', expected one of rgb8"):
        decode_image(image(frame(1), 0, "yuv422"), (96, 128))
