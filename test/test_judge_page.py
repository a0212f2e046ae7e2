"""judge_policy on the operator's page: questions, answers, STOP, and what pages do not learn."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("aiohttp")

import aiohttp
from laboratory import Asking, Laboratory, SlowRecorder, eventually
from operator_page import Page
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from station import Station
from std_msgs.msg import String

from ebm_policy_ros.bags.bag import Bag
from ebm_policy_ros.bags.discovery import find_bags
from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.nodes.judge.starts_node import StartsNode
from ebm_policy_ros.nodes.operator import judge_link
from ebm_policy_ros.nodes.operator.node import OperatorNode
from ebm_policy_ros.operator.programs import Programs
from ebm_policy_ros.trials.plan import claim_folder
from ebm_policy_ros.trials.starts import add_start, find_starts

pytestmark = pytest.mark.ros
# A command that begins on a busy machine.
LONG = 240.0
OVER = (False, "this question is answered already, or over")
QUESTION: dict[str, Any] = {
    "question": 1,
    "text": "trial 1",
    "remark": "",
    "answers": {},
    "lines": [],
    "has_ended": False,
}


def play(
    operator: OperatorNode, scenario: Callable[[Callable[[], Page]], Awaitable[None]]
) -> None:
    """Run a scenario with pages of an operator node."""

    async def run() -> None:
        async with aiohttp.ClientSession() as http:
            await scenario(lambda: Page(http, operator.url))

    asyncio.run(run())


def asker(station: Station, judge: str = "judge_node") -> Any:
    """Publisher of the questions of a judge."""
    latched = QoSProfile(depth=20, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return station.robot.node.create_publisher(String, f"{judge}/question", latched)


async def asked(page: Page, answer: str, text: str = "", seconds: float = 60.0) -> dict[str, Any]:
    """Wait for a question that has an answer and contains a text."""

    def is_there(state: dict[str, Any]) -> bool:
        judge = state["judge"]
        return bool(judge) and answer in judge["answers"] and text in judge["text"]

    return dict((await page.sees(is_there, seconds))["judge"])


async def answers(page: Page, answer: str, text: str = "", seconds: float = 60.0) -> int:
    """Answer a question as soon as it is asked, and wait until it is over; return its number."""
    number = int((await asked(page, answer, text, seconds))["question"])
    assert await page.command("answer", [number, answer]) == (True, answer)
    await page.sees(lambda s: s["judge"]["question"] > number or not s["judge"]["answers"])
    return number


async def begins(page: Page, number: int, seconds: float = 60.0) -> None:
    """Begin a trial, again if a node of a busy machine refuses, and wait until the arm moves."""
    begun: list[str] = []
    while "success" not in begun:
        await answers(page, "begin", f"trial {number}", seconds)
        state = await page.sees(lambda s: s["judge"]["answers"] != {}, seconds)
        begun = list(state["judge"]["answers"])
    await page.sees(lambda s: "Moving the arm" in s["judge"]["text"], seconds)


async def reads(page: Page, line: str) -> None:
    """Wait for a line that judge_policy tells."""
    await page.sees(lambda s: bool(s["judge"]) and line in "\n".join(s["judge"]["lines"]), 60.0)


def test_a_comparison_is_answered_on_a_page_alone(laboratory: Laboratory) -> None:
    operator, judge = laboratory.station.add_operator(), laboratory.judge_on_pages()

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        question = await asked(page, "begin", "trial 1, start 1")
        assert question["answers"] == {"begin": "begin; the arm may move", "quit": "end for now"}
        assert question["lines"] == ["trial 1, block 1: set up start 1"]
        assert laboratory.policy.safety.state is SafetyState.STOPPED
        await begins(page, 1)
        await answers(page, "void")
        await reads(page, "a void trial does not count; it is repeated")
        await begins(page, 2)
        assert (await page.command("stop"))[0]
        await page.sees(lambda s: "Stopped: ~/stop was called" in s["judge"]["text"])
        await answers(page, "reset")
        await page.sees(lambda s: "Moving the arm" in s["judge"]["text"])
        await answers(page, "success")
        await begins(page, 3)
        await answers(page, "failure")
        await reads(page, "Block 1 was the last")
        await asyncio.to_thread(judge.ends)
        state = await page.sees(lambda s: s["judge"]["has_ended"])
        assert state["judge"]["lines"][-1] == "Block 1 was the last"
        for told in page.states:
            assert laboratory.trials()[0].sha256 not in json.dumps(told["judge"])
            if told["policy"].get("hidden"):
                assert not {"policy", "sha256", "thresholds", "latest_ms"} & told["policy"].keys()
                assert told["policy"]["diagnostics"] == {}
        await page.close()

    play(operator, scenario)
    void, success, failure = laboratory.trials()
    results = [trial.result for trial in (void, success, failure)]
    assert results == ["void", "success", "failure"]
    assert void.policy == success.policy != failure.policy
    assert (success.stops, success.note) == (1, "~/stop was called")
    assert laboratory.policy.safety.state is SafetyState.STOPPED
    assert Bag(Path(failure.bag)).custom["outcome"] == "failure"


def test_the_first_answer_counts_and_a_late_or_double_one_is_refused(
    laboratory: Laboratory,
) -> None:
    slow = laboratory.recorder
    laboratory.station.remove(slow)
    recorder: SlowRecorder = laboratory.add_recorder(SlowRecorder)
    operator, person = laboratory.station.add_operator(), laboratory.judge()

    async def scenario(page_of: Callable[[], Page]) -> None:
        first, second = await page_of().open(), await page_of().open()
        number = (await asked(first, "begin"))["question"]
        for value, told in (
            ([number, "success"], "got success, expected one of: begin, quit"),
            ([number - 1, "begin"], OVER[1]),
            ([number + 1, "begin"], OVER[1]),
            ([number, "stop"], f"answer: got [{number}, 'stop'], expected the number of a quest"),
            (["begin"], "answer: got ['begin'], expected the number of a question and an answer"),
            ([True, "begin"], "answer: got [True, 'begin'], expected the number of a question"),
        ):
            done, text = await first.command("answer", value)
            assert not done and text.startswith(told), text
        seen = first.states[0]["n"]
        await first.sees(lambda s: s["n"] > seen + 15)
        done, text = await first.command("answer", [number, "begin"], seen)
        assert not done and text.startswith("the page showed a state older than 1 s")
        assert not recorder.asked
        assert await answers(first, "begin") == number
        assert await second.command("answer", [number, "begin"]) == OVER
        await second.sees(lambda s: s["judge"]["answers"] == {})
        person.press("\nY")  # the question is answered, and the next one is not asked yet
        await first.until(lambda: recorder.asked > 0)
        recorder.is_let = True
        await asked(second, "success", "trial 1, ")
        person.press("Y")
        await asked(first, "begin", "trial 2, start 1")
        assert await first.command("answer", [number, "begin"]) == OVER
        await answers(second, "quit")
        await asyncio.to_thread(person.reads, "trial 1: success after")
        await asyncio.to_thread(person.reads, "ended for now; the same command goes on")
        await asyncio.to_thread(person.ends)
        for page in (first, second):
            await page.sees(lambda s: s["judge"]["has_ended"])
            await page.close()

    play(operator, scenario)
    assert [trial.result for trial in laboratory.trials()] == ["success"]


@pytest.mark.parametrize("who", ["page", "another program"])
def test_a_stop_while_a_trial_begins_keeps_the_arm_still(laboratory: Laboratory, who: str) -> None:
    laboratory.station.remove(laboratory.recorder)
    recorder: SlowRecorder = laboratory.add_recorder(SlowRecorder)
    operator, judge = laboratory.station.add_operator(), laboratory.judge_on_pages()
    moved: list[str] = []

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await answers(page, "begin")
        await page.until(lambda: recorder.asked > 0)
        if who == "page":
            assert (await page.command("stop"))[0]
        else:
            stops = page.states[-1]["policy"]["stops"]
            await asyncio.to_thread(laboratory.asks, "policy_node/stop")
            await page.sees(lambda s: s["policy"]["stops"] > stops)
        recorder.is_let = True
        await asked(page, "begin", "trial 1 cannot begin")
        why = "STOP was pressed" if who == "page" else "leave its stop: it was stopped meanwhile"
        await reads(page, why)
        moved.extend(s["n"] for s in page.states if "Moving" in (s["judge"] or {}).get("text", ""))
        await answers(page, "quit")
        await page.close()

    play(operator, scenario)
    judge.ends()
    assert moved == [] and laboratory.policy.safety.state is SafetyState.STOPPED
    (bag,) = find_bags(laboratory.folder / "bags")
    assert Bag(bag).custom["note"] == "trial 1: void: did not begin"


def test_a_stop_is_told_to_a_judge_of_whom_nothing_was_heard(station: Station) -> None:
    station.add_policy()
    operator = station.add_operator()
    judge = Node("judge_node", context=station.robot.context)
    told: list[str] = []
    judge.declare_parameter("answer", "")

    def hear(parameters: list[Any]) -> SetParametersResult:
        told.extend(parameter.value for parameter in parameters)
        return SetParametersResult(successful=True)

    judge.add_on_set_parameters_callback(hear)
    station.robot.add(judge)
    client = operator._robot._judges[1]._parameters

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(lambda s: s["policy"]["is_heard"])
        await page.until(client.service_is_ready)
        assert (await page.command("stop"))[0]
        await page.until(lambda: told == ["stop"])
        station.robot.executor.remove_node(judge)  # it answers no more
        for _ in range(3):
            assert (await page.command("stop"))[0]
        assert len(client._pending_requests) == 1
        await page.close()

    play(operator, scenario)
    judge.destroy_node()


def test_a_full_disk_is_told_on_the_page_as_at_the_terminal(laboratory: Laboratory) -> None:
    laboratory.station.remove(laboratory.recorder)
    full = laboratory.add_recorder(min_free=1e5)
    operator, judge = laboratory.station.add_operator(), laboratory.judge_on_pages()

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await answers(page, "begin")
        question = await asked(page, "begin", "trial 1 cannot begin")
        while "the disk is full" not in question["lines"][-1]:  # a stream was late
            await answers(page, "begin")
            await answers(page, "begin", "trial 1, start 1")
            question = await asked(page, "begin", "trial 1 cannot begin")
        told = "trial 1 cannot begin: the recorder does not start: the disk is full"
        assert question["lines"][-1].startswith(told)
        assert question["answers"] == {"begin": "try again", "quit": "end for now"}
        laboratory.station.remove(full)
        laboratory.add_recorder()
        await answers(page, "begin")
        await begins(page, 1)
        with open("/dev/full", "wb") as nowhere:  # the log's disk gets full too
            os.dup2(nowhere.fileno(), judge.node._log._file.fileno())
        await answers(page, "success")
        await asyncio.to_thread(judge.ends)
        state = await page.sees(lambda s: s["judge"]["has_ended"])
        assert "No space left on device); trial 1 does not count" in state["judge"]["lines"][-1]
        await page.close()

    play(operator, scenario)
    assert laboratory.trials() == []


def test_a_judge_that_falls_silent_is_told_and_takes_no_answer(laboratory: Laboratory) -> None:
    operator, judge = laboratory.station.add_operator(), laboratory.judge_on_pages()

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        number = (await asked(page, "begin"))["question"]
        laboratory.station.robot.executor.remove_node(judge.node)
        state = await page.sees(lambda s: bool(s["judge"]["problem"]))
        assert state["judge"]["problem"].startswith("judge_node is silent for 3 s: nobody ends")
        done, text = await page.command("answer", [number, "begin"])
        assert not done and text.startswith("no answer from judge_node/set_parameters")
        laboratory.station.robot.executor.add_node(judge.node)
        # The answer comes late, and begins no trial.
        await page.sees(lambda s: s["judge"]["question"] > number and not s["judge"]["problem"])
        await asked(page, "begin", "trial 1, start 1")
        await answers(page, "quit")
        await page.close()

    play(operator, scenario)
    judge.ends()
    assert laboratory.policy.safety.state is SafetyState.STOPPED


def test_a_judge_that_was_killed_leaves_the_page_after_a_while(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_link, "_FAREWELL", 6.0)
    operator = station.add_operator()
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = station.robot.node.create_publisher(String, "judge_node/question", latched)
    publisher.publish(String(data=json.dumps(QUESTION)))

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(lambda s: s["judge"] is not None and s["judge"]["problem"] != "")
        await page.sees(lambda s: s["judge"] is None)
        await page.close()

    play(operator, scenario)


def test_no_program_begins_beside_a_judge_that_asks(station: Station) -> None:
    operator = station.add_operator()
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = station.robot.node.create_publisher(String, "judge_node/question", latched)

    def tell() -> None:
        publisher.publish(String(data=json.dumps(QUESTION)))

    station.robot.node.create_timer(0.2, tell)

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(lambda s: s["judge"] is not None and s["judge"]["problem"] == "")
        told = "a judge_policy asks the operator already; end it for now first"
        assert await page.command("train", "5m") == (False, told)
        await page.close()

    play(operator, scenario)


def test_starts_are_taken_on_the_page(
    station: Station, policy_file: Callable[..., Path], tmp_path: Path
) -> None:
    folder, operator = tmp_path / "starts", station.add_operator()
    starts = Asking(station, StartsNode, keys=False, folder=str(folder), policy=str(policy_file()))

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await answers(page, "done", "0 starts")  # there is none yet: it is asked anew
        await answers(page, "picture", "0 starts")
        await reads(page, f"took {folder}/start_001.png")
        await answers(page, "picture", "1 starts")
        await answers(page, "done", "2 starts")
        await page.sees(lambda s: s["judge"]["has_ended"])
        await page.close()

    thread = threading.Thread(target=starts.ends)
    thread.start()
    play(operator, scenario)
    thread.join()
    assert len(find_starts(folder)) == 2


def test_what_is_no_question_is_not_shown(station: Station) -> None:
    operator = station.add_operator()
    latched = QoSProfile(depth=20, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = station.robot.node.create_publisher(String, "judge_node/question", latched)

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.until(lambda: publisher.get_subscription_count() > 0)
        wrong = ["no JSON", "[]", *(json.dumps(QUESTION | {name: None}) for name in QUESTION)]
        for text in (*wrong, json.dumps(QUESTION | {"lines": [1]}), json.dumps(QUESTION)):
            publisher.publish(String(data=text))
        await page.sees(lambda s: s["judge"] is not None)
        told = {json.dumps(s["judge"] and s["judge"]["text"]) for s in page.states}
        assert told <= {"null", '"trial 1"'}
        assert page.states[-1]["judge"]["lines"] == []
        await page.close()

    play(operator, scenario)


def test_a_judge_is_heard_beside_the_policy_node_of_another_namespace(station: Station) -> None:
    operator = station.add_operator(policy_node="/left/policy_node")
    station.robot.node.create_publisher(Image, "/left/judge_node/start_overlay", 1)
    publisher = asker(station, "/left/judge_node")
    publisher.publish(String(data=json.dumps(QUESTION)))

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(lambda s: s["judge"] is not None and "start_overlay" in s["pictures"])
        await page.close()

    play(operator, scenario)


def test_a_question_reaches_pages_at_a_length_that_they_can_show(station: Station) -> None:
    operator = station.add_operator()
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = station.robot.node.create_publisher(String, "judge_node/question", latched)
    long, many = "a " * 2_000, range(100)
    told = {
        "question": 1,
        "text": long,
        "remark": long,
        "answers": {f"answer {number}": long for number in many},
        "lines": [f"line {number} {long}" for number in many],
        "has_ended": False,
    }
    # Python reads more levels than it writes.
    deep = json.dumps(told | {"deep": "X"}).replace('"X"', "[" * 900 + "]" * 900)
    publisher.publish(String(data=deep))

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        judge = (await page.sees(lambda s: s["judge"] is not None))["judge"]
        assert set(judge) == {*told, "problem"}
        assert len(judge["text"]) == len(judge["remark"]) == 2000
        assert list(judge["answers"]) == [f"answer {number}" for number in range(16)]
        assert [line.split()[1] for line in judge["lines"]] == [str(n) for n in range(84, 100)]
        assert {len(text) for text in (*judge["answers"].values(), *judge["lines"])} == {2000}
        await page.close()

    play(operator, scenario)


# The command, begun by the panel


@pytest.mark.parametrize("has_folder", [True, False])
def test_a_comparison_with_pictures_to_be_taken_is_a_new_one(
    laboratory: Laboratory, has_folder: bool
) -> None:
    folder = laboratory.folder
    claim_folder(
        folder / "judged_2026-01-02_03-04-05", laboratory.comparison
    )  # places, no pictures
    operator = laboratory.station.add_operator()
    eventually(lambda: all(operator._robot.state()[n]["is_heard"] for n in ("policy", "recorder")))
    policies = {path.stem: path for path in laboratory.policies}
    starts = folder / "starts" if has_folder else None
    programs = Programs(operator._robot, operator._journal, policies, folder, ["2m"], starts)
    title = programs._comparison("energy", "explicit", 1).title
    told = "" if has_folder else ", which goes on"
    assert title == f"Comparison of energy and explicit{told}"


@pytest.mark.slow
def test_the_panel_begins_a_comparison_on_an_arm_which_goes_on_another_day(
    laboratory: Laboratory, policy_file: Callable[..., Path]
) -> None:
    policy_file("mixture")
    folder = laboratory.folder
    add_start(folder / "starts", np.full((60, 80, 3), 200, np.uint8))
    operator = laboratory.station.add_operator(
        runs=str(folder / "runs"), policies=str(folder), starts=str(folder / "starts")
    )
    wins: dict[str, str] = {}

    async def ended(page: Page) -> dict[str, Any]:
        state = await page.sees(lambda s: bool(s["programs"]["program"]["tone"]), LONG)
        return dict(state["programs"]["program"])

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(lambda s: s["policy"]["is_heard"] and s["recorder"]["is_heard"])
        done, text = await page.command("judge", ["energy", "explicit", 2])
        assert (done, text) == (False, "the policy commands the arm; press STOP first")
        assert (await page.command("stop"))[0]
        await page.sees(lambda s: s["policy"]["state"] == "stopped")
        done, text = await page.command("judge", ["energy", "explicit", 2])
        assert (done, text) == (True, "Comparison of energy and explicit: begun")
        await asked(page, "begin", "trial 1, start start_001", LONG)
        await page.sees(lambda s: "start_overlay" in s["pictures"])
        await begins(page, 1)
        await answers(page, "success")
        await begins(page, 2)
        await answers(page, "failure")
        await answers(page, "quit", "trial 3, start start_001")
        assert (await ended(page))[
            "result"
        ] == "ended for now; Judge with the same policies goes on"
        # The other order of the names is the same comparison; other policies are another one.
        assert (await page.command("judge", ["explicit", "mixture", 1]))[0]
        await answers(page, "quit", "trial 1, start start_001", LONG)
        await ended(page)
        done, text = await page.command("judge", ["explicit", "energy", 2])
        assert text == "Comparison of explicit and energy, which goes on: begun"
        for number in (3, 4):
            await begins(page, number, LONG)
            await answers(page, "success")
        end = await ended(page)
        assert (end["tone"], end["result"]) == ("good", "its page shows every trial"), end
        (link,) = page.states[-1]["programs"]["comparisons"]
        out = folder / "runs" / link["name"]
        trials = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
        assert [t["result"] for t in trials] == ["success", "failure", "success", "success"]
        assert {trials[0]["policy"], trials[1]["policy"]} == {"energy", "explicit"}
        wins.update(winner=trials[0]["policy"], loser=trials[1]["policy"])
        lines = "\n".join(end["lines"])
        assert f"{wins['winner']}" in lines and "2/2" in lines and "1/2" in lines
        row = next(line for line in end["lines"] if line.startswith(wins["winner"]))
        assert "2/2" in row
        for told in page.states:  # while a trial ran nothing told which policy it was
            if told["policy"].get("hidden"):
                assert all(t["sha256"] not in json.dumps(told["policy"]) for t in trials)
        await page.close()

    play(operator, scenario)
    assert laboratory.policy.safety.state is SafetyState.STOPPED


@pytest.mark.slow
def test_a_judge_that_is_killed_is_told_and_cancel_stops_the_arm(laboratory: Laboratory) -> None:
    folder = laboratory.folder
    operator = laboratory.station.add_operator(runs=str(folder / "runs"), policies=str(folder))

    async def begun(page: Page) -> None:
        await page.sees(lambda s: s["policy"]["state"] == "stopped")
        assert (await page.command("judge", ["energy", "explicit", 2]))[0]
        await begins(page, 1, LONG)

    async def ended(page: Page) -> str:
        state = await page.sees(lambda s: bool(s["programs"]["program"]["tone"]), LONG)
        return str(state["programs"]["program"]["tone"])

    async def scenario(page_of: Callable[[], Page]) -> None:
        page = await page_of().open()
        await page.sees(lambda s: s["policy"]["is_heard"] and s["recorder"]["is_heard"])
        assert (await page.command("stop"))[0]
        await begun(page)
        assert (await page.command("cancel"))[0]
        assert await ended(page) == "calm"
        assert laboratory.policy.safety.state is SafetyState.STOPPED
        await begun(page)
        (pid,) = [
            int(path.parts[2])
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if b"nodes.judge.node" in (command := path.read_bytes())
            and str(folder).encode() in command
            and b"sim.judge" not in command
        ]
        os.kill(pid, signal.SIGKILL)
        assert await ended(page) == "bad"
        await page.sees(lambda s: "judge_node is silent" in s["judge"]["problem"])
        assert laboratory.policy.safety.state is not SafetyState.STOPPED, "the page said so"
        assert (await page.command("stop"))[0]
        await page.close()

    play(operator, scenario)
