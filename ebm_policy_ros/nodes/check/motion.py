"""Test moves of the arm: asked for first, slow, watched, and back to the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rclpy.node import Node

from ebm_policy_ros.check.motion import Probe, one_way, probes_of
from ebm_policy_ros.check.results import CheckResult, judged, note
from ebm_policy_ros.check.urdf import JointLimits
from ebm_policy_ros.check.verdicts import judge, judge_return, own_motion
from ebm_policy_ros.check.watch import FARTHEST, Watch, displacement
from ebm_policy_ros.control.limits import part_limits
from ebm_policy_ros.interface import NANOSECONDS, Interface
from ebm_policy_ros.nodes.check.agreement import Agreement
from ebm_policy_ros.nodes.common.arms import RobotStates
from ebm_policy_ros.nodes.common.inputs import Inputs
from ebm_policy_ros.nodes.common.terminal import Terminal
from ebm_policy_ros.nodes.common.ticks import STANDSTILL, ClockWatch, Ticks
from ebm_policy_ros.nodes.recorder.scene_status import SceneStatus
from ebm_policy_ros.nodes.teleop.commander import Commander
from ebm_policy_ros.observation.buffer import StaleObservation
from ebm_policy_ros.teleop.mapping import TeleopCommand, TeleopMapping

# Time in which the streams must be well before the first command, s.
_PATIENCE = 5.0
# Shortest and longest rest after a motion, and the time without motion that ends it, s.
_REST, _LONGEST_REST, _STILL = 0.6, 3.0, 0.3
# Time in which the noise is measured before the first command, s.
_LISTEN = 1.0
_SPIN = 0.02

Place = dict[str, float]


class Stopped(Exception):
    """End of the test moves; the text says why."""


class MotionCheck:
    """Moves each dimension of an arm a little and back, through guard, limits and command session.

    Whatever goes wrong stops all arms where they are: a key, a stale stream, another commander, a
    motion that is too long, a stopped clock.
    """

    def __init__(
        self,
        node: Node,
        interface: Interface,
        inputs: Inputs,
        terminal: Terminal,
        unproven: Sequence[int],
        described: Mapping[str, JointLimits],
    ) -> None:
        """Open what measures the arm; nothing is commanded yet.

        Args:
            node: Node whose clock and topics are used.
            interface: Defines the meaning of an action.
            inputs: All streams of the interface, which are watched during the moves.
            terminal: Terminal that asks, and whose keys stop.
            unproven: Numbers of the parts whose commands have an order that nobody has told.
            described: Joints of a robot description; empty without one.
        """
        self._node, self._interface, self._inputs = node, interface, inputs
        self._terminal = terminal
        self._limits = part_limits(interface, {})
        self._commander = Commander(node, interface, self._limits, check_topic=True)
        self._unproven, self._described = unproven, described
        for number, arm in enumerate(self._commander.arms):
            # A velocity ends with a zero in any order; held positions would be a leap.
            is_velocity = arm.part.interface.command.is_velocity
            arm.session.is_mute = number in unproven and not is_velocity
        self._mappings = [TeleopMapping(part.interface, 1.0) for part in interface.parts]
        self._clock, self._watched = ClockWatch(node), Watch(interface, described)
        self._script = self._moves()
        self._now = 0
        self._states: RobotStates | None = None
        self._problem, self._scene = "", SceneStatus(node)
        self._probe: Probe | None = None
        self._changes: set[str] = set()
        """Changes of the commands by the guard during the present move."""
        self._is_agreed = self._is_over = False
        self.results: list[CheckResult] = []
        """Results so far, one for each test move."""

    def run(self, executor: Any) -> list[CheckResult]:
        """Ask, make the moves, and return what they showed.

        Args:
            executor: Executor of the node, which this spins.
        """
        ticks = Ticks(self._node, self._interface.rate, self._tick)
        try:
            while not self._is_over:
                executor.spin_once(timeout_sec=_SPIN)
                if self._is_agreed:
                    # Not only at ticks: those of a simulation end with its clock.
                    self._watch()
        finally:
            ticks.close()
            self._commander.close()
            self._terminal.show("")
        return self.results

    def _watch(self) -> None:
        if self._terminal.keys():
            self._stop("a key was pressed")
        elif self._clock.stands():
            self._stop(STANDSTILL)

    def _stop(self, reason: str) -> None:
        """Let the arm stand still where it is, and end."""
        if self._is_over:
            return
        self._commander.let_go()
        self._is_over = True
        subject = self._probe.subject if self._probe else "action"
        cure = f"{reason}; the arm stays where it stopped"
        if any(arm.session.is_mute for arm in self._commander.arms):
            cure = f"{reason}; nothing more was sent, since the order of the joints is not proven"
        self.results.append(judged(subject, "test move", "stopped", "a whole move", False, cure))

    def _tick(self) -> None:
        """Send the next command of the moves, or stop."""
        if self._is_over:
            return
        self._now = now = self._node.get_clock().now().nanoseconds
        self._states = self._commander.look(now)
        self._problem = self._unwell(now)
        try:
            if self._commander.is_wanted and self._problem:
                raise Stopped(self._problem)
            # Before the next command: one after a leap would be another leap.
            if self._states and (far := self._watched.look(self._states, self._probe)):
                raise Stopped(far)
            desired = next(self._script)
            self._commander.tick(now, desired, self._mappings)
            if self._commander.problem:
                raise Stopped(self._commander.problem)
        except (Stopped, ValueError) as stopped:
            self._stop(str(stopped))
        except StopIteration:
            self._commander.let_go()
            self._is_over = True

    def _unwell(self, now: int) -> str:
        """Problem of any stream, not only of those that measure the arm, and of a simulation."""
        if self._scene.end:
            return f"{self._scene.end}; call sim_bridge_node/reset"
        try:
            self._inputs.snapshot(now)
        except StaleObservation as problem:
            return str(problem)
        return "" if self._states is not None else "the state of the arm is not known"

    # Script: each step gives the commands of one tick

    def _moves(self) -> Iterator[list[TeleopCommand]]:
        yield from self._wait()
        probes = self._probes()
        assert self._states is not None
        asked = Agreement(self._terminal, self._interface, self._still)
        if not (yield from asked.to_orders(self._unproven, self._states)):
            self._refuse("compare order and quantity with the controller's configuration, correct "
                         "the interface or type order")  # fmt: skip
            return
        if not (yield from asked.to_moves(probes)):
            self._refuse("give --move again and type yes, or leave it out")
            return
        self._is_agreed = True
        yield from self._wait()  # a stream may have failed meanwhile
        yield from self._listen()
        self._watched.begin(self._states)
        self._commander.take()
        yield from self._rest(probes[0])
        for self._probe in probes:
            yield from self._there_and_back(self._probe)

    def _refuse(self, cure: str) -> None:
        """Add the result of a question that was answered with no."""
        self.results.append(judged("action", "test move", "not agreed to", "yes", False, cure))

    def _wait(self) -> Iterator[list[TeleopCommand]]:
        """Wait until all streams are well."""
        begin = self._now
        while self._problem:
            if self._seconds(begin) > _PATIENCE:
                raise Stopped(self._problem)
            yield self._still()

    def _probes(self) -> list[Probe]:
        """Test moves of all parts; those that could not come back are named and left out."""
        assert self._states is not None
        found: list[Probe] = []
        triples = zip(self._interface.parts, self._limits, self._states, strict=True)
        for number, (part, limits, state) in enumerate(triples):
            if not part.interface.command.measured:
                raise Stopped(part.named("action.measured names no stream that measures the arm"))
            found += probes_of(number, part, limits, state, self._described)
            for subject in map(part.field, one_way(part, limits)):
                cure = "low or high is 0, so the arm could not come back; try it by teleoperation"
                self._terminal.say(f"{subject} is not moved: {cure}")
                left = note(subject, "test move", "not moved", "there and back", cure)
                self.results.append(left)
        if not found:
            raise Stopped("no dimension has bounds that let it move there and back")
        return found

    def _listen(self) -> Iterator[list[TeleopCommand]]:
        """Measure the noise, and refuse arms that move before they are commanded."""
        start = self._now
        while self._seconds(start) < _LISTEN:
            if self._states is None:
                raise Stopped(self._problem)
            self._watched.listen(self._states)
            yield self._still()
        if problem := self._watched.restless():
            raise Stopped(problem)

    def _there_and_back(self, probe: Probe) -> Iterator[list[TeleopCommand]]:
        self._watched.begin(self._states)
        self._terminal.show(f"{probe.subject} {probe.text(probe.amount)}")
        self._changes = set()
        commanded = yield from self._drive(probe, probe.amount)
        changes = self._changes
        yield from self._rest(probe)
        self.results.append(judge(probe, commanded, self._watched.motions, changes))
        self._changes = set()  # those of the way back don't count
        yield from self._drive(probe, -commanded)
        yield from self._rest(probe)
        self.results += judge_return(probe, own_motion(probe, self._watched.motions))

    def _drive(self, probe: Probe, goal: float) -> Any:
        """Command a motion; return its length, m or rad, with its sign."""
        period, start = 1.0 / self._interface.rate, self._now
        sign = 1.0 if goal > 0 else -1.0
        full = probe.full if goal * probe.amount > 0 else probe.full_back
        first, done, last = self._setpoint(probe), 0.0, self._now
        longest = FARTHEST * abs(goal) / probe.speed + 10 * period
        while (left := abs(goal) - abs(done)) > 0.01 * abs(goal):
            if self._seconds(start) > longest:
                break
            speed = min(probe.speed, left / period)
            self._mappings[probe.part].joint = probe.joint
            yield self._motion(probe, sign * speed / full)
            self._changes.update(self._commander.changed)
            # A controller keeps a velocity until the next command.
            done += sign * speed * (self._now - last) / NANOSECONDS
            last = self._now
            if first is not None:
                told = self._setpoint(probe)
                assert told is not None
                part = self._interface.parts[probe.part]
                done = displacement(part, first, told)[probe.name]
        return done

    def _rest(self, probe: Probe) -> Iterator[list[TeleopCommand]]:
        """Command no motion until the arm stands still."""
        part, start = self._interface.parts[probe.part], self._now
        shortest = _REST + part.interface.command.lag
        seen, since = self._place(probe), self._now
        while self._seconds(start) < shortest or self._seconds(since) < _STILL:
            if self._seconds(start) > _LONGEST_REST + shortest:
                raise Stopped(f"{probe.subject} moves on although nothing is commanded")
            yield self._still()
            moved = displacement(part, seen, self._place(probe))[probe.name]
            if abs(moved) > self._watched.standstill(probe):
                seen, since = self._place(probe), self._now

    def _seconds(self, since: int) -> float:
        return (self._now - since) / NANOSECONDS

    def _place(self, probe: Probe) -> Place:
        """Measured position of the part that a probe moves."""
        assert self._states is not None
        return self._states[probe.part].position

    def _setpoint(self, probe: Probe) -> Place | None:
        """Position that the arm is told to have now; None for a velocity."""
        part = self._interface.parts[probe.part]
        if part.interface.command.is_velocity:
            return None
        assert self._states is not None
        arm = list(self._commander.arms)[probe.part]
        told = arm.outputs.setpoint_at(self._now, self._states[probe.part])
        return dict(zip(part.interface.command.fields, told.tolist(), strict=True))

    def _still(self) -> list[TeleopCommand]:
        return [TeleopCommand() for _ in self._interface.parts]

    def _motion(self, probe: Probe, share: float) -> list[TeleopCommand]:
        commands = self._still()
        commands[probe.part] = TeleopCommand({probe.direction: share})
        return commands
