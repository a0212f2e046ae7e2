"""Split into training and held-out frames, and batches of frames."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebm_policy_ros.energy.commitment import INTENT
from ebm_policy_ros.training.data.augmentation import Augmentation
from ebm_policy_ros.training.data.dataset import DemonstrationError
from ebm_policy_ros.training.data.mirror import NO_MIRRORS, Mirrors

Frames = npt.NDArray[np.int64]
"""Indices of frames."""


class Demonstrations(Protocol):
    """All frames in memory; `training.data.dataset.Dataset` implements it."""

    @property
    def observations(self) -> dict[str, npt.NDArray[Any]]:
        """Stream name -> (M, T, H, W, 3) uint8 or (M, T, K) float32."""

    @property
    def actions(self) -> npt.NDArray[np.float32]:
        """Actions in the interface's units, shape (M, H, D)."""

    @property
    def episodes(self) -> npt.NDArray[np.int64]:
        """Episode of each frame, shape (M,)."""

    @property
    def corrections(self) -> npt.NDArray[np.bool_] | None:
        """True for a corrected frame, shape (M,); None if there is none."""


def split_episodes(
    episodes: npt.NDArray[np.int64],
    fraction: float,
    seed: int,
    corrections: npt.NDArray[np.bool_] | None = None,
) -> tuple[Frames, Frames]:
    """Split frames into training and held-out frames; an episode is never in both.

    Episodes with corrections are all trained on, unless there are no others: they are few, and
    show what went wrong, so that held-out numbers with them could not be compared to those of the
    training before.

    Args:
        episodes: Episode of each frame, shape (M,).
        fraction: Share of the episodes that are held out; at least one is, unless it is 0.
        seed: Seed of the choice.
        corrections: True for a corrected frame, shape (M,); None if there is none.

    Raises:
        DemonstrationError: If there are fewer than two episodes to choose from.
    """
    if fraction == 0:
        return np.arange(len(episodes)), np.empty(0, np.int64)
    names = np.unique(episodes)
    if corrections is not None:
        demonstrated = np.setdiff1d(names, episodes[corrections])
        names = demonstrated if len(demonstrated) else names
    if len(names) < 2:
        raise DemonstrationError(
            f"got {len(names)} episode, expected at least 2, since one is held out from training; "
            "record more, or hold none out with --learning.held_out 0"
        )
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    held = np.isin(episodes, np.random.default_rng(seed).permutation(names)[:count])
    return np.flatnonzero(~held), np.flatnonzero(held)


class Batches:
    """Batches of demonstrations; the order depends only on the seed and the step number."""

    def __init__(
        self,
        data: Demonstrations,
        streams: tuple[str, ...],
        size: int,
        seed: int,
        device: torch.device,
        mirrors: Mirrors = NO_MIRRORS,
        intents: npt.NDArray[np.float32] | None = None,
        weight_corrections: float = 1.0,
    ) -> None:
        """Prepare batches of `size` frames with the `streams` that the model uses.

        The frames from M on are images in the mirrors, see `Mirrors`. Intents, (M * images, 2),
        are told beside the streams. Corrected frames are drawn `weight_corrections` times as often
        as others.
        """
        self._data, self._streams, self._seed, self._device = data, streams, seed, device
        self._size, self._mirrors, self._weight = size, mirrors, weight_corrections
        self._intents = None if intents is None else torch.from_numpy(intents)
        with warnings.catch_warnings():
            # Arrays mapped from the cache are read-only, and are never written to.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            seen = {name: torch.from_numpy(data.observations[name]) for name in streams}
        place = device if _fit(seen, device) else torch.device("cpu")
        # On the CPU these share memory with the demonstrations.
        self._seen = {name: values.to(place) for name, values in seen.items()}
        nothing = np.empty(0, np.int64)
        self._order: tuple[int, Frames] = (-1, nothing)
        self._known: tuple[Frames, Frames] = (nothing, nothing)

    @cached_property
    def _spreads(self) -> dict[str, Tensor]:
        """Standard deviation of each measurement, (K,), on the CPU."""
        return {
            name: values.std(dim=(0, 1), correction=0).cpu()
            for name, values in self._seen.items()
            if values.ndim == 3
        }

    def frames_of(self, step: int, frames: Frames) -> Frames:
        """Part of `frames` that `step` (from 0) trains on; each epoch has its own order."""
        corrected, count = self._corrected(frames)
        total = len(frames) - len(corrected) + count
        if not total:
            raise DemonstrationError(
                f"weight_corrections: got {self._weight:g}, of which {len(corrected)} corrected "
                "steps alone leave none to train on; give a larger one, or demonstrations too"
            )
        size = min(self._size, total)
        epoch, place = divmod(step, total // size)
        if self._order[0] != epoch:
            rng = np.random.default_rng((self._seed, epoch))
            self._order = epoch, rng.permutation(self._weighted(frames, corrected, count, rng))
        return self._order[1][place * size : (place + 1) * size]

    def _corrected(self, frames: Frames) -> tuple[Frames, int]:
        """Corrected ones of some frames, and how many are drawn in an epoch.

        There are none if they are drawn as often as others.
        """
        marks = self._data.corrections
        if marks is None or self._weight == 1:
            return frames[:0], 0
        if self._known[0] is not frames:  # every step asks about the same frames
            self._known = frames, frames[marks[frames % len(marks)]]
        corrected = self._known[1]
        return corrected, round(self._weight * len(corrected))

    def _weighted(
        self, frames: Frames, corrected: Frames, count: int, rng: np.random.Generator
    ) -> Frames:
        """Frames of an epoch: corrected ones as often as they weigh, on average over epochs."""
        if not len(corrected):
            return frames
        others = frames[~np.isin(frames, corrected)]
        times = int(self._weight)
        rest = rng.permutation(corrected)[: count - times * len(corrected)]
        return np.concatenate([others, *[corrected] * times, rest])

    def observation(
        self,
        frames: Frames,
        augmentation: Augmentation | None = None,
        generator: torch.Generator | None = None,
        rows: slice = slice(None),
    ) -> dict[str, Tensor]:
        """Streams of `frames`, with the batch axis first, on the device.

        Args:
            frames: Indices of the frames.
            augmentation: Random changes; None for none.
            generator: Source of the changes, on the CPU, so that they are equal for every device.
            rows: Part of `frames` to return; changes are drawn for all.
        """
        streams = self._select(frames[rows], self._streams)
        if augmentation is not None:
            streams = augmentation.apply(streams, self._spreads, generator, len(frames), rows)
        if self._intents is not None:
            streams[INTENT] = self._intents[torch.from_numpy(frames[rows])].to(self._device)
        return streams

    def measured(self, frames: Frames) -> dict[str, Tensor]:
        """All streams of `frames` that are not images, on the CPU."""
        names = [name for name in self._streams if self._seen[name].ndim == 3]
        return {name: values.cpu() for name, values in self._select(frames, names).items()}

    def _select(self, frames: Frames, names: Sequence[str]) -> dict[str, Tensor]:
        """Streams of `frames` on the device; those of images in mirrors are reflected."""
        count = len(self._data.actions)
        streams = {}
        for name in names:
            # Images are moved as bytes and processed on the device.
            seen = self._seen[name]
            chosen = torch.from_numpy(frames % count).to(seen.device)
            streams[name] = seen.index_select(0, chosen).to(self._device)
        self._mirrors.reflect(frames // count, streams)
        return streams

    def actions(self, frames: Frames) -> Tensor:
        """Actions of `frames` in the interface's units on the device, shape (B, H*D)."""
        count = len(self._data.actions)
        actions = self._data.actions[frames % count].astype(np.float32, copy=False)
        chosen = torch.from_numpy(actions)
        self._mirrors.reflect(frames // count, {}, chosen)
        return chosen.flatten(1).to(self._device)

    def generator(self, step: int, device: torch.device | None = None) -> torch.Generator:
        """Random generator of `step`, on the CPU or another device."""
        words = np.random.SeedSequence((self._seed, step)).generate_state(1, np.uint64)
        return torch.Generator(device or "cpu").manual_seed(int(words[0]) >> 1)

    def identity(self) -> dict[str, int]:
        """Identity of the demonstrations: counts and a checksum."""
        checksum = 0
        seen = [self._data.observations[name] for name in self._streams]
        told = [] if self._intents is None else [self._intents.numpy()]
        marks = [] if self._data.corrections is None else [self._data.corrections]
        for values in (self._data.actions, self._data.episodes, *seen, *told, *marks):
            checksum = zlib.crc32(np.ascontiguousarray(values).data, checksum)
        return {
            "frames": len(self._data.actions),
            "episodes": len(np.unique(self._data.episodes)),
            "checksum": checksum,
        }


def _fit(streams: dict[str, Tensor], device: torch.device) -> bool:
    """True if the streams take at most half of the free memory of a CUDA device."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return sum(values.nbytes for values in streams.values()) <= free / 2
