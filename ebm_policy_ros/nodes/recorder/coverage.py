"""Coverage: how the scenes of the kept episodes began and ended, in one picture."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import ImageStream, Interface
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.images import decode_image_file, encode_png
from ebm_policy_ros.observation.buffer import Observation

Picture = npt.NDArray[np.uint8]
"""Colours, shape (H, W, 3), rgb."""

SCENES, COVERAGE = "scenes.png", "coverage.png"
"""File in an episode's folder: its first scene on the left, its last one on the right; and file in
the folder of all episodes: the picture of all."""
# Width of a camera's picture, pixels.
_WIDTH = 160
# Episodes from which the usual background is computed, and the difference from it that shows that
# something stood there, grey values.
_MOST, _DIFFERENCE = 30, 40


class Coverage:
    """Pictures of the first and the last scene of each kept episode.

    An episode of another size of pictures, for example of another camera, is left out. One that is
    set aside stays in the picture until the next start.
    """

    def __init__(self, folder: Path, interface: Interface) -> None:
        """Read the pictures of the episodes in a folder.

        Args:
            folder: Folder of the kept episodes.
            interface: Its cameras are shown, one below the other.
        """
        self._folder = folder
        streams = interface.observation.items()
        self._cameras = [name for name, stream in streams if isinstance(stream, ImageStream)]
        self._first: list[Picture] = []
        self._background = np.empty((0, 0, 3), np.uint8)
        self._count = np.empty((0, 0), np.float32)
        self._is_known = True
        self.picture: Picture | None = None
        """Places where something stood at the first scenes, left, and at the last ones, right.

        The usual background is dark; a colour tells in how many episodes a pixel differs from it.
        None without episodes.
        """
        for path in sorted(folder.glob(f"*/{SCENES}")):
            with suppress(OSError, MessageError):  # none of ours, or damaged
                self._include(decode_image_file(path.read_bytes()))
        self._draw()

    def view(self, observation: Observation) -> Picture | None:
        """All cameras of an observation, one below the other; None without a camera."""
        if not self._cameras:
            return None
        return np.concatenate([_small(observation[name][-1]) for name in self._cameras])

    def add(self, episode: Path, first: Picture, last: Picture) -> None:
        """Add an episode, and keep its pictures beside its bag.

        Args:
            episode: Folder of the kept episode.
            first: View of its first scene.
            last: View of its last scene.

        Raises:
            OSError: If the disk doesn't accept the file.
        """
        scenes = np.concatenate([first, last], axis=1)
        self._include(scenes)
        self._draw()
        _write(episode / SCENES, scenes)
        if self.picture is not None:
            _write(self._folder / COVERAGE, self.picture)

    def _include(self, scenes: Picture) -> None:
        known = self._first[0].shape if self._first else (len(scenes), 2 * _WIDTH, 3)
        if scenes.shape != known:
            return
        if len(self._first) < _MOST:
            self._first.append(scenes)
            self._is_known = False
        else:  # the background is known well enough
            self._know_background()
            self._count += _differs(scenes, self._background)

    def _know_background(self) -> None:
        """Compute the usual background, and how often each pixel differs from it, if necessary."""
        if not self._is_known:
            self._background = np.median(self._first, axis=0).astype(np.uint8)
            masks = [_differs(one, self._background) for one in self._first]
            self._count = np.sum(masks, axis=0)
            self._is_known = True

    def _draw(self) -> None:
        if not self._first:
            return
        self._know_background()
        share = np.sqrt(self._count / max(1.0, float(self._count.max())))
        heat = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_TURBO)
        heat = cv2.cvtColor(heat, cv2.COLOR_BGR2RGB)
        dark = (self._background * 0.5).astype(np.uint8)
        drawn = np.where(share[..., None] > 0, cv2.addWeighted(heat, 0.8, dark, 0.6, 0.0), dark)
        drawn = np.ascontiguousarray(drawn)
        for text, x in (("begin", 4), ("end", _WIDTH + 4)):
            cv2.putText(drawn, text, (x, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
        self.picture = drawn


def _differs(scenes: Picture, background: Picture) -> npt.NDArray[np.float32]:
    """Pixels that differ from the background, 1 or 0, shape (H, W)."""
    change = cv2.absdiff(scenes, background).max(axis=2)
    return np.asarray(change > _DIFFERENCE, np.float32)


def _small(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _write(path: Path, picture: Picture) -> None:
    """Write a picture as a whole: a viewer never finds half of it."""
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(encode_png(picture))
    draft.replace(path)
