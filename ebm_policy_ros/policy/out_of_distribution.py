"""Out-of-distribution detection: familiarity of observations and confidence of decisions."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ebm_policy_ros.energy.models import Model
from ebm_policy_ros.util import bounds
from ebm_policy_ros.util.quoting import quote

MEASURES = ("features", "colours")
"""Measures of familiarity; each has its own threshold."""
_WORDS = {
    "features": "unfamiliar observation",
    "colours": "unfamiliar colours in the picture",
}
# Quantisation of each colour channel: coarse, so that noise rarely changes the level.
_SHIFT, _LEVELS = 6, 4
# Lower bounds of standard deviations: a colour that covers less than a ten-thousandth of the
# picture, and a feature that varies by less than 1 % of the others.
_COLOUR_FLOOR, _FEATURE_FLOOR = 0.01, 0.01
# Added to correlations: few episodes give little information about directions of small variance.
_RIDGE = 0.01


@dataclass(frozen=True)
class Confidence:
    """Confidence measures of a decision."""

    energy: float
    """Energy of the chosen action; NaN for a policy without an energy."""
    gap: float
    """Energy difference between the two lowest local minima among the last candidates; infinite if
    there is only one."""
    effective_samples: float
    """Effective number of samples of the last candidates with weights exp(-E / temperature): 1 /
    sum w^2 (Kong 1992); NaN for a policy without an energy."""
    features: float
    """Distance of the observation's features from the demonstrated ones, about 1 for a familiar
    observation; NaN for a policy that was not calibrated."""
    colours: float
    """Distance of the colours in the picture, on the same scale; NaN without a camera."""
    unsure: tuple[str, ...]
    """Measures beyond their thresholds, as text for users; empty if there are none."""


@dataclass(frozen=True)
class Reference:
    """Gaussian distribution of vectors."""

    mean: Tensor
    """Mean, shape (F,)."""
    precision: Tensor
    """Inverse of the covariance, divided by F, shape (F, F)."""

    @classmethod
    def fit(cls, values: Tensor, floor: float) -> Reference:
        """Fit the Gaussian to vectors, shape (M, F); standard deviations are at least `floor`."""
        values = values.double()
        mean, scale = values.mean(dim=0), values.std(dim=0, correction=0).clamp_min(floor)
        scaled = (values - mean) / scale
        size = values.shape[1]
        correlation = scaled.T @ scaled / len(values) + _RIDGE * torch.eye(size).to(scaled)
        precision = torch.linalg.inv(correlation) / scale / scale[:, None] / size
        return cls(mean.float(), precision.float())

    def distance(self, values: Tensor) -> Tensor:
        """Mahalanobis distance divided by the square root of F, of vectors (B, F): shape (B,)."""
        apart = values.to(self.mean) - self.mean
        return ((apart @ self.precision) * apart).sum(dim=1).clamp_min(0).sqrt()


class FeatureTap:
    """Collects the vectors from which familiarity is computed.

    The features are the input and the output of the encoder's trunk: the positions of things, and
    the policy's representation of them (Lee et al. 2018, arXiv 1807.03888, use a classifier's
    layers). Of a policy with intents they are the input alone, since the output depends on the
    intent, which is not seen.
    """

    def __init__(self, model: Model) -> None:
        """Register a hook on the model's encoder."""
        # One value per thread: energies may be computed in one thread while another decides.
        self._kept = threading.local()
        self._joined = model.encoder.joined_size
        self._uses_output = _uses_output(model)
        self._cameras = tuple(n for n, s in model.encoder.shapes.items() if len(s) == 4)
        model.encoder.trunk.register_forward_hook(self._keep)

    def _keep(self, trunk: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        parts = [inputs[0][:, : self._joined]]
        if self._uses_output:
            parts.append(output)
        self._kept.features = torch.cat(parts, dim=1).detach().float()

    def last(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Vectors, shape (B, F) by measure, of a batch that the model has just encoded."""
        pictures = [colours(batch[name]) for name in self._cameras]
        found = {"features": self._kept.features}
        return {**found, "colours": torch.cat(pictures, dim=1)} if pictures else found


def _uses_output(model: Model) -> bool:
    """True if the features of the measure include the output of the trunk."""
    return len(model.encoder.trunk) > 0 and model.encoder.commitment is None


def sizes_of_measures(model: Model) -> dict[str, int]:
    """Size of the vectors from `FeatureTap`, by measure."""
    encoder = model.encoder
    linears = [layer for layer in encoder.trunk if isinstance(layer, nn.Linear)]
    features = encoder.joined_size
    if _uses_output(model):
        features += linears[-1].out_features
    cameras = sum(len(shape) == 4 for shape in encoder.shapes.values())
    return {"features": features, "colours": cameras * _LEVELS**3}


def colours(frames: Tensor) -> Tensor:
    """Colour histogram of the picture, shape (B, 64), from (B, T, H, W, 3) uint8.

    The values are square roots of the shares, so that the variance is about the same also for
    small shares (Hellinger).
    """
    level = frames.flatten(1, 3) >> _SHIFT
    colour = (level[..., 0] * _LEVELS + level[..., 1]) * _LEVELS + level[..., 2]
    count = _LEVELS**3
    # Unlike bincount, this doesn't make the GPU wait for the host; counts are exact below 2^24.
    counts = torch.zeros(len(frames), count, device=frames.device)
    counts.scatter_add_(1, colour.long(), torch.ones_like(colour, dtype=counts.dtype))
    return (counts / colour.shape[1]).sqrt()


@dataclass(frozen=True)
class OutOfDistributionDetector:
    """Detects unfamiliar observations by their distance from the demonstrated ones."""

    references: dict[str, Reference]
    """Gaussian of familiar vectors, by measure."""
    thresholds: dict[str, float]
    """Largest familiar distance, by measure."""

    @classmethod
    def fit(
        cls, known: Mapping[str, Tensor], held_out: Mapping[str, Tensor], rate: float
    ) -> OutOfDistributionDetector:
        """Calibrate the detector on demonstrations.

        Args:
            known: Vectors (M, F) by measure, to which the Gaussians are fitted.
            held_out: Vectors of other episodes by measure, from which the thresholds are computed.
            rate: Share of familiar observations beyond a threshold, over all measures.
        """
        references, thresholds = {}, {}
        for name, values in known.items():
            floor = _COLOUR_FLOOR
            if name == "features":
                floor = _FEATURE_FLOOR * float(values.std(dim=0).square().mean().sqrt())
            references[name] = Reference.fit(values, max(floor, 1e-6))
            distances = references[name].distance(held_out[name]).sort().values
            last = math.ceil((1 - rate / len(known)) * len(distances))
            thresholds[name] = float(distances[min(last, len(distances) - 1)])
        return cls(references, thresholds)

    def distances(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Distances, shape (B,) by measure."""
        return {name: part.distance(vectors[name]) for name, part in self.references.items()}

    def unsure(self, distances: Mapping[str, float]) -> tuple[str, ...]:
        """Measures beyond their thresholds, as text for users."""
        return tuple(
            f"{_WORDS[name]} ({distances[name]:.3g}, at most {most:.3g})"
            for name, most in self.thresholds.items()
            if not distances[name] <= most
        )

    def to(self, device: torch.device) -> OutOfDistributionDetector:
        """Copy on another device."""
        parts = {
            name: Reference(part.mean.to(device), part.precision.to(device))
            for name, part in self.references.items()
        }
        return OutOfDistributionDetector(parts, self.thresholds)

    def to_tensors(self) -> dict[str, Tensor]:
        """Tensors for the policy file, in addition to the thresholds."""
        return {
            f"{name}.{part}": getattr(reference, part)
            for name, reference in self.references.items()
            for part in ("mean", "precision")
        }

    @classmethod
    def from_parts(
        cls,
        thresholds: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        sizes: Mapping[str, int],
    ) -> OutOfDistributionDetector:
        """Restore a detector from the tensors of `to_tensors` and its thresholds.

        Args:
            thresholds: Thresholds by measure.
            tensors: Tensors from `to_tensors`.
            sizes: Sizes of the vectors by measure, from `sizes_of_measures`.

        Raises:
            ValueError: If parts are missing or don't fit each other.
        """
        references = {}
        for name, most in thresholds.items():
            if name not in MEASURES:
                raise ValueError(f"confidence: got {quote(name)}, expected {MEASURES}")
            bounds.check_number(f"confidence.{name}", most, above_zero=False)
            try:
                mean, precision = (tensors[f"{name}.{part}"] for part in ("mean", "precision"))
            except KeyError as missing:
                raise ValueError(f"confidence: no {missing}") from None
            size = sizes[name]
            if mean.shape != (size,) or precision.shape != (size, size):
                raise ValueError(
                    f"confidence.{name}: got shapes {tuple(mean.shape)}, {tuple(precision.shape)},"
                    f" expected ({size},), ({size}, {size})"
                )
            references[name] = Reference(mean, precision)
        return cls(references, {name: float(most) for name, most in thresholds.items()})


def effective_samples(energies: Tensor, temperature: float) -> float:
    """Effective number of samples, 1 / sum w^2, of energies (N,).

    The weights w are exp(-E / temperature), normalised to a sum of 1 (Kong 1992).
    """
    weights = torch.softmax(-energies.double() / temperature, dim=0)
    return float(1 / weights.square().sum())
