"""Inference methods by name, as in configurations and policy files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.hybrid import Hybrid
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.inference.metropolis import HamiltonianMonteCarlo, MetropolisLangevin
from ebm_policy_ros.util.plugins import Registry
from ebm_policy_ros.util.quoting import cut, suggestion

InferenceMethod = (
    DerivativeFree
    | AutoregressiveDerivativeFree
    | Langevin
    | Hybrid
    | HamiltonianMonteCarlo
    | MetropolisLangevin
)
"""Frozen dataclass of settings; its contract is `Minimizer`."""

METHODS: Registry[type[InferenceMethod]] = Registry("inference method")
METHODS.register("derivative_free")(DerivativeFree)
METHODS.register("autoregressive")(AutoregressiveDerivativeFree)
METHODS.register("langevin")(Langevin)
METHODS.register("hybrid")(Hybrid)
METHODS.register("hmc")(HamiltonianMonteCarlo)
METHODS.register("mala")(MetropolisLangevin)

SETTINGS = tuple(
    dict.fromkeys(
        ["method", *(f.name for name in METHODS for f in dataclasses.fields(METHODS.find(name)))]
    )
)
"""All keys that settings may have, over all methods."""


def build_inference(settings: Mapping[str, Any]) -> InferenceMethod:
    """Build the inference method named by the key "method", from the other keys of `settings`.

    Raises:
        ValueError: If there is no such method, or it has no such setting, or a value is invalid.
    """
    values = dict(settings)
    method = values.pop("method", None)
    try:
        kind = METHODS.find(method)
    except ValueError as error:
        raise type(error)(f"inference.method: {error}") from None
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise ValueError(f"inference.method: {method} is no dataclass of settings")
    names = [field.name for field in dataclasses.fields(kind)]
    unknown = [name for name in values if name not in names]
    if unknown:
        raise ValueError(
            f"inference.{cut(unknown[0])}: no setting of {method}, which has "
            f"{', '.join(names)}{suggestion(unknown[0], names)}"
        )
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"inference.{error}") from None


def settings_of(inference: InferenceMethod) -> dict[str, Any]:
    """Settings from which `build_inference` builds the same method."""
    kind = type(inference)
    own = f"{kind.__module__}.{kind.__qualname__}"
    method = next((name for name in METHODS if METHODS.find(name) is kind), own)
    return {"method": method, **dataclasses.asdict(inference)}
