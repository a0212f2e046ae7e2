"""Observer: the newest samples of all streams, and the states of the arms in them."""

from __future__ import annotations

from dataclasses import dataclass

from ebm_policy_ros.interface import ImageStream, Interface
from ebm_policy_ros.nodes.common.arms import ArmStates, RobotStates
from ebm_policy_ros.nodes.common.inputs import Inputs
from ebm_policy_ros.observation.buffer import Snapshot


@dataclass
class PendingObservation:
    """An observation that is not decoded yet, and the states of the arms in it."""

    now: int
    """Time of the tick, nanoseconds."""
    snapshot: Snapshot
    measured: RobotStates
    """State of each arm."""
    stamp: int
    """Stamp of the newest camera image, or of the newest sample if there is no camera;
    nanoseconds."""


class Observer:
    """Reads the inputs of a node at each tick."""

    def __init__(self, interface: Interface, inputs: Inputs) -> None:
        """Create an observer of an interface's streams."""
        self._inputs = inputs
        self._states = ArmStates(interface)
        streams = interface.observation
        self._images = [n for n, stream in streams.items() if isinstance(stream, ImageStream)]
        self._measurements = [name for name in streams if name not in self._images]

    def look(self, now: int) -> PendingObservation:
        """Take the newest samples; images are not decoded, because that is slow.

        Raises:
            StaleObservation: If a stream is missing or too old.
            MessageError: If a message doesn't match the description of its stream.
        """
        snapshot = self._inputs.snapshot(now)
        stamps = snapshot.stamps
        measured = self._states.update(snapshot.measured(self._measurements), stamps, now)
        images = [stamps[name] for name in self._images]
        return PendingObservation(now, snapshot, measured, max(images or stamps.values()))

    def forget(self) -> None:
        """Forget the earlier measurements, so that no velocity is estimated from them."""
        self._states.clear()

    def clear(self) -> None:
        """Forget all samples too."""
        self._inputs.clear()
        self.forget()
