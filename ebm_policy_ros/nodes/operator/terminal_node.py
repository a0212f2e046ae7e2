"""operate_terminal: the operator's page for a terminal, as over ssh: a line of state, and keys."""

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
from ebm_policy_ros.operator.stopping import PendingStop
from ebm_policy_ros.operator.words import commander, situation
from ebm_policy_ros.teleop.keyboard import RECORDING, Confirmation, Key, key_map

SETTINGS = NODES
_KEYS = (
    Key("space", "STOP, until it is confirmed", event="stop"),
    Key("escape", "STOP, until it is confirmed", event="stop"),
    Key("S", "start; the arm may move", event="policy start"),
    Key("R", "reset; the arm may move", event="reset"),
    Key("V", "shadow mode on or off", event="shadow"),
    Key("+", "faster", event="faster"),
    Key("-", "slower", event="slower"),
    *RECORDING,
    Key("?", "these keys", event="help"),
)
_STEP = 0.1
_PERIOD = 0.1


class OperateTerminal(Node):
    """Shows a policy node and a recorder in one line, and commands them by keys.

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
        self._journal, self._told = Journal(lambda level, text: None), 0
        self._robot = RobotLink(self, values["policy_node"], values["recorder"], {}, self._journal)
        self._stop = PendingStop(self._robot, self._journal)
        self._confirmation = Confirmation()
        self._events = {key.name: key.event for key in _KEYS}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_PERIOD, self._tick, clock=steady)
        self._help(self._terminal)

    def _help(self, terminal: Terminal) -> None:
        for line in key_map(_KEYS):
            terminal.say(line)

    def _tick(self) -> None:
        if self._terminal is None:
            return
        for name in self._terminal.keys():
            self._follow(self._events.get(name, ""), self._terminal)
        for entry in self._journal.since(self._told):
            self._terminal.say(f"{entry['source']}: {entry['text']}")
        self._told = self._journal.count
        self._terminal.show(line(self._robot.state(), self._stop.waiting_s))

    def _follow(self, event: str, terminal: Terminal) -> None:
        """React to a key."""
        policy = self._robot.state()["policy"]
        if question := self._confirmation.question(event, time.monotonic()):
            terminal.say(question)
        elif event == "stop":
            self._begin(self._stop.request("the terminal"))
        elif event == "help":
            self._help(terminal)
        elif event in RECORDER_EVENTS:
            self._begin(self._perform(Command("record", event)))
        elif event in ("faster", "slower"):
            speed = policy.get("speed", 0.0) + (_STEP if event == "faster" else -_STEP)
            self._begin(self._perform(Command("speed", round(min(1.0, max(0.0, speed)), 2))))
        elif event == "shadow":
            self._begin(self._perform(Command("shadow", not policy.get("shadow", False))))
        elif event:
            self._begin(self._perform(Command(event.removeprefix("policy "))))

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _perform(self, command: Command) -> None:
        if self._stop.waiting_s is not None and command.target == "policy":
            self._journal.write(f"{command}: refused: a STOP is not confirmed yet", "warning")
            return
        answer = await self._robot.perform(command)
        self._journal.write(f"{command}: {'' if answer.done else 'refused: '}{answer.text}")

    def close(self) -> None:
        """Restore the terminal."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None


def line(state: Mapping[str, Any], stopping_s: float | None) -> str:
    """State of everything in one line, the most important part first."""
    policy, recorder = state["policy"], state["recorder"]
    now = situation(policy, stopping_s)
    parts = [f"{now.word}: {now.reason}" if now.reason else now.word]
    parts += filter(None, [commander(policy)])
    if recorder["is_heard"]:
        episode = f" {recorder.get('episode')}" if recorder.get("episode") else ""
        kept = recorder.get("kept", {})
        parts.append(f"recorder {recorder.get('state')}{episode}")
        parts.append(str(recorder.get("next", "")))
        parts.append(f"kept {kept.get('success', 0)} + {kept.get('failure', 0)} failed")
        parts.append(f"{recorder.get('disk_free_bytes', 0) / 2**30:.1f} GiB left")
    if policy["is_heard"]:
        parts += [f"{name} {ms:.0f} ms" for name, ms in policy.get("latest_ms", {}).items()][:2]
        parts += [f"{s['name']} {s['message']}" for s in policy["streams"] if not s["is_good"]]
        name = "hidden" if policy.get("hidden") else policy.get("policy")
        parts += [str(name)] if name else []
    return " | ".join(parts)


def main(args: Sequence[str] | None = None) -> None:
    """Run the node."""
    run_node(OperateTerminal, "operate_terminal", SETTINGS, args)


if __name__ == "__main__":
    main()
