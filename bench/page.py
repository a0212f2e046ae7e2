"""Operator's page: its load, its effect on the policy node, and the time of a STOP.

A 640x480 camera at 30 Hz, joints at 500 Hz and a tool pose at 100 Hz come from this process, which
also is the page. policy_node decides with the shipped policy, operator_node serves; both are
processes of their own. Blocks without a page, with one that shows the camera, and with one that
shows everything take turns, so that other work on the machine meets all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import rclpy
from latency import Robot, policy_at
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import String

from ebm_policy_ros.sim.subprocesses import ros_environment

PORT = 8291
BLOCK, STOPS = 10.0, 50
CAMERA = "/camera/image_raw"
BLOCKS = {"no page": None, "camera": [CAMERA], "all": [CAMERA, "candidates", "debug_image"]}


class Times:
    """Times from stamp to command, from ~/status, by what the page shows meanwhile."""

    def __init__(self, node: Any) -> None:
        self.block, self._commands = "", 0
        self.values: dict[str, list[float]] = defaultdict(list)
        node.create_subscription(String, "policy_node/status", self._on_status, 10)

    def _on_status(self, message: Any) -> None:
        told = json.loads(message.data)
        count = told["counts"].get("commands", 0)
        last = told["latest_ms"].get("stamp to command")
        if count > self._commands and self.block and last is not None:
            self.values[self.block].append(last)
        self._commands = count


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Page:
    """One page, as a browser is one."""

    def __init__(self, http: aiohttp.ClientSession, token: str) -> None:
        self._http, self._token, self._seen = http, token, 0
        self.pictures = 0

    async def open(self, pictures: list[str]) -> None:
        url = f"http://127.0.0.1:{PORT}"
        self.socket = await self._http.ws_connect(
            f"{url}/socket", headers={"Origin": url}, max_msg_size=1 << 24
        )
        await self.socket.send_json({"type": "hello", "token": self._token})
        await self.socket.send_json({"type": "show", "pictures": pictures})

    async def watch(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self._take()

    async def command(self, number: int, name: str) -> tuple[float, dict[str, Any]]:
        """Milliseconds until the answer, and the answer."""
        begun = time.monotonic()
        await self.socket.send_json(
            {"type": "command", "id": number, "name": name, "n": self._seen}
        )
        while True:
            message = await self._take()
            if message.get("type") == "answer" and message["id"] == number:
                return (time.monotonic() - begun) * 1e3, message

    async def _take(self) -> dict[str, Any]:
        message = await self.socket.receive(timeout=20)
        if message.type is aiohttp.WSMsgType.BINARY:
            self.pictures += 1
            return {}
        data: dict[str, Any] = message.json()
        if data["type"] == "state":
            self._seen = data["n"]
            await self.socket.send_json({"type": "beat", "n": self._seen})
        return data


async def measure(times: Times, server: int, policy: int, rounds: int) -> None:
    """Run the blocks and the stops, and print the table."""
    used: dict[str, list[tuple[float, float]]] = defaultdict(list)
    pictures: dict[str, int] = defaultdict(int)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{PORT}/") as response:
            (token,) = re.findall('name="token" content="([^"]+)"', await response.text())
        for _ in range(rounds):
            for block, shown in BLOCKS.items():
                page = Page(http, token)
                if shown is not None:
                    await page.open(shown)
                    await page.watch(1.0)
                before = cpu_seconds(server), cpu_seconds(policy)
                pictures[block] -= page.pictures
                times.block = block
                await (asyncio.sleep(BLOCK) if shown is None else page.watch(BLOCK))
                times.block = ""
                pictures[block] += page.pictures
                after = cpu_seconds(server), cpu_seconds(policy)
                used[block].append((after[0] - before[0], after[1] - before[1]))
                if shown is not None:
                    await page.socket.close()
        page = Page(http, token)
        await page.open([CAMERA])
        await page.watch(1.0)
        stops = []
        for number in range(0, 2 * STOPS, 2):
            taken, answer = await page.command(number, "stop")
            assert answer["done"], answer
            stops.append(taken)
            await page.watch(0.5)
            await page.command(number + 1, "reset")
            await page.watch(0.5)
    print(f"{rounds} blocks of {BLOCK:g} s each; load average {os.getloadavg()[0]:.1f}")
    for block in BLOCKS:
        operator, node = (100 * np.array(used[block]) / BLOCK).T
        p50, p95, p99 = np.percentile(times.values[block], (50, 95, 99))
        print(
            f"{block:<8} operator_node {operator.mean():5.1f} % of a core, policy_node "
            f"{node.mean():5.1f} %; stamp to command p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} "
            f"ms ({len(times.values[block])}); {pictures[block] / rounds / BLOCK:.1f} pictures/s"
        )
    p50, p99 = np.percentile(stops, (50, 99))
    print(f"STOP answered after p50 {p50:.1f}, p99 {p99:.1f}, most {max(stops):.1f} ms")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=10.0, help="decisions per second, Hz")
    parser.add_argument("--rounds", type=int, default=6, help="blocks of each kind")
    args = parser.parse_args()
    os.environ.update(ros_environment())
    rclpy.init()
    robot = Robot()
    pixels = np.linspace(0, 200, 640)[None, :, None] + np.random.default_rng(0).normal(
        scale=2.0, size=(480, 640, 3)
    )
    robot.image.data = np.clip(pixels, 0, 255).astype(np.uint8).tobytes()
    times = Times(robot.node)
    executor, ends = SingleThreadedExecutor(), threading.Event()
    executor.add_node(robot.node)

    def spin() -> None:
        while not ends.is_set():
            executor.spin_once(timeout_sec=0.05)

    spinning = threading.Thread(target=spin)
    spinning.start()
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, "-m"]
        policy = [*run, "ebm_policy_ros.nodes.policy.node", "--ros-args", "-p", "autostart:=true"]
        policy += ["-p", f"policy:={policy_at(args.rate, Path(folder))}", "-p", "device:=cpu"]
        policy += ["-p", "when_unsure:=go", "-p", "stop_after:=3600.0"]
        server = [*run, "ebm_policy_ros.nodes.operator.node", "--ros-args", "-p", f"port:={PORT}"]
        processes = [subprocess.Popen(command) for command in (policy, server)]
        try:
            time.sleep(20.0)
            asyncio.run(measure(times, processes[1].pid, processes[0].pid, args.rounds))
        finally:
            for process in processes:
                process.terminate()
                process.wait(20)
            ends.set()
            spinning.join()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
