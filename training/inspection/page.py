"""Self-contained HTML page of the inspection."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from markupsafe import Markup

from ebm_policy_ros.interface import Interface
from ebm_policy_ros.training.inspection.issue_types import KINDS, percent
from ebm_policy_ros.training.inspection.report import Entry, Report
from ebm_policy_ros.util.page_template import page_environment, page_style

_GENERATOR = "ebm_policy_ros inspect_demos"


def is_page(path: Path) -> bool:
    """True if a file is a page written by `render_page`."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return f'content="{_GENERATOR}"'.encode() in file.read(1000)


def render_page(report: Report, folder: Path) -> str:
    """Render the page as HTML; it needs no other file and no network.

    All text from the bags is escaped, and only the page's own script may run.

    Args:
        report: Content of the page.
        folder: Folder of the demonstrations, for the title.
    """
    environment = page_environment(
        "ebm_policy_ros.training.inspection",
        {
            "highest_of_arms": _highest_of_arms,
            "length_of_time": _length_of_time,
            "listed": _listed,
            "percent": percent,
        },
    )
    script = environment.get_template("page.js").render()
    digest = b64encode(sha256(script.encode("utf-8")).digest()).decode("ascii")
    return environment.get_template("page.html").render(
        generator=_GENERATOR,
        style=page_style(environment),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
        report=report,
        folder=str(folder),
        title=folder.resolve().name,
        written=datetime.now().astimezone(),
        kinds=KINDS,
        present=_present(report),
        keys={entry.name: entry.key for entry in report.entries},
    )


def _present(report: Report) -> Mapping[str, int]:
    """Number of episodes with each issue type, in the order of weight."""
    counts = Counter(
        kind for entry in report.entries for kind in {issue.kind for issue in entry.issues}
    )
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


def _highest_of_arms(shares: Sequence[float], interface: Interface) -> float:
    """Highest number of all dimensions of an action but the grippers, which stay at a bound."""
    starts = [(part.columns.start, len(part.interface.command.fields)) for part in interface.parts]
    return max(max(shares[start : start + size]) for start, size in starts)


def _length_of_time(seconds: float) -> str:
    """Format a duration, such as 12.3 s, 4 min 10 s or 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _listed(entry: Entry) -> str:
    """Line of the episode in an exclude list; empty if its name cannot be written as a line."""
    name = f"./{entry.name}" if entry.name.startswith("#") else entry.name
    held = name.isprintable() and name == name.strip() and " #" not in name
    return name if held else ""
