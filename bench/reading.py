"""Time to decode demonstrations, and to open them again from the cache.

The bags are written by the recorder's own writer. The images contain noise, so they hardly
compress: 200 episodes of 15 s as recorded by the simulation, and some as of an arm with a 640x480
camera at 30 Hz and joints at 500 Hz.

    python bench/reading.py
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rosbags.typesys import Stores, get_typestore

from ebm_policy_ros.bags.episode_folder import EpisodeFolder
from ebm_policy_ros.bags.episode_writer import EpisodeWriter
from ebm_policy_ros.bags.topics import Message, Topic
from ebm_policy_ros.interface import NANOSECONDS, Interface, load_interface
from ebm_policy_ros.training.data.bag_dataset import load_dataset
from ebm_policy_ros.util.resources import interface_path

TYPES = get_typestore(Stores.ROS2_JAZZY)
SECONDS = 15
# Standard deviation of a camera's noise, of 255.
NOISE = 2.0
TARGET_BUILD, TARGET_OPEN = 120.0, 1.0


class Case(NamedTuple):
    """A kind of recording."""

    name: str
    episodes: int
    size: tuple[int, int]
    camera_rate: float
    joint_rate: float
    seconds: int = SECONDS


CASES = (
    Case("simulation: 320x240 at 10 Hz", 200, (240, 320), 10, 10),
    Case("arm: 640x480 at 30 Hz, joints at 500 Hz", 20, (480, 640), 30, 500),
)


def make(kind: str, **fields: Any) -> Any:
    """Build a message."""
    return TYPES.types[kind](**fields)


def header(stamp: int, frame: str = "") -> Any:
    """Build a header with a stamp in nanoseconds."""
    sec, nanosec = divmod(stamp, NANOSECONDS)
    time_ = make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return make("std_msgs/msg/Header", stamp=time_, frame_id=frame)


def vector(kind: str, x: float) -> Any:
    """Build a point or a vector."""
    return make(f"geometry_msgs/msg/{kind}", x=x, y=0.0, z=0.0)


def messages(interface: Interface, case: Case, frames: list[Any]) -> list[tuple[int, str, Any]]:
    """Messages of an episode: stamp, topic and content."""
    streams, found = interface.observation, []
    height, width = case.size

    def every(rate: float, topic: str, content: Any) -> None:
        for number in range(round(case.seconds * rate)):
            stamp = NANOSECONDS + round(number / rate * NANOSECONDS)
            found.append((stamp, topic, content(number, stamp)))

    empty = np.empty(0)
    quaternion = make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
    every(
        case.camera_rate,
        streams["camera"].topic,
        lambda n, s: make(
            "sensor_msgs/msg/Image", header=header(s), height=height, width=width,
            encoding="rgb8", is_bigendian=0, step=3 * width, data=frames[n % len(frames)],
        ),
    )  # fmt: skip
    every(
        case.joint_rate,
        streams["joints"].topic,
        lambda n, s: make(
            "sensor_msgs/msg/JointState", header=header(s), name=list(streams["joints"].parts),
            position=np.full(6, n / 1000), velocity=empty, effort=empty,
        ),
    )  # fmt: skip
    every(
        case.joint_rate,
        streams["tool"].topic,
        lambda n, s: make(
            "geometry_msgs/msg/PoseStamped",
            header=header(s, "base_link"),
            pose=make(
                "geometry_msgs/msg/Pose",
                position=vector("Point", n / 1000),
                orientation=quaternion,
            ),
        ),
    )
    every(
        interface.rate,
        interface.command.topic,
        lambda n, s: make(
            "geometry_msgs/msg/TwistStamped",
            header=header(s, "base_link"),
            twist=make(
                "geometry_msgs/msg/Twist",
                linear=vector("Vector3", n / 1000),
                angular=vector("Vector3", 0.0),
            ),
        ),
    )
    return sorted(found, key=lambda entry: entry[0])


def record(folder: Path, interface: Interface, case: Case) -> None:
    """Write the episodes, which differ in their first image."""
    random = np.random.default_rng(0)
    picture = np.linspace(0, 200, case.size[1])[None, :, None] + np.zeros((*case.size, 3))
    frames = [
        np.clip(picture + random.normal(0, NOISE, picture.shape), 0, 255).astype(np.uint8).ravel()
        for _ in range(30)
    ]
    episodes = EpisodeFolder(folder, "episode")
    for number in range(case.episodes):
        frames[0][:3] = number % 256, number // 256, 0
        writer = EpisodeWriter(episodes.open({}), {})
        topics: dict[str, Topic] = {}
        for stamp, name, content in messages(interface, case, frames):
            topic = topics.setdefault(name, Topic(f"/{name}", content.__msgtype__))
            data = bytes(TYPES.serialize_cdr(content, topic.type))
            while writer.waiting > 1 << 27:
                time.sleep(0.01)
            writer.add(topic, Message(stamp, stamp, 0, data))
        writer.keep(list(topics.values()), {"outcome": "success"})


def measure(folder: Path, interface: Interface, case: Case) -> dict[str, Any]:
    """Measure the seconds to build the cache and to open it again."""
    started = time.perf_counter()
    steps = len(load_dataset(folder, interface).actions)
    built = time.perf_counter()
    load_dataset(folder, interface)
    opened = time.perf_counter()
    size = sum(path.stat().st_size for path in folder.rglob("*.mcap"))
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "case": case.name,
        "episodes": case.episodes,
        "steps": steps,
        "bags (GB)": round(size / 1e9, 2),
        "build (s)": round(built - started, 1),
        "open (s)": round(opened - built, 2),
        "largest worker (MB)": round(children.ru_maxrss / 1e3),
    }


def main() -> None:
    """Record, measure and print."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    interface = load_interface(interface_path("ur5e_push"))
    print(f"{os.cpu_count()} cores, episodes of {SECONDS} s")
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            record(Path(folder), interface, case)
            found = measure(Path(folder), interface, case)
        print(json.dumps(found))
    print(f"wanted for 200 episodes: build <= {TARGET_BUILD:g} s, open <= {TARGET_OPEN:g} s")


if __name__ == "__main__":
    main()
