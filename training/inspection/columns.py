"""Names and units of the numbers in an interface's streams and action."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import ImageStream, Interface, JointStream, Stream
from ebm_policy_ros.training.inspection.reading import Recording

ACTION = "action"
_JOINT_UNITS = {"position": "rad", "velocity": "rad/s", "effort": "Nm"}
# By the name of a field, or by its first part.
_UNITS = {
    "x": "m", "y": "m", "z": "m", "linear": "m/s", "angular": "rad/s", "force": "N", "torque": "Nm"
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One number of the action or of a stream."""

    source: str
    """"action", or the stream's name."""
    index: int
    name: str
    unit: str

    @property
    def label(self) -> str:
        """Unique name."""
        return f"{self.source} {self.name}"

    def values(self, recording: Recording) -> npt.NDArray[np.float32]:
        """Values at each step, shape (M,)."""
        all_ = recording.actions if self.source == ACTION else recording.states[self.source]
        return all_[:, self.index]


def action_columns(interface: Interface) -> list[Column]:
    """Dimensions of the action, in order."""
    action = interface.action
    return [
        Column(ACTION, i, name, unit)
        for i, (name, unit) in enumerate(zip(action.names, action.units, strict=True))
    ]


def state_columns(interface: Interface) -> list[Column]:
    """Numbers of every stream without images."""
    return [
        Column(source, i, name, unit)
        for source, stream in interface.observation.items()
        for i, (name, unit) in enumerate(_named(stream))
    ]


def _named(stream: Stream) -> Iterator[tuple[str, str]]:
    """Name and unit of each number of a sample."""
    if isinstance(stream, ImageStream):
        return
    if isinstance(stream, JointStream):
        for field in stream.fields:
            for name in stream.names:
                alone = stream.fields == ("position",)
                yield name if alone else f"{name} {field}", _JOINT_UNITS[field]
        return
    for field in stream.fields:
        yield field, _UNITS.get(field.partition(".")[0], "")
