"""Time and accuracy of a decision, compared with plain eager PyTorch on the same weights.

Prints a table; overwrites decisions.json and decisions.png (out/bench).

    python bench/decisions.py --threads 1 --seconds 60
    python bench/decisions.py --device cuda --seconds 8
"""

from __future__ import annotations

import gc
import time
import warnings
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
from torch import Tensor

from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import Model, build_model
from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree
from ebm_policy_ros.inference.chains import Chains
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.methods import InferenceMethod, settings_of
from ebm_policy_ros.interface import Interface
from ebm_policy_ros.policy.file import PolicyFile, save_policy
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.training.data.arrays import load_arrays
from ebm_policy_ros.training.experiments.common import dataset
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
PUSH = ROOT / "config" / "policies" / "ur5e_push.safetensors"
SAMPLE = ROOT / "test" / "data" / "push" / "push_0046_0.mcap"
# The same demonstration as arrays, for a machine that cannot read bags; made by `make gpu-data`.
SAMPLE_ARRAYS = ROOT / ".gpu" / "push.npz"
OBSERVATIONS, MOST = 20, 300
# Factor by which a trial run reduces candidates, observations and grid values.
SMALLER = 32
STATE, CAMERA = {"state": (1, 10)}, {"camera": (2, 180, 240, 3)}
HEAD = HeadConfig("preactivation", 128, 4)
PAPER = "16,384 x 3 of the paper"
Observation = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """A policy built by the benchmark."""

    config: ModelConfig
    search: InferenceMethod = field(default_factory=DerivativeFree)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: STATE)
    size: int = 2
    learned: bool = True
    """True if it is trained, False for random weights."""


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
    """A policy, its search, and the plain implementation for comparison."""

    name: str
    policy: Path
    search: Mapping[str, Any]
    plain: plain.Search
    plain_name: str = "same search"
    target: str = ""
    device: str = "cpu"
    small: bool = False
    """Flag of a trial run."""


@dataclass
class Side:
    """Measurements of one of the two implementations."""

    decide: Callable[[Observation], Any]
    times: list[float] = field(default_factory=list)
    """Time of each decision, ms."""
    actions: list[Tensor] = field(default_factory=list)
    """Action of each decision, shape (D,), in units."""

    def run(self, observation: Observation) -> None:
        """Decide, and store the action and the time."""
        started = time.perf_counter()
        action = self.decide(observation)
        self.times.append(1e3 * (time.perf_counter() - started))
        self.actions.append(torch.as_tensor(np.array(action)).flatten())


def cases(device: str, small: bool = False) -> list[Case]:
    """Cases of a device; `small` ones are for a trial run."""
    energy, each, frames, wide = (policy_file(name, small) for name in MADE)

    def few(count: int) -> int:
        return max(2, count // SMALLER) if small else count

    on: dict[str, Any] = {"device": device, "small": small}
    cpu, gpu = device == "cpu", device != "cpu"
    same = partial(plain.derivative_free, samples=few(16384), evaluations=4)
    paper = partial(plain.derivative_free, samples=few(16384), evaluations=3)
    lean = {"samples": few(1024), "iterations": 1, "refine": 5, "refine_samples": max(4, few(64))}
    two_cores = "p50 <= 15 ms, p99 <= 25 ms, error <= 0.1 %, ratio >= 10, on two cores"
    found = [
        Case("derivative-free, 16,384 x 3", energy, {"samples": few(16384)}, same, **on,
             target="p50 <= 0.25 ms, p99 <= 0.4 ms, ratio >= 15" if gpu else ""),
        Case("refined, 2,048 x 3", energy, {"samples": few(2048), "refine": 3}, paper, PAPER, **on,
             target=two_cores if cpu else ""),
        Case("refined, 1,024 x 1", energy, lean, paper, PAPER, **on,
             target=two_cores if cpu else ""),
        Case("hybrid, 2,048 x 1", energy, {"method": "hybrid", "samples": few(2048)},
             paper, PAPER, **on),
        Case("autoregressive, 1,024 x 3", each, {"samples": few(1024)},
             partial(plain.autoregressive, samples=few(1024), iterations=3), **on),
        Case("Langevin, 512 x 100", energy,
             {"method": "langevin", "samples": few(512), "iterations": few(100), "pool": 1},
             partial(plain.langevin, samples=few(512), iterations=few(100)), **on),
        Case("demo's pixel policy, 1,024 x 3", PUSH, {"samples": few(1024)},
             partial(plain.derivative_free, samples=few(1024), evaluations=4), **on,
             target="p50 <= 10 ms, on two cores" if cpu else ""),
    ]  # fmt: skip
    if gpu or small:
        found += [
            Case("two frames, 2,048 x 3", frames, {"samples": few(2048)},
                 partial(plain.derivative_free, samples=few(2048), evaluations=4),
                 target="p50 <= 0.5 ms, ratio >= 15", **on),
            Case("Langevin, 512 x 200, 24-D", wide,
                 {"method": "langevin", "samples": few(512), "iterations": few(200), "pool": 1},
                 partial(plain.langevin, samples=few(512), iterations=few(200)),
                 target="p50 <= 20 ms, ratio >= 8", **on),
        ]  # fmt: skip
    return found


def policy_file(name: str, small: bool) -> Path:
    """Path of a policy of `MADE`; a small one has random weights."""
    return machine.FOLDER / ("small" if small else "") / f"{name}.safetensors"


def make_policy(path: Path, device: str = "cpu", small: bool = False) -> None:
    """Write a policy of `MADE`."""
    made = MADE[path.stem]
    torch.manual_seed(0)
    if made.learned and not small:
        model = learn_branches(made.config, made.search, path.with_suffix(""), device).cpu()
    else:
        model = build_model(made.config, made.shapes, made.size)
    shape, search = (1, made.size), settings_of(made.search)
    content = PolicyFile(
        model.state_dict(), made.config.to_dict(), dict(made.shapes), shape, None, search, {}
    )
    save_policy(path, content)


def learn_branches(
    config: ModelConfig, search: InferenceMethod, folder: Path, device: str, steps: int = 800
) -> Model:
    """Train on a smooth function of the state with two branches and noise; a minute on a core."""
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
    torch.manual_seed(0)
    model = build_model(config, STATE, 2)
    trainer = Trainer(
        model, data, learning, search, steps=steps, seed=0, folder=folder, device=device
    )
    if not trainer.run():
        raise KeyboardInterrupt
    model.load_state_dict(trainer.best)
    return model.eval().requires_grad_(False)


def observations(policy: Policy) -> list[Observation]:
    """Observations: of the sample bag for the demo's policy, otherwise random as in training."""
    if policy.interface is not None:
        recorded = sample(policy.interface)
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


def sample(interface: Interface) -> Mapping[str, Any]:
    """Streams of the sample bag, (M, ...) each."""
    if SAMPLE_ARRAYS.exists():
        return load_arrays(SAMPLE_ARRAYS).observations
    from ebm_policy_ros.training.data.episodes import read_episode

    return read_episode(SAMPLE, interface).observations


def measure(
    case: Case, seconds: float, limits: Mapping[str, Any], minima: dict[Any, list[Tensor | None]]
) -> dict[str, Any]:
    """Measure a row of the table.

    Args:
        case: Case to measure.
        seconds: Approximate time for the decisions.
        limits: Limits of the machine, from `machine.describe`.
        minima: Brute-force optima of policies measured before; new ones are added.
    """
    with Held(case, False) as ours_held:
        policy = Policy.load(case.policy, case.device, inference=case.search)
        assert policy.inference is not None
        seen = observations(policy)[: 3 if case.small else OBSERVATIONS]
        policy.warm_up()
        policy.decide(seen[0])
    with Held(case, True) as plain_held:
        beside = plain.PlainPolicy(case.policy, case.plain, case.device)
        beside.decide(seen[0])
    sides = Side(lambda seen: policy.decide(seen).action), Side(beside.decide)
    for side in sides:
        side.run(seen[0])
        side.run(seen[0])
    count = int(1e3 * seconds / sum(side.times.pop() for side in sides))
    for side in sides:
        side.times.clear()
        side.actions.clear()
    # Alternating, so that other load on the machine affects both.
    most = MOST if case.device == "cpu" else 10 * MOST  # a GPU is fast
    for i in range(min(most, max(len(seen), count))):
        for side in sides:
            side.run(seen[i % len(seen)])
    ours, other = (np.array(side.times) for side in sides)
    known = case.policy, case.device
    if known not in minima:
        grid = plain.GRID // (SMALLER if case.small else 1)
        minima[known] = [plain.optimum(beside, observation, grid) for observation in seen]
    gflop = beside.flop(seen[0], policy.inference) / 1e9
    # On a GPU candidates are ranked in bfloat16; chains follow exact gradients.
    exact = case.device == "cpu" or isinstance(policy.inference, Chains)
    limit = "fp32" if exact else "bf16"
    row = {
        "case": case.name,
        "device": case.device,
        "n": len(ours),
        **{f"p{q} ms": np.percentile(ours, q) for q in (50, 95, 99)},
        "decisions/s": 1e3 / ours.mean(),
        "GFLOP": gflop,
        "limit": limit,
        "share": 1e3 * gflop / np.median(ours) / limits[f"GFLOP/s {limit}"],
        "MB": ours_held.megabytes,
        "plain": case.plain_name,
        **{f"plain p{q} ms": np.percentile(other, q) for q in (50, 95, 99)},
        "plain MB": plain_held.megabytes,
        "ratio": np.median(other) / np.median(ours),
        **exactness(beside, seen, minima[known], *sides),
        "target": case.target,
    }
    return {k: float(v) if isinstance(v, np.floating) else v for k, v in row.items()}


def exactness(
    beside: plain.PlainPolicy, seen: list[Observation], best: list[Tensor | None], *sides: Side
) -> dict[str, float | None]:
    """Largest distance from the optimum, as a share of the box's width, and energy above it.

    The optimum is the best of brute force and of the actions of both sides. Without brute force no
    distance is given.
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


class Held:
    """Peak memory of a case's decisions, MB; on a GPU, the memory reserved within `with`."""

    def __init__(self, case: Case, plainly: bool) -> None:
        self.megabytes: float | None = None
        self._case, self._plainly = case, plainly

    def __enter__(self) -> Held:
        if self._case.device != "cpu":
            gc.collect()  # earlier policies and their graphs, which have reference cycles
            torch.cuda.empty_cache()
            self._before = torch.cuda.memory_reserved(self._case.device)
        return self

    def __exit__(self, *problem: object) -> None:
        if self._case.small:
            return
        if self._case.device != "cpu":
            # Reserved memory includes that of a graph between two replays.
            held = torch.cuda.memory_reserved(self._case.device) - self._before
            self.megabytes = held / 1e6
            return
        # Measured in a process of its own, which only decides.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            threads = torch.get_num_threads()
            self.megabytes = pool.submit(_hold, self._case, self._plainly, threads).result() / 1e6


def _hold(case: Case, plainly: bool, threads: int) -> int:
    torch.set_num_threads(threads)
    policy = Policy.load(case.policy, case.device, inference=case.search)
    seen = observations(policy)[:5]
    beside = plain.PlainPolicy(case.policy, case.plain, case.device) if plainly else None
    for observation in seen:
        beside.decide(observation) if beside else policy.decide(observation)
    return machine.peak_memory()


def table_row(row: Mapping[str, Any] | None = None) -> str:
    """Row of a Markdown table; the header if no row is given."""
    columns = {
        "case": "{case}",
        "n": "{n}",
        "p50 / p95 / p99 ms": "{p50 ms:.2f} / {p95 ms:.2f} / {p99 ms:.2f}",
        "decisions/s": "{decisions/s:.0f}",
        "GFLOP": "{GFLOP:.2f}",
        "of rate": "{share:.0%}",
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


def draw(rows: list[dict[str, Any]], about: Mapping[str, Any], path: Path) -> None:
    """Draw bars to the median, with whiskers to the 99th percentile."""
    from matplotlib.figure import Figure

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
    axes.set_title(f"{about['processor']}, threads: {about['threads']}", fontsize=10)
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print and write the results."""
    options = machine.options(__doc__, seconds=60.0)
    chosen = cases(options.device, options.small)
    about = machine.describe(options.device)
    print(about, table_row(), sep="\n", flush=True)
    rows: list[dict[str, Any]] = []
    minima: dict[Any, list[Tensor | None]] = {}
    for case in chosen:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")  # each policy warns about what it does not use
            try:
                if not case.policy.exists():
                    case.policy.parent.mkdir(parents=True, exist_ok=True)
                    make_policy(case.policy, case.device, options.small)
                row = measure(case, options.seconds, about, minima)
                print(table_row(row), flush=True)
            except Exception as error:  # keep the other rows
                row = {"case": case.name, "target": case.target, "failed": repr(error)}
                print(f"{case.name}: {error!r}", flush=True)
        row["warnings"] = [str(warning.message) for warning in told if _matters(warning)]
        rows.append(row)
        machine.write_rows(options.out / "decisions.json", about, rows)
    measured = [row for row in rows if "failed" not in row]
    if measured:
        draw(measured, about, options.out / "decisions.png")
    if len(measured) < len(rows):
        raise SystemExit(f"{len(rows) - len(measured)} of {len(rows)} cases failed")


def _matters(warning: warnings.WarningMessage) -> bool:
    return any(word in str(warning.message) for word in ("CUDA graph of", "kernel"))


if __name__ == "__main__":
    main()
