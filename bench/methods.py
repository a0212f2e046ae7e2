"""Accuracy and time of every method on energies with a known minimiser."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree
from ebm_policy_ros.inference.candidates import Energy
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.hybrid import Hybrid
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.inference.methods import InferenceMethod
from ebm_policy_ros.inference.metropolis import HamiltonianMonteCarlo

DIMENSIONS = (1, 2, 4, 8, 16)
ROWS = 50
METHODS: dict[str, InferenceMethod] = {
    "derivative-free, 16,384 x 3": DerivativeFree(),
    "derivative-free, 2,048 x 3": DerivativeFree(2048),
    "  refined, 6 rounds": DerivativeFree(2048, refine=6),
    "  polished, 30 steps": DerivativeFree(2048, polish=30),
    "hybrid, 2,048 x 1, 32 starts": Hybrid(),
    "Langevin, 512 x 100": Langevin(),
    "Hamiltonian Monte Carlo, 512 x 20 x 5": HamiltonianMonteCarlo(),
    "autoregressive, 1,024 x 3": AutoregressiveDerivativeFree(),
}


def centre_of(size: int, row: int) -> Tensor:
    """A random minimiser in the box [-1, 1], shape (1, size)."""
    return torch.rand(1, size, generator=torch.Generator().manual_seed(row)) * 1.6 - 0.8


def energies_of(centre: Tensor, by_dimension: bool) -> Energy | Sequence[Energy]:
    """E = 50 |a - centre|^2, as one energy or one per dimension."""
    if not by_dimension:
        return lambda actions: 50 * (actions - centre).square().sum(dim=-1)
    return [
        lambda prefix, j=j: 50 * (prefix[..., j] - centre[0, j]).square()
        for j in range(centre.shape[1])
    ]


def main() -> None:
    """Print the largest error of a dimension, in half-widths, and the time of a search."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    print(f"{'largest error / median ms':<32}" + "".join(f"{f'{d}-D':>17}" for d in DIMENSIONS))
    for name, method in METHODS.items():
        cells = []
        for size in DIMENSIONS:
            high, errors, times = torch.ones(size), [], []
            for row in range(ROWS):
                centre = centre_of(size, row)
                by_dimension = isinstance(method, AutoregressiveDerivativeFree)
                energy = energies_of(centre, by_dimension)
                generator = torch.Generator().manual_seed(row)
                started = time.perf_counter()
                found = method.minimize(energy, -high, high, 1, generator)  # type: ignore[arg-type]
                times.append((time.perf_counter() - started) * 1e3)
                errors.append((found.best - centre).abs().max().item())
            median = sorted(times)[ROWS // 2]
            cells.append(f"{max(errors):9.1e} /{median:5.1f}")
        print(f"{name:<32}" + "".join(f"{cell:>17}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
