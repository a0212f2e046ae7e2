"""Learn from demonstrations in which two actions are right, and show both answers.

python examples/learn_two_answers.py --out out/examples
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from ebm_policy_ros import ModelConfig, Policy, TrainConfig, train


def demonstrations(path: Path) -> None:
    """Write 50 episodes: the tool is at x, and the demonstrator goes to x + 0.3 or to x - 0.3."""
    random = np.random.default_rng(0)
    x = random.uniform(-0.5, 0.5, (500, 1)).astype(np.float32)
    side = random.choice([-0.3, 0.3], (500, 1)).astype(np.float32)
    np.savez(
        path,
        **{"observation/tool": x},
        actions=x + side + random.normal(0, 0.01, (500, 1)).astype(np.float32),
        episode_ends=np.arange(10, 501, 10),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/examples"))
    # A folder of its own for each run: none uses what an earlier one left.
    out = parser.parse_args().out / time.strftime("two_answers-%Y%m%d-%H%M%S")
    out.mkdir(parents=True)
    demonstrations(out / "demos.npz")
    for kind in ("energy", "explicit"):
        run = out / kind
        model = ModelConfig(kind=kind, trunk_width=64)
        train(TrainConfig(out / "demos.npz", run, steps=600, device="cpu", threads=1, model=model))
        policy = Policy.load(run / "policy.safetensors", device="cpu")
        decision = policy.decide({"tool": np.array([[0.1]], np.float32)}, modes=4)
        print(f"{kind}: at 0.1 it goes to {decision.action.item():.2f}")
        for mode in decision.modes:
            print(f"    {mode.action.item():+.2f} with probability {mode.probability:.2f}")
    print("right are 0.4 and -0.2; the mean of the two, 0.1, is what nobody demonstrated")


if __name__ == "__main__":
    main()
