"""operate_terminal: the operator's page for a terminal, as over ssh."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ebm_policy_ros.nodes.common.parameters import declare_all, refuse_unknown
from ebm_policy_ros.nodes.common.spin import run_node
from ebm_policy_ros.nodes.common.terminal import Terminal, open_terminal
from ebm_policy_ros.nodes.operator.robot_link import NODES, RobotLink
from ebm_policy_ros.operator.commands import RECORDER_EVENTS, Command
from ebm_policy_ros.operator.journal import Journal
from ebm_policy_ros.operator.robot import Answer
from ebm_policy_ros.operator.screen import screen
from ebm_policy_ros.operator.stopping import PendingStop
from ebm_policy_ros.operator.words import situation
from ebm_policy_ros.teleop.keyboard import LIVE, RECORDING, Confirmation, Key
from ebm_policy_ros.util.bounds import is_number
from ebm_policy_ros.util.quoting import quote

SETTINGS = NODES
_KEYS = (
    Key("space", "STOP", event="stop"),
    Key("escape", "STOP", event="stop"),
    Key("S", "start: the arm may move", event="policy start"),
    Key("R", "reset: the arm may move", event="reset"),
    Key("V", "shadow on or off", event="shadow"),
    Key("+", "faster", event="faster"),
    Key("-", "slower", event="slower"),
    *RECORDING,
)
_NEEDING_STATUS = ("policy start", "reset", "shadow", LIVE, "faster", "slower")
_STEP = 0.1
# A STOP waits for the first one at most, s; the status comes as often as the second one.
_KEYS_PERIOD, _SCREEN_PERIOD = 0.02, 0.1


class OperateTerminal(Node):
    """Shows a policy node and a recorder on a screen of text, and commands them by keys.

    STOP is repeated until the policy node confirms it. The node itself commands nothing.
    """

    def __init__(self, terminal: Terminal | None = None, **options: Any) -> None:
        """Open topics, clients and the terminal.

        Args:
            terminal: Terminal for keys and output; None for that of the process.
            **options: Options of rclpy's nodes.

        Raises:
            ValueError: If there is no terminal.
        """
        super().__init__("operate_terminal", **options)
        values = declare_all(self, SETTINGS)
        refuse_unknown(self)
        self._terminal = terminal or open_terminal()
        if self._terminal is None:
            raise ValueError(
                "operate_terminal needs a terminal, in the foreground: start it by itself"
            )
        self._journal = Journal(lambda level, text: None)
        self._robot = RobotLink(self, values["policy_node"], values["recorder"], {}, self._journal)
        self._stop = PendingStop(self._robot, self._journal)
        self._confirmation = Confirmation()
        self._events = {key.name: key.event for key in _KEYS}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_KEYS_PERIOD, self._read_keys, clock=steady)
        self.create_timer(_SCREEN_PERIOD, self._draw, clock=steady)

    def _read_keys(self) -> None:
        for name in self._terminal.keys() if self._terminal is not None else ():
            self._follow(self._events.get(name, ""))

    def _draw(self) -> None:
        if self._terminal is None:
            return
        keys = [f"{key.name} {key.text}" for key in _KEYS]
        size = self._terminal.size
        try:
            lines = screen(
                self._robot.state(),
                self._stop.waiting_s,
                self._confirmation.pending(time.monotonic()),
                self._journal.since(self._journal.count - size[1]),
                keys,
                size,
            )
        except Exception as problem:  # such as of a status that no node of this package tells
            # The keys, STOP above all, must go on.
            lines = [f"state: {type(problem).__name__}: {quote(str(problem))}", *keys]
        self._terminal.draw(lines)

    def _follow(self, event: str) -> None:
        """React to a key."""
        policy = self._robot.state()["policy"]
        if event == "shadow" and policy.get("shadow"):
            event = LIVE
        if event in _NEEDING_STATUS and not policy["is_heard"]:
            # Asks about nothing: whoever presses cannot see what it would change.
            self._confirmation.withdraw()
            self._journal.write(f"{event}: refused: {situation(policy, None).reason}", "warning")
        elif self._confirmation.question(event, time.monotonic()):
            pass  # the screen shows it
        elif event == "stop":
            self._begin(self._stop.request("the terminal"))
        elif event in RECORDER_EVENTS:
            self._begin(self._perform(Command("record", event)))
        elif event in ("faster", "slower"):
            self._begin(self._perform(_change_speed(policy, event)))
        elif event in ("shadow", LIVE):
            self._begin(self._perform(Command("shadow", event == "shadow")))
        elif event:
            self._begin(self._perform(Command(event.removeprefix("policy "))))

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _perform(self, command: Command) -> None:
        if self._stop.waiting_s is not None and command.target == "policy":
            self._journal.write(f"{command}: refused: a STOP is not confirmed yet", "warning")
            return
        try:
            answer = await self._robot.perform(command)
        except Exception as problem:
            answer = Answer(False, f"{type(problem).__name__}: {problem}")
        self._journal.write(f"{command}: {'' if answer.done else 'refused: '}{answer.text}")

    async def _give_up(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Give up what is not answered yet, and restore the terminal."""
        asyncio.run_coroutine_threadsafe(self._give_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None


def _change_speed(policy: Mapping[str, Any], event: str) -> Command:
    speed = policy.get("speed")
    step = _STEP if event == "faster" else -_STEP
    # A status without a speed is none of policy_node.
    value = speed + step if is_number(speed) else 0.0
    return Command("speed", round(min(1.0, max(0.0, value)), 2))


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(OperateTerminal, "operate_terminal", SETTINGS, args)


if __name__ == "__main__":
    main()
