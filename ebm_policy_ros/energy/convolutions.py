"""Image encoders: convolutional networks from camera frames to feature vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ebm_policy_ros.util.bounds import (
    MOST_LAYERS,
    MOST_NUMBERS,
    MOST_PICTURE_WORK,
    WIDEST,
    check_flags,
    check_whole,
)
from ebm_policy_ros.util.plugins import Registry
from ebm_policy_ros.util.quoting import quote

Pooling = Literal["soft_argmax", "mean", "max"]


IMAGE_ENCODERS: Registry[Callable[[ImageEncoderConfig, tuple[int, ...]], Any]] = Registry(
    "image encoder"
)
"""Functions that build an image encoder from its settings and the shape of frames, (T, H, W, 3).
The encoder is a module with an attribute `size`; it maps frames (B, T, H, W, 3) uint8 to features
(B, size)."""


@dataclass(frozen=True)
class ImageEncoderConfig:
    """Settings of the image encoders; each camera has its own encoder."""

    network: str = "strided"
    """Network: strided, convolutions with strides; max_pool, 3x3 convolutions, each followed by
    max pooling; residual, strided with a residual block after each convolution;
    package.module.Name, an encoder of your own."""
    channels: tuple[int, ...] = (16, 32, 32, 32)
    """Number of output channels of each convolution."""
    strides: tuple[int, ...] = (2, 2, 1, 1)
    """Stride of each convolution, or size of its max pooling. Their product is the size of a cell
    of the last map in pixels."""
    pooling: Pooling = "soft_argmax"
    """Reduction of maps to features: soft_argmax, the position of each channel's activation; mean
    or max, its strength."""
    coordinates: bool = False
    """Add the position of each pixel as two more channels (CoordConv; Liu et al. 2018)."""

    def __post_init__(self) -> None:
        try:
            IMAGE_ENCODERS.find(self.network)
        except ValueError as error:
            raise type(error)(f"image.network: {error}") from None
        if self.pooling not in get_args(Pooling):
            raise ValueError(
                f"image.pooling: got {quote(self.pooling)}, "
                f"expected {' or '.join(get_args(Pooling))}"
            )
        for name, values in (("channels", self.channels), ("strides", self.strides)):
            if not isinstance(values, tuple):
                raise ValueError(f"image.{name}: got {quote(values)}, expected a list")
            check_whole(f"image.{name}, their number", len(values), 1, MOST_LAYERS)
            for value in values:
                check_whole(f"image.{name}", value, 1, WIDEST)
        check_flags(self, "image.")
        if len(self.channels) != len(self.strides):
            raise ValueError(
                f"image.strides: got {len(self.strides)} values, "
                f"expected one for each of the {len(self.channels)} channels"
            )


class ResidualBlock(nn.Module):
    """Block of two pre-activated 3x3 convolutions, added to their input (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        """Create a block for maps with `channels` channels."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Compute maps of the same shape, (B, C, height, width)."""
        result: Tensor = maps + self.layers(maps)
        return result


def build_convolutions(config: ImageEncoderConfig, inputs: int) -> nn.Sequential:
    """Build convolutions from images (B, inputs, H, W) to maps; the last one has no activation."""
    layers: list[nn.Module] = []
    for i, (outputs, stride) in enumerate(zip(config.channels, config.strides, strict=True)):
        if i:
            layers.append(nn.ReLU(inplace=True))
        if config.network == "max_pool":
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
            if stride > 1:
                # ceil_mode: incomplete cells at the border are kept, as in strided convolutions.
                layers.append(nn.MaxPool2d(stride, ceil_mode=True))
        else:
            kernel = 5 if i == 0 else 3
            layers.append(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2))
            if config.network == "residual":
                layers.append(ResidualBlock(outputs))
        inputs = outputs
    return nn.Sequential(*layers)


def check_work(config: ImageEncoderConfig, height: int, width: int, inputs: int) -> None:
    """Refuse convolutions that take too much time or memory for frames with `inputs` channels.

    Raises:
        ValueError: If a bound is exceeded. The message gives the amount and the bound.
    """
    work = largest = 0
    for i, (outputs, stride) in enumerate(zip(config.channels, config.strides, strict=True)):
        before, kernel = height * width, 25 if i == 0 and config.network != "max_pool" else 9
        height, width = -(-height // stride), -(-width // stride)
        cells = before if config.network == "max_pool" else height * width
        work += cells * inputs * outputs * kernel
        if config.network == "residual":
            work += 18 * cells * outputs**2
        largest, inputs = max(largest, cells * outputs), outputs
    for name, got, most in (
        ("multiplications", work, MOST_PICTURE_WORK),
        ("numbers in a map", largest, MOST_NUMBERS),
    ):
        if got > most:
            raise ValueError(
                f"image.channels: these take {got:.2g} {name} for a frame, at most {most:.2g}; "
                "choose fewer, larger strides or a smaller size of the frames"
            )


class SpatialSoftArgmax(nn.Module):
    """Expected position of each channel's activation (Levine et al. 2016, section 5.2).

    Each map is first normalised to zero mean and unit variance, so that only the learned
    temperature determines the sharpness of the softmax.
    """

    cells: Tensor

    def __init__(self, channels: int, height: int, width: int) -> None:
        """Create a module for maps of `channels` x `height` x `width`."""
        super().__init__()
        cells = cell_positions(height, width).flatten(0, 1).T.contiguous()
        self.register_buffer("cells", cells, persistent=False)
        self.log_sharpness = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Compute positions from maps (B, C, height, width).

        Returns:
            Positions, shape (B, C, 2): x along the columns, y along the rows, both in [-1, 1].
        """
        # The 8 bits of bfloat16 weights are too coarse for a position between two cells.
        with torch.autocast(maps.device.type, enabled=False):
            # Make each map contiguous: the next operations are then several times faster.
            flat = maps.to(self.cells.dtype, memory_format=torch.contiguous_format).flatten(2)
            flat = nn.functional.layer_norm(flat, flat.shape[-1:])
            weights = torch.softmax(flat * self.log_sharpness.exp()[:, None], dim=-1)
            return nn.functional.linear(weights, self.cells)


def cell_positions(height: int, width: int) -> Tensor:
    """Centres of the cells, shape (height, width, 2): x and y, from -1 to 1 over the image."""
    y = (torch.arange(height) + 0.5) * 2 / height - 1
    x = (torch.arange(width) + 0.5) * 2 / width - 1
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((columns, rows), dim=-1)


@IMAGE_ENCODERS.register("residual")
@IMAGE_ENCODERS.register("max_pool")
@IMAGE_ENCODERS.register("strided")
class ImageEncoder(nn.Module):
    """Encoder from frames to features: the position or the strength of each learned pattern."""

    positions: Tensor

    def __init__(self, config: ImageEncoderConfig, shape: tuple[int, ...]) -> None:
        """Create an encoder for frames of `shape` (T, H, W, 3)."""
        super().__init__()
        frames, height, width, colours = shape
        inputs = frames * colours + 2 * config.coordinates
        check_work(config, height, width, inputs)
        self._pooling = config.pooling
        self.register_buffer("positions", cell_positions(height, width), persistent=False)
        self._coordinates = config.coordinates
        self.convolutions = build_convolutions(config, inputs)
        channels = config.channels[-1]
        self.size = channels
        if config.pooling == "soft_argmax":
            for stride in config.strides:
                height, width = -(-height // stride), -(-width // stride)
            self.position = SpatialSoftArgmax(channels, height, width)
            self.size = 2 * channels

    def forward(self, frames: Tensor) -> Tensor:
        """Compute features, shape (B, size), from frames (B, T, H, W, 3) uint8 rgb."""
        batch, steps, height, width, colours = frames.shape
        # (B, H, W, T*3): the memory layout with the fastest convolutions.
        pixels = frames.permute(0, 2, 3, 1, 4).reshape(batch, height, width, steps * colours)
        pixels = pixels.to(self.positions.dtype).div_(127.5).sub_(1)
        if self._coordinates:
            pixels = torch.cat((pixels, self.positions.expand(batch, -1, -1, -1)), dim=3)
        maps: Tensor = self.convolutions(pixels.permute(0, 3, 1, 2))
        if self._pooling == "soft_argmax":
            # No ReLU here: the softmax uses both signs. A strength is not negative.
            features: Tensor = self.position(maps).flatten(1)
            return features
        maps = torch.relu(maps)
        return maps.mean(dim=(2, 3)) if self._pooling == "mean" else maps.amax(dim=(2, 3))
