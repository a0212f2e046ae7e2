"""Equal observations from the same messages, live over a real DDS and read from a bag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

import rclpy
from demonstration import (
    START,
    Sent,
    header,
    image,
    joints,
    message,
    pose,
    sent,
    twist,
    write_bag,
)
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile

from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.messages.types import message_class
from ebm_policy_ros.nodes.common.inputs import Inputs
from ebm_policy_ros.training.data.episodes import read_episode

pytestmark = pytest.mark.ros

MILLISECOND = 1_000_000
SECONDS = 3


@pytest.fixture
def rich(interface: Interface) -> Interface:
    """An interface with every kind of stream, and with a history."""
    values = interface.to_dict()
    streams = values["observation"]
    streams["camera"] |= {"size": [12, 16], "history": 2}
    streams["wrist"] = {
        "topic": "wrist/image_raw/compressed",
        "type": "sensor_msgs/msg/CompressedImage",
        "size": [12, 16],
        "max_age": 0.3,
    }
    streams["depth"] = {
        "topic": "wrist/depth",
        "type": "sensor_msgs/msg/Image",
        "size": [12, 16],
        "depth": [0.2, 1.0],
        "max_age": 0.3,
    }
    streams["force"] = {
        "topic": "wrench",
        "type": "geometry_msgs/msg/WrenchStamped",
        "frame_id": "tool0",
        "fields": ["force.z", "torque.x"],
        "max_age": 0.1,
    }
    streams["joints"]["fields"] = ["position", "velocity"]
    streams["joints"]["history"] = 3
    return interface_from_dict(values, "rich")


def recorded(interface: Interface) -> list[Sent]:
    """Three seconds of a robot: rates, phases and delays of streams differ and jitter."""
    generator = np.random.default_rng(0)
    names = list(interface.observation["joints"].parts)
    streams = interface.observation
    found: list[Sent] = []

    def every(period: float, delay: float, topic: str, make: Any) -> None:
        for time in np.arange(generator.uniform(0, period), SECONDS, period):
            stamp = START + round((time + generator.normal(0, 0.1 * period)) * 1e9)
            late = round((delay + generator.exponential(0.3 * delay)) * 1e9)
            found.append(sent(f"/{topic}", make(stamp), stamp + late))

    def half(which: slice) -> Any:
        def make(stamp: int) -> Any:
            made = joints(stamp, names[which], generator.normal(size=3).tolist())
            made.velocity = generator.normal(size=3)
            return made

        return make

    def coloured(stamp: int) -> Any:
        made = image(stamp, 0)
        made.data = generator.integers(0, 256, made.data.size, np.uint8)
        return made

    def compressed(stamp: int) -> Any:
        picture = generator.integers(0, 256, (24, 32, 3), np.uint8)
        data = cv2.imencode(".jpg", picture)[1].reshape(-1)
        kind = "sensor_msgs/msg/CompressedImage"
        return message(kind, header=header(stamp), format="jpeg", data=data)

    def depth(stamp: int) -> Any:
        made = image(stamp, 0)
        values = generator.integers(0, 1200, 24 * 32).astype("<u2")
        made.encoding, made.step, made.data = "16UC1", 64, values.view(np.uint8)
        return made

    def wrench(stamp: int) -> Any:
        vectors = [
            message(
                "geometry_msgs/msg/Vector3",
                **dict(zip("xyz", generator.normal(size=3), strict=True)),
            )
            for _ in range(2)
        ]
        return message(
            "geometry_msgs/msg/WrenchStamped",
            header=header(stamp, "tool0"),
            wrench=message("geometry_msgs/msg/Wrench", force=vectors[0], torque=vectors[1]),
        )

    every(1 / 30, 0.03, streams["camera"].topic, coloured)
    every(1 / 15, 0.06, streams["wrist"].topic, compressed)
    every(1 / 15, 0.05, streams["depth"].topic, depth)
    every(1 / 50, 0.002, streams["joints"].topic, half(slice(0, 3)))
    every(1 / 40, 0.003, streams["joints"].topic, half(slice(3, 6)))
    every(1 / 25, 0.004, streams["tool"].topic, lambda s: pose(s, *generator.normal(size=2)))
    every(1 / 40, 0.002, streams["force"].topic, wrench)
    every(1 / 10, 0.02, interface.command.topic, lambda s: twist(s, generator.uniform(-0.2, 0.2)))
    return sorted(found, key=lambda m: m.received_ns)


def test_live_and_bag_give_equal_observations_element_by_element(
    context: Any, rich: Interface, tmp_path: Path
) -> None:
    messages = recorded(rich)
    episode = read_episode(write_bag(tmp_path / "bag", messages), rich)
    assert len(episode.times_ns) >= 20
    node = rclpy.create_node("policy", context=context)
    player = rclpy.create_node("player", context=context)
    executor = SingleThreadedExecutor(context=context)
    for each in (node, player):
        executor.add_node(each)
    heard: list[str] = []
    inputs = Inputs(node, rich, heard.append)
    wanted = {f"/{stream.topic}": stream.type for stream in rich.observation.values()}
    publishers = {
        topic: player.create_publisher(message_class(kind), topic, QoSProfile(depth=10))
        for topic, kind in wanted.items()
    }
    while any(publisher.get_subscription_count() == 0 for publisher in publishers.values()):
        executor.spin_once(timeout_sec=0.05)
    rest = iter(m for m in messages if m.topic in wanted)
    coming = next(rest, None)
    for step, time in enumerate(episode.times_ns.tolist()):
        # Until all messages stamped by then have arrived.
        while coming is not None and coming.received_ns <= time + 150 * MILLISECOND:
            heard.clear()
            publishers[coming.topic].publish(coming.data)
            while not heard:
                executor.spin_once(timeout_sec=1.0)
            coming = next(rest, None)
        live = inputs.observe(time)
        assert live.keys() == episode.observations.keys()
        for name, values in live.items():
            assert np.array_equal(values, episode.observations[name][step]), (name, step)
    for each in (node, player):
        each.destroy_node()
