"""Observations to feature vectors: images through convolutions, the rest standardised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ebm_policy_ros.energy.normalisation import Standardise


@dataclass(frozen=True)
class ImageEncoderConfig:
    """Settings of the image encoder; each camera has one of its own."""

    channels: tuple[int, ...] = (16, 32, 32, 32)
    """Output channels of each convolution; the last is the number of points tracked."""
    strides: tuple[int, ...] = (2, 2, 1, 1)
    """Stride of each convolution; their product divides the image into cells."""

    def __post_init__(self) -> None:
        for name, values in (("channels", self.channels), ("strides", self.strides)):
            if not values or any(value < 1 for value in values):
                raise ValueError(f"image.{name}: got {list(values)}, expected integers >= 1")
        if len(self.channels) != len(self.strides):
            raise ValueError(
                f"image.strides: got {len(self.strides)} values, "
                f"expected one for each of the {len(self.channels)} channels"
            )


class SpatialSoftArgmax(nn.Module):
    """The expected position of each channel's activation (Levine et al. 2016, section 5.2).

    Each map is first brought to zero mean and unit variance, so that the learned temperature
    alone decides how sharp the softmax is.
    """

    cells: Tensor

    def __init__(self, channels: int, height: int, width: int) -> None:
        """For maps of `channels` x `height` x `width`."""
        super().__init__()
        y = (torch.arange(height) + 0.5) * 2 / height - 1
        x = (torch.arange(width) + 0.5) * 2 / width - 1
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        cells = torch.stack((columns, rows), dim=-1).reshape(height * width, 2)
        self.register_buffer("cells", cells, persistent=False)
        self.log_sharpness = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Positions from (B, C, height, width).

        Returns:
            Shape (B, C, 2): x along the columns, y along the rows, both in [-1, 1].
        """
        # In bfloat16 a weight has 8 bits: too coarse for a position between two cells.
        with torch.autocast(maps.device.type, enabled=False):
            flat = maps.flatten(2).to(self.cells.dtype)
            flat = nn.functional.layer_norm(flat, flat.shape[-1:])
            weights = torch.softmax(flat * self.log_sharpness.exp()[:, None], dim=-1)
            # As a matrix product this is several times faster than two weighted sums.
            return weights @ self.cells


class ImageEncoder(nn.Module):
    """Frames to the positions of the things that the policy learned to look for."""

    def __init__(self, config: ImageEncoderConfig, shape: tuple[int, ...]) -> None:
        """For frames of `shape` (T, H, W, 3)."""
        super().__init__()
        frames, height, width, colours = shape
        layers: list[nn.Module] = []
        inputs = frames * colours
        for i, (outputs, stride) in enumerate(zip(config.channels, config.strides, strict=True)):
            kernel = 5 if i == 0 else 3
            layers += [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU()]
            inputs = outputs
            height, width = -(-height // stride), -(-width // stride)
        # The last map goes into a softmax: it needs both signs.
        self.convolutions = nn.Sequential(*layers[:-1])
        self.position = SpatialSoftArgmax(inputs, height, width)
        self.size = 2 * inputs

    def forward(self, frames: Tensor) -> Tensor:
        """Features from (B, T, H, W, 3) uint8 rgb, shape (B, size)."""
        batch, steps, height, width, colours = frames.shape
        # (B, H, W, T*3): the memory layout that the convolutions are fastest with.
        pixels = frames.permute(0, 2, 3, 1, 4).reshape(batch, height, width, steps * colours)
        pixels = pixels.permute(0, 3, 1, 2).to(self.position.cells.dtype).div_(127.5).sub_(1)
        features: Tensor = self.position(self.convolutions(pixels)).flatten(1)
        return features


class ObservationEncoder(nn.Module):
    """All streams of an observation to one feature vector, shape (B, width)."""

    def __init__(
        self, image: ImageEncoderConfig, shapes: Mapping[str, tuple[int, ...]], width: int
    ) -> None:
        """For streams of `shapes`: (T, H, W, 3) for a camera, (T, K) for measurements."""
        super().__init__()
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.images = nn.ModuleDict()
        self.measurements = nn.ModuleDict()
        inputs = 0
        for name, shape in self.shapes.items():
            if len(shape) == 4:
                encoder = ImageEncoder(image, shape)
                self.images[name] = encoder
                inputs += encoder.size
            else:
                size = shape[0] * shape[1]
                self.measurements[name] = Standardise(size)
                inputs += size
        self.trunk = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Features from batched streams; streams that the model doesn't use are ignored.

        Raises:
            ValueError: If a stream is missing or has another shape.
        """
        parts = []
        for name, shape in self.shapes.items():
            got = tuple(observation[name].shape) if name in observation else None
            if got is None or got[1:] != shape:
                raise ValueError(f"stream {name}: got {got}, expected (B, {str(shape)[1:]}")
            if name in self.images:
                parts.append(self.images[name](observation[name]))
            else:
                parts.append(self.measurements[name](observation[name].flatten(1)))
        features: Tensor = self.trunk(torch.cat(parts, dim=1))
        return features

    def fit(self, observations: Mapping[str, Tensor]) -> None:
        """Fit the normalisation of the measurements to demonstrations, shape (M, T, K) each."""
        for name, standardise in self.measurements.items():
            assert isinstance(standardise, Standardise)
            standardise.fit(observations[name].flatten(1))
