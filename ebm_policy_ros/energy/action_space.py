"""Action space: the coordinates of a chunk of actions that a policy searches, and their box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ebm_policy_ros.util.bounds import MOST_ACTION_VALUES, check_whole
from ebm_policy_ros.util.quoting import quote

# Smallest range of a signal, as a fraction of its value. A smaller one is rounding of a constant.
ROUNDING = 1e-6
# Share of the demonstrated range by which the box is wider on each side.
MARGIN = 0.05


@dataclass(frozen=True)
class ActionSpaceConfig:
    """Coordinates of an action. They are chosen when training starts."""

    relative_to: str | tuple[str, ...] = ""
    """Stream whose newest measurement is subtracted from each action of a chunk; empty for
    absolute actions. If several streams measure an action: the stream of each dimension, empty for
    one that stays absolute."""
    columns: tuple[int, ...] = ()
    """Column of the stream for each dimension of an action; -1 for one that stays absolute. Empty
    if all stay absolute and there are no components."""
    components: int = 0
    """Number of principal components of chunks; 0 for the values themselves."""

    def __post_init__(self) -> None:
        check_whole("action.components", self.components, 0, MOST_ACTION_VALUES)
        whole = all(type(column) is int and column >= -1 for column in self.columns)
        if not whole:
            raise ValueError(f"action.columns: got {quote(self.columns)}, expected columns or -1")
        relative = tuple(column >= 0 for column in self.columns)
        named = self.relative_to
        if isinstance(named, tuple):
            texts = all(isinstance(name, str) for name in named)
            fits = texts and relative == tuple(map(bool, named)) and any(relative)
        else:
            fits = isinstance(named, str) and bool(named) == any(relative)
        if not fits:
            raise ValueError(
                f"action.relative_to: got {quote(named)} with the columns "
                f"{quote(self.columns)}, expected a stream and its columns, or neither"
            )

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams whose measurements actions are relative to, each once."""
        return tuple(dict.fromkeys(name for name, column in self.sources if column >= 0))

    @property
    def sources(self) -> tuple[tuple[str, int], ...]:
        """Stream and column that each dimension is relative to; the column is -1 for none."""
        named = self.relative_to
        names = named if isinstance(named, tuple) else (named,) * len(self.columns)
        return tuple(zip(names, self.columns, strict=True))


class ActionSpace(nn.Module):
    """Coordinates of actions, and the box of those that a policy may choose.

    The coordinates are the values of all actions of a chunk, or of their differences from a
    measurement, or the coefficients of the principal components of either. The box is mapped to
    [-1, 1] in each coordinate. Candidates and negatives are drawn from it. It is wider than the
    demonstrations by a share of their range on each side (Florence et al. 2021, appendix B). A
    coordinate that is constant in the demonstrations keeps its value.
    """

    low: Tensor
    high: Tensor
    centre: Tensor
    scale: Tensor
    basis: Tensor

    def __init__(self, size: int, config: ActionSpaceConfig | None = None) -> None:
        """Create the box [-1, 1] for actions of `size` (H*D) values; `fit` changes it.

        Raises:
            ValueError: If the settings need more components or columns than there are values.
        """
        super().__init__()
        self.config = config = config or ActionSpaceConfig()
        check_whole("action.components", config.components, 0, size)
        if config.components and not config.columns:
            raise ValueError("action.columns: got none, expected one for each value of an action")
        if config.columns and size % len(config.columns):
            raise ValueError(
                f"action.columns: got {len(config.columns)} columns, which don't divide an action "
                f"of {size} values"
            )
        self.size = config.components or size
        """Number of coordinates, K."""
        self._repeats = size // max(1, len(config.columns))
        self.register_buffer("low", -torch.ones(self.size))
        self.register_buffer("high", torch.ones(self.size))
        if config.components:
            self.register_buffer("centre", torch.zeros(size))
            self.register_buffer("scale", torch.ones(size))
            self.register_buffer("basis", torch.zeros(self.size, size))

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams whose measurements actions are relative to, each once."""
        return self.config.streams

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse streams without the measurement that actions are relative to.

        Raises:
            ValueError: If there is no such stream or column.
        """
        for name in self.streams:
            columns = [column for source, column in self.config.sources if source == name]
            shape = shapes.get(name, ())
            if len(shape) != 2 or max(columns) >= shape[1]:
                raise ValueError(
                    f"action.relative_to: got {quote(name)} with the columns "
                    f"{quote(columns)}, expected measurements of the interface"
                )

    def origin(self, observation: Mapping[str, Tensor]) -> Tensor | None:
        """Measurement that actions are relative to, (B, H*D), from streams (B, T, K).

        None for absolute actions.
        """
        if not self.streams:
            return None
        newest = {name: observation[name][:, -1] for name in self.streams}
        first = newest[self.streams[0]]
        zero = first.new_zeros(len(first))
        parts = [
            zero if column < 0 else newest[name][:, column] for name, column in self.config.sources
        ]
        return torch.stack(parts, dim=1).repeat(1, self._repeats)

    def units(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Centre and scale of each action value before principal components are taken.

        The centre of a relative value is 0, no motion; of another one its mean. Each dimension of
        an action has one scale, its spread over all actions of the chunks, so that metres, radians
        and a gripper count alike.

        Args:
            values: Actions, or their differences from a measurement, shape (M, H*D).

        Returns:
            Centre and scale, (H*D,) each.
        """
        columns = self.config.columns
        absolute = torch.tensor([column < 0 for column in columns]).repeat(self._repeats)
        centre = values.mean(dim=0) * absolute
        spread = (values - centre).reshape(-1, self._repeats, len(columns)).square().mean((0, 1))
        scale = torch.where(spread > 0, spread.sqrt(), 1.0).repeat(self._repeats)
        return centre, scale

    def fit(self, actions: Tensor, origin: Tensor | None = None, margin: float = MARGIN) -> None:
        """Fit components and box to demonstrated actions.

        Args:
            actions: Actions in the interface's units, shape (M, H*D).
            origin: Measurement of each, from `origin`.
            margin: Share of the range of each coordinate that is added on each side.
        """
        values = actions.double() if origin is None else actions.double() - origin
        if self.config.components:
            centre, scale = self.units(values)
            values = (values - centre) / scale
            basis = principal_components(values)[1][: self.config.components]
            self.centre.copy_(centre)
            self.scale.copy_(scale)
            self.basis.copy_(basis)
            values = values @ basis.T
        low, high = values.amin(dim=0), values.amax(dim=0)
        more = margin * (high - low)
        constant = high - low <= ROUNDING * torch.maximum(low.abs(), high.abs())
        self.low.copy_(torch.where(constant, low, low - more))
        self.high.copy_(torch.where(constant, high, high + more))

    def corners(self) -> tuple[Tensor, Tensor]:
        """Corners of the normalised box: -1 and 1, or 0 and 0 for a coordinate without width."""
        open_ = (self.high > self.low).to(self.low.dtype)
        return -open_, open_

    def normalise(self, actions: Tensor, origin: Tensor | None = None) -> Tensor:
        """Map actions to the box [-1, 1].

        Args:
            actions: Actions in the interface's units, shape (..., H*D).
            origin: Measurement that they are relative to, of a shape that broadcasts.

        Returns:
            Coordinates, shape (..., K).
        """
        values = actions if origin is None else actions - origin
        if self.config.components:
            values = (values - self.centre) / self.scale @ self.basis.T
        half = (self.high - self.low) / 2
        centred = values - (self.low + self.high) / 2
        # A constant coordinate has no width; its only value is the centre.
        return torch.where(half > 0, centred / half.where(half > 0, torch.ones_like(half)), 0.0)

    def denormalise(self, coordinates: Tensor, origin: Tensor | None = None) -> Tensor:
        """Map coordinates, shape (..., K), from the box [-1, 1] to actions, shape (..., H*D)."""
        values = (self.low + self.high) / 2 + coordinates * (self.high - self.low) / 2
        if self.config.components:
            values = self.centre + self.scale * (values @ self.basis)
        return values if origin is None else values + origin

    def spread(self, spread: Tensor) -> Tensor:
        """Standard deviations of actions, (..., H*D), for those of independent coordinates."""
        values = spread * (self.high - self.low) / 2
        if self.config.components:
            values = self.scale * (values.square() @ self.basis.square()).sqrt()
        return values

    def extent(self, origin: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of each action in the box, (H*D,) each, in units."""
        low, high = self.low, self.high
        if self.config.components:
            ends = torch.stack((low[:, None] * self.basis, high[:, None] * self.basis))
            low, high = (
                self.centre + self.scale * part.sum(dim=0) for part in (ends.amin(0), ends.amax(0))
            )
        return (low, high) if origin is None else (low + origin, high + origin)


def principal_components(values: Tensor) -> tuple[Tensor, Tensor]:
    """Variances and directions of the principal components of `values`, (M, A).

    Returns:
        Variances, largest first, (A,), and directions, (A, A), one in each row. The largest
        entry of each direction is positive, so that they are the same on every machine.
    """
    variances, directions = torch.linalg.eigh(values.T @ values / len(values))
    directions = directions.T.flip(0)
    largest = directions.abs().argmax(dim=1, keepdim=True)
    return variances.flip(0).clamp_min(0), directions * directions.gather(1, largest).sign()
