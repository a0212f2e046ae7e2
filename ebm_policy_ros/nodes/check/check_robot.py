"""check_robot: compares a running robot with its interface file, before the arm moves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rclpy.utilities import remove_ros_args

from ebm_policy_ros.check.commands import command_checks
from ebm_policy_ros.check.limits import described_checks, state_checks, undescribed_note
from ebm_policy_ros.check.results import CheckResult, judged, problems, table, verdict
from ebm_policy_ros.check.streams import clock_check, observation_checks, stream_checks
from ebm_policy_ros.check.urdf import JointLimits, parse_urdf, read_urdf
from ebm_policy_ros.interface import Interface, load_interface
from ebm_policy_ros.nodes.check.listener import Listener
from ebm_policy_ros.nodes.check.motion import MotionCheck
from ebm_policy_ros.nodes.check.running import running_node
from ebm_policy_ros.nodes.common.terminal import Terminal, open_terminal
from ebm_policy_ros.util.bounds import check_number
from ebm_policy_ros.util.cli import run_command
from ebm_policy_ros.util.resources import interface_path
from ebm_policy_ros.util.yaml_file import UnreadableFile

NAME = "check_robot"


@dataclass(frozen=True)
class CheckArgs:
    """Compare a running robot with its interface file, and print a table of checks.

    Nothing is commanded without --move. The exit code is 0 if all is well, 1 if something is
    wrong, and 2 for bad input.
    """

    interface: str
    """Interface file of the robot, or the bare name of a shipped one."""
    urdf: Path | None = None
    """Robot description to compare the limits with; by default that on robot_description."""
    seconds: float = 3.0
    """Time of the measurement, s."""
    use_sim_time: bool | None = None
    """Clock of the nodes: true for that of a simulation; by default if /clock is published."""
    move: bool = False
    """Also move each commanded dimension by 5 mm or 0.01 rad and back, after a question at the
    terminal, and say whether direction and scale are right."""

    def __post_init__(self) -> None:
        check_number("seconds", self.seconds, above_zero=True)


def check_robot(args: CheckArgs, words: list[str] | None = None) -> None:
    """Print the table, and end with code 1 if something is wrong.

    Raises:
        ValueError: If the interface, the description or the terminal cannot be used.
    """
    interface = load_interface(interface_path(args.interface))
    described = read_urdf(args.urdf) if args.urdf else None
    with ExitStack() as steps:
        terminal = _terminal() if args.move else None
        if terminal is not None:
            steps.callback(terminal.close)
        node, executor = steps.enter_context(running_node(NAME, words))
        listener = Listener(node, executor, interface)
        results = checked(listener, interface, args, described)
        print(table(results), flush=True)
        if terminal is not None and not problems(results):
            joints = _published(listener) if described is None else described
            check = MotionCheck(
                node, interface, listener.inputs, terminal, listener.unproven(), joints or {}
            )
            moves = check.run(executor)
            print(table(moves))
            results += moves
        elif terminal is not None:
            print("nothing was moved: solve the problems first")
    print(verdict(results, interface.name))
    if problems(results):
        raise SystemExit(1)


def _terminal() -> Terminal:
    terminal = open_terminal()
    if terminal is None:
        raise ValueError("--move: asks before it moves; start it in the foreground of a terminal")
    return terminal


def checked(
    listener: Listener,
    interface: Interface,
    args: CheckArgs,
    described: dict[str, JointLimits] | None = None,
) -> list[CheckResult]:
    """Results of all checks that move nothing.

    Args:
        listener: Listener of the interface.
        interface: Interface to compare with.
        args: Options.
        described: Limits of a robot description; None for those on robot_description.
    """
    listener.choose_clock(args.use_sim_time)
    listener.measure(args.seconds)
    clock, streams = listener.clock(), listener.streams()
    results = [clock_check(clock)]
    if args.move and (over := listener.scene.end):
        cure = "the scene is over, and nothing moves in it: call sim_bridge_node/reset"
        results.append(judged("simulation", "scene", over, "runs", False, cure))
    for stream in streams:
        results += stream_checks(stream, clock)
    results += observation_checks(interface, listener.observation(), streams)
    for command in listener.commands():
        results += command_checks(command)
    results += _limit_checks(listener, interface, described)
    return results


def _published(listener: Listener) -> dict[str, JointLimits] | None:
    """Joints of the published description; None if there is none.

    Raises:
        UnreadableFile: If it is no robot description.
    """
    return parse_urdf(listener.description.text) if listener.description.text else None


def _limit_checks(
    listener: Listener, interface: Interface, described: dict[str, JointLimits] | None
) -> Iterator[CheckResult]:
    if described is None:
        try:
            described = _published(listener)
        except UnreadableFile as error:
            yield judged("robot", "URDF", str(error), "a URDF", False,
                         "correct what publishes robot_description, or give --urdf")  # fmt: skip
    if described is None:
        yield from undescribed_note(interface)
    else:
        yield from described_checks(interface, described)
    if listener.states is not None:
        for part, state in zip(interface.parts, listener.states, strict=True):
            if part.interface.command.measured or part.interface.workspace:
                yield from state_checks(part, state)


def main(argv: list[str] | None = None) -> None:
    """Run the command; `argv` replaces the command line's arguments."""
    words = sys.argv[1:] if argv is None else argv
    run_command(
        NAME,
        CheckArgs,
        lambda args: check_robot(args, words),
        remove_ros_args(words),
        switches={"move": "Also make small test moves, after a question at the terminal."},
    )


if __name__ == "__main__":
    main()
