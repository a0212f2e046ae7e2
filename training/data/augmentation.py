"""Random changes of observations in training, which a policy must not depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Sizes of the random changes; 0 for none."""

    shift: int = 0
    """Largest shift of images, pixels."""
    jitter: float = 0.0
    """Largest relative change of the brightness, and of the contrast, of images."""
    noise: float = 0.0
    """Standard deviation of the noise on measurements, in standard deviations of each."""

    def apply(
        self,
        streams: Mapping[str, Tensor],
        spreads: Mapping[str, Tensor],
        generator: torch.Generator | None,
        count: int,
        rows: slice,
    ) -> dict[str, Tensor]:
        """Change the streams of a batch; all samples of a row are changed alike.

        Args:
            streams: Images (R, T, H, W, 3) uint8 and measurements (R, T, K).
            spreads: Standard deviation of each measurement, (K,).
            generator: Source of randomness, on the CPU, so that it is equal for every device.
            count: Number of rows of the batch, for all of which is drawn.
            rows: Those of `streams`.
        """
        return {
            name: self._image(values, generator, count, rows)
            if values.ndim == 5
            else self._measurement(values, spreads[name], generator, count, rows)
            for name, values in streams.items()
        }

    def _image(
        self, frames: Tensor, generator: torch.Generator | None, count: int, rows: slice
    ) -> Tensor:
        if self.shift:
            size = (2, count, 1)
            shifts = torch.randint(-self.shift, self.shift + 1, size, generator=generator)
            frames = shift_images(frames, self.shift, shifts[:, rows].to(frames.device))
        if self.jitter:
            draws = 2 * torch.rand((2, count, 1, 1, 1, 1), generator=generator) - 1
            brightness, contrast = (1 + self.jitter * draws[:, rows]).to(frames.device)
            values = frames.float()
            mean = values.mean(dim=(1, 2, 3, 4), keepdim=True)
            changed = brightness * (mean + contrast * (values - mean))
            frames = changed.round().clamp(0, 255).to(torch.uint8)
        return frames

    def _measurement(
        self,
        values: Tensor,
        spread: Tensor,
        generator: torch.Generator | None,
        count: int,
        rows: slice,
    ) -> Tensor:
        if not self.noise:
            return values
        draws = torch.randn((count, 1, values.shape[2]), generator=generator)[rows]
        return values + self.noise * (spread * draws).to(values.device)


def shift_images(frames: Tensor, pixels: int, shifts: Tensor) -> Tensor:
    """Shift all frames of a row together by up to `pixels`; the border is repeated.

    Args:
        frames: Shape (B, T, H, W, 3).
        pixels: Largest shift to each side.
        shifts: Shifts down and right, from -pixels to pixels, shape (2, B, 1).
    """
    batch = len(frames)
    rows, columns = shifts[..., 0] + pixels
    for dim in (2, 3):
        first, last = frames.narrow(dim, 0, 1), frames.narrow(dim, frames.shape[dim] - 1, 1)
        border = [-1] * frames.ndim
        border[dim] = pixels
        frames = torch.cat((first.expand(border), frames, last.expand(border)), dim=dim)
    # A view of all shifts of all rows; one shift of each row is copied, line by line.
    height, width = (size - 2 * pixels for size in frames.shape[2:4])
    windows = frames.unfold(2, height, 1).unfold(3, width, 1)
    chosen = windows[torch.arange(batch, device=frames.device), :, rows, columns]
    return chosen.permute(0, 1, 3, 4, 2)
