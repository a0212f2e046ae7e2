"""Figures of the documentation, after `make demo`, `make demo TASK=push`, `make experiments`."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from ebm_policy_ros.interface import ImageStream, load_interface
from ebm_policy_ros.sim import record_demos
from ebm_policy_ros.sim.tasks import TASKS, make_task
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.training import inspect_demos
from ebm_policy_ros.util.resources import interface_path

IMAGES = Path(__file__).parent / "images"
RESULTS = Path("out")
FIGURES = {
    "demo/push/ur5e_push/energy.png": "demo.png",
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


def draw_tasks() -> None:
    """A picture of each task that the page of tasks shows, as the videos show it."""
    page = (IMAGES.parent / "reference" / "tasks.md").read_text(encoding="utf-8")
    for name in TASKS:
        if f"task_{name}.jpg" not in page:
            continue
        world = World(make_task(name))
        world.reset(3)
        picture = world.render("cinematic", (480, 640), shadows=True)
        small = cv2.resize(picture, (400, 300), interpolation=cv2.INTER_AREA)
        path = str(IMAGES / f"task_{name}.jpg")
        cv2.imwrite(path, small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
        world.close()


def draw_comparison() -> None:
    """Moving picture of the first scenes of `make demo`."""
    video = RESULTS / "demo" / "avoid" / "ur5e_avoid_and_ur5e_avoid_regression.mp4"
    colours = "split[a][b];[a]palettegen[p];[b][p]"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-t", "11"]
    command += ["-i", str(video), "-vf", f"fps=10,scale=720:-1,{colours}paletteuse=dither=none"]
    subprocess.run([*command, str(IMAGES / "avoid.gif")], check=True)


def draw_inspection() -> None:
    """The page of inspect_demos, with a copy and a torn bag among the episodes; needs chromium."""
    folder = RESULTS / "inspection"
    demos, page = folder / "demos", folder / "page.html"
    record_demos.main(["--task", "push_either", "--episodes", "30", "--out", str(demos)])
    for name in ("push_either_0008_again", "push_either_0030"):
        shutil.rmtree(demos / name, ignore_errors=True)
        shutil.copytree(demos / "push_either_0008", demos / name)
    (torn,) = (demos / "push_either_0030").glob("*.mcap*")
    torn.write_bytes(torn.read_bytes()[:1000])
    inspect_demos.main([str(demos), "--out", str(page)])
    command = ["chromium", "--headless", "--hide-scrollbars", "--window-size=1180,1540"]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []  # root may not have one
    picture = (IMAGES / "inspection.png").resolve()
    command += [f"--screenshot={picture}", page.resolve().as_uri()]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    full = cv2.imread(str(picture))
    assert full is not None
    small = cv2.resize(full, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(picture), small, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    IMAGES.mkdir(exist_ok=True)
    draw_views()
    draw_tasks()
    draw_comparison()
    draw_inspection()
    for source, name in FIGURES.items():
        shutil.copy(RESULTS / source, IMAGES / name)
