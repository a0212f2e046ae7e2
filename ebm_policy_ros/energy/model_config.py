"""Settings of a model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn

from ebm_policy_ros.energy.convolutions import ImageEncoderConfig
from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.normalisation import Normalisation
from ebm_policy_ros.util.bounds import (
    LONGEST_NAME,
    MOST_COMPONENTS,
    MOST_FEATURES,
    MOST_FLOW_STEPS,
    MOST_INTENTS,
    MOST_LAYERS,
    MOST_STREAMS,
    WIDEST,
    check_flags,
    check_whole,
)
from ebm_policy_ros.util.plugins import names_from_a_file
from ebm_policy_ros.util.quoting import cut, quote

Kind = Literal[
    "energy", "autoregressive", "explicit", "mixture", "flow", "two_step", "nearest_neighbour"
]


@dataclass(frozen=True)
class ModelConfig:
    """Settings of a model. They are stored in the policy file."""

    kind: Kind = "energy"
    """Kind of model: energy, the action minimises a learned energy; autoregressive, one energy for
    each dimension of the action; explicit, regression of the action (MSE); mixture, the likeliest
    action of a mixture of Gaussians; flow, an action drawn by a flow from noise (flow matching);
    two_step, regression whose second step improves the action of the first; nearest_neighbour, the
    action of the most similar demonstrated observation."""
    streams: tuple[str, ...] = ("camera", "tool")
    """Streams of the interface that the policy observes. If demonstrations lack the default
    streams, train_policy uses all streams that they have."""
    image: ImageEncoderConfig = dataclasses.field(default_factory=ImageEncoderConfig)
    """Settings of the encoder of each camera."""
    normalisation: Normalisation = "standard"
    """Normalisation of measurements: standard, to zero mean and unit variance; min_max, to
    [-1, 1]."""
    trunk_width: int = 256
    """Number of units in each layer of the trunk, which joins the streams."""
    trunk_depth: int = 2
    """Number of layers of the trunk; 0 for none, so that the features go directly to the head."""
    trunk_skip: bool = False
    """Append the input of the trunk to its output, so that the head gets exact measurements."""
    head: HeadConfig = dataclasses.field(default_factory=HeadConfig)
    """Settings of the head: the layers whose input includes the action."""
    components: int = 8
    """Number of Gaussians of a mixture."""
    features: tuple[str, ...] = ()
    """Features of measured streams beside them, as formulas: block - tool; state[0:2] -
    state[2:4]; block - tool in goal - block, along and across a direction; angle state[4]; length
    goal - block."""
    proposals: int = 0
    """Number of Gaussians of the proposal, a mixture that is trained beside an energy (kind
    energy): half of the first candidates of a search are drawn from it, and the negatives of the
    source `proposal`; 0 for none."""
    from_proposal: bool = False
    """Begin with the energy of the proposal, its negative log density, so that the head learns
    only what the proposal lacks."""
    flow_steps: int = 10
    """Number of Euler steps of a flow."""
    intents: int = 0
    """Number of intents, found in the demonstrations, of which the policy keeps one from decision
    to decision; 0 for none. They are for tasks in which demonstrators keep one of several answers.
    """

    def __post_init__(self) -> None:
        for name, choices in (
            ("kind", get_args(Kind)), ("normalisation", get_args(Normalisation))
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                expected = " or ".join(choices)
                raise ValueError(f"{name}: got {quote(getattr(self, name))}, expected {expected}")
        check_flags(self)
        got = quote(list(self.streams))
        if not all(isinstance(name, str) and re.fullmatch(r"\w+", name) for name in self.streams):
            raise ValueError(f"streams: got {got}, expected names of letters, digits and _")
        few = not self.streams and not self.features
        if few or not len(set(self.streams)) == len(self.streams) <= MOST_STREAMS:
            raise ValueError(f"streams: got {got}, expected names, each once")
        taken = [name for name in self.streams if hasattr(nn.ModuleDict, name)]
        if taken:
            raise ValueError(f"streams: got {taken[0]!r}, which torch needs itself; rename it")
        if self.kind not in ("energy", "autoregressive"):
            for name, usual in (("spectral_norm", False), ("feature_gain", 1.0)):
                if getattr(self.head, name) != usual:
                    raise ValueError(f"head.{name}: has no meaning for kind {self.kind}")
        for formula in self.features:
            if not isinstance(formula, str) or len(formula) > LONGEST_NAME:
                raise ValueError(
                    f"features: got {quote(formula)}, expected formulas of at most {LONGEST_NAME} "
                    "characters"
                )
        check_whole("features, their number", len(self.features), 0, MOST_FEATURES)
        if self.kind != "flow" and self.flow_steps != ModelConfig.flow_steps:
            raise ValueError(f"flow_steps: has no meaning for kind {self.kind}")
        if self.kind != "energy" and self.proposals:
            raise ValueError(
                f"proposals: got {self.proposals}, which has no meaning for kind {self.kind}; set "
                "it to 0"
            )
        if self.from_proposal and not self.proposals:
            raise ValueError("from_proposal: got true, but proposals is 0; set it to 4")
        check_whole("trunk_width", self.trunk_width, 1, WIDEST)
        check_whole("trunk_depth", self.trunk_depth, 0, MOST_LAYERS)
        check_whole("components", self.components, 1, MOST_COMPONENTS)
        check_whole("proposals", self.proposals, 0, MOST_COMPONENTS)
        check_whole("flow_steps", self.flow_steps, 1, MOST_FLOW_STEPS)
        check_whole("intents", self.intents, 0, MOST_INTENTS)
        if self.intents and self.kind == "nearest_neighbour":
            raise ValueError("intents: has no meaning for kind nearest_neighbour")

    def to_dict(self) -> dict[str, Any]:
        """Convert the settings to plain values for JSON, as `from_dict` reads them."""
        plain = dataclasses.asdict(self)
        if self.kind != "flow":
            del plain["flow_steps"]  # earlier releases read the files of other kinds
        lists = {k: list(v) if isinstance(v, tuple) else v for k, v in plain["image"].items()}
        plain |= {"streams": list(self.streams), "image": lists, "features": list(self.features)}
        for name in ("features", "intents", "proposals", "from_proposal"):
            if not plain[name]:  # earlier releases don't know them
                del plain[name]
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Create settings from plain values.

        Raises:
            ValueError: If a key is missing or unknown, or a value is not allowed.
        """
        try:
            plain = dict(values)
            _refuse_tied(plain.pop("tied", False), plain["kind"])
            image: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in dict(values["image"]).items()
            }
            with names_from_a_file():
                parts = {
                    "streams": tuple(values["streams"]),
                    "features": tuple(values.get("features", ())),
                    "image": ImageEncoderConfig(**image),
                    "head": HeadConfig(**values["head"]),
                }
                return cls(**{**plain, **parts})
        except (KeyError, TypeError) as error:
            raise ValueError(f"model settings: {cut(error)}") from None


def _refuse_tied(tied: object, kind: object) -> None:
    """Check an option of older files: the start of the training, from tracked positions."""
    if not isinstance(tied, bool):
        raise ValueError(f"tied: got {quote(tied)}, expected true or false")
    if tied and kind != "energy":  # an energy has no further weights
        raise ValueError(
            f"tied: got kind {cut(kind)}, expected energy; other models of this option are of the "
            "experiment coordinates alone, train without it"
        )
