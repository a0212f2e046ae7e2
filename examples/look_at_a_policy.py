"""Load a shipped policy, decide on a recorded observation, and draw the energy of all actions.

python examples/look_at_a_policy.py --out out/examples
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ebm_policy_ros import Policy, read_episode

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/examples"))
    parser.add_argument("--step", type=int, default=20, help="step of the recorded episode")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    policy = Policy.load(ROOT / "config/policies/ur5e_push.safetensors", device="cpu")
    print(policy)
    assert policy.interface is not None
    bag = next(path.parent for path in (ROOT / "test/data/push").rglob("metadata.yaml"))
    episode = read_episode(bag, policy.interface)
    seen = episode.observation(args.step)
    decision = policy.decide(seen, modes=4)
    print(decision)
    print(f"demonstrated: {episode.actions[args.step].tolist()}")
    low, high = policy.action_box(seen)
    x, y = (np.linspace(low[i], high[i], 120, dtype=np.float32) for i in (0, 1))
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    energies = policy.energies(seen, grid.reshape(-1, 2)).reshape(len(y), len(x))
    figure = Figure((9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(seen["camera"][-1])
    left.set_title("camera")
    right.contourf(x, y, energies, 40)
    right.plot(*decision.action[0], "r*", markersize=14, label="decided")
    right.plot(*episode.actions[args.step].ravel()[:2], "wx", label="demonstrated")
    right.set(title="energy", xlabel="linear.x (m/s)", ylabel="linear.y (m/s)")
    right.legend()
    figure.savefig(args.out / "look_at_a_policy.png")
    print(f"{args.out / 'look_at_a_policy.png'}: camera image and energy")


if __name__ == "__main__":
    main()
