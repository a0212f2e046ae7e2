"""teleop_node: commands the arm from a keyboard, gamepad, 3-D mouse or leader arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from ebm_policy_ros.control.limits import LimitError
from ebm_policy_ros.interface import Part, load_interface
from ebm_policy_ros.nodes.common.limit_parameters import limits_of
from ebm_policy_ros.nodes.common.parameters import UnsetNode, declare_all
from ebm_policy_ros.nodes.common.pauses import boot_time
from ebm_policy_ros.nodes.common.spin import run_node
from ebm_policy_ros.nodes.common.terminal import Terminal, open_terminal
from ebm_policy_ros.nodes.common.ticks import ClockWatch, Ticks
from ebm_policy_ros.nodes.recorder.client import RecorderClient
from ebm_policy_ros.nodes.teleop.commander import Commander
from ebm_policy_ros.nodes.teleop.devices import InputDevice, Pedal, Signal
from ebm_policy_ros.nodes.teleop.hands import Hand, chosen_part, open_hands
from ebm_policy_ros.nodes.teleop.parameters import SETTINGS
from ebm_policy_ros.nodes.teleop.takeover import TakeoverLink
from ebm_policy_ros.teleop.hold import Hold
from ebm_policy_ros.teleop.keyboard import Confirmation, key_map
from ebm_policy_ros.teleop.mapping import GRIPS, TeleopCommand, TeleopMapping
from ebm_policy_ros.util.resources import interface_path

# Rate of reading keys and showing the status line, Hz; independent of a simulation's clock.
_SCREEN_RATE = 20.0
# Rate at which new input of a person who takes over is sent, Hz.
_PROMPT_RATE = 50.0
# Events whose keys go on holding a takeover; each arm has a keyboard of its own.
_KEEPING = (*GRIPS, "next_part")


class TeleopNode(UnsetNode):
    """Commands at the interface's rate from the first motion on, until it is let go.

    docs/how-to/teleoperate.md tells what moves the arm and what stops it.
    """

    def __init__(self, terminal: Terminal | None = None, **options: Any) -> None:
        """Open the input device named by the parameters.

        Args:
            terminal: Terminal for keys and status; by default that from which the process was
                started.
            **options: Options of rclpy's nodes.
        """
        super().__init__("teleop_node", **options)
        self.values = values = declare_all(self, SETTINGS)
        if values["takeover"] and values["part"]:
            raise ValueError("part: takeover moves all parts of an action; expected nothing")
        if values["pedal"] and not values["takeover"]:
            raise ValueError("pedal: takes over from a policy node, but takeover names none")
        whole = load_interface(interface_path(values["interface"]))
        self._interface = interface = chosen_part(whole, values["part"])
        limits = limits_of(interface, values)
        self._confirmation = Confirmation()
        self._hands = open_hands(self, interface, values, self._act, self._on_rest)
        self._active = 0
        self._link: TakeoverLink | None = None
        if values["takeover"]:
            self._link = TakeoverLink(self, interface, values["takeover"])
        self._hold = Hold()
        self._signal: Signal | None = None
        self._pedal: Pedal | None = None
        if values["pedal"]:
            self._pedal = Pedal(self, values["pedal"], values["message_timeout"])
        self.commander = Commander(
            self, interface, limits, values["check_command_topic"], self._link
        )
        self._recorder = RecorderClient(self, values["recorder"], self._say)
        self._desired = TeleopCommand()
        self._told = ""
        self.add_on_set_parameters_callback(self._on_parameters)
        self.create_service(SetBool, "~/engage", self._on_engage)
        self._terminal = terminal or open_terminal()
        if self._terminal is None and values["source"] == "keyboard":
            raise ValueError(
                "source: the keyboard needs a terminal in whose foreground the node runs; start "
                "it there, or choose gamepad, spacemouse or leader"
            )
        self._act("help")
        self._clock_watch = ClockWatch(self)
        self._ticks = Ticks(self, interface.rate, self._tick)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._screen = self.create_timer(1 / _SCREEN_RATE, self._on_screen, clock=steady)
        if self._link is not None:
            self.create_timer(1 / _PROMPT_RATE, self._on_prompt, clock=steady)

    def _on_rest(self, part: Part) -> None:
        """Send a command at once when the motion of the part ends that the device moves."""
        if self._hand.part is part:
            self._tick()

    @property
    def _hand(self) -> Hand:
        """Input of the part that the device moves now; all others stand still."""
        return self._hands[self._active]

    @property
    def _source(self) -> InputDevice:
        return self._hand.source

    @property
    def _mapping(self) -> TeleopMapping:
        return self._hand.mapping

    # Commands

    def _tick(self) -> None:
        """Send a command; called once per period, and at once when a joystick motion ends."""
        now = self.get_clock().now().nanoseconds
        self._read_keys()
        if self.commander.pause():
            self._source.let_go()  # input from before or during the pause is ignored
        if self._link is not None:
            self._follow_hold()
        states = self.commander.look(now)
        measured = None if states is None else states[self._active]
        taken = self.commander.is_wanted
        self._desired = self._source.desired(
            measured, taken, taken and bool(self.commander.problem)
        )
        if self._link is None and self._desired.motion:
            self.commander.take()
        if self._signal is not None and self._signal.held is None:
            # In silence the policy node stops; a command to stand still would keep it waiting.
            silent = self._desired.hint or "the input device is silent"
            self._desired = TeleopCommand(problem=silent, hint=silent)
        was_wanted = self.commander.is_wanted
        # The arms that are not moved are commanded to stand still, so that nothing else moves
        # them, and so that a recording has a command of each arm at every step.
        desired = [self._desired if h is self._hand else TeleopCommand() for h in self._hands]
        self.commander.tick(now, desired, [hand.mapping for hand in self._hands])
        if was_wanted and not self.commander.is_wanted:
            self._source.let_go()
        if self.commander.problem:
            self._forget_grips()
        self._show()

    def _follow_hold(self) -> None:
        """Take over when something is pressed, and let go when it is released."""
        self._signal = self._person()
        event = self._hold.follow(self._signal.held, self.commander.is_wanted)
        if event == "take":
            self.commander.take()
        elif event == "let_go":
            self._let_go()

    def _person(self) -> Signal:
        """Input of the person at this moment."""
        signal = self._source.signal()
        return signal if self._pedal is None else signal._replace(held=self._pedal.held)

    def _on_prompt(self) -> None:
        """Send new input at once."""
        self._read_keys()
        before, now = self._signal, self._person()
        is_other = before is None or now.held != before.held
        if is_other or (now != before and self.commander.is_wanted):
            self._tick()

    def _let_go(self) -> None:
        self._hold.latch()
        self._source.let_go()
        self.commander.let_go()
        self._forget_grips()

    def _forget_grips(self) -> None:
        """Leave the grippers to the policy until the next key or button for one."""
        if self._link is not None:
            for hand in self._hands:
                hand.mapping.grip = None

    # Keys, buttons and services

    def _on_screen(self) -> None:
        self._read_keys()
        self._show()

    def _read_keys(self) -> None:
        if self._terminal is None:
            return
        pressed = self._terminal.keys()
        if self.commander.pause():
            return
        for name in pressed:
            if event := self._hand.keyboard.press(name, boot_time()):
                self._act(event)
                if event in _KEEPING and self.commander.is_wanted:
                    self._hand.keyboard.keep(boot_time())
            else:
                self._confirmation.withdraw()

    def _act(self, event: str) -> None:
        """Execute the event of a key or button."""
        if question := self._confirmation.question(event, boot_time()):
            self._say(question)
        elif event == "help":
            if self._terminal is not None:
                lines = [*key_map(self._hand.keys), *self._source.describe()]
                self._terminal.say("\n".join(lines))
        elif event == "take":
            self._hold.latch()
            self.commander.take()
        elif event == "let_go":
            self._let_go()
        elif event == "next_part":
            self._source.let_go()
            self._active = (self._active + 1) % len(self._hands)
            self._source.let_go()
        elif event in GRIPS and self._link is not None and not self.commander.is_wanted:
            self._say("take over first: the gripper is the policy's")
        elif not self._mapping.act(event):
            self._recorder.call(event)
        elif self._mapping.speed != self.values["speed"]:
            self.set_parameters([Parameter("speed", value=self._mapping.speed)])

    def _on_engage(self, request: Any, response: Any) -> Any:
        """Take the command topic as soon as there is no problem, if true; release it, if false."""
        if request.data:
            self._hold.latch()
            self.commander.take()
            self._tick()
        else:
            self._let_go()
        response.success = self.commander.is_wanted == request.data
        response.message = self._state()
        return response

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Accept limits and speed, effective from the next tick on; reject invalid values."""
        wanted = {p.name: p.value for p in parameters if p.name in self.values}
        try:
            limits = limits_of(self._interface, {**self.values, **wanted})
        except LimitError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.values.update(wanted)
        self.commander.arms.limit(limits)
        for hand in self._hands:
            hand.mapping.speed = wanted.get("speed", hand.mapping.speed)
        return SetParametersResult(successful=True)

    # Screen

    def _say(self, text: str) -> None:
        if self._terminal is not None:
            self._terminal.say(text)
        else:
            self.get_logger().info(text)

    def _state(self) -> str:
        problem = self.commander.problem
        return f"{self.commander.state}: {problem}" if problem else self.commander.state

    def _show(self) -> None:
        """Show the status line, most important part first; without a terminal, log the state."""
        stands = self._clock_watch.stands()
        state = f"the clock stands still ({self.commander.state})" if stands else self._state()
        if self._link is not None:
            state += f" | {self._link.answer}"
        if self._terminal is None:
            if state != self._told:
                self.get_logger().info(state)
            self._told = state
            return
        moves = [f"{self._mapping.name(d)} {s:+.0%}" for d, s in self._desired.motion.items()]
        parts = [state, "" if stands else " ".join(moves) or self._desired.hint]
        parts.append(", ".join(self.commander.changed))
        parts.append(self._hand.part.name)
        if self._hand.part.interface.command.is_joints:
            parts.append(self._mapping.name("joint"))
        if self.values["source"] != "leader":
            parts.append(f"speed {self._mapping.speed:.0%}")
        parts.append(self._recorder.status)
        self._terminal.show(" | ".join(part for part in parts if part))

    def close(self) -> None:
        """Send the safe command if the arm is commanded, and restore the terminal."""
        try:
            self.commander.close()
        finally:
            if self._terminal is not None:
                self._terminal.close()


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(TeleopNode, "teleop_node", SETTINGS, args)


if __name__ == "__main__":
    main()
