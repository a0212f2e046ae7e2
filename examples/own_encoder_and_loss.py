"""Train with an image encoder and a loss of your own: this file names itself in the configuration.

python examples/own_encoder_and_loss.py --out out/examples
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ebm_policy_ros import LearningConfig, ModelConfig, Policy, TrainConfig, train
from ebm_policy_ros.energy.convolutions import ImageEncoderConfig
from ebm_policy_ros.util.plugins import VARIABLE

HERE = Path(__file__).resolve()


class Brightness(nn.Module):
    """Mean brightness of the left and the right half of the last frame."""

    def __init__(self, config: ImageEncoderConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.size = 2
        """Number of features."""

    def forward(self, frames: Tensor) -> Tensor:
        """Features (B, 2) from frames (B, T, H, W, 3) uint8."""
        left, right = frames[:, -1].float().div(255).tensor_split(2, dim=2)
        return torch.stack([half.mean(dim=(1, 2, 3)) for half in (left, right)], dim=1)


def hinge(
    positive: Tensor, negatives: Tensor, temperature: float, masked: Tensor | None
) -> Tensor:
    """Ask that each negative is higher than the demonstrated action by 1."""
    return torch.relu(1 + (positive[:, None] - negatives) / temperature).mean()


def demonstrations(path: Path) -> None:
    """Write pictures whose two halves have grey values; the action is their difference."""
    random = np.random.default_rng(0)
    halves = random.uniform(0, 1, (400, 2)).astype(np.float32)
    frames = np.repeat((255 * halves).astype(np.uint8), 8, axis=1)
    frames = np.broadcast_to(frames[:, None, :, None], (400, 12, 16, 3))
    action = halves[:, :1] - halves[:, 1:]
    ends = np.arange(10, 401, 10)
    np.savez(path, **{"observation/camera": frames}, actions=action, episode_ends=ends)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/examples"))
    # A folder of its own for each run: none uses what an earlier one left.
    out = parser.parse_args().out / time.strftime("own_parts-%Y%m%d-%H%M%S")
    out.mkdir(parents=True)
    sys.path.insert(0, str(HERE.parent))
    demonstrations(out / "demos.npz")
    run = out / "run"
    config = TrainConfig(
        out / "demos.npz",
        run,
        steps=600,
        device="cpu",
        threads=1,
        model=ModelConfig(image=ImageEncoderConfig(network=f"{HERE.stem}.Brightness")),
        learning=LearningConfig(loss=f"{HERE.stem}.hinge", precision="fp32"),
    )
    train(config)
    # A policy file imports nothing that was not declared.
    os.environ[VARIABLE] = HERE.stem
    policy = Policy.load(run / "policy.safetensors", device="cpu")
    frame = np.zeros((1, 12, 16, 3), np.uint8)
    frame[:, :, :8] = 204
    print(policy)
    print(f"left 0.8, right 0: {policy.decide({'camera': frame}).action.item():.2f}")


if __name__ == "__main__":
    main()
