"""Coverage: how the scenes of the kept episodes began and ended, in one picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.interface import ImageStream, Interface
from ebm_policy_ros.messages.errors import MessageError
from ebm_policy_ros.messages.image_files import read_header
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
_MOST, _DIFFERENCE = 60, 40


class Coverage:
    """Pictures of the first and the last scene of each kept episode.

    An episode of another size of pictures, for example of another camera, is left out.
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
        self._scenes: dict[Path, Picture] = {}
        for path in sorted(folder.glob(f"*/{SCENES}")):
            scenes = _read(path)
            if scenes is not None:
                self._scenes[path.parent] = scenes
        self.picture = self._draw()
        """Places where something stood at the first scenes, left, and at the last ones, right.

        The usual background is dark; a colour tells in how many episodes a pixel differs from it.
        None without episodes.
        """

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
        self._scenes[episode] = scenes
        self.picture = self._draw()
        _write(episode / SCENES, scenes)
        if self.picture is not None:
            _write(self._folder / COVERAGE, self.picture)

    def remove(self, episode: Path) -> None:
        """Leave an episode out, because it was set aside."""
        if self._scenes.pop(episode, None) is not None:
            self.picture = self._draw()

    def _draw(self) -> Picture | None:
        alike = self._alike()
        if not alike:
            return None
        stack = np.stack(alike)
        chosen = np.linspace(0, len(stack) - 1, min(_MOST, len(stack))).astype(int)
        background = np.median(stack[chosen], axis=0).astype(np.uint8)
        share = np.zeros(background.shape[:2], np.float32)
        for scenes in alike:
            share += cv2.absdiff(scenes, background).max(axis=2) > _DIFFERENCE
        share = np.sqrt(share / max(1.0, float(share.max())))
        heat = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_TURBO)
        heat = cv2.cvtColor(heat, cv2.COLOR_BGR2RGB)
        dark = (background * 0.5).astype(np.uint8)
        drawn = np.where(share[..., None] > 0, cv2.addWeighted(heat, 0.8, dark, 0.6, 0.0), dark)
        for text, x in (("begin", 4), ("end", _WIDTH + 4)):
            cv2.putText(drawn, text, (x, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
        return np.ascontiguousarray(drawn)

    def _alike(self) -> list[Picture]:
        """Pictures of the same size as the newest one."""
        scenes = list(self._scenes.values())
        return [one for one in scenes if one.shape == scenes[-1].shape]


def _small(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _write(path: Path, picture: Picture) -> None:
    done, file = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done
    path.write_bytes(file.tobytes())


def _read(path: Path) -> Picture | None:
    """Picture of a file; None if it is none of ours."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        if read_header(data).width != 2 * _WIDTH:
            return None
    except (OSError, MessageError):
        return None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
