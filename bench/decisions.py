"""How long a decision takes and how exact it is, beside plain eager PyTorch on the same weights.

Prints a table; writes out/bench/decisions.json and decisions.png in place of older ones.

    python bench/decisions.py --threads 1 --seconds 60
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import machine
import numpy as np
import plain
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ebm_policy_ros.energy.convolutions import ImageEncoderConfig
from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.models import Model, ModelConfig, build_model
from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree, joint_energy
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
STATES = 10
OBSERVATIONS = 20
MOST, GRID, CHUNK = 300, 501, 2**15
HEAD = HeadConfig("preactivation", 128, 4)
Observation = dict[str, Any]
PAPER = "16,384 x 3 of the paper"


@dataclass(frozen=True)
class Case:
    """A policy, how it searches, and what stands beside it."""

    name: str
    policy: Path
    search: Mapping[str, Any]
    plain: plain.Search
    plain_name: str = "the same"
    target: str = ""
    device: str = "cpu"


@dataclass
class Side:
    """What one of two implementations did."""

    decide: Callable[[Observation], Any]
    times: list[float] = field(default_factory=list)
    """Seconds."""
    actions: list[Tensor] = field(default_factory=list)
    """One for each observation, shape (D,), in units."""

    def run(self, observation: Observation, keep: bool) -> None:
        """Decide, and note how long that took."""
        started = time.perf_counter()
        action = self.decide(observation)
        self.times.append(time.perf_counter() - started)
        if keep:
            self.actions.append(torch.as_tensor(np.array(action)).flatten())


def cases() -> list[Case]:
    """What is measured on this machine."""
    energy, each = FOLDER / "energy.safetensors", FOLDER / "autoregressive.safetensors"
    found = [
        Case("derivative-free, 16,384 x 3", energy, {}, plain.derivative_free(16384, 4)),
        Case("refined, 2,048 x 3", energy, {"samples": 2048, "refine": 3},
             plain.derivative_free(16384, 3), PAPER,
             "p50 <= 15 ms, p99 <= 25 ms, error <= 0.1 %, ratio >= 10"),
        Case("hybrid, 2,048 x 1, 32 starts", energy, {"method": "hybrid"},
             plain.derivative_free(16384, 3), PAPER),
        Case("autoregressive, 1,024 x 3", each, {}, plain.autoregressive(1024, 3)),
        Case("Langevin, 512 x 100", energy, {"method": "langevin"}, plain.langevin(512, 100)),
        Case("demo's pixel policy, 1,024 x 3", PUSH, {}, plain.derivative_free(1024, 4),
             target="p50 <= 10 ms"),
    ]  # fmt: skip
    if torch.cuda.is_available():
        found += [
            Case("GPU: derivative-free, 16,384 x 3", energy, {}, plain.derivative_free(16384, 4),
                 target="p50 <= 0.25 ms, p99 <= 0.4 ms, ratio >= 15", device="cuda"),
            Case("GPU: two frames, 2,048 x 3", FOLDER / "frames.safetensors",
                 {"samples": 2048}, plain.derivative_free(2048, 4),
                 target="p50 <= 0.5 ms, ratio >= 15", device="cuda"),
            Case("GPU: Langevin, 512 x 200, 24-D", FOLDER / "wide.safetensors",
                 {"method": "langevin", "iterations": 200}, plain.langevin(512, 200),
                 target="p50 <= 20 ms, ratio >= 8", device="cuda"),
        ]  # fmt: skip
    return found


def make_policy(path: Path) -> None:
    """Write a policy file: two learned ones, and for a GPU's sizes two with random weights."""
    kind: Any = "autoregressive" if path.stem == "autoregressive" else "energy"
    search: Optimiser = DerivativeFree()
    shapes: dict[str, tuple[int, ...]] = {"state": (1, STATES)}
    config, size = ModelConfig(kind, ("state",), trunk_depth=0, head=HEAD), 2
    if path.stem == "frames":
        shapes = {"camera": (2, 180, 240, 3)}
        image = ImageEncoderConfig()
        head = HeadConfig("dense_residual", 1024, 1)
        config = ModelConfig(streams=("camera",), image=image, head=head)
    elif path.stem == "wide":
        size, head = 24, HeadConfig("mlp", 512, 8)
        config = ModelConfig(streams=("state",), trunk_depth=0, head=head)
    torch.manual_seed(0)
    if path.stem in ("frames", "wide"):
        model: Model = build_model(config, shapes, size)
    else:
        if kind == "autoregressive":
            search = AutoregressiveDerivativeFree()
        model = learn_branches(config, search, path.with_suffix(""))
    content = PolicyFile(
        model.state_dict(), config.to_dict(), shapes, (1, size), None, settings_of(search), {}
    )
    save_policy(path, content)


def learn_branches(
    config: ModelConfig, search: Optimiser, folder: Path, steps: int = 800
) -> Model:
    """Train on a smooth function of the state with two branches; a minute of a core."""
    random = np.random.default_rng(0)
    states = random.normal(size=(8000, STATES)).astype(np.float32)
    smooth = np.tanh(states @ random.normal(size=(STATES, 2)) / STATES**0.5)
    branch = random.choice([-0.4, 0.4], size=(len(states), 1))
    actions = (0.6 * smooth + branch * [1, -1]).astype(np.float32)
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
    return [
        {
            name: random.integers(0, 256, shape, np.uint8) if len(shape) == 4
            else random.normal(size=shape).astype(np.float32)
            for name, shape in policy.shapes.items()
        }
        for _ in range(OBSERVATIONS)
    ]  # fmt: skip


def measure(case: Case, seconds: float, limits: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table."""
    policy = Policy.load(case.policy, case.device, optimiser=case.search)
    beside = plain.PlainPolicy(case.policy, case.plain, case.device)
    seen = observations(policy)
    sides = [Side(lambda seen: policy.decide(seen).action), Side(beside.decide)]
    policy.warm_up()
    for observation in seen[:3]:
        for side in sides:
            side.run(observation, keep=False)
    pair = sum(min(side.times) for side in sides)
    for side in sides:
        side.times.clear()
    # One after the other, so that what else the machine does slows both.
    for i in range(min(MOST, max(OBSERVATIONS, int(seconds / pair)))):
        for side in sides:
            side.run(seen[i % len(seen)], keep=i < len(seen))
    ours, other = (np.array(side.times) * 1e3 for side in sides)
    assert policy.optimiser is not None
    work = flop(beside, policy.optimiser, seen[0])
    row = {
        "case": case.name, "device": case.device, "n": len(ours),
        **{f"p{q} ms": np.percentile(ours, q) for q in (50, 95, 99)},
        "decisions/s": 1e3 / ours.mean(), "GFLOP": work / 1e9,
        "share of fp32": work / np.median(ours) / 1e6 / limits["GFLOP/s fp32"],
        "MB": peak(case, "ours"), "plain": case.plain_name,
        **{f"plain p{q} ms": np.percentile(other, q) for q in (50, 95, 99)},
        "plain MB": peak(case, "plain"),
        "ratio": np.median(other) / np.median(ours),
        **exactness(beside, seen, *sides), "target": case.target,
    }  # fmt: skip
    return {k: float(v) if isinstance(v, np.floating) else v for k, v in row.items()}


@torch.no_grad()
def exactness(
    beside: plain.PlainPolicy, seen: list[Observation], ours: Side, other: Side
) -> dict[str, float | None]:
    """Largest distance from the optimum, as a share of the box's width, and energy above it."""
    box = beside.model.box
    found: dict[str, list[float]] = {}
    for i, observation in enumerate(seen):
        energies = beside.energies(observation)
        chosen = [box.normalise(side.actions[i].to(box.low)) for side in (ours, other)]
        energy, best = optimum(beside, energies, chosen)
        for name, action in zip(("", "plain "), chosen, strict=True):
            distance = float((action - best).abs().max()) / 2
            above = float(energy(action[None]) - energy(best[None]))
            found.setdefault(f"{name}error", []).append(distance)
            found.setdefault(f"{name}energy above", []).append(above)
    if len(box.low) != 2:  # no grid to tell where the optimum is
        return {name: None if "error" in name else max(found[name]) for name in found}
    return {name: max(values) for name, values in found.items()}


def optimum(
    beside: plain.PlainPolicy, energies: list[Any], chosen: list[Tensor]
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The energy of whole actions (N, D), and the best of brute force and what was found."""
    low, high = beside.model.box.corners()
    (energy, *others) = energies
    if others:
        parts = [lambda actions, part=part: part(actions[0])[None] for part in energies]
        joint = joint_energy(parts, low, high)
        energy = lambda actions: joint(actions[None])[0]  # noqa: E731
    places = list(chosen)
    if len(low) == 2:
        axis = torch.linspace(-1, 1, GRID, device=low.device)
        if others:
            grid = plain.joint_grid(energies, axis)
        else:
            parts = torch.cartesian_prod(axis, axis).split(CHUNK)
            grid = torch.cat([energy(part) for part in parts]).reshape(GRID, GRID)
        places.append(plain.brute_force(energy, grid, axis)[0])
    together = torch.stack(places)
    return energy, together[energy(together).argmin()]


def flop(beside: plain.PlainPolicy, optimiser: Optimiser, observation: Observation) -> float:
    """Of the encoder, and of the head for all candidates whose energy the search asks for.

    A gradient over the candidates counts as a second evaluation.
    """
    with FlopCounterMode(display=False) as encoding, torch.no_grad():
        parts = beside.energies(observation)
    total = float(encoding.get_total_flops())

    def counted(number: int, actions: Tensor) -> Tensor:
        nonlocal total
        first, *rest = (
            m for m in beside.parts[number].modules() if isinstance(m, torch.nn.Linear)
        )
        weights = first.out_features * actions.shape[2] + sum(m.weight.numel() for m in rest)
        total += 2 * weights * actions.shape[1] * (2 if actions.requires_grad else 1)
        return parts[number](actions[0])[None]

    energies = [partial(counted, number) for number in range(len(parts))]
    autoregressive = isinstance(optimiser, AutoregressiveDerivativeFree)
    with torch.no_grad():
        energy: Any = energies if autoregressive else energies[0]
        optimiser.minimize(energy, *beside.model.box.corners())
    return total


def peak(case: Case, side: str) -> float:
    """MB that a process which only decides holds at most, or has of the GPU."""
    command = [sys.executable, __file__, "--only", case.name, "--side", side]
    command += ["--threads", str(torch.get_num_threads())]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout) / 1e6


def print_peak(case: Case, side: str) -> None:
    """Decide a few times, and print the bytes held at most."""
    policy = Policy.load(case.policy, case.device, optimiser=case.search)
    decide: Callable[[Observation], Any] = policy.decide
    seen = observations(policy)[:5]
    if side == "plain":
        decide = plain.PlainPolicy(case.policy, case.plain, case.device).decide
    for observation in seen:
        decide(observation)
    print(machine.peak_memory(case.device))


def print_table(rows: list[dict[str, Any]]) -> None:
    """As Markdown."""
    print(
        "| case | n | p50 / p95 / p99 ms | decisions/s | GFLOP | of fp32 | MB | plain | p50 ms | MB "
        "| ratio | error | energy above | plain error | energy above | target |"
    )
    print("|---" * 16 + "|")
    for row in rows:
        shares = [
            "" if row[name] is None else f"{row[name]:.3%}" for name in ("error", "plain error")
        ]
        print(
            f"| {row['case']} | {row['n']} | {row['p50 ms']:.2f} / {row['p95 ms']:.2f} / "
            f"{row['p99 ms']:.2f} | {row['decisions/s']:.0f} | {row['GFLOP']:.2f} | "
            f"{row['share of fp32']:.0%} | {row['MB']:.0f} | {row['plain']} | "
            f"{row['plain p50 ms']:.2f} | {row['plain MB']:.0f} | {row['ratio']:.1f} | "
            f"{shares[0]} | {row['energy above']:.1e} | {shares[1]} | "
            f"{row['plain energy above']:.1e} | {row['target']} |"
        )


def draw(rows: list[dict[str, Any]], facts: Mapping[str, Any], path: Path) -> None:
    """Bars to the median, whiskers to the 99th percentile."""
    figure = Figure(figsize=(9, 0.9 * len(rows) + 1.6), layout="constrained")
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
    names = [
        row["case"] + ("" if row["plain"] == "the same" else f"\nplain: {row['plain']}")
        for row in rows
    ]
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    right = max(max(row["p99 ms"], row["plain p99 ms"]) for row in rows)
    axes.set_xlim(right=2 * right)
    axes.set_xlabel("ms a decision: median, whisker to the 99th percentile")
    axes.set_title(f"{facts['processor']}, threads: {facts['threads']}, torch {facts['torch']}")
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="of torch, as policy_node's")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a case at most")
    parser.add_argument("--only", help="a case, by the beginning of its name")
    parser.add_argument("--side", choices=["ours", "plain"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    FOLDER.mkdir(parents=True, exist_ok=True)
    chosen = [case for case in cases() if case.name.startswith(options.only or "")]
    if options.side:
        print_peak(chosen[0], options.side)
        return
    for path in {case.policy for case in chosen}:
        if not path.exists():
            make_policy(path)
    facts = {device: machine.describe(device) for device in sorted({c.device for c in chosen})}
    print(json.dumps(facts, indent=1))
    rows = []
    for case in chosen:
        rows.append(measure(case, options.seconds, facts[case.device]))
        print_table(rows[-1:])
    print_table(rows)
    content = json.dumps({"machine": facts, "rows": rows}, indent=1)
    (FOLDER / "decisions.json").write_text(content)
    draw(rows, facts["cpu"] if "cpu" in facts else facts["cuda"], FOLDER / "decisions.png")


if __name__ == "__main__":
    main()
