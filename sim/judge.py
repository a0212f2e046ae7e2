"""judge_policy: trials of policies in a hidden order, on an arm or in the simulation."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.policy.file import load_policy_file
from ebm_policy_ros.policy.policy import PolicyMismatch
from ebm_policy_ros.sim.subprocesses import (
    Program,
    ProgramFailed,
    has_ended,
    run_in_foreground,
    running,
)
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.trials.log import Trial, TrialLog, read_trials
from ebm_policy_ros.trials.loop import why_finished
from ebm_policy_ros.trials.page import PAGE, write_page
from ebm_policy_ros.trials.plan import (
    Comparison,
    NamedFile,
    claim_folder,
    is_claimed,
    order_seed,
)
from ebm_policy_ros.trials.results import format_report, make_report
from ebm_policy_ros.trials.starts import find_starts, named_starts
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.digest import sha256_of
from ebm_policy_ros.util.resources import expanded, interface_path, policy_path

_BRIDGE = "sim_bridge_node"
# Exit code of a program after Ctrl-C.
_INTERRUPTED = 130
# Seed of the first scene, which a comparison of the simulation shares with the next one.
_FIRST_SCENE = 100_000


@dataclass(frozen=True)
class JudgeArgs:
    """Compare policies by trials in a hidden order, until the difference is clear.

    On an arm an operator sets up each start and says how each trial ended, without learning which
    policy runs, at the terminal or on the operator's page; policy_node and recorder_node must run
    already. With --task the simulation does both. The page that names the policies is written at
    the end.
    """

    policies: list[str]
    """Policy files of one interface, or bare names of shipped ones; at least two."""
    out: Path
    """Folder for the log, the page and videos; a comparison that was cut short goes on."""
    task: str | None = None
    """Task of the simulation, see evaluate_policy; by default the trials are on an arm."""
    trials: int = 40
    """Most trials of each policy. More, or fewer, may be given when a comparison goes on."""
    seed: int | None = None
    """Seed of the order on an arm, by default drawn by chance when the comparison begins. In
    simulation the seed of the first scene, by default 100000; the others follow by one."""
    starts: Path | None = None
    """Folder with a picture of each start on the arm, used in the order of their names. If it has
    none, they are taken with the camera first. By default the operator numbers places."""
    alpha: float = 0.05
    """Probability of naming a difference where there is none."""
    interface: str | None = None
    """Interface file of the arm, or the bare name of a shipped one; by default the task's, or the
    policies'."""
    policy_node: str = "policy_node"
    """Name of the policy node on the arm."""
    recorder: str = "recorder_node"
    """Name of the recorder's node on the arm."""
    keys: bool = True
    """Ask at the terminal too; with false only the page of operator_node answers."""
    parameters: dict[str, int | float | str] = field(default_factory=dict)
    """Parameters of policy_node in the simulation, such as --parameters.execute 1."""

    def __post_init__(self) -> None:
        if len(self.policies) < 2:
            raise ValueError(f"policies: got {len(self.policies)}, expected at least two")
        if self.trials < 1:
            raise ValueError(f"trials: got {self.trials}, expected an integer >= 1")
        if self.task is None and self.parameters:
            raise ValueError(
                "parameters: got some, expected none on an arm: set policy_node's own"
            )
        if self.task is not None:
            make_task(self.task)
            if self.starts is not None:
                raise ValueError("starts: got a folder, expected none: a simulation has seeds")


def judge(args: JudgeArgs) -> None:
    """Run the trials that are not done yet; at the end write the page."""
    files = [policy_path(name) for name in args.policies]
    interface = _interface(args, files)
    out = expanded(args.out)
    if args.task is None and args.starts is not None:
        _take_starts(args, out, expanded(args.starts), files[0])
    comparison = _comparison(args, out, files, interface)
    claim_folder(out, comparison)
    node = {
        "out": str(out.resolve()),
        "policies": [str(file.resolve()) for file in files],
        "trials": args.trials,
    }
    trials = _trials_so_far(out, comparison)
    if not why_finished(comparison, trials, args.trials):
        if args.task is None:
            _run_on_arm(args, node)
        else:
            _run_in_simulation(args, node, interface, comparison)
        trials = read_trials(out, comparison)
    if not why_finished(comparison, trials, args.trials):
        print(f"{sum(trial.counts for trial in trials)} trials are done; the same command goes on")
        return
    report = make_report(comparison, trials, args.trials)
    for line in write_page(report, out):
        print(line)
    print(format_report(report))
    print(f"\n{out / PAGE} shows every trial")


def _trials_so_far(out: Path, comparison: Comparison) -> list[Trial]:
    """Trials of a log, after telling about a line that was cut: in simulation no node could."""
    log = TrialLog(out, comparison)
    log.close()
    if log.remark:
        print(log.remark)
    return log.trials


def _interface(args: JudgeArgs, files: list[Path]) -> Path | None:
    """Return the interface file that the trials use; None for that of the policies.

    Raises:
        PolicyMismatch: If the policies are not all for it.
    """
    path = None
    if args.interface or args.task is not None:
        path = interface_path(args.interface or make_task(str(args.task)).interface)
    first = _interface_of(files[0])
    for file in files[1:]:
        if differences := _interface_of(file).differences(first):
            raise PolicyMismatch(
                f"policies: got {file.stem}, which is for another interface than "
                f"{files[0].stem} ({differences[0]}); compare policies of one interface"
            )
    if path is not None and (differences := first.differences(load_interface(path))):
        raise PolicyMismatch(
            f"policies: got {files[0].stem}, which is for another interface than {path.stem} "
            f"({differences[0]})"
        )
    return path


def _interface_of(file: Path) -> Interface:
    interface = load_policy_file(file).interface
    if interface is None:
        raise PolicyMismatch(
            f"{file}: trained on arrays that name no robot; train it with --interface"
        )
    return interface


def _comparison(args: JudgeArgs, out: Path, files: list[Path], path: Path | None) -> Comparison:
    interface = _interface_of(files[0]) if path is None else load_interface(path)
    setting: dict[str, Any] = {"interface": interface.to_dict()}
    if args.task is not None:
        setting |= {"task": args.task, "parameters": args.parameters}
    seed = args.seed
    if seed is None:
        seed = order_seed(out) if args.task is None else _FIRST_SCENE
    return Comparison(
        policies=tuple(NamedFile(file.stem, sha256_of(file)) for file in files),
        starts=() if args.starts is None else named_starts(expanded(args.starts)),
        seed=seed,
        alpha=args.alpha,
        setting=setting,
    )


def _take_starts(args: JudgeArgs, out: Path, folder: Path, policy: Path) -> None:
    """Take pictures of the starts, if there are none yet.

    Raises:
        ValueError: If the operator takes none, or they would be in vain: the output folder has no
            room for a new comparison.
    """
    if find_starts(folder):
        return
    if is_claimed(out):
        raise ValueError(
            f"starts: got {folder} without pictures, but {out} holds trials already; choose "
            "another folder for one of them"
        )
    parameters: dict[str, Any] = {"folder": str(folder.resolve()), "policy": str(policy.resolve())}
    parameters |= {"policy_node": args.policy_node, "keys": args.keys}
    if args.interface:
        parameters["interface"] = str(interface_path(args.interface).resolve())
    _run_or_exit(Program("nodes.judge.starts_node", parameters, _namespace(args)))
    if not find_starts(folder):
        raise ValueError(f"starts: {folder} has no pictures")


def _run_on_arm(args: JudgeArgs, node: Mapping[str, Any]) -> None:
    """Run the trials with the operator at this terminal, or at the page."""
    _run_or_exit(_program_on_arm(args, node))


def _program_on_arm(args: JudgeArgs, node: Mapping[str, Any]) -> Program:
    starts = "" if args.starts is None else str(expanded(args.starts).resolve())
    namespace, recorder = _namespace(args), args.recorder
    if namespace and not recorder.startswith("/"):
        recorder = f"/{recorder}"  # it is not named after the policy node's namespace
    chosen = {"policy_node": args.policy_node, "recorder": recorder, "keys": args.keys}
    return Program("nodes.judge.node", {**node, **chosen, "starts": starts}, namespace)


def _namespace(args: JudgeArgs) -> str:
    """Namespace of a full name of the policy node, where the operator's page of that arm looks.

    Empty for a name without a slash in front: it is relative to this command's namespace.
    """
    name = args.policy_node
    return name.rpartition("/")[0] if name.startswith("/") else ""


def _run_or_exit(program: Program) -> None:
    """Run a program on this terminal; if it fails, it has said why."""
    code = run_in_foreground(program)
    if code == _INTERRUPTED:
        # This process itself may ignore Ctrl-C, as one in the background of a shell does.
        raise KeyboardInterrupt
    if code:
        sys.exit(code)


def _run_in_simulation(
    args: JudgeArgs, node: Mapping[str, Any], path: Path | None, comparison: Comparison
) -> None:
    """Run the trials in a simulation of their own, with a progress bar."""
    assert path is not None and args.task is not None
    interface, out = str(path.resolve()), Path(node["out"])
    policy = {"policy": node["policies"][0], "interface": interface, **args.parameters}
    limit = float(make_task(args.task).time_limit)
    programs = [
        Program("nodes.judge.node", {**node, "bridge": _BRIDGE, "time_limit": limit}),
        Program(
            "sim.bridge_node",
            {
                "task": args.task,
                "interface": interface,
                "lockstep": True,
                "wait_for_start": True,
                "seed": comparison.seed,
            },
        ),
        Program(
            "nodes.policy.node",
            {**policy, "lockstep": True, "autostart": True, "use_sim_time": True},
        ),
        Program(
            "nodes.recorder.node",
            {
                "interface": interface,
                "folder": str(out / "bags"),
                "prefix": "trial",
                "keys": False,
                "use_sim_time": True,
            },
        ),
    ]
    with running(programs, out / "logs") as processes:
        _wait(processes, out, comparison, args.trials)


def _wait(
    processes: Mapping[str, subprocess.Popen[bytes]], out: Path, comparison: Comparison, most: int
) -> None:
    """Wait until the trials are done; nothing tells which policy succeeds."""
    done = len(read_trials(out, comparison))
    total = most * len(comparison.policies)
    with tqdm(desc="trials", total=total, initial=done, dynamic_ncols=True) as bar:
        while not has_ended(processes, "judge_node", out / "logs"):
            time.sleep(0.2)
            _tell_new(bar, out, comparison)
        _tell_new(bar, out, comparison)


def _tell_new(bar: Any, out: Path, comparison: Comparison) -> None:
    for trial in read_trials(out, comparison)[bar.n :]:
        bar.update()
        tqdm.write(f"trial {trial.number}: {trial.result} after {trial.seconds:.1f} s")


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("judge_policy", JudgeArgs, judge, argv, (ProgramFailed,))


if __name__ == "__main__":
    main()
