"""Figures of the documentation, after `make demo`, `make demo TASK=push`, `make experiments`."""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "test"))
from browser import Browser

from ebm_policy_ros.interface import ImageStream, load_interface
from ebm_policy_ros.sim import record_demos
from ebm_policy_ros.sim.subprocesses import Program, has_ended, running
from ebm_policy_ros.sim.tasks import TASKS, make_task
from ebm_policy_ros.sim.world import World
from ebm_policy_ros.training import inspect_demos
from ebm_policy_ros.util.resources import interface_path

IMAGES = Path(__file__).parent / "images"
RESULTS = Path("out")
# Longest time to wait for something on a page, s.
LIMIT = 120.0
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


def draw_operator() -> None:
    """The operator's page on a computer and on a tablet, and without its node; needs chromium."""
    simulated = {"use_sim_time": True}
    task = {"task": "push_either", "auto_reset": True}
    # The interface inside the policy does not say where the camera is.
    policy = {"policy": "ur5e_push_either", "interface": "ur5e_push"}
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        recorder = {"folder": str(folder / "demos"), "keys": False}
        programs = [
            Program("sim.bridge_node", task),
            Program("nodes.policy.node", {**simulated, **policy}),
            Program("nodes.recorder.node", {**simulated, **recorder}),
            Program("nodes.operator.node", simulated),
        ]
        logs = folder / "logs"
        processes = ends.enter_context(running(programs, logs))

        def open_page(name: str, width: int, height: int, dark: bool = False) -> PictureOf:
            page = PictureOf(folder / name, width, height, dark)
            ends.callback(page.close)
            page.begin("http://127.0.0.1:8090", lambda: has_ended(processes, "", logs))
            return page

        page = open_page("computer", 1280, 960)
        page.wait("#recorder-state", "idle")
        page.wait("#next-step", "set the scene")
        page.wait("#word", "Not started")
        page.press('[data-command="start"]')
        page.wait("#word", "Moving the arm")
        page.press('[data-value="start"]')
        page.wait("#episode", "episode_0000, [3-9] s")
        page.wait_for_line()
        page.save("operate.png")
        page.wait("#next-step", "goal reached")
        page.press('[data-value="success"]')
        page.wait("#kept", "1 success")
        tablet = open_page("tablet", 768, 1024, dark=True)
        tablet.wait("#word", "Moving the arm")
        page.press('[data-value="start"]')
        tablet.wait("#episode", "episode_0001, [4-9] s")
        tablet.evaluate("document.querySelector('#control').scrollIntoView()")
        tablet.save("operate_charts.png")
        tablet.evaluate("window.scrollTo(0, 0)")
        tablet.press("#stop")
        tablet.wait("#word", "Stopped")
        tablet.save("operate_tablet.png")
        processes.pop("policy_node").kill()
        page.wait("#word", "No policy node")
        page.save("operate_lost.png")


class PictureOf(Browser):
    """The operator's page in a browser, of which pictures are taken."""

    def __init__(self, profile: Path, width: int, height: int, dark: bool = False) -> None:
        super().__init__(profile, width, height)
        self._check: Callable[[], object] = lambda: None
        self.send("Network.disable")  # it would tell of each picture that the page receives
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=theme)
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=dark,
        )

    def begin(self, url: str, check: Callable[[], object]) -> None:
        """Open the page as soon as there is one.

        Args:
            url: Address of the page.
            check: Raises an error if a program behind the page has ended.
        """
        self._check = check

        def is_open() -> bool:
            self.open(url)
            return bool(self.texts("#word"))

        self._until(is_open, url)

    def wait(self, selector: str, pattern: str) -> None:
        """Wait until the text of an element begins with a pattern."""
        self._until(lambda: re.match(pattern, self.texts(selector)[0]), f"{selector}: {pattern}")

    def wait_for_line(self) -> None:
        """Wait until the chosen actions are drawn."""
        drawn = "document.querySelector('path.next.line')?.getAttribute('d')"
        self._until(lambda: self.evaluate(drawn), "chosen actions")

    def _until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + LIMIT
        while not condition():
            self._check()
            assert time.monotonic() < end, f"{what}: not there after {LIMIT:g} s"
            time.sleep(0.1)

    def press(self, selector: str) -> None:
        """Press a button with the mouse."""
        box = self.evaluate(
            f"(() => {{ const b = document.querySelector({selector!r});"
            " b.scrollIntoView({block: 'center'}); const r = b.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        place = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, **place)

    def save(self, name: str) -> None:
        """Save a picture of what is seen."""
        data = self.send("Page.captureScreenshot", format="png")["data"]
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        cv2.imwrite(str(IMAGES / name), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def copy_results() -> None:
    """Figures that other commands have drawn."""
    for source, name in FIGURES.items():
        shutil.copy(RESULTS / source, IMAGES / name)


DRAW: dict[str, Callable[[], None]] = {
    "views": draw_views,
    "tasks": draw_tasks,
    "comparison": draw_comparison,
    "inspection": draw_inspection,
    "operator": draw_operator,
    "results": copy_results,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", help=f"some of {', '.join(DRAW)}; by default all")
    chosen = parser.parse_args().figures or DRAW
    if unknown := set(chosen) - set(DRAW):
        parser.error(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(DRAW)}")
    IMAGES.mkdir(exist_ok=True)
    for name in chosen:
        DRAW[name]()
