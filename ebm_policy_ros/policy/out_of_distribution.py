"""Whether a policy is at home: how familiar an observation is, and how clear the answer."""

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
"""What tells an unfamiliar observation; each has a threshold of its own."""
_WORDS = {
    "features": "unfamiliar observation",
    "colours": "unfamiliar colours in the picture",
}
# Of each colour channel: coarse enough that noise stays within a level.
_SHIFT, _LEVELS = 6, 4
# Standard deviations below these count as these: a colour that covers less than a ten-thousandth
# of the picture, and a feature that varies by less than 1 % of the others.
_COLOUR_FLOOR, _FEATURE_FLOOR = 0.01, 0.01
# Added to correlations: few episodes know little about the directions of small variance.
_RIDGE = 0.01


@dataclass(frozen=True)
class Confidence:
    """How sure a decision can be of itself."""

    energy: float
    """Of the chosen action; not a number for a policy without an energy."""
    gap: float
    """Energy from the lowest local minimum to the next, among the last candidates; infinite where
    there is no other."""
    effective_samples: float
    """Of the last candidates, how many share the weight exp(-E / temperature): 1 / sum w^2 (Kong
    1992); not a number for a policy without an energy."""
    features: float
    """Distance of the observation's features from those demonstrated; about 1 is usual, and it is
    not a number for a policy that was not calibrated."""
    colours: float
    """The same of the colours in the picture; not a number without a camera."""
    unsure: tuple[str, ...]
    """Each measure beyond its threshold, in words for a person; empty where there is none."""


@dataclass(frozen=True)
class Reference:
    """Where vectors usually are: a Gaussian."""

    mean: Tensor
    """Shape (F,)."""
    precision: Tensor
    """Inverse of the covariance, divided by F; shape (F, F)."""

    @classmethod
    def fit(cls, values: Tensor, floor: float) -> Reference:
        """The Gaussian of vectors, shape (M, F); no standard deviation counts below `floor`."""
        values = values.double()
        mean, scale = values.mean(dim=0), values.std(dim=0, correction=0).clamp_min(floor)
        scaled = (values - mean) / scale
        size = values.shape[1]
        correlation = scaled.T @ scaled / len(values) + _RIDGE * torch.eye(size).to(scaled)
        precision = torch.linalg.inv(correlation) / scale / scale[:, None] / size
        return cls(mean.float(), precision.float())

    def distance(self, values: Tensor) -> Tensor:
        """Mahalanobis distance per root of F, of vectors (B, F): shape (B,)."""
        apart = values.to(self.mean) - self.mean
        return ((apart @ self.precision) * apart).sum(dim=1).clamp_min(0).sqrt()


class FeatureTap:
    """What familiarity is judged by, in what a model sees.

    The features are those before and after the encoder's trunk: where things are, and what the
    policy makes of it (Lee et al. 2018, arXiv 1807.03888, take a classifier's layers).
    """

    def __init__(self, model: Model) -> None:
        """Listens to the model's encoder from now on."""
        # Of each thread: somebody may ask for energies while somebody else decides.
        self._kept = threading.local()
        self._cameras = tuple(n for n, s in model.encoder.shapes.items() if len(s) == 4)
        model.encoder.trunk.register_forward_hook(self._keep)

    def _keep(self, trunk: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        same = output is inputs[0]  # an encoder without a trunk
        parts = inputs if same else (*inputs, output)
        self._kept.features = torch.cat(parts, dim=1).detach().float()

    def last(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The vectors, shape (B, F) by measure, of a batch that the model has just encoded."""
        pictures = [colours(batch[name]) for name in self._cameras]
        found = {"features": self._kept.features}
        return {**found, "colours": torch.cat(pictures, dim=1)} if pictures else found


def sizes_of_measures(model: Model) -> dict[str, int]:
    """Size of the vectors that `FeatureTap` makes, by measure."""
    encoder = model.encoder
    linears = [layer for layer in encoder.trunk if isinstance(layer, nn.Linear)]
    joined = linears[0].in_features if linears else encoder.size
    features = joined + linears[-1].out_features if linears else joined
    cameras = sum(len(shape) == 4 for shape in encoder.shapes.values())
    return {"features": features, "colours": cameras * _LEVELS**3}


def colours(frames: Tensor) -> Tensor:
    """How much of the picture has each colour, shape (B, 64), from (B, T, H, W, 3) uint8.

    Roots of shares: for small shares too their variance is about the same (Hellinger).
    """
    level = frames.flatten(1, 3) >> _SHIFT
    colour = (level[..., 0] * _LEVELS + level[..., 1]) * _LEVELS + level[..., 2]
    count = _LEVELS**3
    # Unlike bincount this doesn't make a GPU wait for the host; below 2^24 it counts exactly.
    counts = torch.zeros(len(frames), count, device=frames.device)
    counts.scatter_add_(1, colour.long(), torch.ones_like(colour, dtype=counts.dtype))
    return (counts / colour.shape[1]).sqrt()


@dataclass(frozen=True)
class OutOfDistributionDetector:
    """Where demonstrated observations lie, and how far from there is too far."""

    references: dict[str, Reference]
    """By measure."""
    thresholds: dict[str, float]
    """Of the same measures."""

    @classmethod
    def fit(
        cls, known: Mapping[str, Tensor], held_out: Mapping[str, Tensor], rate: float
    ) -> OutOfDistributionDetector:
        """Calibrate on demonstrations.

        Args:
            known: Vectors (M, F) by measure, that say where observations lie.
            held_out: The same of other episodes, that say how far.
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
        """The measures beyond their thresholds, in words."""
        return tuple(
            f"{_WORDS[name]} ({distances[name]:.3g}, at most {most:.3g})"
            for name, most in self.thresholds.items()
            if not distances[name] <= most
        )

    def to(self, device: torch.device) -> OutOfDistributionDetector:
        """The same on another device."""
        parts = {
            name: Reference(part.mean.to(device), part.precision.to(device))
            for name, part in self.references.items()
        }
        return OutOfDistributionDetector(parts, self.thresholds)

    def to_tensors(self) -> dict[str, Tensor]:
        """What a policy file keeps beside the thresholds."""
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
        """What `to_tensors` was made of, with its thresholds.

        Args:
            thresholds: By measure.
            tensors: As `to_tensors` gives them.
            sizes: Of the vectors by measure, as `sizes_of_measures` gives them.

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
    """1 / sum w^2 for weights exp(-E / temperature) of energies (N,) (Kong 1992)."""
    weights = torch.softmax(-energies.double() / temperature, dim=0)
    return float(1 / weights.square().sum())
