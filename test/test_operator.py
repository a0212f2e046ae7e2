"""operator_node over a real DDS: what its pages see, what they may command, and who is refused."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("aiohttp")

import aiohttp
from geometry_msgs.msg import Point
from operator_page import TIMEOUT, Page, issued_token
from robot import parameters, planar
from sensor_msgs.msg import Image
from station import Station
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.interface import Interface, interface_from_dict
from ebm_policy_ros.nodes.operator.node import OperatorNode
from ebm_policy_ros.nodes.recorder.node import RecorderNode

pytestmark = pytest.mark.ros


Scenario = Callable[[Callable[[], Page]], Awaitable[None]]


def play(operator: OperatorNode, scenario: Scenario) -> None:
    """Run a scenario with pages of an operator node."""

    async def run() -> None:
        async with aiohttp.ClientSession() as http:
            await scenario(lambda: Page(http, operator.url))

    asyncio.run(run())


def is_moving(state: dict[str, Any]) -> bool:
    policy = state["policy"]
    return bool(
        policy["is_heard"] and (policy["lifecycle"], policy["state"]) == ("active", "fresh")
    )


def test_a_page_shows_the_policy_and_a_stop_needs_no_sign_of_life(station: Station) -> None:
    policy, operator = station.add_policy(), station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        seen = await page.sees(
            lambda s: (
                is_moving(s)
                and len(s["policy"]["streams"]) == 3
                and "stamp to command" in s["policy"]["latest_ms"]
            )
        )
        told = seen["policy"]
        assert told["policy"].endswith("energy.safetensors")
        assert told["sha256"] == policy.control_loop.loaded.sha256  # type: ignore[union-attr]
        assert told["rate"] == 10.0 and told["speed"] == 1.0 and told["shadow"] is False
        topics = {f"/{topic}" for topic in station.robot.topics.values()}
        assert {stream["topic"] for stream in told["streams"]} == topics
        assert told["latest_ms"]["stamp to command"] > 0
        page.is_asleep = True
        assert await page.command("stop", seen=-1) == (True, "stopped; ~/reset goes on")
        assert policy.safety.state is SafetyState.STOPPED
        await page.sees(lambda s: s["policy"]["state"] == "stopped" and s["stopping_s"] is None)
        await page.reads(r"STOP by page 1")
        await page.reads(r"STOP confirmed after \d+ ms$")
        await page.close()

    play(operator, scenario)
    assert planar(station.robot.commands[-1]) == [0.0, 0.0]


def test_a_stop_needs_no_websocket(station: Station) -> None:
    policy, operator = station.add_policy(), station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        async with aiohttp.ClientSession() as http:
            token = await issued_token(http, operator.url)
            headers = {"Origin": operator.url, "Authorization": f"Bearer {token}"}
            wrong = {**headers, "Authorization": "Bearer guessed"}
            for given, status in ((wrong, 401), ({**headers, "Origin": "http://a.b"}, 403)):
                async with http.post(f"{operator.url}/stop", headers=given) as response:
                    assert response.status == status
            assert policy.safety.state is not SafetyState.STOPPED
            async with http.post(f"{operator.url}/stop", headers=headers) as response:
                assert await response.json() == {"done": True, "text": "stopped; ~/reset goes on"}

    play(operator, scenario)
    assert policy.safety.state is SafetyState.STOPPED


def test_what_moves_needs_a_state_that_the_operator_sees_now(station: Station) -> None:
    policy, operator = station.add_policy(), station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        first = (await page.sees(is_moving))["n"]
        assert (await page.command("stop"))[0]
        await page.sees(lambda state: state["n"] > first + 15)
        for name, value in (("reset", None), ("start", None), ("shadow", False), ("speed", 0.5)):
            for seen in (first, 10**9, -1):
                done, text = await page.command(name, value, seen)
                assert (done, text[:36]) == (False, "the page showed a state older than 1")
        assert policy.safety.state is SafetyState.STOPPED and policy.values["speed"] == 1.0
        assert await page.command("speed", 0.5) == (True, "speed is 0.5")
        assert await page.command("shadow", True) == (True, policy.destination(False))
        assert await page.command("reset") == (True, "reset")
        state = await page.sees(lambda s: is_moving(s) and s["policy"]["shadow"])
        assert state["policy"]["speed"] == 0.5
        done, text = await page.command("reset")
        assert not done and "nothing to reset" in text
        await page.close()

    play(operator, scenario)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Origin": "http://evil.example"}, "is not this page"),
        ({"Origin": "null"}, "is not this page"),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, "is no name of this computer"),
        ({"Host": "192.168.0.7"}, "is no name of this computer"),
    ],
)
def test_a_page_of_another_site_is_refused(
    station: Station, headers: dict[str, str], told: str
) -> None:
    operator = station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        async with aiohttp.ClientSession() as http:
            token = await issued_token(http, operator.url)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await Page(http, operator.url).open(token, **headers)
            assert refused.value.status == 403
            if "Host" in headers:  # else a page is only read, which the browser forbids by itself
                async with http.get(operator.url, headers=headers) as response:
                    assert response.status == 403 and told in await response.text()
            async with http.post(f"{operator.url}/stop", headers=headers) as response:
                assert response.status == 403

    play(operator, scenario)


def test_a_token_of_the_operators_own_is_asked_for(station: Station, tmp_path: Path) -> None:
    operator = station.add_operator(token_file=str(tmp_path / "token"), host="0.0.0.0")
    operator.url = operator.url.replace("0.0.0.0", "127.0.0.1")

    async def scenario(page_of: Callable[[], Page]) -> None:
        for wrong in ("", "guessed", "é" * 20):
            page = await page_of().open(wrong)
            await page.until(lambda page=page: page.code != 0)  # type: ignore[misc]
            assert page.code == 4401 and page.states == [] and page.log == []
        page = page_of()
        page.socket = await page._http.ws_connect(
            f"{page.url}/socket", headers={"Origin": page.url}
        )
        await page.socket.send_json({"type": "command", "name": "stop", "id": 1})
        message = await page.socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE and message.data == 4401
        page = await page_of().open((tmp_path / "token").read_text().strip())
        await page.sees(lambda state: True)
        await page.close()

    play(operator, scenario)


def test_connections_without_a_token_shut_no_page_out(station: Station) -> None:
    operator = station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        async with aiohttp.ClientSession() as http:
            address, headers = f"{operator.url}/socket", {"Origin": operator.url}
            idle = [await http.ws_connect(address, headers=headers) for _ in range(20)]
            page = await page_of().open()
            await page.sees(lambda state: len(state["pages"]) == 1)
            for socket in idle:  # they are ended, and need not confirm it
                await asyncio.wait_for(socket.receive(), TIMEOUT)
                assert socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
            await page.close()

    play(operator, scenario)


def test_at_most_sixteen_pages_are_open(station: Station) -> None:
    operator = station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        pages = [await page_of().open() for _ in range(16)]
        await pages[-1].sees(lambda state: len(state["pages"]) == 16)
        refused = await page_of().open()
        await refused.until(lambda: refused.code == aiohttp.WSCloseCode.TRY_AGAIN_LATER)
        assert refused.states == []
        for page in pages:
            await page.close()

    play(operator, scenario)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x" * 5000, 1009),
        ("[" * 4000, 4400),
        ("no JSON", 4400),
        ('{"type": "command"', 4400),
        ('{"type": "beat", "n": "1"}', 4400),
        ('{"type": "show", "pictures": [1]}', 4400),
        ('{"type": "eval"}', 4400),
    ],
)
def test_a_message_that_no_page_sends_ends_its_connection_alone(
    station: Station, text: str, code: int
) -> None:
    operator = station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        other, page = await page_of().open(), await page_of().open()
        await page.sees(lambda state: len(state["pages"]) == 2)
        await page.socket.send_str(text)
        await page.until(lambda: page.code == code)
        await other.reads(r"page 2 \(127.0.0.1\) closed; 1 still open")
        await other.sees(lambda state: len(state["pages"]) == 1)
        await other.close()

    play(operator, scenario)


def test_two_pages_agree_and_each_is_told_what_the_other_does(station: Station) -> None:
    station.add_policy()
    operator = station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        first, second = await page_of().open(), await page_of().open()
        await second.sees(lambda state: is_moving(state) and len(state["pages"]) == 2)
        assert (await second.command("stop"))[0]
        for page in (first, second):
            await page.sees(lambda state: state["policy"]["state"] == "stopped")
            await page.reads("STOP by page 2")
        both = {state["n"]: state for state in first.states}
        shared = [(state, both[state["n"]]) for state in second.states if state["n"] in both]
        assert shared and all(one == other for one, other in shared)
        second.is_asleep = True
        await first.reads(r"page 2 \(127.0.0.1\) is silent: hidden, asleep, or the network")
        await first.sees(lambda state: [p["silent"] for p in state["pages"]] == [False, True])
        second.is_asleep = False
        await first.reads(r"page 2 \(127.0.0.1\) is back")
        await second.close()
        await first.reads(r"page 2 \(127.0.0.1\) closed; 1 still open")
        await first.close()

    play(operator, scenario)


@pytest.mark.slow
def test_a_page_whose_network_died_is_dropped_and_delays_nobody(station: Station) -> None:
    station.add_policy()
    operator = station.add_operator()
    host = operator.url.removeprefix("http://")

    def frame(**message: Any) -> bytes:
        text = json.dumps(message).encode()
        return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text  # a mask of zeros

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        seen = await page.sees(lambda state: len(state["pictures"]) == 3)
        async with aiohttp.ClientSession() as http:
            token = await issued_token(http, operator.url)
        # A browser that opens a page and then reads nothing any more, not even pings.
        name, port = host.split(":")
        _, dead = await asyncio.open_connection(name, int(port), limit=1024)
        dead.write(
            f"GET /socket HTTP/1.1\r\nHost: {host}\r\nOrigin: {operator.url}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode()
        )
        dead.write(frame(type="hello", token=token))
        dead.write(frame(type="show", pictures=seen["pictures"]))
        await page.reads(r"page 2 \(127.0.0.1\) opened")
        count = len(page.states)
        await page.reads(r"page 2 \(127.0.0.1\) is silent")
        assert await page.command("stop") == (True, "stopped; ~/reset goes on")
        await page.until(lambda: len(page.states) > count + 25)
        assert not any("closed" in entry for entry in page.log)
        await page.reads(r"page 2 \(127.0.0.1\) closed; 1 still open")
        dead.close()
        await page.close()

    play(operator, scenario)


def test_a_policy_goes_on_without_its_page(station: Station) -> None:
    policy, operator = station.add_policy(), station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(is_moving)
        await page.close()
        count = len(station.robot.commands)
        await page.until(lambda: len(station.robot.commands) > count + 5)
        page = await page_of().open()
        await page.reads("page 1 .* closed; no page is open any more")
        await page.close()

    play(operator, scenario)
    assert policy.safety.state is not SafetyState.STOPPED  # it may hold where it has to wait


def test_a_stop_without_a_node_waits_for_one_and_nothing_moves_before(station: Station) -> None:
    operator = station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        state = await page.sees(lambda state: True)
        assert not state["policy"]["is_heard"] and state["policy"]["silence_s"] is None
        stop = await page.send("stop")
        await page.reads("STOP is not confirmed, trying on: no answer from policy_node/stop")
        await page.sees(lambda state: (state["stopping_s"] or 0) > 0.5)
        assert await page.command("start") == (False, "a STOP is not confirmed yet")
        # The recorder has nothing to do with it.
        told = "nobody offers recorder_node/start; start recorder_node"
        assert await page.command("record", "start") == (False, told)
        policy = await asyncio.to_thread(station.add_policy, autostart=False)
        assert await page.answer(stop) == (True, "stopped; ~/reset goes on")
        assert policy.safety.state is SafetyState.STOPPED
        done, text = await page.command("start")
        assert not done and text == "stopped: ~/stop was called; call ~/reset"
        await page.close()

    play(operator, scenario)
    assert not any(any(planar(command)) for command in station.robot.commands)


def test_the_page_records_episodes(station: Station, tmp_path: Path) -> None:
    station.add(RecorderNode, keys=False, folder=str(tmp_path / "demos"), interface="ur5e_push")
    operator = station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(lambda s: s["recorder"]["is_heard"])
        await page.until(lambda: station.robot.node.count_subscribers("/camera/image_raw") > 0)
        done, text = False, ""
        while not done:  # the recorder refuses until it has heard every stream
            done, text = await page.command("record", "start")
        assert text == "episode_0000"
        await page.sees(lambda s: s["recorder"]["state"] == "recording")
        assert await page.command("record", "discard") == (True, "discarded")
        assert (await page.command("record", "start"))[0]
        assert (await page.command("record", "failure"))[0]
        state = await page.sees(lambda s: s["recorder"]["kept"]["failure"] == 1)
        assert state["recorder"]["disk_free_bytes"] > 0
        done, text = await page.command("record", "success")
        assert not done
        await page.close()

    play(operator, scenario)
    assert (tmp_path / "demos" / "episode_0000").is_dir()


def test_a_page_says_that_the_disk_is_full_before_and_when_an_episode_is_refused(
    station: Station, tmp_path: Path
) -> None:
    # More has to stay free than any disk has.
    station.add(RecorderNode, keys=False, folder=str(tmp_path / "demos"), min_free=1e6)
    operator = station.add_operator()
    full = re.compile(r"the disk is full: .* GiB are free, 1000000\.00 GiB must stay so")

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(lambda s: s["recorder"]["is_heard"])
        # The disk alone is in the way as soon as every stream is heard.
        state = await page.sees(lambda s: len(s["recorder"]["warnings"]) == 1)
        assert full.match(state["recorder"]["warnings"][0])
        assert state["recorder"]["next"].startswith("not ready: the disk is full")
        assert state["recorder"]["disk_free_bytes"] == 0
        done, text = await page.command("record", "start")
        assert not done and full.match(text)
        await page.reads("record start.*refused: the disk is full")
        await page.close()

    play(operator, scenario)
    assert not list((tmp_path / "demos").glob("*/*"))


def test_a_policy_of_the_list_takes_over_and_no_other_file(
    station: Station, policy_file: Callable[..., Path], tmp_path: Path
) -> None:
    policy_file("explicit")
    policy, operator = station.add_policy(), station.add_operator(policies=str(tmp_path))

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        listed = (await page.sees(is_moving))["policy"]["policies"]
        assert {"ur5e_push", "energy", "explicit"} <= set(listed)
        for wrong in ("../explicit", str(tmp_path / "explicit.safetensors"), "nothing"):
            done, text = await page.command("load_policy", wrong)
            assert not done and "expected a policy of the list" in text
        assert policy.values["next_policy"] == ""
        done, text = await page.command("load_policy", "explicit")
        assert done and text.endswith("decides")
        await page.sees(lambda state: "explicit" in state["policy"]["policy"])
        await page.close()

    play(operator, scenario)


def test_a_load_before_the_start_says_what_to_press(station: Station) -> None:
    station.add_policy(autostart=False)
    operator = station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(lambda state: state["policy"].get("lifecycle") == "unconfigured")
        told = "Load swaps a policy that was started: press Start, then Load"
        assert await page.command("load_policy", "ur5e_push") == (False, told)
        await page.close()

    play(operator, scenario)


def test_pictures_are_taken_and_drawn_only_while_a_page_shows_them(station: Station) -> None:
    station.add_policy()
    operator = station.add_operator()

    def watched(topic: str) -> int:
        """Number of the page's subscriptions to a topic."""
        found = station.robot.node.get_subscriptions_info_by_topic(topic)
        return [info.node_name for info in found].count("operator_node")

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        wanted = ["/camera/image_raw", "candidates", "debug_image"]
        await page.sees(lambda state: is_moving(state) and state["pictures"] == wanted)
        assert watched("/camera/image_raw") == 0
        await page.socket.send_json({"type": "show", "pictures": [*wanted, "/etc/passwd"]})
        await page.until(lambda: set(page.pictures) == set(wanted))
        image = cv2.imdecode(np.frombuffer(page.pictures[wanted[0]], np.uint8), cv2.IMREAD_COLOR)
        assert image is not None and image.shape == (120, 160, 3)
        seen = json.loads(page.pictures["candidates"])
        assert len(seen["points"]) == len(seen["colours"]) == 64 and len(seen["command"]) == 2
        assert seen["command"][0] == [0.5, 0.0]  # the tool
        assert watched("/policy_node/debug_image") == watched("/camera/image_raw") == 1
        await page.close()
        page = await page_of().open()
        await page.until(lambda: watched("/policy_node/debug_image") == 0)
        await page.until(lambda: watched("/camera/image_raw") == 0)
        await page.close()

    play(operator, scenario)


def test_a_camera_that_nobody_can_decode_is_told_once_and_hides_no_other(station: Station) -> None:
    operator = station.add_operator()
    bad = station.robot.node.create_publisher(Image, "a/bad", 1)
    good = station.robot.node.create_publisher(Image, "b/good", 1)

    def publish() -> None:
        bad.publish(Image(height=2, width=2, encoding="no such", step=6, data=bytes(12)))
        good.publish(Image(height=2, width=2, encoding="rgb8", step=6, data=bytes(12)))

    station.robot.repeat(0.02, publish)

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(lambda state: {"/a/bad", "/b/good"} <= set(state["pictures"]))
        await page.socket.send_json({"type": "show", "pictures": ["/a/bad", "/b/good"]})
        for _ in range(3):
            page.pictures.clear()
            await page.until(lambda: "/b/good" in page.pictures)
        await page.reads("no picture of /a/bad: MessageError: ")
        assert len([line for line in page.log if "MessageError" in line]) == 1
        await page.close()

    play(operator, scenario)


def test_candidates_and_the_command_are_those_of_the_same_arm(station: Station) -> None:
    operator = station.add_operator()
    publisher = station.robot.node.create_publisher(MarkerArray, "policy_node/candidates", 1)
    red = ColorRGBA(r=1.0, a=1.0)
    drawn = MarkerArray()
    for x in (0.1, 0.2, 0.3, 0.4):  # candidates and command of the left arm, then of the right
        drawn.markers.append(Marker(points=[Point(x=x)], colors=[red]))
    station.robot.repeat(0.05, lambda: publisher.publish(drawn))

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(lambda state: "candidates" in state["pictures"])
        await page.socket.send_json({"type": "show", "pictures": ["candidates"]})
        await page.until(lambda: "candidates" in page.pictures)
        seen = json.loads(page.pictures["candidates"])
        assert seen == {"points": [[0.1, 0.0]], "colours": [[255, 0, 0]], "command": [[0.2, 0.0]]}
        await page.close()

    play(operator, scenario)


def test_a_page_gets_the_chosen_action_in_the_cameras_picture_until_a_stop(
    station: Station, interface: Interface
) -> None:
    station.add_policy()
    operator = station.add_operator()
    camera = interface.observation["camera"].projection  # type: ignore[union-attr]
    assert camera is not None

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        state = await page.sees(lambda s: is_moving(s) and bool(s["policy"]["chosen"]))
        drawn = state["policy"]["chosen"]["/camera/image_raw"]
        assert (drawn["size"], drawn["executed"]) == ([240, 320], 1)
        (line,) = drawn["lines"]
        # The tool is at (0.5, 0); an action is drawn for half a second.
        ends = [[0.5 + 0.5 * x, 0.5 * y, 0.012] for x, y in map(planar, station.robot.commands)]
        told = [camera.pixels("base_link", [[0.5, 0.0, 0.012], end]) for end in ends]
        assert min(np.abs(pixels - line).max() for pixels in told) < 0.1
        assert (await page.command("stop"))[0]
        await page.sees(lambda s: s["policy"]["state"] == "stopped" and not s["policy"]["chosen"])
        await page.close()

    play(operator, scenario)


def test_a_chunk_is_drawn_by_the_robots_projection_which_its_policy_never_had(
    station: Station, interface: Interface, policy_for: Callable[..., Path], tmp_path: Path
) -> None:
    values = interface.to_dict()
    del values["observation"]["camera"]["projection"]
    values["action"]["horizon"] = 4
    trained = interface_from_dict(values, "trained")
    # A pixel for each millimetre of x and y, seen from above; x 0.5 and y 0 are in the middle.
    above = [[1000.0, 0.0, 80.0, -420.0], [0.0, 1000.0, 60.0, 60.0], [0.0, 0.0, 1.0, 1.0]]
    place = {"size": [120, 160], "matrix": {"base_link": above}, "fixed": {"z": 0.0}}
    values["observation"]["camera"]["projection"] = place
    robots = tmp_path / "robot.yaml"
    robots.write_text(yaml.safe_dump(values))
    policy = policy_for(trained, [-0.2, -0.2], [0.2, 0.2])
    station.add_policy(policy=str(policy), interface=str(robots), execute=3)
    operator = station.add_operator()

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        state = await page.sees(lambda s: is_moving(s) and bool(s["policy"]["chosen"]))
        drawn = state["policy"]["chosen"]["/camera/image_raw"]
        assert drawn["executed"] == 3
        steps = np.diff(drawn["lines"][0], axis=0) / 100  # m/s, at 10 Hz
        assert drawn["lines"][0][0] == [80.0, 60.0] and steps.shape == (4, 2)
        count = len(station.robot.commands)
        await page.until(lambda: len(station.robot.commands) > count + 3)
        sent = np.array([planar(command) for command in station.robot.commands])
        chunks = [sent[begin : begin + 3] for begin in range(len(sent) - 2)]
        assert min(np.abs(chunk - steps[:3]).max() for chunk in chunks) < 0.002
        await page.close()

    play(operator, scenario)


def test_the_wanted_start_of_a_trial_is_a_picture_of_the_page(station: Station) -> None:
    operator = station.add_operator()
    publisher = station.robot.node.create_publisher(Image, "judge_node/start_overlay", 1)
    overlay = Image(height=2, width=2, encoding="rgb8", step=6, data=bytes(12))
    station.robot.repeat(0.05, lambda: publisher.publish(overlay))

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(lambda state: "start_overlay" in state["pictures"])
        await page.socket.send_json({"type": "show", "pictures": ["start_overlay"]})
        await page.until(lambda: "start_overlay" in page.pictures)
        await page.close()

    play(operator, scenario)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"host": "0.0.0.0"},
            "host: other computers reach 0.0.0.0, and the page can move the arm",
        ),
        ({"host": "localhost.evil"}, "host: got 'localhost.evil', expected an address"),
        ({"policies": "/nowhere"}, "policies: there is no folder /nowhere"),
    ],
)
def test_a_wrong_parameter_is_told(context: Any, values: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=r"host|policies") as refused:
        OperatorNode(context=context, parameter_overrides=parameters(port=0, **values))
    assert str(refused.value).startswith(told)


def test_a_port_in_use_is_told(station: Station) -> None:
    port = int(station.add_operator().url.rpartition(":")[2])
    with pytest.raises(OSError, match=f"port: {port} is in use, perhaps by another operator_node"):
        OperatorNode(context=station.robot.context, parameter_overrides=parameters(port=port))
