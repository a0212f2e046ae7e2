"""compare_policies: several policies on the same scenes, in one table and one video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ebm_policy_ros.bags.read_report import BagError
from ebm_policy_ros.policy.file import load_policy_file
from ebm_policy_ros.policy.landscape import draw_landscape, landscape, write
from ebm_policy_ros.policy.policy import Policy
from ebm_policy_ros.sim.energy_picture import decide_at
from ebm_policy_ros.sim.episodes import EpisodeResult, read_results
from ebm_policy_ros.sim.evaluate import EvaluateArgs, counted_rows, evaluate, load_judged
from ebm_policy_ros.sim.subprocesses import ProgramFailed
from ebm_policy_ros.sim.tasks import make_task
from ebm_policy_ros.sim.video import (
    FRAMES_PER_SECOND,
    SIZE,
    count_frames,
    read_video,
)
from ebm_policy_ros.training.data.episodes import read_episode
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.resources import policy_path
from ebm_policy_ros.util.video_file import VideoWriter

Frame = npt.NDArray[np.uint8]

# Width of the edge that tells the outcome, and distance of the texts from the border, pixels.
_EDGE, _MARGIN = 8, 16
# Row where the picture of energies begins, its height and width, and its grid, pixels.
_CORNER, _SIDE, _GRID = 48, 150, 40
_GREEN, _RED = (40, 180, 70), (220, 40, 40)
# Time for which the outcome of a scene is shown, s.
_SHOWN = 1.0


@dataclass(frozen=True)
class CompareArgs:
    """Run policies on the same unseen scenes, and show them side by side in a table and a video.

    Each is judged as by evaluate_policy, in a folder of its own.
    """

    policies: list[str]
    """Policy files, or bare names of shipped ones; the first one is on the left."""
    out: Path
    """Folder for results, videos and bags; a run that was cut short goes on."""
    task: str = "avoid"
    """Task of the simulation, see evaluate_policy."""
    episodes: int = 10
    """Number of scenes."""
    seed: int = 100000
    """Seed of the first scene; the others follow by one."""
    execute: int = 0
    """Actions of a chunk that are executed before the next decision; 0 for half of them."""
    interface: str | None = None
    """Interface file of the arm, or the bare name of a shipped one; by default the task's."""

    def __post_init__(self) -> None:
        if not self.policies:
            raise ValueError("policies: got none, expected at least one")
        names = [policy_path(policy).stem for policy in self.policies]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"policies: got two named {name}, expected each name once; rename a file"
                )


class _Judged(NamedTuple):
    """A policy, its results and the folder with its videos."""

    policy: Policy
    name: str
    """Name of the file, and kind of the model."""
    folder: Path
    rate: float
    """Rate of the decisions, Hz."""
    summary: dict[str, Any]
    results: list[EpisodeResult]


def compare(args: CompareArgs) -> None:
    """Judge each policy, print the table, and put the videos side by side."""
    task = make_task(args.task)
    # All are loaded before the first one runs for minutes.
    policies = {name: load_judged(name) for name in args.policies}
    judged = [_judge(args, name, policy) for name, policy in policies.items()]
    print(_table(args, judged, task.labels))
    path = args.out / f"{'_and_'.join(each.folder.name for each in judged)}.mp4"
    with closing(VideoWriter(path, FRAMES_PER_SECOND)) as video:
        for scene in range(args.episodes):
            for frame in _side_by_side(judged, scene, task.labels):
                video.add(frame)
    print(f"\nside by side: {path}; each on its own is beside it")


def _judge(args: CompareArgs, name: str, policy: Policy) -> _Judged:
    path = policy_path(name)
    folder = args.out / path.stem
    summary = evaluate(
        EvaluateArgs(
            policy=name,
            out=folder,
            task=args.task,
            episodes=args.episodes,
            seed=args.seed,
            execute=args.execute,
            interface=args.interface,
            bags=args.episodes,
        )
    )
    assert policy.interface is not None
    return _Judged(
        policy=policy,
        name=f"{path.stem} ({load_policy_file(path).model['kind']})",
        folder=folder,
        rate=policy.interface.rate,
        summary=summary,
        results=read_results(folder),
    )


def _table(args: CompareArgs, judged: Sequence[_Judged], labels: Mapping[str, str]) -> str:
    """Return the figures of all policies, a column for each."""
    rows = [("", [each.name for each in judged])]
    for row in zip(*(counted_rows(labels, each.summary) for each in judged), strict=True):
        rows.append((row[0][0], [f"{count}/{args.episodes}" for _, count in row]))
    bounds = [each.summary["success_interval_95"] for each in judged]
    rows.append(("95 % interval", [f"{low:.0%} to {high:.0%}" for low, high in bounds]))
    for name in ("p50", "p99"):
        times = [each.summary["decision_ms"][name] for each in judged]
        rows.append((f"image to command, {name}", [f"{time} ms" for time in times]))
    widths = [max(len(cell) for _, cells in rows for cell in cells)] * len(judged)
    first = max(len(label) for label, _ in rows)
    head = f"task {args.task}, scenes {args.seed} to {args.seed + args.episodes - 1}\n"
    return head + "\n".join(
        f"{label:<{first}}  " + "  ".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))
        for label, cells in rows
    )


def _side_by_side(
    judged: Sequence[_Judged], scene: int, labels: Mapping[str, str]
) -> Iterator[Frame]:
    """Yield the frames of a scene; a policy that is done earlier waits for the others."""
    panes: list[Frame] = []
    for frames in zip_longest(*(_pane(each, scene, labels) for each in judged)):
        last = panes or frames
        panes = [old if new is None else new for new, old in zip(frames, last, strict=True)]
        yield np.hstack(panes)
    for _ in range(round(_SHOWN * FRAMES_PER_SECOND)):
        yield np.hstack(panes)


def _pane(each: _Judged, scene: int, labels: Mapping[str, str]) -> Iterator[Frame]:
    """Yield the frames of one policy's scene, with name, count, energies and outcome."""
    result = each.results[scene]
    video = each.folder / "videos" / f"episode_{result.seed}.mp4"
    frames, count = read_video(video), count_frames(video)
    if not count:  # a policy that stops at once has not moved
        frames, count = iter([np.zeros((*SIZE, 3), np.uint8)]), 1
    energies = _energies(each.policy, result)
    solved = sum(one.success for one in each.results[:scene])
    for left, frame in zip(reversed(range(count)), frames, strict=False):
        if energies:
            # Both end with the episode; the bag may begin a little earlier.
            ticks = int(left / FRAMES_PER_SECOND * each.rate)
            picture = energies[max(0, len(energies) - 1 - ticks)]
            frame[_CORNER : _CORNER + _SIDE, _MARGIN : _MARGIN + _SIDE] = picture
        over = left == 0
        told = f"{each.name}: {solved + (over and result.success)} of {scene + over}"
        write(frame, told, (_MARGIN, 2 * _MARGIN), 0.6)
        if over:
            _tell(frame, result, labels)
        yield frame


def _energies(policy: Policy, result: EpisodeResult) -> list[Frame]:
    """Draw the energies of each decision in a bag; none for a policy without an energy."""
    assert policy.interface is not None
    if not policy.has_energy or len(policy.interface.action.names) < 2:
        return []
    try:
        episode = read_episode(Path(result.bag), policy.interface, whole=True)
    except BagError as error:  # not recorded, or of a policy that stops at once
        print(f"scene {result.seed}: no energies in the video: {error}")
        return []
    pictures: list[Frame] = []
    decisions = decide_at(policy, episode, range(len(episode.actions)))
    for step, decision in decisions.items():
        drawn = landscape(policy, episode.observation(step), decision, _GRID)
        picture = draw_landscape(drawn, _SIDE, [(episode.actions[step, 0], _RED)])
        write(picture, "energy", (6, 14))
        pictures.append(picture)
    return pictures


def _tell(frame: Frame, result: EpisodeResult, labels: Mapping[str, str]) -> None:
    """Draw the outcome of a scene: an edge in its colour, and why."""
    told = [label for key, label in labels.items() if result.measures.get(key) is True]
    failed = result.stopped or ", ".join(told) or "not solved"
    text = labels.get("success", "solved") if result.success else failed
    colour = _GREEN if result.success else _RED
    height, width = frame.shape[:2]
    cv2.rectangle(frame, (0, 0), (width - 1, height - 1), colour, 2 * _EDGE)
    write(frame, text, (_MARGIN, height - _MARGIN), 0.6)


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    run_command("compare_policies", CompareArgs, compare, argv, (ProgramFailed,))


if __name__ == "__main__":
    main()
