"""The methods of minimisation by name, as configurations and policy files have them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ebm_policy_ros.inference.autoregressive import AutoregressiveDerivativeFree
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.hybrid import Hybrid
from ebm_policy_ros.inference.langevin import Langevin
from ebm_policy_ros.util.quoting import cut, quote

InferenceMethod = DerivativeFree | AutoregressiveDerivativeFree | Langevin | Hybrid

METHODS: dict[str, type[InferenceMethod]] = {
    "derivative_free": DerivativeFree,
    "autoregressive": AutoregressiveDerivativeFree,
    "langevin": Langevin,
    "hybrid": Hybrid,
}

SETTINGS = tuple(
    dict.fromkeys(
        [
            "method",
            *(field.name for kind in METHODS.values() for field in dataclasses.fields(kind)),
        ]
    )
)
"""Every key that settings may have, for one method or another."""


def build_inference(settings: Mapping[str, Any]) -> InferenceMethod:
    """The method that `settings` names with its key "method", with the other keys as settings.

    Raises:
        ValueError: If there is no such method, or it has no such setting.
    """
    values = dict(settings)
    method = values.pop("method", None)
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(
            f"inference.method: got {quote(method)}, expected one of {', '.join(METHODS)}"
        )
    kind = METHODS[method]
    names = [field.name for field in dataclasses.fields(kind)]
    unknown = [name for name in values if name not in names]
    if unknown:
        raise ValueError(
            f"inference.{cut(unknown[0])}: no setting of {method}, which has {', '.join(names)}"
        )
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"inference.{error}") from None


def settings_of(inference: InferenceMethod) -> dict[str, Any]:
    """What `build_inference` makes the same inference of."""
    (method,) = (name for name, kind in METHODS.items() if type(inference) is kind)
    return {"method": method, **dataclasses.asdict(inference)}
