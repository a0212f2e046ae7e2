"""Frames of all camera types: colours, depth, sizes and shapes."""

from __future__ import annotations

import resource
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from demonstration import LATENCY, demonstration, image, sent, write_bag
from messages import header
from messages import image as frame

from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.image_files import MOST_PIXELS, MOST_SIDE, read_header
from ebm_policy_ros.messages.images import decode_compressed, decode_image, resize_image
from ebm_policy_ros.messages.streams import decode
from ebm_policy_ros.observation.buffer import ObservationBuffer
from ebm_policy_ros.training.data.bag_dataset import load_dataset
from ebm_policy_ros.training.data.bag_folder import BagFolder
from ebm_policy_ros.training.data.episodes import read_episode
from ebm_policy_ros.training.exchange.sources import read_source
from ebm_policy_ros.training.inspection.reading import Recording, read_recordings

Array = npt.NDArray[Any]
LEFT, RIGHT = (200, 40, 20), (20, 60, 180)
SIZE = (12, 16)
COMPRESSED = "sensor_msgs/msg/CompressedImage"


@pytest.fixture
def picture() -> Array:
    """Two colours side by side, shape (24, 32, 3), rgb."""
    pixels = np.empty((24, 32, 3), np.uint8)
    pixels[:, :16], pixels[:, 16:] = LEFT, RIGHT
    return pixels


def luma_and_chroma(rgb: Array) -> tuple[Array, Array, Array]:
    """Y, Cb and Cr of BT.601 in video range, as sent by cameras."""
    r, g, b = np.moveaxis(rgb / 255, -1, 0)
    y = 16 + 65.481 * r + 128.553 * g + 24.966 * b
    cb = 128 - 37.797 * r - 74.203 * g + 112.0 * b
    cr = 128 + 112.0 * r - 93.786 * g - 18.214 * b
    return tuple(np.rint(part).astype(np.uint8) for part in (y, cb, cr))


def stored(rgb: Array, encoding: str) -> Array:
    """Bytes of the image as stored by a driver, shape (rows, bytes)."""
    name = encoding.strip().lower()
    if name.startswith("bayer_"):
        letters = name[6:10]
        mosaic = np.empty(rgb.shape[:2], np.uint8)
        for place, letter in enumerate(letters):
            row, column = divmod(place, 2)
            mosaic[row::2, column::2] = rgb[row::2, column::2, "rgb".index(letter)]
        return mosaic
    if name.startswith(("yu", "uyvy", "nv")):
        y, cb, cr = luma_and_chroma(rgb)
        if name.startswith("nv"):
            pair = (cb, cr) if name == "nv12" else (cr, cb)
            chroma = np.stack([part[::2, ::2] for part in pair], axis=-1)
            return np.concatenate((y, chroma.reshape(len(y) // 2, -1)))
        chroma = np.where(np.arange(y.shape[1]) % 2, cr, cb)
        pair = (y, chroma) if name in ("yuv422_yuy2", "yuyv") else (chroma, y)
        return np.stack(pair, axis=-1).reshape(len(y), -1)
    order = {"rgb8": [0, 1, 2], "rgba8": [0, 1, 2, 0], "bgra8": [2, 1, 0, 0], "8uc4": [2, 1, 0, 0]}
    return rgb[..., order.get(name, [2, 1, 0])].reshape(len(rgb), -1)


def message_of(rgb: Array, encoding: str, pad: int = 0) -> Any:
    rows = np.pad(stored(rgb, encoding), ((0, 0), (0, pad)), constant_values=99)
    height, width = rgb.shape[:2]
    return SimpleNamespace(
        header=header(0), height=height, width=width, encoding=encoding, is_bigendian=0,
        step=rows.shape[1], data=rows.reshape(-1),
    )  # fmt: skip


def halves(decoded: Array) -> tuple[list[int], list[int]]:
    """Colours in the middle of the left and the right half."""
    height, width = decoded.shape[:2]
    row = decoded[height // 2]
    return row[width // 4].tolist(), row[width * 3 // 4].tolist()


# Colours


@pytest.mark.parametrize(
    "encoding",
    ["rgb8", "bgr8", "rgba8", "bgra8", "RGB8", "BGR8", " bgr8 ", "8UC3", "8uc3", "8UC4",
     "yuv422", "uyvy", "UYVY", "yuv422_yuy2", "yuyv", "nv12", "nv21",
     "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"],
)  # fmt: skip
@pytest.mark.parametrize("pad", [0, 6])
def test_the_colours_of_every_encoding_are_those_before_the_camera(
    picture: Array, encoding: str, pad: int
) -> None:
    decoded = decode_image(message_of(picture, encoding, pad), SIZE)
    assert decoded.shape == (*SIZE, 3) and decoded.dtype == np.uint8
    left, right = halves(decoded)
    assert left == pytest.approx(LEFT, abs=3)
    assert right == pytest.approx(RIGHT, abs=3)


@pytest.mark.ros
def test_yuv_is_read_as_cv_bridge_reads_it(picture: Array) -> None:
    """Luma from 16 to 235: full-range data gets other colours in cv_bridge too."""
    cv_bridge = pytest.importorskip("cv_bridge.boost.cv_bridge_boost")
    limited, full = message_of(picture, "yuv422"), message_of(picture, "yuv422")
    y, u, v = np.moveaxis(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV), -1, 0)
    full.data = np.stack([np.where(np.arange(32) % 2, v, u), y], axis=-1).reshape(-1)
    for message in (limited, full):
        theirs = cv_bridge.cvtColor2(message.data.reshape(24, 32, 2), "yuv422", "rgb8")
        assert np.array_equal(decode_image(message, (24, 32)), theirs)
    assert halves(decode_image(full, SIZE)) == ([241, 13, 17], [0, 61, 171])


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_stays_grey(encoding: str) -> None:
    pixels = np.full((4, 4), 77, np.uint8)
    assert (decode_image(frame(pixels, 0, encoding), (2, 2)) == 77).all()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", ["mono16", "rgb16", "bgr16", "bayer_rggb16"])
def test_of_16_bits_the_upper_8_are_seen(picture: Array, encoding: str, big: bool) -> None:
    if encoding == "mono16":
        picture = picture[..., 0]
    values = picture if encoding == "mono16" else stored(picture, f"{encoding[:-2]}8")
    wide = (values.astype(np.uint16) * 256 + 255).astype(">u2" if big else "<u2")
    message = frame(np.ascontiguousarray(wide).view(np.uint8).reshape(24, -1), 0, encoding)
    message.width, message.is_bigendian = 32, int(big)
    expected = ([200] * 3, [20] * 3) if encoding == "mono16" else (list(LEFT), list(RIGHT))
    assert halves(decode_image(message, SIZE)) == expected


def test_an_unknown_encoding_is_told_in_one_line_with_those_that_are_known() -> None:
    with pytest.raises(MessageError) as caught:
        decode_image(frame(np.zeros((2, 2, 3), np.uint8), 0, "h264\n" * 50_000), (2, 2))
    text = str(caught.value)
    assert "\n" not in text and len(text) < 500
    for known in ("rgb8", "mono16", "yuv422_yuy2", "nv12", "bayer_grbg8", "8UC3"):
        assert known in text


@pytest.mark.parametrize(
    ("encoding", "height", "width", "size", "problem"),
    [
        ("yuyv", 4, 3, 4 * 6, "4 rows of 3 pixels make no image"),
        ("nv12", 4, 3, 6 * 3, "6 rows of 3 pixels make no image"),
        ("nv12", 3, 4, 4 * 4, "make no image"),
        ("nv21", 4, 4, 4 * 4, "16 bytes for 4x4 nv21"),
        ("yuyv", 4, 4, 4 * 4, "16 bytes for 4x4 yuyv"),
        ("mono16", 4, 4, 4 * 4, "16 bytes for 4x4 mono16"),
    ],
)
def test_an_image_that_its_encoding_cannot_have_is_refused(
    encoding: str, height: int, width: int, size: int, problem: str
) -> None:
    rows = height * 3 // 2 if encoding.startswith("nv") else height
    message = SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=0, step=size // rows,
        data=np.zeros(size, np.uint8),
    )  # fmt: skip
    with pytest.raises(MessageError, match=problem):
        decode_image(message, (2, 2))


# Compressed


def encoded(pixels: Array, suffix: str = ".png") -> bytes:
    return bytes(cv2.imencode(suffix, pixels)[1])


def compressed(data: bytes, kind: str) -> Any:
    return SimpleNamespace(header=header(0), format=kind, data=data)


def png_header(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    fields = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    signature, end = b"\x89PNG\r\n\x1a\n", bytes(4) + b"IENDcrc!"
    return signature + struct.pack(">I", 13) + b"IHDR" + fields + b"crc!" + end


def jpeg_header(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)


@pytest.mark.parametrize("make", [png_header, jpeg_header])
@pytest.mark.parametrize(
    ("width", "height"), [(20_000, 20_000), (60_000, 8), (8, 60_000), (MOST_SIDE, 4097)]
)
def test_a_picture_too_large_for_any_camera_is_refused_by_its_header(
    make: Any, width: int, height: int
) -> None:
    # There is only a header, so any decoder would fail in another way.
    with pytest.raises(MessageError, match=rf"of {width}x{height} pixels; at most 8192 a side"):
        decode_compressed(compressed(make(width, height), "jpeg"), SIZE)


@pytest.mark.parametrize("make", [png_header, jpeg_header])
def test_a_picture_at_the_bound_is_not_refused_for_its_size(make: Any) -> None:
    assert MOST_SIDE * 4096 == MOST_PIXELS
    with pytest.raises(MessageError, match="that are no whole JPEG or PNG"):
        decode_compressed(compressed(make(MOST_SIDE, 4096), "jpeg"), SIZE)


def test_the_size_of_a_jpeg_is_that_behind_its_thumbnail() -> None:
    data = encoded(np.zeros((24, 32, 3), np.uint8), ".jpg")
    thumbnail = encoded(np.zeros((8, 8), np.uint8), ".jpg")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    data = data[:2] + segment + b"\xff\xff" + data[2:]
    found = read_header(np.frombuffer(data, np.uint8))
    assert (found.kind, found.height, found.width, found.channels) == ("JPEG", 24, 32, 3)
    assert decode_compressed(compressed(data, "jpeg"), SIZE).shape == (*SIZE, 3)


def test_a_png_whose_parts_promise_more_than_there_is_gets_no_memory() -> None:
    data = bytearray(encoded(np.full((16, 16, 3), 90, np.uint8)))
    data[33:37] = struct.pack(">I", 2_000_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MessageError, match="that are no whole JPEG or PNG"):
        decode_compressed(compressed(bytes(data), "png"), (8, 8))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tiff", ".ppm"])
def test_other_files_than_jpeg_and_png_are_refused(suffix: str) -> None:
    data = encoded(np.zeros((8, 8, 3), np.uint8), suffix)
    with pytest.raises(MessageError, match="that are no whole JPEG or PNG"):
        decode_compressed(compressed(data, "jpeg"), (8, 8))


def test_damaged_headers_are_refused_and_nothing_else_happens() -> None:
    random = np.random.default_rng(0)
    for suffix in (".png", ".jpg"):
        whole = np.frombuffer(encoded(np.full((16, 16, 3), 90, np.uint8), suffix), np.uint8)
        for _ in range(150):
            damaged = whole.copy()
            damaged[random.integers(0, min(len(whole), 200), 4)] = random.integers(0, 256, 4)
            try:
                found = decode_compressed(compressed(damaged.tobytes(), "jpeg"), (8, 8))
            except MessageError:
                continue
            assert found.shape == (8, 8, 3)


@pytest.mark.parametrize("mosaic", ["bayer_rggb8", "bayer_grbg8"])
def test_a_compressed_mosaic_has_its_colours(picture: Array, mosaic: str) -> None:
    data = encoded(stored(picture, mosaic))
    seen = decode_compressed(compressed(data, f"{mosaic}; png compressed "), SIZE)
    assert halves(seen) == (list(LEFT), list(RIGHT))


def test_a_grey_png_of_16_bits_is_seen_if_it_is_told_to_be_a_picture() -> None:
    data = encoded(np.full((8, 8), 200 * 256, np.uint16))
    assert (decode_compressed(compressed(data, "mono16; png compressed "), (4, 4)) == 200).all()


@pytest.mark.parametrize(
    ("kind", "suffix", "problem"),
    [
        ("16UC1; png compressed ", ".png", "PNG of 16 bits is depth: give the stream the key"),
        ("png", ".png", "PNG of 16 bits is depth: give the stream the key"),
        ("16UC1; compressedDepth png", ".png", "is depth: give the stream the key `depth"),
        ("16UC1; jpeg compressed ", ".jpg", "a JPEG, whose 8 bits have cut .* publish it as PNG"),
        ("mono16; jpeg compressed ", ".jpg", "a JPEG, whose 8 bits have cut"),
        ("bayer_rggb16; jpeg compressed ", ".jpg", "a JPEG, whose 8 bits have cut"),
    ],
)
def test_depth_on_a_stream_of_colours_is_refused_with_the_cure(
    kind: str, suffix: str, problem: str
) -> None:
    values = np.full((8, 8), 500, np.uint16)
    data = encoded(values if suffix == ".png" else values.clip(0, 255).astype(np.uint8), suffix)
    with pytest.raises(MessageError, match=problem):
        decode_compressed(compressed(data, kind), (8, 8))
    with pytest.raises(MessageError, match="encoding '16UC1' is depth: give the stream the key"):
        decode_image(frame(np.zeros((2, 4), np.uint8), 0, "16UC1"), (2, 2))


# Depth


def with_camera(interface: Interface, **camera: Any) -> Interface:
    values = interface.to_dict()
    values["observation"]["camera"] |= camera
    return interface_from_dict(values, "x")


def depth_of(interface: Interface, message: Any) -> list[int]:
    """Grey values in the middle of both halves, for a stream from 0.2 to 2.2 m."""
    wanted = with_camera(interface, type=COMPRESSED, size=[8, 8], depth=[0.2, 2.2])
    seen = decode(wanted.observation["camera"], [(message, ())])
    assert seen.shape == (8, 8, 3) and (seen == seen[..., :1]).all()
    return [int(seen[4, 2, 0]), int(seen[4, 6, 0])]


# 500 mm and 1500 mm between 0.2 m (1) and 2.2 m (255).
GREYS = [39, 166]


@pytest.fixture
def distances() -> Array:
    values = np.full((16, 16), 500, np.uint16)
    values[:, 8:] = 1500
    return values


@pytest.mark.parametrize("kind", ["16UC1; png compressed ", "mono16; png compressed ", "png"])
def test_a_png_of_16_bits_is_depth_in_millimetres(
    interface: Interface, distances: Array, kind: str
) -> None:
    assert depth_of(interface, compressed(encoded(distances), kind)) == GREYS


@pytest.mark.parametrize("kind", ["16UC1; compressedDepth png", "16UC1; compressedDepth"])
def test_compressed_depth_in_millimetres_is_read(
    interface: Interface, distances: Array, kind: str
) -> None:
    assert depth_of(interface, compressed(bytes(12) + encoded(distances), kind)) == GREYS


def test_compressed_depth_in_metres_is_read_by_its_quantisation(
    interface: Interface, distances: Array
) -> None:
    # Quantisation of image_transport: finer at close range, with 0 for missing measurements.
    quantisation, farthest = 100.0, 10.0
    a = quantisation * (quantisation + 1)
    b = 1 - a / farthest
    values = np.where(distances > 1000, 0, a / (distances / 1000) + b).astype(np.uint16)
    data = struct.pack("<iff", 1, a, b) + encoded(values)
    left, right = depth_of(interface, compressed(data, "32FC1; compressedDepth png"))
    assert left == pytest.approx(GREYS[0], abs=1) and right == 0


@pytest.mark.parametrize(
    ("kind", "before", "suffix", "problem"),
    [
        ("16UC1; compressedDepth rvl", bytes(12), ".png", "publish compressedDepth with its form"),
        ("16UC1; compressedDepth png", b"", ".png", "that are no whole JPEG or PNG"),
        ("32FC1; compressedDepth png", bytes(12), ".png", "A = 0, B = 0, expected A > 0"),
        ("32FC1; png compressed ", b"", ".png", "publish 32FC1 as compressedDepth"),
        ("16UC1; jpeg compressed ", b"", ".jpg", "with a JPEG of 8 bits .* expected a grey PNG"),
        ("rgb8; png compressed bgr8", b"", ".png", "expected one of 16UC1, 32FC1, mono16"),
    ],
)
def test_what_is_no_depth_is_refused_on_a_stream_of_depth(
    interface: Interface, distances: Array, kind: str, before: bytes, suffix: str, problem: str
) -> None:
    pixels = distances if suffix == ".png" else distances.clip(0, 255).astype(np.uint8)
    with pytest.raises(MessageError, match=problem):
        depth_of(interface, compressed(before + encoded(pixels, suffix), kind))


def test_depth_too_large_for_any_camera_is_refused_by_its_header(interface: Interface) -> None:
    data = bytes(12) + png_header(20_000, 20_000, 16, 0)
    with pytest.raises(MessageError, match="a PNG of 20000x20000 pixels; at most 8192 a side"):
        depth_of(interface, compressed(data, "16UC1; compressedDepth png"))


# Shapes


def test_a_crop_keeps_the_middle_and_a_letterbox_all_of_it() -> None:
    wide = np.zeros((4, 8), np.uint8)
    wide[:] = [10, 10, 20, 20, 30, 30, 40, 40]
    assert resize_image(wide, (2, 2)).tolist() == [[15, 35]] * 2
    assert resize_image(wide, (2, 2), resize="crop").tolist() == [[20, 30]] * 2
    boxed = resize_image(wide, (4, 4), resize="letterbox").tolist()
    assert boxed == [[0] * 4, [10, 20, 30, 40], [10, 20, 30, 40], [0] * 4]
    tall = wide.T.copy()
    assert resize_image(tall, (2, 2), resize="crop").tolist() == [[20, 20], [30, 30]]
    assert resize_image(tall, (4, 4), resize="letterbox")[:, 1].tolist() == [10, 20, 30, 40]


@pytest.mark.parametrize("resize", ["crop", "letterbox"])
@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono8", "uyvy"])
def test_a_disc_stays_round_unless_it_is_stretched(
    interface: Interface, resize: str, encoding: str
) -> None:
    pixels = np.zeros((90, 160, 3), np.uint8)
    cv2.circle(pixels, (80, 45), 22, (255, 255, 255), -1)
    data = pixels[..., 0] if encoding == "mono8" else stored(pixels, encoding).reshape(90, 160, -1)
    message = frame(data, 0, encoding)
    for mode, round_ in (("stretch", False), (resize, True)):
        stream = with_camera(interface, size=[48, 64], resize=mode).observation["camera"]
        bright = decode(stream, [(message, ())])[..., 0] > 127
        height, width = bright.any(axis=1).sum(), bright.any(axis=0).sum()
        assert (abs(height - width) <= 1) == round_


def test_black_bars_beside_depth_are_not_measured(interface: Interface) -> None:
    wanted = with_camera(interface, size=[4, 4], depth=[0.1, 1.0], resize="letterbox")
    message = frame(np.full((2, 8), 2, np.uint8), 0, "16UC1")  # 514 mm
    message.width = 4
    seen = decode(wanted.observation["camera"], [(message, ())])[..., 0]
    assert (seen[[0, 3]] == 0).all() and (seen[1:3] > 100).all()


def test_the_buffer_knows_the_shapes_that_came_and_tells_those_of_another_aspect(
    interface: Interface,
) -> None:
    buffer = ObservationBuffer(interface, ["camera"])
    topic = interface.observation["camera"].topic
    for shape in ((24, 32), (24, 32), (18, 32)):
        buffer.add("camera", frame(np.zeros((*shape, 3), np.uint8), 0), 0)
        buffer.observe(0)
        if shape == (24, 32):
            assert buffer.image_shapes.notes() == []
    assert buffer.image_shapes.seen == {topic: [(24, 32), (18, 32)]}
    changed, stretched = buffer.image_shapes.notes()
    assert changed == (
        f"{topic}: frames of 32x24, then of 32x18; a policy learns one mode of a camera"
    )
    assert stretched == (
        f"{topic}: frames of 32x18 are stretched to 128x96, everything 0.75 times as wide; "
        "`resize: crop` or `letterbox` of the stream keeps shapes"
    )


@pytest.mark.parametrize(
    ("resize", "told"),
    [("crop", "cut to 128x96, 25% of each isn't seen"),
     ("letterbox", "letterboxed to 128x96, 25% of which is black")],
)  # fmt: skip
def test_what_a_chosen_way_of_resizing_costs_is_told(
    interface: Interface, resize: str, told: str
) -> None:
    wanted = with_camera(interface, type=COMPRESSED, resize=resize)
    buffer = ObservationBuffer(wanted, ["camera"])
    buffer.add("camera", compressed(encoded(np.zeros((18, 32, 3), np.uint8)), "png"), 0)
    buffer.observe(0)
    buffer.add("camera", compressed(b"broken", "png"), 0)
    with pytest.raises(MessageError):
        buffer.observe(0)
    (note,) = buffer.image_shapes.notes()
    assert note.endswith(f"frames of 32x18 are {told}")


def test_a_size_that_is_rounded_to_whole_pixels_is_of_the_same_aspect(
    interface: Interface,
) -> None:
    buffer = ObservationBuffer(with_camera(interface, size=[96, 170]), ["camera"])
    buffer.add("camera", frame(np.zeros((480, 848, 3), np.uint8), 0), 0)
    buffer.observe(0)
    assert buffer.image_shapes.notes() == []


def test_an_episode_whose_camera_has_another_mode_is_noted(
    interface: Interface, tmp_path: Path
) -> None:
    topic = interface.observation["camera"].topic
    plain = demonstration(interface, 6)
    episode = read_episode(write_bag(tmp_path / "plain", plain), interface)
    assert episode.notes == ()
    middle = plain[len(plain) // 2].received_ns
    changed = [
        sent(m.topic, image(m.received_ns - LATENCY, 5, (18, 32)), m.received_ns)
        if m.topic == f"/{topic}" and m.received_ns >= middle
        else m
        for m in plain
    ]
    episode = read_episode(write_bag(tmp_path / "changed", changed), interface)
    assert len(episode.actions) == 6
    assert [note.partition(": ")[2].partition(";")[0] for note in episode.notes] == [
        "frames of 32x24, then of 32x18",
        "frames of 32x18 are stretched to 128x96, everything 0.75 times as wide",
    ]


def test_an_episode_with_frames_of_another_size_than_the_others_is_noted(
    interface: Interface, tmp_path: Path
) -> None:
    """The aspect ratio is the same, so no episode is irregular by itself."""
    topic = interface.observation["camera"].topic
    sizes = [(24, 32), (24, 32), (48, 64), (24, 32)]
    bags = []
    for number, size in enumerate(sizes):
        messages = [
            sent(m.topic, image(m.received_ns - LATENCY, 5, size), m.received_ns)
            if m.topic == f"/{topic}"
            else m
            for m in demonstration(interface, 6 + number)
        ]
        bags.append(write_bag(tmp_path / f"episode_{number}", messages))
        assert read_episode(bags[-1], interface).notes == ()
    told = (
        f"{topic}: frames of 64x48, those of other episodes are 32x24; a policy learns one mode "
        "of a camera"
    )
    for _ in ("built", "from the cache"):
        assert load_dataset(tmp_path, interface).notes == ((str(bags[2]), told),)
    assert read_source(tmp_path, interface).dataset.notes == ((str(bags[2]), told),)
    found = read_recordings(BagFolder.open(tmp_path), interface)
    notes = {one.name: one.notes for one in found if isinstance(one, Recording)}
    assert notes == {f"episode_{n}": (told,) if n == 2 else () for n in range(4)}
