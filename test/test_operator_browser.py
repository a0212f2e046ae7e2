"""Operator's page in a real browser: STOP by mouse and key, and what it says when it is alone."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("aiohttp")

from browser import CHROMIUM, Browser
from laboratory import Laboratory
from rcl_interfaces.msg import Log
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from station import Station
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from ebm_policy_ros.control.safety_state import SafetyState
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.messages.takeover import PersonCommand, takeover_message
from ebm_policy_ros.nodes.common.topics import TAKEOVER_QUALITY
from ebm_policy_ros.nodes.recorder.node import RecorderNode
from ebm_policy_ros.sim.subprocesses import Program, ProgramFailed, has_ended, running

pytestmark = [
    pytest.mark.ros,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium"),
]

TIMEOUT = 30.0
# Where the line that is executed next begins on the screen, relative to the picture: 0 to 1.
_BEGIN = """(() => {
  const path = document.querySelector('.next.line'), image = document.querySelector('figure img');
  if (!path?.getAttribute('d')) return null;
  const p = path.getPointAtLength(0).matrixTransform(path.getScreenCTM());
  const b = image.getBoundingClientRect();
  return [(p.x - b.x) / b.width, (p.y - b.y) / b.height];
})()"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path / "profile", 1280, 800)
    yield browser
    browser.close()


def until(condition: Callable[[], bool], seconds: float = TIMEOUT) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.05)


def says(browser: Browser, selector: str, text: str) -> None:
    """Wait until an element has a text that begins so."""
    until(lambda: any(t.startswith(text) for t in browser.texts(selector)))


def click(browser: Browser, selector: str) -> None:
    """Press and release the mouse in the middle of an element."""
    box = browser.evaluate(
        f"(() => {{ const b = document.querySelector({json.dumps(selector)})"
        ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.send(
            "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1
        )


def press(browser: Browser, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        browser.send("Input.dispatchKeyEvent", type=kind, key=key)


def test_stop_works_by_mouse_and_key_and_only_reset_leaves_it(
    station: Station, browser: Browser
) -> None:
    policy, operator = station.add_policy(), station.add_operator()
    browser.open(operator.url)
    says(browser, "#word", "Moving the arm")

    def press_at(place: str) -> Callable[[], None]:
        """Press the space bar while another part has the focus: that is not pressed."""

        def stop() -> None:
            browser.evaluate(f"document.querySelector('{place}').focus()")
            press(browser, " ")

        return stop

    stops: list[Callable[[], None]] = [
        lambda: click(browser, "#stop"),
        lambda: press(browser, "Escape"),
        press_at("[data-command=shadow]"),
        press_at("#script-episodes"),
        press_at("#pictures input"),
    ]
    for stop in stops:
        stop()
        until(lambda: policy.safety.state is SafetyState.STOPPED)
        says(browser, "#word", "Stopped")
        says(browser, "#reason", "~/stop was called")
        click(browser, "[data-command=reset]")
        says(browser, "#word", "Moving the arm")
        says(browser, "#answer-policy", "reset")
    assert policy.values["publish_commands"]
    confirmed = [text for text in browser.texts("#log li") if "STOP confirmed" in text]
    assert len(confirmed) == 5
    assert all(url.startswith((operator.url, f"blob:{operator.url}")) for url in browser.requests)
    assert not [text for text in browser.problems if "verbose" not in text]


def test_the_page_tells_beside_the_state_who_commands(
    station: Station, browser: Browser, interface: Interface
) -> None:
    policy, operator = station.add_policy(takeover_timeout=2.0), station.add_operator()
    browser.open(operator.url)
    says(browser, "#commander", "The policy commands")
    until(lambda: browser.evaluate(_BEGIN) is not None)
    node = station.robot.node
    publisher = node.create_publisher(JointTrajectory, "policy_node/takeover", TAKEOVER_QUALITY)
    command = PersonCommand((np.zeros((1, 2)),), (False,))

    def send() -> None:
        now = node.get_clock().now().nanoseconds
        publisher.publish(takeover_message("/teleop_node", now, interface, command))

    timer = station.robot.repeat(0.05, send)
    says(browser, "#commander", "A person commands")
    until(lambda: browser.evaluate(_BEGIN) is None)
    says(browser, "#reason", "as /teleop_node commands")
    timer.cancel()
    says(browser, "#commander", "Nobody commands")
    says(browser, "#word", "Stopped")
    assert "did not let go" in policy.safety.reason


def test_a_button_that_deletes_or_moves_is_pressed_twice(
    station: Station, browser: Browser
) -> None:
    policy, operator = station.add_policy(publish_commands=False), station.add_operator()
    browser.open(operator.url)
    says(browser, "#word", "Shadow")
    live = "[data-command=shadow][data-value=false]"
    click(browser, live)
    until(lambda: bool(browser.texts(f"{live}.armed")))
    assert not policy.values["publish_commands"]
    click(browser, live)
    says(browser, "#word", "Moving the arm")
    assert policy.values["publish_commands"]


def test_the_page_shows_why_no_episode_begins_on_a_full_disk(
    station: Station, browser: Browser, tmp_path: Path
) -> None:
    # More has to stay free than any disk has.
    station.add(RecorderNode, keys=False, folder=str(tmp_path / "demos"), min_free=1e6)
    operator = station.add_operator()
    browser.open(operator.url)
    says(browser, "#next-step", "not ready: the disk is full")
    says(browser, "#recorder-warnings", "the disk is full")
    says(browser, "#disk", "0.0 GiB free")
    click(browser, "[data-command=record][data-value=start]")
    says(browser, "#answer-recorder", "the disk is full")


def test_a_slider_that_was_moved_and_put_back_follows_the_other_pages(
    station: Station, browser: Browser
) -> None:
    policy = station.add_policy()
    browser.open(station.add_operator().url)
    says(browser, "#speed-now", "100 %")
    x, y, width = browser.evaluate(
        "(() => { const b = speed.getBoundingClientRect();"
        "return [b.right - 8, b.y + b.height / 2, b.width]; })()"
    )

    def drag(to: float) -> None:
        """Move the slider from its right end to the middle, and then to a place."""
        for kind, place in (("Pressed", x), ("Moved", x - width / 2), ("Moved", to)):
            browser.send(
                "Input.dispatchMouseEvent", type=f"mouse{kind}", x=place, y=y, button="left",
                buttons=1, clickCount=1,
            )  # fmt: skip
            if kind == "Moved":
                is_back = place == x
                until(lambda back=is_back: (browser.evaluate("speed.value") == "1") == back)  # type: ignore[misc]
        browser.send(
            "Input.dispatchMouseEvent", type="mouseReleased", x=to, y=y, button="left",
            clickCount=1,
        )  # fmt: skip

    drag(x)
    policy.set_parameters([Parameter("speed", value=0.8)])
    until(lambda: bool(browser.evaluate("speed.value") == "0.8"))
    policy.set_parameters([Parameter("speed", value=1.0)])
    until(lambda: bool(browser.evaluate("speed.value") == "1"))
    drag(x - width)
    until(lambda: policy.values["speed"] == 0)
    says(browser, "#speed-now", "0 %")
    policy.set_parameters([Parameter("speed", value=0.4)])
    until(lambda: bool(browser.evaluate("speed.value") == "0.4"))


def test_after_a_stop_nothing_on_the_page_looks_like_a_decision(
    station: Station, browser: Browser
) -> None:
    station.add_policy(policy="ur5e_push")
    browser.open(station.add_operator().url)
    browser.evaluate("""(async () => {
      const { Chart } = await import("/chart.js");
      const add = Chart.prototype.add;
      window.added = {};
      Chart.prototype.add = function (time, values) {
        added[this.canvas.id] = values.map((value) => typeof value === "number");
        add.call(this, time, values);
      };
    })()""")  # fmt: skip
    drawn = "[added['chart-confidence'], added['chart-times']]"
    says(browser, "#confidence-now", "unsure")
    says(browser, "#times-now", "decision")
    until(lambda: browser.evaluate(drawn) == [[True, True], [True, True]])
    press(browser, "Escape")
    says(browser, "#word", "Stopped")
    until(lambda: not any(map(any, browser.evaluate(drawn))))
    until(lambda: browser.texts("#confidence-now, #times-now") == ["", ""])


def test_a_page_alone_says_so_and_its_stop_arrives_later(
    station: Station, browser: Browser
) -> None:
    policy, operator = station.add_policy(), station.add_operator()
    browser.open(operator.url)
    says(browser, "#word", "Moving the arm")
    operator.close()
    says(browser, "#word", "No connection")
    says(browser, "#alarm", "No connection for")
    press(browser, "Escape")
    until(lambda: bool(browser.texts(".stop.pending")))
    assert policy.safety.state is not SafetyState.STOPPED
    # Another server at the same port, with another token.
    station.add_operator(port=int(operator.url.rpartition(":")[2]))
    until(lambda: policy.safety.state is SafetyState.STOPPED)
    says(browser, "#word", "Stopped")
    until(lambda: browser.texts(".stop.pending") == [] and browser.texts("#alarm") == [""])


def test_a_page_does_not_name_a_policy_of_a_blind_comparison(
    station: Station, browser: Browser, policy_file: Callable[..., Path], tmp_path: Path
) -> None:
    blind = tmp_path / "blind"
    blind.mkdir()
    station.add_policy(policy=str(policy_file().rename(blind / "trial_0001.safetensors")))
    browser.open(station.add_operator().url)
    says(browser, "#word", "Moving the arm")
    says(browser, "#policy-name", "hidden")
    says(browser, "#policy-hash", "hidden")
    says(browser, "#start-note", "runs a hidden policy;")


def test_before_a_start_the_page_names_the_policy_that_it_runs(
    station: Station, browser: Browser
) -> None:
    station.add_policy(policy="ur5e_push", autostart=False)
    browser.open(station.add_operator().url)
    says(browser, "#word", "Not started")
    says(browser, "#policy-name", "ur5e_push")
    assert browser.texts("#policy-role") == ["chosen"]
    assert len(browser.texts("#policy-hash")[0]) == 12
    assert browser.texts("#start-note") == ["runs ur5e_push; the arm may move"]
    # It cannot be swapped before it is loaded.
    choice = "[policies.value, policies.disabled, load.disabled, load.innerText]"
    assert browser.evaluate(choice) == ["ur5e_push", True, True, "Load\nafter Start"]
    click(browser, "[data-command=start]")
    says(browser, "#policy-role", "running")
    until(lambda: browser.evaluate(choice) == ["ur5e_push", False, False, "Load"])
    browser.evaluate("policies.value = 'ur5e_push_either'")
    click(browser, "#load")
    click(browser, "#load")
    says(browser, "#start-note", "runs ur5e_push_either;")


def test_the_panel_starts_a_training_and_tells_why_it_failed(
    station: Station, browser: Browser, tmp_path: Path
) -> None:
    station.add(RecorderNode, keys=False, folder=str(tmp_path / "demos"), interface="ur5e_push")
    browser.open(station.add_operator(runs=str(tmp_path / "runs")).url)
    says(browser, "#demonstrations", "0 episodes in demos")
    # Without a simulation nothing is demonstrated by script, and trials are on the arm.
    shown = "[...document.querySelectorAll('.jobs button')].map(b => b.checkVisibility())"
    assert browser.evaluate(shown) == [False, True, True]
    assert browser.texts("#judge-note") == ["on the arm; you begin each trial"]
    assert browser.texts("#training-time option") == ["2 min", "5 min", "10 min", "30 min", "1 h"]
    browser.evaluate("document.querySelector('#train').scrollIntoView({block: 'center'})")
    click(browser, "#train")
    says(browser, "#program-title", "Training for 2m")
    says(browser, "#answer-program", "Training for 2m: begun")
    says(browser, "#train:disabled", "Train")
    until(lambda: bool(browser.texts("#program-result.bad")), 8 * TIMEOUT)
    (told,) = browser.texts("#program-result")
    assert told.startswith(f"Failed: train_policy: {tmp_path / 'demos'}: no bags in it")
    until(lambda: browser.texts("#train:disabled") == [])
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = station.robot.node.create_publisher(String, "sim_bridge_node/status", latched)
    publisher.publish(String(data='{"state": "running", "task": "push", "interface": "x"}'))
    until(lambda: browser.evaluate(shown) == [True, True, True])
    assert browser.texts("#judge-note") == ["in a simulation of its own"]
    assert not [text for text in browser.problems if "verbose" not in text]


def test_when_the_policy_stops_no_answer_moves_and_none_is_open_at_once(
    laboratory: Laboratory, station: Station, browser: Browser
) -> None:
    judge = laboratory.judge_on_pages()
    browser.open(station.add_operator().url)

    def begun() -> bool:
        """Begin a trial, again if a busy machine refuses; True if its answers are open."""
        browser.evaluate("document.querySelector('#trial-answers .begin:enabled')?.click()")
        return browser.texts("#trial-answers .success:enabled") != []

    until(begun, 2 * TIMEOUT)
    place = "document.querySelector('#trial-answers .quit').getBoundingClientRect().x"
    seen = "getComputedStyle(document.querySelector('#trial-answers .reset')).visibility"
    before = browser.evaluate(place)
    assert browser.evaluate(seen) == "hidden"
    browser.evaluate("""(() => {
      const answers = document.querySelector("#trial-answers");
      window.early = 0;
      const count = () => early += answers.querySelectorAll("button:enabled").length;
      new MutationObserver(count).observe(answers, { childList: true });
    })()""")  # fmt: skip
    laboratory.asks("policy_node/stop")
    until(lambda: browser.evaluate(seen) == "visible")
    assert browser.evaluate(place) == before
    until(lambda: browser.texts("#trial-answers .reset:enabled") != [])
    assert browser.evaluate("early") == 0

    def ended() -> bool:
        browser.evaluate("""(() => {
          const open = (name) => document.querySelector(`#trial-answers .${name}:enabled`);
          (open("failure") ?? open("quit"))?.click();
        })()""")  # fmt: skip
        return "ended for now" in browser.texts("#trial-lines")[0]

    until(ended)
    judge.ends()
    assert not [text for text in browser.problems if "verbose" not in text]


def test_a_second_tap_on_an_answer_begins_no_trial(
    laboratory: Laboratory, station: Station, browser: Browser
) -> None:
    judge = laboratory.judge_on_pages()
    browser.open(station.add_operator().url)
    says(browser, "#trial-question", "trial 1, start 1")

    def pressed(name: str) -> bool:
        """Press a button if it is there and takes an answer; True if so."""
        button = f"document.querySelector('#trial-answers .{name}:enabled')"
        return bool(
            browser.evaluate(f"(() => {{ const b = {button}; b?.click(); return !!b; }})()")
        )

    def begun() -> bool:
        """Begin a trial, again if a busy machine refuses; True if it runs."""
        pressed("begin")
        return browser.texts("#trial-answers .success") != []

    until(begun, 2 * TIMEOUT)
    browser.evaluate("""(() => {
      window.taps = 0;
      new MutationObserver(() => {
        const begin = document.querySelector("#trial-answers .begin");
        begin?.click();
        taps += begin ? 1 : 0;
      }).observe(document.querySelector("#trial-answers"), { childList: true });
    })()""")  # fmt: skip
    until(lambda: pressed("success"))
    says(browser, "#trial-question", "trial 2, start 1")
    until(lambda: browser.evaluate("taps") > 0)
    until(lambda: pressed("quit"))
    says(browser, "#trial-lines", "trial 1, block 1: set up start 1 trial 1: success after")
    until(lambda: "ended for now" in browser.texts("#trial-lines")[0])
    judge.ends()
    says(browser, "#trial-state", "ended")
    assert [trial.result for trial in laboratory.trials()] == ["success"]
    assert not [text for text in browser.problems if "verbose" not in text]


def test_a_page_without_its_policy_node_says_so(station: Station, browser: Browser) -> None:
    policy, operator = station.add_policy(), station.add_operator()
    browser.open(operator.url)
    says(browser, "#word", "Moving the arm")
    station.remove(policy)
    says(browser, "#word", "No policy node")
    says(browser, "#alarm", "The policy node does not answer. STOP may not arrive: use the")


def test_a_page_that_was_hidden_draws_the_newest_state_alone_and_stops(
    station: Station, browser: Browser
) -> None:
    policy = station.add_policy()
    browser.open(station.add_operator().url)
    says(browser, "#word", "Moving the arm")
    browser.evaluate("""(async () => {
      const { take, saw } = (await import("/connection.js")).Connection.prototype;
      window.told = { heard: 0, shown: [] };
      Object.assign((await import("/connection.js")).Connection.prototype, {
        take(data) {
          const message = typeof data === "string" ? JSON.parse(data) : {};
          if (message.type === "state") told.heard = message.n;
          take.call(this, data);
        },
        saw(state) {
          told.shown.push(state.n);
          saw.call(this, state);
        },
      });
    })()""")  # fmt: skip
    until(lambda: browser.evaluate("told.shown.length") > 0)
    browser.hide()
    until(lambda: browser.evaluate("document.visibilityState") == "hidden")
    until(lambda: browser.evaluate("told.heard - told.shown.at(-1)") > 30)
    before = browser.evaluate("told")
    browser.show()
    until(lambda: browser.evaluate("told.shown.length") > len(before["shown"]) + 1)
    shown = browser.evaluate("told.shown")[len(before["shown"]) :]
    assert [n for n in shown if n < before["heard"]] == []
    press(browser, "Escape")
    until(lambda: policy.safety.state is SafetyState.STOPPED)
    says(browser, "#word", "Stopped")


def test_a_late_answer_to_a_stop_does_not_confirm_the_next_one(
    station: Station, browser: Browser
) -> None:
    browser.open(station.add_operator().url)
    told = browser.evaluate("""(async () => {
      const { Connection } = await import("/connection.js");
      const sent = [], pending = [];
      window.fetch = () => new Promise(() => {});
      window.WebSocket = class {
        static OPEN = 1;
        readyState = 1;
        send(text) { sent.push(JSON.parse(text)); }
        close() {}
      };
      const connection = new Connection("", { stopping: (isPending) => pending.push(isPending) });
      const asked = async (count) => {
        for (let i = 0; i < 100 && sent.length < count; i++) {
          await new Promise((go) => setTimeout(go, 50));
        }
      };
      const answer = async (number) => {
        connection.take(JSON.stringify({ type: "answer", id: sent[number].id, done: true }));
        await new Promise((go) => setTimeout(go));
      };
      connection.stop();
      await asked(2);
      await answer(0);
      connection.stop();
      await asked(3);
      await answer(1);
      const late = [...pending];
      await answer(2);
      return [late, pending];
    })()""")  # fmt: skip
    assert told == [[True, False, True], [True, False, True, False]]


def test_a_text_from_a_node_is_never_html(station: Station, browser: Browser) -> None:
    operator = station.add_operator()
    publisher = station.robot.node.create_publisher(Log, "/rosout", 10)
    until(lambda: publisher.get_subscription_count() > 0)
    browser.open(operator.url)
    says(browser, "#word", "No policy node")
    text = "<img src=x onerror='window.broken = 1'><script>window.broken = 1</script>"
    publisher.publish(Log(level=40, name="<b>bad</b>", msg=text))
    says(browser, "#log li.error span", "<img src=x")
    assert browser.texts("#log li.error b") == ["<b>bad</b>"]
    assert browser.evaluate("window.broken") is None


def test_the_chosen_actions_begin_at_the_tool_in_the_cameras_picture(
    station: Station, browser: Browser, interface: Interface
) -> None:
    station.add_policy()
    browser.open(station.add_operator().url)
    until(lambda: browser.evaluate(_BEGIN) is not None)
    camera = interface.observation["camera"].projection  # type: ignore[union-attr]
    assert camera is not None
    pixel = camera.pixels("base_link", [[0.5, 0.0, 0.012]])[0]
    assert browser.evaluate(_BEGIN) == pytest.approx(list(pixel / [320, 240]), abs=0.005)
    note = "document.querySelector('.pictures figure').dataset.note"
    assert browser.evaluate(note) == "line: chosen actions"
    browser.evaluate("document.querySelector('.pictures input').click()")
    hidden = "getComputedStyle(document.querySelector('.pictures svg')).display"
    until(lambda: browser.evaluate(hidden) == "none")
    press(browser, "Escape")
    says(browser, "#word", "Stopped")
    until(lambda: browser.evaluate(_BEGIN) is None and browser.evaluate(note) == "")
    assert not [text for text in browser.problems if "verbose" not in text]


def test_nothing_is_drawn_into_a_picture_of_another_shape(
    station: Station, browser: Browser, interface: Interface, tmp_path: Path
) -> None:
    values = interface.to_dict()
    values["observation"]["camera"]["projection"]["size"] = [240, 240]
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump(values))
    station.add_policy(interface=str(file))
    browser.open(station.add_operator().url)
    told = "no chosen actions: projection.size is 240x240"
    until(lambda: bool(browser.texts(f".pictures figure[data-note='{told}']")))
    assert browser.evaluate(_BEGIN) is None


def test_pictures_stand_in_the_same_order_whenever_they_come(
    station: Station, browser: Browser
) -> None:
    def publish(topic: str) -> None:
        publisher = station.robot.node.create_publisher(Image, topic, 1)
        picture = Image(height=2, width=2, encoding="rgb8", step=6, data=bytes(12))
        station.robot.repeat(0.1, lambda: publisher.publish(picture))

    publish("recorder_node/coverage")
    browser.open(station.add_operator().url)
    until(lambda: len(browser.texts("#pictures figcaption")) == 2)
    publish("z/camera")
    until(lambda: len(browser.texts("#pictures figcaption")) == 3)
    captions = browser.texts("#pictures figcaption")
    assert captions[:2] == ["/camera/image_raw", "/z/camera"]
    assert captions[2].startswith("where things stood")


def test_the_command_for_figures_waits_for_no_program_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "docs")
    figures = importlib.import_module("make_figures")
    page = figures.PictureOf(tmp_path / "page", 1280, 800)
    nobody, logs = "http://127.0.0.1:9", tmp_path / "logs"  # the port of discard
    program = Program("nodes.operator.node", {"host": "nowhere"})
    try:
        with (
            running([program], logs) as processes,
            pytest.raises(ProgramFailed, match="host: got"),
        ):
            page.begin(nobody, lambda: has_ended(processes, "", logs))
        monkeypatch.setattr(figures, "LIMIT", 0.5)
        with pytest.raises(AssertionError, match=r"http://127.0.0.1:9: not there after 0.5 s"):
            page.begin(nobody, lambda: None)
    finally:
        page.close()
