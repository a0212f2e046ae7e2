"""replay_demo: recorded episodes through the real policy node, before it may move an arm."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import yaml
from matplotlib.figure import Figure

from ebm_policy_ros.bags.discovery import find_bags, is_bag
from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.policy.file import PolicyFile, load_policy_file
from ebm_policy_ros.sim.subprocesses import Program, ProgramFailed, failure_of, running
from ebm_policy_ros.training.data.bag_folder import interface_differences
from ebm_policy_ros.training.data.episodes import read_recorded_interface
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.resources import interface_path, policy_path

_RESULTS = "replay.jsonl"
# Multiple of the error on held-out demonstrations: observations on the robot's clock differ.
_TOLERANCE = 2.0
_SHOWN = 6


@dataclass(frozen=True)
class ReplayArgs:
    """Play recorded episodes in real time to policy_node, which only proposes commands.

    It tells how far the proposals are from what was demonstrated, how long they took and what the
    node's supervision would have done. The exit code is 1 if the policy fails a check.
    """

    data: Path
    """Bag, or folder of bags."""
    out: Path | None = None
    """Folder for replay.json, replay.png and logs; by default a new one, called by the time."""
    policy: str = "ur5e_push"
    """Policy file, or the bare name of a shipped one."""
    interface: str = ""
    """Interface file of the robot, or the bare name of a shipped one; empty: the policy's."""
    episodes: int = 3
    """Most bags to play, evenly spread over the folder."""
    device: str = "auto"
    """Device on which the policy decides: auto, cpu, cuda or cuda:N."""
    max_error: float | None = None
    """Largest mean distance from the demonstrated action, in its unit; by default twice that on
    the demonstrations held out from training, where the policy knows it."""
    max_latency: float | None = None
    """Largest time from an image to its command, 99th percentile, ms; by default one period."""
    max_unsure: float = 0.05
    """Largest share of decisions whose observation is not familiar."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"episodes: got {self.episodes}, expected an integer >= 1")


class Check(NamedTuple):
    """Condition to be met before the policy may move an arm."""

    name: str
    value: float
    limit: float | None
    """Largest value that passes; None: there is no limit."""

    @property
    def passed(self) -> bool:
        """True if the value is within its limit."""
        return self.limit is None or self.value <= self.limit


def replay_demo(args: ReplayArgs) -> None:
    """Play the bags, print the findings, and end with code 1 if a check failed."""
    policy = load_policy_file(policy_path(args.policy))
    interface = load_interface(interface_path(args.interface)) if args.interface else None
    interface = interface or policy.interface
    if interface is None:
        raise ValueError(f"{args.policy}: names no robot; give one with --interface")
    bags = [args.data] if is_bag(args.data) else find_bags(args.data)
    bags = [bags[i] for i in sorted({*np.linspace(0, len(bags) - 1, args.episodes).astype(int)})]
    for bag in bags:
        if differences := interface_differences(read_recorded_interface(bag), interface):
            raise BagError(f"{bag}: recorded with another interface: {differences[0]}")
    out = args.out or Path("out", time.strftime("replay-%Y%m%d-%H%M%S"))
    if out.exists():
        raise FileExistsError(f"{out}: exists; choose another --out")
    out.mkdir(parents=True)
    results = _play(args, out, bags, interface)
    checks = check(args, policy, interface, results)
    content = {
        "policy": args.policy,
        "ready": all(c.passed for c in checks),
        "checks": [{**c._asdict(), "passed": c.passed} for c in checks],
        "counts": _counts(results),
        "times (ms, p50 / p95 / p99)": results[-1]["times"],
        "episodes": [{k: r[k] for k in ("bag", "steps", "counts")} for r in results],
    }
    (out / "replay.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    draw(results, interface).savefig(out / "replay.png", dpi=100)
    _tell(content, out)
    if not content["ready"]:
        raise SystemExit(1)


def _play(
    args: ReplayArgs, out: Path, bags: list[Path], interface: Interface
) -> list[dict[str, Any]]:
    """Play the bags in replay_node and return its notes on each."""
    shown = out / "interface.yaml"
    shown.write_text(yaml.safe_dump(interface.to_dict(), sort_keys=False), encoding="utf-8")
    path = out / _RESULTS
    policy = {
        "policy": str(policy_path(args.policy).resolve()),
        "interface": str(shown.resolve()),
        "device": args.device,
        "autostart": True,
        "publish_commands": False,
        # Unsure for long, it stands still and then stops, as on the arm; slowed down before, it
        # would look like an error.
        "when_unsure": "slow",
        "unsure_speed": 1.0,
    }
    player = {
        "bags": [str(bag.resolve()) for bag in bags],
        "interface": str(shown.resolve()),
        "results": str(path.resolve()),
    }
    programs = [Program("nodes.policy.node", policy), Program("sim.replay.node", player)]
    with running(programs, out / "logs") as processes:
        while processes["replay_node"].poll() is None:
            if (code := processes["policy_node"].poll()) is not None:
                raise failure_of("policy_node", code, out / "logs" / "policy_node.log")
            time.sleep(0.2)
        if code := processes["replay_node"].returncode:
            raise failure_of("replay_node", code, out / "logs" / "replay_node.log")
    results = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.unlink()
    for result in results:
        if not result["pairs"]:
            raise BagError(f"{result['bag']}: not a single proposal beside its commands")
    return results


def check(
    args: ReplayArgs, policy: PolicyFile, interface: Interface, results: list[dict[str, Any]]
) -> list[Check]:
    """Return the checks that decide whether the policy may move an arm."""
    differences = np.concatenate([_differences(result) for result in results])
    counts, horizon = _counts(results), interface.action.horizon
    known = policy.training.get("held_out", {}).get("action_error")
    known = known or policy.training.get("held_out_action_error")
    usual = _TOLERANCE * known if known and horizon == 1 else None
    latency = [float(r["times"]["stamp to command"].split(" / ")[-1]) for r in results]
    decisions = max(1, counts["decisions"])
    stops = counts["times hold"] + counts["times stopped"]
    interventions = sum(v for name, v in counts.items() if name.startswith("guard "))
    period = 1e3 / interface.rate
    return [
        Check(
            f"action error ({interface.action.unit})",
            float(np.linalg.norm(differences, axis=1).mean()),
            usual if args.max_error is None else args.max_error,
        ),
        Check(
            "stamp to command, p99 (ms)",
            max(latency),
            period if args.max_latency is None else args.max_latency,
        ),
        Check(
            "share of unsure decisions", counts["unsure decisions"] / decisions, args.max_unsure
        ),
        Check("times it would have stood still", stops, 0),
        Check("late decisions", counts["late decisions"], 0),
        Check("guard interventions per decision", interventions / decisions, None),
    ]


def _differences(result: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Subtract demonstrated from proposed actions, without the gripper. Shape (M, D)."""
    demonstrated = np.array([pair[1] for pair in result["pairs"]])
    proposed = np.array([pair[2] for pair in result["pairs"]])
    return np.asarray(proposed - demonstrated)


def _counts(results: list[dict[str, Any]]) -> Counter[str]:
    return sum((Counter(result["counts"]) for result in results), Counter())


def draw(results: list[dict[str, Any]], interface: Interface) -> Figure:
    """Draw demonstrated and proposed actions over time."""
    shown = results[:_SHOWN]
    fields = [
        f"{part.field(field)} ({part.interface.command.unit})"
        for part in interface.parts
        for field in part.interface.command.fields
    ]
    figure = Figure((4.5 * len(shown), 2.2 * len(fields)), layout="constrained")
    axes = figure.subplots(len(fields), len(shown), squeeze=False, sharex="col", sharey="row")
    for column, result in enumerate(shown):
        times = [pair[0] for pair in result["pairs"]]
        for row, field in enumerate(fields):
            axis = axes[row][column]
            for place, label, colour in ((1, "demonstrated", "0.3"), (2, "proposed", "C1")):
                axis.plot(times, [p[place][row] for p in result["pairs"]], colour, label=label)
            if column == 0:
                axis.set_ylabel(field)
        axes[0][column].set_title(Path(result["bag"]).name)
        axes[-1][column].set_xlabel("time (s)")
    axes[0][0].legend()
    return figure


def _tell(content: dict[str, Any], out: Path) -> None:
    for found in content["checks"]:
        limit = "" if found["limit"] is None else f"at most {found['limit']:.4g}"
        outcome = ("ok" if limit else "not checked") if found["passed"] else "FAILED"
        print(f"{found['name']:<36} {found['value']:>9.4g}   {limit:<16} {outcome}")
    for name, value in content["times (ms, p50 / p95 / p99)"].items():
        print(f"{name + ', p50 / p95 / p99 (ms)':<48} {value}")
    print(f"{out}: {'ready' if content['ready'] else 'NOT READY to move an arm'}")


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    expected = (ProgramFailed,)
    run_command("replay_demo", ReplayArgs, replay_demo, argv, expected, positional=True)


if __name__ == "__main__":
    main()
