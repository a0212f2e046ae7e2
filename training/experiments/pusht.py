"""Push-T from human demonstrations (Chi et al. 2023, Diffusion Policy).

The action is a chunk of the next positions, relative to the disc, as coefficients of its
principal components: four hold 99 % of the variance of eight positions, so that this is what is
searched. Every demonstration is learned from twice, also as seen in a mirror.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from ebm_policy_ros.command_line import run_command
from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.models import Kind, ModelConfig, Searched
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.methods import Optimiser
from ebm_policy_ros.training.dataset import Dataset
from ebm_policy_ros.training.exchange.demonstrations import with_windows
from ebm_policy_ros.training.exchange.replay_buffer import read_replay_buffer
from ebm_policy_ros.training.experiments.common import (
    Choose,
    dataset,
    decide,
    draw,
    learn,
    write_results,
)
from ebm_policy_ros.training.experiments.tee import STEPS, Tees, mirror, see
from ebm_policy_ros.training.learning import LearningConfig
from ebm_policy_ros.training.negatives import NegativesConfig

Numbers = npt.NDArray[Any]

HORIZON, EXECUTED, COMPONENTS = 8, 8, 4
# As in the paper's code: its validation takes so many episodes, and its training so many others.
_VALIDATION, _PAPERS, _SPLIT_SEED = 4, 90, 42
# A chunk that leads less far, pixels, shows somebody waiting.
_IDLE = 10.0


@dataclass(frozen=True)
class Basis:
    """Chunks of positions, (M, H, 2), as a few numbers each, of unit variance."""

    components: Numbers
    """Shape (K, 2 H)."""
    scale: Numbers
    """Shape (K,), pixels."""

    @classmethod
    def fit(cls, chunks: Numbers, count: int) -> Basis:
        """The `count` principal components of chunks, about zero: to stay is no action."""
        flat = chunks.reshape(len(chunks), -1)
        _, spreads, components = np.linalg.svd(flat, full_matrices=False)
        return cls(components[:count], spreads[:count] / np.sqrt(len(flat)))

    def encode(self, chunks: Numbers) -> npt.NDArray[np.float32]:
        """Shape (M, K)."""
        flat = chunks.reshape(len(chunks), -1)
        return (flat @ self.components.T / self.scale).astype(np.float32)

    def decode(self, numbers: Numbers) -> Numbers:
        """Shape (M, H, 2)."""
        chunks: Numbers = (numbers * self.scale) @ self.components
        return chunks.reshape(len(numbers), -1, 2)


def papers_episodes(count: int) -> Numbers:
    """Which of `count` episodes the paper trains on: 90, drawn as its code draws them."""
    held = np.random.default_rng(_SPLIT_SEED).choice(count, _VALIDATION, replace=False)
    rest = np.setdiff1d(np.arange(count), held)
    chosen = np.random.default_rng(_SPLIT_SEED).choice(len(rest), _PAPERS, replace=False)
    return np.sort(rest[chosen])


def demonstrations(path: Path, everything: bool) -> tuple[Dataset, Basis]:
    """What to learn from, and what its actions mean.

    Args:
        path: The zarr folder of the demonstrations.
        everything: Whether to take every episode, or the paper's 90.
    """
    data = read_replay_buffer(path, {"state": "data/state"}).dataset
    data = with_windows(data, {}, HORIZON)
    count = len(data.names)
    chosen = np.arange(count) if everything else papers_episodes(count)
    steps = np.isin(data.episodes, chosen)
    states = data.observations["state"][steps, 0].astype(np.float64)
    targets = data.actions[steps].astype(np.float64)
    # Both ways round: a mirrored person pushes a mirrored T the same way.
    mirrored = mirror(targets.reshape(-1, 2)).reshape(targets.shape)
    chunks = np.concatenate([targets, mirrored])
    states = np.concatenate([states, mirror(states)])
    chunks -= states[:, None, :2]
    path_lengths = np.abs(np.diff(chunks, axis=1, prepend=0)).sum(axis=(1, 2))
    moving = path_lengths > _IDLE
    basis = Basis.fit(chunks[moving], COMPONENTS)
    return dataset({"state": see(states[moving])}, basis.encode(chunks[moving])), basis


def rollout(choose: Choose, basis: Basis, seeds: Sequence[int], published: bool) -> Numbers:
    """The score of each initial state: the largest min(coverage / 0.95, 1) within 300 steps."""
    tees = Tees(len(seeds))
    tees.reset(seeds, published)
    for step in range(STEPS):
        place = step % EXECUTED
        if place == 0:
            seen = {"state": torch.from_numpy(see(tees.states))[:, None]}
            targets = basis.decode(choose(seen).double().numpy()) + tees.states[:, None, :2]
        tees.step(targets[:, place])
    return tees.scores


_LEARNING = LearningConfig(
    batch_size=128,
    negatives=NegativesConfig(count=0, around=16, nearest=0.1),
    weight_decay=1e-2,
    held_out=0.0,
    checkpoint_every=1000,
)
_SEARCH = DerivativeFree(512, 3, noise_shrink=0.6, places=2, polish=8)


@dataclass(frozen=True)
class Method:
    """How a model is made, learned and searched."""

    model: ModelConfig
    steps: int
    """Batches of training."""
    search: Optimiser = _SEARCH
    drawn: bool = False
    """Whether the action is a draw, or that of lowest energy."""


def _model(kind: Kind, width: int) -> ModelConfig:
    return ModelConfig(kind, ("state",), trunk_skip=True, head=HeadConfig(width=width))


_ENERGY = _model("energy", 128)
# The first two are one training.
METHODS = {
    "energy, drawn": Method(_ENERGY, 15000, DerivativeFree(512, 3, noise_shrink=0.6), drawn=True),
    "energy, lowest": Method(_ENERGY, 15000),
    "regression (MSE)": Method(_model("explicit", 256), 15000),
}


@dataclass(frozen=True)
class PushTArgs:
    """Push a T onto its place, learned from human demonstrations."""

    data: Path
    """The zarr folder of the demonstrations."""
    out: Path
    """Folder for the results; what is there already is not done again."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Which of the methods."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    everything: tuple[bool, ...] = (False,)
    """Which demonstrations: false, the paper's 90 episodes, true, all of them."""
    starts: int = 50
    """Initial states that judge a policy, the same for all."""
    first: int = 100_000
    """Seed of the first of them."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda or cuda:N."""
    table: bool = False
    """Only gather the results that are there."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown:
            raise ValueError(f"methods: got {unknown[0]!r}, expected some of {', '.join(METHODS)}")
        if not self.seeds or not self.everything or self.starts < 1:
            raise ValueError("seeds, everything and starts: expected at least one")


def judge(args: PushTArgs, name: str, everything: bool, seed: int) -> dict[str, Any]:
    """Train one policy and let it try every initial state."""
    method = METHODS[name]
    data, basis = demonstrations(args.data, everything)
    model, minutes = learn(
        method.model,
        data,
        _LEARNING,
        _SEARCH,
        steps=method.steps,
        seed=seed,
        folder=args.out / "runs" / _key(method.model.kind, everything, seed),
        device=args.device,
    )
    if method.drawn:
        assert isinstance(model, Searched)
        choose = draw(model, method.search, seed)
    else:
        choose = partial(decide, model, optimiser=method.search)
    seeds = range(args.first, args.first + args.starts)
    scores = {
        kind: rollout(choose, basis, seeds, kind == "paper").tolist()
        for kind in ("gym-pusht", "paper")
    }
    return {
        "method": name,
        "everything": everything,
        "seed": seed,
        "starts": [args.first, args.starts],
        "scores": scores,
        "minutes": minutes,
    }


def _key(name: str, everything: bool, seed: int) -> str:
    words = name.replace(",", "").split(" (")[0].replace(" ", "_")
    return f"{words}_{'all' if everything else _PAPERS}_{seed}"


def run(args: PushTArgs) -> None:
    """Do what is not done yet, and gather everything."""
    torch.set_num_threads(1)
    results = []
    for everything in args.everything:
        for name in args.methods:
            for seed in args.seeds:
                path = args.out / "results" / f"{_key(name, everything, seed)}.json"
                if not path.exists() and not args.table:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    result = judge(args, name, everything, seed)
                    path.write_text(json.dumps(result), encoding="utf-8")
                if path.exists():
                    result = json.loads(path.read_text(encoding="utf-8"))
                    if result["starts"] != [args.first, args.starts]:
                        raise ValueError(
                            f"{path}: judged by the initial states {result['starts']}, not by "
                            f"{[args.first, args.starts]}; choose another --out"
                        )
                    results.append(result)
                    print(f"{path.stem}: {np.mean(result['scores']['paper']):.3f}", flush=True)
    _write(args, results)


def _write(args: PushTArgs, results: Sequence[Mapping[str, Any]]) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    rows = []
    for everything in args.everything:
        for name in args.methods:
            found = [r for r in results if (r["method"], r["everything"]) == (name, everything)]
            if not found:
                continue
            episodes = "all" if everything else str(_PAPERS)
            cells = []
            for kind in ("paper", "gym-pusht"):
                means = [float(np.mean(r["scores"][kind])) for r in found]
                cells.append(f"{np.mean(means):.3f} ({min(means):.3f} to {max(means):.3f})")
            scores = np.sort(np.concatenate([r["scores"]["paper"] for r in found]))
            covered = f"{np.mean(scores >= 1):.0%}"
            minutes = max(r["minutes"] for r in found)
            trained = f"{minutes:.1f}" if minutes > 0.1 else "as above"
            rows.append([name, episodes, str(len(found)), *cells, covered, trained])
            shares = 100 * np.arange(1, len(scores) + 1) / len(scores)
            style = "--" if everything else "-"
            axis.step(scores, shares, style, where="post", label=f"{name}, {episodes} episodes")
    axis.set(xlabel="score", ylabel="initial states with at most this score (%)")
    axis.set(xlim=(0, 1), ylim=(0, 50))
    axis.legend(loc="upper left")
    args.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out / "pusht.png", dpi=100)
    columns = [
        "method", "episodes", "trainings", "score, the paper's initial states",
        "score, gym-pusht's", "covered", "longest training (min)",
    ]  # fmt: skip
    write_results(args.out, columns, rows, {"seeds": args.seeds, "results": list(results)})


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    run_command("pusht", PushTArgs, run, argv)


if __name__ == "__main__":
    main()
