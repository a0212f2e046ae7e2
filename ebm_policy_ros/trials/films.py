"""Video of a trial, made from the camera in its bag."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from ebm_policy_ros.bags.bag import Bag
from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import (
    NANOSECONDS,
    ImageStream,
    Interface,
    interface_from_dict,
)
from ebm_policy_ros.messages.pictures import picture
from ebm_policy_ros.messages.streams import stamp_ns
from ebm_policy_ros.util.video_file import VideoWriter

_RATE = 30
_LARGEST = 640
# Longest time for which a picture is shown, s; after a clock that jumps, it would be hours.
_LONGEST = 5.0


def camera_of(interface: Interface) -> ImageStream | None:
    """First camera of an interface; None if it has none."""
    streams = interface.observation.values()
    return next((stream for stream in streams if isinstance(stream, ImageStream)), None)


def make_film(bag: Path, path: Path) -> str:
    """Write the first camera of a bag as a video, in its own time.

    Args:
        bag: Bag of a trial, with its interface, as the recorder writes it.
        path: File to write; it is there as a whole or not at all.

    Returns:
        Reason why there is no video; empty if there is one.
    """
    draft = path.with_name(f".{path.name}")
    try:
        recorded = Bag(bag)
        content = json.loads(recorded.custom.get("interface", "null"))
        camera = camera_of(interface_from_dict(content, str(bag)))
        if camera is None:
            return "no camera in the interface"
        with closing(VideoWriter(draft, _RATE)) as video:
            _write(recorded, camera, video)
    except (ValueError, OSError) as error:  # of a bag that was moved, damaged or is another one
        draft.unlink(missing_ok=True)
        return str(error)
    draft.replace(path)
    return ""


def _write(bag: Bag, camera: ImageStream, video: VideoWriter) -> None:
    """Write each picture for as long as it was the newest."""
    last, since, owed = None, 0, 0.0
    for message in bag.messages({camera.topic: camera.type}):
        now = stamp_ns(message.content) or message.received_ns
        if last is not None:
            owed += _RATE * min(max(0, now - since) / NANOSECONDS, _LONGEST)
            for _ in range(int(owed)):
                video.add(last)
            owed -= int(owed)
        last, since = picture(message.content, _LARGEST), now
    if last is None:
        raise BagError(f"{bag.path}: no pictures on {camera.topic}")
    video.add(last)
