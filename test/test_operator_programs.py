"""Programs that the operator's page starts: training, demonstrations and comparisons."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("aiohttp")

import aiohttp
from demonstration import START, image, joints, pose, sent, twist, write_bag
from domains import give_back, take_domain
from operator_page import Page
from rclpy.qos import DurabilityPolicy, QoSProfile
from station import Station
from std_msgs.msg import String

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.nodes.operator.node import OperatorNode
from ebm_policy_ros.nodes.recorder.node import RecorderNode
from ebm_policy_ros.operator.child_program import ChildProgram, Progress
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.sim.subprocesses import DOMAIN

pytestmark = pytest.mark.ros
# A program that has the least priority begins late on a busy machine.
LONG = 240.0
WHILE_MOVING = (False, "the policy commands the arm; press STOP first")
PageOf = Callable[[], Page]


def play(operator: OperatorNode, scenario: Callable[[PageOf], Awaitable[None]]) -> None:
    """Run a scenario with pages of an operator node."""

    async def run() -> None:
        async with aiohttp.ClientSession() as http:
            await scenario(lambda: Page(http, operator.url))

    asyncio.run(run())


def program(state: dict[str, Any]) -> dict[str, Any]:
    return state["programs"]["program"] or {"tone": None, "progress": None, "lines": []}


def detail(state: dict[str, Any]) -> str:
    """Text behind the progress bar of a program."""
    progress = program(state)["progress"]
    return str(progress["detail"]) if progress else ""


async def ended(page: Page) -> dict[str, Any]:
    """Wait for the end of a program, and return its state."""
    return program(await page.sees(lambda state: bool(program(state)["tone"]), LONG))


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pids(text: str) -> list[int]:
    """Running processes whose command line contains a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in path.read_bytes().decode(errors="replace") and is_alive(int(path.parts[2])):
                found.append(int(path.parts[2]))
        except OSError:
            continue  # it has just ended
    return found


@pytest.fixture
def demos(tmp_path: Path, interface: Interface) -> Path:
    """Folder with a few short demonstrations, as the recorder writes them."""
    custom = {"interface": json.dumps(interface.to_dict()), "outcome": "success"}
    folder = tmp_path / "demos"
    folder.mkdir()
    streams, random = interface.observation, np.random.default_rng(0)
    for number in range(3):
        messages = []
        for step in range(20):
            x, y, *positions = random.normal(size=8)
            now = START + step * interface.period_ns
            messages += [
                sent(f"/{topic}", content, now)
                for topic, content in (
                    (streams["camera"].topic, image(now, step)),
                    (streams["joints"].topic, joints(now, streams["joints"].parts, positions)),
                    (streams["tool"].topic, pose(now, x, y)),
                    (interface.command.topic, twist(now, 0.1 * x, 0.1 * y)),
                )
            ]
        write_bag(folder / f"episode_{number:04d}", messages, custom=custom)
    return folder


@pytest.fixture
def operator(station: Station, tmp_path: Path) -> OperatorNode:
    (tmp_path / "demos").mkdir(exist_ok=True)
    station.add(RecorderNode, keys=False, folder=str(tmp_path / "demos"), interface="ur5e_push")
    runs = str(tmp_path / "runs")
    return station.add_operator(runs=runs, training_times="1s 10m")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Domain for the simulations of programs, which is not the station's."""
    number = take_domain()
    monkeypatch.setenv(DOMAIN, str(number))
    yield
    give_back(number)


def simulate(station: Station, task: str = "push") -> None:
    """Tell of a simulation, as its bridge does."""
    status = {"state": "running", "seed": 0, "task": task, "interface": "ur5e_push"}
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = station.robot.node.create_publisher(String, "sim_bridge_node/status", latched)
    station.robot.repeat(0.2, lambda: publisher.publish(String(data=json.dumps(status))))


@pytest.mark.slow
def test_a_policy_trained_on_the_page_comes_into_its_list(
    demos: Path, operator: OperatorNode, tmp_path: Path
) -> None:
    async def scenario(page_of: PageOf) -> None:
        page = await page_of().open()
        state = await page.sees(lambda s: s["recorder"]["is_heard"])
        assert state["programs"]["times"] == ["1s", "10m"]
        assert state["recorder"]["kept"]["in_folder"] == 3
        assert await page.command("train", "1s") == (True, "Training for 1s: begun")
        done, text = await page.command("train", "1s")
        assert not done and text == "Training for 1s is still running; wait, or cancel it"
        await page.close()  # the training goes on
        page = await page_of().open()
        end = await ended(page)
        assert end["tone"] == "good", end
        name = end["result"].split()[0]
        assert end["result"] == f"{name} is in the list of policies"
        assert end["progress"]["done"] == end["progress"]["total"] > 0
        assert any("held-out action error" in line for line in end["lines"])
        assert name in page.states[-1]["policy"]["policies"]
        path = tmp_path / "runs" / f"{name}.safetensors"
        assert Policy.load(path, device="cpu").interface is not None
        await page.close()

    play(operator, scenario)


@pytest.mark.slow
def test_a_cancelled_training_keeps_its_checkpoint(
    demos: Path, operator: OperatorNode, tmp_path: Path
) -> None:
    async def scenario(page_of: PageOf) -> None:
        page = await page_of().open()
        await page.sees(lambda s: s["recorder"]["is_heard"])
        assert await page.command("cancel") == (False, "no program runs")
        assert (await page.command("train", "10m"))[0]
        await page.sees(lambda s: "loss" in detail(s), LONG)
        assert await page.command("cancel") == (True, "Training for 10m: asked to end")
        end = await ended(page)
        assert end["tone"] == "calm" and end["result"].startswith("stopped; --data")
        (run,) = (tmp_path / "runs").iterdir()
        assert (run / "checkpoint.safetensors").exists()
        await page.close()

    play(operator, scenario)


def test_a_training_without_episodes_fails_in_one_line(
    operator: OperatorNode, tmp_path: Path
) -> None:
    async def scenario(page_of: PageOf) -> None:
        page = await page_of().open()
        await page.sees(lambda s: s["recorder"]["is_heard"])
        assert (await page.command("train", "1s"))[0]
        end = await ended(page)
        assert end["tone"] == "bad"
        assert end["result"].startswith(f"train_policy: {tmp_path / 'demos'}: no bags in it")
        await page.reads("Training for 1s: train_policy: .* no bags in it")
        await page.close()

    play(operator, scenario)


def test_no_program_begins_where_it_would_disturb_or_has_nothing_to_work_on(
    station: Station, tmp_path: Path
) -> None:
    policy = station.add_policy()
    operator = station.add_operator(runs=str(tmp_path / "runs"))

    async def scenario(page_of: PageOf) -> None:
        page = await page_of().open()
        await page.sees(lambda s: s["policy"].get("lifecycle") == "active")
        assert await page.command("train", "10m") == WHILE_MOVING
        assert (await page.command("stop"))[0]
        await page.sees(lambda s: s["policy"]["state"] == "stopped")
        for name, value, told in (
            ("train", "10m", "no recorder is heard, which has the demonstrations; start one"),
            ("train", "11m", "got '11m', expected a time of the list"),
            ("demonstrate", 3, "no simulation runs; start one with simulation:=true"),
            ("judge", ["a", "b", 2], "got 'a', expected a policy of the list"),
            (
                "judge",
                ["ur5e_push", "ur5e_avoid", 2],
                "no recorder node is heard; start recorder_",
            ),
            ("demonstrate", "3", "demonstrate: got '3', expected a whole number from 1 to 1000"),
            ("demonstrate", 1001, "demonstrate: got 1001, expected a whole number from 1 to 1000"),
            ("judge", ["a", "b"], "judge: got ['a', 'b'], expected two policies and a number of"),
            ("judge", ["a", 1, 2], "judge: got ['a', 1, 2], expected two policies and a number"),
            ("judge", ["a", "b", 0], "trials: got 0, expected a whole number from 1 to 200"),
            ("train", None, "train: got None, expected a time"),
        ):
            done, text = await page.command(name, value)
            assert not done and text.startswith(told), text
        simulate(station)
        await page.sees(lambda s: s["simulation"].get("task") == "push")
        told = "got '../x', expected a policy of the list"
        assert await page.command("judge", ["ur5e_push", "../x", 2]) == (False, told)
        told = "expected two different policies"
        assert await page.command("judge", ["ur5e_push"] * 2 + [2]) == (False, told)
        assert page.states[-1]["programs"]["program"] is None
        first = page.states[0]["n"]
        await page.sees(lambda s: s["n"] > first + 15)
        done, text = await page.command("train", "10m", first)
        assert not done and text.startswith("the page showed a state older than")
        await page.close()

    play(operator, scenario)
    assert policy.safety.reason == "~/stop was called" and not (tmp_path / "runs").exists()


def test_an_episode_that_is_being_recorded_is_not_disturbed(
    station: Station, operator: OperatorNode
) -> None:
    async def scenario(page_of: PageOf) -> None:
        page = await page_of().open()
        done = False
        while not done:  # the recorder refuses until it has heard every stream
            done, _ = await page.command("record", "start")
        await page.sees(lambda s: s["recorder"]["state"] == "recording")
        told = "an episode is being recorded; keep or discard it first"
        assert await page.command("train", "1s") == (False, told)
        await page.close()

    play(operator, scenario)


@pytest.mark.slow
@pytest.mark.sim
def test_a_comparison_on_the_page_hides_the_order_and_ends_with_its_page(
    station: Station,
    operator: OperatorNode,
    policy_file: Callable[..., Path],
    elsewhere: None,
    tmp_path: Path,
) -> None:
    policy_file("explicit")
    operator = station.add_operator(runs=str(tmp_path / "runs"), policies=str(tmp_path))

    async def scenario(page_of: PageOf) -> None:
        page = await page_of().open()
        simulate(station)
        await page.sees(lambda s: s["simulation"].get("task") == "push")
        done, text = await page.command("judge", ["explicit", "ur5e_push", 1])
        assert (done, text) == (True, "Comparison of explicit and ur5e_push: begun")
        during = await page.sees(
            lambda s: any(line.startswith("trial 1: ") for line in program(s)["lines"]), LONG
        )
        assert not any("ur5e_push" in line for line in program(during)["lines"])
        end = await ended(page)
        assert end["tone"] == "good", end
        assert any("no clear difference: explicit alone" in line for line in end["lines"])
        (comparison,) = page.states[-1]["programs"]["comparisons"]
        address = f"{operator.url}/{comparison['address']}"
        async with aiohttp.ClientSession() as http:
            async with http.get(address) as response:
                content = await response.text()
                assert response.status == 200 and "Policies compared, blind" in content
                assert "style-src 'unsafe-inline'" in response.headers["Content-Security-Policy"]
            film = address.replace("index.html", "videos/trial_0001.mp4")
            async with http.get(film) as response:
                assert response.status == 200 and response.content_type == "video/mp4"
            for wrong in (
                address.replace("index.html", "trials.jsonl"),
                address.replace("index.html", "videos/..%2f..%2fcomparison.json"),
                address.replace(comparison["name"], ".."),
                address.replace(comparison["address"].split("/")[1], "guessed"),
            ):
                async with http.get(wrong) as response:
                    assert response.status == 404, wrong
            headers = {"Host": "evil.example"}
            async with http.get(address, headers=headers) as response:
                assert response.status == 403
        await page.close()

    play(operator, scenario)
    # A server that is started later shows it too, at another address.
    again = station.add_operator(runs=str(tmp_path / "runs"))

    async def later(page_of: PageOf) -> None:
        page = await page_of().open()
        state = await page.sees(lambda state: True)
        assert len(state["programs"]["comparisons"]) == 1
        await page.close()

    play(again, later)


@pytest.mark.slow
@pytest.mark.sim
def test_demonstrations_by_script_are_counted_while_they_come(
    station: Station, operator: OperatorNode, elsewhere: None, tmp_path: Path
) -> None:
    async def scenario(page_of: PageOf) -> None:
        page = await page_of().open()
        simulate(station)
        await page.sees(lambda s: bool(s["simulation"].get("task") and s["recorder"]["is_heard"]))
        assert (await page.command("demonstrate", 2))[0]
        end = await ended(page)
        assert end["tone"] == "good" and end["progress"]["done"] == 2, end
        await page.sees(lambda s: s["recorder"]["kept"]["in_folder"] == 2)
        await page.close()

    play(operator, scenario)
    assert (tmp_path / "demos" / "push_0001" / "metadata.yaml").exists()


def test_a_program_that_cannot_work_says_why(
    station: Station, operator: OperatorNode, tmp_path: Path
) -> None:
    async def scenario(page_of: PageOf) -> None:
        page = await page_of().open()
        simulate(station, "nothing")
        await page.sees(lambda s: bool(s["simulation"].get("task") and s["recorder"]["is_heard"]))
        assert (await page.command("demonstrate", 2))[0]
        end = await ended(page)
        assert end["tone"] == "bad" and end["result"].startswith("record_demos: --task: got")
        await page.close()

    play(operator, scenario)


def test_a_child_program_tells_its_lines_and_the_progress_of_its_bar() -> None:
    child = ChildProgram("util", [])
    code = (
        "import sys; from tqdm import tqdm; bar = tqdm(total=4, unit='step'); bar.update(3); "
        "bar.set_postfix(loss='0.1'); bar.close(); print('x' * 400); print('a\\x1b[b'); "
        "sys.exit(3)"
    )
    child._arguments = [sys.executable, "-c", code]
    assert asyncio.run(child.run()) == 3
    assert list(child.lines) == ["x" * 300, "a?[b"]
    assert child.progress is not None
    assert (child.progress.done, child.progress.total) == (3, 4)
    assert "loss=0.1" in child.progress.detail
    child._take(b"push:  25%|##| 1/4 [00:09, 1 solved, scene 1 for 0 s]")
    assert child.progress == Progress(1, 4, "00:09", "", "1 solved, scene 1 for 0 s")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_training_ends_with_its_operator_node(
    station: Station, demos: Path, tmp_path: Path, number: signal.Signals
) -> None:
    station.add(RecorderNode, keys=False, folder=str(demos), interface="ur5e_push")
    log = tmp_path / "node.log"
    chosen = {"port": 0, "runs": str(tmp_path / "runs")}
    arguments = [sys.executable, "-m", "ebm_policy_ros.nodes.operator.node", "--ros-args"]
    for name, value in chosen.items():
        arguments += ["-p", f"{name}:={value}"]
    node = subprocess.Popen(arguments, stdout=log.open("wb"), stderr=subprocess.STDOUT)
    own = f"--out={tmp_path / 'runs'}"

    async def scenario() -> None:
        async with aiohttp.ClientSession() as http:
            page = Page(http, "")
            await page.until(lambda: "the page is at http" in log.read_text())
            page.url = log.read_text().split("the page is at ")[1].split(",")[0]
            await page.open()
            await page.sees(lambda s: s["recorder"]["is_heard"])
            assert (await page.command("train", "10m"))[0]
            await page.sees(lambda s: "loss" in detail(s), LONG)
            assert pids(own)
            os.kill(node.pid, number)
            await page.until(lambda: pids(own) == [])

    try:
        asyncio.run(scenario())
    finally:
        node.kill()
        node.wait()


def test_a_time_of_training_that_is_none_is_refused_at_start(station: Station) -> None:
    for wrong in ("", "soon", "10 m", "0m"):
        with pytest.raises(ValueError, match=r"training_times: got .*, expected times such as"):
            station.add_operator(training_times=wrong)


def test_a_program_that_is_killed_has_ended_although_what_it_started_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (
        "import os, signal, subprocess\n"
        "print(subprocess.Popen(['sleep', '1000']).pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = ChildProgram("training.train", [])
    monkeypatch.setattr(child, "_arguments", [sys.executable, "-c", text])
    assert asyncio.run(asyncio.wait_for(child.run(), LONG)) == -signal.SIGKILL
    (line,) = child.lines
    deadline = time.monotonic() + LONG
    while is_alive(int(line)):
        assert time.monotonic() < deadline


def test_a_program_can_be_cancelled_where_a_shell_keeps_ctrl_c_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = ChildProgram("training.train", [])
    text = "import time; print('begun', flush=True); time.sleep(1000)"
    monkeypatch.setattr(child, "_arguments", [sys.executable, "-c", text])

    async def scenario() -> int:
        running = asyncio.ensure_future(child.run())
        while not child.lines:
            await asyncio.sleep(0.02)
        child.interrupt()
        return await asyncio.wait_for(running, LONG)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert asyncio.run(scenario()) == -signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_policy_node_that_fell_silent_may_still_command(
    station: Station, tmp_path: Path
) -> None:
    policy = station.add_policy()
    operator = station.add_operator(runs=str(tmp_path / "runs"))

    async def scenario(page_of: PageOf) -> None:
        page = await page_of().open()
        await page.sees(lambda s: s["policy"].get("lifecycle") == "active")
        policy.destroy_publisher(next(p for p in policy.publishers if "status" in p.topic_name))
        await page.sees(lambda s: not s["policy"]["is_heard"])
        assert await page.command("train", "10m") == WHILE_MOVING
        await page.close()

    play(operator, scenario)
