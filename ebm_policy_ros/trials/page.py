"""HTML page of a comparison, with a video of each trial beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from ebm_policy_ros.trials.files import write_whole
from ebm_policy_ros.trials.films import make_film
from ebm_policy_ros.trials.results import Report, draw_chart, e_value_text, films
from ebm_policy_ros.util.page_template import page_environment, page_style

PAGE = "index.html"
_VIDEOS = "videos"


def write_page(report: Report, out: Path) -> list[str]:
    """Write the page and the videos into the folder of a comparison.

    Args:
        report: Content of the page.
        out: Folder of the comparison.

    Returns:
        A line for each trial without a video.
    """
    bags = {trial.number: Path(trial.bag) for block in report.blocks for trial in block}
    (out / _VIDEOS).mkdir(exist_ok=True)
    missing: dict[int, str] = {}
    for number, name in films(report).items():
        path = out / _VIDEOS / name
        if not path.exists() and (problem := make_film(bags[number], path)):
            missing[number] = problem
    write_whole(out / PAGE, render_page(report, out.resolve().name, missing).encode("utf-8"))
    return [f"trial {number}: no video: {problem}" for number, problem in missing.items()]


def render_page(report: Report, title: str, missing: Mapping[int, str]) -> str:
    """Render the page as HTML; it needs no network, and its only other files are the videos.

    Args:
        report: Content of the page.
        title: Title of the page.
        missing: Reason why there is no video, by the number of the trial.
    """
    environment = page_environment("ebm_policy_ros.trials", {"chart": draw_chart})
    return environment.get_template("page.html").render(
        style=page_style(environment),
        report=report,
        title=title,
        written=datetime.now().astimezone(),
        videos={n: f"{_VIDEOS}/{name}" for n, name in films(report).items() if n not in missing},
        missing=missing,
        e_value=e_value_text,
    )
