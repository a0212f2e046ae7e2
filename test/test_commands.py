"""Commands of the package on the command line, with valid and invalid input."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from programs import Program, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ebm_policy_ros.sim.video import read_video
from ebm_policy_ros.trials.sequential import wilson_interval

ROOT = Path(__file__).resolve().parents[1]
PolicyWriter = Callable[..., Path]


def refusal(result: subprocess.CompletedProcess[str]) -> str:
    """The single line of a refused command."""
    assert result.returncode not in (0, 1), result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip() and "%|" not in line]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_the_wilson_interval_is_the_published_one() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263 and 0 of 20.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_interval(29, 29) == pytest.approx((0.8831, 1.0), abs=1e-4)


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.sim
def test_evaluation_runs_the_policy_on_every_scene_and_can_go_on(
    policy_file: PolicyWriter, tmp_path: Path
) -> None:
    out = tmp_path / "evaluation"
    command = ("sim.evaluate", "--policy", str(policy_file()), "--out", str(out))
    first = run(*command, "--episodes", "1", "--videos", "1")
    assert first.returncode == 0, first.stderr
    with (out / "episodes.jsonl").open("a") as results:
        results.write('{"seed": 1000')  # as after a crash
    second = run(*command, "--episodes", "2", "--videos", "1")
    assert second.returncode == 0, second.stderr
    assert "image to command" in second.stdout
    report = json.loads((out / "result.json").read_text())
    assert report["episodes"] == 2 and report["seeds"] == [100000, 100001]
    assert report["successes"] == 0, "random weights don't push"
    assert report["decision_ms"]["p99"] > 0
    assert all(0 < episode["steps"] <= 150 for episode in report["results"])
    assert (out / "videos" / "episode_100000.mp4").stat().st_size > 1000
    assert (out / "energy.png").stat().st_size > 1000
    other = policy_file("explicit")
    refused = run("sim.evaluate", "--policy", str(other), "--out", str(out))
    assert "holds episodes of another policy_sha256; choose another folder" in refusal(refused)


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.sim
def test_policies_are_compared_on_the_same_scenes_in_a_table_and_a_video(
    policy_file: PolicyWriter, tmp_path: Path
) -> None:
    out, policies = tmp_path / "comparison", [str(policy_file()), str(policy_file("explicit"))]
    told, errors = tmp_path / "out.txt", tmp_path / "errors.txt"
    program = Program(
        "sim.compare", "--policies", json.dumps(policies), "--episodes", "1", "--out", str(out),
        out=told, errors=errors,
    )  # fmt: skip
    assert program.wait(500.0) == 0, errors.read_text()
    rows = [line.split("  ") for line in told.read_text().splitlines()]
    cells = {row[0]: [cell.strip() for cell in row[1:] if cell.strip()] for row in rows}
    results = [
        json.loads((out / name / "result.json").read_text())["results"][0]
        for name in ("energy", "explicit")
    ]
    solved = [result["success"] for result in results]
    assert cells["line reached, none touched"] == [f"{success:d}/1" for success in solved]
    frames = list(read_video(out / "energy_and_explicit.mp4"))
    assert frames[0].shape == (480, 1280, 3)
    # Thirty frames a second of the longer one, and a second that shows the outcome.
    longer = max(result["steps"] for result in results)
    assert len(frames) == pytest.approx(3 * longer + 30, abs=3)
    # Only an energy has a landscape.
    corner = np.abs(frames[5][60:190, 16:160].astype(int) - frames[5][60:190, 656:800]).mean()
    assert corner > 20
    # The edge of a pane is green for a success and red for a failure.
    for success, pane in zip(solved, np.split(frames[-1], 2, axis=1), strict=True):
        red, green, _ = pane[474:, 300].mean(axis=0)
        assert (green > red + 50) if success else (red > green + 50)


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.sim
def test_a_scene_in_which_the_policy_stops_has_failed_and_the_next_one_is_run(
    unsure_policy_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "evaluation"
    command = ("sim.evaluate", "--policy", str(unsure_policy_file), "--out", str(out))
    result = run(*command, "--episodes", "2", "--videos", "0")
    assert result.returncode == 0, result.stderr
    report = json.loads((out / "result.json").read_text())
    assert report["episodes"] == 2 and report["successes"] == 0
    assert report["stops"].keys() == {"100000", "100001"}
    assert report["stops"]["100000"].startswith("held for 3.0 s: unsure: ")
    # At most a second of slow motion and three of hold, not the 15 s of the task.
    assert all(episode["steps"] <= 60 for episode in report["results"]), report["results"]
    assert "policy stopped    2/2  (scene 100000: held for 3.0 s: unsure: " in result.stdout


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two demonstrations of the scripted teleoperator, by a run and its continuation."""
    demos = tmp_path_factory.mktemp("recorded") / "demos"
    for episodes in ("1", "2"):
        result = run("sim.record_demos", "--out", str(demos), "--episodes", episodes)
        assert result.returncode == 0, result.stderr
        assert f"{episodes} of {episodes} demonstrations succeeded" in result.stdout
    return demos


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.sim
def test_the_scripted_teleoperator_records_bags_that_training_reads(demos: Path) -> None:
    from ebm_policy_ros.interface import load_interface
    from ebm_policy_ros.training.data.bag_dataset import load_dataset
    from ebm_policy_ros.util.resources import interface_path

    results = [json.loads(line) for line in (demos / "run" / "episodes.jsonl").open()]
    data = load_dataset(demos, load_interface(interface_path("ur5e_push")))
    assert [Path(name).name for name in data.names] == ["push_0000", "push_0001"]
    for index, episode in enumerate(results):
        # Commands before the first tick are included too; the first samples may be older than the
        # recording.
        assert (data.episodes == index).sum() >= episode["steps"] - 1
    assert abs(data.actions).max() <= 0.25
    assert abs(data.actions[data.episodes == 0]).max() > 0.02


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.sim
def test_success_in_simulation_during_a_training_is_a_curve(demos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ("training.train", "--data", str(demos), "--steps", "4", "--scenes", "1")
    result = run(*command, "--out", str(tmp_path / "other"), "--evaluate", "psh")
    assert result.returncode == 2
    message = result.stderr.splitlines()[-1]
    assert "train_policy: evaluate: evaluate_policy: --task: got 'psh'" in message
    told, errors = tmp_path / "out.txt", tmp_path / "errors.txt"
    program = Program(*command, "--out", str(out), "--evaluate", "push", out=told, errors=errors)
    assert program.wait(500.0) == 0, errors.read_text()
    curves = EventAccumulator(str(out))
    curves.Reload()
    points = curves.Scalars("success/push")
    assert [point.step for point in points] == [0, 4]
    for point in points:
        report = json.loads((out / "evaluation" / str(point.step) / "result.json").read_text())
        assert report["episodes"] == 1
        share = f"step {point.step}: {report['successes']} of 1 scenes solved"
        assert share in told.read_text()
        assert point.value == report["successes"]


@pytest.mark.slow
@pytest.mark.sim
def test_a_task_is_learned_and_judged_without_ros_and_options_are_not_mixed(
    tmp_path: Path,
) -> None:
    command = ("sim.experiments.without_ros", "--out", str(tmp_path), "--demonstrations", "3")
    options = ("--train", '{"steps": 20}', "--episodes")
    result = run(*command, *options, "1")
    assert result.returncode == 0, result.stderr
    (scene,) = json.loads((tmp_path / "push_states_recipe_0.json").read_text())["scenes"]
    assert scene["seed"] == 110_000 and 0 <= scene["closest"] <= scene["distance"]
    assert f"push_states_recipe_0: {scene['solved']:d}/1 " in result.stdout
    again = run(*command, *options, "1")
    assert again.returncode == 0 and again.stdout == result.stdout.splitlines(True)[-1]
    message = refusal(run(*command, *options, "2"))
    assert "push_states_recipe_0.json: of another episodes, 1; choose another --out" in message
    # The same policy, acting by a draw.
    drawn = run(*command, *options, "1", "--choice", "sample")
    assert drawn.returncode == 0 and "push_states_recipe_0_sample: " in drawn.stdout
    assert len(list(tmp_path.glob("*/policy.safetensors"))) == 1


@pytest.mark.slow
@pytest.mark.sim
def test_a_gripper_is_learned_without_ros_too(tmp_path: Path) -> None:
    train = '{"steps": 5, "learning.allow_constant": true}'  # the boxes stand on the table
    result = run(
        "sim.experiments.without_ros", "--task", "pick_place", "--out", str(tmp_path),
        "--demonstrations", "2", "--train", train, "--horizon", "2", "--episodes", "1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (file,) = tmp_path.glob("*.npz")
    with np.load(file) as arrays:
        actions = arrays["actions"]
        # Two cubes, two boxes and two fingertips.
        assert arrays["observation/objects"].shape == (len(actions), 18)
    assert actions.shape[1] == 4
    assert actions[:, 3].min() == 0.0 and actions[:, 3].max() > 0.04, "opens and closes"
    (scene,) = json.loads((tmp_path / "pick_place_states_recipe_0.json").read_text())["scenes"]
    assert scene["solved"] is False and scene["cube"] == -1


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.sim
def test_the_same_seed_gives_the_same_commands_each_time(demos: Path, tmp_path: Path) -> None:
    from ebm_policy_ros.bags.bag import Bag
    from ebm_policy_ros.messages.streams import stamp_ns

    topics = {"servo_node/delta_twist_cmds": "geometry_msgs/msg/TwistStamped"}

    def commands(bag: Path) -> list[tuple[float, float]]:
        found = [message.content for message in Bag(bag).messages(topics)]
        stamps = [stamp_ns(command) for command in found]
        assert {b - a for a, b in itertools.pairwise(stamps)} == {100_000_000}
        return [(command.twist.linear.x, command.twist.linear.y) for command in found]

    out = tmp_path / "again"
    result = run("sim.record_demos", "--out", str(out), "--episodes", "1")
    assert result.returncode == 0, result.stderr
    assert commands(out / "push_0000") == commands(demos / "push_0000")


def children_of(parent: int) -> list[Path]:
    """Folders in /proc of a process's children."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it has just ended
            if f"\nPPid:\t{parent}\n" in status.read_text():
                found.append(status.parent)
    return found


@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.sim
def test_a_killed_recording_leaves_no_processes_and_the_next_start_goes_on(
    tmp_path: Path,
) -> None:
    demos = tmp_path / "demos"
    command = ["-m", "ebm_policy_ros.sim.record_demos", "--out", str(demos), "--episodes"]
    process = subprocess.Popen([sys.executable, *command, "9"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120.0
    results = demos / "run" / "episodes.jsonl"
    while not (results.exists() and results.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    children = children_of(process.pid)
    assert len(children) == 4, "simulation, demonstrator, recorder and who starts and stops them"
    process.kill()
    process.wait()
    while left := [child for child in children if child.exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    done = len(results.read_text().splitlines())
    again = run("sim.record_demos", "--out", str(demos), "--episodes", str(done + 1))
    assert again.returncode == 0, again.stderr
    assert f"{done + 1} of {done + 1} demonstrations succeeded" in again.stdout


Told = Callable[..., tuple[str, str]]


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Told]:
    """Function that runs a node until it exits with a code, and returns its two outputs."""
    monkeypatch.chdir(tmp_path)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # a node replaces their handlers
    handlers = [signal.getsignal(number) for number in numbers]

    def run(module: str, *words: str, code: int) -> tuple[str, str]:
        with pytest.raises(SystemExit) as exit_:
            import_module(f"ebm_policy_ros.{module}").main(list(words))
        assert exit_.value.code == code
        out, errors = capsys.readouterr()
        return out, errors

    yield run
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@pytest.mark.ros
@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        ("nodes.policy.node", ("--ros-args", "-p", "seed:=1.5"), "'seed' to '1.5'"),
        ("sim.replay.node", (), "bags: got none"),
    ],
)
def test_a_node_refuses_bad_parameters_in_one_line_and_leaves_no_file(
    told: Told, tmp_path: Path, module: str, words: tuple[str, ...], message: str
) -> None:
    out, errors = told(module, *words, code=2)
    (line,) = errors.splitlines()
    assert out == "" and message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.ros
@pytest.mark.parametrize(
    ("module", "parameter"),
    [
        ("nodes.policy.node", "when_unsure"),
        ("nodes.recorder.node", "min_free"),
        ("nodes.teleop.node", "key_timeout"),
        ("sim.bridge_node", "real_time_factor"),
        ("sim.oracle_node", "bridge"),
        ("sim.episodes_node", "time_limit"),
        ("sim.replay.node", "results"),
    ],
)
def test_a_node_explains_its_parameters_and_refuses_what_is_no_option(
    told: Told, module: str, parameter: str
) -> None:
    text, errors = told(module, "--help", code=0)
    assert errors == "" and text.startswith("usage: ") and f"\n  {parameter} [" in text
    option = f"--{parameter[:-1]}x=1"
    text, errors = told(module, option, "--ros-args", "-p", "use_sim_time:=true", code=2)
    (line,) = errors.splitlines()
    assert text == ""
    assert f"unknown option {option}; did you mean --ros-args -p {parameter}" in line


@pytest.mark.ros
def test_a_node_as_a_process_explains_itself_and_refuses_what_it_does_not_know(
    tmp_path: Path,
) -> None:
    help_ = run("nodes.recorder.node", "--help")
    assert help_.returncode == 0 and help_.stderr == ""
    assert help_.stdout.startswith("usage: ") and "\n  min_free [" in help_.stdout
    option = run("nodes.recorder.node", "--min_frex=1", "--ros-args", "-p", "use_sim_time:=true")
    assert "unknown option --min_frex=1; did you mean --ros-args -p min_free" in refusal(option)
    misspelt = run("nodes.recorder.node", "--ros-args", "-p", f"foldr:={tmp_path}")
    assert "recorder_node has no parameter 'foldr'; it has: folder" in refusal(misspelt)
    missing = run(
        "nodes.policy.node", "--ros-args", "-p", "policy:=/no.safetensors", "-p", "autostart:=true"
    )
    assert missing.returncode == 2
    assert "Traceback" not in missing.stderr
    assert "/no.safetensors: no such policy file" in missing.stderr


SCRIPTS = [
    path
    for pattern in ("bench/*.py", "docs/*.py", "examples/*.py", "test/fault_matrix.py")
    for path in sorted(ROOT.glob(pattern))
    if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")
]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_explains_itself_and_does_nothing_for_an_unknown_argument(
    script: Path, tmp_path: Path
) -> None:
    for argument, code in (("--help", 0), ("--xyzzy", 2)):
        done = run(script, argument, folder=tmp_path)
        assert done.returncode == code, done.stderr
        assert (done.stdout or done.stderr).startswith("usage: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.ros
@pytest.mark.parametrize("module", ["training.convert", "nodes.recorder.node"])
def test_help_that_nobody_reads_to_its_end_ends_without_a_word(module: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", f"ebm_policy_ros.{module}", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # as `head` does after its last line
    assert process.stderr.read() == ""
    assert process.wait(120) == -signal.SIGPIPE
    process.stderr.close()


def test_ctrl_c_while_a_command_is_imported_ends_it_without_a_traceback() -> None:
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'torch': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from ebm_policy_ros.util.executables import train_policy\n"
        "train_policy()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == -signal.SIGINT and ended.stderr == ""


@pytest.mark.ros
@pytest.mark.sim
def test_missing_opengl_is_answered_in_one_line_with_the_cure(tmp_path: Path) -> None:
    # Mesa finds no driver in an empty folder, as on a machine without libgl1-mesa-dri.
    bridge = run("sim.bridge_node", MUJOCO_GL="egl", __EGL_VENDOR_LIBRARY_DIRS=str(tmp_path))
    assert "apt-get install libegl1 libgl1-mesa-dri" in refusal(bridge)
