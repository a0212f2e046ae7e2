"""The figures of the documentation; run `make demo experiments figures`."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from ebm_policy_ros.interface import ImageStream, load_interface
from ebm_policy_ros.share import interface_path
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.world import World

IMAGES = Path(__file__).parent / "images"
RESULTS = Path("out")
FIGURES = {
    "demo/energy.png": "demo.png",
    "experiments/functions/functions.png": "functions.png",
    "experiments/coordinates/coordinates.png": "coordinates.png",
    "experiments/particle/particle.png": "particle.png",
}


def draw_views() -> None:
    """The camera's picture, what the policy sees of it, and the view of the videos."""
    camera = load_interface(interface_path("ur5e_push")).observation["camera"]
    assert isinstance(camera, ImageStream)
    world = World(make_task("push_either"))
    world.reset(3)
    height, width = 480, 640
    full = world.render()
    small = cv2.resize(full, camera.size[::-1], interpolation=cv2.INTER_AREA)
    pictures = [
        cv2.resize(full, (width, height), interpolation=cv2.INTER_LINEAR),
        cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST),
        world.render("cinematic", (height, width), shadows=True),
    ]
    cv2.imwrite(str(IMAGES / "views.png"), cv2.cvtColor(np.hstack(pictures), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    draw_views()
    for source, name in FIGURES.items():
        shutil.copy(RESULTS / source, IMAGES / name)
