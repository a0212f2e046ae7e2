"""Fused head: all layers of an energy head in one GPU kernel.

Hidden values stay on the chip and are never written to the GPU's memory. Needs Triton, which is
part of torch's CUDA builds. The steps are those of `energy/folded.py`, with sums in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from ebm_policy_ros.energy.bias_folding import Activation, FoldedHead, Part, Product, Sum
from ebm_policy_ros.energy.heads import EnergyHead

# Widths of layers; weights of a wider layer don't fit beside the candidates.
_WIDTHS = (16, 32, 64, 128)
# Candidates per program.
_TILE = 64
# Tolerance between kernel and layers, relative to the range of the energies; bfloat16 rounds.
_TOLERANCE = 0.03


@triton.jit  # type: ignore[untyped-decorator]
def _energies(  # type: ignore[no-untyped-def]
    prepared, actions, first, floors, weights, last, offset, energies, count,
    SIZE: tl.constexpr, BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr, TILE: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """Compute the energies of a tile of the `count` candidates of one row.

    Each candidate has `SIZE` numbers. Each of the `BLOCKS` is an activation and a product. If the
    block has a skip connection, another activation and product follow. The last step is an
    activation.
    """
    row, units = tl.program_id(1), tl.arange(0, WIDTH)
    places = tl.program_id(0) * TILE + tl.arange(0, TILE)
    there = places < count
    hidden = tl.zeros((TILE, WIDTH), tl.float32) + tl.load(prepared + row * WIDTH + units)[None, :]
    for k in range(SIZE):
        value = tl.load(actions + (row * count + places) * SIZE + k, mask=there, other=0.0)
        hidden += value[:, None] * tl.load(first + k * WIDTH + units)[None, :]
    square = units[:, None] * WIDTH + units[None, :]
    precision = weights.dtype.element_ty
    for _ in range(BLOCKS):
        active = _at_least(hidden, floors + units)
        inner = tl.dot(active.to(precision), tl.load(weights + square), input_precision="ieee")
        floors += WIDTH
        weights += WIDTH * WIDTH
        if KIND != "mlp":
            inner = _at_least(inner, floors + units)
            inner = tl.dot(inner.to(precision), tl.load(weights + square), input_precision="ieee")
            floors += WIDTH
            weights += WIDTH * WIDTH
            inner += active if KIND == "residual" else hidden
        hidden = inner
    hidden = _at_least(hidden, floors + units)
    energy = tl.sum(hidden * tl.load(last + units)[None, :], axis=1) + tl.load(offset)
    tl.store(energies + row * count + places, energy, mask=there)


@triton.jit
def _at_least(values, floor):  # type: ignore[no-untyped-def]
    # NaN is propagated: an energy that isn't finite must be detected.
    return tl.maximum(values, tl.load(floor)[None, :], propagate_nan=tl.PropagateNan.ALL)


class NoKernel(ValueError):
    """A head with layers that the kernel doesn't support."""


class FusedHead(FoldedHead):
    """A folded head whose energies are computed by one kernel."""

    def __init__(self, head: EnergyHead, precision: torch.dtype | None = None) -> None:
        """Take the weights of a head.

        Args:
            head: The head, in float32 and evaluation mode.
            precision: Precision of the products. By default the head's own precision, which for
                layers of width 128 needs more shared memory than GPUs have.

        Raises:
            NoKernel: If its layers have other widths, or there are none.
        """
        super().__init__(head)
        steps = list(_steps(self._parts))
        weights = [step.weight for step in steps if isinstance(step, Product)]
        width = self._first.shape[1]
        if width not in _WIDTHS or any(each.shape != (width, width) for each in weights):
            raise NoKernel(f"head.width: got {width}, expected layers all of one of {_WIDTHS}")
        if not weights:
            raise NoKernel("head.depth: got 0, expected a layer at least")
        if not any(isinstance(part, Sum) for part in self._parts):
            self._kind, self._blocks = "mlp", len(weights)
        else:
            # Sums only inside the blocks: there is no activation before the first block.
            inside = isinstance(self._parts[0], Sum)
            self._kind = "preactivation" if inside else "residual"
            self._blocks = len(weights) // 2
        self._floors = torch.stack([step.floor for step in steps if isinstance(step, Activation)])
        self._weights = torch.stack(weights).to(precision or self._first.dtype)
        self._first = self._first.contiguous()
        self._parts = ()

    def agrees(self) -> bool:
        """True if kernel and layers give nearly the same energies for random candidates."""
        size, width = self._first.shape
        draws = torch.Generator().manual_seed(0)
        prepared = torch.randn(2, width, generator=draws).to(self._first)
        # Use a number of candidates that is not a multiple of the tile size.
        actions = 2 * torch.rand(2, 3 * _TILE + 1, size, generator=draws).to(self._first) - 1
        with torch.no_grad():
            expected: Tensor = self.head(prepared, actions)
            apart = (self(prepared, actions) - expected).abs().max()
        return bool(apart <= _TOLERANCE * (expected.max() - expected.min()))

    def _energies(self, prepared: Tensor, actions: Tensor) -> Tensor:
        rows, count, size = actions.shape
        energies = actions.new_empty(rows, count)
        # Triton launches on the current device.
        with torch.cuda.device_of(actions):  # type: ignore[no-untyped-call]
            _energies[triton.cdiv(count, _TILE), rows](
                prepared.contiguous(), actions.contiguous(), self._first, self._floors,
                self._weights, self._last, self._offset, energies, count,
                SIZE=size, BLOCKS=self._blocks,
                WIDTH=self._first.shape[1], TILE=_TILE, KIND=self._kind,
            )  # fmt: skip
        return energies


def _steps(parts: Iterable[Part]) -> Iterator[Activation | Product]:
    """Activations and products in order of execution."""
    for part in parts:
        if isinstance(part, Sum):
            yield from _steps(part.parts)
            yield Product(part.last)
        else:
            yield part
