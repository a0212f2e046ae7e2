"""make_interface: writes an interface file from the topics of a running robot."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

from rclpy.utilities import remove_ros_args

from ebm_policy_ros.check.draft import ActionDraft, draft_action
from ebm_policy_ros.check.questions import Choice, Questions, Read, numbers_in
from ebm_policy_ros.check.survey import Commandable, Sensor, Survey
from ebm_policy_ros.check.writing import interface_text, write_interface
from ebm_policy_ros.nodes.check.running import running_node
from ebm_policy_ros.nodes.check.surveyor import Surveyor
from ebm_policy_ros.util.bounds import check_number
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.quoting import cut

NAME = "make_interface"
_QUESTIONS = 5
_RATE = 10.0


@dataclass(frozen=True)
class MakeArgs:
    """Write an interface file from the topics of a running robot, after at most five questions.

    An option answers its question in advance, by a number, by names, or by `default`. Without a
    terminal all five have to be given.
    """

    out: Path
    """File to write, such as my_arm.yaml; an existing file is never replaced."""
    camera: str = ""
    """Cameras, as 1,2 or by topics, or none."""
    command: str = ""
    """Topic that commands the arm; with :position or :velocity where the type does not tell."""
    measured: str = ""
    """Joints, poses of the tool and wrenches, as 1,2 or by topics."""
    rate: str = ""
    """Decisions per second, Hz."""
    limits: str = ""
    """Lowest and highest value of every field of the action, as --limits=-0.05,0.05."""
    seconds: float = 3.0
    """Time for which it looks at the topics, s."""

    def __post_init__(self) -> None:
        check_number("seconds", self.seconds, above_zero=True)


def make_interface(args: MakeArgs, words: list[str] | None = None) -> None:
    """Look, ask and write.

    Raises:
        ValueError: If an answer is wrong or missing, or the robot publishes too little.
        FileExistsError: If the file exists.
    """
    _refuse_existing(args.out)
    if not args.out.parent.is_dir():
        raise FileNotFoundError(f"{args.out}: there is no folder {args.out.parent}; make it first")
    with running_node(NAME, words) as (node, executor):
        print(f"looking at the topics for {args.seconds:g} s", flush=True)
        survey = Surveyor(node, executor).survey(args.seconds)
    text = drafted(args, survey, input if sys.stdin.isatty() else None)
    _refuse_existing(args.out)
    interface = write_interface(args.out, text)
    told = ", ".join(f"{name} ({cut(s.topic)})" for name, s in interface.observation.items())
    print(f"\n{args.out}: {told}; commands on {cut(interface.command.topic)}")
    print(f"Read it, correct what was guessed, then: check_robot --interface {args.out}")


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise FileExistsError(f"{path}: exists; choose another --out")


def drafted(args: MakeArgs, survey: Survey, read: Read | None) -> str:
    """Text of the file, after the questions.

    Args:
        args: Options, which answer questions.
        survey: Everything that was seen.
        read: Reader of an answer; None without a terminal.

    Raises:
        ValueError: If an answer is wrong or missing, or the robot publishes too little.
    """
    if not survey.commands:
        raise ValueError(
            "nobody listens for commands of a known type; start the controller of the arm"
        )
    questions = Questions(read, print, _QUESTIONS)
    cameras = _cameras(questions, args.camera, survey)
    command = _command(questions, args.command, survey)
    numeric = _measured(questions, args.measured, survey, command)
    if not cameras and not numeric:
        raise ValueError("--camera, --measured: nothing is observed; choose at least one stream")
    rate = questions.ask("rate", args.rate, "how many decisions per second (Hz)?",
                         f"{_RATE:g}", _rate)  # fmt: skip
    action = _limits(questions, args.limits, draft_action(command, numeric, survey))
    endless = [name for name, limits in survey.described.items() if limits.is_continuous]
    return interface_text(args.out.stem, rate, cameras, numeric, action, endless)


def _cameras(questions: Questions, given: str, survey: Survey) -> list[Sensor]:
    cameras = survey.cameras
    choices = [Choice(c.topic, f"{c.type}, {c.about}") for c in cameras]
    # The same picture often comes compressed too.
    raw = [i for i, c in enumerate(cameras) if c.type == cameras[0].type and not c.is_depth]
    text = "which cameras? Numbers with commas, or none"
    return [cameras[i] for i in questions.choose("camera", given, text, choices, raw)]


def _command(questions: Questions, given: str, survey: Survey) -> Commandable:
    choices = [
        Choice(c.name, f"{c.type}, heard by {cut(', '.join(c.listeners))}{_if_taken(c)}")
        for c in survey.commands
    ]
    text = "what commands the arm?"
    (index,) = questions.choose("command", given, text, choices, [0], most=1)
    return survey.commands[index]


def _if_taken(command: Commandable) -> str:
    """Condition that only the controller's configuration tells."""
    return f", if that takes {command.quantity}" if command.quantity else ""


def _measured(
    questions: Questions, given: str, survey: Survey, command: Commandable
) -> list[Sensor]:
    sensors = [s for s in survey.numeric if s.topic != command.topic]
    choices = [Choice(s.topic, f"{s.type}, {s.about}") for s in sensors]
    # The first joints and the first pose: others are often copies.
    usual = [
        next((i for i, s in enumerate(sensors) if s.type == kind), None)
        for kind in ("sensor_msgs/msg/JointState", "geometry_msgs/msg/PoseStamped")
    ]
    text = "which joints and which pose of the tool are measured? Numbers with commas"
    found = questions.choose("measured", given, text, choices, [i for i in usual if i is not None])
    return [sensors[i] for i in found]


def _rate(answer: str) -> float:
    (rate,) = numbers_in(answer, 1)
    if not 0.1 <= rate <= 1000.0:
        raise ValueError(f"got {rate:g}, expected 0.1 to 1000 Hz")
    return rate


def _limits(questions: Questions, given: str, draft: ActionDraft) -> ActionDraft:
    """Proposed limits, or one pair for all fields."""
    lines = [
        f"  {cut(name):<24} {low:g} to {high:g} {draft.unit}"
        for name, low, high in zip(draft.fields, draft.low, draft.high, strict=True)
    ]
    text = "\n".join(
        [f"lowest and highest value? Proposed ({draft.reason}), else one pair for all:", *lines]
    )
    return questions.ask("limits", given, text, "proposed", lambda answer: _bounded(answer, draft))


def _bounded(answer: str, draft: ActionDraft) -> ActionDraft:
    if answer == "proposed":
        return draft
    low, high = numbers_in(answer, 2)
    if not low < high:
        raise ValueError(f"got {low:g} and {high:g}, expected the lower one first")
    count = len(draft.fields)
    return dataclasses.replace(
        draft, low=(low,) * count, high=(high,) * count, reason="as answered"
    )


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    words = sys.argv[1:] if argv is None else argv
    run_command(NAME, MakeArgs, lambda args: make_interface(args, words), remove_ros_args(words))


if __name__ == "__main__":
    main()
