"""Components of a policy, built from a policy file: model, inference method and detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebm_policy_ros.energy.heads import bake_spectral_norm
from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import ImplicitModel, Model, build_model
from ebm_policy_ros.inference.methods import InferenceMethod, build_inference
from ebm_policy_ros.policy.action_search import check_method
from ebm_policy_ros.policy.file import PolicyFile, PolicyFileError
from ebm_policy_ros.policy.out_of_distribution import OutOfDistributionDetector, sizes_of_measures
from ebm_policy_ros.util.plugins import PluginNeeded, names_from_a_file
from ebm_policy_ros.util.quoting import LONGEST_LINE, cut, quote


@dataclass(frozen=True)
class PolicyComponents:
    """The components of a policy."""

    model: Model
    inference: InferenceMethod | None
    """Inference method; None for a policy without an energy."""
    detector: OutOfDistributionDetector | None
    """Detector of unfamiliar observations; None for a policy that was not calibrated."""


def assemble(
    path: str | Path, content: PolicyFile, inference: Mapping[str, Any] | None = None
) -> PolicyComponents:
    """Build the components of a policy file.

    Args:
        path: Path of the file, for messages.
        content: Content of the file.
        inference: Settings that replace those of the file. Another "method" starts from its own
            defaults.

    Raises:
        PolicyFileError: If the components don't fit each other.
        ValueError: If a setting is out of range or doesn't fit the model.
    """
    horizon, size = content.action_shape
    try:
        config = ModelConfig.from_dict(content.model)
        model = build_model(config, content.shapes, horizon * size, content.coordinates)
        model.load_state_dict(content.state)
        with names_from_a_file():
            found = build_inference(content.inference) if content.inference else None
        if found:
            check_method(model, found)
        if isinstance(model, ImplicitModel) and found is None:
            raise ValueError("an energy, but no settings of a search for its lowest action")
        detector = _detector(content, model)
    except PluginNeeded as error:
        raise PolicyFileError(f"{path}: {cut(error, LONGEST_LINE)}") from None
    except (ValueError, TypeError, RuntimeError) as error:
        raise PolicyFileError(f"{path}: {cut(error, LONGEST_LINE)}; train it again") from None
    if inference:
        if found is None:
            raise ValueError(
                f"inference: got {dict(inference)}, but {path} is a policy without an energy "
                f"({config.kind}), which searches for nothing; leave it out"
            )
        found = build_inference(_merge(content.inference, inference))
        check_method(model, found)
    bake_spectral_norm(model)
    return PolicyComponents(model, found, detector)


def _detector(content: PolicyFile, model: Model) -> OutOfDistributionDetector | None:
    """Detector of unfamiliar observations; None if the policy was not calibrated."""
    if not content.confidence:
        return None
    thresholds = content.confidence.get("thresholds")
    if not isinstance(thresholds, dict):
        raise ValueError(
            f"confidence: got thresholds {quote(thresholds)}, expected numbers by name"
        )
    return OutOfDistributionDetector.from_parts(
        thresholds, content.references, sizes_of_measures(model)
    )


def _merge(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the file, updated by the given ones; those of another method are ignored."""
    kept = stored if wanted.get("method", stored["method"]) == stored["method"] else {}
    return {**kept, **wanted}
