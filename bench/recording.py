"""Completeness of a recording: two 640x480 cameras at 30 Hz and joints at 500 Hz.

A publisher and recorder_node run as separate processes. Every message that was sent is looked up
in the bag, by its number.

    python bench/recording.py --minutes 10
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from array import array
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import yaml
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import SetBool, Trigger

from ebm_policy_ros.sim.subprocesses import ros_environment

HEIGHT, WIDTH = 480, 640
CAMERAS, JOINTS = ("/left/image_raw", "/right/image_raw"), "/joint_states"
RATES = {**dict.fromkeys(CAMERAS, 30.0), JOINTS: 500.0}
NAMES = [f"joint_{number}" for number in range(6)]
IMAGE = {"type": "sensor_msgs/msg/Image", "size": [96, 128], "max_age": 0.25}
INTERFACE = {
    "name": "bench",
    "rate": 10.0,
    "observation": {
        "left": {"topic": CAMERAS[0], **IMAGE},
        "right": {"topic": CAMERAS[1], **IMAGE},
        "joints": {
            "topic": JOINTS,
            "type": "sensor_msgs/msg/JointState",
            "names": NAMES,
            "max_age": 0.15,
            "min_rate": 400.0,
        },
    },
    "action": {
        "topic": "/commands",
        "type": "std_msgs/msg/Float64MultiArray",
        "quantity": "velocity",
        "fields": NAMES,
        "unit": "rad/s",
        "low": [-1.0] * 6,
        "high": [1.0] * 6,
    },
}
# Standard deviation of a camera's noise, of 255.
NOISE = 2.0


def frames(count: int = 60) -> list[array[int]]:
    """Moving gradients with noise, about as compressible as camera images."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    noise = random.normal(0, NOISE, (HEIGHT + 64, WIDTH + 64, 3))
    found = []
    for number in range(count):
        waves = [np.sin((x * a + y * b) / 80 + number / c) for a, b, c in np.eye(3) * 2 + 1]
        top, left = random.integers(0, 64, 2)
        pixels = 128 + 100 * np.stack(waves, -1) + noise[top:, left:][:HEIGHT, :WIDTH]
        found.append(array("B", np.clip(pixels, 0, 255).astype(np.uint8).tobytes()))
    return found


def publish() -> None:
    """Publish; number the messages from "count" to the next word, then print their counts."""
    rclpy.init()
    node = rclpy.create_node("bench_publisher")
    pictures = frames()
    publishers = {
        topic: node.create_publisher(
            *((Image, topic, qos_profile_sensor_data) if topic in CAMERAS else
              (JointState, topic, QoSProfile(depth=100)))
        )
        for topic in RATES
    }  # fmt: skip
    image = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
    joints = JointState(name=NAMES, position=[0.0] * 6, velocity=[0.0] * 6, effort=[0.0] * 6)
    sent, longest_late = dict.fromkeys(RATES, 0), 0.0
    due = dict.fromkeys(RATES, time.monotonic())
    counting, drawn = False, 0
    while True:
        word = os.read(sys.stdin.fileno(), 10) if _has_input() else None
        if word == b"count\n":
            counting = True
        elif word is not None:
            break
        for topic, rate in RATES.items():
            late = time.monotonic() - due[topic]
            if late < 0:
                continue
            due[topic] += 1 / rate
            longest_late = max(longest_late, late if counting else 0.0)
            message = joints if topic == JOINTS else image
            if message is image:
                drawn += 1
                image.data = pictures[drawn % len(pictures)]
            sent[topic] += counting
            message.header.frame_id = str(sent[topic])
            message.header.stamp = node.get_clock().now().to_msg()
            publishers[topic].publish(message)
        time.sleep(max(0.0, min(due.values()) - time.monotonic()))
    own = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"sent": sent, "cpu": own.ru_utime + own.ru_stime, "late": longest_late}))
    os.read(sys.stdin.fileno(), 10)  # until the last messages have arrived
    rclpy.try_shutdown()


def _has_input() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def call(node: Any, kind: Any, name: str, request: Any) -> Any:
    """Call a service; the answer takes as long as the disk needs."""
    client = node.create_client(kind, f"/recorder_node/{name}")
    assert client.wait_for_service(30.0), f"no service {name}"
    future = client.call_async(request)
    rclpy.spin_until_future_complete(node, future, timeout_sec=300.0)
    return future.result()


def count(bag: Path) -> dict[str, list[int]]:
    """Numbers of the counted messages of each topic, in their order in the bag."""
    found = defaultdict(list)
    with AnyReader([bag]) as reader:
        for connection, _, data in reader.messages():
            (length,) = struct.unpack_from("<I", data, 12)
            number = int(data[16 : 16 + length - 1])
            if number:
                found[connection.topic].append(number)
    return found


def record(folder: Path, seconds: float) -> tuple[dict[str, Any], float, Path]:
    """Run both processes; return the sent counts, the recorder's CPU seconds, and the bag."""
    (folder / "bench.yaml").write_text(yaml.safe_dump(INTERFACE))
    own = [sys.executable, __file__, "--publish"]
    publisher = subprocess.Popen(own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    command = [sys.executable, "-m", "ebm_policy_ros.nodes.recorder.node", "--ros-args"]
    values = {"interface": folder / "bench.yaml", "folder": folder / "demos", "keys": "false"}
    for name, value in values.items():
        command += ["-p", f"{name}:={value}"]
    recorder = subprocess.Popen(command)
    assert publisher.stdin is not None and publisher.stdout is not None

    def tell(word: str) -> None:
        publisher.stdin.write(f"{word}\n")
        publisher.stdin.flush()

    rclpy.init()
    node = rclpy.create_node("bench")
    try:
        while not (answer := call(node, Trigger, "start", Trigger.Request())).success:
            print(answer.message)
            time.sleep(1.0)
        tell("count")
        time.sleep(seconds)
        tell("end")
        sent = json.loads(publisher.stdout.readline())
        time.sleep(1.0)
        asked = time.monotonic()
        bag = Path(call(node, SetBool, "stop", SetBool.Request(data=True)).message)
        sent["stop"] = time.monotonic() - asked
    finally:
        tell("quit")
        publisher.wait(20)
        recorder.terminate()
        _, _, usage = os.wait4(recorder.pid, 0)
        rclpy.try_shutdown()
    return sent, usage.ru_utime + usage.ru_stime, bag


def main() -> None:
    """Record, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="where to record; emptied afterwards")
    parser.add_argument("--publish", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update({**ros_environment(), "PYTHONUNBUFFERED": "1"})
    if options.publish:
        publish()
        return
    folder = Path(tempfile.mkdtemp(prefix="recording_", dir=options.folder))
    seconds = 60 * options.minutes
    try:
        sent, cpu, bag = record(folder, seconds)
        metadata = yaml.safe_load((bag / "metadata.yaml").read_text())
        streams = json.loads(metadata["rosbag2_bagfile_information"]["custom_data"]["streams"])
        size = sum(path.stat().st_size for path in bag.iterdir())
        lost = 0
        for topic, numbers in count(bag).items():
            expected = sent["sent"][topic]
            whole = numbers == list(range(1, expected + 1))
            lost += expected - len(set(numbers))
            metrics = streams[topic]
            print(
                f"{topic:<18} sent {expected}, in the bag {len(numbers)}"
                f"{', each once and in order' if whole else ''}; {metrics['rate']:.1f} Hz, "
                f"longest gap {metrics['longest_gap']:.3f} s, {metrics['drops']} dropped"
            )
        raw = sum(sent["sent"][topic] for topic in CAMERAS) * HEIGHT * WIDTH * 3
        print(
            f"{lost} lost in {seconds:g} s; {raw / seconds / 1e6:.1f} MB/s of "
            f"pictures, {size / seconds / 1e6:.1f} MB/s written; CPU seconds per second: recorder "
            f"{cpu / seconds:.2f}, publisher {sent['cpu'] / seconds:.2f} "
            f"(late by {sent['late']:.3f} s at most); the stop took {sent['stop']:.2f} s"
        )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
