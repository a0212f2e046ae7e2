"""Symmetries of a task: demonstrations as seen in a mirror are demonstrations too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.interface.streams import ImageStream, JointStream
from ebm_policy_ros.training.data.dataset import DemonstrationError
from ebm_policy_ros.util.bounds import LARGEST_NUMBER, MOST_MIRRORS, is_number
from ebm_policy_ros.util.quoting import any_of, cut, quote, suggestion

ACTION, INTENTS = "action", "intents"
"""Keys of the action and of labelled intents in the settings."""
_FLIPS = ("rows", "columns", "transpose")
_KEYS = ("columns", "signs", "offsets")


@dataclass(frozen=True)
class _Vector:
    """Signed permutation of the columns of a vector: signs * values[columns] + offsets."""

    columns: Tensor
    signs: Tensor
    offsets: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Mirror values, shape (..., K)."""
        parts = (part.to(values.device) for part in (self.columns, self.signs, self.offsets))
        columns, signs, offsets = parts
        return values.index_select(-1, columns) * signs + offsets


@dataclass(frozen=True)
class Mirror:
    """Mirror images of observations and actions."""

    streams: Mapping[str, _Vector | tuple[str, ...]]
    """Map of each measured stream; flips of each camera. Streams without either stay as they are.
    """
    action: _Vector
    intents: tuple[int, ...] = ()
    """Labelled intent in the mirror of each intent; empty if all stay."""

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
        action_size: int,
        interface: Interface | None = None,
    ) -> Mirror:
        """Read settings.

        Args:
            settings: For each measured stream, and for `action`: names of the fields that change
                sign; or for arrays `columns`, `signs` and `offsets`, one of each for every column,
                of signs * values[columns] + offsets. For each camera: flips in their order, rows,
                columns or transpose. For labelled `intents`: the intent that each becomes.
            shapes: Shape of each stream.
            action_size: Dimensions of an action, D.
            interface: Robot, whose fields have names.

        Raises:
            DemonstrationError: If a setting names nothing that there is.
        """
        streams: dict[str, _Vector | tuple[str, ...]] = {}
        for name, value in settings.items():
            if name in (ACTION, INTENTS):
                continue
            shape = shapes.get(name)
            if shape is None:
                raise DemonstrationError(
                    f"mirror: got {quote(name)}, expected streams of the demonstrations, "
                    f"{', '.join(shapes)}, or {ACTION}{suggestion(name, [*shapes, ACTION])}"
                )
            if len(shape) == 4:
                streams[name] = _flips(name, value, shape)
            else:
                streams[name] = _vector(name, value, shape[1], _names(name, interface))
        if ACTION not in settings:
            raise DemonstrationError(
                f"mirror.{ACTION}: missing; name the fields of the action that change sign"
            )
        names = interface.action.names if interface else None
        action = _vector(ACTION, settings[ACTION], action_size, names)
        return cls(streams, action, _permutation(settings.get(INTENTS, [])))

    def observation(self, seen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mirror streams (B, T, ...)."""
        found = dict(seen)
        for name, how in self.streams.items():
            if name not in seen:
                continue
            values = seen[name]
            if isinstance(how, _Vector):
                found[name] = how(values)
                continue
            for flip in how:
                values = (
                    values.transpose(2, 3)
                    if flip == "transpose"
                    else values.flip(2 if flip == "rows" else 3)
                )
            found[name] = values
        return found


@dataclass(frozen=True)
class Mirrors:
    """Any number of mirrors, and all images of demonstrations in them.

    Image c of M frames are the frames c * M to (c + 1) * M - 1. Bit j of c tells whether it was
    seen in mirror j.
    """

    mirrors: tuple[Mirror, ...] = ()

    @property
    def count(self) -> int:
        """Number of images, with the demonstrations themselves."""
        return 1 << len(self.mirrors)

    def images(self, frames: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int64]:
        """Return the frames of all images of some frames, of `total` in the demonstrations."""
        return np.concatenate([frames + image * total for image in range(self.count)])

    def episodes(self, episodes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the episode of each frame of all images; each image has its own episodes."""
        return self.images(episodes, int(episodes.max()) + 1)

    def intents(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the labelled intent of each frame of all images."""
        for mirror in self.mirrors:
            table = np.arange(max(int(labels.max()) + 1, len(mirror.intents)))
            table[: len(mirror.intents)] = mirror.intents
            labels = np.concatenate((labels, table[labels]))
        return labels

    def everything(
        self, seen: Mapping[str, Tensor], actions: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return all images of streams, (M, T, ...), and actions, (M, H, D)."""
        found = dict(seen)
        for mirror in self.mirrors:
            actions = torch.cat((actions, mirror.action(actions)))
            others = mirror.observation(found)
            found = {name: torch.cat((values, others[name])) for name, values in found.items()}
        return found, actions

    def reflect(
        self, images: npt.NDArray[np.int64], seen: dict[str, Tensor], actions: Tensor | None = None
    ) -> None:
        """Change streams, (B, T, ...), and actions, (B, H, D), to images of them, in place.

        Args:
            images: Image of each row, (B,).
            seen: Streams.
            actions: Actions, or None.
        """
        for bit, mirror in enumerate(self.mirrors):
            flipped = torch.from_numpy(np.flatnonzero(images >> bit & 1))
            if actions is not None:
                actions[flipped] = mirror.action(actions[flipped])
            for name in mirror.streams.keys() & seen.keys():
                values = seen[name]
                place = flipped.to(values.device)
                values[place] = mirror.observation({name: values[place]})[name]


NO_MIRRORS = Mirrors()


def mirrors_of(
    settings: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    shapes: Mapping[str, tuple[int, ...]],
    action_size: int,
    interface: Interface | None = None,
) -> Mirrors:
    """Read the settings of a mirror or of several, see `Mirror.of`; None for none.

    Raises:
        DemonstrationError: If there are too many, or a setting names nothing that there is.
    """
    several = settings or ()
    if isinstance(several, Mapping):
        several = (several,)
    if len(several) > MOST_MIRRORS:
        raise DemonstrationError(
            f"mirror: got {len(several)}, expected at most {MOST_MIRRORS}, which make "
            f"{1 << MOST_MIRRORS} images"
        )
    return Mirrors(tuple(Mirror.of(each, shapes, action_size, interface) for each in several))


def _permutation(value: Any) -> tuple[int, ...]:
    whole = isinstance(value, list) and all(type(intent) is int for intent in value)
    if not whole or sorted(value) != list(range(len(value))):
        raise DemonstrationError(
            f"mirror.{INTENTS}: got {quote(value)}, expected the intents 0 to K-1, each once: "
            "what each becomes"
        )
    return tuple(value)


def _names(stream: str, interface: Interface | None) -> Sequence[str] | None:
    """Names of the columns of a stream, a joint's name for each of its fields; None if unknown."""
    if interface is None or stream not in interface.observation:
        return None
    found = interface.observation[stream]
    assert not isinstance(found, ImageStream)
    return found.names * len(found.fields) if isinstance(found, JointStream) else found.fields


def _flips(name: str, value: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(word in _FLIPS for word in words):
        raise DemonstrationError(
            f"mirror.{name}: got {quote(value)}, expected a list of {any_of(_FLIPS)}: the "
            "camera's flips in their order"
        )
    if words.count("transpose") % 2 and shape[1] != shape[2]:
        raise DemonstrationError(
            f"mirror.{name}: got transpose for frames of {shape[1]} x {shape[2]} pixels, expected "
            "square ones"
        )
    return tuple(words)


def _vector(name: str, value: Any, size: int, names: Sequence[str] | None) -> _Vector:
    columns, signs, offsets = list(range(size)), [1.0] * size, [0.0] * size
    if isinstance(value, list) and names is not None:
        for field in value:
            if field not in names:
                known = list(dict.fromkeys(names))
                raise DemonstrationError(
                    f"mirror.{name}: got {quote(field)}, expected fields that change sign, of "
                    f"{', '.join(known)}{suggestion(str(field), known)}"
                )
        signs = [-1.0 if column in value else 1.0 for column in names]
    elif isinstance(value, Mapping):
        unknown = [key for key in value if key not in _KEYS]
        if unknown:
            raise DemonstrationError(
                f"mirror.{name}: got {cut(unknown[0])}, expected {any_of(_KEYS)}"
            )
        columns = value.get("columns", columns)
        signs, offsets = value.get("signs", signs), value.get("offsets", offsets)
        lists = all(
            isinstance(part, list) and len(part) == size for part in (columns, signs, offsets)
        )
        if (
            not lists
            or not all(type(column) is int for column in columns)
            or sorted(columns) != list(range(size))
            or not all(is_number(sign) and abs(sign) == 1 for sign in signs)
            or not all(is_number(each) and abs(each) <= LARGEST_NUMBER for each in offsets)
        ):
            raise DemonstrationError(
                f"mirror.{name}: got {quote(dict(value))}, expected {size} columns, each once, "
                f"and {size} signs (1 or -1) and offsets"
            )
    else:
        raise DemonstrationError(
            f"mirror.{name}: got {quote(value)}, expected "
            + (
                "a list of the fields that change sign"
                if names
                else f"a mapping of {any_of(_KEYS)}"
            )
        )
    numbers = (torch.tensor(part, dtype=torch.float32) for part in (signs, offsets))
    return _Vector(torch.tensor(columns), *numbers)
