"""Wrong options of the commands are answered in one line: which one, what was given, what fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ebm_policy_ros.sim import compare, evaluate, judge, record_demos
from ebm_policy_ros.sim.replay import command as replay
from ebm_policy_ros.training import calibrate, convert, inspect_demos, train

PUSH = Path(__file__).resolve().parents[1] / "config" / "training" / "push.yaml"
Command = Callable[[list[str]], None]
Answer = Callable[..., str]


@pytest.fixture
def answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Answer:
    """Function that runs a command in an empty folder and returns its only line."""
    monkeypatch.chdir(tmp_path)

    def run(main: Command, *words: str) -> str:
        with pytest.raises(SystemExit) as exit_:
            main(list(words))
        told = capsys.readouterr()
        assert exit_.value.code == 2 and told.out == ""
        (line,) = told.err.splitlines()
        return line.partition(": ")[2]

    return run


def fits(found: str, line: str) -> bool:
    """True for the expected line; if it ends with `...`, for its beginning."""
    start = line.removesuffix("...")
    return found == line if start == line else found.startswith(start)


METHODS = "derivative_free, autoregressive, langevin, hybrid, hmc, mala"
KINDS = "energy, autoregressive, explicit, mixture, flow, two_step or nearest_neighbour"
VALUES = "settings as {NAME: a whole number, a number or a text}"


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--stpes=3", "unknown option --stpes; did you mean --steps?"),
        ("--xyzzy=3", "unknown option --xyzzy; --help lists all"),
        ("--trainer.steps=3", "unknown option --trainer.steps; did you mean --steps?"),
        (
            "--inferance.method=langevin",
            "unknown option --inferance.method; did you mean --inference.method?",
        ),
        (
            "--learning.batchsize=3",
            "unknown option --learning.batchsize; did you mean --learning.batch_size?",
        ),
        (
            "--model.heda.width=3",
            "unknown option --model.heda.width; did you mean --model.head.width?",
        ),
        ("--model={knd: energy}", "unknown option --model.knd; did you mean --model.kind?"),
        ("--steps.x=3", "unknown option --steps.x; did you mean --steps?"),
        ("stray", "unexpected argument 'stray'"),
        ("-x", "unexpected argument '-x'"),
        ("--steps=ten", "--steps: got 'ten', expected a whole number"),
        ("--steps=1.5", "--steps: got '1.5', expected a whole number"),
        ("--steps=0", "--steps: got 0, expected an integer >= 1"),
        ("--steps=null", "--steps: got null, expected a whole number"),
        ("--steps", "--steps: no value given, expected a whole number"),
        ("--steps=[1", "--steps: got '[1', expected a whole number"),
        ("--keep=half", "--keep: got 'half', expected a number"),
        ("--exclude", "--exclude: no value given, expected a path or null"),
        ("--trim_idle=maybe", "--trim_idle: got 'maybe', expected true or false"),
        ("--resume=yes", "--resume: got 'yes', expected no value"),
        (
            "--unusable=skipp",
            "--unusable: got 'skipp', expected refuse or skip; did you mean skip?",
        ),
        (
            "--model.kind=enery",
            f"--model.kind: got 'enery', expected {KINDS}; did you mean energy?",
        ),
        ("--model.kind", f"--model.kind: no value given, expected {KINDS}"),
        ("--model=3", "--model: got '3', expected settings as {NAME: VALUE}"),
        ("--model={", "--model: got '{', expected settings as {NAME: VALUE}"),
        (
            "--model.streams=tool",
            "--model.streams: got 'tool', expected a list as [A, B], each a text",
        ),
        (
            "--model.image.channels=[a]",
            "--model.image.channels: got 'a', expected a list as [A, B], each a whole number",
        ),
        (
            "--model.image.channels=[1]",
            "--model.image.strides: got 4 values, expected one for each of the 1 channels",
        ),
        ("--model.head.width=3", "--model.head.width: got 3, expected an integer >= 4"),
        (
            "--learning.negatives.chain.iterations=x",
            "--learning.negatives.chain.iterations: got 'x', expected a whole number",
        ),
        (
            "--learning.negatives.source=unifrm",
            "--learning.negatives.source: got 'unifrm', expected one of uniform, gaussian, chain, "
            "mixed, hmc, hard, proposal, or the full name of your own source of negatives, "
            "package.module.Name; did you mean uniform?",
        ),
        ("--learning.decay=2", "--learning.decay: got 2.0, expected a number between 0 and 1"),
        ("--inference=3", f"--inference: got '3', expected {VALUES}"),
        ("--inference.samples=[1]", f"--inference: got '[1]', expected {VALUES}"),
        ("--inference.samples=many", "--inference.samples: got 'many', expected an integer >= 2"),
        (
            "--inference.method=langvin",
            f"--inference.method: got 'langvin', expected one of {METHODS}, or the full name of "
            "your own inference method, package.module.Name; did you mean langevin?",
        ),
        ("--device=cud", "--device: got 'cud', which is not there; use auto, cpu, or ..."),
        ("--config=no.yaml", "--config: file does not exist: ..."),
        ("--config=.", "--config: path is not a file: ..."),
    ],
)
def test_a_wrong_option_of_training_is_named(answer: Answer, option: str, line: str) -> None:
    assert fits(answer(train.main, "--data=d", "--out=o", option), line)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("stpes: 3", "unknown option --stpes; did you mean --steps?"),
        (
            "inferance: {method: langevin}",
            "unknown option --inferance.method; did you mean --inference.method?",
        ),
        (
            "learning: {negatives: {chain: {iteratons: 3}}}",
            "unknown option --learning.negatives.chain.iteratons; did you mean "
            "--learning.negatives.chain.iterations?",
        ),
        ("steps: ten", "--steps: got 'ten', expected a whole number"),
        ("keep: null", "--keep: got null, expected a number"),
        ("inference: null", f"--inference: got null, expected {VALUES}"),
        ("resume: maybe", "--resume: got 'maybe', expected true or false"),
        (
            "learning: {batch_size: many}",
            "--learning.batch_size: got 'many', expected a whole number",
        ),
        ("learning: {batch_size: 0}", "--learning.batch_size: got 0, expected an integer >= 1"),
        (
            "learning: {negatives: 3}",
            "--learning.negatives: got 3, expected settings as {NAME: VALUE}",
        ),
        ("model: [1]", "--model: got [1], expected settings as {NAME: VALUE}"),
        ("model: big", "--model: got 'big', expected settings as {NAME: VALUE}"),
        ("model: {kind: enery}", f"--model.kind: got 'enery', expected {KINDS}; did you mean ..."),
        ("inference: {samples: [1]}", f"--inference: got '[1]', expected {VALUES}"),
        ("- steps\n- 3", "--config: got '- steps\\n- 3', expected settings as {NAME: VALUE}"),
        ("", "--config: got '', expected settings as {NAME: VALUE}"),
        ("a: [1, 2\nb: }", "--config: not a YAML file (while parsing a flow sequence..."),
        ("3: 4", "--config: key must be a string, got: 3."),
    ],
)
def test_a_wrong_value_in_a_configuration_is_named(
    answer: Answer, tmp_path: Path, content: str, line: str
) -> None:
    (tmp_path / "c.yaml").write_text(content)
    found = answer(train.main, "--data=d", "--out=o", "--config=c.yaml")
    assert fits(found, line)


def test_a_wrong_value_in_the_environment_is_named(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")
    monkeypatch.setenv("TRAIN_POLICY_STEPS", "ten")
    line = answer(train.main, "--data=d", "--out=o")
    assert line == "--steps: got 'ten', expected a whole number"


# Each command, with its required options.
COMMANDS: dict[str, tuple[Command, dict[str, str]]] = {
    "calibrate_policy": (calibrate.main, {"--policy": "p", "--data": "d", "--out": "o"}),
    "compare_policies": (compare.main, {"--policies": "[p]", "--out": "o"}),
    "convert_demos": (convert.main, {"--source": "d", "--out": "o"}),
    "evaluate_policy": (evaluate.main, {"--policy": "p", "--out": "o"}),
    "inspect_demos": (inspect_demos.main, {"folder": "d"}),
    "judge_policy": (judge.main, {"--policies": "[p, q]", "--out": "o"}),
    "record_demos": (record_demos.main, {"--out": "o"}),
    "replay_demo": (replay.main, {"data": "d"}),
    "train_policy": (train.main, {"--data": "d", "--out": "o"}),
}


def needed(name: str) -> list[str]:
    options = COMMANDS[name][1].items()
    return [f"{option}={value}" if option.startswith("--") else value for option, value in options]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_names_what_is_missing_and_what_is_too_much(
    answer: Answer, name: str, tmp_path: Path
) -> None:
    main, options = COMMANDS[name]
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "key.yaml").write_text("otu: x")
    assert answer(main) == f"not given: {', '.join(options)}"
    assert answer(main, *needed(name), "more") == "unexpected argument 'more'"
    assert answer(main, "--config=key.yaml").startswith(
        "unknown option --otu; did you mean --out?"
    )
    wrong = "--config: got '- 1', expected settings as {NAME: VALUE}"
    assert answer(main, *needed(name), "--config=list.yaml") == wrong


@pytest.mark.parametrize(
    ("name", "option", "line"),
    [
        ("calibrate_policy", "--seed=x", "--seed: got 'x', expected a whole number"),
        (
            "calibrate_policy",
            "--fase_alarms=1",
            "unknown option --fase_alarms; did you mean ...",
        ),
        ("compare_policies", "--policies=[]", "--policies: got none, expected at least one"),
        (
            "compare_policies",
            "--policies=[ur5e_push, ur5e_push]",
            "--policies: got two named ur5e_push, expected each name once; rename a file",
        ),
        ("convert_demos", "--fps=x", "--fps: got 'x', expected a number or null"),
        (
            "convert_demos",
            "--streams=3",
            "--streams: got '3', expected settings as {NAME: a text} ...",
        ),
        ("convert_demos", "--video=x", "--video: got 'x', expected no value"),
        ("convert_demos", "--fps=0", "--fps: got 0.0, expected a number above 0"),
        ("evaluate_policy", "--videos=x", "--videos: got 'x', expected a whole number or null"),
        (
            "evaluate_policy",
            "--inferance.samples=3",
            "unknown option --inferance.samples; did you mean ...",
        ),
        ("inspect_demos", "--oot=x", "unknown option --oot; did you mean --out?"),
        ("inspect_demos", "--out", "--out: no value given, expected a path or null"),
        ("judge_policy", "--policies=[p]", "--policies: got 1, expected at least two"),
        ("judge_policy", "--alpha=x", "--alpha: got 'x', expected a number"),
        ("judge_policy", "--task=juggle", "--task: got 'juggle', expected one of avoid, ..."),
        ("record_demos", "--task=juggle", "--task: got 'juggle', expected one of avoid, ..."),
        ("record_demos", "--knocks=-1", "--knocks: got -1.0, expected a number >= 0"),
        ("record_demos", "--interface=no.yaml", "no.yaml: cannot read the interface..."),
        ("record_demos", "--knocks=x", "--knocks: got 'x', expected a number or null"),
        (
            "record_demos",
            "--command-noise=1",
            "unknown option --command-noise; did you mean ...",
        ),
        ("replay_demo", "--max_error=x", "--max_error: got 'x', expected a number or null"),
        ("replay_demo", "--episodes=0", "--episodes: got 0, expected an integer >= 1"),
        ("replay_demo", "--policy", "--policy: no value given, expected a text"),
    ],
)
def test_a_wrong_option_of_a_command_is_named(
    answer: Answer, name: str, option: str, line: str
) -> None:
    assert fits(answer(COMMANDS[name][0], *needed(name), option), line)


def test_a_bare_name_is_a_shipped_policy(answer: Answer) -> None:
    for main, more in ((evaluate.main, ()), (calibrate.main, ("--data=d",))):
        line = answer(main, "--policy=ur5e_pull", "--out=o", *more)
        assert "config/policies/ur5e_pull.safetensors: no such policy file" in line
    assert "no such policy file" in answer(evaluate.main, "--policy=no.safetensors", "--out=o")


def test_a_list_may_be_given_as_several_words(answer: Answer) -> None:
    given = ("--policies", "a.safetensors", "b, c.safetensors", "--out=o")
    for command, more in ((judge, ()), (compare, ("--task=push",))):
        line = answer(command.main, *given, *more)
        assert line.startswith("a.safetensors: no such policy file"), "and not the list of all"
    assert answer(judge.main, "--policies", "[p]", "--out=o").startswith("--policies: got 1")


def test_home_is_found_in_options(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert "/h/none.npz" in answer(
        calibrate.main, "--policy=ur5e_push", "--data=~/none.npz", "--out=o"
    )


def test_training_refuses_a_folder_without_demonstrations(answer: Answer, tmp_path: Path) -> None:
    def refusal(data: str) -> str:
        return answer(train.main, f"--config={PUSH}", f"--data={data}", "--out=run")

    assert "no such folder of demonstrations" in refusal("nowhere")
    assert "no bags in it" in refusal(".")
    assert not (tmp_path / "run" / "policy.safetensors").exists()
