"""Minimise an energy over actions by three methods, and plot what they find.

python examples/minimise_an_energy.py --out out/examples
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ebm_policy_ros import DerivativeFree, Hybrid, Langevin

LOW, HIGH = torch.tensor([-2.0, -2.0]), torch.tensor([2.0, 2.0])


def energy(actions: Tensor) -> Tensor:
    """Two wells of unequal depth; actions (B, N, 2) to energies (B, N)."""
    x, y = actions.unbind(-1)
    return 4 * (x**2 - 1) ** 2 + 3 * (y - 0.5 * x) ** 2 + 0.3 * x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/examples"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    methods = {
        "derivative-free": DerivativeFree(samples=1024, iterations=3),
        "Langevin": Langevin(samples=64, iterations=100),
        "hybrid": Hybrid(samples=256),
    }
    figure = Figure((4 * len(methods), 4), layout="constrained")
    line = torch.linspace(-2, 2, 200)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    for axes, (name, method) in zip(
        figure.subplots(1, len(methods)), methods.items(), strict=True
    ):
        solution = method.minimize(energy, LOW, HIGH, generator=torch.Generator().manual_seed(0))
        print(f"{name}: {solution}")
        modes = solution.modes()
        for x, y in modes.actions[0, : modes.count[0]]:
            print(f"    a minimum at {x:.3f}, {y:.3f}")
        axes.contourf(line, line, energy(grid), 30)
        axes.scatter(*solution.actions[0].T, s=2, color="white")
        axes.plot(*solution.best[0], "r*", markersize=14)
        axes.set_title(name)
    figure.savefig(out / "minimise_an_energy.png")
    print(f"{out / 'minimise_an_energy.png'}: energy, candidates and the lowest one")


if __name__ == "__main__":
    main()
