"""Observation encoders: convolutions for images, normalisation for measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ebm_policy_ros.energy.commitment import Commitment
from ebm_policy_ros.energy.features import Features
from ebm_policy_ros.energy.normalisation import Normalisation, Normalise
from ebm_policy_ros.util.quoting import quote


class Thumbnail(nn.Module):
    """Encoder from frames to the grey values of a few cells, to compare whole images."""

    CELLS = (12, 16)

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Create an encoder for frames of `shape` (T, H, W, 3)."""
        super().__init__()
        self.size = shape[0] * self.CELLS[0] * self.CELLS[1]

    def forward(self, frames: Tensor) -> Tensor:
        """Compute grey values in [-1, 1], (B, size), from frames (B, T, H, W, 3) uint8 rgb."""
        grey = frames.float().mean(dim=4).div_(127.5).sub_(1)
        cells: Tensor = nn.functional.adaptive_avg_pool2d(grey, self.CELLS)
        return cells.flatten(1)


class ObservationEncoder(nn.Module):
    """Encoder from all streams of an observation to one feature vector, shape (B, size)."""

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        image: Callable[[tuple[int, ...]], Any],
        normalisation: Normalisation = "standard",
        width: int = 0,
        depth: int = 0,
        skip: bool = False,
        features: Features | None = None,
        intents: int = 0,
    ) -> None:
        """Create an encoder for streams of `shapes`.

        Args:
            shapes: Shape of each stream: (T, H, W, 3) for a camera, (T, K) for measurements.
            image: Function that creates the encoder of a camera from the shape of its frames.
            normalisation: Normalisation of the measurements.
            width: Units of each layer of the trunk, which joins the streams.
            depth: Number of layers of the trunk; 0 for none.
            skip: True if the input of the trunk is appended to its output.
            features: Features of measured streams, which may be others than those of `shapes`.
            intents: Number of intents of the policy; 0 for none.
        """
        super().__init__()
        self._streams = tuple(shapes)
        self._features = features
        self.shapes = {**shapes, **(features.shapes if features else {})}
        """Shape of each stream that is needed."""
        self.images = nn.ModuleDict()
        self.measurements = nn.ModuleDict()
        self.size = 0
        for name, shape in shapes.items():
            if len(shape) == 4:
                encoder = _image_encoder(image, shape)
                self.images[name] = encoder
                self.size += encoder.size
            else:
                self.measurements[name] = Normalise(shape[0] * shape[1], normalisation)
                self.size += shape[0] * shape[1]
        if features:
            self.features = Normalise(features.size, normalisation)
            self.size += features.size
        self.joined_size = self.size
        """Number of values of all streams together."""
        self.commitment = None
        if intents:
            self.commitment = Commitment(self.size, intents, width or self.size)
            self.size += intents
        self._joined = self.size
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(self.size, width), nn.ReLU()]
            self.size = width
        self.trunk = nn.Sequential(*layers)
        self._skip = skip
        if skip:
            self.size += self._joined

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Compute features, (B, size), from batched streams; others are ignored.

        Raises:
            ValueError: If a stream is missing or has another shape.
        """
        return self.committed(observation)[0]

    def committed(
        self, observation: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Compute features, and the intent that they depend on.

        Returns:
            Features, (B, size); the intent, (B,), and the energy of each intent, (B, K), or None
                for a policy without intents.

        Raises:
            ValueError: If a stream is missing or has another shape.
        """
        seen = self._join(observation)
        intent = energies = None
        if self.commitment:
            energies = self.commitment.energies(seen, observation)
            intent = self.commitment.choose(energies, observation)
            seen = self.commitment.append(seen, intent)
        features: Tensor = self.trunk(seen)
        if self._skip:
            features = torch.cat((features, seen), dim=1)
        return features, intent, energies

    @property
    def inputs(self) -> int:
        """Number of values of `inputs_of`."""
        return self._joined if self._skip else self.size

    def inputs_of(self, features: Tensor) -> Tensor:
        """Return the trunk's input, where its output, (B, size), is appended to it; else all."""
        return features[:, -self.inputs :]

    def _join(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Join all streams and features to one vector, (B, joined_size)."""
        parts = []
        for name, shape in self.shapes.items():
            got = tuple(observation[name].shape) if name in observation else None
            if got is None or got[1:] != shape:
                raise ValueError(f"stream {name}: got {got}, expected (B, {str(shape)[1:]}")
        for name in self._streams:
            if name in self.images:
                parts.append(_image_features(self.images[name], observation[name]))
            else:
                parts.append(self.measurements[name](observation[name].flatten(1)))
        if self._features:
            parts.append(self.features(self._features(observation)))
        return torch.cat(parts, dim=1)

    def fit(self, observations: Mapping[str, Tensor]) -> None:
        """Fit the normalisation of measurements and features to demonstrations.

        Args:
            observations: All streams that are not images, shape (M, T, K).
        """
        for name, normalise in self.measurements.items():
            assert isinstance(normalise, Normalise)
            normalise.fit(observations[name].flatten(1))
        if self._features:
            self.features.fit(self._features(observations))


def _image_encoder(image: Callable[[tuple[int, ...]], Any], shape: tuple[int, ...]) -> Any:
    """Create the encoder of a camera, which may be one of the user's own.

    Raises:
        ValueError: If it is no module with a size.
    """
    expected = (
        "expected a class or function that takes settings and the shape of frames, and gives a "
        "torch.nn.Module with an integer `size`"
    )
    try:
        encoder = image(shape)
    except TypeError as error:
        raise ValueError(f"image encoder: {error}; {expected}") from error
    name, size = type(encoder).__name__, getattr(encoder, "size", None)
    if not isinstance(encoder, nn.Module):
        raise ValueError(f"image encoder: got a {name}, {expected}")
    if not isinstance(size, int) or size < 1:
        told = "has no `size`" if size is None else f"has the size {quote(size)}"
        raise ValueError(f"image encoder {name}: {told}, expected its number of features")
    return encoder


def _image_features(encoder: nn.Module, frames: Tensor) -> Tensor:
    """Encode frames (B, T, H, W, 3) to features (B, size).

    Raises:
        ValueError: If the encoder gives another shape.
    """
    features: Tensor = encoder(frames)
    got, wanted = tuple(getattr(features, "shape", ())), (len(frames), encoder.size)
    if got != wanted:
        raise ValueError(
            f"image encoder {type(encoder).__name__}: got features of shape {got} for "
            f"{len(frames)} frames, expected {wanted}, (frames, its `size`)"
        )
    return features
