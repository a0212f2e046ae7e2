"""Push-T from human demonstrations (Chi et al. 2023, Diffusion Policy).

The action is a chunk of the next positions, relative to the disc, as coefficients of its principal
components: four hold 99 % of the variance of eight positions, so the search runs over these. Each
demonstration is used twice, the second time mirrored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ebm_policy_ros.energy.convolutions import ImageEncoderConfig
from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.models import ImplicitModel, Kind, Model, ModelConfig
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.methods import InferenceMethod
from ebm_policy_ros.training.experiments.common import (
    Choose,
    decide,
    draw,
    learn,
    write_results,
)
from ebm_policy_ros.training.experiments.pusht_data import (
    PAPERS,
    Basis,
    Numbers,
    Sees,
    demonstrations,
    observe,
)
from ebm_policy_ros.training.experiments.tee import STEPS, Tees
from ebm_policy_ros.training.learning.config import LearningConfig
from ebm_policy_ros.training.learning.negatives import NegativesConfig
from ebm_policy_ros.util.cli import run_command

EXECUTED = 8


def rollout(
    choose: Choose, basis: Basis, seeds: Sequence[int], published: bool, sees: Sees = "state"
) -> Numbers:
    """Score of each initial state: the largest min(coverage / 0.95, 1) within 300 steps."""
    tees = Tees(len(seeds))
    tees.reset(seeds, published)
    for step in range(STEPS):
        place = step % EXECUTED
        if place == 0:
            seen = observe(tees.states, tees.pictures() if sees == "picture" else None)
            batch = {name: torch.from_numpy(values)[:, None] for name, values in seen.items()}
            targets = basis.decode(choose(batch).double().numpy()) + tees.states[:, None, :2]
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
    """Model, training and search of one method."""

    model: ModelConfig
    steps: int
    """Batches of training."""
    search: InferenceMethod = _SEARCH
    drawn: bool = False
    """True if the action is sampled, False for that of lowest energy."""
    learning: LearningConfig = _LEARNING

    @property
    def sees(self) -> Sees:
        """Kind of observation of the policy."""
        return "picture" if "picture" in self.model.streams else "state"


def _model(kind: Kind, width: int, *streams: str) -> ModelConfig:
    image = ImageEncoderConfig("residual", (32, 64, 64), (2, 2, 1))
    head = HeadConfig(width=width)
    return ModelConfig(kind, streams or ("state",), image, trunk_skip=True, head=head)


_ENERGY, _PICTURE = _model("energy", 128), _model("energy", 128, "picture", "disc")
_DRAW = DerivativeFree(512, 3, noise_shrink=0.6)
_SHIFTED = replace(_LEARNING, image_shift=4)
# The sampled and the lowest action of an energy come from the same training.
METHODS = {
    "energy, drawn": Method(_ENERGY, 15000, _DRAW, drawn=True),
    "energy, lowest": Method(_ENERGY, 15000),
    "regression (MSE)": Method(_model("explicit", 256), 15000),
    "flow matching": Method(_model("flow", 256), 15000),
    "two-step regression": Method(_model("two_step", 256), 15000),
    "pictures, energy, drawn": Method(_PICTURE, 30000, _DRAW, drawn=True, learning=_SHIFTED),
    "pictures, energy, lowest": Method(_PICTURE, 30000, learning=_SHIFTED),
    "pictures, regression (MSE)": Method(
        _model("explicit", 256, "picture", "disc"), 30000, learning=_SHIFTED
    ),
}
_STATES = tuple(name for name, method in METHODS.items() if method.sees == "state")


@dataclass(frozen=True)
class PushTArgs:
    """Push a T onto its goal; trained on human demonstrations."""

    data: Path
    """Zarr folder of the demonstrations, or an .npz file of them."""
    out: Path
    """Folder for the results; existing results are not computed again."""
    methods: tuple[str, ...] = _STATES
    """Methods to run; those with images need a GPU."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    everything: tuple[bool, ...] = (False,)
    """Demonstrations to use: false for the paper's 90 episodes, true for all."""
    steps: int | None = None
    """Batches of training. Default: the method's own number."""
    starts: int = 50
    """Number of initial states of the evaluation, the same for all policies."""
    first: int = 100_000
    """Seed of the first initial state."""
    device: str = "auto"
    """Device: auto (CUDA if available), cpu, cuda or cuda:N."""
    train_only: bool = False
    """Only train. Run the command again without this option to evaluate, which needs gym-pusht."""
    table: bool = False
    """Only collect existing results."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown:
            raise ValueError(f"methods: got {unknown[0]!r}, expected some of {', '.join(METHODS)}")
        if not self.seeds or not self.everything or self.starts < 1:
            raise ValueError("seeds, everything and starts: expected at least one")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps: got {self.steps}, expected an integer >= 1")


def train(args: PushTArgs, name: str, everything: bool, seed: int) -> tuple[Model, Basis, float]:
    """Train a method; return the model, the basis of its actions, and the minutes of training."""
    method = METHODS[name]
    data, basis = demonstrations(args.data, everything, method.sees)
    kind = method.model.kind if method.sees == "state" else f"{method.model.kind}_pictures"
    model, minutes = learn(
        method.model,
        data,
        method.learning,
        _SEARCH,
        steps=args.steps or method.steps,
        seed=seed,
        folder=args.out / "runs" / _key(kind, everything, seed),
        device=args.device,
    )
    return model, basis, minutes


def evaluate(args: PushTArgs, name: str, everything: bool, seed: int) -> dict[str, Any]:
    """Train one policy and evaluate it on every initial state."""
    method = METHODS[name]
    model, basis, minutes = train(args, name, everything, seed)
    if method.drawn:
        assert isinstance(model, ImplicitModel)
        choose = draw(model, method.search, seed)
    else:
        choose = partial(decide, model, inference=method.search)
    seeds = range(args.first, args.first + args.starts)
    scores = {
        kind: rollout(choose, basis, seeds, kind == "paper", method.sees).tolist()
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
    return f"{words}_{'all' if everything else PAPERS}_{seed}"


def run(args: PushTArgs) -> None:
    """Compute the missing results, and collect all of them."""
    torch.set_num_threads(1)
    results = []
    for everything in args.everything:
        for name in args.methods:
            for seed in args.seeds:
                if args.train_only:
                    train(args, name, everything, seed)
                    continue
                path = args.out / "results" / f"{_key(name, everything, seed)}.json"
                if not path.exists() and not args.table:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    result = evaluate(args, name, everything, seed)
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
    if not args.train_only:
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
            episodes = "all" if everything else str(PAPERS)
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
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("pusht", PushTArgs, run, argv)


if __name__ == "__main__":
    main()
