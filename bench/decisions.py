"""How long a decision takes and how exact it is, beside plain eager PyTorch on the same weights.

Prints a table; writes out/bench/decisions.json and decisions.png in place of older ones.

    python bench/decisions.py --threads 1 --seconds 60
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import machine
import numpy as np
import plain
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.models import Model, ModelConfig, build_model
from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.methods import Optimiser, settings_of
from ebm_policy_ros.policy import Policy
from ebm_policy_ros.policy_file import PolicyFile, save_policy
from ebm_policy_ros.training.bags import read_episode
from ebm_policy_ros.training.experiments.common import dataset, learn
from ebm_policy_ros.training.learning import LearningConfig

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "out" / "bench"
PUSH = ROOT / "config" / "policies" / "ur5e_push.safetensors"
SAMPLE = ROOT / "test" / "data" / "push" / "push_0046_0.mcap"
OBSERVATIONS, MOST = 20, 300
STATE, CAMERA = {"state": (1, 10)}, {"camera": (2, 180, 240, 3)}
HEAD = HeadConfig("preactivation", 128, 4)
PAPER = "16,384 x 3 of the paper"
Observation = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """A policy that the benchmark makes itself."""

    config: ModelConfig
    search: Optimiser = field(default_factory=DerivativeFree)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: STATE)
    size: int = 2
    learned: bool = True
    """Whether it is trained, or has random weights."""


MADE = {
    "energy": Made(ModelConfig("energy", ("state",), trunk_depth=0, head=HEAD)),
    "autoregressive": Made(
        ModelConfig("autoregressive", ("state",), trunk_depth=0, head=HEAD),
        AutoregressiveDerivativeFree(),
    ),
    "frames": Made(
        ModelConfig("energy", ("camera",), head=HeadConfig("dense_residual", 1024)),
        shapes=CAMERA, learned=False,
    ),
    "wide": Made(
        ModelConfig("energy", ("state",), trunk_depth=0, head=HeadConfig("mlp", 512, 8)),
        size=24, learned=False,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A policy, how it searches, and what stands beside it."""

    name: str
    policy: Path
    search: Mapping[str, Any]
    plain: plain.Search
    plain_name: str = "same search"
    target: str = ""
    device: str = "cpu"


@dataclass
class Side:
    """What one of two implementations did."""

    decide: Callable[[Observation], Any]
    times: list[float] = field(default_factory=list)
    """Milliseconds."""
    actions: list[Tensor] = field(default_factory=list)
    """Shape (D,) each, in units."""

    def run(self, observation: Observation) -> None:
        """Decide, and note what and how fast."""
        started = time.perf_counter()
        action = self.decide(observation)
        self.times.append(1e3 * (time.perf_counter() - started))
        self.actions.append(torch.as_tensor(np.array(action)).flatten())


def cases() -> list[Case]:
    """What is measured on this machine."""
    energy, each, frames, wide = (FOLDER / f"{name}.safetensors" for name in MADE)
    same = partial(plain.derivative_free, samples=16384, evaluations=4)
    paper = partial(plain.derivative_free, samples=16384, evaluations=3)
    found = [
        Case("derivative-free, 16,384 x 3", energy, {}, same),
        Case("refined, 2,048 x 3", energy, {"samples": 2048, "refine": 3}, paper, PAPER,
             "p50 <= 15 ms, p99 <= 25 ms, error <= 0.1 %, ratio >= 10, on two cores"),
        Case("refined, 1,024 x 1", energy,
             {"samples": 1024, "iterations": 1, "refine": 5, "refine_samples": 64},
             paper, PAPER,
             "p50 <= 15 ms, p99 <= 25 ms, error <= 0.1 %, ratio >= 10, on two cores"),
        Case("hybrid, 2,048 x 1", energy, {"method": "hybrid"}, paper, PAPER),
        Case("autoregressive, 1,024 x 3", each, {},
             partial(plain.autoregressive, samples=1024, iterations=3)),
        Case("Langevin, 512 x 100", energy, {"method": "langevin"},
             partial(plain.langevin, samples=512, iterations=100)),
        Case("demo's pixel policy, 1,024 x 3", PUSH, {},
             partial(plain.derivative_free, samples=1024, evaluations=4),
             target="p50 <= 10 ms, on two cores"),
    ]  # fmt: skip
    if torch.cuda.is_available():
        found += [
            Case("GPU: derivative-free, 16,384 x 3", energy, {}, same,
                 target="p50 <= 0.25 ms, p99 <= 0.4 ms, ratio >= 15", device="cuda"),
            Case("GPU: two frames, 2,048 x 3", frames, {"samples": 2048},
                 partial(plain.derivative_free, samples=2048, evaluations=4),
                 target="p50 <= 0.5 ms, ratio >= 15", device="cuda"),
            Case("GPU: Langevin, 512 x 200, 24-D", wide, {"method": "langevin", "iterations": 200},
                 partial(plain.langevin, samples=512, iterations=200),
                 target="p50 <= 20 ms, ratio >= 8", device="cuda"),
        ]  # fmt: skip
    return found


def make_policy(path: Path) -> None:
    """Write one of `MADE`."""
    made = MADE[path.stem]
    torch.manual_seed(0)
    if made.learned:
        model = learn_branches(made.config, made.search, path.with_suffix(""))
    else:
        model = build_model(made.config, made.shapes, made.size)
    shape, search = (1, made.size), settings_of(made.search)
    content = PolicyFile(
        model.state_dict(), made.config.to_dict(), dict(made.shapes), shape, None, search, {}
    )
    save_policy(path, content)


def learn_branches(
    config: ModelConfig, search: Optimiser, folder: Path, steps: int = 800
) -> Model:
    """Train on a smooth function of the state with two branches and noise: a minute of a core."""
    random = np.random.default_rng(0)
    states = random.normal(size=(8000, 10)).astype(np.float32)
    smooth = np.tanh(states @ random.normal(size=(10, 2)) / 10**0.5)
    branch = random.choice([-0.4, 0.4], size=(len(states), 1), p=[0.3, 0.7])
    noise = random.normal(0, 0.03, smooth.shape)
    actions = (0.6 * smooth + branch * [1, -1] + noise).astype(np.float32)
    learning = LearningConfig(
        choose_by="rank", validate_every=steps, validate_frames=32, checkpoint_every=steps
    )
    data = dataset({"state": states}, actions)
    model, _ = learn(
        config, data, learning, search, steps=steps, seed=0, folder=folder, device="cpu"
    )
    return model


def observations(policy: Policy) -> list[Observation]:
    """Of the sample bag for the demo's policy; else random ones, as those learned from."""
    if policy.interface is not None:
        recorded = read_episode(SAMPLE, policy.interface).observations
        steps = np.linspace(0, len(recorded["camera"]) - 1, OBSERVATIONS).astype(int)
        return [{name: values[i] for name, values in recorded.items()} for i in steps]
    random = np.random.default_rng(1)

    def one(shape: tuple[int, ...]) -> Any:
        if len(shape) == 4:
            return random.integers(0, 256, shape, np.uint8)
        return random.normal(size=shape).astype(np.float32)

    return [
        {name: one(shape) for name, shape in policy.shapes.items()} for _ in range(OBSERVATIONS)
    ]


def measure(
    case: Case, seconds: float, limits: Mapping[str, Any], minima: dict[Any, list[Tensor | None]]
) -> dict[str, Any]:
    """A row of the table.

    Args:
        case: What to measure.
        seconds: About how long to decide.
        limits: Of the machine, as `machine.describe` gives them.
        minima: By brute force, of policies that were measured before; others are added.
    """
    policy = Policy.load(case.policy, case.device, optimiser=case.search)
    beside = plain.PlainPolicy(case.policy, case.plain, case.device)
    assert policy.optimiser is not None
    seen = observations(policy)
    sides = Side(lambda seen: policy.decide(seen).action), Side(beside.decide)
    policy.warm_up()
    for side in sides:
        side.run(seen[0])
        side.run(seen[0])
    count = int(1e3 * seconds / sum(side.times.pop() for side in sides))
    for side in sides:
        side.times.clear()
        side.actions.clear()
    # One after the other, so that what else the machine does slows both.
    for i in range(min(MOST, max(OBSERVATIONS, count))):
        for side in sides:
            side.run(seen[i % len(seen)])
    ours, other = (np.array(side.times) for side in sides)
    known = case.policy, case.device
    if known not in minima:
        minima[known] = [plain.optimum(beside, observation) for observation in seen]
    gflop = beside.flop(seen[0], policy.optimiser) / 1e9
    row = {
        "case": case.name,
        "device": case.device,
        "n": len(ours),
        **{f"p{q} ms": np.percentile(ours, q) for q in (50, 95, 99)},
        "decisions/s": 1e3 / ours.mean(),
        "GFLOP": gflop,
        "share of fp32": 1e3 * gflop / np.median(ours) / limits["GFLOP/s fp32"],
        "MB": peak(case, False),
        "plain": case.plain_name,
        **{f"plain p{q} ms": np.percentile(other, q) for q in (50, 95, 99)},
        "plain MB": peak(case, True),
        "ratio": np.median(other) / np.median(ours),
        **exactness(beside, seen, minima[known], *sides),
        "target": case.target,
    }
    return {k: float(v) if isinstance(v, np.floating) else v for k, v in row.items()}


def exactness(
    beside: plain.PlainPolicy, seen: list[Observation], best: list[Tensor | None], *sides: Side
) -> dict[str, float | None]:
    """Largest distance from the optimum, as a share of the box's width, and energy above it.

    The optimum is the best of brute force and of what both sides found; without brute force no
    distance is told.
    """
    found = [
        plain.errors(beside, observation, torch.stack(actions), known)
        for observation, known, *actions in zip(
            seen, best, *(side.actions[: len(seen)] for side in sides), strict=True
        )
    ]
    (error, plain_error), (above, plain_above) = torch.stack(found).amax(dim=0).tolist()
    return {
        "error": None if best[0] is None else error,
        "energy above": above,
        "plain error": None if best[0] is None else plain_error,
        "plain energy above": plain_above,
    }


def peak(case: Case, plainly: bool) -> float:
    """MB that a process which only decides holds at most, or has of the GPU."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_hold, case, plainly, torch.get_num_threads()).result() / 1e6


def _hold(case: Case, plainly: bool, threads: int) -> int:
    torch.set_num_threads(threads)
    policy = Policy.load(case.policy, case.device, optimiser=case.search)
    seen = observations(policy)[:5]
    beside = plain.PlainPolicy(case.policy, case.plain, case.device) if plainly else None
    for observation in seen:
        beside.decide(observation) if beside else policy.decide(observation)
    return machine.peak_memory(case.device)


def table_row(row: Mapping[str, Any] | None = None) -> str:
    """A line of a Markdown table; without a row its head."""
    columns = {
        "case": "{case}",
        "n": "{n}",
        "p50 / p95 / p99 ms": "{p50 ms:.2f} / {p95 ms:.2f} / {p99 ms:.2f}",
        "decisions/s": "{decisions/s:.0f}",
        "GFLOP": "{GFLOP:.2f}",
        "of fp32 rate": "{share of fp32:.0%}",
        "MB": "{MB:.0f}",
        "error": "{error:.3%}",
        "energy above": "{energy above:.0e}",
        "plain": "{plain}",
        "its p50 ms": "{plain p50 ms:.2f}",
        "its MB": "{plain MB:.0f}",
        "its error": "{plain error:.3%}",
        "its energy above": "{plain energy above:.0e}",
        "ratio": "{ratio:.1f}",
        "target": "{target}",
    }
    if row is None:
        return "| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|"
    known = {name: float("nan") if value is None else value for name, value in row.items()}
    return "| " + " | ".join(cell.format_map(known) for cell in columns.values()) + " |"


def draw(rows: list[dict[str, Any]], facts: Mapping[str, Any], path: Path) -> None:
    """Bars to the median, whiskers to the 99th percentile."""
    figure = Figure(figsize=(9, 0.75 * len(rows) + 1.4), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    for offset, name, label, colour in (
        (-0.2, "", "this package", "#1f6f8b"),
        (0.2, "plain ", "plain eager PyTorch", "#c9a86a"),
    ):
        middle = np.array([row[f"{name}p50 ms"] for row in rows])
        worst = np.array([row[f"{name}p99 ms"] for row in rows])
        reach = np.stack((np.zeros_like(middle), worst - middle))
        axes.barh(places + offset, middle, 0.38, xerr=reach, label=label, color=colour, capsize=3)
        for y, value, end in zip(places + offset, middle, worst, strict=True):
            axes.text(end * 1.12, y, f"{value:.3g}", va="center", fontsize=8)
    axes.set_yticks(places, [f"{row['case']}\nplain: {row['plain']}" for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    ends = [row[name] for row in rows for name in ("p50 ms", "plain p50 ms", "p99 ms")]
    axes.set_xlim(min(ends) / 3, 2 * max(ends))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("ms a decision: median, whisker to the 99th percentile")
    machines = [f"{x['processor']}, threads: {x['threads']}" for x in facts.values()]
    axes.set_title("\n".join(machines), fontsize=10)
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print, write."""
    options = machine.options(__doc__, seconds=60.0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    chosen = cases()
    for case in chosen:
        if not case.policy.exists():
            make_policy(case.policy)
    facts = {name: machine.describe(name) for name in {case.device: None for case in chosen}}
    print(json.dumps(facts, indent=1), table_row(), sep="\n", flush=True)
    rows: list[dict[str, Any]] = []
    minima: dict[Any, list[Tensor | None]] = {}
    for case in chosen:
        rows.append(measure(case, options.seconds, facts[case.device], minima))
        print(table_row(rows[-1]), flush=True)
    content = json.dumps({"machine": facts, "rows": rows}, indent=1)
    (FOLDER / "decisions.json").write_text(content)
    draw(rows, facts, FOLDER / "decisions.png")


if __name__ == "__main__":
    main()
