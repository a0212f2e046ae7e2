"""Command inspect_demos: an HTML report of a folder of demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ebm_policy_ros.inference.settings import positive
from ebm_policy_ros.training.data.bag_folder import BagFolder
from ebm_policy_ros.training.inspection.executions import BEFORE
from ebm_policy_ros.training.inspection.page import is_page, render_page
from ebm_policy_ros.training.inspection.reading import read_recordings
from ebm_policy_ros.training.inspection.report import make_report
from ebm_policy_ros.util.cli import run_command

PAGE = "inspection.html"


@dataclass(frozen=True)
class InspectArgs:
    """Write one self-contained HTML page about a folder of demonstrations."""

    folder: Path
    """Folder with the demonstrations, bag folders at any depth."""
    out: Path | None = None
    """Page to write. Default: inspection.html in the folder. An older page of this command is
    replaced, any other file is not."""
    interface: str = ""
    """Interface file of the robot and task, or the bare name of a shipped one. Empty: the one
    noted in most of the bags."""
    exclude: Path | None = None
    """List of episodes to exclude, as saved from the page. They are shown as ticked, and are not
    counted in the overall metrics."""
    before_stop: float = BEFORE
    """Time before a stop of a policy that is shown, s."""

    def __post_init__(self) -> None:
        positive(self, "before_stop")


def inspect_demos(args: InspectArgs) -> None:
    """Write the page and print its summary.

    Raises:
        ValueError: (or a subclass) if the folder, the interface or the list cannot be used.
    """
    out = args.out or args.folder / PAGE
    if out.exists() and not is_page(out):
        raise FileExistsError(f"{out}: exists and is no page of inspect_demos; choose --out")
    folder = BagFolder.open(args.folder, args.exclude)
    interface = folder.interface(args.interface)
    found = read_recordings(folder, interface, args.before_stop)
    excluded = frozenset(bag.relative_to(args.folder).as_posix() for bag in folder.excluded)
    report = make_report(found, interface, excluded)
    partial = out.with_name(f".{out.name}.partial")
    partial.write_bytes(render_page(report, args.folder).encode("utf-8", "replace"))
    partial.replace(out)
    print(f"{out}: {report.summary.words}")


def main(argv: list[str] | None = None) -> None:
    """Run the command inspect_demos; `argv` replaces the command line's arguments."""
    run_command("inspect_demos", InspectArgs, inspect_demos, argv, positional=True)


if __name__ == "__main__":
    main()
