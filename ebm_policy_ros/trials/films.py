"""Video of a trial, made from the camera in its bag."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ebm_policy_ros.bags.bag import Bag
from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.interface import NANOSECONDS, ImageStream, Interface
from ebm_policy_ros.messages.errors import MessageError
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


def make_film(bag: Path, interface: Interface, path: Path) -> str:
    """Write the first camera of a bag as a video, in its own time.

    Args:
        bag: Bag of a trial.
        interface: Interface that was recorded.
        path: File to write; it is there as a whole or not at all.

    Returns:
        Reason why there is no video; empty if there is one.
    """
    camera = camera_of(interface)
    if camera is None:
        return "no camera in the interface"
    draft = path.with_name(f".{path.name}")
    try:
        with closing(VideoWriter(draft, _RATE)) as video:
            _write(bag, camera, video)
    except (BagError, MessageError) as error:
        draft.unlink(missing_ok=True)
        return str(error)
    draft.replace(path)
    return ""


def _write(bag: Path, camera: ImageStream, video: VideoWriter) -> None:
    """Write each picture for as long as it was the newest."""
    last, since, owed = None, 0, 0.0
    for message in Bag(bag).messages({camera.topic: camera.type}):
        now = stamp_ns(message.content) or message.received_ns
        if last is not None:
            owed += _RATE * min(max(0, now - since) / NANOSECONDS, _LONGEST)
            for _ in range(int(owed)):
                video.add(last)
            owed -= int(owed)
        last, since = picture(message.content, _LARGEST), now
    if last is None:
        raise BagError(f"{bag}: no pictures on {camera.topic}")
    video.add(last)
