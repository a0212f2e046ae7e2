"""A short demonstration as messages, and bags of all formats with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from ebm_policy_ros.interface import Interface

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
TYPES = get_typestore(Stores.ROS2_JAZZY)
# Time from the stamp of a message to its receipt, ns.
LATENCY = 3_000_000
GRIPPER = {
    "topic": "gripper",
    "type": "sensor_msgs/msg/JointState",
    "name": "finger",
    "low": 0.0,
    "high": 1.0,
}
"""Gripper of an interface file, for an arm that has one."""


class Sent(NamedTuple):
    """A message as received."""

    topic: str
    type: str
    received_ns: int
    data: bytes


def message(kind: str, **fields: Any) -> Any:
    """Build a message; fields that are not given are zero or empty."""
    return TYPES.types[kind](**fields)


def header(stamp: int, frame: str = "") -> Any:
    sec, nanosec = divmod(stamp, SECOND)
    time = message("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return message("std_msgs/msg/Header", stamp=time, frame_id=frame)


def image(stamp: int, grey: int, size: tuple[int, int] = (24, 32)) -> Any:
    height, width = size
    return message(
        "sensor_msgs/msg/Image",
        header=header(stamp),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=np.full(3 * height * width, grey, np.uint8),
    )


def joints(stamp: int, names: Iterable[str], positions: list[float]) -> Any:
    empty = np.empty(0)
    return message(
        "sensor_msgs/msg/JointState",
        header=header(stamp),
        name=list(names),
        position=np.array(positions, dtype=float),
        velocity=empty,
        effort=empty,
    )


def _vector(x: float, y: float) -> Any:
    return message("geometry_msgs/msg/Vector3", x=x, y=y, z=0.0)


def pose(stamp: int, x: float, y: float) -> Any:
    return message(
        "geometry_msgs/msg/PoseStamped",
        header=header(stamp, "base_link"),
        pose=message(
            "geometry_msgs/msg/Pose",
            position=message("geometry_msgs/msg/Point", x=x, y=y, z=0.0),
            orientation=message("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
        ),
    )


def twist(stamp: int, x: float, y: float = 0.0) -> Any:
    return message(
        "geometry_msgs/msg/TwistStamped",
        header=header(stamp, "base_link"),
        twist=message("geometry_msgs/msg/Twist", linear=_vector(x, y), angular=_vector(0.0, 0.0)),
    )


def tick(stamp: int, commander: str, state: str = "fresh", reason: str = "", **more: str) -> Any:
    """Build a tick of policy_node's execution."""
    told = {"commander": commander, "state": state, "reason": reason}
    values = {**told, "policy": "push", "sha256": "ab" * 32, "unsure": "", **more}
    return ticks_with(stamp, values)


def ticks_with(stamp: int, values: dict[str, str], statuses: int = 1) -> Any:
    """Build a message of an execution with any values."""
    kind = "diagnostic_msgs/msg/KeyValue"
    status = message(
        "diagnostic_msgs/msg/DiagnosticStatus",
        level=0,
        name="policy_node: execution",
        message=values.get("commander", ""),
        hardware_id="",
        values=[message(kind, key=key, value=value) for key, value in values.items()],
    )
    return message(
        "diagnostic_msgs/msg/DiagnosticArray", header=header(stamp), status=[status] * statuses
    )


def sent(topic: str, content: Any, received_ns: int) -> Sent:
    data = bytes(TYPES.serialize_cdr(content, content.__msgtype__))
    return Sent(topic, content.__msgtype__, received_ns, data)


def demonstration(
    interface: Interface,
    steps: int = 20,
    stamp: Callable[[int], int] = lambda time: time,
    receipt: Callable[[int], int] = lambda time: time + LATENCY,
) -> list[Sent]:
    """Messages of a demonstration of ur5e_push: every stream and a command at 10 Hz.

    The grey value of the image, the x of the tool and 1000 times the command's x are the step
    number.

    Args:
        interface: Topics.
        steps: Number of steps.
        stamp: Maps the time of a step to the stamp of its messages.
        receipt: Maps the time of a step to the time of their receipt.
    """
    streams = interface.observation
    found = []
    for step in range(steps):
        time = START + step * interface.period_ns
        now = stamp(time)
        for topic, content in (
            (streams["camera"].topic, image(now, step)),
            (streams["joints"].topic, joints(now, streams["joints"].parts, [0.1 * step] * 6)),
            (streams["tool"].topic, pose(now, float(step), 0.0)),
            (interface.command.topic, twist(now, step / 1000)),
        ):
            found.append(sent(f"/{topic}", content, receipt(time)))
    return found


def write_bag(
    folder: Path,
    messages: list[Sent],
    storage: StoragePlugin = StoragePlugin.MCAP,
    mode: CompressionMode = CompressionMode.NONE,
    custom: dict[str, str] | None = None,
) -> Path:
    """Write a bag with metadata, with the library rosbags."""
    writer = Writer(folder, version=Writer.VERSION_LATEST, storage_plugin=storage)
    if mode is not CompressionMode.NONE:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    for key, value in (custom or {}).items():
        writer.set_custom_data(key, value)
    with writer:
        connections = {
            topic: writer.add_connection(topic, kind, typestore=TYPES)
            for topic, kind in dict.fromkeys((m.topic, m.type) for m in messages)
        }
        for entry in messages:
            writer.write(connections[entry.topic], entry.received_ns, entry.data)
    return folder


def write_mcap(
    path: Path,
    messages: list[Sent],
    chunk_size: int = 4096,
    compression: CompressionType = CompressionType.ZSTD,
    finish: bool = True,
    definitions: dict[str, str] | None = None,
    **options: Any,
) -> Path:
    """Write an mcap file of many small chunks, with the library mcap."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer: Any = McapWriter(file, chunk_size=chunk_size, compression=compression, **options)
        writer.start("ros2")
        channels = {}
        for topic, kind in dict.fromkeys((m.topic, m.type) for m in messages):
            text = (definitions or {}).get(kind) or TYPES.generate_msgdef(kind, ros_version=2)[0]
            schema = writer.register_schema(kind, "ros2msg", text.encode())
            channels[topic, kind] = writer.register_channel(topic, "cdr", schema)
        for number, entry in enumerate(messages):
            channel = channels[entry.topic, entry.type]
            writer.add_message(channel, entry.received_ns, entry.data, entry.received_ns, number)
        if finish:
            writer.finish()
        else:
            writer.flush()
    return path
